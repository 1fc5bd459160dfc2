"""Values in the words that every answer uses: times, sizes, what becomes of a source.

The command line and the page say the same thing in the same words.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

SCHEMA: Final = 1
"""Version of every JSON document (docs/json.md)."""

EVENTS_SHOWN: Final = 200
"""So many of the last lines of a history are told unless more are asked for: it may be long."""

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def format_time(at_us: int | None) -> str:
    """Return a time of the ledger in the reader's own time zone; `-` for none."""
    if at_us is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_us / 1e6))


def describe_slices(progress: Mapping[str, Any]) -> str:
    """Return how far a conversion is, of `Progress` as JSON values; empty before it is planned.

    Examples
    --------
    >>> describe_slices({"done": 40, "total": 160, "ranges_done": 1, "ranges_total": 5})
    '40 of 160 slices, 1 of 5 ranges'
    >>> describe_slices({"done": 96, "total": 160, "ranges_done": 3, "ranges_total": 5,
    ...                  "ranges_taken": 2})
    '96 of 160 slices, 3 of 5 ranges (2 of an earlier attempt)'
    """
    if not progress.get("total"):
        return ""
    slices = f"{progress.get('done', 0)} of {progress['total']} slices"
    total = progress.get("ranges_total")
    if not total:
        return slices
    taken = progress.get("ranges_taken")
    earlier = f" ({taken} of an earlier attempt)" if taken else ""
    return f"{slices}, {progress['ranges_done']} of {total} ranges{earlier}"


def format_age(at_us: int, now_us: int) -> str:
    """Return how long ago something was.

    Examples
    --------
    >>> format_age(0, 90_000_000), format_age(0, 7_200_000_000), format_age(10, 0)
    ('90 s ago', '2 h ago', '0 s ago')
    """
    return f"{format_duration(max(0, now_us - at_us) / 1e6)} ago"


def format_duration(seconds: float) -> str:
    """Return a duration in the unit that fits, rounded down.

    Examples
    --------
    >>> format_duration(90), format_duration(7_300), format_duration(200_000)
    ('90 s', '2 h', '2 d')
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


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


def describe_resuming(folder: str, job_id: int) -> str:
    """Return how a job that was set aside goes on when its cause is mended."""
    return (
        "Files that are changed or added are noticed by themselves, and all is converted anew. "
        f"After anything else, such as a setting of the folder “{folder}” "
        f"(`stackwatch config reload`), say `stackwatch jobs retry {job_id}`."
    )


def describe_disposal(disposal: Mapping[str, Any]) -> str:
    """Return one line that says what becomes, or became, of a source.

    Parameters
    ----------
    disposal : mapping
        As `DisposalRecord.as_record` gives it.
    """
    is_archive = disposal["action"] == "archive"
    match disposal["state"]:
        case "done":
            where = f"archived to {disposal['archive_path']}" if is_archive else "deleted"
            return f"{where} at {format_time(disposal['finished_at_us'])}"
        case "running":
            return "is being archived" if is_archive else "is being deleted"
        case "refused":
            return f"kept: {disposal['message']}"
        case _:
            what = "archived" if is_archive else "deleted"
            plan = f"to be {what} at {format_time(disposal['due_at_us'])} or later"
            return f"{plan}; {disposal['message']}" if disposal["message"] else plan
