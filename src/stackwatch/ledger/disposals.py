"""Verbs about disposals: what becomes of the files of an acquisition that was published.

A disposal belongs to one generation. Its intent, `running`, is committed before the first file is
touched, so that a crash in between is taken up again and never looks like a changed acquisition.
"""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stackwatch.errors import IllegalTransitionError, LedgerError, StackwatchError
from stackwatch.ledger.book import Book, check_transition
from stackwatch.ledger.columns import dump_json, error_values, parse_json, parse_path
from stackwatch.ledger.records import DatasetRecord
from stackwatch.model.acquisition import show_path
from stackwatch.model.disposal import DISPOSAL_TRANSITIONS, DisposalAction, DisposalState
from stackwatch.model.facts import AcquisitionKind
from stackwatch.model.job import AcquisitionId, AcquisitionState, DatasetState

NO_CONDITIONS: Final = {
    "state": None, "acquisition_id": None, "disposal_id": None, "until_us": None,
}  # fmt: skip
"""Of the query `disposals`."""


@dataclass(frozen=True, slots=True)
class DisposalRecord:
    """One disposal, and what is known of its acquisition now.

    Attributes
    ----------
    stat_mark : str
        The mark the generation has now; the one at the beginning once it was begun.
    is_newest : bool
        No newer generation was queued.
    is_gone : bool
        The acquisition was not there when last looked for.
    archive_path : Path or None
        Where it was, or is about to be, archived.
    remark : dict or None
        An error's `as_record`, or what a dry run said: `{"message": …}`.
    due_at_us : int
        It may begin then, or be tried again.
    """

    disposal_id: int
    action: DisposalAction
    state: DisposalState
    acquisition_id: AcquisitionId
    folder: str
    key: str
    name: str
    kind: AcquisitionKind
    source: str
    acquisition_state: AcquisitionState
    generation_id: int
    generation: int
    stat_mark: str
    is_newest: bool
    is_gone: bool
    archive_path: Path | None
    remark: dict[str, Any] | None
    due_at_us: int
    finished_at_us: int | None

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> "DisposalRecord":
        """Build the record from a row of the query `disposals`."""
        return cls(
            disposal_id=row["id"],
            action=DisposalAction(row["action"]),
            state=DisposalState(row["state"]),
            acquisition_id=AcquisitionId(row["acquisition_id"]),
            folder=row["folder"],
            key=os.fsdecode(row["key"]),
            name=os.fsdecode(row["name"]),
            kind=AcquisitionKind(row["kind"]),
            source=os.fsdecode(row["source"]),
            acquisition_state=AcquisitionState(row["acquisition_state"]),
            generation_id=row["generation_id"],
            generation=row["generation"],
            stat_mark=row["stat_mark"],
            is_newest=row["generation"] == row["newest_generation"],
            is_gone=row["vanished_at_us"] is not None,
            archive_path=parse_path(row["archive_path"]) if row["archive_path"] else None,
            remark=parse_json(row["error"]),
            due_at_us=row["due_at_us"],
            finished_at_us=row["finished_at_us"],
        )

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "action": str(self.action),
            "state": str(self.state),
            "generation": self.generation,
            "archive_path": show_path(self.archive_path) if self.archive_path else None,
            **error_values(self.remark),
            "due_at_us": self.due_at_us,
            "finished_at_us": self.finished_at_us,
        }


class DisposalVerbs:
    """What is recorded around archiving and deleting. Every verb is one transaction."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def plan(self, folder: str, action: DisposalAction, retention_us: int) -> int:
        """Plan the disposal of all that is published in a folder and has none yet.

        One that was planned otherwise and has not begun is planned anew. To repeat the same call
        changes nothing.

        Returns
        -------
        int
            How many were planned.
        """
        with self._book.transaction():
            planned = 0
            for row in self._book.rows("disposals_to_plan", folder=folder):
                due_at_us = row["published_at_us"] + retention_us
                if _is_planned(row, action, due_at_us):
                    continue
                self._book.rows(
                    "plan_disposal",
                    generation_id=row["generation_id"],
                    action=action,
                    stat_mark=row["stat_mark"],
                    due_at_us=due_at_us,
                    now_us=self._book.now_us(),
                )
                planned += 1
            return planned

    def due(self) -> tuple[DisposalRecord, ...]:
        """Return the disposals whose time has come, and those nobody has been told of yet."""
        return self._list(state=DisposalState.DUE, until_us=self._book.now_us())

    def running(self) -> tuple[DisposalRecord, ...]:
        """Return the disposals that were begun."""
        return self._list(state=DisposalState.RUNNING)

    def find(self, disposal_id: int) -> DisposalRecord:
        """Return a disposal as it is now."""
        return self._one(disposal_id)

    def datasets(self, disposal: DisposalRecord) -> tuple[DatasetRecord, ...]:
        """Return the datasets of the generation, but those that never came to their place."""
        with self._book.transaction():
            rows = self._book.rows("datasets_of_generation", generation_id=disposal.generation_id)
        found = map(DatasetRecord.from_row, rows)
        return tuple(dataset for dataset in found if dataset.state is not DatasetState.ABANDONED)

    def remark(self, disposal_id: int, message: str) -> None:
        """Record what a dry run would do: it is told once."""
        with self._book.transaction():
            remark = dump_json({"message": message})
            self._book.rows("disposal_remark", disposal_id=disposal_id, error=remark)

    def begin(self, disposal_id: int, stat_mark: str) -> DisposalRecord:
        """Record that the files are about to be touched; after this returns they may be.

        Parameters
        ----------
        disposal_id : int
        stat_mark : str
            As the acquisition was seen at this moment.

        Raises
        ------
        IllegalTransitionError
            Its datasets are not all published, it is not what was published, or something newer
            is going on. Nothing may be touched.
        """
        with self._book.transaction():
            found = self._one(disposal_id)
            states = {dataset.state for dataset in self.datasets(found)}
            is_whole = states == {DatasetState.PUBLISHED}
            is_same = found.is_newest and not found.is_gone and found.stat_mark == stat_mark
            is_published = found.acquisition_state is AcquisitionState.PUBLISHED
            if not (is_whole and is_same and is_published):
                raise IllegalTransitionError(
                    f"The files of “{show_path(found.key)}” may not be touched: generation "
                    f"{found.generation} is not published, or not what lies there now.",
                    disposal_id=disposal_id,
                )
            self._book.rows("disposal_mark", disposal_id=disposal_id, stat_mark=stat_mark)
            self._move(found, DisposalState.RUNNING)
            return self._one(disposal_id)

    def record_archive(self, disposal_id: int, path: Path) -> None:
        """Record where a running disposal puts the files, before it does."""
        with self._book.transaction():
            self._running(disposal_id)
            self._book.rows("disposal_archive", disposal_id=disposal_id, path=os.fsencode(path))

    def done(self, disposal_id: int, path: Path | None = None) -> DisposalRecord:
        """Record that the files are archived or deleted, and the acquisition with them gone.

        Parameters
        ----------
        disposal_id : int
        path : Path or None
            Where they are now; None if they were deleted.
        """
        with self._book.transaction():
            found = self._running(disposal_id)
            now_us = self._book.now_us()
            archive = os.fsencode(path) if path is not None else b""
            self._book.rows("disposal_archive", disposal_id=disposal_id, path=archive)
            self._move(found, DisposalState.DONE)
            self._book.rows("disposal_finished", disposal_id=disposal_id, now_us=now_us)
            if found.is_newest:  # else something newer of the same name lies there
                self._book.rows(
                    "acquisition_vanished", acquisition_id=found.acquisition_id, now_us=now_us
                )
            self._book.note(
                "source.archived" if path is not None else "source.deleted",
                acquisition_id=found.acquisition_id,
                path=show_path(path) if path is not None else "",
            )
            return self._one(disposal_id)

    def refuse(self, disposal_id: int, error: StackwatchError) -> None:
        """Record that the files are kept, and why."""
        with self._book.transaction():
            found = self._one(disposal_id)
            self._move(found, DisposalState.REFUSED)
            self._set_error(found, error)
            self._book.note(
                "source.kept", acquisition_id=found.acquisition_id, error_code=error.code
            )

    def postpone(self, disposal_id: int, error: StackwatchError, until_us: int) -> None:
        """Record that nothing was touched, or all was put back; it is tried again later."""
        with self._book.transaction():
            found = self._one(disposal_id)
            if found.state is not DisposalState.DUE:
                self._move(found, DisposalState.DUE)
            self._set_error(found, error)
            self._book.rows("disposal_due", disposal_id=disposal_id, due_at_us=until_us)

    def interrupt(self, disposal_id: int, error: StackwatchError, until_us: int) -> None:
        """Record that a running disposal came to a halt in the middle; it goes on later."""
        with self._book.transaction():
            self._set_error(self._running(disposal_id), error)
            self._book.rows("disposal_due", disposal_id=disposal_id, due_at_us=until_us)

    def reconsider(self) -> None:
        """Let what was refused, or failed, be tried again now: the cause may have been mended."""
        with self._book.transaction():
            for found in self._list(state=DisposalState.REFUSED):
                self._move(found, DisposalState.DUE)
            for found in self._list():
                is_failed = "error_code" in (found.remark or {})
                if is_failed and found.due_at_us > self._book.now_us():
                    self._book.rows(
                        "disposal_due",
                        disposal_id=found.disposal_id,
                        due_at_us=self._book.now_us(),
                    )

    # ------------------------------------------------------------ parts

    def _list(self, **wanted: object) -> tuple[DisposalRecord, ...]:
        values = {**NO_CONDITIONS, **wanted}
        with self._book.transaction():
            rows = self._book.rows("disposals", **values)
        return tuple(map(DisposalRecord.from_row, rows))

    def _one(self, disposal_id: int) -> DisposalRecord:
        found = self._list(disposal_id=disposal_id)
        if not found:
            raise LedgerError(f"The ledger knows no disposal {disposal_id}.")
        return found[0]

    def _running(self, disposal_id: int) -> DisposalRecord:
        found = self._one(disposal_id)
        if found.state is not DisposalState.RUNNING:
            raise IllegalTransitionError(
                f"Disposal {disposal_id} is “{found.state}”: its files were not to be touched.",
                disposal_id=disposal_id,
                state_from=str(found.state),
            )
        return found

    def _move(self, found: DisposalRecord, to: DisposalState) -> None:
        what = f"disposal {found.disposal_id}"
        check_transition(DISPOSAL_TRANSITIONS, found.state, to, what)
        self._book.rows("disposal_state", disposal_id=found.disposal_id, state=to)
        self._book.note(
            f"disposal.{to}",
            acquisition_id=found.acquisition_id,
            state_from=found.state,
            state_to=to,
        )

    def _set_error(self, found: DisposalRecord, error: StackwatchError) -> None:
        remark = dump_json(error.as_record())
        self._book.rows("disposal_remark", disposal_id=found.disposal_id, error=remark)


def _is_planned(row: sqlite3.Row, action: DisposalAction, due_at_us: int) -> bool:
    """Tell whether a planned disposal is what the settings ask for now."""
    if row["action"] != action or row["due_at_us"] < due_at_us:
        return False
    is_postponed = "error_code" in (parse_json(row["error"]) or {})
    return is_postponed or row["due_at_us"] == due_at_us
