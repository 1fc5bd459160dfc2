"""The converting river inside the daemon: jobs to workers, facts and outcomes to the ledger."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stackwatch.clock import Clock
from stackwatch.daemon.history import History, count_kills
from stackwatch.daemon.naming import ensure_unclaimed, plan_target
from stackwatch.daemon.outcomes import Outcomes
from stackwatch.daemon.staging import read_run_id
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
from stackwatch.ledger.records import DatasetRecord, Job, NewDataset
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import Sighting
from stackwatch.model.job import JobId
from stackwatch.model.options import ResourceOptions
from stackwatch.pipeline.convert import ConvertRequest
from stackwatch.pipeline.retry import plan_smaller
from stackwatch.settings import FolderSettings, Settings

PROGRESS_INTERVAL_S = 60.0


@dataclass(eq=False, slots=True)
class Running:
    """A claimed job: first it is looked at once more, then a worker has it."""

    job: Job
    started_s: float
    worker: Worker | None = None
    spoken_s: float | None = None


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
        """Take no more jobs; ask the workers to stop at the next slab."""
        self._is_stopping = True
        for running in self.running:
            if running.worker is not None:
                running.worker.stop()

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
        running = self._running[job.job_id]
        try:
            if self._is_stopping:
                raise CancelledError("The daemon stops; the job stays in the queue.")
            sighting = _same_content(job, looked)
            folder = self.settings.folder_named(job.folder)
            if folder is None:
                raise StillArrivingError(
                    f"Folder “{job.folder}” is not in the settings any more.",
                    hint="Put it back into the settings to convert what lies in it.",
                )
            request = self._plan_request(job, folder, sighting)
            running.worker = self._start_worker(job, request)
        except StackwatchError as error:
            del self._running[job.job_id]
            self._outcomes.refuse(job, error)

    def _plan_request(self, job: Job, folder: FolderSettings, sighting: Sighting) -> ConvertRequest:
        """Return what the worker is told.

        Raises
        ------
        TargetExistsError
            An older acquisition has this name.
        """
        older = self._history.older_names(folder.target, job.acquisition_id)
        ensure_unclaimed(self.settings, folder, job.name, older)
        before = [
            dataset
            for dataset in self._history.datasets_of(job.acquisition_id)
            if dataset.generation < job.generation
        ]
        target = plan_target(folder, job.name, len({dataset.generation for dataset in before}))
        return ConvertRequest(
            source=folder.path / sighting.source if sighting.source else folder.path,
            target=target,
            options=folder.convert_options(self._resources(job)),
            members=sighting.members,
            staging_name=job.staging_name,
            replaces_run_id=_replaceable_run(folder, target, before),
        )

    def _resources(self, job: Job) -> ResourceOptions:
        """Return the job's share, smaller if its workers were killed before."""
        share = self.settings.daemon.job_resources()
        assert share.memory_gib is not None
        assert share.threads is not None
        kills = count_kills(self._history.events_of(job.job_id))
        memory_gib, threads = plan_smaller(share.memory_gib, share.threads, kills)
        return replace(share, memory_gib=memory_gib, threads=threads)

    def _start_worker(self, job: Job, request: ConvertRequest) -> Worker:
        bound = {
            "job_id": job.job_id,
            "attempt": job.attempt,
            "acquisition_id": job.acquisition_id,
        }
        logs = self.settings.logs.model_dump(mode="json")
        try:
            worker = Worker(
                Order(job.job_id, job.attempt, request, bound, logs), self._post, self._command
            )
        except OSError as error:
            raise WorkerKilledError(
                f"No process can be started: {error.strerror or error}. The machine is short of "
                "memory or of processes; the job is tried again.",
                hint="Look at the machine's memory and at the limits of the service.",
            ) from error
        self._ledger.jobs.record_worker(job.job_id, worker.pid)
        logger(**bound).info(
            Event.JOB_CLAIMED,
            folder=job.folder,
            acquisition=show_path(job.key),
            path=show_path(request.target),
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
        job = self._running[reported.worker.order.job_id].job
        if reported.fact.stage == "publishing":
            self._watching.look_at(
                job.folder, job.key, lambda looked: self._agree(job, reported, looked)
            )
            return
        self._answer(reported, lambda: self._record_published(job, reported))

    def _agree(self, job: Job, reported: FactReported, looked: Looked) -> None:
        """Allow a rename if the acquisition is still what it was."""
        if job.job_id not in self._running:
            return  # the worker died meanwhile

        def commit() -> None:
            if self._is_stopping:
                raise CancelledError("The daemon stops; nothing more is published.")
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


def _replaceable_run(folder: FolderSettings, target: Path, before: Sequence[DatasetRecord]) -> str:
    """Return the run whose dataset at the target may be replaced; empty if none may.

    The ledger and the dataset's own manifest must name the same run: whatever else lies there is
    not ours.
    """
    if folder.on_change != "replace":
        return ""
    runs = {dataset.run_id for dataset in before if dataset.path == target}
    found = read_run_id(target)
    return found if found in runs and found is not None else ""


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
