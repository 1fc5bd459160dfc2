"""How many bytes went out, how fast, and how long the rest takes."""

import threading
from collections import deque
from typing import Final

from stackwatch.clock import Clock
from stackwatch.model.delivery import DeliveryProgress, UploadStage

_WINDOW_S: Final = 10.0


class Meter:
    """Counts bytes from several threads.

    Parameters
    ----------
    total_bytes : int
    clock : Clock
    """

    def __init__(self, total_bytes: int, clock: Clock) -> None:
        self._total = total_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._done = self._sent = 0
        self._marks: deque[tuple[float, int]] = deque()

    @property
    def sent_bytes(self) -> int:
        """Bytes that went out and arrived."""
        with self._lock:
            return self._sent

    def add_sent(self, count: int) -> None:
        """Count bytes as they go out; negative for those that did not arrive."""
        with self._lock:
            self._sent += count
            self._done += count

    def begin_again(self) -> None:
        """Count anew what the server has: it is asked for every chunk again."""
        with self._lock:
            self._done = 0

    def add_known(self, count: int) -> None:
        """Count bytes that the server had already."""
        with self._lock:
            self._done += count

    def progress(self, stage: UploadStage) -> DeliveryProgress:
        """Return how far it is; the rate is that of the last seconds."""
        now = self._clock.monotonic()
        with self._lock:
            self._marks.append((now, self._sent))
            while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW_S:
                self._marks.popleft()
            began, before = self._marks[0]
            rate = max(0.0, (self._sent - before) / (now - began)) if now > began else 0.0
            left = (self._total - self._done) / rate if rate else None
            return DeliveryProgress(stage, self._done, self._total, rate, left)
