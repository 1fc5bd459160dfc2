"""How fast a conversion is and how long it still takes, from its last few reports."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

WINDOW_S: Final = 20.0
"""Rates are means over so long: a slab is written in bursts."""

LEAST_S: Final = 2.0
"""Less than that says nothing about the rest."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes in a second, and the seconds that are left; None: not known."""

    read_per_s: float = 0.0
    written_per_s: float = 0.0
    left_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Report:
    at_s: float
    phase: str
    done: int
    bytes_read: int
    bytes_written: int


class RateMeter:
    """Keeps the reports of one attempt at a job."""

    def __init__(self) -> None:
        self._reports: deque[_Report] = deque()

    def note(self, at_s: float, progress: Mapping[str, Any] | None) -> Rate:
        """Take the newest report and return the rates.

        Parameters
        ----------
        at_s : float
            Monotonic seconds.
        progress : mapping or None
            `Progress` as JSON values; None before the first.

        Examples
        --------
        >>> meter = RateMeter()
        >>> for at_s in range(5):
        ...     told = {"phase": "converting", "done": at_s * 10, "total": 100}
        ...     rate = meter.note(at_s, told | {"bytes_read": at_s * 500, "bytes_written": 0})
        >>> rate
        Rate(read_per_s=500.0, written_per_s=0.0, left_s=6.0)
        """
        if progress is None:
            return Rate()
        report = _Report(
            at_s,
            str(progress.get("phase", "")),
            int(progress.get("done") or 0),
            int(progress.get("bytes_read") or 0),
            int(progress.get("bytes_written") or 0),
        )
        if self._reports and self._reports[-1].phase != report.phase:
            self._reports.clear()  # each phase has a pace of its own
        self._reports.append(report)
        while at_s - self._reports[0].at_s > WINDOW_S and len(self._reports) > 2:
            self._reports.popleft()
        first = self._reports[0]
        span_s = at_s - first.at_s
        if span_s < LEAST_S:
            return Rate()
        slices_per_s = (report.done - first.done) / span_s
        left = int(progress.get("total") or 0) - report.done
        return Rate(
            max(0.0, (report.bytes_read - first.bytes_read) / span_s),
            max(0.0, (report.bytes_written - first.bytes_written) / span_s),
            left / slices_per_s if slices_per_s > 0 and left >= 0 else None,
        )
