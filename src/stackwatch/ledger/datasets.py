"""Verbs about datasets: the facts around a rename that must outlive a kill."""

import os
import sqlite3
from pathlib import Path

from stackwatch import failpoints
from stackwatch.errors import (
    ChangedDuringConversionError,
    IllegalTransitionError,
    LedgerError,
    TargetExistsError,
)
from stackwatch.ledger.book import Book
from stackwatch.ledger.records import DatasetRecord, NewDataset
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import DatasetState, JobId, JobState


class DatasetVerbs:
    """What is recorded around the publishing of a dataset.

    The order is `record_publishing`, rename, `record_published`. After a kill between the two the
    dataset stands in `unconfirmed`: whoever finds its run id at its path confirms it, and nobody
    converts it again.
    """

    def __init__(self, book: Book) -> None:
        self._book = book

    def record_publishing(self, job_id: JobId, new: NewDataset) -> DatasetRecord:
        """Record that a dataset is about to be renamed; after this returns the rename may happen.

        Raises
        ------
        IllegalTransitionError
            The job is not claimed, or published this dataset before; the worker gives up.
        ChangedDuringConversionError
            A newer content was queued meanwhile; the worker gives up.
        TargetExistsError
            A dataset of another acquisition has this path.
        """
        with self._book.transaction():
            job = self._publishable(job_id)
            self._check_path(job, new)
            values = {
                "job_id": job_id,
                "name": show_path(new.path.name),
                "staging_path": os.fsencode(new.staging_path),
                "run_id": new.run_id,
                "content_digest": new.content_digest,
                "total_bytes": new.total_bytes,
                "remaining": new.remaining,
                "now_us": self._book.now_us(),
            }
            known = self._dataset(job["generation_id"], new)
            if known is not None:
                self._book.move_dataset(known, DatasetState.PUBLISHING, "dataset.publishing")
                self._book.rows("dataset_again", dataset_id=known["id"], **values)
            else:
                self._book.rows(
                    "insert_dataset",
                    generation_id=job["generation_id"],
                    path=os.fsencode(new.path),
                    **values,
                )
                self._book.note(
                    "dataset.publishing",
                    job_id=job_id,
                    acquisition_id=job["acquisition_id"],
                    state_to=DatasetState.PUBLISHING,
                    path=show_path(new.path),
                    run_id=new.run_id,
                )
            row = self._dataset(job["generation_id"], new)
        assert row is not None
        return DatasetRecord.from_row(row)

    def record_published(self, run_id: str, path: Path) -> DatasetRecord:
        """Record that a dataset of a run lies durably at its place; repeating changes nothing.

        If a newer generation was queued meanwhile the dataset is superseded at once. If another
        acquisition with the same content was published before, the history says so.

        Raises
        ------
        LedgerError
            `record_publishing` was never called for it.
        IllegalTransitionError
            It was abandoned meanwhile.
        """
        with self._book.transaction():
            row = self._of_run(run_id, path)
            if row["state"] in (DatasetState.PUBLISHED, DatasetState.SUPERSEDED):
                return DatasetRecord.from_row(row)
            now_us = self._book.now_us()
            self._book.move_dataset(row, DatasetState.PUBLISHED, "dataset.published")
            self._book.rows("dataset_published", dataset_id=row["id"], now_us=now_us)
            self._book.rows(
                "generation_digest",
                generation_id=row["generation_id"],
                content_digest=row["content_digest"],
            )
            self._note_twin(row)
            row = self._again(row)
            if row["generation"] != row["newest_generation"]:
                self._book.move_dataset(row, DatasetState.SUPERSEDED, "dataset.superseded")
                self._book.rows("dataset_superseded", dataset_id=row["id"], now_us=now_us)
                row = self._again(row)
            failpoints.reach("ledger.before_publish_commit")
        failpoints.reach("ledger.after_publish_commit")
        return DatasetRecord.from_row(row)

    def abandon(self, run_id: str, path: Path) -> None:
        """Record that a dataset that was being published is not at its place."""
        with self._book.transaction():
            row = self._of_run(run_id, path)
            if row["state"] != DatasetState.ABANDONED:
                self._book.move_dataset(row, DatasetState.ABANDONED, "dataset.abandoned")

    def unconfirmed(self) -> tuple[DatasetRecord, ...]:
        """Return the datasets that were about to be renamed and never confirmed."""
        with self._book.transaction():
            rows = self._book.rows("datasets_in_state", state=DatasetState.PUBLISHING)
        return tuple(DatasetRecord.from_row(row) for row in rows)

    def of_job(self, job_id: JobId) -> tuple[DatasetRecord, ...]:
        """Return the datasets of a job, of all its attempts."""
        with self._book.transaction():
            rows = self._book.rows("datasets_of_job", job_id=job_id)
        return tuple(DatasetRecord.from_row(row) for row in rows)

    def was_published(self, content_digest: str) -> tuple[DatasetRecord, ...]:
        """Return the datasets that were ever published from this content."""
        with self._book.transaction():
            rows = self._book.rows("datasets_with_digest", content_digest=content_digest)
        return tuple(DatasetRecord.from_row(row) for row in rows)

    def twins_of(self, dataset: DatasetRecord) -> tuple[DatasetRecord, ...]:
        """Return the datasets of other acquisitions with the same content, oldest first."""
        return tuple(
            other
            for other in self.was_published(dataset.content_digest)
            if (other.folder, other.key) != (dataset.folder, dataset.key)
        )

    def shown_runs(self, since_us: int) -> frozenset[str]:
        """Return the runs whose datasets are still shown to people.

        Not of acquisitions that were forgotten, nor of datasets superseded before `since_us`.
        """
        with self._book.transaction():
            rows = self._book.rows("shown_runs", since_us=since_us)
        return frozenset(row["run_id"] for row in rows)

    # ------------------------------------------------------------ parts

    def _note_twin(self, row: sqlite3.Row) -> None:
        for twin in self.twins_of(DatasetRecord.from_row(row))[:1]:
            self._book.note(
                "dataset.has_twin",
                job_id=row["job_id"],
                acquisition_id=row["acquisition_id"],
                name=row["name"],
                twin=show_path(twin.path),
            )

    def _publishable(self, job_id: int) -> sqlite3.Row:
        job = self._book.row("job", job_id=job_id)
        if job is None or job["state"] != JobState.CLAIMED:
            state = job["state"] if job else "unknown"
            raise IllegalTransitionError(
                f"Job {job_id} is {state}, not claimed: whoever worked on it may not publish.",
                job_id=job_id,
                state_from=state,
            )
        if job["generation"] != job["newest_generation"]:
            raise ChangedDuringConversionError(
                f"“{show_path(os.fsdecode(job['key']))}” has a newer content (generation "
                f"{job['newest_generation']}): generation {job['generation']} is not published.",
                job_id=job_id,
            )
        return job

    def _check_path(self, job: sqlite3.Row, new: NewDataset) -> None:
        other = self._book.row("dataset_at", path=os.fsencode(new.path))
        if other is None or other["generation_id"] == job["generation_id"]:
            return
        hint = "Choose another `dataset_name`, or remove the older dataset."
        raise TargetExistsError(
            f"“{show_path(new.path)}” belongs to “{show_path(os.fsdecode(other['key']))}” of "
            f"folder “{other['folder']}” (job {other['job_id']}). Two acquisitions meet in one "
            f"name, so nothing was touched. {hint}",
            hint=hint,
            path=show_path(new.path),
            job_id=other["job_id"],
        )

    def _dataset(self, generation_id: int, new: NewDataset) -> sqlite3.Row | None:
        return self._book.row("dataset", generation_id=generation_id, path=os.fsencode(new.path))

    def _again(self, row: sqlite3.Row) -> sqlite3.Row:
        found = self._book.row("dataset", generation_id=row["generation_id"], path=row["path"])
        assert found is not None
        return found

    def _of_run(self, run_id: str, path: Path) -> sqlite3.Row:
        row = self._book.row("dataset_of_run", run_id=run_id, path=os.fsencode(path))
        if row is None:
            raise LedgerError(
                f"The ledger knows no dataset “{show_path(path)}” of run {run_id}: it was not "
                "announced before its rename. Nothing was recorded.",
                path=show_path(path),
                run_id=run_id,
            )
        return row
