"""Verbs for what a person, or a conversion, says about an acquisition as a whole."""

import os
import sqlite3

from stackwatch.errors import CancelledError, StackwatchError, UsageError
from stackwatch.ledger.book import Book
from stackwatch.ledger.columns import dump_json
from stackwatch.ledger.endings import fail_open_jobs, set_incomplete
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import AcquisitionId, AcquisitionState

_ARRIVING = (AcquisitionState.SETTLING, AcquisitionState.INCOMPLETE)


class VerdictVerbs:
    """What somebody decided about an acquisition. Every verb is one transaction."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def accept(self, folder: str, key: str, stat_mark: str | None = None) -> str:
        """Record that a person takes an arriving acquisition for complete as it is.

        Parameters
        ----------
        folder, key : str
        stat_mark : str or None
            What it looks like now; None takes what was last recorded.

        Returns
        -------
        str
            The mark that was accepted; content with another one is not.

        Raises
        ------
        UsageError
            It is not there or not arriving, or its own metadata name files that are missing.
        """
        with self._book.transaction():
            row = self._acquisition(folder, key)
            if row["state"] not in _ARRIVING:
                hint = f"`stackwatch jobs explain “{show_path(key)}”` tells more."
                raise UsageError(
                    f"“{show_path(key)}” is {row['state']}: only what is still arriving can be "
                    f"accepted as complete. {hint}",
                    hint=hint,
                    acquisition=show_path(key),
                    state=row["state"],
                )
            if row["generation"] and row["state"] == AcquisitionState.INCOMPLETE:
                self._refuse_lacking(row, key)
            mark = str(stat_mark or row["stat_mark"])
            self._book.rows("acquisition_accepted", acquisition_id=row["id"], stat_mark=mark)
            self._book.note("acquisition.accepted", acquisition_id=row["id"], stat_mark=mark)
            return mark

    def forget(self, folder: str, key: str, stat_mark: str | None = None) -> int:
        """Ignore an acquisition until its content changes; its datasets are left as they are.

        Parameters
        ----------
        folder, key : str
        stat_mark : str or None
            As in `accept`.

        Returns
        -------
        int
            How many open jobs were ended.

        Raises
        ------
        UsageError
            It is not there, or is being converted.
        """
        with self._book.transaction():
            row = self._acquisition(folder, key)
            if row["state"] == AcquisitionState.CONVERTING:
                hint = "Wait for the end of its conversion, then forget it."
                raise UsageError(
                    f"“{show_path(key)}” is being converted at this moment. {hint}",
                    hint=hint,
                    acquisition=show_path(key),
                )
            error = _forgotten(key)
            ended = fail_open_jobs(self._book, row["id"], error)
            mark = str(stat_mark or row["stat_mark"])
            self._book.rows("acquisition_mark", acquisition_id=row["id"], stat_mark=mark)
            self._book.move_acquisition(
                row["id"], AcquisitionState.IGNORED, "acquisition.forgotten"
            )
            self._book.rows(
                "acquisition_error", acquisition_id=row["id"], error=dump_json(error.as_record())
            )
            return ended

    def record_lacking(self, acquisition_id: AcquisitionId, error: StackwatchError) -> None:
        """Record that a conversion found files missing: the acquisition is incomplete.

        For the caller who has parked the job with the same error. One that is arriving anew
        meanwhile is left alone.
        """
        with self._book.transaction():
            row = self._book.row("acquisition_by_id", acquisition_id=acquisition_id)
            assert row is not None
            if row["state"] == AcquisitionState.PARKED:
                set_incomplete(self._book, acquisition_id, dump_json(error.as_record()))

    def _acquisition(self, folder: str, key: str) -> sqlite3.Row:
        holder = self._book.row("folder_by_name", name=folder)
        row = holder and self._book.row("acquisition", folder_id=holder["id"], key=os.fsencode(key))
        if not row or row["vanished_at_us"] is not None:
            hint = "`stackwatch status` shows the drop folders."
            raise UsageError(
                f"“{show_path(key)}” is not in drop folder “{folder}”. {hint}",
                hint=hint,
                acquisition=show_path(key),
            )
        return row

    def _refuse_lacking(self, row: sqlite3.Row, key: str) -> None:
        """Raise if a conversion found files missing: no word of a person brings them."""
        fact = self._book.row("newest_job", acquisition_id=row["id"], number=row["generation"])
        if fact is None or not row["error"] or fact["error"] != row["error"]:
            return
        hint = 'Copy the missing files in, or set `missing_slices = "black"` for the folder.'
        raise UsageError(
            f"“{show_path(key)}” names files itself that are not there, so it cannot be taken for "
            f"complete. {hint}",
            hint=hint,
            acquisition=show_path(key),
        )


def _forgotten(key: str) -> CancelledError:
    hint = "It is taken up again when its content changes."
    return CancelledError(
        f"“{show_path(key)}” was forgotten on request: it is not converted, and what was published "
        f"stays. {hint}",
        hint=hint,
        acquisition=show_path(key),
    )
