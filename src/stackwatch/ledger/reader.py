"""Look into the ledger without a daemon and without writing."""

import os
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from stackwatch.errors import LedgerError
from stackwatch.ledger import deliveries
from stackwatch.ledger.book import BUSY_TIMEOUT_S
from stackwatch.ledger.delivery_records import DeliveryRecord
from stackwatch.ledger.disposals import NO_CONDITIONS, DisposalRecord
from stackwatch.ledger.ledger import LEDGER_NAME
from stackwatch.ledger.lock import ensure_allowed, is_locked
from stackwatch.ledger.notices import notice_from_row
from stackwatch.ledger.records import (
    AcquisitionRecord,
    DaemonRecord,
    DatasetRecord,
    EventRecord,
    FolderRecord,
    Job,
)
from stackwatch.ledger.schema import SCHEMA_VERSION, check_version
from stackwatch.ledger.statements import load_statements
from stackwatch.model.acquisition import show_path
from stackwatch.model.delivery import DeliveryState
from stackwatch.model.disposal import DisposalState
from stackwatch.model.job import AcquisitionState, JobId, JobState
from stackwatch.model.notice import Notice
from stackwatch.stores.objects import url_of

MAX_ROWS: Final = 1000
_ALL: Final = -1


@dataclass(frozen=True, slots=True)
class JobDetails:
    """A job with datasets, deliveries and history, oldest first, and what becomes of its source."""

    job: Job
    datasets: tuple[DatasetRecord, ...]
    events: tuple[EventRecord, ...]
    disposal: DisposalRecord | None = None
    deliveries: tuple[DeliveryRecord, ...] = ()

    urls: dict[str, str] = field(default_factory=dict)
    """Addresses of the datasets that lie in a bucket, by run."""

    def dataset_records(self) -> list[dict[str, Any]]:
        """Return the datasets as JSON values."""
        return [
            {**dataset.as_record(), "url": self.urls.get(dataset.run_id)}
            for dataset in self.datasets
        ]

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            **self.job.as_record(),
            "datasets": self.dataset_records(),
            "events": [event.as_record() for event in self.events],
            "disposal": self.disposal.as_record() if self.disposal is not None else None,
            "deliveries": [delivery.as_record() for delivery in self.deliveries],
        }


class LedgerReader:
    """The ledger, open for looking: `status`, `jobs` and the page use it.

    One object belongs to one thread. It sees what was committed when a question is asked.
    """

    def __init__(self, connection: sqlite3.Connection, state_dir: Path) -> None:
        self._connection = connection
        self._state_dir = state_dir

    @classmethod
    def open(cls, state_dir: Path) -> Self:
        """Open the ledger of a state directory.

        Raises
        ------
        LedgerError
            There is none yet, it cannot be read, or not by this user.
        LedgerTooNewError
            A newer stackwatch wrote it.
        """
        path = state_dir / LEDGER_NAME
        ensure_allowed(path)
        if not path.is_file():
            hint = (
                "Start `stackwatch run` once, or check `state_dir` in the settings that `--config` "
                "names."
            )
            raise LedgerError(
                f"There is no ledger in “{show_path(state_dir)}”: no daemon has run with this "
                f"`state_dir`. {hint}",
                hint=hint,
                path=show_path(path),
            )
        try:
            connection = _connect_reader(path)
            version = check_version(connection, path)
        except sqlite3.Error as error:
            raise _unreadable(path, error) from error
        if version < SCHEMA_VERSION:
            connection.close()
            raise _too_old(path, version)
        return cls(connection, state_dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # ------------------------------------------------------------ the daemon

    def daemon(self) -> DaemonRecord | None:
        """Return the daemon that last worked on the ledger, None if none ever did."""
        row = self._row("daemon")
        return None if row is None else DaemonRecord.from_row(row)

    def is_daemon_alive(self) -> bool:
        """Tell whether a living process of this machine holds the ledger's lock."""
        return is_locked(self._state_dir)

    # ------------------------------------------------------------ folders and acquisitions

    def list_folders(self) -> tuple[FolderRecord, ...]:
        """Return all folders by name, each with the number of its acquisitions by state."""
        counts: dict[int, dict[str, int]] = defaultdict(dict)
        for row in self._rows("folder_counts"):
            counts[row["folder_id"]][row["state"]] = row["number"]
        return tuple(
            FolderRecord.from_row(row, counts.get(row["id"], {})) for row in self._rows("folders")
        )

    def list_acquisitions(
        self,
        folder: str | None = None,
        state: AcquisitionState | None = None,
        limit: int = MAX_ROWS,
        *,
        with_gone: bool = True,
    ) -> tuple[AcquisitionRecord, ...]:
        """Return acquisitions, the one that changed last first."""
        values = {"folder": folder, "state": state, "limit": limit, "with_gone": with_gone}
        rows = self._rows("acquisitions", **values)
        return tuple(AcquisitionRecord.from_row(row) for row in rows)

    def first_acquisition(
        self, is_meant: Callable[[int, str, str, str], bool]
    ) -> AcquisitionRecord | None:
        """Return the acquisition that changed last of those that are meant, None if none is.

        Parameters
        ----------
        is_meant : callable
            Judges by id, folder, key and name. There may be very many.
        """
        for row in self._rows("acquisition_names"):
            key, name = os.fsdecode(row["key"]), os.fsdecode(row["name"])
            if is_meant(row["id"], row["folder"], key, name):
                found = self._row("acquisition_record", acquisition_id=row["id"])
                assert found is not None  # none is ever removed
                return AcquisitionRecord.from_row(found)
        return None

    # ------------------------------------------------------------ jobs

    def list_jobs(
        self, state: JobState | None = None, folder: str | None = None, limit: int = MAX_ROWS
    ) -> tuple[Job, ...]:
        """Return jobs, the newest first."""
        return tuple(
            Job.from_row(row) for row in self._rows("jobs", state=state, folder=folder, limit=limit)
        )

    def show_job(self, job_id: JobId, events: int = _ALL) -> JobDetails | None:
        """Return a job with datasets and its last events, None if there is no such job."""
        with self._snapshot():
            row = self._row("job", job_id=job_id)
            if row is None:
                return None
            job = Job.from_row(row)
            disposals = self._disposals_of(job.acquisition_id)
            rows = self._rows("datasets_of_job", job_id=job_id)
            datasets = tuple(map(DatasetRecord.from_row, rows))
            history = self._rows("events_of_job", job_id=job_id, limit=events)
            return JobDetails(
                job,
                datasets,
                tuple(map(EventRecord.from_row, history)),
                next((one for one in disposals if one.generation == job.generation), None),
                self._deliveries(job_id=job_id),
                self._urls(datasets),
            )

    def _urls(self, datasets: Iterable[DatasetRecord]) -> dict[str, str]:
        """Return the addresses of those in buckets. No other folder is looked at: it may hang."""
        stubs = [one for one in datasets if one.path.is_relative_to(self._state_dir)]
        found = {one.run_id: url_of(one.path) for one in stubs}
        return {run_id: url for run_id, url in found.items() if url}

    def last_job_of(self, acquisition_id: int) -> Job | None:
        """Return the newest job of an acquisition, None if it never had one."""
        row = self._row("last_job_of", acquisition_id=acquisition_id)
        return None if row is None else Job.from_row(row)

    def find_disposal(self, acquisition_id: int) -> DisposalRecord | None:
        """Return what becomes, or became, of an acquisition's source; of its newest generation."""
        found = self._disposals_of(acquisition_id)
        return found[-1] if found else None

    def list_disposals(self, state: DisposalState) -> tuple[DisposalRecord, ...]:
        """Return disposals in a state, the one that is due first first."""
        rows = self._rows("disposals", **{**NO_CONDITIONS, "state": state})
        return tuple(sorted(map(DisposalRecord.from_row, rows), key=lambda one: one.due_at_us))

    def list_notices(self, limit: int = MAX_ROWS) -> tuple[Notice, ...]:
        """Return what people were told or are to be told, the newest first."""
        return tuple(map(notice_from_row, self._rows("last_notices", limit=limit)))

    def superseded_jobs(self) -> frozenset[JobId]:
        """Return the jobs whose datasets a newer content has taken the place of."""
        return frozenset(JobId(row["job_id"]) for row in self._rows("superseded_jobs"))

    def count_jobs(self) -> dict[str, int]:
        """Return how many jobs are in each state; every state is named."""
        found = {row["state"]: row["number"] for row in self._rows("job_counts")}
        return {str(state): found.get(state, 0) for state in JobState}

    def list_events(
        self, *, acquisition_id: int | None = None, limit: int | None = None
    ) -> tuple[EventRecord, ...]:
        """Return the history of an acquisition, or of everything, oldest first.

        With a limit only the last lines of it; of everything never more than `MAX_ROWS`.
        """
        if acquisition_id is None:
            rows = self._rows("last_events", limit=MAX_ROWS if limit is None else limit)[::-1]
        else:
            values = {"acquisition_id": acquisition_id, "limit": _ALL if limit is None else limit}
            rows = self._rows("events_of_acquisition", **values)
        return tuple(EventRecord.from_row(row) for row in rows)

    def count_events(self, *, job_id: int = 0, acquisition_id: int = 0) -> int:
        """Return how long the history of a job, or of an acquisition, is."""
        if job_id:
            row = self._row("event_count_of_job", job_id=job_id)
        else:
            row = self._row("event_count_of_acquisition", acquisition_id=acquisition_id)
        assert row is not None  # a count always has a row
        return int(row["number"])

    # ------------------------------------------------------------ deliveries

    def list_deliveries(
        self,
        state: DeliveryState | None = None,
        folder: str | None = None,
        limit: int = MAX_ROWS,
    ) -> tuple[DeliveryRecord, ...]:
        """Return deliveries, the newest first."""
        return self._deliveries(state=state, folder=folder, limit=limit, is_newest_first=True)

    def find_delivery(self, delivery_id: int) -> DeliveryRecord | None:
        """Return a delivery, None if there is no such one."""
        found = self._deliveries(delivery_id=delivery_id)
        return found[0] if found else None

    def count_deliveries(self) -> dict[str, int]:
        """Return how many deliveries are in each state, without those that are superseded."""
        found = {row["state"]: row["number"] for row in self._rows("delivery_counts")}
        return {str(state): found.get(state, 0) for state in DeliveryState}

    # ------------------------------------------------------------ parts

    def _disposals_of(self, acquisition_id: int) -> list[DisposalRecord]:
        rows = self._rows("disposals", **{**NO_CONDITIONS, "acquisition_id": acquisition_id})
        return sorted(map(DisposalRecord.from_row, rows), key=lambda one: one.generation)

    def _deliveries(self, **wanted: object) -> tuple[DeliveryRecord, ...]:
        rows = self._rows("deliveries", **{**deliveries.NO_CONDITIONS, **wanted})
        return tuple(map(DeliveryRecord.from_row, rows))

    def _rows(self, statement: str, **values: object) -> list[sqlite3.Row]:
        return self._connection.execute(load_statements()[statement], values).fetchall()

    def _row(self, statement: str, **values: object) -> sqlite3.Row | None:
        rows = self._rows(statement, **values)
        return rows[0] if rows else None

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Let several questions see the same state."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")


def copy_ledger(state_dir: Path, copy: Path) -> bool:
    """Copy the ledger as it is at this moment, without writing to it; False if there is none.

    Raises
    ------
    LedgerError
        It cannot be read.
    """
    path = state_dir / LEDGER_NAME
    if not path.is_file():
        return False
    try:
        with closing(_connect_reader(path)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    return True


def _connect_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write, and that never folds the log into the file.

    Read-only rather than `query_only` alone: the last writing connection to close runs a
    checkpoint, and only the daemon may do that.
    """
    # no log and no daemon: the file is whole. A plain connection would make log files of its own,
    # which a daemon of another user could not write to
    is_at_rest = not path.with_name(f"{path.name}-wal").exists() and not is_locked(path.parent)
    connection = _connect(path, "mode=ro&immutable=1" if is_at_rest else "mode=ro")
    connection.execute("PRAGMA query_only = ON")
    return connection


def _unreadable(path: Path, error: sqlite3.Error) -> LedgerError:
    hint = "Check its permissions: reading needs the directory to be readable too."
    if getattr(error, "sqlite_errorcode", 0) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        hint = "`stackwatch ledger check` tells how to go on."
    return LedgerError(
        f"“{show_path(path)}” cannot be read: {error}. {hint}", hint=hint, path=show_path(path)
    )


def _too_old(path: Path, version: int) -> LedgerError:
    """Return the error for a ledger that only a start of the daemon makes readable."""
    what = f"has schema {version}, of an older stackwatch" if version else "is being made"
    hint = "Start `stackwatch run` once, or wait until it has started."
    return LedgerError(
        f"“{show_path(path)}” {what}: it cannot be read yet. {hint}",
        hint=hint,
        path=show_path(path),
    )


def _connect(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?{options}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
    )
    connection.row_factory = sqlite3.Row
    return connection
