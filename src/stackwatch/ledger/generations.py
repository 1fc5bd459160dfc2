"""Verbs about generations: a content that was published before and is back."""

import os
import sqlite3

from stackwatch.errors import ChangedDuringConversionError, IllegalTransitionError, LedgerError
from stackwatch.ledger.book import Book
from stackwatch.ledger.endings import end_job
from stackwatch.ledger.records import DatasetRecord
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import AcquisitionState, DatasetState, JobState, NewJob


class GenerationVerbs:
    """What is recorded when an acquisition returns to a content that was published."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def reinstate(self, new: NewJob, published: int) -> tuple[DatasetRecord, ...]:
        """Record a new generation whose datasets are those of an older one: nothing is converted.

        For the caller who has compared the contents, and found the datasets whole. Jobs of what
        came between, that nobody works on, fail. To repeat the same call changes nothing.

        Parameters
        ----------
        new : NewJob
            The new generation; no job is made of it.
        published : int
            The newest generation that was published: its datasets become those of the new one.

        Returns
        -------
        tuple of DatasetRecord
            Published again.

        Raises
        ------
        LedgerError
            The acquisition was never recorded, or nothing of that generation was published.
        IllegalTransitionError
            The number is not the next one.
        """
        with self._book.transaction():
            acquisition = self._acquisition(new)
            if acquisition["generation"] == new.generation:
                return self._datasets(acquisition, new.generation)
            if acquisition["generation"] != new.generation - 1:
                raise IllegalTransitionError(
                    f"Generation {new.generation} of “{show_path(new.acquisition)}” cannot follow "
                    f"generation {acquisition['generation']}. Nothing was changed. Scan again.",
                    hint="Scan again.",
                    generation=new.generation,
                )
            datasets = self._datasets(acquisition, published)
            if not datasets:
                raise LedgerError(
                    f"Nothing of generation {published} of “{show_path(new.acquisition)}” was "
                    "published, so it cannot be taken up again. Nothing was changed.",
                    generation=published,
                )
            self._end_jobs(acquisition, new)
            self._insert(acquisition, new, datasets)
            self._book.move_acquisition(
                acquisition["id"], AcquisitionState.PUBLISHED, "acquisition.reinstated"
            )
            self._book.rows("acquisition_error", acquisition_id=acquisition["id"], error="")
            return self._datasets(acquisition, new.generation)

    def _acquisition(self, new: NewJob) -> sqlite3.Row:
        folder = self._book.row("folder_by_name", name=new.folder)
        row = folder and self._book.row(
            "acquisition", folder_id=folder["id"], key=os.fsencode(new.acquisition)
        )
        if not row:
            raise LedgerError(
                f"“{show_path(new.acquisition)}” of folder “{new.folder}” was never recorded. Scan "
                "the folder again.",
                hint="Scan the folder again.",
                folder=new.folder,
                acquisition=show_path(new.acquisition),
            )
        return row

    def _datasets(self, acquisition: sqlite3.Row, number: int) -> tuple[DatasetRecord, ...]:
        generation = self._book.row("generation", acquisition_id=acquisition["id"], number=number)
        if generation is None:
            return ()
        rows = self._book.rows("datasets_of_generation", generation_id=generation["id"])
        done = (DatasetState.PUBLISHED, DatasetState.SUPERSEDED)
        return tuple(DatasetRecord.from_row(row) for row in rows if row["state"] in done)

    def _end_jobs(self, acquisition: sqlite3.Row, new: NewJob) -> None:
        for job in self._book.rows("open_jobs", acquisition_id=acquisition["id"]):
            error = ChangedDuringConversionError(
                f"“{show_path(new.acquisition)}” is again what was published before: generation "
                f"{job['generation']} is not converted.",
                generation=new.generation,
            )
            end_job(self._book, job, JobState.FAILED, "job.superseded", error)

    def _insert(
        self, acquisition: sqlite3.Row, new: NewJob, datasets: tuple[DatasetRecord, ...]
    ) -> None:
        number = {"acquisition_id": acquisition["id"], "number": new.generation}
        self._book.rows("supersede_generations", **number)
        generation = self._book.row(
            "insert_generation",
            **number,
            stat_mark=new.stat_mark,
            size_mark=new.size_mark,
            files=new.files,
            total_bytes=new.total_bytes,
            now_us=self._book.now_us(),
        )
        assert generation is not None
        self._book.rows("acquisition_generation", **number)
        place = {"generation_id": generation["id"]}
        self._book.rows("generation_state", state=AcquisitionState.PUBLISHED, **place)
        self._book.rows("generation_digest", content_digest=datasets[-1].content_digest, **place)
        for dataset in datasets:
            row = self._book.row("dataset_by_id", dataset_id=dataset.dataset_id)
            assert row is not None
            if row["state"] == DatasetState.SUPERSEDED:
                self._book.move_dataset(row, DatasetState.PUBLISHED, "dataset.reinstated")
                self._book.rows("dataset_superseded", dataset_id=row["id"], now_us=None)
            self._book.rows("dataset_generation", dataset_id=row["id"], **place)
