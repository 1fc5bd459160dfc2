"""What the page asks the ledger beside what every reader asks: search, pages of rows, counters."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stackwatch.ledger.columns import parse_path
from stackwatch.ledger.delivery_records import DeliveryRecord
from stackwatch.ledger.reader import LedgerReader
from stackwatch.ledger.records import AcquisitionRecord, DatasetRecord, Job

_MATCHES: Final = """
(:search = '' OR CAST(name AS TEXT) LIKE :pattern ESCAPE '\\'
    OR CAST(key AS TEXT) LIKE :pattern ESCAPE '\\')
AND (:state = '' OR state = :state) AND (:folder = '' OR folder = :folder)
"""
_JOB_ROWS: Final = f"""
SELECT j.*,
    (SELECT s.run_id FROM datasets AS s
     WHERE s.generation_id = j.generation_id AND s.job_id = j.id
         AND s.state IN ('published', 'superseded') ORDER BY s.id LIMIT 1) AS run_id,
    (SELECT y.link FROM datasets AS s JOIN deliveries AS y ON y.dataset_id = s.id
     WHERE s.generation_id = j.generation_id AND s.job_id = j.id AND y.link <> ''
     ORDER BY s.id LIMIT 1) AS link
FROM (SELECT * FROM job_facts WHERE {_MATCHES}
      AND (:is_ended = 0 OR state IN ('succeeded', 'failed'))
      ORDER BY id DESC LIMIT :limit OFFSET :offset) AS j
ORDER BY j.id DESC
"""  # noqa: S608 - our own text twice, every value is bound
_JOB_COUNT: Final = f"SELECT count(*) AS number FROM job_facts WHERE {_MATCHES}"  # noqa: S608
_ACQUISITION_FACTS: Final = """
SELECT a.*, f.name AS folder, f.path AS folder_path
FROM acquisitions AS a JOIN folders AS f ON f.id = a.folder_id
"""
_ACQUISITIONS: Final = f"""
SELECT * FROM ({_ACQUISITION_FACTS}) WHERE {_MATCHES} AND (vanished_at_us IS NULL OR generation > 0)
ORDER BY changed_at_us DESC, id DESC LIMIT :limit OFFSET :offset
"""  # noqa: S608
_ACQUISITION_COUNT: Final = f"""
SELECT count(*) AS number FROM ({_ACQUISITION_FACTS})
WHERE {_MATCHES} AND (vanished_at_us IS NULL OR generation > 0)
"""  # noqa: S608
_ACQUISITION: Final = f"SELECT * FROM ({_ACQUISITION_FACTS}) WHERE id = :acquisition_id"  # noqa: S608
_JOBS_OF: Final = "SELECT * FROM job_facts WHERE acquisition_id = :acquisition_id ORDER BY id DESC"
_QUEUE: Final = """
SELECT * FROM job_facts WHERE state = 'queued' AND generation = newest_generation
ORDER BY priority DESC, queued_at_us, id LIMIT :limit
"""
_DATASET: Final = "SELECT * FROM dataset_facts WHERE id = :dataset_id AND state = 'published'"
_EVENTS_SINCE: Final = """
SELECT event, coalesce(json_extract(facts, '$.error_code'), '') AS error_code, state_to,
    count(*) AS number, max(id) AS last
FROM events WHERE id > :since GROUP BY event, error_code, state_to
"""
_SUMS: Final = """
SELECT
    (SELECT min(coalesce(seen_at_us, 0)) FROM acquisitions
     WHERE state IN ('settling', 'incomplete') AND vanished_at_us IS NULL) AS settling_us,
    (SELECT min(queued_at_us) FROM jobs WHERE state = 'queued') AS queued_us,
    (SELECT max(finished_at_us) FROM jobs WHERE state = 'succeeded') AS succeeded_us,
    (SELECT count(*) FROM datasets WHERE state = 'published') AS datasets
"""
_CONVERTED: Final = """
SELECT count(*) AS jobs, coalesce(sum(json_extract(result, '$.bytes_read')), 0) AS bytes_read,
    coalesce(sum(json_extract(result, '$.bytes_written')), 0) AS bytes_written
FROM jobs WHERE state = 'succeeded' AND result <> ''
"""
_NOTICES: Final = "SELECT kind, state, count(*) AS number FROM notices GROUP BY kind, state"


@dataclass(frozen=True, slots=True)
class Search:
    """Which rows, and which part of them.

    Attributes
    ----------
    text : str
        Part of an acquisition's name or path; empty: all.
    state, folder : str
        Empty: all.
    limit, offset : int
    is_ended : bool
        Only jobs that succeeded or failed for good.
    """

    text: str = ""
    state: str = ""
    folder: str = ""
    limit: int = 50
    offset: int = 0
    is_ended: bool = False

    def values(self) -> dict[str, Any]:
        """Return what the statements bind."""
        escaped = self.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return {
            "search": self.text,
            "pattern": f"%{escaped}%",
            "state": self.state,
            "folder": self.folder,
            "limit": self.limit,
            "offset": self.offset,
            "is_ended": self.is_ended,
        }


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job in a list, with the run of its first dataset and where that can be opened."""

    job: Job
    run_id: str
    link: str


@dataclass(frozen=True, slots=True)
class AcquisitionRow:
    """An acquisition in a list.

    Attributes
    ----------
    acquisition : AcquisitionRecord
    path : Path
        Of the acquisition; where it is several files, its key is a pattern.
    """

    acquisition: AcquisitionRecord
    path: Path


@dataclass(slots=True)
class Totals:
    """How often each thing has happened since the ledger was made: only ever grows."""

    last_event: int = 0
    events: Counter[str] = field(default_factory=Counter)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By the state something came to and the code of its error."""


class LedgerBrowser(LedgerReader):
    """The ledger as the page reads it. Belongs to the page's thread."""

    def version(self) -> int:
        """Return a number that changes when somebody else has written."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def search_jobs(self, search: Search) -> tuple[JobRow, ...]:
        """Return the jobs that match, the newest first."""
        rows = self._connection.execute(_JOB_ROWS, search.values())
        return tuple(
            JobRow(Job.from_row(row), row["run_id"] or "", row["link"] or "") for row in rows
        )

    def count_found_jobs(self, search: Search) -> int:
        """Return how many jobs match."""
        return int(self._connection.execute(_JOB_COUNT, search.values()).fetchone()["number"])

    def search_acquisitions(self, search: Search) -> tuple[AcquisitionRow, ...]:
        """Return the acquisitions that match, the one that changed last first."""
        rows = self._connection.execute(_ACQUISITIONS, search.values())
        return tuple(map(_acquisition_row, rows))

    def count_found_acquisitions(self, search: Search) -> int:
        """Return how many acquisitions match."""
        found = self._connection.execute(_ACQUISITION_COUNT, search.values()).fetchone()
        return int(found["number"])

    def find_acquisition(self, acquisition_id: int) -> AcquisitionRow | None:
        """Return an acquisition, None if there is no such one."""
        values = {"acquisition_id": acquisition_id}
        row = self._connection.execute(_ACQUISITION, values).fetchone()
        return None if row is None else _acquisition_row(row)

    def jobs_of(self, acquisition_id: int) -> tuple[Job, ...]:
        """Return all jobs of an acquisition, the newest first."""
        rows = self._connection.execute(_JOBS_OF, {"acquisition_id": acquisition_id})
        return tuple(map(Job.from_row, rows))

    def list_queue(self, limit: int) -> tuple[Job, ...]:
        """Return what is converted next, about in this order: folders take turns."""
        return tuple(map(Job.from_row, self._connection.execute(_QUEUE, {"limit": limit})))

    def find_dataset(self, dataset_id: int) -> DatasetRecord | None:
        """Return a published dataset, None if there is no such one, or none any more."""
        row = self._connection.execute(_DATASET, {"dataset_id": dataset_id}).fetchone()
        return None if row is None else DatasetRecord.from_row(row)

    def deliveries_of(self, job_id: int) -> tuple[DeliveryRecord, ...]:
        """Return the deliveries of a job's datasets."""
        return self._deliveries(job_id=job_id)

    # ------------------------------------------------------------ figures

    def add_events(self, totals: Totals) -> None:
        """Count what has happened since the totals were last brought up to date."""
        for row in self._connection.execute(_EVENTS_SINCE, {"since": totals.last_event}).fetchall():
            totals.events[row["event"]] += row["number"]
            if row["error_code"]:
                totals.errors[row["state_to"], row["error_code"]] += row["number"]
            totals.last_event = max(totals.last_event, row["last"])

    def sums(self) -> dict[str, int | None]:
        """Return the times of the oldest that waits and of the last success, and counts."""
        return dict(self._connection.execute(_SUMS).fetchone())

    def converted(self) -> dict[str, int]:
        """Return how many jobs succeeded, and the bytes that they read and wrote."""
        return dict(self._connection.execute(_CONVERTED).fetchone())

    def count_notices(self) -> dict[tuple[str, str], int]:
        """Return how many notices there are by kind and state."""
        rows = self._connection.execute(_NOTICES)
        return {(row["kind"], row["state"]): row["number"] for row in rows}


def _acquisition_row(row: Any) -> AcquisitionRow:  # a row of SQLite
    path = parse_path(row["folder_path"]) / os.fsdecode(row["key"])
    return AcquisitionRow(AcquisitionRecord.from_row(row), path)
