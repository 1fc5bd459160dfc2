"""The edge to watchdog: start an observer of one folder, and hear of an overflow."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

WATCHDOG_LOGGER: Final = "watchdog.observers.inotify_c"


class EventTaker(Protocol):
    """What an observer calls with each event."""

    def dispatch(self, event: "FileSystemEvent") -> None:
        """Take an event."""


class OverflowHandler(logging.Handler):
    """Watchdog tells of an overflow in a log record and nowhere else."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of the overflow if the record is about one."""
        if "overflow" in str(record.msg).lower():
            self._tell()


def start_watching(taker: EventTaker, path: Path) -> "tuple[BaseObserver, threading.Thread | None]":
    """Return a running observer and the thread in which it reads inotify.

    Raises
    ------
    OSError
        It could not be started; no thread is left behind.
    """
    from watchdog.observers import Observer  # late: commands that watch nothing do without it

    with _ONE_AT_A_TIME:
        before = _readers()
        observer = Observer()
        reader = next(iter(_readers() - before), None)
    try:
        observer.schedule(taker, os.fspath(path), recursive=True, event_filter=_kinds())  # type: ignore[arg-type]  # `dispatch` is all an observer calls
        observer.start()
    except OSError:
        observer.stop()  # the reader runs since the observer was made
        raise
    return observer, reader


_ONE_AT_A_TIME: Final = threading.Lock()
"""The reader of an observer is known as the thread that appeared with it."""


def _readers() -> set[threading.Thread]:
    """Return the threads that read inotify: watchdog does not tell whether its own still lives."""
    from watchdog.observers.inotify_c import InotifyFD

    return {thread for thread in threading.enumerate() if isinstance(thread, InotifyFD)}


def _kinds() -> "list[type[FileSystemEvent]]":
    """Return the events that may mean a change: reading a file brings events too, not these."""
    from watchdog import events

    return _changes_of(events)


def _changes_of(events: ModuleType) -> "list[type[FileSystemEvent]]":
    names = ("Created", "Modified", "Deleted", "Moved", "Attrib")
    kinds = [getattr(events, f"{kind}{name}Event") for kind in ("File", "Dir") for name in names]
    return [*kinds, events.FileClosedEvent]
