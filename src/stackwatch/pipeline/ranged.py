"""Have the ranges of a stack carried out by other processes, and gather what they have seen."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from stackwatch.engine.executor import RangeExecutor
from stackwatch.engine.stream import StreamControl
from stackwatch.model.plan import BLACK, StackPlan
from stackwatch.pipeline.executors import share_of
from stackwatch.pipeline.opening import OpenAcquisition
from stackwatch.pipeline.ranges import (
    RangeOrder,
    add_statistics,
    progress_path,
    read_receipt,
    receipt_path,
    shards_of,
)
from stackwatch.pipeline.request import ConvertRequest
from stackwatch.pipeline.resuming import (
    SLOTS_FILE,
    choose_slots,
    digest_circumstances,
    digest_order,
)
from stackwatch.pipeline.storing import Store
from stackwatch.pipeline.streams import RangeCut, StackJob, WrittenMags
from stackwatch.readers.book import SourceBook
from stackwatch.stores.kept import RANGES_FOLDER
from stackwatch.stores.publish import write_errors
from stackwatch.stores.zarr3 import Zarr3Store


class RangedStacks:
    """Carries out stacks range by range.

    Parameters
    ----------
    executor : RangeExecutor
        Stays the caller's to close.
    request : ConvertRequest
    acquisition : OpenAcquisition
    scratch : Path
        The conversion's staging directory, which all workers see under the same path. Ranges that
        an earlier attempt has left there are not carried out again.
    book : SourceBook
        Takes the digests of what was read elsewhere.
    tell : callable
        Told how many ranges are done, how many there are, and how many were taken over.

    Attributes
    ----------
    cut : RangeCut
        How stacks are cut.
    """

    def __init__(
        self,
        executor: RangeExecutor,
        request: ConvertRequest,
        acquisition: OpenAcquisition,
        scratch: Path,
        book: SourceBook,
        tell: Callable[[int, int, int], None],
    ) -> None:
        self._executor = executor
        self._request = request
        self._is_archive = acquisition.place.is_archive
        self._folder = scratch / RANGES_FOLDER
        self._book = book
        self._tell = tell
        self._circumstances = digest_circumstances(request, acquisition)
        self._cut_for = choose_slots(self._folder, executor.slots)
        self.cut = RangeCut(share_of(acquisition.options), self._slots)

    def _slots(self, stack: StackPlan) -> int:
        """Return how many ranges of a stack are converted at once: one if it is read in order."""
        is_in_order = self._is_archive or any(name.endswith(".gz") for name in stack.files[:1])
        is_wkw = self.cut.options.store.format == "wkw"
        return 1 if is_in_order or is_wkw else self._cut_for

    def orders_of(self, jobs: Iterable[StackJob], root: Path) -> dict[str, Path]:
        """Return the digest of each order of a dataset, with the dataset's staging directory."""
        return {digest_order(self._circumstances, root, job): root for job in jobs if job.ranges}

    def carry_out(
        self,
        job: StackJob,
        written: list[WrittenMags],
        root: Path,
        store: Store,
        control: StreamControl,
    ) -> None:
        """Return when every range of a stack lies on the disk.

        Raises
        ------
        StackwatchError
            As `RangeExecutor.carry_out` raises them.
        """
        assert isinstance(store, Zarr3Store), "the cubes of WKW are not cut into ranges"
        order = RangeOrder(
            self._request.source, self._request.members, self._request.options, root, job
        ).write(self._folder / digest_order(self._circumstances, root, job))
        with write_errors(self._folder):
            (self._folder / SLOTS_FILE).write_text(f"{self._cut_for}\n", encoding="ascii")
        stack, total = job.stack, len(job.ranges)
        slices = _SliceCount(order, job, control.on_slice)
        done: set[int] = set()

        def take(number: int, receipt: dict[str, Any]) -> None:
            done.add(number)
            store.adopt(shards_of(receipt))
            add_statistics(written, receipt)
            span = job.ranges[number]
            refs = stack.planes_tz[span.t][span.first : span.end]
            files = {stack.files[ref.file] for ref in refs if ref.file != BLACK}
            self._book.adopt_digests(files, receipt["digests"])
            self._book.count_bytes(receipt["bytes_read"])
            self._book.count_clipped(stack, receipt["clipped"])
            slices.finish(number)
            self._tell(len(done), total, taken)

        earlier = [number for number in range(total) if receipt_path(order, number).exists()]
        taken = len(earlier)
        self._tell(0, total, taken)
        try:
            for number in earlier:
                receipt = read_receipt(order, number)
                assert receipt is not None, "what cannot be read was sifted out"
                take(number, receipt)
            left = [number for number in range(total) if number not in done]
            self._executor.carry_out(order, left, take, control, slices.look)
        finally:
            order.unlink(missing_ok=True)  # whoever still works on it stops
        assert len(done) == total, f"{total - len(done)} ranges were not carried out"


class _SliceCount:
    """Counts the slices that ranges say they have read; what is done again counts once."""

    def __init__(self, order: Path, job: StackJob, on_slice: Callable[[], None]) -> None:
        self._order = order
        self._spans = job.ranges
        self._passes = len(job.plan.swaths)
        self._on_slice = on_slice
        self._seen = [0] * len(job.ranges)
        self._looked_s = 0.0

    def look(self) -> None:
        """Read what the ranges under way say, at most once a second."""
        if time.monotonic() - self._looked_s < 1:
            return
        self._looked_s = time.monotonic()
        for number, seen in enumerate(self._seen):
            if seen < self._whole(number):
                with suppress(OSError):
                    self._raise(number, progress_path(self._order, number).stat().st_size)

    def finish(self, number: int) -> None:
        """Count a whole range."""
        self._raise(number, self._whole(number))

    def _whole(self, number: int) -> int:
        span = self._spans[number]
        return (span.end - span.first) * self._passes

    def _raise(self, number: int, count: int) -> None:
        count = min(count, self._whole(number))
        for _ in range(count - self._seen[number]):
            self._on_slice()
        self._seen[number] = max(count, self._seen[number])
