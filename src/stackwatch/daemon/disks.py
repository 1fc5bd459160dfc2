"""How much room there is where the service writes: looked at now and then, by errands.

A target may lie on a share that hangs, so the daemon asks a process to look. The ledger's own disk
is local by decree, and looked at directly.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stackwatch.clock import Clock
from stackwatch.daemon.errands import Errands, Unanswered
from stackwatch.daemon.room import Room, probe_room
from stackwatch.settings import FolderSettings, Settings
from stackwatch.stores.room import plan_reserve

LOOK_INTERVAL_S: Final = 60.0
PROBE_DEADLINE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class DiskReading:
    """The room on one file system.

    Attributes
    ----------
    path : Path
        A target, or the state directory.
    role : "target" | "state"
    folders : tuple of str
        Whose target lies there.
    room : Room
    reserve_bytes : int
        What is to be kept free there; 0 for the state directory.
    """

    path: Path
    role: str
    folders: tuple[str, ...]
    room: Room
    reserve_bytes: int = 0

    @property
    def is_low(self) -> bool:
        """Whether there is less room than the reserve."""
        is_known = self.room.total_bytes > 0 and not self.room.obstacle
        return is_known and self.room.free_bytes < self.reserve_bytes


class Disks:
    """The room at all targets and at the ledger. Used by the main thread alone.

    Parameters
    ----------
    errands : Errands
    clock : Clock
    """

    def __init__(self, errands: Errands, clock: Clock) -> None:
        self._errands = errands
        self._clock = clock
        self._folders: tuple[FolderSettings, ...] = ()
        self._state_dir = Path()
        self._rooms: dict[Path, Room] = {}
        self._asked: set[Path] = set()
        self._next_s = float("-inf")

    def adopt(self, settings: Settings) -> None:
        """Take new settings over, and look soon."""
        self._folders = settings.folder
        self._state_dir = settings.daemon.state_dir
        targets = {folder.target for folder in settings.folder}
        self._rooms = {path: room for path, room in self._rooms.items() if path in targets}
        self._next_s = float("-inf")

    def tick(self, interval_s: float = LOOK_INTERVAL_S) -> None:
        """Have each target looked at if it is time."""
        now_s = self._clock.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + interval_s
        for target in dict.fromkeys(folder.target for folder in self._folders):
            if target not in self._asked:
                self._asked.add(target)
                self._ask(target)

    def readings(self) -> tuple[DiskReading, ...]:
        """Return what is known; targets on one file system are told of once."""
        found: list[DiskReading] = [DiskReading(self._state_dir, "state", (), self._own_room())]
        by_place: dict[object, list[FolderSettings]] = {}
        for folder in self._folders:
            room = self._rooms.get(folder.target)
            if room is not None:
                by_place.setdefault(room.device or folder.target, []).append(folder)
        for folders in by_place.values():
            room = self._rooms[folders[0].target]
            reserve_gib = max(folder.reserve_gib for folder in folders)
            reserve = plan_reserve(reserve_gib, room.total_bytes) if room.total_bytes else 0
            names = tuple(folder.name for folder in folders)
            found.append(DiskReading(folders[0].target, "target", names, room, reserve))
        return tuple(found)

    def _own_room(self) -> Room:
        return probe_room(self._state_dir)

    def _ask(self, target: Path) -> None:
        self._errands.ask(
            target,
            probe_room,
            target,
            lambda answer: self._take(target, answer),
            PROBE_DEADLINE_S,
        )

    def _take(self, target: Path, answer: Room | Unanswered) -> None:
        self._asked.discard(target)
        if any(folder.target == target for folder in self._folders):
            room = Room(obstacle=answer.reason) if isinstance(answer, Unanswered) else answer
            self._rooms[target] = room
