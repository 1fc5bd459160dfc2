"""When the ledger takes no writes: go on with what needs none, and catch up by itself.

The disk of `state_dir` may be full or read-only. Then nothing new is begun and nothing is
published, because both need a commit; status is answered, conversions under way go on, and what
came of them is kept here until it can be recorded.
"""

from collections import deque
from collections.abc import Callable

from stackwatch.clock import Clock
from stackwatch.errors import LedgerUnwritableError
from stackwatch.ledger.ledger import Ledger
from stackwatch.logs import Event, logger

TRY_INTERVAL_S = 2.0


class LedgerGuard:
    """Keeps deeds the ledger refused, and does them in order when it takes writes again.

    Used by the main thread alone.

    Parameters
    ----------
    ledger : Ledger
    clock : Clock
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._kept: deque[Callable[[], None]] = deque()
        self._tried_s = 0.0
        self.reason = ""
        """Why the ledger takes no writes, for a person; empty while it does."""

    @property
    def is_degraded(self) -> bool:
        """Whether the ledger takes no writes."""
        return bool(self.reason)

    @property
    def is_behind(self) -> bool:
        """Whether something waits to be recorded."""
        return bool(self._kept)

    def record(self, deed: Callable[[], None]) -> None:
        """Do a deed that ends in a commit: now, or in its turn when the ledger can.

        It may be done again from its beginning, so each of its parts must bear a repetition.
        """
        if self._kept:
            self._kept.append(deed)
            return
        try:
            deed()
        except LedgerUnwritableError as error:
            self._kept.append(deed)
            self.note(error)

    def note(self, error: LedgerUnwritableError) -> None:
        """Take notice of a refusal; only the first one is logged."""
        self._tried_s = self._clock.monotonic()
        if not self.reason:
            self.reason = error.message
            logger().error(
                Event.DAEMON_DEGRADED,
                error_code=error.code,
                message=error.message,
                hint=error.hint,
            )

    def tick(self) -> bool:
        """Try again now and then; return True when the ledger has just come back."""
        now_s = self._clock.monotonic()
        if not self.reason or now_s - self._tried_s < TRY_INTERVAL_S:
            return False
        self._tried_s = now_s
        deeds: list[Callable[[], None]] = []
        try:
            self._ledger.beat()
            while self._kept:
                deeds = [self._kept.popleft()]  # one that fails otherwise is not done for ever
                deeds[0]()
        except LedgerUnwritableError:
            self._kept.extendleft(deeds)
            return False
        self.reason = ""
        logger().info(Event.DAEMON_RECOVERED, reason="the ledger takes writes again")
        return True
