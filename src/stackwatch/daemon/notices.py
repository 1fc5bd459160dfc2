"""Telling people: what is wrong, and that it is well again.

What there is to tell is looked for every few seconds and put into the outbox in the ledger; a
process of its own sends it, so that no receiver can hold up the daemon, however slow it is. A
notice is sent at least once: a process that is killed before its answers are recorded sends again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from stackwatch.clock import Clock
from stackwatch.daemon.children import Child, module_command
from stackwatch.daemon.conversions import Conversions
from stackwatch.daemon.drain import Pending
from stackwatch.daemon.guard import LedgerGuard
from stackwatch.daemon.notice_rules import (
    BATCH_MAX,
    KEPT_US,
    SECOND_US,
    choose_due,
    judge_attempt,
    plan_notices,
)
from stackwatch.daemon.sides import Side, SideSaid
from stackwatch.daemon.troubles import Troubles
from stackwatch.daemon.watching import Watching
from stackwatch.daemon.wire import dump_record, load_record
from stackwatch.errors import LedgerUnwritableError
from stackwatch.ledger.ledger import Ledger
from stackwatch.logs import Event, logger
from stackwatch.model.notice import (
    NewNotice,
    Notice,
    NoticeState,
    ReceiverAnswer,
    ReceiverOptions,
)
from stackwatch.settings import Settings
from stackwatch.settings.outside import NoticesSettings

NOTICE_COMMAND = module_command("stackwatch.daemon.notice_main")
LOOK_S: Final = 5.0
SWEEP_S: Final = 3600.0
SWEPT_MAX: Final = 5000
"""So many old notices are removed at once: the ledger is ours alone meanwhile."""

DEADLINE_S: Final = 40.0
"""A receiver that has not answered by then is tried again later."""

KILL_AFTER_S: Final = 60.0
"""The process that sends is given a little more than its receivers."""


@dataclass(eq=False, slots=True)
class Sending:
    """A message on its way."""

    child: Child
    notices: tuple[Notice, ...]
    until_s: float
    answers: list[ReceiverAnswer] = field(default_factory=list)
    is_whole: bool = False


class Notices(Side):
    """Tells people what the settings ask for. Used by the main thread alone.

    Parameters
    ----------
    ledger : Ledger
    troubles : Troubles
    clock : Clock
    guard : LedgerGuard
    post : callable
        Takes `SideSaid` from other threads; hand it to `take`.
    command : sequence of str
        What the process is that sends.
    """

    def __init__(
        self,
        ledger: Ledger,
        troubles: Troubles,
        clock: Clock,
        guard: LedgerGuard,
        post: Callable[[SideSaid], None],
        command: Sequence[str] = NOTICE_COMMAND,
    ) -> None:
        self._ledger = ledger
        self._troubles = troubles
        self._clock = clock
        self._guard = guard
        self._post = post
        self._command = command
        self._settings = NoticesSettings()
        self._known: dict[tuple[str, str], Notice] = {}
        self._failing: set[str] = set()
        self._sending: Sending | None = None
        self._due: tuple[Notice, ...] = ()
        self._next_look_s = self._next_sweep_s = 0.0
        self._last_new_us = self._began_us = 0
        self._is_stopping = False

    @property
    def has_children(self) -> bool:
        """Whether a process is left."""
        return self._sending is not None

    def pending(self) -> tuple[Pending, ...]:
        """Return what `run --once` has to wait for: what can be told now is told."""
        is_busy = self._sending is not None or (self._is_on and bool(self._choose()))
        return (Pending("", "", "people are told"),) if is_busy else ()

    # ------------------------------------------------------------ time

    def begin(self, settings: Settings) -> None:
        """Take up what an earlier run had not told yet."""
        self._known = {one.topic: one for one in self._ledger.notices.open_problems()}
        self._began_us = self._now_us()
        self._last_new_us = self._ledger.notices.last_sent_us()
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Tell other people, or of other things."""
        self._settings = settings.notices
        self._failing.clear()
        self.poke()

    def poke(self) -> None:
        """Look at the next tick: a job has ended."""
        self._next_look_s = 0.0

    def tick(self) -> None:
        """Look for what there is to tell, and send what is due."""
        if self._is_stopping or self._guard.is_degraded:
            return
        now_s = self._clock.monotonic()
        if self._sending is not None and now_s >= self._sending.until_s:
            self._sending.child.kill()
        if not self._is_on or now_s < self._next_look_s:
            return
        self._next_look_s = now_s + LOOK_S
        try:
            self._sweep(now_s)
            self._look()
            self._due = self._ledger.notices.due()
        except LedgerUnwritableError as error:
            self._guard.note(error)
            return
        self._send()

    def stop(self) -> None:
        """End the process; what it has not told is told after the next start."""
        self._is_stopping = True
        if self._sending is not None:
            self._sending.child.kill()

    def discard(self, said: SideSaid) -> None:
        """Bury a killed process."""
        if said.message is None:
            said.child.reap()
            self._sending = None

    @property
    def _is_on(self) -> bool:
        return bool(self._receivers)

    @property
    def _receivers(self) -> ReceiverOptions:
        return ReceiverOptions(self._settings.webhook, self._settings.apprise_file)

    # ------------------------------------------------------------ what there is to tell

    def _look(self) -> None:
        about = self._settings.about
        plan = plan_notices(self._known, self._troubles.iter_now(), self._troubles.fate_of, about)
        planned = tuple(islice(plan, BATCH_MAX))  # thousands may be parked: the rest comes next
        if planned:
            with self._ledger.notices.together():
                recorded = [self._ledger.notices.record(new, state) for new, state in planned]
            for one in recorded:
                if one.is_recovery:
                    self._known.pop(one.topic, None)
                else:
                    self._known[one.topic] = one
        if "delivered" in about:
            self._look_for_deliveries()

    def _look_for_deliveries(self) -> None:
        """Note what was delivered since the start; older deliveries are no news."""
        # of what is older still, the notice may have been removed by now
        since_us = max(self._began_us, self._now_us() - KEPT_US // 2)
        for row in self._ledger.notices.delivered_since(since_us):
            facts = {
                "name": row["name"],
                "folder": row["folder"],
                "dataset": row["name"],
                "server": row["server"],
                "link": row["link"],
            }
            new = NewNotice("delivered", f"delivery:{row['delivery_id']}", facts)
            self._ledger.notices.record(new)

    def _sweep(self, now_s: float) -> None:
        """Remove what was told long ago: a share that comes and goes must not fill the ledger."""
        if now_s >= self._next_sweep_s:
            self._next_sweep_s = now_s + SWEEP_S
            self._ledger.notices.remove_old(self._now_us() - KEPT_US, SWEPT_MAX)

    # ------------------------------------------------------------ sending

    def _choose(self) -> tuple[Notice, ...]:
        now_us = self._now_us()
        # a clock that was set back must not silence us
        last_us = self._last_new_us if self._last_new_us <= now_us else 0
        next_new_us = last_us + round(self._settings.digest_s * SECOND_US) if last_us else 0
        return choose_due(self._due, now_us, next_new_us)

    def _send(self) -> None:
        chosen = self._choose()
        if not chosen or self._sending is not None:
            return
        try:
            child = Child(self._command, lambda ours, said: self._post(SideSaid(self, ours, said)))
        except OSError:
            return  # short of memory or processes; tried again
        self._sending = Sending(child, chosen, self._clock.monotonic() + KILL_AFTER_S)
        if any(not one.attempt for one in chosen):
            self._last_new_us = self._now_us()
        child.send(
            {
                "receivers": dump_record(self._receivers),
                "notices": [dump_record(one) for one in chosen],
                "deadline_s": DEADLINE_S,
            }
        )

    def take(self, said: SideSaid) -> None:
        """Keep what receivers answered; at the end of the process, record it."""
        sending = self._sending
        assert sending is not None
        if said.message is None:
            said.child.reap()
            self._sending = None
            self._guard.record(lambda: self._conclude(sending))
            self.poke()
        elif said.message["kind"] == "answer":
            sending.answers.append(load_record(ReceiverAnswer, said.message["answer"]))
        else:
            sending.is_whole = True

    def _conclude(self, sending: Sending) -> None:
        now_us = self._now_us()
        states = []
        retry_at_us = 0
        with self._ledger.notices.together():
            for notice in sending.notices:
                verdict = judge_attempt(notice, sending.answers, now_us, is_whole=sending.is_whole)
                states.append(verdict.state)
                # what a stop cut off is no failure: it is taken up at once after the next start
                not_before_us = 0 if self._is_stopping else verdict.not_before_us
                retry_at_us = max(retry_at_us, not_before_us)
                if verdict.state is not NoticeState.SENT:
                    self._ledger.notices.record_attempt(
                        notice, verdict.reached, verdict.error, not_before_us
                    )
                if verdict.state is not NoticeState.DUE:
                    self._ledger.notices.finish(notice.notice_id, verdict.state)
        self._due = self._ledger.notices.due()
        if not self._is_stopping:
            self._log(sending, states, retry_at_us)

    def _log(self, sending: Sending, states: Sequence[NoticeState], retry_at_us: int) -> None:
        """Say what was sent; of a receiver that fails once, until it is reached again."""
        if sent := states.count(NoticeState.SENT):
            logger().info(Event.NOTICE_SENT, lines=sent)
        if dropped := states.count(NoticeState.DROPPED):
            logger().error(
                Event.NOTICE_DROPPED,
                lines=dropped,
                hint="Look at the receivers: `stackwatch notices test`.",
            )
        failed = {one.name: one.reason for one in sending.answers if not one.is_reached}
        if not sending.is_whole:
            failed["the process that sends"] = "ended without a word"
        for name in failed.keys() - self._failing:
            logger().warning(
                Event.NOTICE_FAILED,
                receiver=name,
                reason=failed[name],
                retry_at_utc=_format(retry_at_us) if retry_at_us else None,
                hint="Look at the receivers: `stackwatch notices test`.",
            )
        self._failing = set(failed)

    def _now_us(self) -> int:
        return round(self._clock.now() * SECOND_US)


def make_notices(
    ledger: Ledger,
    watching: Watching,
    conversions: Conversions,
    clock: Clock,
    post: Callable[[SideSaid], None],
    state_dir: Path,
) -> Notices:
    """Return the side that tells people of what a service knows."""
    troubles = Troubles(ledger, watching, conversions, clock, state_dir)
    return Notices(ledger, troubles, clock, conversions.guard, post)


def _format(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / SECOND_US, UTC).isoformat(timespec="seconds")
