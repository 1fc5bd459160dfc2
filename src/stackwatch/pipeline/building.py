"""One dataset of a conversion in its staging directory: written, described, compared."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from numpy.typing import NDArray

from stackwatch.engine.stream import StreamControl
from stackwatch.errors import MixedSlicesError
from stackwatch.model.geometry import BoundingBox, Vec3
from stackwatch.model.options import ConvertOptions
from stackwatch.model.plan import DatasetPlan, StackPlan
from stackwatch.model.result import DatasetResult, LayerResult
from stackwatch.pipeline.estimate import estimate_bytes, estimate_files
from stackwatch.pipeline.manifest import (
    check_manifest,
    ensure_replaceable,
    manifest_document,
    sum_metadata,
)
from stackwatch.pipeline.ranged import RangedStacks
from stackwatch.pipeline.sampling import StagedStack, compare_with_source
from stackwatch.pipeline.stored import open_stored
from stackwatch.pipeline.storing import Store, make_store, write_layer_groups
from stackwatch.pipeline.streams import (
    OpenSource,
    StackJob,
    Streamer,
    WrittenMags,
    budget_bytes,
    choose_method,
    intensity_range,
    plan_jobs,
)
from stackwatch.stores.objects import Objects, dataset_url, mark_objects, open_objects, told_of
from stackwatch.stores.properties import (
    MANIFEST_FILE,
    PROPERTIES_FILE,
    LayerView,
    WrittenLayer,
    properties,
    write_json,
)
from stackwatch.stores.protocol import ShardRecord
from stackwatch.stores.publish import publish, staged_at, write_errors
from stackwatch.stores.visible import begin, find_left, reveal

RANGE_VOXELS = 1 << 24
"""Voxels of the coarsest mag that the shown range is taken from, about: all of them, usually."""

Explain = Callable[[StackPlan], MixedSlicesError | None]
"""Looks at all files of a stack in which one slice turned out to differ."""


@dataclass(frozen=True, slots=True)
class DatasetFrame:
    """What a dataset is called and where it goes.

    Attributes
    ----------
    plan : DatasetPlan
    place : Path
        Its own directory, once it is published.
    name : str
        In its properties.
    replaces_run_id : str
        The run whose dataset it takes the place of; empty if nothing may stand there.
    """

    plan: DatasetPlan
    place: Path
    name: str
    replaces_run_id: str = ""


class DatasetBuild:
    """One dataset under way. Its steps in order: `stream`, `seal`, `compare`.

    Parameters
    ----------
    frame : DatasetFrame
    staging : Path
        The conversion's staging directory.
    options : ConvertOptions
    open_source : OpenSource
    ranged : RangedStacks or None
        Has ranges of slices converted elsewhere.

    Raises
    ------
    BudgetTooSmallError, PlanError
        It cannot be written with these options; the caller parks the job.
    """

    def __init__(
        self,
        frame: DatasetFrame,
        staging: Path,
        options: ConvertOptions,
        open_source: OpenSource,
        ranged: RangedStacks | None = None,
    ) -> None:
        self.frame = frame
        self.run_id = uuid4().hex
        self.root = staged_at(staging, frame.place)
        self._staging = staging
        self._options = options
        self._open_source = open_source
        self._ranged = ranged
        self.objects: Objects | None = None
        self.taken: frozenset[str] = frozenset()
        """Shards of an earlier attempt that are part of it."""
        self.is_appearing = False
        """Whether its bucket was told to show it."""
        self.jobs = plan_jobs(
            frame.plan,
            options,
            lambda stack: open_source(stack, 0).decode_bytes,
            ranged.cut if ranged is not None else None,
        )
        self._store: Store | None = None
        self._written: list[list[WrittenMags]] = []
        self._layers: tuple[WrittenLayer, ...] = ()
        self._shards: tuple[ShardRecord, ...] = ()

    @property
    def bucket_url(self) -> str:
        """Where its shards go, if into a bucket; else empty."""
        return dataset_url(self._options.store.bucket, self.frame.place)

    def find_shards(self) -> dict[str, int]:
        """Return what an earlier attempt has left in its bucket: sizes by path."""
        url, run_id = told_of(self.root)
        return find_left(open_objects(url), run_id) if url == self.bucket_url else {}

    @property
    def slice_reads(self) -> int:
        """How many slices will be read, each pass over one counted."""
        return sum(job.slice_reads for job in self.jobs)

    @property
    def estimated_bytes(self) -> int:
        """About how much room it takes on the disk when it is finished."""
        return 0 if self.bucket_url else estimate_bytes(self.frame.plan)

    @property
    def estimated_files(self) -> int:
        """About how many files and directories it is made of, here."""
        return 0 if self.bucket_url else estimate_files(self.jobs)

    @property
    def spool_bytes(self) -> int:
        """How much room it takes beside that while it is written."""
        return max((job.spool_bytes for job in self.jobs), default=0)

    @property
    def bytes_written(self) -> int:
        """Bytes written so far."""
        return self._store.bytes_written if self._store is not None else 0

    def stream(
        self,
        control: StreamControl,
        on_layer: Callable[[str], None],
        explain: Explain,
    ) -> None:
        """Read every stack once and write all its mags.

        Parameters
        ----------
        control : StreamControl
        on_layer : callable
            Told the name of each layer when it is begun.
        explain : Explain
        """
        with write_errors(self._staging):
            self.root.mkdir(parents=True, exist_ok=True)
            if self.bucket_url:
                self.objects = mark_objects(self.root, self.bucket_url, self.run_id)
                begin(self.objects, self.run_id, self.taken)
        self._store = store = make_store(
            self._options.store,
            self.root,
            self._staging / "waiting",
            self.frame.plan.layers,
            objects=self.objects,
        )

        def carry_out(job: StackJob, written: list[WrittenMags]) -> None:
            assert self._ranged is not None
            self._ranged.carry_out(job, written, self.root, store, control)

        streamer = Streamer(
            store, self.root, self._staging, self._options, control, self._open_source, carry_out
        )
        try:
            with write_errors(self._staging):
                for job in self.jobs:
                    on_layer(job.stack.layers[0].name)
                    self._written.append(_run(streamer, job, explain))
                store.wait()
        except BaseException:
            store.abort()
            raise
        store.close()
        self._layers = tuple(self._describe(mags) for stack in self._written for mags in stack)

    def warn(self, sentences: Iterable[str]) -> None:
        """Add to the warnings of the dataset; before it is sealed."""
        plan = self.frame.plan
        self.frame = replace(self.frame, plan=replace(plan, warnings=(*plan.warnings, *sentences)))

    def seal(self, facts: Mapping[str, Any]) -> None:
        """Write the metadata and the manifest: the dataset is whole.

        Parameters
        ----------
        facts : mapping
            What the manifest says of the acquisition, as JSON values.
        """
        assert self._store is not None
        plan = self.frame.plan
        with write_errors(self._staging):
            write_layer_groups(self._options.store, self.root, self._layers, plan.voxel_size_nm)
            document = properties(
                self.frame.name, self._layers, plan.voxel_size_nm, self._options.store.format
            )
            write_json(self.root / PROPERTIES_FILE, document)
            self._shards = tuple(self._store.manifest())
            told = {
                **facts,
                "run_id": self.run_id,
                "layout": plan.layout,
                "scene": plan.scene_name or None,
                "voxel_size_nm": list(plan.voxel_size_nm),
                "voxel_size_source": list(plan.voxel_size_source),
                "warnings": list(plan.warnings),
                "metadata": plan.metadata or {},
                "metadata_crc32c": sum_metadata(self.root),
            }
            write_json(self.root / MANIFEST_FILE, manifest_document(self._shards, told))

    def compare(self, control: StreamControl) -> int:
        """Compare it with its manifest and its source, as the options say.

        Returns
        -------
        int
            How many chunks were compared with the source.

        Raises
        ------
        VerificationError
            It is not what was read.
        """
        is_full = self._options.verify == "full"
        check_manifest(self.root, self._shards, reads_all=is_full, on_shard=control.step)
        compared = 0
        for job, stack in zip(self.jobs, self._written, strict=True):
            layers = tuple(
                (mags.layer, tuple(mags.grids), choose_method(mags.layer.category, self._options))
                for mags in stack
            )
            compared += compare_with_source(
                self.root,
                StagedStack(job.stack, layers, budget_bytes(self._options) // 2),
                self._open_source,
                control,
                self.run_id,
                is_full=is_full,
            )
        return compared

    def publish(self, on_step: Callable[[], None]) -> None:
        """Let it appear in its place: in a bucket first, where it has one."""
        frame = self.frame
        ensure_replaceable(frame.place, frame.replaces_run_id)
        if self.objects is not None:
            self.is_appearing = True
            reveal(self.objects, self.root, self.run_id, on_step)
        publish(self.root, frame.place, replace=bool(frame.replaces_run_id))

    def result(self) -> DatasetResult:
        """Return what was written."""
        return DatasetResult(
            name=self.frame.name,
            path=self.frame.place,
            layers=tuple(_layer_result(layer) for layer in self._layers),
            voxel_size_nm=self.frame.plan.voxel_size_nm,
            voxel_size_source=self.frame.plan.voxel_size_source,
            bytes_written=self.bytes_written,
            url=self.bucket_url,
        )

    def _describe(self, mags: WrittenMags) -> WrittenLayer:
        def read_coarsest() -> Iterator[NDArray[Any]]:
            path = self.root / mags.layer.name / str(mags.grids[-1].mag)
            return open_stored(path, mags.grids[-1]).iter_sample(0, RANGE_VOXELS)

        shown = intensity_range(mags, read_coarsest) if mags.layer.category == "color" else None
        view = LayerView(mags.statistics.minimum, mags.statistics.maximum, shown)
        return WrittenLayer(mags.layer, tuple(mags.grids), view)


def _run(streamer: Streamer, job: StackJob, explain: Explain) -> list[WrittenMags]:
    try:
        return streamer.run(job)
    except MixedSlicesError as error:
        raise (explain(job.stack) or error) from error


def _layer_result(layer: WrittenLayer) -> LayerResult:
    size: Vec3 = layer.plan.size
    return LayerResult(
        name=layer.plan.name,
        category=layer.plan.category,
        voxel_type=layer.plan.voxel_type,
        bounding_box=BoundingBox.of_size(*size),
        mags=tuple(grid.mag for grid in layer.grids),
        size_t=layer.plan.size_t,
    )
