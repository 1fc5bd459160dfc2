"""Values as people read them: columns, times, sizes."""

import textwrap
import time
from collections.abc import Iterable, Sequence
from typing import Final

_WIDTH: Final = 80
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def format_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return columns side by side; the last one may be as long as it likes.

    Examples
    --------
    >>> print(format_table(("JOB", "STATE"), [("7", "parked"), ("12", "queued")]))
    JOB  STATE
    7    parked
    12   queued
    """
    lines = [tuple(headings), *(tuple(row) for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(headings) - 1)]
    return "\n".join(
        "  ".join([*(c.ljust(width) for c, width in zip(line, widths, strict=False)), line[-1]])
        .rstrip()
        for line in lines
    )  # fmt: skip


def fold(text: str) -> str:
    """Return a line that is too long for a terminal as several; tables are left alone.

    Examples
    --------
    >>> print(fold("parked: em2/run_041 (job 118): " + "slices are missing " * 4))
    parked: em2/run_041 (job 118): slices are missing slices are missing slices are
        missing slices are missing
    """
    if "\n" in text or len(text) <= _WIDTH:
        return text
    return textwrap.fill(
        text, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def format_time(at_us: int | None) -> str:
    """Return a time of the ledger in the reader's own time zone; `-` for none."""
    if at_us is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_us / 1e6))


def format_age(at_us: int, now_us: int) -> str:
    """Return how long ago something was.

    Examples
    --------
    >>> format_age(0, 90_000_000), format_age(0, 7_200_000_000), format_age(10, 0)
    ('90 s ago', '2 h ago', '0 s ago')
    """
    seconds = max(0, now_us - at_us) // 1_000_000
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def format_bytes(count: float) -> str:
    """Return a number of bytes in the unit that fits.

    Examples
    --------
    >>> format_bytes(999), format_bytes(1_500_000)
    ('999 B', '1.5 MB')
    """
    for unit in _UNITS[:-1]:
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


def now_us() -> int:
    """Return the time as the ledger counts it."""
    return time.time_ns() // 1000
