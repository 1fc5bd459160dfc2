"""How this process gives memory back: not at once."""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
KEPT_BYTES: Final = 128 * 1024 * 1024
HEAP_BYTES: Final = 32 * 1024 * 1024


def keep_freed_memory() -> None:
    """Let the C library keep up to `KEPT_BYTES` of freed memory instead of returning it.

    By default glibc returns what lies free above 128 KiB, and numpy's temporaries are of that size:
    the same pages would be given back and taken again, zeroed by the kernel, thousands of times a
    second. Halving slabs runs three times as fast with this. It holds for the whole process; where
    the C library is another one, nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(_M_MMAP_THRESHOLD, HEAP_BYTES)
