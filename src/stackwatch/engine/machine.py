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


def usable_memory_bytes(
    cgroup_root: Path = Path("/sys/fs/cgroup"), own_groups: Path = Path("/proc/self/cgroup")
) -> int:
    """Return the machine's memory, or the control group's limit where that is lower.

    Parameters
    ----------
    cgroup_root : Path
        Where the unified hierarchy is mounted, or below it those of version 1.
    own_groups : Path
        Names our control groups.
    """
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_cgroup_limits(cgroup_root, own_groups)])


def _cgroup_limits(root: Path, own_groups: Path) -> list[int]:
    """Return every limit from our own control groups up to the roots of their hierarchies.

    In a container the path may be one of the host's, of which only the root is seen.

    Source: cgroups(7); the kernel's cgroup-v2.rst (`memory.max`) and cgroup-v1/memory.rst
    (`memory.limit_in_bytes`, a huge number where there is none).
    """
    try:
        lines = own_groups.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, _, group = line.partition(":")
        controllers, is_whole, own = group.partition(":")
        if not is_whole:
            continue
        if not controllers:
            limits += _limits_above(root, own, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_above(root / "memory", own, "memory.limit_in_bytes")
    return limits


def _limits_above(root: Path, own: str, file: str) -> list[int]:
    here = root / own.strip("/")
    limits = []
    for group in [here, *here.parents]:
        if not group.is_relative_to(root):
            break
        try:
            text = (group / file).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return limits
