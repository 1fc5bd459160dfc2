"""Room on the target's disk: asked for before the first byte, watched while bytes are written."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

from stackwatch.errors import OutOfSpaceError
from stackwatch.model.acquisition import show_path
from stackwatch.stores.publish import write_errors

GIB = 1 << 30
RESERVE_SHARE = 0.05
"""Of a small disk this share is kept free instead of `reserve_gib`."""

STEP_BYTES = 256 << 20
"""The disk is looked at each time so much more was written, or a quarter of a small reserve."""


def plan_reserve(reserve_gib: float, total_bytes: int) -> int:
    """Return how much is kept free, in bytes: as set, or a twentieth of a disk that is small.

    Examples
    --------
    >>> plan_reserve(20, 1000 * GIB) // GIB, plan_reserve(20, 100 * GIB) // GIB
    (20, 5)
    """
    return int(min(reserve_gib * GIB, total_bytes * RESERVE_SHARE))


def show_bytes(count: int) -> str:
    """Return a number of bytes for a person.

    Examples
    --------
    >>> show_bytes(12 * 2**30), show_bytes(5 * 2**20)
    ('12 GiB', '5 MiB')
    """
    for unit, size in (("GiB", GIB), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


class RoomWatch:
    """Keeps one conversion from filling its target's disk.

    Parameters
    ----------
    folder : Path
        The staging directory.
    needed_bytes, needed_files : int
        What is going to be written, about; directories count as files.
    reserve_gib : float
        What others shall still find free, GiB.
    kept_bytes, kept_files : int
        How much of that lies there already.
    """

    def __init__(
        self,
        folder: Path,
        needed_bytes: int,
        needed_files: int,
        reserve_gib: float = 0.0,
        *,
        kept_bytes: int = 0,
        kept_files: int = 0,
    ) -> None:
        self._folder = folder
        self._needed_bytes = needed_bytes
        self._needed_files = needed_files
        self._reserve_gib = reserve_gib
        self._kept_bytes = kept_bytes
        self._kept_files = kept_files
        self._reserve_bytes = 0
        self._fits_ever = True
        self._next_look_bytes = 0
        self._lock = threading.Lock()

    def ensure(self) -> None:
        """Refuse to begin what will not fit.

        Raises
        ------
        OutOfSpaceError
            The caller waits until there is room; nothing was written.
        """
        with write_errors(self._folder):
            found = os.statvfs(self._folder)
        free = found.f_bavail * found.f_frsize
        whole = found.f_blocks * found.f_frsize
        self._reserve_bytes = plan_reserve(self._reserve_gib, whole)
        self._fits_ever = self._needed_bytes <= whole - self._reserve_bytes
        self._next_look_bytes = self._step_bytes
        if found.f_files > 0 and found.f_favail + self._kept_files < self._needed_files:
            raise self._refuse(
                f"{found.f_favail} free inodes on “{show_path(self._folder)}”, about "
                f"{self._needed_files} needed",
                free,
                needed_inodes=self._needed_files,
            )
        if free + self._kept_bytes - self._reserve_bytes < self._needed_bytes:
            raise self._refuse(
                f"{show_bytes(free)} free on “{show_path(self._folder)}”, about "
                f"{show_bytes(self._needed_bytes)} needed{self._beside_reserve()}",
                free,
            )

    def check(self, bytes_written: int) -> None:
        """Look now and then whether the reserve is still there. Cheap; called from any thread.

        Raises
        ------
        OutOfSpaceError
            The caller gives up and waits; what was written is removed.
        """
        if not self._reserve_bytes or bytes_written < self._next_look_bytes:
            return
        with self._lock:
            if bytes_written < self._next_look_bytes:
                return
            self._next_look_bytes = bytes_written + self._step_bytes
        with write_errors(self._folder):
            found = os.statvfs(self._folder)
        free = found.f_bavail * found.f_frsize
        if free < self._reserve_bytes:
            raise self._refuse(
                f"Only {show_bytes(free)} are free on “{show_path(self._folder)}”, less than the "
                f"reserve of {show_bytes(self._reserve_bytes)}",
                free,
                is_begun=True,
            )

    def explain(self, error: OutOfSpaceError, written: Callable[[], int]) -> OutOfSpaceError:
        """Add how much is needed to the error of a disk that ran full, where a figure tells it.

        A quota shows in no figure: without one, the caller waits longer each time.
        """
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.ENOSPC:
            needed = max(self._needed_bytes, written() * 5 // 4)
            error.values.setdefault("needed_bytes", needed)
            error.values.setdefault("needed_inodes", self._needed_files)
        return error

    @property
    def _step_bytes(self) -> int:
        return max(1, min(STEP_BYTES, self._reserve_bytes // 4))

    def _beside_reserve(self) -> str:
        if not self._reserve_bytes:
            return ""
        return f", and {show_bytes(self._reserve_bytes)} are to stay free (`reserve_gib`)"

    def _refuse(
        self, what: str, free: int, *, is_begun: bool = False, needed_inodes: int = 0
    ) -> OutOfSpaceError:
        done = "What was written has been removed" if is_begun else "Nothing was written"
        figures = {
            "free_bytes": free,
            "needed_bytes": self._needed_bytes,
            "reserve_bytes": self._reserve_bytes,
            "needed_inodes": needed_inodes,
        }
        if not self._fits_ever:  # nobody shall wait for what cannot come
            what += ", more than the disk could ever hold"
            del figures["needed_bytes"]
        return OutOfSpaceError(
            f"{what}. {done}. Make room there; under the daemon the conversion then starts by "
            "itself.",
            hint="Make room on the target's disk.",
            path=show_path(self._folder),
            **figures,
        )
