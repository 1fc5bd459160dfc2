"""How a conversion shows its progress: a bar on a terminal, a few plain lines elsewhere."""

import sys
import threading
import time
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from stackwatch.cli.answers import say
from stackwatch.model.wording import describe_slices
from stackwatch.pipeline.journal import PublishFact

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from stackwatch.model.result import Progress

_MIB: Final = 1 << 20
_LINE_INTERVAL_S: Final = 10.0


class Reporter(Protocol):
    """A journal that is switched on and off."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def progress(self, progress: "Progress") -> None:
        """Show how far it is."""
        ...

    def record(self, fact: PublishFact) -> None:
        """Agree: a single conversion has nobody who could refuse."""
        ...


def reporter(*, is_quiet: bool = False) -> Reporter:
    """Return the journal that fits where stderr goes; `is_quiet` leaves the plain lines out."""
    if sys.stderr.isatty():
        return _TerminalBar()
    return _Lines(is_quiet=is_quiet)


class _Lines:
    """Says each new phase, and how far it is every few seconds."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._phase = ""
        self._taken = 0
        self._said_at = 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    def progress(self, progress: "Progress") -> None:
        now = time.monotonic()
        with self._lock:
            is_new = (progress.phase, progress.ranges_taken) != (self._phase, self._taken)
            is_due = is_new or now - self._said_at >= _LINE_INTERVAL_S
            if self._is_quiet or not is_due:
                return
            self._phase, self._taken, self._said_at = progress.phase, progress.ranges_taken, now
        say(describe(progress))

    def record(self, fact: PublishFact) -> None:
        """Agree: a single conversion has nobody who could refuse."""


class _TerminalBar:
    """A bar with slices, rate and the time that is left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar: Bar = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("slices"),
            TextColumn("{task.fields[written]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID = self._bar.add_task("reading", total=None, written="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def progress(self, progress: "Progress") -> None:
        self._bar.update(
            self._task,
            description=progress.phase,
            completed=progress.done,
            total=progress.total or None,
            written=f"{progress.bytes_written / _MIB:,.0f} MiB written",
        )

    def record(self, fact: PublishFact) -> None:
        """Agree: a single conversion has nobody who could refuse."""


def describe(progress: "Progress") -> str:
    """Return progress as one line.

    Examples
    --------
    >>> from stackwatch.model.result import Progress
    >>> describe(Progress("converting", done=64, total=256, bytes_written=1 << 21))
    'converting: 64 of 256 slices, 2 MiB written'
    """
    if not progress.total:
        return f"{progress.phase} …"
    written = (
        f", {progress.bytes_written / _MIB:,.0f} MiB written" if progress.bytes_written else ""
    )
    return f"{progress.phase}: {describe_slices(asdict(progress))}{written}"
