"""The daemon's scan processes: one for all local folders, one for each network mount.

Each process has a lane: folders wait in it, one is scanned at a time, with a deadline. A scan
that misses it is killed and its folder is reported unavailable; other lanes do not notice. A local
folder that missed its deadline gets a lane of its own, so that it holds up the others once at most.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackwatch.clock import Clock
from stackwatch.daemon.children import Child, module_command
from stackwatch.daemon.scan_memory import ScanListener
from stackwatch.daemon.wire import dump_record, load_record
from stackwatch.model.acquisition import show_path
from stackwatch.watch.mounts import (
    MOUNTINFO,
    Mount,
    MountIdentity,
    is_remote_type,
    locate_mount,
    read_mounts,
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
    is_probing : bool
        Whether a look at `keys` also looks for what a listing does not show.
    """

    folder: str
    path: Path
    options: ScanOptions
    expected: MountIdentity | None = None
    keys: frozenset[str] | None = None
    ticket: int = 0
    is_probing: bool = True


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
        How long one scan may take; may be set anew at any time.
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
        self.deadline_s = deadline_s
        self._post = post
        self._clock = clock
        self._command = command
        self._lanes: dict[str, Lane] = {}
        self._dying: list[Lane] = []
        self._alone: set[str] = set()
        self._listener = ScanListener()

    def is_busy_with(self, folder: str) -> bool:
        """Tell whether a scan of this folder runs or waits."""
        return any(
            order.folder == folder
            for lane in self._lanes.values()
            for order in (*lane.waiting, lane.current)
            if order is not None
        )

    def forget(self, folder: str) -> None:
        """Forget what is remembered of a folder that is not in the settings any more."""
        self._listener.forget(folder)
        self._alone.discard(folder)

    def order(self, order: ScanOrder) -> None:
        """Have a folder scanned; `take` returns its `ScanDone` later."""
        name = choose_lane(order)
        if name == LOCAL_LANE and order.folder in self._alone:
            name = f"alone:{order.folder}"
        lane = self._lanes.setdefault(name, Lane(name))
        lane.waiting.append(order)
        self._advance(lane)

    def take(self, said: ScanSaid) -> ScanDone | None:
        """Return what an answer, or the end of a scan process, means for the folder it scanned."""
        lane, order = said.lane, said.lane.current
        if said.message is None:
            said.child.reap()
            lane.child, lane.current, lane.is_killed = None, None, False
            self._dying = [dying for dying in self._dying if dying is not lane]
            done = ScanDone(order, _ended(order)) if order is not None else None
        elif order is None or lane.is_killed:
            return None  # the answer came after the deadline
        else:
            lane.current = None
            done = ScanDone(order, self._load_answer(said.message))
        self._advance(lane)
        return done

    def expire(self) -> list[ScanDone]:
        """Kill scans beyond their deadline and return their folders as unavailable."""
        expired = []
        for lane in list(self._lanes.values()):
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
                if lane.name == LOCAL_LANE:
                    self._set_aside(lane, expired[-1].order.folder)
        return expired

    def _set_aside(self, lane: Lane, folder: str) -> None:
        """Let the other local folders go on with a new process while the killed one takes leave."""
        self._alone.add(folder)
        self._dying.append(lane)
        fresh = self._lanes[lane.name] = Lane(lane.name)
        lane.waiting, fresh.waiting = deque(), lane.waiting
        self._advance(fresh)

    def close(self) -> None:
        """Kill every scan process. One that hangs in the kernel is left to the kernel."""
        for lane in (*self._lanes.values(), *self._dying):
            lane.waiting.clear()
            if lane.child is not None:
                lane.is_killed = True
                lane.child.kill()

    @property
    def has_children(self) -> bool:
        """Whether a scan process is still there."""
        return bool(self._dying) or any(lane.child is not None for lane in self._lanes.values())

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
        lane.deadline_at = self._clock.monotonic() + self.deadline_s
        base = self._listener.base_of(lane.current.folder)
        lane.child.send({**_dump_order(lane.current), "base": base})

    def _load_answer(self, message: dict[str, Any]) -> FolderScan | FolderUnavailable:
        if message["kind"] == "unavailable":
            return load_record(FolderUnavailable, message["found"])
        return self._listener.take(message["folder"], message)

    def _hung(self, order: ScanOrder) -> FolderUnavailable:
        return FolderUnavailable(
            f"“{show_path(order.path)}” did not answer within {self.deadline_s:g} s. "
            "The share hangs; other folders go on. Look at the mount."
        )


def choose_lane(order: ScanOrder, mountinfo: Path = MOUNTINFO) -> str:
    """Return the lane of a folder, without touching a network mount: that alone may hang."""
    mount, known = find_mount(order.path, mountinfo), order.expected
    was_remote = known is not None and known.is_remote
    if mount is not None and mount.fstype == "autofs" and not was_remote:
        return f"autofs:{order.path}"  # any share may appear there: no two folders in one lane
    if mount is not None and is_remote_type(mount.fstype) and mount.fstype != "autofs":
        return f"{mount.fstype}:{mount.mount_point}"
    if known is not None and known.is_remote:  # not mounted now, or not yet
        return f"{known.fstype}:{known.mount_point or known.device}"
    return LOCAL_LANE


def find_mount(path: Path, mountinfo: Path = MOUNTINFO) -> Mount | None:
    """Return the mount a path leads to, without touching a network mount; None if unknown."""
    return locate_mount(path, read_mounts(mountinfo))


def _dump_order(order: ScanOrder) -> dict[str, Any]:
    return {
        "folder": order.folder,
        "path": str(order.path),
        "options": dump_record(order.options),
        "expected": order.expected.as_record() if order.expected is not None else None,
        "keys": sorted(order.keys) if order.keys is not None else None,
        "is_probing": order.is_probing,
    }


def _ended(order: ScanOrder) -> FolderUnavailable:
    return FolderUnavailable(
        f"The process that scanned “{show_path(order.path)}” ended without an answer. "
        "It is started again at the next scan."
    )
