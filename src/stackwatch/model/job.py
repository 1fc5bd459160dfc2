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


class DatasetState(StrEnum):
    """Where a dataset of a job stands."""

    PUBLISHING = "publishing"
    PUBLISHED = "published"
    SUPERSEDED = "superseded"
    ABANDONED = "abandoned"


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


_ARRIVING = frozenset({AcquisitionState.SETTLING, AcquisitionState.INCOMPLETE})

ACQUISITION_TRANSITIONS: dict[AcquisitionState, frozenset[AcquisitionState]] = {
    AcquisitionState.SETTLING: frozenset(AcquisitionState)
    - {AcquisitionState.SETTLING, AcquisitionState.SUPERSEDED},
    AcquisitionState.INCOMPLETE: frozenset(AcquisitionState)
    - {AcquisitionState.INCOMPLETE, AcquisitionState.SUPERSEDED},
    AcquisitionState.QUEUED: _ARRIVING
    | {
        AcquisitionState.CONVERTING,
        AcquisitionState.WAITING,
        AcquisitionState.PARKED,
        AcquisitionState.IGNORED,
    },
    AcquisitionState.CONVERTING: _ARRIVING
    | {
        AcquisitionState.QUEUED,
        AcquisitionState.PUBLISHED,
        AcquisitionState.WAITING,
        AcquisitionState.PARKED,
        AcquisitionState.IGNORED,
    },
    AcquisitionState.PUBLISHED: _ARRIVING | {AcquisitionState.QUEUED, AcquisitionState.IGNORED},
    AcquisitionState.WAITING: _ARRIVING
    | {AcquisitionState.QUEUED, AcquisitionState.PARKED, AcquisitionState.IGNORED},
    AcquisitionState.PARKED: _ARRIVING | {AcquisitionState.QUEUED, AcquisitionState.IGNORED},
    AcquisitionState.IGNORED: _ARRIVING
    | {AcquisitionState.QUEUED, AcquisitionState.CONVERTING, AcquisitionState.PARKED},
    AcquisitionState.SUPERSEDED: frozenset(),
}
"""An acquisition follows its newest job, except while it is arriving or a verdict of its own
parked it: then only a scan may say that it lies still again. `superseded` is a word for one of
its generations."""

DATASET_TRANSITIONS: dict[DatasetState, frozenset[DatasetState]] = {
    DatasetState.PUBLISHING: frozenset(
        {DatasetState.PUBLISHING, DatasetState.PUBLISHED, DatasetState.ABANDONED}
    ),
    DatasetState.PUBLISHED: frozenset({DatasetState.SUPERSEDED}),
    DatasetState.ABANDONED: frozenset({DatasetState.PUBLISHING}),
    DatasetState.SUPERSEDED: frozenset({DatasetState.PUBLISHED}),
}
"""`publishing` is recorded before the rename and `published` after it; an attempt that ended
between the two is looked for on the disk, and is `abandoned` if it is not there. A dataset whose
content is back, after one that was never published, is `published` again."""


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
    size_mark : str
        Digest over names and sizes alone.
    """

    folder: str
    acquisition: str
    generation: int
    stat_mark: str
    files: int
    total_bytes: int
    size_mark: str = ""
