"""The room at all targets: looked at by errands, judged before each conversion."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from stackwatch.clock import Clock
from stackwatch.daemon.errands import Errands, Unanswered
from stackwatch.daemon.room import Pause, Room, estimate_need, judge_room, probe_room
from stackwatch.ledger.records import Job
from stackwatch.logs import Event, logger
from stackwatch.settings import FolderSettings

FRESH_S = 2.0
"""So long a figure is good enough to begin a conversion on, or to stay paused."""

PROBE_DEADLINE_S = 30.0
PATIENCE_S = 1.0
"""Other folders let a folder go first for so long while its target is being looked at."""


@dataclass(slots=True)
class _Known:
    room: Room | None = None
    seen_s: float = 0.0
    asked_s: float | None = None


class Rooms:
    """Which folders are paused, and why. Used by the main thread alone.

    Parameters
    ----------
    errands : Errands
    clock : Clock
    """

    def __init__(self, errands: Errands, clock: Clock) -> None:
        self._errands = errands
        self._clock = clock
        self._known: dict[Path, _Known] = {}
        self.paused: dict[str, Pause] = {}

    def may_begin(
        self,
        folder: FolderSettings,
        job: Job,
        promised: Callable[[int], int],
        kept_bytes: int = 0,
    ) -> bool | None:
        """Tell whether there is room for a job; None while that is being found out.

        Parameters
        ----------
        folder : FolderSettings
        job : Job
        promised : callable
            Returns what running conversions are going to write on a device.
        kept_bytes : int
            What earlier attempts have left there, and this one takes over.
        """
        known = self._known.setdefault(folder.target, _Known())
        age_s = self._clock.monotonic() - known.seen_s
        if known.room is None or age_s > FRESH_S:
            return self._ask(folder.target, known)
        need = estimate_need(job.total_bytes, job.error)
        pause = judge_room(
            known.room,
            replace(need, bytes=max(0, need.bytes - kept_bytes)),
            folder.reserve_gib,
            promised(known.room.device),
            is_paused=folder.name in self.paused,
        )
        if pause is None:
            self.resume(folder.name)
        else:
            self.pause(folder.name, pause)
        return pause is None

    def device_of(self, target: Path) -> int:
        """Return the file system a target was last seen on."""
        known = self._known.get(target)
        return known.room.device if known is not None and known.room is not None else 0

    def pause(self, folder: str, pause: Pause) -> None:
        """Let a folder wait; said in the log once, whatever its figures do."""
        if folder not in self.paused:
            logger(folder=folder).warning(
                Event.FOLDER_PAUSED,
                reason=pause.reason,
                hint="Make room, or mend the target; it goes on by itself.",
                needed_bytes=pause.needed_bytes,
                free_bytes=pause.free_bytes,
                reserve_bytes=pause.reserve_bytes,
            )
        self.paused[folder] = pause

    def resume(self, folder: str, reason: str = "there is room at its target") -> None:
        """Let a folder go on."""
        if self.paused.pop(folder, None) is not None:
            logger(folder=folder).info(Event.FOLDER_RECOVERED, reason=reason)

    def _ask(self, target: Path, known: _Known) -> bool | None:
        """Have a target looked at; False when others should not wait for the answer."""
        now_s = self._clock.monotonic()
        if known.asked_s is None:
            known.asked_s = now_s
            self._errands.ask(
                target,
                probe_room,
                target,
                lambda answer: self._take(known, answer),
                PROBE_DEADLINE_S,
            )
        return None if now_s - known.asked_s < PATIENCE_S else False

    def _take(self, known: _Known, answer: Room | Unanswered) -> None:
        known.room = Room(obstacle=answer.reason) if isinstance(answer, Unanswered) else answer
        known.asked_s = None
        known.seen_s = self._clock.monotonic()
