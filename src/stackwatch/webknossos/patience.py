"""How long and how often: the waits between tries, with a clock and a sleep that tests replace."""

import copy
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from stackwatch.clock import Clock, SystemClock
from stackwatch.errors import CancelledError, DeliveryUnavailableError

T = TypeVar("T")
_MOST_DOUBLINGS: Final = 16
_BY_CHANCE: Final = random.SystemRandom().random


@dataclass(frozen=True, slots=True)
class Patience:
    """The limits of waiting.

    Attributes
    ----------
    first_delay_s, cap_s : float
        Wait after the first failure, about; and the longest. Each is twice the one before.
    give_up_s : float
        How long a server may fail without a break before the delivery is put off.
    finish_timeout_s : float
        How long a server may take to finish an upload.
    poll_s : float
        How often it is asked how far it is, where the answer got lost.
    access_cache_s : float
        So long a datastore goes by what it knew of a token.
    settle_s : float, settle_bytes_per_s : float
        After an unclear finish a server that still knows the upload is given this time, and more
        for each byte, before the upload is given up.
    """

    first_delay_s: float = 1.0
    cap_s: float = 60.0
    give_up_s: float = 600.0
    finish_timeout_s: float = 7200.0
    poll_s: float = 30.0
    access_cache_s: float = 125.0
    settle_s: float = 180.0
    settle_bytes_per_s: float = 10.0 * (1 << 20)

    def delay_s(self, failures: int, draw: float) -> float:
        """Return the wait after so many failures in a row.

        Parameters
        ----------
        failures : int
            At least 1.
        draw : float
            0 to 1, by chance: many that failed together shall not come back together.

        Examples
        --------
        >>> [Patience().delay_s(failures, 1.0) for failures in (1, 2, 3, 9)]
        [1.0, 2.0, 4.0, 60.0]
        """
        whole = self.first_delay_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)
        return min(whole, self.cap_s) * (0.5 + draw / 2)

    def settled_after_s(self, total_bytes: int) -> float:
        """Return how long a finish that nobody heard of may still be at work."""
        return min(self.finish_timeout_s, self.settle_s + total_bytes / self.settle_bytes_per_s)


class Waiting:
    """Waits that end when the delivery is stopped.

    Parameters
    ----------
    cancelled : threading.Event
    patience : Patience
    clock : Clock or None
    sleep : callable or None
        Takes seconds, returns whether the delivery was stopped meanwhile.
    draw : callable
        Returns 0 to 1 by chance.
    on_wait : callable or None
        Told why a try failed, and for how many seconds is waited; called from any thread.
    """

    def __init__(
        self,
        cancelled: threading.Event | None = None,
        patience: Patience | None = None,
        *,
        clock: Clock | None = None,
        sleep: Callable[[float], bool] | None = None,
        draw: Callable[[], float] = _BY_CHANCE,
        on_wait: Callable[[DeliveryUnavailableError, float], None] | None = None,
    ) -> None:
        self.cancelled = cancelled or threading.Event()
        self.patience = patience or Patience()
        self.clock = clock or SystemClock()
        self._has_own_sleep = sleep is None
        self._sleep = sleep or self.cancelled.wait
        self._draw = draw
        self._on_wait = on_wait

    def stopped_by(self, stop: threading.Event) -> "Waiting":
        """Return the same waits, that end at another event: whoever sets `cancelled` sets it."""
        other = copy.copy(self)
        other.cancelled = stop
        if self._has_own_sleep:
            other._sleep = stop.wait
        return other

    def hurried(self, give_up_s: float) -> "Waiting":
        """Return the same waits, that give up earlier; for what somebody waits for."""
        other = copy.copy(self)
        give_up_s = min(give_up_s, self.patience.give_up_s)
        other.patience = replace(self.patience, give_up_s=give_up_s)
        return other

    def check(self) -> None:
        """Raise if the delivery was stopped.

        Raises
        ------
        CancelledError
        """
        if self.cancelled.is_set():
            raise CancelledError(
                "The delivery was stopped on request. What was sent is kept: it goes on from "
                "there.",
                hint="Call the same command again, or let the service do it.",
            )

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises
        ------
        CancelledError
        """
        self._sleep(seconds)
        self.check()

    def repeat(self, attempt: Callable[[], T]) -> T:
        """Return what an attempt returns; where the server is not available, try again.

        Raises
        ------
        DeliveryUnavailableError
            The last one, after `give_up_s` of failures.
        CancelledError
        """
        began: float | None = None
        failures = 0
        while True:
            self.check()
            try:
                return attempt()
            except DeliveryUnavailableError as error:
                failures += 1
                named = float(error.values.get("retry_after_s") or 0.0)
                delay = self.patience.delay_s(failures, self._draw())
                delay = max(delay, min(named, self.patience.cap_s))
                now = self.clock.monotonic()
                began = now if began is None else began
                if now - began + delay > self.patience.give_up_s:
                    raise
                if self._on_wait is not None:
                    self._on_wait(error, delay)
            self.pause(delay)
