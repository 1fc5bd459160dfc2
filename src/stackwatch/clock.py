"""Time, as something that can be passed in and faked."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: a monotonic one that decides, and a wall clock that is only shown."""

    def monotonic(self) -> float:
        """Return seconds that only ever grow; the origin has no meaning."""
        ...

    def now(self) -> float:
        """Return seconds since 1970-01-01 UTC, for display and the ledger."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def now(self) -> float:
        """Return `time.time()`."""
        return time.time()
