"""The daemon's scan processes: one for all local folders, one for each network mount.

Each process has a lane: folders wait in it, one is scanned at a time, with a deadline. A scan
that misses it is killed and its folder is reported unavailable; other lanes do not notice.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackwatch.clock import Clock
from stackwatch.daemon.children import Child, module_command
from stackwatch.daemon.wire import dump_record, load_record
from stackwatch.model.acquisition import show_path
from stackwatch.watch.mounts import (
    MOUNTINFO,
    Mount,
    MountIdentity,
    is_remote_type,
    mount_of,
    parse_mountinfo,
)
from stackwatch.watch.scan import FolderScan, FolderUnavailable, ScanOptions

SCAN_COMMAND = module_command("stackwatch.daemon.scan_main")
SCAN_DEADLINE_S = 300.0
LOCAL_LANE = "local"


@dataclass(frozen=True, slots=True)
class ScanOrder:
    """One folder to be scanned.

    Attributes
    ----------
    folder : str
        Name of the drop folder.
    path : Path
    options : ScanOptions
    expected : MountIdentity or None
        Of its last good scan.
    keys : frozenset of str or None
        Acquisitions to look at; None for all.
    ticket : int
        The caller's own mark, to recognise the order by; 0 for none.
    """

    folder: str
    path: Path
    options: ScanOptions
    expected: MountIdentity | None = None
    keys: frozenset[str] | None = None
    ticket: int = 0


@dataclass(frozen=True, slots=True)
class ScanSaid:
    """A scan process answered, or ended (None). Give it to `Scanner.take`."""

    lane: "Lane"
    child: Child
    message: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class ScanDone:
    """What became of an order."""

    order: ScanOrder
    found: FolderScan | FolderUnavailable


@dataclass(eq=False, slots=True)
class Lane:
    """A scan process and the folders that wait for it."""

    name: str
    waiting: deque[ScanOrder] = field(default_factory=deque)
    current: ScanOrder | None = None
    deadline_at: float = 0.0
    child: Child | None = None
    is_killed: bool = False


class Scanner:
    """Scans folders in processes of their own. Used by the main thread alone.

    Parameters
    ----------
    post : callable
        Takes `ScanSaid`; called from other threads.
    clock : Clock
    deadline_s : float
        How long one scan may take.
    command : sequence of str
        What to start; tests give a stand-in.
    """

    def __init__(
        self,
        post: Callable[[ScanSaid], None],
        clock: Clock,
        deadline_s: float = SCAN_DEADLINE_S,
        command: Sequence[str] = SCAN_COMMAND,
    ) -> None:
        self._post = post
        self._clock = clock
        self._deadline_s = deadline_s
        self._command = command
        self._lanes: dict[str, Lane] = {}

    def is_busy_with(self, folder: str) -> bool:
        """Tell whether a scan of this folder runs or waits."""
        return any(
            order.folder == folder
            for lane in self._lanes.values()
            for order in (*lane.waiting, lane.current)
            if order is not None
        )

    def order(self, order: ScanOrder) -> None:
        """Have a folder scanned; `take` returns its `ScanDone` later."""
        name = choose_lane(order)
        lane = self._lanes.setdefault(name, Lane(name))
        lane.waiting.append(order)
        self._advance(lane)

    def take(self, said: ScanSaid) -> ScanDone | None:
        """Return what an answer, or the end of a scan process, means for the folder it scanned."""
        lane, order = said.lane, said.lane.current
        if said.message is None:
            said.child.reap()
            lane.child, lane.current, lane.is_killed = None, None, False
            done = ScanDone(order, _ended(order)) if order is not None else None
        elif order is None or lane.is_killed:
            return None  # the answer came after the deadline
        else:
            lane.current = None
            done = ScanDone(order, _load_answer(said.message))
        self._advance(lane)
        return done

    def expire(self) -> list[ScanDone]:
        """Kill scans beyond their deadline and return their folders as unavailable."""
        expired = []
        for lane in self._lanes.values():
            self._advance(lane)  # a process that could not be started is tried again
            if lane.child is None or lane.deadline_at > self._clock.monotonic():
                continue
            if lane.is_killed:
                # not even SIGKILL ends a process that waits for a dead share
                expired += [ScanDone(order, self._hung(order)) for order in lane.waiting]
                lane.waiting.clear()
            elif lane.current is not None:
                lane.is_killed = True
                lane.child.kill()
                expired.append(ScanDone(lane.current, self._hung(lane.current)))
                lane.current = None
        return expired

    def close(self) -> None:
        """Kill every scan process. One that hangs in the kernel is left to the kernel."""
        for lane in self._lanes.values():
            lane.waiting.clear()
            if lane.child is not None:
                lane.is_killed = True
                lane.child.kill()

    @property
    def has_children(self) -> bool:
        """Whether a scan process is still there."""
        return any(lane.child is not None for lane in self._lanes.values())

    @property
    def next_deadline_at(self) -> float | None:
        """When `expire` has something to do, on the monotonic clock."""
        return min(
            (lane.deadline_at for lane in self._lanes.values() if lane.current is not None),
            default=None,
        )

    def _advance(self, lane: Lane) -> None:
        """Give a free process the next folder."""
        if lane.current is not None or lane.is_killed or not lane.waiting:
            return
        if lane.child is None:
            try:
                lane.child = Child(
                    self._command,
                    lambda child, message: self._post(ScanSaid(lane, child, message)),
                )
            except OSError:
                return  # short of memory or processes; `expire` tries again
        lane.current = lane.waiting.popleft()
        lane.deadline_at = self._clock.monotonic() + self._deadline_s
        lane.child.send(_dump_order(lane.current))

    def _hung(self, order: ScanOrder) -> FolderUnavailable:
        return FolderUnavailable(
            f"“{show_path(order.path)}” did not answer within {self._deadline_s:g} s. "
            "The share hangs; other folders go on. Look at the mount."
        )


def choose_lane(order: ScanOrder, mountinfo: Path = MOUNTINFO) -> str:
    """Return the lane of a folder, without touching the folder: that alone may hang.

    A folder seen before is known by its mount; a new one by its path as it is written.
    """
    if order.expected is not None:
        known = order.expected
        return f"{known.fstype}:{known.device}" if known.is_remote else LOCAL_LANE
    mount = find_mount(order.path, mountinfo)
    if mount is None or not is_remote_type(mount.fstype):
        return LOCAL_LANE
    return f"{mount.fstype}:{mount.mount_point}"


def find_mount(path: Path, mountinfo: Path = MOUNTINFO) -> Mount | None:
    """Return the mount of a path as it is written, without touching it; None if unknown."""
    try:
        return mount_of(str(path), parse_mountinfo(mountinfo.read_bytes()))
    except OSError:
        return None


def _dump_order(order: ScanOrder) -> dict[str, Any]:
    return {
        "folder": order.folder,
        "path": str(order.path),
        "options": dump_record(order.options),
        "expected": order.expected.as_record() if order.expected is not None else None,
        "keys": sorted(order.keys) if order.keys is not None else None,
    }


def _load_answer(message: dict[str, Any]) -> FolderScan | FolderUnavailable:
    if message["kind"] == "unavailable":
        return load_record(FolderUnavailable, message["found"])
    return load_record(FolderScan, message["found"])


def _ended(order: ScanOrder) -> FolderUnavailable:
    return FolderUnavailable(
        f"The process that scanned “{show_path(order.path)}” ended without an answer. "
        "It is started again at the next scan."
    )
