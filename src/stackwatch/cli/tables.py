"""Values as people read them: columns, times, sizes."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

from stackwatch.model.wording import format_age, format_bytes, format_time, now_us

__all__ = ["fold", "format_age", "format_bytes", "format_table", "format_time", "now_us"]

_WIDTH: Final = 80


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
