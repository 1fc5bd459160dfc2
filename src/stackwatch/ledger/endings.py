"""How jobs end, and what an end means for the acquisition: steps that several verbs share.

To be called inside a transaction.
"""

import sqlite3
from typing import Any

from stackwatch.errors import IncompleteAcquisitionError, StackwatchError, VanishedError
from stackwatch.ledger.book import Book
from stackwatch.ledger.columns import dump_json, parse_json
from stackwatch.model.job import AcquisitionState, JobState

STATE_OF_JOB = {
    JobState.QUEUED: AcquisitionState.QUEUED,
    JobState.CLAIMED: AcquisitionState.CONVERTING,
    JobState.WAITING: AcquisitionState.WAITING,
    JobState.SUCCEEDED: AcquisitionState.PUBLISHED,
    JobState.PARKED: AcquisitionState.PARKED,
}
"""`failed` has no state of its own: a newer generation took over, or the acquisition vanished."""


def end_job(
    book: Book,
    job: sqlite3.Row,
    to: JobState,
    event: str,
    error: StackwatchError | None = None,
    *,
    result: dict[str, Any] | None = None,
    not_before_us: int = 0,
) -> None:
    """Move a job out of somebody's hands and keep what came of it."""
    facts = {"error_code": error.code} if error else {}
    book.move_job(job, to, event, attempt=job["attempt"], **facts)
    book.rows(
        "job_ended",
        job_id=job["id"],
        error=dump_json(error.as_record()) if error else "",
        result=dump_json(result),
        not_before_us=not_before_us,
        now_us=book.now_us(),
    )


def fail_open_jobs(book: Book, acquisition_id: int, error: StackwatchError) -> int:
    """End the jobs of an acquisition that nobody works on; return how many."""
    jobs = book.rows("open_jobs", acquisition_id=acquisition_id)
    for job in jobs:
        end_job(book, job, JobState.FAILED, "job.failed", error)
    return len(jobs)


def lift_verdict(book: Book, job: sqlite3.Row) -> None:
    """Let an acquisition follow its job again, if the job's end was the verdict about it.

    A person who has the job tried again thinks otherwise.
    """
    row = book.row("acquisition_by_id", acquisition_id=job["acquisition_id"])
    assert row is not None
    states = (AcquisitionState.INCOMPLETE, AcquisitionState.IGNORED)
    if row["state"] in states and row["error"] and row["error"] == job["error"]:
        book.move_acquisition(row["id"], AcquisitionState.QUEUED, "acquisition.queued")
        book.rows("acquisition_error", acquisition_id=row["id"], error="")


def set_incomplete(book: Book, acquisition_id: int, error: str) -> None:
    """Note that a conversion found files missing; `error` as the job's column holds it."""
    book.move_acquisition(acquisition_id, AcquisitionState.INCOMPLETE, "acquisition.incomplete")
    book.rows("acquisition_error", acquisition_id=acquisition_id, error=error)


def was_not_there(job: sqlite3.Row) -> bool:
    """Tell whether a job was parked because its acquisition was away: now it is back."""
    error = parse_json(job["error"]) or {}
    return job["state"] == JobState.PARKED and error.get("error_code") == VanishedError.code


def lacks_files(error: dict[str, Any] | None) -> bool:
    """Tell whether a conversion, not the watcher, found that the acquisition is incomplete."""
    if error is None or error.get("error_code") != IncompleteAcquisitionError.code:
        return False
    return not error.get("values", {}).get("aborted", False)
