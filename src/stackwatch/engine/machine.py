"""What this machine lets us use: processors and memory."""

import os
from pathlib import Path

_GIB = 1024**3
_LARGEST_DEFAULT_GIB = 4.0
_SMALLEST_DEFAULT_GIB = 0.25


def usable_cpus() -> int:
    """Return how many processors this process may run on."""
    return len(os.sched_getaffinity(0))


def default_memory_gib() -> float:
    """Return the memory budget where none is set: a quarter of what there is, at most 4 GiB."""
    quarter = usable_memory_bytes() / 4 / _GIB
    return max(_SMALLEST_DEFAULT_GIB, min(_LARGEST_DEFAULT_GIB, quarter))


def usable_memory_bytes(cgroup_root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the machine's memory, or the control group's limit where that is lower.

    Parameters
    ----------
    cgroup_root : Path
        Where the unified hierarchy is mounted.
    """
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_cgroup_limits(cgroup_root)])


def _cgroup_limits(root: Path) -> list[int]:
    """Return every `memory.max` from our own control group up to the root."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), "/")
    here = root / own.strip("/")
    limits = []
    for group in [here, *here.parents]:
        if not group.is_relative_to(root):
            break
        try:
            text = (group / "memory.max").read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return limits
