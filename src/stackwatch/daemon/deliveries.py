"""Deliveries to WEBKNOSSOS: the daemon's end.

Each delivery has a process of its own and a slot of its own kind: whatever the server does, no
conversion waits for it. What came of it is committed here; the process takes no step before.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from stackwatch.clock import Clock
from stackwatch.daemon.children import Child, module_command
from stackwatch.daemon.delivery_outcomes import DeliveryOutcomes, log_of, pending
from stackwatch.daemon.delivery_rules import choose_kind, is_wanted, plan_request
from stackwatch.daemon.delivery_running import Running, stage_of
from stackwatch.daemon.drain import RETRY_S, Pending
from stackwatch.daemon.guard import LedgerGuard
from stackwatch.daemon.sides import Side, SideSaid
from stackwatch.daemon.wire import dump_record, load_record
from stackwatch.errors import LedgerUnwritableError, StackwatchError
from stackwatch.ledger.deliveries import MOST_AT_ONCE
from stackwatch.ledger.delivery_records import DeliveryRecord
from stackwatch.ledger.ledger import Ledger
from stackwatch.logs import Event
from stackwatch.model.delivery import DeliveryKind, DeliveryState, UploadRecord
from stackwatch.settings import FolderSettings, Settings

DELIVERY_COMMAND = module_command("stackwatch.daemon.delivery_main")
PLAN_INTERVAL_S = 5.0
FILL_INTERVAL_S = 1.0
NOTE_INTERVAL_S = 60.0
"""So often the newest progress goes into the ledger."""

_HUNG = "its process cannot be killed: it hangs in the kernel, at a disk or a share"
MOST_LOOKED_AT = 16
HEARD = frozenset({"reserved", "sending", "finishing", "finished", "described"})
"""Stages that nobody comes to whom the server does not answer, or whose token it does not take."""


class Deliveries(Side):
    """Delivers what is published. Used by the main thread alone.

    Parameters
    ----------
    ledger : Ledger
    clock : Clock
    guard : LedgerGuard
    post : callable
        Takes `SideSaid` from other threads; hand it to `take`.
    command : sequence of str or None
        What a delivery process is; None: the real one.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        guard: LedgerGuard,
        post: Callable[[SideSaid], None],
        command: Sequence[str] | None = None,
    ) -> None:
        self._verbs = ledger.deliveries
        self._clock = clock
        self._guard = guard
        self._post = post
        self._command = command or DELIVERY_COMMAND
        self._settings = Settings()
        self._outcomes = DeliveryOutcomes(self._verbs, clock)
        self._running: dict[int, Running] = {}
        self._plan_s = self._fill_s = 0.0
        self._is_stopping = self._may_go_elsewhere = False

    # ------------------------------------------------------------ time

    def begin(self, settings: Settings) -> None:
        """At the start: give back what was under way when the daemon ended."""
        for delivery in self._verbs.recover():
            log_of(delivery).info(Event.DELIVERY_RECOVERED, state=stage_of(delivery))
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Take new settings over; what is under way goes on as it was begun."""
        self._settings = self._outcomes.settings = settings
        self._outcomes.gate.open()  # the address or the token may be mended
        self._may_go_elsewhere = True
        self.poke()

    def poke(self) -> None:
        """Look at the next tick: something was published, or the settings changed."""
        self._plan_s = self._fill_s = 0.0

    def tick(self) -> None:
        """Watch those under way, plan, and begin what is due."""
        now_s = self._clock.monotonic()
        if self._is_stopping or self._guard.is_degraded:
            return
        try:
            for running in self._running.values():
                self._watch(running, now_s)
            if now_s >= self._plan_s:
                has_more = self._plan()
                self._plan_s = now_s if has_more else now_s + PLAN_INTERVAL_S
            if now_s >= self._fill_s:
                is_busy = self._fill(now_s)
                self._fill_s = now_s + (FILL_INTERVAL_S if is_busy else PLAN_INTERVAL_S)
        except LedgerUnwritableError as error:
            self._guard.note(error)

    def stop(self) -> None:
        """End every process at once: the next start goes on where they were."""
        self._is_stopping = True
        for running in self._running.values():
            with contextlib.suppress(LedgerUnwritableError):  # then the next start gives it back
                self._verbs.release(running.delivery.delivery_id)
            running.child.kill()

    @property
    def has_children(self) -> bool:
        """Whether a process is left."""
        return bool(self._running)

    def discard(self, said: SideSaid) -> None:
        """Bury a killed process."""
        if said.message is None:
            said.child.reap()
            self._running.pop(self._of(said.child).delivery.delivery_id)

    # ------------------------------------------------------------ asked from outside

    def retry(self, delivery_id: int) -> DeliveryRecord:
        """Have a delivery tried again now, and the server or the token with it.

        Raises
        ------
        UsageError
            There is none, or there is nothing to try again.
        """
        delivery = self._verbs.retry(delivery_id)
        self._outcomes.forget(delivery_id)
        self.poke()
        return delivery

    def describe(self) -> dict[str, Any]:
        """Return what only the daemon knows, as JSON values: progress, and what is waited for."""
        return {
            "paused": self._outcomes.gate.as_record(self._clock.monotonic()),
            "running": [running.as_record() for running in self._running.values()],
        }

    def pending(self) -> tuple[Pending, ...]:
        """Return what `run --once` has to wait for: not a server that is down."""
        if self._is_stopping or self._guard.is_degraded:
            return ()
        under_way = [one.delivery for one in self._running.values() if not one.is_given_up]
        queued: list[DeliveryRecord] = []
        if not self._outcomes.gate.is_closed:
            soon_us = round((self._clock.now() + RETRY_S) * 1_000_000)
            due = self._verbs.due(1, self._is_wanted, soon_us)
            queued = [one for one in due if one.state is DeliveryState.QUEUED]
        return tuple(pending(one, "is delivered to WEBKNOSSOS") for one in (*under_way, *queued))

    def left(self) -> tuple[Pending, ...]:
        """Return what `run --once` leaves for another time, or for a human."""
        waiting = [
            pending(one, f"not delivered: {(one.error or {}).get('message', 'it waits')}")
            for one in self._verbs.waiting()
            if self._is_wanted(one)
        ]
        hung = [pending(one.delivery, _HUNG) for one in self._running.values() if one.is_given_up]
        return (*waiting, *hung, *self._outcomes.parked.values())

    # ------------------------------------------------------------ planning and beginning

    def _plan(self) -> bool:
        """Plan what is published; return whether there is more than one look takes."""
        server = self._settings.webknossos.url
        if server is None:
            return False
        has_more = False
        for folder in self._settings.folder:
            choose = _chooser(folder)
            if self._may_go_elsewhere:
                self._verbs.redirect(folder.name, server, choose)
            planned = self._verbs.plan(folder.name, server, choose)
            has_more = has_more or len(planned) >= MOST_AT_ONCE
            if planned:
                self._fill_s = 0.0
        self._may_go_elsewhere = False
        return has_more

    def _is_wanted(self, delivery: DeliveryRecord) -> bool:
        return is_wanted(delivery, self._settings)

    def _fill(self, now_s: float) -> bool:
        """Begin what is due, as far as there are slots; return whether something was begun.

        With a closed gate one delivery finds out how things are.
        """
        busy = sum(not one.is_given_up for one in self._running.values())
        free = self._settings.daemon.delivery_workers - busy
        if self._outcomes.gate.is_closed:
            free = 0 if busy or not self._outcomes.may_try() else 1
        if free <= 0:
            return True
        due = self._verbs.due(MOST_LOOKED_AT, self._is_wanted)
        # one that the server never gets along with must not be the only one to try
        for delivery in sorted(due, key=self._outcomes.pauses_of)[:free]:
            self._start(delivery, now_s)
        return bool(due)

    def _start(self, delivery: DeliveryRecord, now_s: float) -> None:
        request = plan_request(delivery, self._settings, self._verbs.older_ids(delivery))
        begun = self._verbs.start(delivery.delivery_id)
        try:
            child = Child(
                self._command,
                lambda ours, said: self._post(SideSaid(self, ours, said)),
                has_secrets=True,
            )
        except OSError:  # short of memory or processes; tried again
            self._verbs.release(delivery.delivery_id)
            return
        running = Running(begun, child, request.server, now_s, now_s, stage_of(begun))
        self._running[begun.delivery_id] = running
        child.send({
            "kind": "request",
            "request": dump_record(request),
            "bound": {"job_id": begun.job_id, "delivery_id": begun.delivery_id},
            "logs": self._settings.logs.model_dump(mode="json"),
        })  # fmt: skip
        if delivery.error is None:  # a server that is down is asked again and again
            log_of(begun).info(
                Event.DELIVERY_STARTED,
                attempt=begun.attempt,
                server=begun.server,
                state=running.stage,
            )

    # ------------------------------------------------------------ while it runs

    def _watch(self, running: Running, now_s: float) -> None:
        """End what does not get on, or what nobody wants any more; note progress now and then."""
        was_given_up = running.is_given_up
        running.end_if_silent(now_s, self._settings.daemon.stall_after_s)
        if running.is_given_up and not was_given_up:
            log_of(running.delivery).error(
                Event.WORKER_STALLED, pid=running.child.pid, reason=_HUNG
            )
        if now_s - running.noted_s < NOTE_INTERVAL_S:
            return
        running.noted_s = now_s
        number = running.delivery.delivery_id
        self._verbs.progress(number, running.progress)
        if not self._verbs.find(number).is_current:
            running.child.send({"kind": "stop"})

    def take(self, said: SideSaid) -> None:
        """Act upon what a delivery process says, or upon its end."""
        running, message = self._of(said.child), said.message
        if message is None:
            said.child.reap()
            del self._running[running.delivery.delivery_id]
            self._may_go_elsewhere = True  # the settings may have changed meanwhile
            self.poke()
            self._guard.record(lambda: self._outcomes.conclude(running))
            return
        match message.get("kind"):
            case "progress":
                if running.take_progress(message["progress"], self._clock.monotonic()):
                    self._outcomes.hear(running.delivery)
            case "record":
                running.is_waiting = True
                self._guard.record(lambda: self._record(running, message))
            case "result" | "error":
                running.last_word, running.moved_s = message, self._clock.monotonic()

    def _record(self, running: Running, message: dict[str, Any]) -> None:
        """Commit a step and let the process take it, or have it give up."""
        delivery, sequence = running.delivery, int(message["sequence"])
        upload = load_record(UploadRecord, message["fact"])
        try:
            self._verbs.record(delivery.delivery_id, delivery.attempt, upload)
        except LedgerUnwritableError:
            raise
        except StackwatchError as error:
            answer = {"kind": "refused", "sequence": sequence, "error": error.as_record()}
        else:
            running.stage = upload.stage
            answer = {"kind": "acknowledged", "sequence": sequence}
            if upload.stage in HEARD and upload.stage != stage_of(delivery):
                self._outcomes.hear(delivery)
        running.is_waiting, running.moved_s = False, self._clock.monotonic()
        running.child.send(answer)

    def _of(self, child: Child) -> Running:
        return next(one for one in self._running.values() if one.child is child)


def _chooser(folder: FolderSettings) -> Callable[[bool | None], DeliveryKind | None]:
    return lambda said: choose_kind(folder, said)
