"""The converting river inside the daemon: jobs to workers, facts and outcomes to the ledger."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stackwatch.clock import Clock
from stackwatch.daemon.history import History
from stackwatch.daemon.orders import plan_order
from stackwatch.daemon.outcomes import Outcomes
from stackwatch.daemon.watching import Looked, Watching
from stackwatch.daemon.workers import (
    EXIT_GRACE_S,
    WORKER_COMMAND,
    FactReported,
    Order,
    Worker,
    WorkerEnded,
    WorkerEvent,
)
from stackwatch.errors import (
    CancelledError,
    ChangedDuringConversionError,
    StackwatchError,
    StillArrivingError,
    WorkerKilledError,
)
from stackwatch.failpoints import reach
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import Job, NewDataset
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import Sighting
from stackwatch.model.job import JobId
from stackwatch.settings import Settings

PROGRESS_INTERVAL_S = 60.0


@dataclass(eq=False, slots=True)
class Running:
    """A claimed job: first it is looked at once more, then a worker has it.

    `asking` is the fact whose answer waits for another look.
    """

    job: Job
    started_s: float
    worker: Worker | None = None
    spoken_s: float | None = None
    asking: FactReported | None = None


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
        Takes the workers' events from other threads; hand them to `take`.
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
        post: Callable[[WorkerEvent], None],
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self.settings = settings
        self._ledger = ledger
        self._history = history
        self._watching = watching
        self._clock = clock
        self._post = post
        self._command = command
        self._outcomes = Outcomes(ledger, history, watching, clock)
        self._running: dict[JobId, Running] = {}
        self._is_stopping = False
        self._noted_s = clock.monotonic()

    @property
    def running(self) -> tuple[Running, ...]:
        """Every claimed job."""
        return tuple(self._running.values())

    # ------------------------------------------------------------ slots

    def tick(self) -> None:
        """Fill free slots, keep the ledger's progress fresh, end workers that do not exit."""
        now_s = self._clock.monotonic()
        while not self._is_stopping and len(self._running) < self.settings.daemon.workers:
            job = self._ledger.jobs.claim()
            if job is None:
                break
            self._look_again(job)
        if now_s - self._noted_s >= PROGRESS_INTERVAL_S:
            self._noted_s = now_s
            self._note_progress()
        for running in self.running:
            self._end_if_stuck(running, now_s)

    def stop(self) -> None:
        """Take no more jobs; ask the workers to stop at the next slab.

        Nothing waits for a look any more: it may be at a share that hangs.
        """
        self._is_stopping = True
        for running in self.running:
            if running.worker is None:
                del self._running[running.job.job_id]
                self._outcomes.refuse(running.job, _stopped())
            else:
                running.worker.stop()
            if running.asking is not None:
                self._answer(running.asking, _refuse_to_publish)
                running.asking = None

    def kill(self) -> None:
        """Kill every worker at once."""
        self._is_stopping = True
        for running in self.running:
            if running.worker is not None:
                running.worker.kill()

    def discard(self, worker: Worker) -> None:
        """Bury a killed worker; the next start decides what becomes of its job."""
        worker.outcome()
        self._running.pop(worker.order.job_id, None)

    def _note_progress(self) -> None:
        for running in self.running:
            if running.worker is not None and running.worker.progress is not None:
                self._ledger.jobs.record_progress(running.job.job_id, running.worker.progress)

    def _end_if_stuck(self, running: Running, now_s: float) -> None:
        """Kill a worker that has said its last word and does not exit."""
        if running.worker is None or not running.worker.has_spoken:
            return
        if running.spoken_s is None:
            running.spoken_s = now_s
        elif now_s - running.spoken_s > EXIT_GRACE_S:
            running.worker.kill()

    # ------------------------------------------------------------ the beginning of an attempt

    def _look_again(self, job: Job) -> None:
        """Look whether the acquisition is still what it was when it settled."""
        self._running[job.job_id] = Running(job, self._clock.monotonic())
        self._watching.look_at(job.folder, job.key, lambda looked: self._begin(job, looked))

    def _begin(self, job: Job, looked: Looked) -> None:
        """Start the worker, or give the job back."""
        running = self._running.get(job.job_id)
        if running is None or running.job is not job:
            return  # the daemon stops: the job was given back
        try:
            sighting = _same_content(job, looked)
            order = plan_order(self.settings, self._history, job, sighting)
            running.worker = self._start_worker(order, job)
        except StackwatchError as error:
            del self._running[job.job_id]
            self._outcomes.refuse(job, error)

    def _start_worker(self, order: Order, job: Job) -> Worker:
        try:
            worker = Worker(order, self._post, self._command)
        except OSError as error:
            raise WorkerKilledError(
                f"No process can be started: {error.strerror or error}. The machine is short of "
                "memory or of processes; the job is tried again.",
                hint="Look at the machine's memory and at the limits of the service.",
            ) from error
        self._ledger.jobs.record_worker(job.job_id, worker.pid)
        logger(**order.bound).info(
            Event.JOB_CLAIMED,
            folder=job.folder,
            acquisition=show_path(job.key),
            path=show_path(order.request.target),
            pid=worker.pid,
        )
        reach("daemon.worker_started")
        return worker

    # ------------------------------------------------------------ what workers say

    def take(self, event: WorkerEvent) -> None:
        """Act upon a worker's fact or its end."""
        match event:
            case FactReported():
                self._take_fact(event)
            case WorkerEnded(worker):
                running = self._running.pop(worker.order.job_id)
                outcome = worker.outcome()
                reach("daemon.result_received")
                seconds = self._clock.monotonic() - running.started_s
                self._outcomes.record(running.job, outcome, seconds)

    def _take_fact(self, reported: FactReported) -> None:
        """Commit a fact, then acknowledge it; refuse what may not be."""
        running = self._running[reported.worker.order.job_id]
        job = running.job
        if reported.fact.stage == "publishing" and self._is_stopping:
            self._answer(reported, _refuse_to_publish)
        elif reported.fact.stage == "publishing":
            running.asking = reported
            self._watching.look_at(
                job.folder, job.key, lambda looked: self._agree(job, reported, looked)
            )
        else:
            self._answer(reported, lambda: self._record_published(job, reported))

    def _agree(self, job: Job, reported: FactReported, looked: Looked) -> None:
        """Allow a rename if the acquisition is still what it was."""
        running = self._running.get(job.job_id)
        if running is None or running.asking is not reported:
            return  # the worker died meanwhile, or was told to stop
        running.asking = None

        def commit() -> None:
            _same_content(job, looked)
            fact = reported.fact
            self._ledger.datasets.record_publishing(
                job.job_id,
                NewDataset(fact.dataset_path, fact.staging_path, fact.run_id, fact.content_digest),
            )

        self._answer(reported, commit)

    def _record_published(self, job: Job, reported: FactReported) -> None:
        fact = reported.fact
        self._ledger.datasets.record_published(fact.run_id, fact.dataset_path)
        logger(job_id=job.job_id).info(
            Event.DATASET_PUBLISHED,
            folder=job.folder,
            acquisition=show_path(job.key),
            path=show_path(fact.dataset_path),
        )

    def _answer(self, reported: FactReported, commit: Callable[[], Any]) -> None:
        """Acknowledge what was committed; refuse with the error of what was not."""
        try:
            commit()
        except StackwatchError as error:
            reported.worker.refuse(reported, error)
        else:
            reported.worker.acknowledge(reported)


def _stopped() -> CancelledError:
    return CancelledError(
        "The daemon stops. The job stays in the queue; the next start takes it up.",
        hint="Start the daemon again.",
    )


def _refuse_to_publish() -> None:
    raise _stopped()


def _same_content(job: Job, looked: Looked) -> Sighting:
    """Return the sighting if it shows the content that had settled.

    Raises
    ------
    StillArrivingError
        It cannot be seen now.
    ChangedDuringConversionError
        It has changed.
    """
    if looked.sighting is None:
        raise StillArrivingError(
            f"“{show_path(job.name)}” cannot be seen: {looked.reason}.",
            hint="It goes on by itself when the acquisition is back.",
        )
    if looked.sighting.stat_mark != job.stat_mark:
        raise ChangedDuringConversionError(
            f"“{show_path(job.name)}” changed after it had settled. It settles anew and is "
            "converted then.",
            hint="Nothing to do: it goes on by itself.",
        )
    return looked.sighting
