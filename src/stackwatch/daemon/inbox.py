"""What the main thread's inbox may hold: everything that happens, as values."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stackwatch.daemon.claims import ClaimTold
from stackwatch.daemon.errands import ErrandSaid
from stackwatch.daemon.reload import SettingsLoaded
from stackwatch.daemon.scanner import ScanSaid
from stackwatch.daemon.sides import SideSaid
from stackwatch.daemon.workers import FactReported, WorkerEnded
from stackwatch.errors import StackwatchError


@dataclass(frozen=True, slots=True)
class Asked:
    """A caller of the control socket waits for an answer."""

    command: dict[str, Any]
    reply: "queue.SimpleQueue[dict[str, Any] | StackwatchError]" = field(
        default_factory=queue.SimpleQueue
    )


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal came."""

    number: int


class Hinted:
    """Something changed in a drop folder."""


Happened = Asked | Signalled | Hinted | SettingsLoaded | ClaimTold
Message = Happened | ErrandSaid | ScanSaid | SideSaid | FactReported | WorkerEnded


class Wake(threading.Event):
    """The event that hints set; it also wakes the main thread, once."""

    def __init__(self, post: Callable[[Hinted], None]) -> None:
        super().__init__()
        self._post = post

    def set(self) -> None:
        """Set the event, and put a message into the inbox if it was clear."""
        if not self.is_set():
            super().set()
            self._post(Hinted())
