"""Let the kernel say that something changed, so that the next scan comes sooner.

A hint is never believed: it names a folder that is worth a scan. Lost hints cost time and nothing
else. Where events do not reach (network mounts, exhausted inotify watches, a dead observer) the
folder is polled and the reason is kept for `health`.
"""

import logging
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stackwatch.watch import inotify
from stackwatch.watch.observer import WATCHDOG_LOGGER, OverflowHandler
from stackwatch.watch.watcher import (
    MAX_DIRTY,
    Dirt,
    FolderWatcher,
    HintHealth,
    WatchMode,
    WatchOrder,
)

__all__ = ["MAX_DIRTY", "Dirt", "HintHealth", "Hints", "WatchMode", "WatchOrder"]

PATIENCE_S: Final = 2.0
"""How long a call waits for folders that may hang; they go on by themselves."""


class Hints:
    """Watches folders for events and remembers which of them are dirty.

    Parameters
    ----------
    wake : threading.Event
        Set whenever a folder becomes dirty. The caller clears it *before* it calls `take`.
    patience_s : float
        How long a call may wait for a folder that does not answer.

    Notes
    -----
    `add`, `remove`, `supervise`, `note_scan` and `close` belong to one thread; `take` and `health`
    may be called from any. Order at the start: `add` first, then scan; the other way round loses
    files. A folder that takes longer than the patience is watched later, and is dirty again then.
    """

    def __init__(self, wake: threading.Event, patience_s: float = PATIENCE_S) -> None:
        self._wake = wake
        self._patience_s = self._left_s = patience_s
        self._folders: dict[str, FolderWatcher] = {}
        self._told: dict[str, HintHealth] = {}
        self._directories: dict[str, int] = {}
        self._short: set[str] = set()
        self._overflow = OverflowHandler(self.record_overflow)
        logging.getLogger(WATCHDOG_LOGGER).addHandler(self._overflow)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(
        self,
        name: str,
        path: Path,
        mode: WatchMode = "auto",
        fstype: str = "",
        *,
        depth: int = 1,
        is_writable: bool = False,
    ) -> HintHealth:
        """Begin to watch a folder; it is dirty at once.

        Parameters
        ----------
        name : str
            The folder's name in the settings. One that is there already is replaced.
        path, mode, fstype, depth, is_writable
            As in `WatchOrder`.

        Returns
        -------
        HintHealth
            Never raises: a folder that cannot be watched is polled.
        """
        before = self._folders.pop(name, None)
        folder = FolderWatcher(WatchOrder(path, mode, fstype, depth, is_writable), self._wake)
        self._folders[name] = folder
        folder.mark_all()
        folder.ask_to_start(before)
        folder.wait(time.monotonic() + self._left_s)
        self._note_answer(folder)
        self._told[name] = folder.health()
        return self._told[name]

    def remove(self, name: str) -> None:
        """Stop watching a folder; unknown names are ignored."""
        folder = self._folders.pop(name, None)
        self._told.pop(name, None)
        self._directories.pop(name, None)
        self._short.discard(name)
        if folder is not None:
            folder.stop(time.monotonic() + self._left_s)
            self._note_answer(folder)

    def _note_answer(self, folder: FolderWatcher) -> None:
        """Halve the patience with the next folders where one has not answered.

        So any number of them, on a share that is dead, costs twice the patience at most.
        """
        if not folder.wait(time.monotonic()):
            self._left_s /= 2

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
            The folders whose mode or reason changed since they were last told.
        """
        self._left_s = self._patience_s
        asked = {
            name: folder for name, folder in self._folders.items() if folder.wait(time.monotonic())
        }
        for folder in asked.values():
            folder.ask_to_supervise(now_s)
        until_s = time.monotonic() + self._patience_s
        for folder in asked.values():
            folder.wait(until_s)
        changed = {}
        for name, health in self.health().items():
            before = self._told.get(name)
            if before is None or (before.mode, before.reason) != (health.mode, health.reason):
                changed[name] = health
            self._told[name] = health
        return changed

    def note_scan(self, name: str, directories: int, silent: int) -> None:
        """Compare what a scan of everything saw with what the observer claims to see.

        Parameters
        ----------
        name : str
        directories : int
            Folders the scan has listed: each of them needs a watch.
        silent : int
            Acquisitions that changed although no event has told of it.
        """
        folder = self._folders.get(name)
        if folder is None or folder.health().mode != "events":
            self._directories.pop(name, None)
            return
        if silent:
            folder.doubt(f"{silent} acquisitions had changed without one.")
        if self._directories.get(name) != directories or name in self._short:
            self._directories[name] = directories
            self._find_unwatched(name, folder)

    def _find_unwatched(self, name: str, folder: FolderWatcher) -> None:
        """Doubt the observer when folders have no watch, twice in a row: one may just be new."""
        wanted, held = sum(self._directories.values()), inotify.count_watches()
        was_short = name in self._short
        self._short.discard(name)
        if not 0 < held < wanted:
            self._short.clear()
        elif was_short:
            folder.doubt(f"{wanted - held} of {wanted} folders are not watched.")
        else:
            self._short.add(name)

    def health(self) -> dict[str, HintHealth]:
        """Return how each folder's hints are doing."""
        return {name: folder.health() for name, folder in list(self._folders.items())}

    def record_overflow(self) -> None:
        """Take every folder for dirty: the kernel's queue ran over and events were lost."""
        for folder in list(self._folders.values()):
            folder.record_overflow()

    def close(self) -> None:
        """Stop all threads that answer."""
        logging.getLogger(WATCHDOG_LOGGER).removeHandler(self._overflow)
        folders, self._folders = list(self._folders.values()), {}
        for folder in folders:
            folder.ask_to_stop()
        until_s = time.monotonic() + self._patience_s
        for folder in folders:
            folder.stop(until_s)
