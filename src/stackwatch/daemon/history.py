"""What the daemon asks the ledger about the past: earlier datasets, names in use, failures."""

import os
from dataclasses import dataclass
from pathlib import Path

from stackwatch.errors import CancelledError, Disposition, WorkerKilledError, error_by_code
from stackwatch.ledger.reader import LedgerReader
from stackwatch.ledger.records import AcquisitionRecord, DatasetRecord, EventRecord, Job
from stackwatch.model.job import AcquisitionId, JobId, JobState

_DATASETS = """
SELECT * FROM dataset_facts
WHERE acquisition_id = :acquisition_id AND state IN ('published', 'superseded') ORDER BY id
"""
_LAST_PUBLISHED = """
SELECT g.number, g.content_digest, g.size_mark FROM generations AS g
WHERE g.acquisition_id = :acquisition_id AND g.content_digest <> '' AND EXISTS (
    SELECT 1 FROM datasets AS d
    WHERE d.generation_id = g.id AND d.state IN ('published', 'superseded'))
ORDER BY g.number DESC LIMIT 1
"""
_ANNOUNCED = "SELECT * FROM dataset_facts WHERE job_id = :job_id AND state = 'publishing'"
_LOST = """
SELECT run_id FROM dataset_facts
WHERE acquisition_id = :acquisition_id AND state IN ('publishing', 'abandoned') ORDER BY id
"""
_HAS_OPEN = """
SELECT EXISTS (SELECT 1 FROM job_facts WHERE folder = :folder AND state IN ('queued', 'waiting'))
"""
_WANTED = """
SELECT id FROM job_facts WHERE state IN ('queued', 'waiting', 'claimed') OR (
    state = 'parked' AND acquisition_state <> 'ignored' AND vanished_at_us IS NULL
    AND json_valid(error) AND json_extract(error, '$.disposition') = 'retry')
ORDER BY id
"""
_OLDER_NAMES = """
SELECT folders.name AS folder, acquisitions.name AS name
FROM acquisitions JOIN folders ON folders.id = acquisitions.folder_id
WHERE folders.target = :target AND folders.is_configured = 1
    AND acquisitions.id < :acquisition_id AND acquisitions.vanished_at_us IS NULL
    AND acquisitions.state <> 'ignored'
"""
_NEWEST = "SELECT generation = newest_generation AS is_newest FROM job_facts WHERE id = :job_id"
_LAST_EVENT = "SELECT coalesce(max(id), 0) AS id FROM events"
_SUCCEEDED = """
SELECT * FROM job_facts WHERE state = 'succeeded' AND id IN (
    SELECT job_id FROM events WHERE id > :since AND event = 'job.succeeded'
) ORDER BY id
"""
_PARKED = """
SELECT a.*, f.name AS folder FROM acquisitions AS a JOIN folders AS f ON f.id = a.folder_id
WHERE a.state = 'parked' AND a.id IN (
    SELECT acquisition_id FROM events WHERE id > :since AND state_to = 'parked'
) ORDER BY a.id
"""


@dataclass(frozen=True, slots=True)
class PublishedContent:
    """The content of a generation whose datasets were published."""

    generation: int
    content_digest: str
    size_mark: str


@dataclass(frozen=True, slots=True)
class Ended:
    """What came to an end since some moment.

    Attributes
    ----------
    succeeded : tuple of Job
    parked : tuple of AcquisitionRecord
        Those that still are.
    """

    succeeded: tuple[Job, ...]
    parked: tuple[AcquisitionRecord, ...]


class History(LedgerReader):
    """The ledger as the daemon's own reader sees it: a second connection that cannot write."""

    def datasets_of(self, acquisition_id: AcquisitionId) -> tuple[DatasetRecord, ...]:
        """Return the datasets that were published from an acquisition, oldest first."""
        rows = self._connection.execute(_DATASETS, {"acquisition_id": acquisition_id})
        return tuple(DatasetRecord.from_row(row) for row in rows)

    def last_published(self, acquisition_id: AcquisitionId) -> PublishedContent | None:
        """Return the newest content of an acquisition that was published, None if none was."""
        row = self._connection.execute(
            _LAST_PUBLISHED, {"acquisition_id": acquisition_id}
        ).fetchone()
        return None if row is None else PublishedContent(*row)

    def older_names(
        self, target: Path, acquisition_id: AcquisitionId
    ) -> tuple[tuple[str, str], ...]:
        """Return folder and name of the acquisitions that came before, with the same target."""
        values = {"target": os.fsencode(target), "acquisition_id": acquisition_id}
        rows = self._connection.execute(_OLDER_NAMES, values)
        return tuple((row["folder"], os.fsdecode(row["name"])) for row in rows)

    def is_newest(self, job_id: JobId) -> bool:
        """Tell whether a job is of its acquisition's newest generation."""
        row = self._connection.execute(_NEWEST, {"job_id": job_id}).fetchone()
        return row is not None and bool(row["is_newest"])

    def announced_by(self, job_id: JobId) -> tuple[DatasetRecord, ...]:
        """Return the datasets of a job of which only the intent to publish is on record."""
        rows = self._connection.execute(_ANNOUNCED, {"job_id": job_id})
        return tuple(DatasetRecord.from_row(row) for row in rows)

    def lost_runs(self, acquisition_id: AcquisitionId) -> tuple[str, ...]:
        """Return the runs that announced a dataset of an acquisition, and never told of it."""
        rows = self._connection.execute(_LOST, {"acquisition_id": acquisition_id})
        return tuple(row["run_id"] for row in rows)

    def wanted_jobs(self) -> tuple[JobId, ...]:
        """Return the jobs that are being converted, or will be: those too that failed too often.

        Their errors are such that another try may succeed: a person will look, and have it made.
        """
        return tuple(JobId(row["id"]) for row in self._connection.execute(_WANTED))

    def has_open_jobs(self, folder: str) -> bool:
        """Tell whether a folder has jobs that are to be converted some time."""
        return bool(self._connection.execute(_HAS_OPEN, {"folder": folder}).fetchone()[0])

    def events_of(self, job_id: JobId) -> tuple[EventRecord, ...]:
        """Return a job's history, oldest first."""
        details = self.show_job(job_id)
        return () if details is None else details.events

    def last_event_id(self) -> int:
        """Return the number of the newest event: a moment to count from."""
        return int(self._connection.execute(_LAST_EVENT).fetchone()["id"])

    def ended_since(self, event_id: int) -> Ended:
        """Return what succeeded and what was parked after that event."""
        since = {"since": event_id}
        return Ended(
            tuple(map(Job.from_row, self._connection.execute(_SUCCEEDED, since))),
            tuple(map(AcquisitionRecord.from_row, self._connection.execute(_PARKED, since))),
        )


def count_failures(events: tuple[EventRecord, ...]) -> int:
    """Return how many attempts have failed since a person last retried the job.

    Attempts that were stopped on request, waited for room, or were cut off by the daemon's own
    end are no failures of the acquisition.
    """
    return sum(1 for code in _failed_codes(events) if _is_failure(code))


def count_kills(events: tuple[EventRecord, ...]) -> int:
    """Return how many of them ended without a word."""
    return sum(1 for code in _failed_codes(events) if code == WorkerKilledError.code)


def count_waits(events: tuple[EventRecord, ...], code: str) -> int:
    """Return how many attempts in a row, up to the last one, have ended with this error."""
    count = 0
    for ended in _failed_codes(events):
        count = count + 1 if ended == code else 0
    return count


def count_cut_offs(events: tuple[EventRecord, ...]) -> int:
    """Return how often in a row the daemon itself ended in the middle of the job."""
    count = 0
    for event in events:
        if event.event == "job.recovered":
            count += 1
        elif event.state_from == JobState.CLAIMED or event.event == "job.retried":
            count = 0
    return count


def _failed_codes(events: tuple[EventRecord, ...]) -> list[str]:
    codes: list[str] = []
    for event in events:
        if event.event == "job.retried":
            codes = []
        elif event.state_from == JobState.CLAIMED and event.event != "job.recovered":
            codes.append(str(event.facts.get("error_code", "")))
    return codes


def _is_failure(code: str) -> bool:
    kind = error_by_code().get(code)
    if kind is None or kind is CancelledError:
        return False
    return kind.disposition is Disposition.RETRY
