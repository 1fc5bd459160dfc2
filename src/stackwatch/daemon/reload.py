"""Read the settings anew while the daemon runs: all of them are valid, or none is taken.

Reading happens in a thread: the check of a path may wait for a share that is dead, and the main
thread waits for nothing. Callers are answered when it is over.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from stackwatch.clock import Clock
from stackwatch.errors import ConfigError, StackwatchError, UnexpectedError, UsageError
from stackwatch.settings import Settings

LOAD_TIMEOUT_S: Final = 20.0

LoadSettings = Callable[[], Settings]
Reply = queue.SimpleQueue[dict[str, Any] | StackwatchError]


@dataclass(frozen=True, slots=True)
class SettingsLoaded:
    """Settings were read, or an error tells why not. Give it to `Reload.take`."""

    number: int
    found: Settings | StackwatchError


@dataclass(frozen=True, slots=True)
class Swap:
    """What a reload changes.

    Attributes
    ----------
    settings : Settings
        The new ones, with the old values of what only a restart can change.
    needs_restart : tuple of str
        Key paths of that.
    added, removed, changed : tuple of str
        Names of folders.
    """

    settings: Settings
    needs_restart: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Return the answer to the caller."""
        return {
            "status": "reloaded",
            "needs_restart": list(self.needs_restart),
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": list(self.changed),
        }


def plan_swap(old: Settings, new: Settings) -> Swap:
    """Compare valid settings with those in force. Pure.

    A folder is its name: under another path it is the same folder, and what lies in it under the
    same names are the same acquisitions.
    """
    needs_restart: list[str] = []
    if new.daemon.state_dir != old.daemon.state_dir:
        daemon = new.daemon.model_copy(update={"state_dir": old.daemon.state_dir})
        new = new.model_copy(update={"daemon": daemon})
        needs_restart.append("daemon.state_dir")
    if new.web.listen != old.web.listen:
        web = new.web.model_copy(update={"listen": old.web.listen})
        new = new.model_copy(update={"web": web})
        needs_restart.append("web.listen")
    before = {folder.name: folder for folder in old.folder}
    after = {folder.name: folder for folder in new.folder}
    return Swap(
        settings=new,
        needs_restart=tuple(needs_restart),
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(
            name for name in after if name in before and after[name] != before[name]
        ),
    )  # fmt: skip


@dataclass(slots=True)
class _Load:
    """A reading that is under way, and who waits for it."""

    number: int
    deadline_s: float
    replies: list[Reply] = field(default_factory=list)


class Reload:
    """Reads settings in a thread, one reading at a time. Used by the main thread alone.

    Parameters
    ----------
    load : callable or None
        None: the settings cannot be read again.
    post : callable
        Takes `SettingsLoaded`; called from another thread.
    clock : Clock
    """

    def __init__(
        self, load: LoadSettings | None, post: Callable[[SettingsLoaded], None], clock: Clock
    ) -> None:
        self._load = load
        self._post = post
        self._clock = clock
        self._current: _Load | None = None
        self._next: list[Reply] | None = None
        self._number = 0

    def begin(self, *replies: Reply) -> None:
        """Read the settings soon; a reading under way may have seen them before their last change.

        Raises
        ------
        UsageError
            They did not come from a file.
        """
        if self._load is None:
            raise UsageError("The settings did not come from a file; they cannot be read again.")
        if self._current is not None:
            self._next = [*(self._next or ()), *replies]
            return
        self._number += 1
        number = self._number
        self._current = _Load(number, self._clock.monotonic() + LOAD_TIMEOUT_S, list(replies))
        threading.Thread(target=self._read, args=(number,), name="reload", daemon=True).start()

    def take(self, loaded: SettingsLoaded) -> bool:
        """Tell whether this is the reading that is waited for; a late one is of no use."""
        return self._current is not None and self._current.number == loaded.number

    def expired(self) -> SettingsLoaded | None:
        """Return the refusal of a reading that takes too long."""
        if self._current is None or self._clock.monotonic() < self._current.deadline_s:
            return None
        hint = "Look whether all paths in the settings answer; a dead share hangs."
        return SettingsLoaded(
            self._current.number,
            ConfigError(
                f"The settings could not be checked within {LOAD_TIMEOUT_S:g} s. The old ones stay "
                f"in force. {hint}",
                hint=hint,
            ),
        )

    def finish(self, answer: dict[str, Any] | StackwatchError) -> None:
        """Answer all who wait, and begin the next reading if somebody asked meanwhile."""
        current, self._current = self._current, None
        for reply in current.replies if current is not None else ():
            reply.put(answer)
        waiting, self._next = self._next, None
        if waiting is not None:
            self.begin(*waiting)

    @property
    def deadline_s(self) -> float | None:
        """When `expired` has something to tell, monotonic seconds."""
        return self._current.deadline_s if self._current is not None else None

    def _read(self, number: int) -> None:
        """Read and validate. Runs in a thread of its own."""
        assert self._load is not None
        found: Settings | StackwatchError
        try:
            found = self._load()
        except StackwatchError as error:
            found = error
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers must hear of it
            found = UnexpectedError(f"The settings cannot be read: {type(error).__name__}: {error}")
        self._post(SettingsLoaded(number, found))
