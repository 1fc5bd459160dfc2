"""The converting river inside the daemon: whose turn it is, its worker, and what came of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from stackwatch.clock import Clock
from stackwatch.daemon.attempts import Running, ensure_same_content, stopped, unexpected
from stackwatch.daemon.children import ChildExit
from stackwatch.daemon.errands import Errands, Unanswered
from stackwatch.daemon.guard import LedgerGuard
from stackwatch.daemon.history import History
from stackwatch.daemon.intake import Intake
from stackwatch.daemon.orders import plan_order
from stackwatch.daemon.outcomes import Outcomes
from stackwatch.daemon.publishing import Publishing
from stackwatch.daemon.recovery import Recovery
from stackwatch.daemon.room import Pause, estimate_need, pause_of
from stackwatch.daemon.stall import StallWatch, immortal, stalled
from stackwatch.daemon.targets import Announced, Cleared, Leftovers, clear_leftovers
from stackwatch.daemon.watching import Looked, Watching
from stackwatch.daemon.workers import (
    EXIT_GRACE_S,
    KILL_GRACE_S,
    WORKER_COMMAND,
    Order,
    Outcome,
    Worker,
    WorkerEnded,
    WorkerEvent,
)
from stackwatch.errors import (
    IllegalTransitionError,
    LedgerUnwritableError,
    OutOfSpaceError,
    StackwatchError,
    StalledError,
    WorkerKilledError,
)
from stackwatch.failpoints import reach
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import Job
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import JobId
from stackwatch.settings import Settings
from stackwatch.stores.publish import STAGING_FOLDER

PROGRESS_INTERVAL_S = 60.0

CLEAR_DEADLINE_S = 600.0
"""How long removing a staging directory may take: it may hold a million files."""

ASK_AGAIN_S = 30.0
"""How often a target that did not answer is asked what became of a dataset."""


class Conversions:
    """Worker slots and what happens in them. Used by the main thread alone.

    Parameters
    ----------
    settings : Settings
    ledger : Ledger
    history : History
    watching : Watching
    clock : Clock
    post : callable
        Takes the events of workers and errands from other threads; hand them to `take`, and to
        `errands`.
    command : sequence of str
        What a worker is; tests give a stand-in.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        history: History,
        watching: Watching,
        clock: Clock,
        post: Callable[..., None],
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self.settings = settings
        self.errands = Errands(post, clock)
        self.guard = LedgerGuard(ledger, clock)
        self.recovery = Recovery(
            ledger, history, self.errands, self.guard, clock, lambda: tuple(self._running)
        )
        self._ledger = ledger
        self._history = history
        self._watching = watching
        self._clock = clock
        self._post = post
        self._command = command
        self._intake = Intake(ledger, history, self.recovery, self.errands, clock)
        self._publishing = Publishing(ledger, watching, self.guard)
        self._outcomes = Outcomes(ledger, history, watching, clock)
        self._running: dict[JobId, Running] = {}
        self._stop_by_s: float | None = None
        self._noted_s = clock.monotonic()

    @property
    def running(self) -> tuple[Running, ...]:
        """Every job in our hands, those of ended workers that are cleared up after too."""
        return tuple(self._running.values())

    @property
    def paused(self) -> dict[str, Pause]:
        """Folders that wait for room or for their targets, by name."""
        return dict(self._intake.rooms.paused)

    # ------------------------------------------------------------ time

    def tick(self) -> None:
        """Fill free slots, watch the workers, catch up with what could not be recorded."""
        now_s = self._clock.monotonic()
        self.errands.tick()
        if self.guard.tick():
            self._publishing.ask_again(self.running)
            for folder in self._watching.folders:
                self._watching.rescan(folder.name)
        self.recovery.tick()
        self._fill_slots()
        if now_s - self._noted_s >= PROGRESS_INTERVAL_S:
            self._noted_s = now_s
            self._note_progress()
        for running in self.running:
            if running.is_ending:
                self._ask_again(running, now_s)
            else:
                self._watch_worker(running, now_s)
        if self._stop_by_s is not None:
            self._leave_to_next_start(self._stop_by_s, now_s)

    def stop(self) -> None:
        """Take no more jobs; ask the workers to stop at the next slab, and wait only so long.

        Nothing waits for a look any more: it may be at a share that hangs.
        """
        if self._stop_by_s is not None:
            return
        self._stop_by_s = self._clock.monotonic() + self.settings.daemon.stop_timeout_s
        for running in self.running:
            if running.worker is not None:
                running.worker.stop()
            elif not running.is_ending:
                self._give_back(running, stopped())
            self._publishing.refuse(running)

    def kill(self) -> None:
        """Kill every worker at once; their jobs go back to the queue."""
        now_s = self._clock.monotonic()
        self._stop_by_s = now_s
        for running in self.running:
            if running.worker is not None and not running.is_ending:
                self._kill(running, stopped(), now_s)

    def discard(self, worker: Worker) -> None:
        """Bury a killed worker; the next start decides what becomes of its job."""
        worker.outcome()
        self._running.pop(worker.order.job_id, None)

    def _leave_to_next_start(self, stop_by_s: float, now_s: float) -> None:
        """Wait no longer for targets and a ledger that do not answer: the job stays claimed."""
        if now_s > stop_by_s + 2 * KILL_GRACE_S:
            self._running.clear()
        elif self.guard.is_degraded:
            for running in self.running:
                if running.is_ending:
                    del self._running[running.job.job_id]

    def _note_progress(self) -> None:
        if self.guard.is_degraded:
            return
        for running in self.running:
            progress = running.worker.progress if running.worker is not None else None
            if progress is not None and not running.is_ending:
                self._ledger.jobs.record_progress(running.job.job_id, progress)

    # ------------------------------------------------------------ whose turn it is

    def _fill_slots(self) -> None:
        """Claim jobs as long as there are slots, room, and a ledger that takes writes."""
        while self._stop_by_s is None and not self.guard.is_degraded:
            busy = Counter(one.job.folder for one in self.running if not one.is_ending)
            if busy.total() >= self.settings.daemon.workers:
                return
            try:
                job = self._intake.claim_next(self.settings, busy, self._promised)
            except LedgerUnwritableError as error:
                self.guard.note(error)
                return
            if job is None:
                return
            self._look_again(job)

    def _promised(self, device: int) -> int:
        """Return what running conversions are going to write on a file system."""
        return sum(running.left_bytes for running in self.running if running.device == device)

    # ------------------------------------------------------------ the beginning of an attempt

    def _look_again(self, job: Job) -> None:
        """Look whether the acquisition is still what it was when it settled."""
        running = Running(
            job,
            self._clock.monotonic(),
            needed_bytes=estimate_need(job.total_bytes, job.error).bytes,
            device=self._intake.rooms.device_of(job.target),
        )
        self._running[job.job_id] = running
        self._watching.look_at(job.folder, job.key, lambda looked: self._begin(running, looked))

    def _begin(self, running: Running, looked: Looked) -> None:
        """Start the worker, or give the job back."""
        job = running.job
        if self._running.get(job.job_id) is not running or running.is_ending:
            return  # the daemon stops: the job was given back
        try:
            sighting = ensure_same_content(job, looked)
            order = plan_order(self.settings, self._history, job, sighting)
            worker = self._start_worker(order)
        except StackwatchError as error:
            self._give_back(running, error)
            return
        except Exception as error:
            self._give_back(running, unexpected(error))  # the slot is not lost with it
            raise
        running.worker = worker
        running.stall = StallWatch(worker.pid, self._clock.monotonic())
        self.guard.record(lambda: self._record_worker(running, worker))
        logger(**order.bound).info(
            Event.JOB_CLAIMED,
            folder=job.folder,
            acquisition=show_path(job.key),
            path=show_path(order.request.target),
            pid=worker.pid,
        )
        reach("daemon.worker_started")

    def _start_worker(self, order: Order) -> Worker:
        try:
            return Worker(order, self._post, self._command)
        except OSError as error:
            raise WorkerKilledError(
                f"No process can be started: {error.strerror or error}. The machine is short of "
                "memory or of processes; the job is tried again.",
                hint="Look at the machine's memory and at the limits of the service.",
            ) from error

    def _record_worker(self, running: Running, worker: Worker) -> None:
        if not running.is_ending:
            self._ledger.jobs.record_worker(running.job.job_id, worker.pid)

    def _give_back(self, running: Running, error: StackwatchError) -> None:
        """Record that an attempt ended before its worker was started."""
        running.is_ending = True

        def record() -> None:
            self._outcomes.refuse(running.job, error)
            self._running.pop(running.job.job_id, None)

        self.guard.record(record)

    # ------------------------------------------------------------ what workers say, or do not say

    def take(self, event: WorkerEvent) -> None:
        """Act upon a worker's fact or its end."""
        running = self._running.get(event.worker.order.job_id)
        if running is not None and running.worker is not event.worker:
            running = None  # the job is on its next attempt: this worker was given up
        if isinstance(event, WorkerEnded):
            outcome = event.worker.outcome()
            reach("daemon.result_received")
            if running is not None and running.outcome is None:
                self._end(running, outcome)
        elif running is None or running.is_ending:
            event.worker.refuse(event, stopped())
        else:
            is_stopping = self._stop_by_s is not None
            self._publishing.take(running, event, is_stopping=is_stopping)

    def _watch_worker(self, running: Running, now_s: float) -> None:
        """Kill a worker that does not get on, does not exit, or does not stop in time."""
        worker, stall = running.worker, running.stall
        if worker is None or stall is None:
            return
        if running.killed_s is not None:
            if now_s - running.killed_s > KILL_GRACE_S:
                self._give_up(running, worker)
        elif worker.has_spoken:
            running.spoken_s = running.spoken_s or now_s
            if now_s - running.spoken_s > EXIT_GRACE_S:
                self._kill(running, None, now_s)
        elif self._stop_by_s is not None and now_s >= self._stop_by_s:
            self._kill(running, stopped(), now_s)
        else:
            is_waiting = running.asking is not None
            silent_s = stall.silent_s(worker.progress, now_s, is_waiting=is_waiting)
            if silent_s > self.settings.daemon.stall_after_s:
                error = stalled(f"The conversion of “{show_path(running.job.name)}”", silent_s)
                logger(job_id=running.job.job_id).warning(
                    Event.WORKER_STALLED, pid=worker.pid, seconds=round(silent_s), hint=error.hint
                )
                self._kill(running, error, now_s)

    def _kill(self, running: Running, verdict: StackwatchError | None, now_s: float) -> None:
        assert running.worker is not None
        running.verdict = running.verdict or verdict
        running.killed_s = running.killed_s or now_s
        running.worker.kill()

    def _give_up(self, running: Running, worker: Worker) -> None:
        """Free the slot of a worker that not even SIGKILL ends: it hangs in the kernel.

        It may be in the middle of its rename. So a job whose dataset it had announced is not
        decided before it is gone; any other may be tried again, under another staging name.
        """
        error = immortal(f"The conversion of “{show_path(running.job.name)}”", worker.pid)
        logger(job_id=running.job.job_id).error(
            Event.WORKER_STALLED, pid=worker.pid, reason=error.message, hint=error.hint
        )
        if isinstance(running.verdict, StalledError):
            running.verdict = error
        if self._announced(running.job):
            running.is_ending = True
        else:
            self._end(running, worker.give_up(ChildExit(-9, 0.0)))

    # ------------------------------------------------------------ the end of an attempt

    def _end(self, running: Running, outcome: Outcome) -> None:
        """Clear up after an attempt, then record what came of it."""
        if running.verdict is not None and isinstance(outcome.error, WorkerKilledError):
            outcome = replace(outcome, error=running.verdict)
        running.outcome, running.is_ending = outcome, True
        running.seconds = self._clock.monotonic() - running.started_s
        self.guard.record(lambda: self._clear(running))

    def _announced(self, job: Job) -> tuple[Announced, ...]:
        """Return the datasets of a job of which only the intent is on record."""
        return tuple(
            Announced(dataset.path, dataset.run_id)
            for dataset in self._history.announced_by(job.job_id)
        )

    def _clear(self, running: Running) -> None:
        job = running.job
        announced = self._announced(job)
        self.errands.ask(
            job.target,
            clear_leftovers,
            Leftovers(job.target / STAGING_FOLDER / job.staging_name, announced),
            lambda answer: self._take_cleared(running, announced, answer),
            CLEAR_DEADLINE_S,
        )

    def _take_cleared(
        self, running: Running, announced: tuple[Announced, ...], answer: Cleared | Unanswered
    ) -> None:
        if isinstance(answer, Unanswered) and announced:
            running.ask_again_s = self._clock.monotonic() + ASK_AGAIN_S
            return
        found = Cleared(False, ()) if isinstance(answer, Unanswered) else answer
        if not found.is_removed:
            self.recovery.again(running.job.target)
        self.guard.record(lambda: self._conclude(running, found))

    def _ask_again(self, running: Running, now_s: float) -> None:
        """Ask a target that did not answer once more what became of a dataset."""
        if running.ask_again_s is not None and now_s >= running.ask_again_s:
            running.ask_again_s = None
            self.guard.record(lambda: self._clear(running))

    def _conclude(self, running: Running, found: Cleared) -> None:
        job, outcome = running.job, running.outcome
        if self._running.get(job.job_id) is not running or outcome is None:
            return  # left to the next start
        try:
            self._outcomes.record(job, outcome, running.seconds, found.in_place)
        except IllegalTransitionError as error:  # a mistake of ours must not end the others
            logger(job_id=job.job_id).error(
                Event.MISTAKE_CAUGHT, error_code=error.code, message=error.message
            )
        except LedgerUnwritableError:
            raise  # it is done again
        except Exception:
            del self._running[job.job_id]  # whoever looks for jobs of nobody finds it
            raise
        del self._running[job.job_id]
        if isinstance(outcome.error, OutOfSpaceError) and "needed_bytes" in outcome.error.values:
            self._intake.rooms.pause(job.folder, pause_of(outcome.error))
