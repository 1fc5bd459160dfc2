"""Let the kernel say that something changed, so that the next scan comes sooner.

A hint is never believed: it names a folder that is worth a scan. Lost hints cost time and nothing
else. Where events do not reach (network mounts, exhausted inotify watches, a dead observer) the
folder is polled and the reason is kept for `health`.
"""

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

from stackwatch.model.acquisition import show_path
from stackwatch.watch import inotify
from stackwatch.watch.mounts import is_remote_type

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

WatchMode = Literal["auto", "events", "poll"]

MAX_DIRTY: Final = 1000
"""Names remembered for one folder; more mean "everything"."""

_BACK_OFF_S: Final = (1.0, 3600.0)
_JOIN_S: Final = 5.0
_WATCHDOG_LOGGER: Final = "watchdog.observers.inotify_c"


@dataclass(frozen=True, slots=True)
class HintHealth:
    """How the hints of one folder are doing.

    Attributes
    ----------
    mode : "events" | "poll"
        What is in force, not what was asked for.
    reason : str
        Why it is polled although events were wanted, or why events may not tell everything;
        empty if all is well.
    events, errors, overflows, restarts : int
        Since the folder was added.
    """

    mode: Literal["events", "poll"]
    reason: str
    events: int = 0
    errors: int = 0
    overflows: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Dirt:
    """What changed in one folder since it was last taken.

    `names` are first parts of paths below the drop folder; None means that anything may have.
    """

    names: frozenset[str] | None


class Hints:
    """Watches folders for events and remembers which of them are dirty.

    Parameters
    ----------
    wake : threading.Event
        Set whenever a folder becomes dirty. The caller clears it *before* it calls `take`.

    Notes
    -----
    `add`, `remove`, `supervise` and `close` belong to one thread; `take` and `health` may be
    called from any. Order at the start: `add` first, then scan; the other way round loses files.
    """

    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake
        self._folders: dict[str, _FolderHints] = {}
        self._overflow = _OverflowHandler(self)
        logging.getLogger(_WATCHDOG_LOGGER).addHandler(self._overflow)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, name: str, path: Path, mode: WatchMode = "auto", fstype: str = "") -> HintHealth:
        """Begin to watch a folder; it is dirty at once.

        Parameters
        ----------
        name : str
            The folder's name in the settings. One that is there already is replaced.
        path : Path
        mode : WatchMode
            `auto` polls where events do not reach; `events` tries in any case.
        fstype : str
            From `probe_mount`.

        Returns
        -------
        HintHealth
            Never raises: a folder that cannot be watched is polled.
        """
        self.remove(name)
        folder = _FolderHints(path, mode, fstype, self._wake)
        self._folders[name] = folder
        folder.start()
        return folder.health()

    def remove(self, name: str) -> None:
        """Stop watching a folder; unknown names are ignored."""
        folder = self._folders.pop(name, None)
        if folder is not None:
            folder.stop()

    def take(self) -> dict[str, Dirt]:
        """Return and forget what is dirty, by folder name; folders that are clean are left out."""
        taken = {name: folder.take() for name, folder in list(self._folders.items())}
        return {name: dirt for name, dirt in taken.items() if dirt is not None}

    def supervise(self, now_s: float) -> dict[str, HintHealth]:
        """Restart what has died and try again where watching failed; call every few seconds.

        Parameters
        ----------
        now_s : float
            Monotonic seconds, for the back-off between two tries (1 s to 1 h).

        Returns
        -------
        dict of str to HintHealth
            The folders whose mode or reason changed by this call.
        """
        changed = {}
        for name, folder in self._folders.items():
            before = folder.health()
            folder.supervise(now_s)
            after = folder.health()
            if (before.mode, before.reason) != (after.mode, after.reason):
                changed[name] = after
        return changed

    def health(self) -> dict[str, HintHealth]:
        """Return how each folder's hints are doing."""
        return {name: folder.health() for name, folder in list(self._folders.items())}

    def record_overflow(self) -> None:
        """Take every folder for dirty: the kernel's queue ran over and events were lost."""
        for folder in list(self._folders.values()):
            folder.record_overflow()

    def close(self) -> None:
        """Stop all threads."""
        logging.getLogger(_WATCHDOG_LOGGER).removeHandler(self._overflow)
        for name in list(self._folders):
            self.remove(name)


class _OverflowHandler(logging.Handler):
    """Watchdog tells of an overflow in a log record and nowhere else."""

    def __init__(self, hints: Hints) -> None:
        super().__init__(logging.WARNING)
        self._hints = hints

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in str(record.msg).lower():
            self._hints.record_overflow()


class _FolderHints:
    """The observer of one folder, and what it has made dirty."""

    def __init__(self, path: Path, mode: WatchMode, fstype: str, wake: threading.Event) -> None:
        self._path = path
        self._mode = mode
        self._fstype = fstype
        self._wake = wake
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._all = False
        self._observer: BaseObserver | None = None
        self._reader: threading.Thread | None = None
        self._root: tuple[int, int] | None = None
        self._reason = ""
        self._events = self._errors = self._overflows = self._restarts = 0
        self._retry_at_s = 0.0
        self._back_off_s = _BACK_OFF_S[0]

    # ------------------------------------------------------------ what is dirty

    def dispatch(self, event: "FileSystemEvent") -> None:
        """Note an event. An exception would end the observer's thread for good: none leaves."""
        try:
            self._events += 1
            self._note(event.src_path)
            self._note(getattr(event, "dest_path", ""))
        except Exception:  # noqa: BLE001 - whatever it was, the scan will find what the event meant
            self._errors += 1
            self.mark_all()

    def _note(self, path: bytes | str) -> None:
        if not path:
            return
        root, inside = os.fspath(self._path), os.fsdecode(path)
        first = inside[len(root) :].strip("/").partition("/")[0]
        if not first or not inside.startswith(root):
            return  # the drop folder itself, or where something was moved to
        with self._lock:
            if len(self._names) < MAX_DIRTY:
                self._names.add(first)
            else:
                self._all = True
        self._wake.set()

    def mark_all(self) -> None:
        """Take everything in the folder for dirty."""
        with self._lock:
            self._all = True
        self._wake.set()

    def take(self) -> Dirt | None:
        """Return and forget what is dirty."""
        with self._lock:
            names, everything = self._names, self._all
            self._names, self._all = set(), False
        if everything:
            return Dirt(None)
        return Dirt(frozenset(names)) if names else None

    def record_overflow(self) -> None:
        """Count an overflow and take everything for dirty."""
        if self._observer is not None:
            self._overflows += 1
            self.mark_all()

    # ------------------------------------------------------------ the observer's life

    def start(self) -> None:
        """Start an observer if the mode and the file system allow it."""
        self._reason = self._reason_to_poll()
        if self._mode != "poll" and not self._reason:
            self._reason = self._start_observer()
        self.mark_all()

    def _reason_to_poll(self) -> str:
        if self._mode == "auto" and is_remote_type(self._fstype):
            return (
                f"“{show_path(self._path)}” lies on {self._fstype}: changes made by other machines "
                "bring no events. It is polled."
            )
        return ""

    def _start_observer(self) -> str:
        """Return why it could not be started, or why it does not see everything; else empty."""
        shown = show_path(self._path)
        try:
            facts = self._path.stat()
            missing = inotify.find_shortage(self._path)
            if missing:
                return f"{missing} It is polled."
            observer, reader = _start_watching(self, self._path)
        except OSError as error:
            return f"“{shown}” cannot be watched: {error.strerror or error}. It is polled."
        self._observer, self._reader = observer, reader
        self._root = (facts.st_dev, facts.st_ino)
        if is_remote_type(self._fstype):
            return f"“{shown}” lies on {self._fstype}: other machines' changes bring no events."
        return ""

    def stop(self) -> None:
        """Stop the observer and wait for its threads."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join(_JOIN_S)

    def supervise(self, now_s: float) -> None:
        """Restart a dead observer, or try again where watching failed."""
        if self._mode == "poll" or self._reason_to_poll():
            return
        fault = self._find_fault()
        if not fault or now_s < self._retry_at_s:
            return
        self.stop()
        self._restarts += 1
        self.start()
        is_well = self._observer is not None
        self._retry_at_s = now_s + self._back_off_s
        self._back_off_s = _BACK_OFF_S[0] if is_well else min(self._back_off_s * 2, _BACK_OFF_S[1])

    def _find_fault(self) -> str:
        observer = self._observer
        if observer is None:
            return "there is no observer"
        if not observer.is_alive() or not all(emitter.is_alive() for emitter in observer.emitters):
            return "a thread of the observer has died"
        if self._reader is not None and not self._reader.is_alive():
            return "the thread that reads inotify has died"
        try:
            facts = self._path.stat()
        except OSError:
            return "the folder is gone"
        if (facts.st_dev, facts.st_ino) != self._root:
            return "the folder was replaced: its watch looks at the old one"
        return ""

    def health(self) -> HintHealth:
        """Return how the hints are doing."""
        mode: Literal["events", "poll"] = "poll" if self._observer is None else "events"
        return HintHealth(
            mode, self._reason, self._events, self._errors, self._overflows, self._restarts
        )


def _start_watching(
    handler: _FolderHints, path: Path
) -> "tuple[BaseObserver, threading.Thread | None]":
    """Return a running observer and the thread in which it reads inotify.

    Raises
    ------
    OSError
        It could not be started; no thread is left behind.
    """
    from watchdog.observers import Observer  # late: commands that watch nothing do without it

    before = _readers()
    observer = Observer()
    reader = next(iter(_readers() - before), None)
    try:
        observer.schedule(handler, os.fspath(path), recursive=True, event_filter=_kinds())  # type: ignore[arg-type]  # `dispatch` is all an observer calls
        observer.start()
    except OSError:
        observer.stop()  # the reader runs since the observer was made
        raise
    return observer, reader


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
