"""Open the ledger for writing: the lock, the schema, the verbs, and what a start has to mend."""

import os
import socket
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from stackwatch import __version__
from stackwatch.clock import Clock, SystemClock
from stackwatch.errors import LedgerError
from stackwatch.ledger.backup import damaged, ensure_not_lost, find_damage
from stackwatch.ledger.book import Book, connect_writer
from stackwatch.ledger.datasets import DatasetVerbs
from stackwatch.ledger.deliveries import DeliveryVerbs
from stackwatch.ledger.disposals import DisposalVerbs
from stackwatch.ledger.folders import FolderVerbs
from stackwatch.ledger.generations import GenerationVerbs
from stackwatch.ledger.jobs import JobVerbs
from stackwatch.ledger.lock import StateLock
from stackwatch.ledger.notices import NoticeVerbs
from stackwatch.ledger.records import DatasetRecord, Job
from stackwatch.ledger.schema import ensure_schema
from stackwatch.ledger.verdicts import VerdictVerbs
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import DatasetState

LEDGER_NAME: Final = "ledger.db"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a start found half done, and what became of it.

    Attributes
    ----------
    requeued : tuple of Job
        Cut off; queued again, the attempt counted.
    finished : tuple of Job
        All their datasets were in place: recorded as succeeded, nothing is converted again.
    running : tuple of Job
        Their workers still live; left alone.
    confirmed, abandoned : tuple of DatasetRecord
        Datasets that were being published, found and not found at their places.
    """

    requeued: tuple[Job, ...] = ()
    finished: tuple[Job, ...] = ()
    running: tuple[Job, ...] = ()
    confirmed: tuple[DatasetRecord, ...] = ()
    abandoned: tuple[DatasetRecord, ...] = ()


class Ledger:
    """The ledger, open for writing: by the daemon, or by a command while there is no daemon.

    Attributes
    ----------
    folders : FolderVerbs
    verdicts : VerdictVerbs
    jobs : JobVerbs
    datasets : DatasetVerbs
    generations : GenerationVerbs
    disposals : DisposalVerbs
    notices : NoticeVerbs
    deliveries : DeliveryVerbs
    migrated_from : Path or None
        The copy that was made because the file had an older schema.

    Notes
    -----
    Verbs may be called from any thread. Each returns after its COMMIT reached the disk.
    """

    def __init__(self, book: Book, lock: StateLock, migrated_from: Path | None) -> None:
        self._book = book
        self._lock = lock
        self.migrated_from = migrated_from
        self.folders = FolderVerbs(book)
        self.verdicts = VerdictVerbs(book)
        self.jobs = JobVerbs(book)
        self.datasets = DatasetVerbs(book)
        self.generations = GenerationVerbs(book)
        self.disposals = DisposalVerbs(book)
        self.notices = NoticeVerbs(book)
        self.deliveries = DeliveryVerbs(book)

    @classmethod
    def open(cls, state_dir: Path, clock: Clock | None = None) -> Self:
        """Take the lock of a state directory and open its ledger, made or migrated as needed.

        Raises
        ------
        LedgerInUseError
            Another process holds it; the caller ends with 69.
        LedgerTooNewError
            A newer stackwatch wrote it; the caller ends with 69.
        LedgerError
            The directory or the file cannot be used.
        """
        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        except OSError as error:
            hint = "Check `state_dir` and its permissions."
            raise LedgerError(
                f"“{show_path(state_dir)}” cannot be made: {error.strerror}. The ledger needs a "
                f"directory of its own. {hint}",
                hint=hint,
                path=show_path(state_dir),
            ) from error
        lock = StateLock.take(state_dir)
        try:
            book, copy = _open_book(state_dir / LEDGER_NAME, clock or SystemClock())
        except BaseException:
            lock.release()
            raise
        return cls(book, lock, copy)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def identity(self) -> str:
        """Return who this ledger is, for ever and among all ledgers; made at the first call."""
        with self._book.transaction():
            row = self._book.row("identity")
            if row is None:
                self._book.rows("insert_identity", ledger_id=uuid4().hex)
                row = self._book.row("identity")
            assert row is not None
            return str(row["ledger_id"])

    def start(self) -> None:
        """Record that a daemon begins to work on this ledger."""
        with self._book.transaction():
            self._book.rows(
                "start_daemon",
                pid=os.getpid(),
                host=socket.gethostname(),
                version=__version__,
                now_us=self._book.now_us(),
            )
            self._book.note("daemon.started", pid=os.getpid(), version=__version__)

    def beat(self) -> None:
        """Record the daemon's sign of life."""
        with self._book.transaction():
            self._book.rows("beat", now_us=self._book.now_us())

    def stop(self) -> None:
        """Record that the daemon ends on request."""
        with self._book.transaction():
            self._book.rows("stop_daemon", now_us=self._book.now_us())
            self._book.note("daemon.stopped", pid=os.getpid())

    def transaction(self) -> AbstractContextManager[None]:
        """Let all verbs inside `with` be one transaction: all recorded by one flush, or none.

        For the many small facts of a scan. Never around a fact somebody waits for, and no verb's
        error may be swallowed inside.
        """
        return self._book.transaction()

    def recover(
        self,
        is_running: Callable[[Job], bool] = lambda job: False,
        is_in_place: Callable[[DatasetRecord], bool | None] = lambda dataset: False,
    ) -> Recovery:
        """Mend what an unexpected end left behind; call once, before the first claim.

        Parameters
        ----------
        is_running : callable
            Whether the worker of a claimed job still lives (it holds the lock of its staging
            directory). Workers die with their daemon, so the usual answer is no.
        is_in_place : callable
            Whether the dataset at `path` carries `run_id` in its `stackwatch.json`; None if that
            cannot be told now: then it is left as it is.

        Returns
        -------
        Recovery
        """
        claimed = self.jobs.claimed()
        running = tuple(job for job in claimed if is_running(job))
        busy = {job.job_id for job in running}
        confirmed, abandoned = [], []
        for dataset in self.datasets.unconfirmed():
            is_there = None if dataset.job_id in busy else is_in_place(dataset)
            if is_there is None:
                continue
            if is_there:
                confirmed.append(self.datasets.record_published(dataset.run_id, dataset.path))
            else:
                self.datasets.abandon(dataset.run_id, dataset.path)
                abandoned.append(dataset)
        requeued, finished = [], []
        for job in claimed:
            if job.job_id in busy:
                continue
            if self._is_complete(job):
                finished.append(self.jobs.succeed(job.job_id, job.result))
            else:
                requeued.append(self.jobs.release(job.job_id))
        return Recovery(
            tuple(requeued), tuple(finished), running, tuple(confirmed), tuple(abandoned)
        )

    def _is_complete(self, job: Job) -> bool:
        """Tell whether the last dataset of a job, and with it all of them, was published."""
        done = (DatasetState.PUBLISHED, DatasetState.SUPERSEDED)
        return any(
            dataset.state in done and dataset.remaining == 0
            for dataset in self.datasets.of_job(job.job_id)
        )

    def close(self) -> None:
        """Close the file and give the lock back; a second time does nothing."""
        self._book.close()
        self._lock.release()


def _open_book(path: Path, clock: Clock) -> tuple[Book, Path | None]:
    ensure_not_lost(path)
    try:
        connection = connect_writer(path)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    try:
        damage = find_damage(connection)
        if damage:
            raise damaged(path, damage)
        copy = ensure_schema(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, error) from error
    except BaseException:
        connection.close()
        raise
    return Book(connection, path, clock), copy


def _unusable(path: Path, error: sqlite3.Error) -> LedgerError:
    if type(error) is sqlite3.DatabaseError:  # its heirs tell of disks, locks and permissions
        return damaged(path, str(error))
    hint = "Check the disk and the permissions, or restore the file from a copy."
    return LedgerError(
        f"“{show_path(path)}” cannot be used as a ledger: {error}. {hint}",
        hint=hint,
        path=show_path(path),
    )
