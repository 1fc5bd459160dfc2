"""At the start: mend what an unexpected end left behind, before anything new begins."""

from collections.abc import Collection

from stackwatch.daemon.history import History, count_cut_offs
from stackwatch.daemon.staging import is_published, remove_orphans
from stackwatch.errors import WorkerKilledError
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import Job
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import JobId
from stackwatch.settings import Settings
from stackwatch.stores.publish import STAGING_FOLDER, is_held

MAX_CUT_OFFS = 8
"""A job in the middle of which the whole service ended this often in a row may be its cause."""


def recover(
    settings: Settings,
    ledger: Ledger,
    history: History,
    ours: Collection[JobId] = (),
) -> bool:
    """Decide what became of claimed jobs and half-published datasets, and remove old staging.

    Parameters
    ----------
    ours : collection of JobId
        Claimed jobs that are in the hands of this very daemon.

    Returns
    -------
    bool
        Whether a worker of the last daemon still lives: it is dying, but hangs in the kernel. Its
        job is left alone; call again later.
    """
    found = ledger.recover(
        is_running=lambda job: job.job_id in ours or _is_held(job),
        is_in_place=lambda dataset: is_published(dataset.path, dataset.run_id),
    )
    for dataset in found.confirmed:
        logger(job_id=dataset.job_id).info(
            Event.DATASET_PUBLISHED, path=show_path(dataset.path), reason="found at its place"
        )
    for job in found.finished:
        _log(job, "all its datasets were published")
    for job in found.requeued:
        _log(job, "its worker was cut off; it is converted again")
        _park_if_hopeless(ledger, history, job)
    is_left = any(job.job_id not in ours for job in found.running)
    for target in sorted({folder.target for folder in settings.folder}):
        orphans = remove_orphans(target, ours)
        is_left = is_left or bool(orphans.held)
        for path in orphans.removed:
            logger().info(Event.STAGING_REMOVED, path=show_path(path))
    return is_left


def _is_held(job: Job) -> bool:
    """Tell whether a worker of the last daemon still holds its staging directory."""
    try:
        return is_held(job.target / STAGING_FOLDER / job.staging_name)
    except OSError:
        return False


def _park_if_hopeless(ledger: Ledger, history: History, job: Job) -> None:
    cut_offs = count_cut_offs(history.events_of(job.job_id))
    if cut_offs < MAX_CUT_OFFS:
        return
    hint = f"Look at the log of the ends, then `stackwatch jobs retry {job.job_id}`."
    error = WorkerKilledError(
        f"The service ended {cut_offs} times in a row while job {job.job_id} ran. "
        f"It may be the cause, so it is parked. {hint}",
        hint=hint,
    )
    ledger.jobs.park(job.job_id, error)
    logger(job_id=job.job_id).error(
        Event.JOB_PARKED, error_code=error.code, message=error.message, hint=hint
    )


def _log(job: Job, reason: str) -> None:
    logger(job_id=job.job_id, acquisition_id=job.acquisition_id).info(
        Event.JOB_RECOVERED,
        folder=job.folder,
        acquisition=show_path(job.key),
        attempt=job.attempt,
        reason=reason,
    )
