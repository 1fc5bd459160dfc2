"""Is every part of the service alive? Each part tells of itself; whoever asks sees who is silent.

A part is something of our own that must never stop: the main loop, the supervision of scans and
hints, the listener of the control socket, the page. What hangs *beside* us is no part: a dead share
holds up a scan process or the thread that watches it, which is what the supervision is for.
"""

import threading
from collections.abc import Callable
from typing import Final

from stackwatch.clock import Clock

MAIN_LOOP: Final = "main loop"
SCANS: Final = "supervision of scans"
HINTS: Final = "supervision of hints"
CONTROL: Final = "control socket"
PAGE: Final = "status page"

PATIENCE_S: Final = 60.0
"""A part that has said nothing for so long has stopped; a busy disk may hold one up for a while."""

Beat = Callable[[], None]
"""Tells that a part is alive. May be called from any thread, as often as one likes."""


class Heartbeats:
    """When each part of the service was last heard of. May be used from any thread.

    Parameters
    ----------
    clock : Clock
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._heard: dict[str, float] = {}
        self._patience: dict[str, float] = {}

    def expect(self, part: str, patience_s: float = PATIENCE_S) -> Beat:
        """Expect a part to tell of itself from now on.

        Parameters
        ----------
        part : str
            Its name, for people. One that is expected already begins anew.
        patience_s : float
            How long it may be silent.

        Returns
        -------
        callable
            To be called by that part.
        """
        with self._lock:
            self._patience[part] = patience_s
            self._heard[part] = self._clock.monotonic()

        def beat() -> None:
            with self._lock:
                if part in self._heard:
                    self._heard[part] = self._clock.monotonic()

        return beat

    def release(self, part: str) -> None:
        """Expect nothing of a part any more: it was ended on purpose."""
        with self._lock:
            self._heard.pop(part, None)
            self._patience.pop(part, None)

    def ages(self) -> dict[str, float]:
        """Return for how many seconds each part has been silent, in the order of their names."""
        now_s = self._clock.monotonic()
        with self._lock:
            return {part: max(0.0, now_s - self._heard[part]) for part in sorted(self._heard)}

    def silent(self) -> tuple[str, ...]:
        """Return the parts that have been silent for too long; empty while all is well."""
        ages = self.ages()
        with self._lock:
            return tuple(
                part for part, age_s in ages.items() if age_s > self._patience.get(part, age_s)
            )
