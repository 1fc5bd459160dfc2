"""Does a worker get on? It does as long as it reports progress, or reads or writes anything."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from stackwatch.errors import StalledError


class StallWatch:
    """Tells how long a worker has done nothing at all.

    What it reports is not enough: opening a file of 100 GB is one silent step. So the kernel's
    count of the bytes it has read and written is looked at too, and so have its children.

    Parameters
    ----------
    pid : int
        Of the worker; it must not be reaped before the last look.
    now_s : float
        Monotonic seconds.
    """

    def __init__(self, pid: int, now_s: float) -> None:
        self._pid = pid
        self._seen: tuple[dict[str, Any] | None, str] = (None, "")
        self._since_s = now_s

    def silent_s(
        self, progress: dict[str, Any] | None, now_s: float, *, is_waiting: bool = False
    ) -> float:
        """Look at a worker and return for how many seconds it has done nothing.

        Parameters
        ----------
        progress : dict or None
            The newest it has reported.
        now_s : float
        is_waiting : bool
            It waits for us, which is no fault of its own.
        """
        seen = (progress, self._count_bytes())
        if seen != self._seen or is_waiting:
            self._seen, self._since_s = seen, now_s
        return now_s - self._since_s

    def _count_bytes(self) -> str:
        """Return the kernel's figures, as text: only whether they change matters."""
        return " ".join(line for pid in _family(self._pid) for line in _counters(pid))


def _family(pid: int) -> list[int]:
    """Return a process and all it has started, as far as the kernel tells."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text(encoding="ascii").split())
    return found


def _counters(pid: int) -> list[str]:
    try:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return []  # it has ended, or a sandbox hides it: then its reports alone count
    return [line for line in lines if line.startswith(("rchar", "wchar"))]


def stalled(what: str, silent_s: float) -> StalledError:
    """Return the error for a worker that was ended because it did not get on."""
    hint = "Look at the disks and shares of source and target, or raise `stall_after_s`."
    return StalledError(
        f"{what} made no progress for {silent_s:.0f} s and was ended. Most often a disk or a share "
        f"hangs. It is tried again. {hint}",
        hint=hint,
        seconds=round(silent_s),
    )


def immortal(what: str, pid: int) -> StalledError:
    """Return the error for a worker that not even SIGKILL ends: it hangs in the kernel."""
    hint = "Look at the disks and shares of source and target: one of them hangs."
    return StalledError(
        f"{what} hangs in the kernel, at a disk or a share: not even SIGKILL ends its process "
        f"(pid {pid}). Its slot is free for others. It is tried again, and what the process leaves "
        f"behind is removed when it is gone. {hint}",
        hint=hint,
        pid=pid,
    )
