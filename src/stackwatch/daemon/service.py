"""The service: one main thread that decides, and an inbox for everything that happens.

Scan processes, workers, hints, callers of the control socket and signals only put messages into
the inbox. The main thread takes them one after another, then does what is due, then sleeps until
the next message or the next due time.
"""

import queue
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from stackwatch import __version__
from stackwatch.clock import Clock, SystemClock
from stackwatch.daemon.answers import Answers
from stackwatch.daemon.comparisons import NO_JOB
from stackwatch.daemon.control import ControlServer
from stackwatch.daemon.conversions import Conversions
from stackwatch.daemon.history import History
from stackwatch.daemon.inbox import Asked, Hinted, Message, Signalled, Wake
from stackwatch.daemon.recorder import Recorder
from stackwatch.daemon.recovery import recover
from stackwatch.daemon.scanner import ScanSaid
from stackwatch.daemon.sdnotify import Notifier
from stackwatch.daemon.watching import Watching
from stackwatch.daemon.workers import WORKER_COMMAND, FactReported, WorkerEnded
from stackwatch.errors import (
    ConfigError,
    ExitCode,
    LedgerError,
    NoDaemonError,
    StackwatchError,
    UsageError,
)
from stackwatch.ledger.ledger import Ledger
from stackwatch.logs import Event, configure_logs, logger
from stackwatch.model.job import FolderState
from stackwatch.settings import Settings

LONGEST_SLEEP_S = 1.0
"""Waiting jobs become due in the ledger without a message: so often it is asked."""

BEAT_INTERVAL_S = 30.0
READY_WAIT_S = 60.0
"""READY is not held back longer by a first scan that takes its time."""

SCAN_END_S = 5.0
"""How long the end waits for killed scan processes: one may hang on a dead share for ever."""

LoadSettings = Callable[[], Settings]


def run_service(
    settings: Settings,
    reload: LoadSettings | None = None,
    worker_command: Sequence[str] = WORKER_COMMAND,
    clock: Clock | None = None,
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

    Returns
    -------
    int
        Exit code: 0 after a stop on request, 1 when the ledger failed.

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
            service = Service(settings, ledger, history, clock, reload, worker_command)
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
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._history = history
        self._clock = clock
        self._load = reload
        self._notifier = Notifier()
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        recorder = Recorder(ledger, history, self._inbox.put, worker_command)
        self._comparisons = recorder.comparisons
        self._watching = Watching(ledger, recorder, clock, self._inbox.put, Wake(self._inbox.put))
        self._conversions = Conversions(
            settings, ledger, history, self._watching, clock, self._inbox.put, worker_command
        )
        self._answers = Answers(
            ledger, history, self._watching, self._conversions, clock, self._reload, self._stop
        )
        self._control = ControlServer(settings.daemon.state_dir, self._ask)
        self._started_s = self._beaten_s = clock.monotonic()
        self._is_ready = self._is_stopping = self._has_orphans = False
        self._shown = ""

    # ------------------------------------------------------------ from start to end

    def run(self) -> int:
        """Serve until the stop is complete; return the exit code."""
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            self._begin()
            while not (self._is_stopping and not self._conversions.running):
                self._take_messages()
                self._tick()
        except LedgerError as error:
            logger().error(
                Event.DAEMON_STOPPED,
                error_code=error.code, message=error.message, hint=error.hint,
            )  # fmt: skip
            return ExitCode.FAILED
        else:
            self._ledger.stop()
            logger().info(Event.DAEMON_STOPPED)
            return ExitCode.DONE
        finally:
            self._end()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _begin(self) -> None:
        folders = len(self._settings.folder)
        logger().info(Event.DAEMON_STARTED, version=__version__, folders=folders)
        self._watching.adopt(self._settings)
        self._has_orphans = recover(self._settings, self._ledger, self._history)
        self._control.start()

    def _end(self) -> None:
        """Leave no child, no thread and no socket behind."""
        self._conversions.kill()
        self._comparisons.kill()
        self._watching.close()
        self._control.close()
        deadline_s = self._clock.monotonic() + SCAN_END_S
        while not self._is_alone:
            left_s = deadline_s - self._clock.monotonic()
            try:
                message = self._inbox.get(timeout=max(0.01, left_s))
            except queue.Empty:
                return  # a scan process that hangs in the kernel ends with its share
            self._bury(message)

    @property
    def _is_alone(self) -> bool:
        """Whether no child is left."""
        is_working = self._conversions.running or self._comparisons.is_busy
        return self._watching.is_closed and not is_working

    def _bury(self, message: Message) -> None:
        """Take the end of a child, and nothing else."""
        match message:
            case ScanSaid():
                self._watching.discard(message)
            case WorkerEnded(worker) if worker.order.task == "digest":
                self._comparisons.discard(worker)
            case WorkerEnded(worker):
                self._conversions.discard(worker)
            case Asked(_, reply):
                reply.put(_stopping())
            case _:
                return

    # ------------------------------------------------------------ the loop

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
            case FactReported(worker) | WorkerEnded(worker):
                river = self._comparisons if worker.order.task == "digest" else self._conversions
                river.take(message)
            case Asked():
                self._answer(message)
            case Signalled(number):
                self._take_signal(number)
            case Hinted():
                return  # `tick` takes the hints

    def _tick(self) -> None:
        now_s = self._clock.monotonic()
        self._watching.tick()
        self._conversions.tick()
        if not self._is_stopping:
            self._comparisons.tick()
        if now_s - self._beaten_s >= BEAT_INTERVAL_S:
            self._beaten_s = now_s
            self._ledger.beat()
        if self._has_orphans:
            self._recover_orphans()
        if not self._is_ready and (self._watching.is_up or now_s - self._started_s > READY_WAIT_S):
            self._is_ready = True
            self._notifier.ready()
        self._show_status()

    def _recover_orphans(self) -> None:
        """Take up the jobs of a dead daemon's workers that took their time to die."""
        ours = {running.job.job_id for running in self._conversions.running} | {NO_JOB}
        self._has_orphans = recover(self._settings, self._ledger, self._history, ours)

    def _show_status(self) -> None:
        """Keep the line in `systemctl status` true."""
        if not self._notifier.is_listened_to:
            return
        folders = self._watching.folders
        away = [folder.name for folder in folders if folder.state is FolderState.UNAVAILABLE]
        status = f"{len(folders)} folders, converting {len(self._conversions.running)}"
        if away:
            status += f", unavailable: {', '.join(away)}"
        if status != self._shown:
            self._shown = status
            self._notifier.status(status)

    # ------------------------------------------------------------ signals and callers

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._inbox.put(Signalled(number))  # safe in a handler: it takes no lock of ours

    def _take_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            try:
                self._reload()
            except StackwatchError as error:
                logger().error(
                    Event.CONTROL_REFUSED,
                    error_code=error.code, message=error.message, hint=error.hint,
                )  # fmt: skip
            return
        if self._is_stopping:
            self._conversions.kill()
        logger().info(Event.DAEMON_STOPPING, signal=signal.Signals(number).name)
        self._stop()

    def _stop(self) -> None:
        """Take no more jobs and let the workers come to their next slab."""
        if not self._is_stopping:
            self._is_stopping = True
            self._notifier.stopping("workers stop at the next slab")
            self._conversions.stop()
            self._comparisons.kill()

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
            asked.reply.put(self._answers.answer(asked.command))
        except StackwatchError as error:
            asked.reply.put(error)

    def _reload(self) -> dict[str, Any]:
        """Read the settings anew, validate them whole, then swap them.

        Raises
        ------
        ConfigError
            They have mistakes; the old ones stay in force.
        """
        if self._load is None:
            raise UsageError("The settings did not come from a file; they cannot be read again.")
        self._notifier.reloading()
        try:
            settings, kept = _keep_fixed(self._settings, self._load())
        except ConfigError:
            self._notifier.ready("the new settings have mistakes; the old ones stay in force")
            raise
        if settings.logs != self._settings.logs:
            logs = settings.logs
            configure_logs(sys.stdout, logs.format, logs.level, logs.file)
        self._settings = self._conversions.settings = settings
        self._watching.adopt(settings)
        self._notifier.ready()
        logger().info(
            Event.CONTROL_ANSWERED, reason="settings reloaded", folders=len(settings.folder)
        )
        return {"status": "reloaded", "needs_restart": kept}


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_ANSWER_S = 25.0


def _keep_fixed(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """Return the new settings with what only a restart can change, and the names of that."""
    if new.daemon.state_dir == old.daemon.state_dir:
        return new, []
    daemon = new.daemon.model_copy(update={"state_dir": old.daemon.state_dir})
    return new.model_copy(update={"daemon": daemon}), ["daemon.state_dir"]


def _stopping() -> NoDaemonError:
    return NoDaemonError("The daemon is stopping.", hint="Start it again.")
