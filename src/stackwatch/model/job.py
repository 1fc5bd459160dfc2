"""States of acquisitions, jobs and folders, and the legal ways from one to the next."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

JobId = NewType("JobId", int)
AcquisitionId = NewType("AcquisitionId", int)


class AcquisitionState(StrEnum):
    """Where an acquisition stands."""

    SETTLING = "settling"
    INCOMPLETE = "incomplete"
    QUEUED = "queued"
    CONVERTING = "converting"
    PUBLISHED = "published"
    WAITING = "waiting"
    PARKED = "parked"
    SUPERSEDED = "superseded"
    IGNORED = "ignored"


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PARKED = "parked"


class FolderState(StrEnum):
    """How a drop folder is doing."""

    HEALTHY = "healthy"
    POLLING = "polling"
    UNAVAILABLE = "unavailable"


JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.CLAIMED, JobState.PARKED, JobState.FAILED}),
    JobState.CLAIMED: frozenset(
        {JobState.SUCCEEDED, JobState.WAITING, JobState.FAILED, JobState.PARKED, JobState.QUEUED}
    ),
    JobState.WAITING: frozenset({JobState.QUEUED, JobState.PARKED, JobState.FAILED}),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.PARKED: frozenset({JobState.QUEUED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
}
"""`failed` is final for this content (a newer generation took over, or it vanished); `waiting` has
a time or a condition after which the job is queued again; `parked` waits for a human."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A conversion to be recorded.

    Attributes
    ----------
    folder : str
        Name of the drop folder.
    acquisition : str
        The acquisition's path relative to the drop folder; for loose files their common name.
    generation : int
        1 for the first content of this acquisition.
    stat_mark : str
        What it looked like when it had settled.
    files : int
    total_bytes : int
    """

    folder: str
    acquisition: str
    generation: int
    stat_mark: str
    files: int
    total_bytes: int
