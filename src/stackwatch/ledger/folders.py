"""Verbs about drop folders and the acquisitions in them."""

import os
import sqlite3
from pathlib import Path
from typing import Any

from stackwatch.errors import (
    LedgerError,
    StackwatchError,
    VanishedError,
)
from stackwatch.ledger.book import Book
from stackwatch.ledger.columns import dump_json, parse_json
from stackwatch.ledger.endings import (
    STATE_OF_JOB,
    fail_open_jobs,
    lacks_files,
    set_incomplete,
    was_not_there,
)
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import AcquisitionFact, Sighting, VetoKind
from stackwatch.model.job import AcquisitionId, AcquisitionState, FolderState, JobState

_KINDS = frozenset(VetoKind)


class FolderVerbs:
    """What the watching river records.

    Every verb is one transaction. Folders are named as in the settings; a folder must have been
    recorded with `upsert` first.
    """

    def __init__(self, book: Book) -> None:
        self._book = book

    # ------------------------------------------------------------ drop folders

    def upsert(self, name: str, path: Path, target: Path) -> None:
        """Record a configured drop folder, new or known."""
        with self._book.transaction():
            known = self._book.row("folder_by_name", name=name)
            row = self._book.row(
                "upsert_folder",
                name=name,
                path=os.fsencode(path),
                target=os.fsencode(target),
                now_us=self._book.now_us(),
            )
            assert row is not None
            if known is None:
                self._book.note("folder.recorded", folder_id=row["id"], path=show_path(path))

    def keep_only(self, names: frozenset[str]) -> None:
        """Take all other folders out of the configuration: their jobs are not claimed any more."""
        with self._book.transaction():
            for row in self._book.rows("folders"):
                if row["name"] not in names and row["is_configured"]:
                    self._book.rows("unconfigure_folder", folder_id=row["id"])
                    self._book.note("folder.unconfigured", folder_id=row["id"])

    def record_state(self, name: str, state: FolderState, reason: str = "") -> bool:
        """Record how a folder is doing; return whether that is news."""
        with self._book.transaction():
            row = self._folder(name)
            if (row["state"], row["reason"]) == (state, show_path(reason)):
                return False
            self._book.rows(
                "folder_state", folder_id=row["id"], state=state, reason=show_path(reason)
            )
            if row["state"] != state:
                self._book.note(
                    f"folder.{state}",
                    folder_id=row["id"],
                    state_from=row["state"],
                    state_to=state,
                    reason=show_path(reason),
                )
            return True

    def record_scan(
        self, name: str, *, files: int, seconds: float, mount: dict[str, Any] | None
    ) -> None:
        """Record a scan of everything; `mount` as `MountIdentity.as_record` gives it."""
        with self._book.transaction():
            self._book.rows(
                "folder_scan",
                folder_id=self._folder(name)["id"],
                files=files,
                scan_ms=round(seconds * 1000),
                mount=dump_json(mount),
                now_us=self._book.now_us(),
            )

    def mount(self, name: str) -> dict[str, Any] | None:
        """Return the mount of the last good scan, as it was recorded."""
        with self._book.transaction():
            return parse_json(self._folder(name)["mount"])

    # ------------------------------------------------------------ acquisitions

    def facts(self, name: str) -> dict[str, AcquisitionFact]:
        """Return what reconciling needs to know of all acquisitions of a folder, by key."""
        with self._book.transaction():
            rows = self._book.rows("acquisition_facts", folder_id=self._folder(name)["id"])
        return {os.fsdecode(row["key"]): _fact(row) for row in rows}

    def record_settling(self, name: str, sighting: Sighting) -> AcquisitionId:
        """Record that an acquisition is arriving: new, back again, or changed.

        A job of an older content stays queued but is not claimed meanwhile.
        """
        with self._book.transaction():
            acquisition_id = self._sight(name, sighting)
            self._book.move_acquisition(
                acquisition_id, AcquisitionState.SETTLING, "acquisition.changed"
            )
            self._book.rows("acquisition_error", acquisition_id=acquisition_id, error="")
            return acquisition_id

    def record_incomplete(self, name: str, sighting: Sighting, error: StackwatchError) -> None:
        """Record that an acquisition has not settled within the ceiling."""
        self._record_with_error(
            name, sighting, AcquisitionState.INCOMPLETE, "acquisition.incomplete", error
        )

    def hold_back(self, name: str, sighting: Sighting, error: StackwatchError | None) -> None:
        """Record what speaks against an arriving acquisition's being complete; None: nothing."""
        with self._book.transaction():
            acquisition_id = self._sight(name, sighting)
            record = dump_json(error.as_record()) if error else ""
            self._book.rows("acquisition_error", acquisition_id=acquisition_id, error=record)

    def skip(self, name: str, sighting: Sighting, error: StackwatchError) -> None:
        """Ignore an acquisition whose sidecar wants it so, until something in it changes."""
        self._record_with_error(
            name, sighting, AcquisitionState.IGNORED, "acquisition.ignored", error
        )

    def park(self, name: str, sighting: Sighting, error: StackwatchError) -> None:
        """Set an acquisition that gets no job aside for a person."""
        self._record_with_error(
            name, sighting, AcquisitionState.PARKED, "acquisition.parked", error
        )

    def record_vanished(self, name: str, key: str) -> None:
        """Record that an acquisition is not there any more.

        Its jobs that nobody works on fail; one that is being converted is left to its worker.
        """
        with self._book.transaction():
            row = self._acquisition(name, key)
            if row is None or row["vanished_at_us"] is not None:
                return
            now_us = self._book.now_us()
            self._book.rows("acquisition_vanished", acquisition_id=row["id"], now_us=now_us)
            self._book.note("acquisition.vanished", acquisition_id=row["id"])
            ended = fail_open_jobs(self._book, row["id"], _vanished(key))
            if ended or not row["generation"]:
                self._book.move_acquisition(
                    row["id"], AcquisitionState.IGNORED, "acquisition.ignored"
                )

    def record_moved(self, name: str, key: str, sighting: Sighting) -> None:
        """Record that an acquisition has another key: all that is known of it stays with it.

        Does nothing if the new key is taken, or the old one unknown: it was recorded before.
        """
        with self._book.transaction():
            row = self._acquisition(name, key)
            if row is None or self._acquisition(name, sighting.key) is not None:
                return
            # only folders are recognised, and a folder that has another name has it of its sidecar
            is_named = row["name"] != row["key"]
            self._book.rows(
                "acquisition_moved",
                acquisition_id=row["id"],
                key=os.fsencode(sighting.key),
                name=row["name"] if is_named else os.fsencode(sighting.name),
                source=os.fsencode(sighting.source),
            )
            self._book.note(
                "acquisition.moved",
                acquisition_id=row["id"],
                key_from=show_path(key),
                key_to=show_path(sighting.key),
            )

    def sight(self, name: str, sighting: Sighting) -> AcquisitionId:
        """Bring what is known of an acquisition's looks and of its sidecar up to date."""
        with self._book.transaction():
            return self._sight(name, sighting)

    def restore(self, name: str, sighting: Sighting) -> AcquisitionState:
        """Put the state of an acquisition back: it lies still, exactly as it was recorded.

        A conversion that had failed because the acquisition was not there is queued again.

        Returns
        -------
        AcquisitionState
        """
        with self._book.transaction():
            acquisition_id = self._sight(name, sighting)
            row = self._book.row("acquisition_by_id", acquisition_id=acquisition_id)
            assert row is not None
            state = self._state_by_job(row)
            if state is AcquisitionState.INCOMPLETE:
                set_incomplete(self._book, acquisition_id, self._newest_error(row))
                return state
            self._book.move_acquisition(acquisition_id, state, "acquisition.restored")
            self._book.rows("acquisition_error", acquisition_id=acquisition_id, error="")
            return state

    def update_mark(self, name: str, sighting: Sighting) -> AcquisitionState:
        """Record a new stat mark for the same content, and restore the acquisition's state.

        For the caller who has compared the content digests and found them equal.
        """
        with self._book.transaction():
            row = self._acquisition(name, sighting.key)
            generation = row and self._book.row(
                "generation", acquisition_id=row["id"], number=row["generation"]
            )
            if not generation:
                raise _unknown(f"acquisition “{show_path(sighting.key)}” of “{name}”")
            self._book.rows(
                "generation_mark",
                generation_id=generation["id"],
                stat_mark=sighting.stat_mark,
                size_mark=sighting.size_mark,
            )
            return self.restore(name, sighting)

    # ------------------------------------------------------------ parts

    def _folder(self, name: str) -> sqlite3.Row:
        row = self._book.row("folder_by_name", name=name)
        if row is None:
            raise _unknown(f"folder “{name}”")
        return row

    def _acquisition(self, name: str, key: str) -> sqlite3.Row | None:
        folder_id = self._folder(name)["id"]
        return self._book.row("acquisition", folder_id=folder_id, key=os.fsencode(key))

    def _sight(self, name: str, sighting: Sighting) -> AcquisitionId:
        """Insert an acquisition, or bring what is known of its looks up to date."""
        looks = {
            "name": os.fsencode(sighting.directives.name or sighting.name),
            "kind": sighting.kind,
            "source": os.fsencode(sighting.source),
            "stat_mark": sighting.stat_mark,
            "size_mark": sighting.size_mark,
            "files": sighting.files,
            "total_bytes": sighting.total_bytes,
            "root_inode": sighting.root_inode,
            "priority": sighting.directives.priority,
            "upload": sighting.directives.upload,
        }
        row = self._acquisition(name, sighting.key)
        if row is not None and not sighting.is_probed:
            # nobody has read its sidecar this time: what it said last still holds
            looks |= {column: row[column] for column in ("name", "priority", "upload")}
        if row is not None:
            self._book.rows("sight_acquisition", acquisition_id=row["id"], **looks)
            return AcquisitionId(row["id"])
        row = self._book.row(
            "insert_acquisition",
            folder_id=self._folder(name)["id"],
            key=os.fsencode(sighting.key),
            now_us=self._book.now_us(),
            **looks,
        )
        assert row is not None
        self._book.note(
            "acquisition.seen",
            acquisition_id=row["id"],
            state_to=AcquisitionState.SETTLING,
            acquisition=show_path(sighting.key),
        )
        return AcquisitionId(row["id"])

    def _record_with_error(
        self,
        name: str,
        sighting: Sighting,
        state: AcquisitionState,
        event: str,
        error: StackwatchError,
    ) -> None:
        with self._book.transaction():
            acquisition_id = self._sight(name, sighting)
            self._book.move_acquisition(acquisition_id, state, event)
            self._book.rows(
                "acquisition_error",
                acquisition_id=acquisition_id,
                error=dump_json(error.as_record()),
            )

    def _state_by_job(self, acquisition: sqlite3.Row) -> AcquisitionState:
        job = self._newest_job(acquisition)
        if job is None:
            return self._state_without_job(acquisition)
        if job["state"] == JobState.FAILED or was_not_there(job):
            self._book.move_job(job, JobState.QUEUED, "job.queued")
            self._book.rows("job_retried", job_id=job["id"], now_us=self._book.now_us())
            return AcquisitionState.QUEUED
        if job["state"] == JobState.PARKED and lacks_files(parse_json(job["error"])):
            return AcquisitionState.INCOMPLETE
        return STATE_OF_JOB[JobState(job["state"])]

    def _state_without_job(self, acquisition: sqlite3.Row) -> AcquisitionState:
        """Return `published` for a content that was taken up again; else a verdict parked it."""
        generation = self._book.row(
            "generation", acquisition_id=acquisition["id"], number=acquisition["generation"]
        )
        is_published = generation is not None and generation["content_digest"]
        return AcquisitionState.PUBLISHED if is_published else AcquisitionState.PARKED

    def _newest_job(self, acquisition: sqlite3.Row) -> sqlite3.Row | None:
        return self._book.row(
            "newest_job", acquisition_id=acquisition["id"], number=acquisition["generation"]
        )

    def _newest_error(self, acquisition: sqlite3.Row) -> str:
        job = self._newest_job(acquisition)
        return str(job["error"]) if job is not None else ""


def _fact(row: sqlite3.Row) -> AcquisitionFact:
    error = parse_json(row["error"])
    state = AcquisitionState(row["state"])
    kinds = (error or {}).get("values", {}).get("veto_kinds", ())
    return AcquisitionFact(
        acquisition_id=AcquisitionId(row["id"]),
        key=os.fsdecode(row["key"]),
        state=state,
        generation=row["generation"],
        stat_mark=row["stat_mark"],
        size_mark=row["size_mark"],
        content_digest=row["content_digest"],
        is_gone=row["vanished_at_us"] is not None,
        root_inode=row["root_inode"],
        accepted_mark=row["accepted_mark"],
        ignored_mark=row["ignored_mark"],
        lacks_files=state is AcquisitionState.INCOMPLETE and lacks_files(error),
        held_back=frozenset(VetoKind(kind) for kind in kinds if kind in _KINDS),
    )


def _vanished(key: str) -> VanishedError:
    hint = "Put it back: the conversion is then queued again by itself."
    return VanishedError(
        f"“{show_path(key)}” is not in its drop folder any more, so it cannot be converted. {hint}",
        hint=hint,
        acquisition=show_path(key),
    )


def _unknown(what: str) -> LedgerError:
    return LedgerError(
        f"The ledger knows no {what}. It was removed, or never recorded. Look at "
        "`stackwatch status`.",
        hint="Look at `stackwatch status`.",
    )
