"""What came of an attempt: into the ledger, and one canonical line into the log."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stackwatch.clock import Clock
from stackwatch.daemon.history import History, count_failures, count_waits
from stackwatch.daemon.watching import Watching
from stackwatch.daemon.workers import Outcome
from stackwatch.errors import (
    CancelledError,
    IllegalTransitionError,
    IncompleteAcquisitionError,
    OutOfSpaceError,
    StackwatchError,
    UnexpectedError,
    VanishedError,
)
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import Job
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import DatasetState
from stackwatch.pipeline.retry import Park, RetryAfter, WaitFor, plan_next

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

MOVE_CHECK_S = 2.0
MOVE_CHECKS = 5
"""So often in a row a worker may miss an acquisition that every scan sees."""

_DONE = (DatasetState.PUBLISHED, DatasetState.SUPERSEDED)


class Outcomes:
    """Turns the end of an attempt into the next state of its job."""

    def __init__(self, ledger: Ledger, history: History, watching: Watching, clock: Clock) -> None:
        self._ledger = ledger
        self._history = history
        self._watching = watching
        self._clock = clock

    def refuse(self, job: Job, error: StackwatchError) -> None:
        """Record that an attempt ended before a worker was started."""
        self._record_error(job, error, {})

    def record(
        self, job: Job, outcome: Outcome, seconds: float, in_place: Collection[str] = ()
    ) -> None:
        """Record what a worker's end means. May be repeated if the ledger refused a part of it.

        Parameters
        ----------
        job : Job
            As it was claimed.
        outcome : Outcome
        seconds : float
            How long the attempt took.
        in_place : collection of str
            Runs of announced datasets that lie at their places.
        """
        logger(job_id=job.job_id).debug(Event.WORKER_STOPPED, reason=str(outcome.exit))
        facts = {"seconds": round(seconds, 3), "peak_mib": round(outcome.exit.peak_mib, 1)}
        is_whole = self._confirm_datasets(job, in_place)
        if outcome.error is None or is_whole:
            self._succeed(job, outcome.result, facts)
        else:
            self._record_error(job, outcome.error, facts)

    def _confirm_datasets(self, job: Job, in_place: Collection[str]) -> bool:
        """Settle what a dead worker left undecided; return whether all is published.

        A worker may be killed between its rename and its report.
        """
        for dataset in self._ledger.datasets.of_job(job.job_id):
            if dataset.state is not DatasetState.PUBLISHING:
                continue
            if dataset.run_id in in_place:
                self._ledger.datasets.record_published(dataset.run_id, dataset.path)
            else:
                self._ledger.datasets.abandon(dataset.run_id, dataset.path)
        return any(
            dataset.state in _DONE and dataset.remaining == 0
            for dataset in self._ledger.datasets.of_job(job.job_id)
        )

    # ------------------------------------------------------------ success

    def _succeed(self, job: Job, result: dict[str, Any] | None, facts: dict[str, Any]) -> None:
        try:
            self._ledger.jobs.succeed(job.job_id, result)
        except IllegalTransitionError as error:
            surprise = UnexpectedError(f"The worker reported a success, but: {error.message}")
            self._record_error(job, surprise, facts)
            return
        result = result or {}
        read, written = result.get("bytes_read", 0), result.get("bytes_written", 0)
        _log(job).info(
            Event.JOB_SUCCEEDED,
            layout=result.get("layout"),
            datasets=[
                dataset.name
                for dataset in self._ledger.datasets.of_job(job.job_id)
                if dataset.state in _DONE
            ],
            files=job.files,
            bytes_read=read,
            bytes_written=written,
            mib_per_s=round(read / 2**20 / max(facts["seconds"], 0.001), 1),
            content_digest=result.get("content_digest"),
            **facts,
        )

    # ------------------------------------------------------------ failure

    def _record_error(self, job: Job, error: StackwatchError, facts: dict[str, Any]) -> None:
        """Queue the job again, let it wait, or park it, as the error's disposition says."""
        told = {"error_code": error.code, "message": error.message, "hint": error.hint, **facts}
        log = _log(job)
        if not self._history.is_newest(job.job_id):
            self._ledger.jobs.fail(job.job_id, error)
            log.info(Event.JOB_SUPERSEDED, **told)
            return
        if isinstance(error, CancelledError):
            self._ledger.jobs.requeue(job.job_id, error)
            log.info(Event.JOB_QUEUED, **told)
            return
        # this attempt is not in the history yet
        events = self._history.events_of(job.job_id)
        # a worker that knows how much it needs is not started before there is as much
        is_blind = isinstance(error, OutOfSpaceError) and "needed_bytes" not in error.values
        waits = count_waits(events, error.code) if is_blind else 0
        step = plan_next(error, count_failures(events) + 1, waits=waits)
        if isinstance(error, VanishedError) and count_waits(events, error.code) < MOVE_CHECKS:
            self._watching.rescan(job.folder)  # renamed: it goes on there; removed: the job fails
            step = WaitFor(MOVE_CHECK_S)
        match step:
            case Park():
                self._ledger.jobs.park(job.job_id, error)
                if isinstance(error, IncompleteAcquisitionError):
                    self._ledger.verdicts.record_lacking(job.acquisition_id, error)
                log.error(Event.JOB_PARKED, reason=step.reason, **told)
            case RetryAfter(delay_s):
                self._wait(job, error, delay_s)
                log.warning(Event.JOB_FAILED, retry_at_utc=self._utc(delay_s), **told)
                self._watching.rescan(job.folder)  # it may have changed, or be gone
            case WaitFor(recheck_s):
                self._wait(job, error, recheck_s)
                log.warning(Event.JOB_WAITING, retry_at_utc=self._utc(recheck_s), **told)

    def _wait(self, job: Job, error: StackwatchError, seconds: float) -> None:
        not_before_us = round((self._clock.now() + seconds) * 1_000_000)
        self._ledger.jobs.wait(job.job_id, error, not_before_us)

    def _utc(self, seconds: float) -> str:
        return datetime.fromtimestamp(self._clock.now() + seconds, UTC).isoformat("T", "seconds")


def _log(job: Job) -> "FilteringBoundLogger":
    return logger(
        job_id=job.job_id,
        attempt=job.attempt,
        acquisition_id=job.acquisition_id,
        folder=job.folder,
        acquisition=show_path(job.key),
    )
