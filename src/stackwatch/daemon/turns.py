"""Whose turn is it? Between folders: priority first, then turns; within one its limit. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stackwatch.ledger.records import Job


@dataclass(frozen=True, slots=True)
class Share:
    """What a folder may have of the daemon's workers.

    Attributes
    ----------
    priority : int
        The folder's; its acquisitions' own are added.
    max_workers : int or None
        None: all of them.
    running : int
        Conversions of this folder under way.
    last_turn : int
        Grows with each claim of any folder; 0 for a folder that never had one.
    """

    priority: int = 0
    max_workers: int | None = None
    running: int = 0
    last_turn: int = 0


def order_turns(heads: Iterable[Job], shares: Mapping[str, Share]) -> list[Job]:
    """Return the jobs that may start, the one whose turn it is first.

    Of equal priority the folder that has waited longest for a turn comes first, so that five
    hundred acquisitions in one folder hold up nobody in another.

    Parameters
    ----------
    heads : iterable of Job
        At most one for each folder.
    shares : mapping of folder name to Share
        A folder without one may not start anything.
    """

    def rank(job: Job) -> tuple[int, int, int, int]:
        share = shares[job.folder]
        return -(share.priority + job.priority), share.last_turn, job.queued_at_us, job.job_id

    return sorted(
        (job for job in heads if job.folder in shares and _has_slot(shares[job.folder])), key=rank
    )


def _has_slot(share: Share) -> bool:
    return share.max_workers is None or share.running < share.max_workers
