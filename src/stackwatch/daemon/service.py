"""The service: one main thread that decides, and an inbox for everything that happens.

Scan processes, workers, hints, callers of the control socket and signals only put messages into
the inbox. The main thread takes them one after another, then does what is due, then sleeps until
the next message or the next due time.
"""

import contextlib
import queue
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

from stackwatch import __version__
from stackwatch.clock import Clock, SystemClock
from stackwatch.daemon.answers import Answers
from stackwatch.daemon.backups import Backups
from stackwatch.daemon.claims import Claims, ClaimTold
from stackwatch.daemon.control import ControlServer
from stackwatch.daemon.conversions import Conversions
from stackwatch.daemon.deliveries import Deliveries
from stackwatch.daemon.disposals import Disposals
from stackwatch.daemon.drain import Drain
from stackwatch.daemon.ending import Ending
from stackwatch.daemon.errands import ErrandSaid
from stackwatch.daemon.heartbeats import CONTROL, Heartbeats
from stackwatch.daemon.history import History
from stackwatch.daemon.inbox import Asked, Hinted, Message, Signalled, Wake
from stackwatch.daemon.mistakes import Mistakes
from stackwatch.daemon.notices import make_notices
from stackwatch.daemon.page import Page
from stackwatch.daemon.pictures import Pictures
from stackwatch.daemon.recorder import Recorder
from stackwatch.daemon.reload import LoadSettings, Reload, SettingsLoaded, Swap
from stackwatch.daemon.scanner import ScanSaid
from stackwatch.daemon.sdnotify import Notifier
from stackwatch.daemon.sides import Sides, SideSaid
from stackwatch.daemon.standing import describe_service
from stackwatch.daemon.switching import SettingsSwitch
from stackwatch.daemon.watchdog import Watchdog
from stackwatch.daemon.watching import Watching
from stackwatch.daemon.workers import WORKER_COMMAND, FactReported, WorkerEnded
from stackwatch.errors import ExitCode, LedgerUnwritableError, NoDaemonError, StackwatchError
from stackwatch.ledger.ledger import Ledger
from stackwatch.logs import Event, configure_logs, drain_logs, logger
from stackwatch.settings import Settings

LONGEST_SLEEP_S = 1.0
"""Waiting jobs become due in the ledger without a message: so often it is asked."""

BEAT_INTERVAL_S = 30.0
READY_WAIT_S = 60.0
"""READY is not held back longer by a first scan that takes its time."""

STOP_STEP_S = 30.0
"""While workers come to their slab, systemd is asked again and again for so much more time."""

SCAN_END_S = 5.0
"""How long the end waits for killed scan processes: one may hang on a dead share for ever."""


def run_service(
    settings: Settings,
    reload: LoadSettings | None = None,
    worker_command: Sequence[str] = WORKER_COMMAND,
    clock: Clock | None = None,
    drain: Drain | None = None,
) -> int:
    """Run the daemon until it is asked to stop.

    Parameters
    ----------
    settings : Settings
        Validated.
    reload : callable or None
        Reads the settings anew for SIGHUP; None: they cannot be read again.
    worker_command : sequence of str
        What a worker process is.
    clock : Clock or None
    drain : Drain or None
        End when all that can be done is done; None: go on until a stop is asked for.

    Returns
    -------
    int
        Exit code: 0 after a stop on request, 1 when the ledger failed; with `drain` its verdict,
        or 130 or 143 if a signal came first.

    Raises
    ------
    LedgerInUseError, LedgerTooNewError, LedgerError
        At the start; the caller ends with 69.
    """
    clock = clock or SystemClock()
    with Ledger.open(settings.daemon.state_dir, clock) as ledger:
        ledger.start()
        history = History.open(settings.daemon.state_dir)
        try:
            service = Service(settings, ledger, history, clock, reload, worker_command, drain)
            return service.run()
        finally:
            history.close()


class Service:
    """The daemon between start and end. Built and run by the main thread."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        history: History,
        clock: Clock,
        reload: LoadSettings | None = None,
        worker_command: Sequence[str] = WORKER_COMMAND,
        drain: Drain | None = None,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._history = history
        self._clock = clock
        self._ending = Ending(drain, clock, history)
        self._notifier = Notifier()
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._switch = SettingsSwitch(
            Reload(reload, self._inbox.put, clock), self._notifier, self._adopt
        )
        self._mistakes = Mistakes(clock)
        recorder = Recorder(ledger, history, self._inbox.put, worker_command)
        self._comparisons = recorder.comparisons
        self._comparisons.stall_after_s = settings.daemon.stall_after_s
        self._watching = Watching(ledger, recorder, clock, self._inbox.put, Wake(self._inbox.put))
        self._watching.mistakes = self._mistakes
        self._conversions = Conversions(
            settings, ledger, history, self._watching, clock, self._inbox.put, worker_command
        )
        deliveries = Deliveries(ledger, clock, self._conversions.guard, self._inbox.put)
        self._answers = Answers(
            ledger, history, self._watching, self._conversions, clock, self._stop, deliveries
        )
        state_dir = settings.daemon.state_dir
        self._claims = Claims(ledger.identity(), state_dir, clock, self._inbox.put)
        self._conversions.recovery.may_use = self._claims.may_use
        self._heartbeats = Heartbeats(clock)
        self._watching.tell_of_life(self._heartbeats)
        self._sides = Sides(
            Disposals(
                ledger, self._watching, clock, self._conversions.guard, self._inbox.put, state_dir
            ),
            Pictures(ledger, clock, state_dir),
            make_notices(
                ledger, self._watching, self._conversions, clock, self._inbox.put, state_dir
            ),
            deliveries,
            Page(self._watching, self._conversions, deliveries, clock, self._heartbeats, self._ask),
            Watchdog(self._heartbeats, self._notifier, clock),  # the last one
            mistakes=self._mistakes, guard=self._conversions.guard, clock=clock,
        )  # fmt: skip
        self._backups = Backups(state_dir, clock)
        self._control = ControlServer(state_dir, self._ask, self._heartbeats.expect(CONTROL))
        self._started_s = self._beaten_s = clock.monotonic()
        self._is_ready = self._is_stopping = False
        self._stopped_by = 0
        self._shown = ""

    # ------------------------------------------------------------ from start to end

    def run(self) -> int:
        """Serve until the stop is complete; return the exit code."""
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            self._begin()
            while not (self._is_stopping and not self._conversions.running):
                self._turn()
        except StackwatchError as error:
            logger().error(
                Event.DAEMON_STOPPED,
                error_code=error.code, message=error.message, hint=error.hint,
            )  # fmt: skip
            return error.exit_code if isinstance(error, LedgerUnwritableError) else ExitCode.FAILED
        else:
            code = self._ending.conclude(self._stopped_by)
            with contextlib.suppress(LedgerUnwritableError):  # then the last beat has to do
                self._ledger.stop()
            self._backups.close(is_asked_for=True)
            logger().info(Event.DAEMON_STOPPED)
            return code
        finally:
            self._end()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _begin(self) -> None:
        folders = len(self._settings.folder)
        logger().info(Event.DAEMON_STARTED, version=__version__, folders=folders)
        self._ending.begin()
        self._watching.adopt(self._settings)
        self._claims.adopt(self._settings.folder)
        self._sides.begin(self._settings)
        self._conversions.recovery.begin(folder.target for folder in self._settings.folder)
        self._control.start()

    def _end(self) -> None:
        """Leave no child, no thread and no socket behind."""
        self._conversions.kill()
        self._comparisons.kill()
        self._sides.stop()
        self._watching.close()
        self._conversions.errands.close()
        self._control.close()
        deadline_s = self._clock.monotonic() + SCAN_END_S
        while not self._is_alone:
            left_s = deadline_s - self._clock.monotonic()
            try:
                message = self._inbox.get(timeout=max(0.01, left_s))
            except queue.Empty:
                break  # a scan process that hangs in the kernel ends with its share
            self._bury(message)
        self._sides.close()
        self._claims.close()  # nobody of ours writes to a target any more

    @property
    def _is_alone(self) -> bool:
        """Whether no child is left."""
        is_working = self._conversions.running or self._comparisons.is_busy
        has_errands = self._conversions.errands.has_children
        has_children = has_errands or self._sides.has_children
        return self._watching.is_closed and not (is_working or has_children)

    def _bury(self, message: Message) -> None:
        """Take the end of a child, and nothing else."""
        match message:
            case ScanSaid():
                self._watching.discard(message)
            case SideSaid(side):
                side.discard(message)
            case ErrandSaid():
                self._conversions.errands.take(message)
            case WorkerEnded(worker) if worker.order.task == "digest":
                self._comparisons.discard(worker)
            case WorkerEnded(worker):
                self._conversions.discard(worker)
            case Asked(_, reply):
                reply.put(_stopping())
            case _:
                return

    # ------------------------------------------------------------ the loop

    def _turn(self) -> None:
        """Take what has happened, then do what is due; survive a mistake of ours in either."""
        try:
            self._take_messages()
            self._tick()
        except LedgerUnwritableError as error:
            self._conversions.guard.note(error)
        except StackwatchError:
            raise
        except Exception as error:  # noqa: BLE001 - one message must not end all conversions
            self._mistakes.note("", error)
            self._conversions.recovery.again()  # a job may have fallen out of our hands

    def _take_messages(self) -> None:
        """Sleep until something happens or is due; then take all that has happened."""
        due_s = self._watching.next_due_s() - self._clock.monotonic()
        try:
            message = self._inbox.get(timeout=min(LONGEST_SLEEP_S, max(0.001, due_s)))
            while True:
                self._take(message)
                message = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _take(self, message: Message) -> None:
        match message:
            case ScanSaid():
                self._watching.take(message)
            case SideSaid(side):
                side.take(message)
            case ErrandSaid():
                self._conversions.errands.take(message)
                self._sides.poke()  # a job ends when its target was cleared up
            case FactReported(worker) | WorkerEnded(worker):
                river = self._comparisons if worker.order.task == "digest" else self._conversions
                river.take(message)
            case Asked():
                self._answer(message)
            case Signalled(number):
                self._take_signal(number)
            case SettingsLoaded():
                self._switch.take(message, self._settings)
            case Hinted() | ClaimTold():
                return  # `tick` takes the hints and the claims

    def _tick(self) -> None:
        now_s = self._clock.monotonic()
        drain_logs()
        self._watching.tick()
        self._watching.refuse(self._claims.refusal)
        self._conversions.tick()
        self._sides.tick()
        self._backups.tick()
        if not self._is_stopping:
            self._comparisons.tick()
        if now_s - self._beaten_s >= BEAT_INTERVAL_S:
            self._beaten_s = now_s
            if not self._conversions.guard.is_degraded:
                self._ledger.beat()
        if self._is_stopping:
            self._notifier.extend(STOP_STEP_S)
        self._switch.tick(self._settings)
        if not self._is_stopping and self._ending.has_come(
            self._watching, self._conversions, self._comparisons, self._sides
        ):
            self._stop("all that can be done is done")
        if not self._is_ready and (self._watching.is_up or now_s - self._started_s > READY_WAIT_S):
            self._is_ready = True
            self._notifier.ready()
        self._show_status()

    def _show_status(self) -> None:
        """Keep the line in `systemctl status` true."""
        if not self._notifier.is_listened_to:
            return
        status = describe_service(self._watching, self._conversions, self._switch.refused)
        if status != self._shown:
            self._shown = status
            self._notifier.status(status)

    # ------------------------------------------------------------ signals and callers

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._inbox.put(Signalled(number))  # safe in a handler: it takes no lock of ours

    def _take_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._switch.begin_unasked()
            return
        if self._is_stopping:
            self._conversions.kill()
        self._stopped_by = self._stopped_by or number
        logger().info(Event.DAEMON_STOPPING, signal=signal.Signals(number).name)
        self._stop()

    def _stop(self, status: str = "workers stop at the next slab") -> None:
        """Take no more jobs and let the workers come to their next slab."""
        if not self._is_stopping:
            self._is_stopping = True
            self._notifier.stopping(status)
            self._conversions.stop()
            self._comparisons.kill()
            self._sides.stop()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Let the main thread answer. Called from callers' threads."""
        asked = Asked(command)
        self._inbox.put(asked)
        try:
            answer = asked.reply.get(timeout=_ANSWER_S)
        except queue.Empty:
            raise _stopping() from None
        if isinstance(answer, StackwatchError):
            raise answer
        return answer

    def _answer(self, asked: Asked) -> None:
        try:
            if asked.command.get("command") == "reload":
                self._switch.begin(asked.reply)
            else:
                asked.reply.put(self._answers.answer(asked.command))
        except StackwatchError as error:
            asked.reply.put(error)

    def _adopt(self, swap: Swap) -> None:
        """Take new settings over; what is under way goes on as it was begun."""
        self._watching.adopt(swap.settings)  # first: the ledger may take no writes
        if swap.settings.logs != self._settings.logs:
            logs = swap.settings.logs
            configure_logs(sys.stdout, logs.format, logs.level, logs.file, never_blocks=True)
        self._settings = self._conversions.settings = swap.settings
        self._comparisons.stall_after_s = swap.settings.daemon.stall_after_s
        self._claims.adopt(swap.settings.folder)
        self._sides.adopt(swap.settings)
        self._conversions.recovery.begin(folder.target for folder in swap.settings.folder)


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ANSWER_S = 25.0


def _stopping() -> NoDaemonError:
    return NoDaemonError("The daemon is stopping.", hint="Start it again.")
