"""How an upload shows its progress: a bar on a terminal, a few plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from stackwatch.cli.answers import say

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from stackwatch.errors import DeliveryUnavailableError
    from stackwatch.model.delivery import DeliveryProgress

_MIB: Final = 1 << 20
_LINE_INTERVAL_S: Final = 10.0

_WORDS: Final = {
    "planned": "reserving",
    "reserved": "reserving",
    "sending": "sending",
    "finishing": "server finishes",
    "finished": "comparing",
    "described": "done",
}


class UploadReporter:
    """Shows progress, and why it waits; called from any thread.

    Parameters
    ----------
    bar : rich.progress.Progress or None
        None writes plain lines.
    is_quiet : bool
        Leaves the plain lines of progress out.
    """

    def __init__(self, bar: "Bar | None", *, is_quiet: bool) -> None:
        self._bar = bar
        self._is_quiet = is_quiet
        self._lock = threading.Lock()
        self._stage = ""
        self._said_at = self._waited_at = float("-inf")
        self._task: TaskID | None = None
        if bar is not None:
            self._task = bar.add_task("reserving", total=None, rate="")

    def show(self, progress: "DeliveryProgress") -> None:
        """Show how far it is."""
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                description=_WORDS[progress.stage],
                completed=progress.done_bytes,
                total=progress.total_bytes or None,
                rate=f"{progress.bytes_per_s / _MIB:,.0f} MiB/s",
            )
            return
        now = time.monotonic()
        with self._lock:
            is_due = progress.stage != self._stage or now - self._said_at >= _LINE_INTERVAL_S
            if self._is_quiet or not is_due:
                return
            self._stage, self._said_at = progress.stage, now
        say(describe_progress(progress))

    def waits(self, error: "DeliveryUnavailableError", seconds: float) -> None:
        """Tell why nothing goes on; not more often than every few seconds."""
        now = time.monotonic()
        with self._lock:
            if now - self._waited_at < _LINE_INTERVAL_S:
                return
            self._waited_at = now
        say(f"{error.message} Next try in {seconds:.0f} s.")


@contextmanager
def upload_reporter(*, is_quiet: bool = False) -> Iterator[UploadReporter]:
    """Yield what fits where stderr goes."""
    if not sys.stderr.isatty():
        yield UploadReporter(None, is_quiet=is_quiet)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<15}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield UploadReporter(bar, is_quiet=is_quiet)


def describe_progress(progress: "DeliveryProgress") -> str:
    """Return progress as one line.

    Examples
    --------
    >>> from stackwatch.model.delivery import DeliveryProgress
    >>> describe_progress(DeliveryProgress("sending", 1 << 20, 1 << 22, 1 << 20, 3.0))
    'sending: 1 of 4 MiB, 1 MiB/s, 3 s left'
    """
    word = _WORDS[progress.stage]
    if progress.compared:
        return f"{word}: {progress.compared} boxes of voxels"
    if progress.stage != "sending":
        return f"{word} …"
    done, total = progress.done_bytes / _MIB, progress.total_bytes / _MIB
    told = f"{word}: {done:,.0f} of {total:,.0f} MiB"
    if progress.bytes_per_s:
        told += f", {progress.bytes_per_s / _MIB:,.0f} MiB/s"
    if progress.left_s is not None:
        told += f", {progress.left_s:,.0f} s left"
    return told
