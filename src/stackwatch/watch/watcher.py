"""Watch one folder: its observer, what that has made dirty, and whether it can still be believed.

Whatever touches the folder happens in a thread that may hang with it; the caller waits a moment
and goes on. One such thread at a time: while it hangs nothing else is tried.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from stackwatch.model.acquisition import show_path
from stackwatch.watch import inotify
from stackwatch.watch.mounts import is_remote_type, locate_mount, read_mounts
from stackwatch.watch.observer import start_watching

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver

WatchMode = Literal["auto", "events", "poll"]

MAX_DIRTY: Final = 1000
"""Names remembered for one folder; more mean "everything"."""

COOKIE_NAME: Final = ".stackwatch-probe"
"""The file that is written where `writable = true`, to see whether its event arrives."""

COOKIE_INTERVAL_S: Final = 60.0
COOKIE_DEADLINE_S: Final = 4.0
MAX_DOUBTS: Final = 2
"""So often a folder whose events prove to be missing is watched anew before it is polled."""

_BACK_OFF_S: Final = (1.0, 3600.0)
_JOIN_S: Final = 5.0


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
    events, errors, overflows, restarts, cookies : int
        Since the folder was added; `cookies` are those whose event arrived.
    """

    mode: Literal["events", "poll"]
    reason: str
    events: int = 0
    errors: int = 0
    overflows: int = 0
    restarts: int = 0
    cookies: int = 0


@dataclass(frozen=True, slots=True)
class Dirt:
    """What changed in one folder since it was last taken.

    `names` are paths below the drop folder, cut to as many parts as an acquisition's key has; None
    means that anything may have.
    """

    names: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class WatchOrder:
    """Which folder to watch, and how.

    Attributes
    ----------
    path : Path
    mode : WatchMode
        `auto` polls where events do not reach; `events` tries in any case.
    fstype : str
        The file system it lies on; empty: found out anew at every try.
    depth : int
        Parts of an acquisition's path.
    is_writable : bool
        A cookie file may be written into it.
    """

    path: Path
    mode: WatchMode = "auto"
    fstype: str = ""
    depth: int = 1
    is_writable: bool = False


class FolderWatcher:
    """The observer of one folder, and what it has made dirty.

    `ask_*` and `wait` belong to one thread; the rest may be called from any.
    """

    def __init__(self, order: WatchOrder, wake: threading.Event) -> None:
        self._order = order
        self._path = order.path
        self._wake = wake
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._all = False
        self._observer: BaseObserver | None = None
        self._reader: threading.Thread | None = None
        self._root: tuple[int, int] | None = None
        self._reason = ""
        self._doubt = ""
        self._doubts = 0
        self._doubted_s = 0.0
        self._events = self._errors = self._overflows = self._restarts = self._cookies = 0
        self._retry_at_s = 0.0
        self._back_off_s = _BACK_OFF_S[0]
        self._cookie_at_s: float | None = None
        self._is_cookie_awaited = False
        self._cookie_fault = ""
        self._thread: threading.Thread | None = None
        self._is_left = False

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
        parts = inside[len(root) :].strip("/").split("/")[: self._order.depth]
        if not parts[0] or not inside.startswith(root):
            return  # the drop folder itself, or where something was moved to
        if parts == [COOKIE_NAME]:
            self._cookies += self._is_cookie_awaited
            self._is_cookie_awaited = False
            return
        with self._lock:
            if len(self._names) < MAX_DIRTY:
                self._names.add("/".join(parts))
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

    def doubt(self, reason: str) -> None:
        """Note that events are missing: the folder is watched anew, or polled if that was tried."""
        if self._observer is not None:
            self._doubts += 1
            self._doubt = reason

    def health(self) -> HintHealth:
        """Return how the hints are doing."""
        mode: Literal["events", "poll"] = "poll" if self._observer is None else "events"
        reason = self._reason or self._cookie_fault
        if self._thread is not None and self._thread.is_alive():
            mode = "poll"
            reason = f"“{show_path(self._path)}” does not answer. It is polled until it does."
        return HintHealth(
            mode,
            reason,
            self._events,
            self._errors,
            self._overflows,
            self._restarts,
            self._cookies,
        )

    # ------------------------------------------------------------ a thread that may hang

    def ask_to_start(self, before: "FolderWatcher | None" = None) -> None:
        """Begin to watch, in the place of another watcher if one is given."""
        self._ask(lambda: self._replace(before))

    def ask_to_supervise(self, now_s: float) -> None:
        """Begin to look whether all is well; does nothing while the last look hangs."""
        self._ask(lambda: self._supervise(now_s))

    def ask_to_stop(self) -> None:
        """Begin to stop; what hangs stops when it answers."""
        self._is_left = True
        self._ask(lambda: None)

    def stop(self, until_s: float) -> None:
        """Stop, and wait for that until then, monotonic seconds."""
        self.ask_to_stop()
        if self.wait(until_s) and self._observer is not None:
            self.ask_to_stop()  # what ran had looked away just before it was told
            self.wait(until_s)

    def wait(self, until_s: float) -> bool:
        """Wait for what was asked; return False if it still goes on then, monotonic seconds."""
        if self._thread is None:
            return True
        self._thread.join(max(0.0, until_s - time.monotonic()))
        return not self._thread.is_alive()

    def _ask(self, job: Callable[[], None]) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = threading.Thread(
            target=self._run, args=(job,), name=f"watch-{self._path.name}", daemon=True
        )
        self._thread.start()

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001 - a folder without hints is polled, whatever it was
            self._errors += 1
            self._reason = (
                f"“{show_path(self._path)}” cannot be watched: {show_path(str(error))}. "
                "It is polled."
            )
            self._stop()
            self.mark_all()
        if self._is_left:
            self._stop()

    # ------------------------------------------------------------ the observer's life

    def _replace(self, before: "FolderWatcher | None") -> None:
        if before is not None:
            before.stop(time.monotonic() + _JOIN_S)
        self._start()

    def _start(self) -> None:
        """Start an observer if the mode and the file system allow it."""
        self._cookie_at_s, self._is_cookie_awaited, self._cookie_fault = None, False, ""
        self._reason = self._reason_to_poll()
        if self._order.mode != "poll" and not self._reason:
            self._reason = self._start_observer()
        self.mark_all()

    def _reason_to_poll(self) -> str:
        shown = show_path(self._path)
        if self._doubts > MAX_DOUBTS:
            return f"Events of “{shown}” are missing again and again: {self._doubt} It is polled."
        if self._order.mode == "auto" and is_remote_type(self._fstype()):
            return (
                f"“{shown}” lies on {self._fstype()}: changes made by other machines bring no "
                "events. It is polled."
            )
        return ""

    def _fstype(self) -> str:
        """Return the type of the file system that lies there now."""
        if self._order.fstype:
            return self._order.fstype
        mount = locate_mount(self._path, read_mounts())
        return mount.fstype if mount is not None else ""

    def _start_observer(self) -> str:
        """Return why it could not be started, or why it does not see everything; else empty."""
        shown = show_path(self._path)
        try:
            facts = self._path.stat()
            missing = inotify.find_shortage(self._path)
            if missing:
                return f"{missing} It is polled."
            observer, reader = start_watching(self, self._path)
        except OSError as error:
            return f"“{shown}” cannot be watched: {inotify.explain(error)}. It is polled."
        self._observer, self._reader = observer, reader
        self._root = (facts.st_dev, facts.st_ino)
        if is_remote_type(self._fstype()):
            return f"“{shown}” lies on {self._fstype()}: other machines' changes bring no events."
        return ""

    def _stop(self) -> None:
        """Stop the observer and wait for its threads."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join(_JOIN_S)

    def _supervise(self, now_s: float) -> None:
        """Restart a dead observer, or try again where watching failed."""
        if self._order.mode == "poll":
            return
        reason = self._reason_to_poll()
        if reason:
            if self._observer is not None:
                self._stop()
                self.mark_all()
            self._reason = reason
            return
        fault = self._find_fault(now_s)
        if not fault:
            self._send_cookie(now_s)
            return
        if now_s < self._retry_at_s:
            return
        self._stop()
        self._restarts += 1
        self._forgive(now_s)
        self._start()
        is_well = self._observer is not None
        self._retry_at_s = now_s + self._back_off_s
        self._back_off_s = _BACK_OFF_S[0] if is_well else min(self._back_off_s * 2, _BACK_OFF_S[1])

    def _forgive(self, now_s: float) -> None:
        """Forget doubts that lie long back: a hard link here and there is no missing event."""
        if self._doubt and now_s - self._doubted_s > _BACK_OFF_S[1]:
            self._doubts = 1
        if self._doubt:
            self._doubted_s = now_s
        self._doubt = "" if self._doubts <= MAX_DOUBTS else self._doubt

    def _find_dead(self) -> str:
        observer = self._observer
        if observer is None:
            return "there is no observer"
        if not observer.is_alive() or not all(emitter.is_alive() for emitter in observer.emitters):
            return "a thread of the observer has died"
        if self._reader is not None and not self._reader.is_alive():
            return "the thread that reads inotify has died"
        return ""

    def _find_fault(self, now_s: float) -> str:
        dead = self._find_dead()
        if dead:
            return dead
        try:
            facts = self._path.stat()
        except OSError:
            return "the folder is gone"
        if (facts.st_dev, facts.st_ino) != self._root:
            return "the folder was replaced: its watch looks at the old one"
        if self._is_cookie_awaited and now_s - (self._cookie_at_s or 0) >= COOKIE_DEADLINE_S:
            return "the event of a file of our own did not arrive"
        return self._doubt

    def _send_cookie(self, now_s: float) -> None:
        """Write and remove a file whose event must arrive: nothing else proves that events do."""
        if not self._order.is_writable:
            return
        if self._cookie_at_s is not None and now_s - self._cookie_at_s < COOKIE_INTERVAL_S:
            return
        self._cookie_at_s, self._is_cookie_awaited = now_s, True
        cookie = self._path / COOKIE_NAME
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            os.close(os.open(cookie, flags, 0o600))
        except OSError as error:
            self._is_cookie_awaited = False
            self._cookie_fault = (
                f"`writable` is true, but “{show_path(cookie)}” cannot be written "
                f"({error.strerror}): whether events arrive is not proven."
            )
        else:
            self._cookie_fault = ""
        with contextlib.suppress(OSError):
            cookie.unlink()
