"""What came of deliveries: recorded, told, and what it means for all the others."""

from typing import TYPE_CHECKING

from stackwatch.clock import Clock
from stackwatch.daemon.delivery_gate import DeliveryGate, TokenFile, TokenMark
from stackwatch.daemon.delivery_rules import PauseFor, Release, closes_for_all, plan_after
from stackwatch.daemon.delivery_running import Running
from stackwatch.daemon.drain import Pending
from stackwatch.daemon.wire import load_record
from stackwatch.errors import (
    DeliveryRefusedError,
    DeliveryUnauthorizedError,
    StackwatchError,
)
from stackwatch.ledger.deliveries import DeliveryVerbs
from stackwatch.ledger.delivery_records import DeliveryRecord
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.delivery import Delivered, DeliveryState
from stackwatch.pipeline.retry import Park, RetryAfter
from stackwatch.settings import Settings

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


class DeliveryOutcomes:
    """Records how deliveries end, and keeps the gate. Used by the main thread alone.

    Attributes
    ----------
    settings : Settings
    parked : dict of int to Pending
        What was parked since the start.
    """

    def __init__(self, verbs: DeliveryVerbs, clock: Clock) -> None:
        self.settings = Settings()
        self.parked: dict[int, Pending] = {}
        self._verbs = verbs
        self._clock = clock
        self._gate = DeliveryGate()
        self._token = TokenFile()
        self._pauses: dict[int, int] = {}

    @property
    def gate(self) -> DeliveryGate:
        """Whether deliveries may begin."""
        return self._gate

    def may_try(self) -> bool:
        """Tell whether one delivery may find out whether the server, or the token, is back."""
        return self._gate.may_try(self._clock.monotonic(), self._token_mark())

    def pauses_of(self, delivery: DeliveryRecord) -> int:
        """Return how often in a row a delivery had to be paused."""
        return self._pauses.get(delivery.delivery_id, 0)

    def forget(self, delivery_id: int) -> None:
        """Begin anew with a delivery that a person retries."""
        self._pauses.pop(delivery_id, None)
        self.parked.pop(delivery_id, None)
        self._gate.open()

    def hear(self, delivery: DeliveryRecord) -> None:
        """Take notice that the server answers, and takes the token."""
        self._pauses.pop(delivery.delivery_id, None)
        if self._gate.open():
            logger().info(Event.DELIVERY_RESUMED, server=self.settings.webknossos.url)

    def conclude(self, running: Running) -> None:
        """Record what came of it; it may be called again from its beginning."""
        outcome = running.outcome()
        if isinstance(outcome, StackwatchError):
            self._record_error(running.delivery, outcome)
        else:
            self._record_delivered(running, load_record(Delivered, outcome))

    def _record_delivered(self, running: Running, delivered: Delivered) -> None:
        self._verbs.progress(running.delivery.delivery_id, running.progress)
        delivery = self._verbs.deliver(running.delivery.delivery_id, delivered)
        self.hear(delivery)
        seconds = delivered.seconds
        log_of(delivery).info(
            Event.DELIVERED,
            link=delivered.link,
            attempt=delivery.attempt,
            bytes_sent=delivered.sent_bytes,
            seconds=round(seconds, 3),
            mib_per_s=round(delivered.sent_bytes / seconds / 2**20, 1) if seconds > 0 else None,
        )
        for warning in delivered.warnings:
            log_of(delivery).warning(Event.DELIVERY_WARNED, message=warning)

    def _record_error(self, before: DeliveryRecord, error: StackwatchError) -> None:
        number = before.delivery_id
        delivery = self._verbs.find(number)
        if delivery.state is not DeliveryState.RUNNING:
            return  # recorded before, by a deed that is repeated
        pauses = self.pauses_of(delivery) + 1
        told = {"error_code": error.code, "message": error.message, "hint": error.hint}
        log = log_of(delivery).bind(attempt=delivery.attempt)
        match plan_after(error, self._verbs.failures(delivery) + 1, pauses):
            case Release():
                self._verbs.release(number)
            case PauseFor(delay_s):
                self._verbs.pause(number, error, self._after_us(delay_s))
                self._pauses[number] = pauses
                if closes_for_all(error):
                    self._close(delivery, error)
            case RetryAfter(delay_s):
                self._verbs.fail(number, error, self._after_us(delay_s))
                log.warning(Event.DELIVERY_FAILED, **told)
            case Park():
                self._verbs.park(number, error)
                self.parked[number] = pending(delivery, f"not delivered: {error.message}")
                log.error(Event.DELIVERY_PARKED, **told)

    def _close(self, delivery: DeliveryRecord, error: StackwatchError) -> None:
        """Have all wait, and say so once; an older cause that is still there is no news."""
        told = {"error_code": error.code, "message": error.message, "hint": error.hint}
        is_news = self._gate.close(error, self._clock.monotonic(), self._token_mark())
        if is_news and isinstance(error, DeliveryUnauthorizedError | DeliveryRefusedError):
            log_of(delivery).error(Event.DELIVERY_PAUSED, **told)
        elif is_news:
            log_of(delivery).warning(Event.DELIVERY_PAUSED, **told)

    def _token_mark(self) -> TokenMark:
        return self._token.mark(self.settings.webknossos.token_file)

    def _after_us(self, delay_s: float) -> int:
        return round((self._clock.now() + delay_s) * 1_000_000)


def pending(delivery: DeliveryRecord, reason: str) -> Pending:
    """Return a delivery that is not done, for `run --once`."""
    return Pending(delivery.folder, delivery.key, reason)


def log_of(delivery: DeliveryRecord) -> "FilteringBoundLogger":
    """Return a logger whose lines tell which delivery they are about."""
    return logger(
        job_id=delivery.job_id,
        delivery_id=delivery.delivery_id,
        folder=delivery.folder,
        acquisition=show_path(delivery.key),
        path=show_path(delivery.path),
    )
