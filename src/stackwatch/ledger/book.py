"""The one connection that writes: transactions, named statements, checked transitions, history."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from stackwatch.clock import Clock
from stackwatch.errors import IllegalTransitionError, LedgerError, LedgerUnwritableError
from stackwatch.ledger.columns import dump_json
from stackwatch.ledger.statements import load_statements
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import (
    ACQUISITION_TRANSITIONS,
    DATASET_TRANSITIONS,
    JOB_TRANSITIONS,
    AcquisitionState,
    DatasetState,
    JobState,
)

BUSY_TIMEOUT_S: Final = 5.0

_State = TypeVar("_State", bound=StrEnum)


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open the connection that writes.

    WAL lets readers look while we write; FULL makes a commit survive a loss of power.
    """
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


class Book:
    """The writing connection and what every verb needs of it.

    Verbs may be called from any thread; a lock lets one in at a time, so that there is never more
    than one writing transaction and its statements come from one thread.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, clock: Clock) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock
        self._lock = threading.RLock()
        self._depth = 0

    def now_us(self) -> int:
        """Return microseconds since 1970 UTC."""
        return round(self._clock.now() * 1_000_000)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all or nothing; inside another transaction of the same thread, be part of it.

        Raises
        ------
        LedgerUnwritableError
            The disk takes no writes: full, read-only, an error. The caller tries again later.
        LedgerError
            SQLite refused; nothing was recorded. The caller must not act as if it were.
        """
        with self._lock:
            if self._depth:
                yield
                return
            self._depth = 1
            try:
                yield from self._outermost()
            except sqlite3.Error as error:
                raise self._refused(error) from error
            finally:
                self._depth = 0

    def _outermost(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _refused(self, error: sqlite3.Error) -> LedgerError:
        hint = "Check the disk of `state_dir`: room, permissions, health."
        # what a constraint or a damaged file refuses is refused again, however often one tries
        passes = isinstance(error, sqlite3.OperationalError)
        kind = LedgerUnwritableError if passes else LedgerError
        return kind(
            f"The ledger “{show_path(self._path)}” refused a change: {error}. Nothing was "
            f"recorded. {hint}",
            hint=hint,
            path=show_path(self._path),
        )

    def rows(self, statement: str, **values: object) -> list[sqlite3.Row]:
        """Run a named statement and return all its rows."""
        return self._connection.execute(load_statements()[statement], values).fetchall()

    def row(self, statement: str, **values: object) -> sqlite3.Row | None:
        """Run a named statement and return its first row, None if there is none."""
        rows = self.rows(statement, **values)
        return rows[0] if rows else None

    def note(self, event: str, **values: Any) -> None:
        """Append a line to the history.

        `folder_id`, `acquisition_id`, `job_id`, `state_from` and `state_to` are columns, anything
        else becomes its facts.
        """
        columns = {
            "folder_id": values.pop("folder_id", None),
            "acquisition_id": values.pop("acquisition_id", None),
            "job_id": values.pop("job_id", None),
            "state_from": str(values.pop("state_from", "")),
            "state_to": str(values.pop("state_to", "")),
        }
        self.rows(
            "note_event", event=event, now_us=self.now_us(), facts=dump_json(values), **columns
        )

    # ------------------------------------------------------------ the only ways to change a state

    def move_job(self, job: sqlite3.Row, to: JobState, event: str, **facts: object) -> None:
        """Change a job's state, or raise IllegalTransitionError."""
        came_from = JobState(job["state"])
        check_transition(JOB_TRANSITIONS, came_from, to, f"job {job['id']}")
        self.rows("job_state", job_id=job["id"], state=to)
        self.note(
            event,
            job_id=job["id"],
            acquisition_id=job["acquisition_id"],
            state_from=came_from,
            state_to=to,
            **facts,
        )

    def move_acquisition(self, acquisition_id: int, to: AcquisitionState, event: str) -> None:
        """Change an acquisition's state, or raise IllegalTransitionError; the same is no change."""
        row = self.row("acquisition_by_id", acquisition_id=acquisition_id)
        assert row is not None
        came_from = AcquisitionState(row["state"])
        if came_from is to:
            return
        check_transition(ACQUISITION_TRANSITIONS, came_from, to, f"acquisition {acquisition_id}")
        self.rows(
            "acquisition_state", acquisition_id=acquisition_id, state=to, now_us=self.now_us()
        )
        self.note(event, acquisition_id=acquisition_id, state_from=came_from, state_to=to)

    def move_dataset(self, dataset: sqlite3.Row, to: DatasetState, event: str) -> None:
        """Change a dataset's state, or raise IllegalTransitionError."""
        came_from = DatasetState(dataset["state"])
        what = f"dataset {dataset['id']} ({dataset['name']})"
        check_transition(DATASET_TRANSITIONS, came_from, to, what)
        self.rows("dataset_state", dataset_id=dataset["id"], state=to)
        self.note(
            event,
            job_id=dataset["job_id"],
            state_from=came_from,
            state_to=to,
            name=dataset["name"],
            run_id=dataset["run_id"],
        )

    def close(self) -> None:
        """Close the connection; SQLite then folds the write-ahead log into the file."""
        with self._lock:
            self._connection.close()


def check_transition(
    table: Mapping[_State, frozenset[_State]], came_from: _State, to: _State, what: str
) -> None:
    """Raise IllegalTransitionError if the table does not know the way.

    Raises
    ------
    IllegalTransitionError
        The caller's idea of the state was wrong: a bug of ours, or a command too late.
    """
    if to not in table[came_from]:
        hint = "Look at `stackwatch jobs list`: the state may have changed meanwhile."
        raise IllegalTransitionError(
            f"There is no way from “{came_from}” to “{to}” for {what}. Nothing was changed. {hint}",
            hint=hint,
            state_from=str(came_from),
            state_to=str(to),
        )
