"""Verbs about jobs: queue, claim, and what came of an attempt."""

import os
import sqlite3
from typing import Any

from stackwatch import failpoints
from stackwatch.errors import (
    ChangedDuringConversionError,
    IllegalTransitionError,
    LedgerError,
    StackwatchError,
    UsageError,
    WorkerKilledError,
)
from stackwatch.ledger.book import Book
from stackwatch.ledger.columns import dump_json
from stackwatch.ledger.endings import STATE_OF_JOB, end_job, lift_verdict
from stackwatch.ledger.records import Job
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import AcquisitionState, DatasetState, JobId, JobState, NewJob


class JobVerbs:
    """What is done with jobs. Every verb is one transaction and returns the job as it then is.

    Verbs that move a claimed job raise IllegalTransitionError if it is not claimed any more. One
    that would put a job of an older generation back, or aside, ends it as `failed` instead: a
    newer content took its place.
    """

    def __init__(self, book: Book) -> None:
        self._book = book

    def queue(self, new: NewJob) -> Job:
        """Record a new generation of a known acquisition and queue its conversion.

        Older generations and their datasets are superseded from then on, and their jobs that
        nobody works on fail. To repeat the same call changes nothing.

        Raises
        ------
        LedgerError
            The folder or the acquisition was never recorded.
        IllegalTransitionError
            The number is not the next one.
        """
        with self._book.transaction():
            acquisition = self._acquisition(new)
            job = self._same_content(acquisition, new)
            if job is not None:
                return Job.from_row(job)
            if new.generation != acquisition["generation"] + 1:
                raise IllegalTransitionError(
                    f"Generation {new.generation} of “{show_path(new.acquisition)}” cannot follow "
                    f"generation {acquisition['generation']}. Nothing was changed. Scan again.",
                    hint="Scan again.",
                    generation=new.generation,
                )
            self._supersede(acquisition, new.generation)
            return self._insert(acquisition, new)

    def heads(self) -> tuple[Job, ...]:
        """Return for each folder the one job that may start next; others wait behind it.

        Waiting jobs whose time has come are queued first. Jobs are left alone while their
        acquisition is arriving or gone, their folder unavailable or not configured, or another
        generation of the same acquisition is claimed. Within a folder the acquisition's own
        priority counts, then the age.

        Returns
        -------
        tuple of Job
            At most one for each folder: who chooses between folders knows their limits and turns.
        """
        with self._book.transaction():
            self._wake_due()
            rows = self._book.rows("head_jobs", now_us=self._book.now_us())
        return tuple(Job.from_row(row) for row in rows)

    def claim(self, worker_pid: int | None = None, job_id: JobId | None = None) -> Job | None:
        """Take a job that may start, or nothing; the attempt is counted before it begins.

        Parameters
        ----------
        worker_pid : int or None
        job_id : JobId or None
            One of `heads`; None takes the first of them.

        Returns
        -------
        Job or None
            With `staging_name` and `attempt` of this attempt; None if it may not start any more.
        """
        with self._book.transaction():
            self._wake_due()
            heads = self._book.rows("head_jobs", now_us=self._book.now_us())
            row = next((head for head in heads if job_id in (None, head["id"])), None)
            if row is None:
                return None
            self._book.move_job(row, JobState.CLAIMED, "job.claimed", attempt=row["attempt"] + 1)
            self._book.rows(
                "job_claimed", job_id=row["id"], worker_pid=worker_pid, now_us=self._book.now_us()
            )
            self._follow(row, AcquisitionState.CONVERTING, "acquisition.converting")
            job = self._job(row["id"])
            failpoints.reach("ledger.before_claim_commit")
        failpoints.reach("ledger.after_claim_commit")
        return Job.from_row(job)

    def next_due_us(self) -> int | None:
        """Return when the next queued or waiting job may start; None if there is none."""
        with self._book.transaction():
            row = self._book.row("next_due")
        return None if row is None or row["at_us"] is None else int(row["at_us"])

    def record_worker(self, job_id: JobId, worker_pid: int) -> None:
        """Record which process works on a claimed job."""
        with self._book.transaction():
            self._claimed(job_id)
            self._book.rows(
                "job_worker", job_id=job_id, worker_pid=worker_pid, now_us=self._book.now_us()
            )

    def record_progress(self, job_id: JobId, progress: dict[str, Any]) -> None:
        """Record how far a claimed job is, which is its sign of life too."""
        with self._book.transaction():
            self._claimed(job_id)
            self._book.rows(
                "job_progress",
                job_id=job_id,
                progress=dump_json(progress),
                now_us=self._book.now_us(),
            )

    def succeed(self, job_id: JobId, result: dict[str, Any] | None = None) -> Job:
        """Record that all datasets of a claimed job are published; `result` as JSON values.

        Raises
        ------
        IllegalTransitionError
            The job is not claimed, or the ledger does not know all its datasets as published.
        """
        with self._book.transaction():
            row = self._claimed(job_id)
            datasets = self._book.rows("datasets_of_generation", generation_id=row["generation_id"])
            states = {dataset["state"] for dataset in datasets} - {DatasetState.ABANDONED}
            if not states or DatasetState.PUBLISHING in states:
                raise IllegalTransitionError(
                    f"Job {job_id} cannot have succeeded: "
                    f"{'a dataset is still being published' if states else 'nothing was published'}"
                    ". Nothing was changed.",
                    job_id=job_id,
                )
            end_job(self._book, row, JobState.SUCCEEDED, "job.succeeded", result=result)
            self._follow(row, AcquisitionState.PUBLISHED, "acquisition.published")
            return Job.from_row(self._job(job_id))

    def requeue(self, job_id: JobId, error: StackwatchError, not_before_us: int = 0) -> Job:
        """Put a claimed job back, to be tried again at `not_before_us` (UTC) or later."""
        return self._end(
            job_id, JobState.QUEUED, "job.queued", AcquisitionState.QUEUED, error, not_before_us
        )

    def wait(self, job_id: JobId, error: StackwatchError, not_before_us: int) -> Job:
        """Let a claimed job wait for something outside; it is queued again at `not_before_us`."""
        return self._end(
            job_id, JobState.WAITING, "job.waiting", AcquisitionState.WAITING, error, not_before_us
        )

    def park(self, job_id: JobId, error: StackwatchError) -> Job:
        """Set a job aside for a person."""
        return self._end(job_id, JobState.PARKED, "job.parked", AcquisitionState.PARKED, error, 0)

    def fail(self, job_id: JobId, error: StackwatchError) -> Job:
        """End a job for good, because its content exists no more; the acquisition's state stays."""
        with self._book.transaction():
            row = self._job(job_id)
            end_job(self._book, row, JobState.FAILED, "job.failed", error)
            return Job.from_row(self._job(job_id))

    def retry(self, job_id: JobId) -> Job:
        """Queue a job again on a person's demand, with a fresh budget of tries.

        Raises
        ------
        UsageError
            There is no such job, it is running or done, or a newer generation took its place.
        """
        with self._book.transaction():
            row = self._book.row("job", job_id=job_id)
            if row is None:
                raise _cannot_retry(job_id, "is not in the ledger")
            if row["generation"] != row["newest_generation"]:
                raise _cannot_retry(job_id, "is of an older content: a newer job took its place")
            if row["state"] in (JobState.CLAIMED, JobState.SUCCEEDED):
                raise _cannot_retry(job_id, f"is {row['state']}")
            lift_verdict(self._book, row)
            if row["state"] != JobState.QUEUED:
                self._queue_again(row)
            self._book.rows("job_retried", job_id=job_id, now_us=self._book.now_us())
            self._book.note("job.retried", job_id=job_id, acquisition_id=row["acquisition_id"])
            return Job.from_row(self._job(job_id))

    def claimed(self) -> tuple[Job, ...]:
        """Return all claimed jobs; at the daemon's start these are the ones that were cut off."""
        with self._book.transaction():
            rows = self._book.rows("jobs_in_state", state=JobState.CLAIMED)
        return tuple(Job.from_row(row) for row in rows)

    def release(self, job_id: JobId) -> Job:
        """Put a claimed job whose worker is dead back into the queue; the attempt stays counted."""
        error = WorkerKilledError(
            f"Job {job_id} was cut off: its process ended without a word. It is tried again.",
            hint="Nothing to do, unless it happens again.",
            job_id=job_id,
        )
        return self._end(
            job_id, JobState.QUEUED, "job.recovered", AcquisitionState.QUEUED, error, 0
        )

    # ------------------------------------------------------------ parts

    def _job(self, job_id: int) -> sqlite3.Row:
        row = self._book.row("job", job_id=job_id)
        if row is None:
            raise LedgerError(f"The ledger knows no job {job_id}.", job_id=job_id)
        return row

    def _claimed(self, job_id: int) -> sqlite3.Row:
        row = self._job(job_id)
        if row["state"] != JobState.CLAIMED:
            raise self._illegal(row, JobState.CLAIMED)
        return row

    def _illegal(self, row: sqlite3.Row, to: JobState) -> IllegalTransitionError:
        return IllegalTransitionError(
            f"Job {row['id']} is “{row['state']}”: what was to be recorded belongs to another "
            "state. Nothing was changed.",
            job_id=row["id"],
            state_from=row["state"],
            state_to=str(to),
        )

    def _end(
        self,
        job_id: JobId,
        to: JobState,
        event: str,
        follow: AcquisitionState,
        error: StackwatchError,
        not_before_us: int,
    ) -> Job:
        with self._book.transaction():
            row = self._job(job_id)
            if row["generation"] != row["newest_generation"]:
                to, event, not_before_us = JobState.FAILED, "job.superseded", 0
            end_job(self._book, row, to, event, error, not_before_us=not_before_us)
            self._follow(row, follow, f"acquisition.{follow}")
            return Job.from_row(self._job(job_id))

    def _follow(self, job: sqlite3.Row, to: AcquisitionState, event: str) -> None:
        """Let generation and acquisition follow their job, unless something newer is going on.

        An acquisition whose state is not the one its job had before is arriving, was ignored, or
        was parked by a verdict of its own: the job does not speak for it any more.
        """
        if job["generation"] != job["newest_generation"]:
            return
        self._book.rows("generation_state", generation_id=job["generation_id"], state=to)
        if job["acquisition_state"] == STATE_OF_JOB.get(JobState(job["state"])):
            self._book.move_acquisition(job["acquisition_id"], to, event)

    def _queue_again(self, row: sqlite3.Row) -> None:
        self._book.move_job(row, JobState.QUEUED, "job.queued")
        self._follow(row, AcquisitionState.QUEUED, "acquisition.queued")

    def _wake_due(self) -> None:
        for row in self._book.rows("due_jobs", now_us=self._book.now_us()):
            self._queue_again(row)

    def _acquisition(self, new: NewJob) -> sqlite3.Row:
        folder = self._book.row("folder_by_name", name=new.folder)
        row = folder and self._book.row(
            "acquisition", folder_id=folder["id"], key=os.fsencode(new.acquisition)
        )
        if not row:
            raise LedgerError(
                f"“{show_path(new.acquisition)}” of folder “{new.folder}” was never recorded, so "
                "no job can be queued for it. Scan the folder again.",
                hint="Scan the folder again.",
                folder=new.folder,
                acquisition=show_path(new.acquisition),
            )
        return row

    def _same_content(self, acquisition: sqlite3.Row, new: NewJob) -> sqlite3.Row | None:
        """Return the newest job of this very generation, if it was queued before."""
        generation = self._book.row(
            "generation", acquisition_id=acquisition["id"], number=new.generation
        )
        if generation is None or generation["stat_mark"] != new.stat_mark:
            return None
        if new.generation != acquisition["generation"]:
            return None
        return self._book.row("newest_job", acquisition_id=acquisition["id"], number=new.generation)

    def _supersede(self, acquisition: sqlite3.Row, number: int) -> None:
        place = {"acquisition_id": acquisition["id"], "number": number}
        for job in self._book.rows("open_jobs", acquisition_id=acquisition["id"]):
            error = ChangedDuringConversionError(
                f"“{show_path(os.fsdecode(acquisition['key']))}” changed before it was converted: "
                f"generation {number} takes the place of generation {job['generation']}.",
                generation=number,
            )
            end_job(self._book, job, JobState.FAILED, "job.superseded", error)
        for dataset in self._book.rows("datasets_to_supersede", **place):
            self._book.move_dataset(dataset, DatasetState.SUPERSEDED, "dataset.superseded")
            self._book.rows(
                "dataset_superseded", dataset_id=dataset["id"], now_us=self._book.now_us()
            )
        self._book.rows("supersede_generations", **place)

    def _insert(self, acquisition: sqlite3.Row, new: NewJob) -> Job:
        now_us, acquisition_id = self._book.now_us(), acquisition["id"]
        generation = self._book.row(
            "insert_generation",
            acquisition_id=acquisition_id,
            number=new.generation,
            stat_mark=new.stat_mark,
            size_mark=new.size_mark,
            files=new.files,
            total_bytes=new.total_bytes,
            now_us=now_us,
        )
        assert generation is not None
        self._book.rows(
            "acquisition_generation", acquisition_id=acquisition_id, number=new.generation
        )
        self._book.move_acquisition(acquisition_id, AcquisitionState.QUEUED, "acquisition.settled")
        job = self._book.row(
            "insert_job",
            acquisition_id=acquisition_id,
            generation_id=generation["id"],
            now_us=now_us,
        )
        assert job is not None
        self._book.note(
            "job.queued",
            job_id=job["id"],
            acquisition_id=acquisition_id,
            state_to=JobState.QUEUED,
            generation=new.generation,
        )
        return Job.from_row(self._job(job["id"]))


def _cannot_retry(job_id: int, why: str) -> UsageError:
    return UsageError(
        f"Job {job_id} {why}, so it cannot be retried. Look at `stackwatch jobs list`.",
        hint="Look at `stackwatch jobs list`.",
        job_id=job_id,
    )
