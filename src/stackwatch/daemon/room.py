"""Is there room for a conversion at its target? Decided before it begins: no job fails for it.

A folder whose next conversion does not fit, or whose target cannot be written to, is *paused*: its
jobs stay in the queue, no attempt is counted, and it goes on by itself.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackwatch.errors import OutOfSpaceError
from stackwatch.model.acquisition import show_path
from stackwatch.stores.room import plan_reserve, show_bytes

GIB = 1 << 30
NEED_FACTOR = 1.2
"""What a dataset takes, over its source: all mags, somewhat compressed. Only for a first look; the
worker knows better when it has read the headers, and says so."""

INODES_LEAST = 64
"""Fewer free inodes than this are none: each layer, mag and shard takes a few."""

RESUME_SHARE = 0.1
RESUME_MOST = GIB
"""A paused folder goes on when there is this much more than needed, so that it does not flutter."""


@dataclass(frozen=True, slots=True)
class Room:
    """What the disk below a target had to give.

    Attributes
    ----------
    device : int
        Targets on one file system share it.
    total_bytes, free_bytes : int
        Free for us, not for root.
    total_inodes, free_inodes : int
        0 in all where the file system does not count them.
    obstacle : str
        Why nothing can be written there at all, for a person; empty if something can.
    """

    device: int = 0
    total_bytes: int = 0
    free_bytes: int = 0
    total_inodes: int = 0
    free_inodes: int = 0
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a folder is paused.

    Attributes
    ----------
    reason : str
        For a person.
    needed_bytes, free_bytes, reserve_bytes : int
        `free_bytes` above the reserve and above what running conversions still need.
    is_target_away : bool
        Not for lack of room: nothing can be written there at all.
    """

    reason: str
    needed_bytes: int = 0
    free_bytes: int = 0
    reserve_bytes: int = 0
    is_target_away: bool = False

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "reason": self.reason,
            "needed_bytes": self.needed_bytes,
            "free_bytes": self.free_bytes,
            "reserve_bytes": self.reserve_bytes,
        }


def probe_room(target: Path) -> Room:
    """Look how much room there is. Runs in an errand process: the target may hang."""
    try:
        found = os.statvfs(target)
        device = target.stat().st_dev
    except OSError as error:
        return Room(obstacle=f"“{show_path(target)}”: {error.strerror}")
    room = Room(
        device,
        found.f_blocks * found.f_frsize,
        found.f_bavail * found.f_frsize,
        found.f_files,
        found.f_favail,
    )
    if not target.is_dir():
        return Room(obstacle=f"“{show_path(target)}” is no folder")
    if not os.access(target, os.W_OK | os.X_OK):
        why = "the file system is read-only" if found.f_flag & os.ST_RDONLY else "no permission"
        return Room(obstacle=f"“{show_path(target)}” cannot be written to: {why}")
    return room


@dataclass(frozen=True, slots=True)
class Need:
    """About what a conversion is going to take of its target's disk."""

    bytes: int
    inodes: int = INODES_LEAST


def estimate_need(source_bytes: int, error: Mapping[str, Any] | None = None) -> Need:
    """Return about what a conversion is going to take.

    Parameters
    ----------
    source_bytes : int
        Of the acquisition's files.
    error : mapping or None
        Of the job's last attempt, as the ledger has it: a worker that found too little room had
        read the headers, so its figures are the better ones.
    """
    told = (error or {}).get("values", {})
    known, inodes = told.get("needed_bytes"), told.get("needed_inodes")
    return Need(
        known if isinstance(known, int) else int(source_bytes * NEED_FACTOR),
        max(INODES_LEAST, inodes if isinstance(inodes, int) else 0),
    )


def judge_room(
    room: Room,
    need: Need,
    reserve_gib: float,
    promised_bytes: int = 0,
    *,
    is_paused: bool = False,
) -> Pause | None:
    """Decide whether a conversion may begin. Pure.

    Parameters
    ----------
    room : Room
    need : Need
    reserve_gib : float
        As set for the folder.
    promised_bytes : int
        What running conversions are going to write on the same file system.
    is_paused : bool
        Whether the folder is paused now: then a little more room is asked for.

    Returns
    -------
    Pause or None
        None: there is room. So it is for what would not even fit the empty disk: waiting would be
        in vain, and block what comes after it; its own worker shall tell.
    """
    if room.obstacle:
        return Pause(f"waits for its target: {room.obstacle}", need.bytes, is_target_away=True)
    reserve = plan_reserve(reserve_gib, room.total_bytes)
    if need.bytes > room.total_bytes - reserve or 0 < room.total_inodes < need.inodes:
        return None
    if room.total_inodes and room.free_inodes < need.inodes:
        reason = (
            f"waits for room: needs {need.inodes} inodes, its target's disk has "
            f"{room.free_inodes} free"
        )
        return Pause(reason, need.bytes, room.free_bytes, reserve)
    free = max(0, room.free_bytes - reserve - promised_bytes)
    margin = min(int(need.bytes * RESUME_SHARE), RESUME_MOST) if is_paused else 0
    wanted = min(need.bytes + margin, room.total_bytes - reserve)
    if free >= wanted:
        return None
    reason = (
        f"waits for room: needs {show_bytes(need.bytes)}, {show_bytes(free)} free above the "
        f"reserve of {show_bytes(reserve)}"
    )
    if promised_bytes:
        reason += f" and the {show_bytes(promised_bytes)} that running conversions still need"
    return Pause(reason, need.bytes, free, reserve)


def pause_of(error: OutOfSpaceError) -> Pause:
    """Return the pause for a worker that found, or came to, too little room."""
    needed, free, reserve = (
        int(error.values.get(key) or 0) for key in ("needed_bytes", "free_bytes", "reserve_bytes")
    )
    reason = (
        f"waits for room: needs {show_bytes(needed)}, {show_bytes(max(0, free - reserve))} free "
        f"above the reserve of {show_bytes(reserve)}"
    )
    return Pause(reason, needed, max(0, free - reserve), reserve)
