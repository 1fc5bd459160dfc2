"""Convert one acquisition: list, plan, stream, verify, publish."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from numpy.typing import NDArray

from stackwatch import __version__, failpoints
from stackwatch.engine.memory import keep_freed_memory
from stackwatch.engine.stream import StreamControl
from stackwatch.errors import MixedSlicesError, OutOfSpaceError
from stackwatch.layout.sidecar import Sidecar
from stackwatch.layout.uniform import explain_mixed
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import BoundingBox, Vec3
from stackwatch.model.options import ConvertOptions
from stackwatch.model.plan import DatasetPlan, StackPlan
from stackwatch.model.result import ConvertResult, DatasetResult, LayerResult, Progress
from stackwatch.pipeline.changes import ensure_unchanged
from stackwatch.pipeline.journal import Journal, PublishFact
from stackwatch.pipeline.manifest import (
    check_manifest,
    combine_digests,
    ensure_replaceable,
    manifest_document,
    sum_metadata,
)
from stackwatch.pipeline.opening import OpenAcquisition, open_acquisition, plan_acquisition
from stackwatch.pipeline.sampling import StagedStack, compare_with_source
from stackwatch.pipeline.sidecars import digest_meaning
from stackwatch.pipeline.stored import open_stored
from stackwatch.pipeline.storing import make_store, write_layer_groups
from stackwatch.pipeline.streams import (
    StackJob,
    Streamer,
    WrittenMags,
    budget_bytes,
    choose_method,
    intensity_range,
    plan_jobs,
)
from stackwatch.readers.book import SourceBook
from stackwatch.readers.stack import StackSource
from stackwatch.stores.properties import (
    MANIFEST_FILE,
    PROPERTIES_FILE,
    LayerView,
    WrittenLayer,
    properties,
    write_json,
)
from stackwatch.stores.publish import (
    STAGED_NAME,
    Staging,
    publish,
    remove_abandoned,
    staging_by_hand,
    sync_tree,
    write_errors,
)
from stackwatch.stores.room import RoomWatch

RANGE_VOXELS = 1 << 24
"""Voxels of the coarsest mag that the shown range is taken from, about: all of them, usually."""


@dataclass(frozen=True, slots=True)
class ConvertRequest:
    """One conversion to be made.

    Attributes
    ----------
    source : Path
        Absolute: a folder, a single file, or a zip archive. With `members`: the folder they are in.
    target : Path
        Absolute: the dataset's own directory.
    options : ConvertOptions
    members : tuple of str
        Names of loose files directly in `source` that form the acquisition; empty for all of it.
    staging_name : str
        Name of the staging directory under `<target's parent>/.stackwatch/`; for a job
        `<job>-<attempt>`. Empty: made up from the dataset's name and the process id, and the
        folders above the target are created. A job creates none: a share that is not mounted must
        not be filled beneath its mount point.
    replaces_run_id : str
        The run that wrote the dataset which stands at the target and may be replaced; empty if
        nothing may stand there.
    """

    source: Path
    target: Path
    options: ConvertOptions = field(default_factory=ConvertOptions)
    members: tuple[str, ...] = ()
    staging_name: str = ""
    replaces_run_id: str = ""


def convert_acquisition(
    request: ConvertRequest, journal: Journal, cancelled: threading.Event | None = None
) -> ConvertResult:
    """Convert, verify and publish one acquisition.

    Parameters
    ----------
    request : ConvertRequest
    journal : Journal
        Hears of progress; acknowledges the facts that must last.
    cancelled : threading.Event or None
        Set by somebody else to stop at the next slab; the staging directory is removed.

    Returns
    -------
    ConvertResult

    Raises
    ------
    StackwatchError
        Any of them; nothing is left in the target but datasets published before.
    """
    keep_freed_memory()
    ensure_replaceable(request.target, request.replaces_run_id)
    if not request.staging_name:
        with write_errors(request.target.parent):
            request.target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(request.target)
    staging = Staging(request.target, request.staging_name or staging_by_hand(request.target))
    try:
        conversion = _Conversion(request, journal, cancelled, staging.path)
        with open_acquisition(
            request.source, request.members, request.options, staging.path
        ) as acquisition:
            return conversion.run(acquisition)
    finally:
        staging.remove()


class _Conversion:
    """One conversion under way: what its steps share."""

    def __init__(
        self,
        request: ConvertRequest,
        journal: Journal,
        cancelled: threading.Event | None,
        staging: Path,
    ) -> None:
        self._request = request
        self._options = request.options
        self._journal = journal
        self._staging = staging
        self._root = staging / STAGED_NAME
        self._run_id = uuid4().hex
        self._started = time.perf_counter()
        self._control = StreamControl(self._count_slice, cancelled)
        self._lock = threading.Lock()
        self._done = self._total = self._steps = 0
        self._layer = ""
        self._room: RoomWatch | None = None
        self._bytes: Callable[[], tuple[int, int]] = lambda: (0, 0)

    def run(self, acquisition: OpenAcquisition) -> ConvertResult:
        self._report("reading")
        self._options = acquisition.options
        dataset = plan_acquisition(acquisition)
        book = SourceBook(acquisition.files, acquisition.entries)
        try:
            return self._convert(acquisition, dataset, book)
        finally:
            book.close()

    def _convert(
        self, acquisition: OpenAcquisition, dataset: DatasetPlan, book: SourceBook
    ) -> ConvertResult:
        def open_source(stack: StackPlan, t: int) -> StackSource:
            return StackSource(book, stack, t)

        jobs = plan_jobs(dataset, self._options, lambda stack: open_source(stack, 0).decode_bytes)
        spool_bytes = max((job.spool_bytes for job in jobs), default=0)
        room = self._room = RoomWatch(
            self._staging,
            estimate_bytes(dataset) + spool_bytes,
            estimate_files(jobs),
            self._options.resources.reserve_gib,
        )
        room.ensure()
        failpoints.reach("convert.planned")
        with write_errors(self._staging):
            self._root.mkdir()
        _import_in_background()
        store = make_store(
            self._options.store, self._root, self._staging / "waiting", dataset.layers
        )
        self._bytes = lambda: (book.bytes_read, store.bytes_written)
        streamer = Streamer(
            store, self._root, self._staging, self._options, self._control, open_source
        )
        try:
            written = self._stream(acquisition, jobs, streamer)
            with write_errors(self._staging):
                store.wait()
        except OutOfSpaceError as error:
            store.abort()
            raise room.explain(error, lambda: store.bytes_written) from error.__cause__
        except BaseException:
            store.abort()
            raise
        store.close()
        failpoints.reach("convert.engine_done")
        book.finish()
        digests = book.file_digests()
        layers = [self._describe(mags) for stack in written for mags in stack]
        facts = self._facts(dataset, digests, acquisition.sidecar)
        with write_errors(self._staging):
            write_layer_groups(self._options.store, self._root, layers, dataset.voxel_size_nm)
            document = properties(
                self._dataset_name,
                tuple(layers),
                dataset.voxel_size_nm,
                self._options.store.format,
            )
            write_json(self._root / PROPERTIES_FILE, document)
            manifest = store.manifest()
            facts["metadata_crc32c"] = sum_metadata(self._root)
            write_json(self._root / MANIFEST_FILE, manifest_document(manifest, facts))
        compared = 0
        if self._options.verify != "off":
            self._report("verifying")
            check_manifest(self._root, manifest, reads_all=self._options.verify == "full")
            compared = self._compare(jobs, written, open_source)
        failpoints.reach("verify.done")
        self._publish(acquisition, facts["content_digest"])
        return self._result(dataset, layers, facts["content_digest"], compared)

    @property
    def _dataset_name(self) -> str:
        return self._options.dataset_name or show_path(self._request.target.name)

    def _stream(
        self, acquisition: OpenAcquisition, jobs: tuple[StackJob, ...], streamer: Streamer
    ) -> list[list[WrittenMags]]:
        self._total = sum(job.slice_reads for job in jobs)
        written = []
        with write_errors(self._staging):
            for job in jobs:
                self._layer = job.stack.layers[0].name
                self._report("converting")
                try:
                    written.append(streamer.run(job))
                except MixedSlicesError as error:
                    whole = explain_mixed(acquisition.listing, job.stack, acquisition.probe)
                    raise (whole or error) from error
        return written

    def _describe(self, mags: WrittenMags) -> WrittenLayer:
        def read_coarsest() -> Iterator[NDArray[Any]]:
            path = self._root / mags.layer.name / str(mags.grids[-1].mag)
            return open_stored(path, mags.grids[-1]).iter_sample(0, RANGE_VOXELS)

        shown = intensity_range(mags, read_coarsest) if mags.layer.category == "color" else None
        view = LayerView(mags.statistics.minimum, mags.statistics.maximum, shown)
        return WrittenLayer(mags.layer, tuple(mags.grids), view)

    def _facts(
        self, dataset: DatasetPlan, digests: dict[str, str], sidecar: Sidecar | None
    ) -> dict[str, Any]:
        """Return what the manifest says beside its shards."""
        return {
            "stackwatch": __version__,
            "run_id": self._run_id,
            "content_digest": combine_digests(digests, digest_meaning(sidecar)),
            "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "source": show_path(self._request.source),
            "members": [show_path(member) for member in self._request.members],
            "sidecar": sidecar.file if sidecar is not None else None,
            "layout": dataset.layout,
            "voxel_size_nm": list(dataset.voxel_size_nm),
            "voxel_size_source": list(dataset.voxel_size_source),
            "warnings": list(dataset.warnings),
            "metadata": dataset.metadata or {},
            "files": {show_path(path): digest for path, digest in sorted(digests.items())},
        }

    def _compare(
        self,
        jobs: tuple[StackJob, ...],
        written: list[list[WrittenMags]],
        open_source: Callable[[StackPlan, int], StackSource],
    ) -> int:
        compared = 0
        for job, stack in zip(jobs, written, strict=True):
            layers = tuple(
                (mags.layer, tuple(mags.grids), choose_method(mags.layer.category, self._options))
                for mags in stack
            )
            compared += compare_with_source(
                self._root,
                StagedStack(job.stack, layers, budget_bytes(self._options) // 2),
                open_source,
                self._control,
                self._run_id,
                is_full=self._options.verify == "full",
            )
        return compared

    def _publish(self, acquisition: OpenAcquisition, content_digest: str) -> None:
        self._report("publishing")
        self._control.check()
        with write_errors(self._staging):
            sync_tree(self._root, self._count_step)
        ensure_unchanged(acquisition.place, acquisition.look)
        target = self._request.target
        for stage in ("publishing", "published"):
            fact = PublishFact(stage, target, self._root, self._run_id, content_digest)
            self._journal.record(fact)
            if stage == "publishing":
                ensure_replaceable(target, self._request.replaces_run_id)
                publish(self._root, target, replace=bool(self._request.replaces_run_id))

    def _result(
        self, dataset: DatasetPlan, layers: list[WrittenLayer], digest: str, compared: int
    ) -> ConvertResult:
        bytes_read, bytes_written = self._bytes()
        published = DatasetResult(
            name=self._dataset_name,
            path=self._request.target,
            layers=tuple(_layer_result(layer) for layer in layers),
            voxel_size_nm=dataset.voxel_size_nm,
            voxel_size_source=dataset.voxel_size_source,
            bytes_written=bytes_written,
        )
        return ConvertResult(
            datasets=(published,),
            layout=dataset.layout,
            content_digest=digest,
            bytes_read=bytes_read,
            bytes_written=bytes_written,
            seconds=time.perf_counter() - self._started,
            peak_mib=peak_mib(),
            verified_chunks=compared,
            warnings=dataset.warnings,
        )

    def _count_slice(self) -> None:
        failpoints.reach("convert.slice_read")
        with self._lock:
            self._done += 1
        self._report("converting")
        if self._room is not None:
            self._room.check(self._bytes()[1])

    def _count_step(self) -> None:
        """Show that a phase without slices gets on: flushing a large tree may take an hour."""
        with self._lock:
            self._steps += 1
        self._report("publishing")

    def _report(self, phase: str) -> None:
        bytes_read, bytes_written = self._bytes()
        self._journal.progress(
            Progress(
                phase,
                self._done,
                self._total,
                bytes_read,
                bytes_written,
                self._layer,
                self._steps,
            )
        )


def estimate_bytes(dataset: DatasetPlan) -> int:
    """Return about how much room a dataset needs: all mags, with the compression usual for a type.

    An estimate on the careful side; a disk that fills up all the same is an error of its own.
    """
    total = 0.0
    for layer in dataset.layers:
        voxels = layer.size.volume * layer.size_t * layer.voxel_type.bytes_per_voxel
        share = 0.2 if layer.category == "segmentation" else 0.8
        total += voxels * share * 4 / 3
    return int(total)


def estimate_files(jobs: tuple[StackJob, ...]) -> int:
    """Return about how many files and directories a dataset has: a shard lies in one of its own."""
    total = 32
    for job in jobs:
        grids = [*job.plan.grids, *(grid for later in job.later for grid in later.grids[1:])]
        shards = sum(grid.size.ceil_div(grid.shard).volume for grid in grids)
        total += len(job.stack.layers) * (2 * shards * len(job.stack.planes_tz) + 8 * len(grids))
    return total


def peak_mib() -> float:
    """Return the largest memory this process ever held, in mebibytes.

    Not from `getrusage`: its figure begins with the memory of the process that started this one.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


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


def _import_in_background() -> None:
    """Load zarr while the first slices are read: it takes a third of a second."""

    def load() -> None:
        import zarr.codecs  # noqa: F401 - loaded for later

    threading.Thread(target=load, name="import-zarr", daemon=True).start()
