"""Convert one acquisition: list, plan, stream, verify, publish."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stackwatch import __version__, failpoints
from stackwatch.engine.memory import keep_freed_memory
from stackwatch.engine.stream import StreamControl
from stackwatch.errors import (
    CancelledError,
    MixedSlicesError,
    OutOfSpaceError,
    TargetExistsError,
)
from stackwatch.layout.uniform import explain_mixed
from stackwatch.model.acquisition import show_path
from stackwatch.model.plan import StackPlan
from stackwatch.model.result import ConvertResult, Progress
from stackwatch.pipeline.building import DatasetBuild, DatasetFrame
from stackwatch.pipeline.changes import ensure_unchanged
from stackwatch.pipeline.executors import range_executor
from stackwatch.pipeline.journal import Journal, PublishFact
from stackwatch.pipeline.manifest import (
    combine_digests,
    ensure_invisible,
    ensure_kept,
    ensure_replaceable,
)
from stackwatch.pipeline.opening import OpenAcquisition, open_acquisition, plan_acquisition
from stackwatch.pipeline.ranged import RangedStacks
from stackwatch.pipeline.remarks import clipping_of
from stackwatch.pipeline.request import ConvertRequest, EarlierDataset, place_datasets
from stackwatch.pipeline.resuming import TakenOver, sift, was_cut_off
from stackwatch.readers.book import SourceBook
from stackwatch.readers.stack import StackSource
from stackwatch.stores.objects import dataset_url
from stackwatch.stores.publish import sync_tree, write_errors
from stackwatch.stores.room import RoomWatch
from stackwatch.stores.staging import Staging, remove_abandoned, staging_by_hand
from stackwatch.stores.visible import discard

__all__ = ["ConvertRequest", "EarlierDataset", "convert_acquisition", "peak_mib"]


def convert_acquisition(
    request: ConvertRequest,
    journal: Journal,
    cancelled: threading.Event | None = None,
    is_resumed: Callable[[], bool] | None = None,
) -> ConvertResult:
    """Convert, verify and publish one acquisition: a dataset, or one for each image of its file.

    All of them are written and verified before the first is published. Ranges of slices that an
    earlier attempt at the same has finished before it was cut off are not converted again.

    Parameters
    ----------
    request : ConvertRequest
    journal : Journal
        Hears of progress; acknowledges the facts that must last.
    cancelled : threading.Event or None
        Set by somebody else to stop at the next slab.
    is_resumed : callable or None
        Asked when it was stopped: whether the same conversion is to go on later. If not, the
        staging directory is removed. None: a job's is, for it stays in the queue; another is not.

    Returns
    -------
    ConvertResult

    Raises
    ------
    StackwatchError
        Any of them; nothing is visible in the target but datasets published before. In staging
        ranges that are finished are left for the next attempt, where this one was cut off.
    """
    keep_freed_memory()
    ensure_replaceable(request.target, request.replaceable_run(request.target))
    if not request.staging_name:
        with write_errors(request.target.parent):
            request.target.parent.mkdir(parents=True, exist_ok=True)
    name = request.staging_name or staging_by_hand(request.target)
    staging = Staging(request.target, name, takes_over=True)
    if not request.staging_name:
        remove_abandoned(request.target)
    conversion = _Conversion(request, journal, cancelled, staging.path)
    is_left = False
    try:
        with open_acquisition(
            request.source, request.members, request.options, staging.path
        ) as acquisition:
            return conversion.run(acquisition)
    except BaseException as error:
        goes_on = is_resumed() if is_resumed is not None else bool(request.staging_name)
        is_left = staging.is_resumable and conversion.may_go_on(error, is_resumed=goes_on)
        if not is_left:
            discard(staging.path)
        raise
    finally:
        if is_left:
            staging.leave()
        else:
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
        self._started = time.perf_counter()
        self._control = StreamControl(self._count_slice, cancelled, self._count_step)
        self._lock = threading.Lock()
        self._done = self._total = self._steps = 0
        self._layer = self._phase = ""
        self._room: RoomWatch | None = None
        self._book: SourceBook | None = None
        self._ranged: RangedStacks | None = None
        self._ranges = (0, 0, 0)
        self._is_begun = False
        self._builds: tuple[DatasetBuild, ...] = ()
        self._kept: dict[Path, str] = {}

    def run(self, acquisition: OpenAcquisition) -> ConvertResult:
        self._report("reading")
        self._options = acquisition.options
        frames = self._plan_frames(acquisition)
        book = self._book = SourceBook(acquisition.files, acquisition.entries, acquisition.opener)
        with closing(book), range_executor(self._options) as executor:
            if executor is not None:
                self._ranged = RangedStacks(
                    executor, self._request, acquisition, self._staging, book, self._count_ranges
                )
            return self._convert(acquisition, frames, book)

    def may_go_on(self, error: BaseException, *, is_resumed: bool) -> bool:
        """Tell whether a later attempt may go on from what is there, or has to start anew."""
        if any(build.is_appearing for build in self._builds):
            return False  # nothing half visible is left
        if isinstance(error, OutOfSpaceError):
            return not self._is_begun  # what lies there was not too much yet
        return is_resumed if isinstance(error, CancelledError) else was_cut_off(error)

    def _take_over(self) -> TakenOver:
        """Keep of an earlier attempt what this one would write just so."""
        orders: dict[str, Path] = {}
        found: dict[Path, dict[str, int]] = {}
        for build in self._builds:
            if self._ranged is not None:
                orders |= self._ranged.orders_of(build.jobs, build.root)
            if build.bucket_url:
                found[build.root] = build.find_shards()
        with write_errors(self._staging):
            taken = sift(self._staging, orders, found)
        for build in self._builds:
            build.taken = taken.shards.get(build.root, frozenset())
        return taken

    def _plan_frames(self, acquisition: OpenAcquisition) -> list[DatasetFrame]:
        """Plan every dataset but those that an earlier attempt has published.

        Refused at once, before hours of work, is what could not be published in the end.
        """
        datasets = plan_acquisition(acquisition)
        request, frames = self._request, []
        places = place_datasets(request.target, [plan.scene_name for plan in datasets])
        for plan, place in zip(datasets, places, strict=True):
            kept = request.kept_run(place)
            if kept:
                self._kept[place] = ensure_kept(place, kept)
                continue
            replaces = request.replaceable_run(place)
            ensure_replaceable(place, replaces)
            ensure_invisible(dataset_url(self._options.store.bucket, place), request)
            name = self._options.dataset_name or show_path(request.target.name)
            if len(datasets) > 1:
                name = f"{name}_{plan.scene_name}"
            frames.append(DatasetFrame(plan, place, name, replaces))
        return frames

    def _convert(
        self, acquisition: OpenAcquisition, frames: Sequence[DatasetFrame], book: SourceBook
    ) -> ConvertResult:
        def open_source(stack: StackPlan, t: int) -> StackSource:
            return StackSource(book, stack, t)

        if not frames:  # an earlier attempt has published everything
            ensure_unchanged(acquisition.place, acquisition.look)
            return self._result(next(iter(self._kept.values()), ""), 0)
        self._builds = tuple(
            DatasetBuild(frame, self._staging, self._options, open_source, self._ranged)
            for frame in frames
        )
        self._total = sum(build.slice_reads for build in self._builds)
        taken = self._take_over()
        self._room = RoomWatch(
            self._staging,
            sum(build.estimated_bytes for build in self._builds)
            + max((build.spool_bytes for build in self._builds), default=0),
            sum(build.estimated_files for build in self._builds),
            self._options.resources.reserve_gib,
            kept_bytes=taken.bytes,
            kept_files=taken.files,
        )
        self._room.ensure()
        self._is_begun = True
        failpoints.reach("convert.planned")
        _import_in_background()
        self._stream(acquisition, self._room)
        failpoints.reach("convert.engine_done")
        book.finish()
        for build in self._builds:
            build.warn(clipping_of(build.frame.plan, book))
        facts = self._facts(acquisition, book.file_digests())
        self._ensure_one_content(facts["content_digest"])
        for build in self._builds:
            build.seal(facts)
        compared = 0
        if self._options.verify != "off":
            self._report("verifying")
            compared = sum(build.compare(self._control) for build in self._builds)
        failpoints.reach("verify.done")
        self._publish(acquisition, facts["content_digest"])
        return self._result(facts["content_digest"], compared)

    def _stream(self, acquisition: OpenAcquisition, room: RoomWatch) -> None:
        def explain(stack: StackPlan) -> MixedSlicesError | None:
            return explain_mixed(
                acquisition.listing, stack, lambda path: acquisition.probe(path, stack.scene)
            )

        for build in self._builds:
            scene = build.frame.plan.scene_name

            def begin(layer: str, scene: str = scene) -> None:
                self._layer = f"{scene}/{layer}" if scene else layer
                self._ranges = (0, 0, 0)
                self._report("converting")

            try:
                build.stream(self._control, begin, explain)
            except OutOfSpaceError as error:
                raise room.explain(error, lambda: self._bytes_written) from error.__cause__

    def _facts(self, acquisition: OpenAcquisition, digests: dict[str, str]) -> dict[str, Any]:
        """Return what the manifests say of the acquisition."""
        sidecar = acquisition.sidecar
        return {
            "stackwatch": __version__,
            "content_digest": combine_digests(digests, acquisition.meaning_digest),
            "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "source": show_path(self._request.source),
            "members": [show_path(member) for member in self._request.members],
            "sidecar": sidecar.file if sidecar is not None else None,
            "files": {show_path(path): digest for path, digest in sorted(digests.items())},
        }

    def _ensure_one_content(self, content_digest: str) -> None:
        """Refuse to publish beside what an earlier attempt made of another content."""
        for place, found in self._kept.items():
            if found not in ("", content_digest):
                hint = "Remove it, then let the job be tried again."
                raise TargetExistsError(
                    f"“{show_path(place)}” was made of another content than its acquisition has "
                    f"now. The others of that acquisition are not published beside it. {hint}",
                    hint=hint,
                    path=show_path(place),
                )

    def _publish(self, acquisition: OpenAcquisition, content_digest: str) -> None:
        """Announce every dataset, then let one after the other appear.

        All are announced before the first rename: what is refused is refused of all of them.
        """
        self._report("publishing")
        self._control.check()
        with write_errors(self._staging):
            for build in self._builds:
                sync_tree(build.root, self._count_step)
        ensure_unchanged(acquisition.place, acquisition.look)
        for remaining, build in self._counting_down():
            self._record("publishing", build, content_digest, remaining)
        for remaining, build in self._counting_down():
            build.publish(self._count_step)
            self._record("published", build, content_digest, remaining)

    def _counting_down(self) -> list[tuple[int, DatasetBuild]]:
        """Return each dataset with the number of those that follow it."""
        return [(len(self._builds) - i, build) for i, build in enumerate(self._builds, 1)]

    def _record(self, stage: str, build: DatasetBuild, digest: str, remaining: int) -> None:
        place = build.frame.place
        self._journal.record(PublishFact(stage, place, build.root, build.run_id, digest, remaining))

    def _result(self, digest: str, compared: int) -> ConvertResult:
        plans = [build.frame.plan for build in self._builds]
        return ConvertResult(
            datasets=tuple(build.result() for build in self._builds),
            layout=plans[0].layout if plans else "",
            content_digest=digest,
            bytes_read=self._bytes_read,
            bytes_written=self._bytes_written,
            seconds=time.perf_counter() - self._started,
            peak_mib=peak_mib(),
            verified_chunks=compared,
            warnings=(
                *dict.fromkeys(warning for plan in plans for warning in plan.warnings),
                *(f"kept: “{show_path(place)}”, published before" for place in self._kept),
            ),
        )

    @property
    def _bytes_read(self) -> int:
        return self._book.bytes_read if self._book is not None else 0

    @property
    def _bytes_written(self) -> int:
        return sum(build.bytes_written for build in self._builds)

    def _count_slice(self) -> None:
        failpoints.reach("convert.slice_read")
        with self._lock:
            self._done += 1
        self._report("converting")
        if self._room is not None:
            self._room.check(self._bytes_written)

    def _count_step(self) -> None:
        """Show that a phase without slices gets on: flushing a large tree may take an hour."""
        with self._lock:
            self._steps += 1
        self._report(self._phase)

    def _count_ranges(self, done: int, total: int, taken: int) -> None:
        self._ranges = (done, total, taken)
        self._report("converting")

    def _report(self, phase: str) -> None:
        self._phase = phase
        self._journal.progress(
            Progress(
                phase,
                self._done,
                self._total,
                self._bytes_read,
                self._bytes_written,
                self._layer,
                self._steps,
                *self._ranges,
            )
        )


def peak_mib() -> float:
    """Return the largest memory this process ever held, in mebibytes.

    Not from `getrusage`: its figure begins with the memory of the process that started this one.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _import_in_background() -> None:
    """Load zarr while the first slices are read: it takes a third of a second."""

    def load() -> None:
        import zarr.codecs  # noqa: F401 - loaded for later

    threading.Thread(target=load, name="import-zarr", daemon=True).start()
