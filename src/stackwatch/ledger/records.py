"""What the ledger tells: frozen records, each with its JSON form."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackwatch.ledger.columns import error_values, parse_json, parse_path
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import AcquisitionKind
from stackwatch.model.job import (
    AcquisitionId,
    AcquisitionState,
    DatasetState,
    FolderState,
    JobId,
    JobState,
)


@dataclass(frozen=True, slots=True)
class NewDataset:
    """A dataset that is about to be renamed to its place.

    Attributes
    ----------
    path, staging_path : Path
    run_id : str
        Stands in the dataset's `stackwatch.json` too.
    content_digest : str
        Of the acquisition's files.
    total_bytes : int
    remaining : int
        How many more datasets the same job is going to publish after this one.
    """

    path: Path
    staging_path: Path
    run_id: str
    content_digest: str
    total_bytes: int = 0
    remaining: int = 0


@dataclass(frozen=True, slots=True)
class DaemonRecord:
    """The daemon that last held the ledger."""

    pid: int
    host: str
    version: str
    started_at_us: int
    alive_at_us: int
    stopped_at_us: int | None

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> "DaemonRecord":
        """Build the record from a row of `daemon`."""
        return cls(
            row["pid"],
            row["host"],
            row["version"],
            row["started_at_us"],
            row["alive_at_us"],
            row["stopped_at_us"],
        )

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "pid": self.pid,
            "host": self.host,
            "version": self.version,
            "started_at_us": self.started_at_us,
            "alive_at_us": self.alive_at_us,
            "stopped_at_us": self.stopped_at_us,
        }


@dataclass(frozen=True, slots=True)
class FolderRecord:
    """One drop folder.

    Attributes
    ----------
    mount : dict or None
        Of the last good scan, as `MountIdentity.as_record` gave it.
    acquisitions : dict of str to int
        How many are in each state; those that went away while arriving or parked do not count.
    is_configured : bool
        False for a folder that is no longer in the settings.
    """

    name: str
    path: Path
    target: Path
    state: FolderState
    reason: str
    mount: dict[str, Any] | None
    files: int
    scan_ms: int
    scanned_at_us: int | None
    is_configured: bool
    acquisitions: dict[str, int]

    @classmethod
    def from_row(cls, row: sqlite3.Row, acquisitions: dict[str, int]) -> "FolderRecord":
        """Build the record from a row of `folders`."""
        return cls(
            name=row["name"],
            path=parse_path(row["path"]),
            target=parse_path(row["target"]),
            state=FolderState(row["state"]),
            reason=row["reason"],
            mount=parse_json(row["mount"]),
            files=row["files"],
            scan_ms=row["scan_ms"],
            scanned_at_us=row["scanned_at_us"],
            is_configured=bool(row["is_configured"]),
            acquisitions=acquisitions,
        )

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "name": self.name,
            "path": show_path(self.path),
            "target": show_path(self.target),
            "state": str(self.state),
            "reason": self.reason,
            "files": self.files,
            "scan_ms": self.scan_ms,
            "scanned_at_us": self.scanned_at_us,
            "is_configured": self.is_configured,
            "acquisitions": self.acquisitions,
        }


@dataclass(frozen=True, slots=True)
class AcquisitionRecord:
    """One acquisition; `error` is an error's `as_record`, None if all is well."""

    acquisition_id: AcquisitionId
    folder: str
    key: str
    name: str
    kind: AcquisitionKind
    state: AcquisitionState
    generation: int
    files: int
    total_bytes: int
    error: dict[str, Any] | None
    seen_at_us: int
    changed_at_us: int
    vanished_at_us: int | None

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> "AcquisitionRecord":
        """Build the record from a row of the query `acquisitions`."""
        return cls(
            acquisition_id=AcquisitionId(row["id"]),
            folder=row["folder"],
            key=os.fsdecode(row["key"]),
            name=os.fsdecode(row["name"]),
            kind=AcquisitionKind(row["kind"]),
            state=AcquisitionState(row["state"]),
            generation=row["generation"],
            files=row["files"],
            total_bytes=row["total_bytes"],
            error=parse_json(row["error"]),
            seen_at_us=row["seen_at_us"],
            changed_at_us=row["changed_at_us"],
            vanished_at_us=row["vanished_at_us"],
        )

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "acquisition_id": self.acquisition_id,
            "folder": self.folder,
            "acquisition": show_path(self.key),
            "name": show_path(self.name),
            "kind": str(self.kind),
            "state": str(self.state),
            "generation": self.generation,
            "files": self.files,
            "total_bytes": self.total_bytes,
            **error_values(self.error),
            "seen_at_us": self.seen_at_us,
            "changed_at_us": self.changed_at_us,
            "vanished_at_us": self.vanished_at_us,
        }


@dataclass(frozen=True, slots=True)
class Job:
    """One conversion in the ledger.

    Attributes
    ----------
    folder_path, target : Path
        Of the drop folder, as the settings had it when the folder was last recorded.
    key, name, kind, source
        Of the acquisition, as in `Sighting`.
    generation, stat_mark, size_mark, files, total_bytes
        Of the content that is to be converted.
    attempt : int
        Attempts begun so far, over the job's whole life.
    tries : int
        Attempts since it was queued or last retried by a person: what a retry policy counts.
    error, progress, result : dict or None
        JSON values; `error` is an error's `as_record`.
    priority : int
        The acquisition's own, from its sidecar.
    """

    job_id: JobId
    acquisition_id: AcquisitionId
    folder: str
    folder_path: Path
    target: Path
    key: str
    name: str
    kind: AcquisitionKind
    source: str
    generation: int
    stat_mark: str
    size_mark: str
    files: int
    total_bytes: int
    state: JobState
    attempt: int
    tries: int
    worker_pid: int | None
    error: dict[str, Any] | None
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    not_before_us: int
    queued_at_us: int
    claimed_at_us: int | None
    alive_at_us: int | None
    finished_at_us: int | None
    priority: int = 0

    @property
    def staging_name(self) -> str:
        """Return the name of this attempt's staging directory."""
        return f"{self.job_id}-{self.attempt}"

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> "Job":
        """Build the record from a row of `job_facts`."""
        return cls(
            job_id=JobId(row["id"]),
            acquisition_id=AcquisitionId(row["acquisition_id"]),
            folder=row["folder"],
            folder_path=parse_path(row["folder_path"]),
            target=parse_path(row["target"]),
            key=os.fsdecode(row["key"]),
            name=os.fsdecode(row["name"]),
            kind=AcquisitionKind(row["kind"]),
            source=os.fsdecode(row["source"]),
            generation=row["generation"],
            stat_mark=row["stat_mark"],
            size_mark=row["size_mark"],
            files=row["files"],
            total_bytes=row["total_bytes"],
            state=JobState(row["state"]),
            attempt=row["attempt"],
            tries=row["attempt"] - row["attempts_before"],
            worker_pid=row["worker_pid"],
            error=parse_json(row["error"]),
            progress=parse_json(row["progress"]),
            result=parse_json(row["result"]),
            not_before_us=row["not_before_us"],
            queued_at_us=row["queued_at_us"],
            claimed_at_us=row["claimed_at_us"],
            alive_at_us=row["alive_at_us"],
            finished_at_us=row["finished_at_us"],
            priority=row["priority"],
        )

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "job_id": self.job_id,
            "acquisition_id": self.acquisition_id,
            "folder": self.folder,
            "acquisition": show_path(self.key),
            "name": show_path(self.name),
            "generation": self.generation,
            "files": self.files,
            "total_bytes": self.total_bytes,
            "state": str(self.state),
            "attempt": self.attempt,
            "worker_pid": self.worker_pid,
            **error_values(self.error),
            "progress": self.progress,
            "result": self.result,
            "not_before_us": self.not_before_us or None,
            "queued_at_us": self.queued_at_us,
            "claimed_at_us": self.claimed_at_us,
            "finished_at_us": self.finished_at_us,
        }


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """One dataset of a job."""

    dataset_id: int
    job_id: JobId
    folder: str
    key: str
    generation: int
    state: DatasetState
    name: str
    path: Path
    staging_path: Path
    run_id: str
    content_digest: str
    total_bytes: int
    remaining: int
    publishing_at_us: int
    published_at_us: int | None
    superseded_at_us: int | None

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> "DatasetRecord":
        """Build the record from a row of `dataset_facts`."""
        return cls(
            dataset_id=row["id"],
            job_id=JobId(row["job_id"]),
            folder=row["folder"],
            key=os.fsdecode(row["key"]),
            generation=row["generation"],
            state=DatasetState(row["state"]),
            name=row["name"],
            path=parse_path(row["path"]),
            staging_path=parse_path(row["staging_path"]),
            run_id=row["run_id"],
            content_digest=row["content_digest"],
            total_bytes=row["total_bytes"],
            remaining=row["remaining"],
            publishing_at_us=row["publishing_at_us"],
            published_at_us=row["published_at_us"],
            superseded_at_us=row["superseded_at_us"],
        )

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "name": self.name,
            "path": show_path(self.path),
            "state": str(self.state),
            "job_id": self.job_id,
            "folder": self.folder,
            "acquisition": show_path(self.key),
            "generation": self.generation,
            "run_id": self.run_id,
            "content_digest": self.content_digest,
            "bytes_written": self.total_bytes,
            "published_at_us": self.published_at_us,
            "superseded_at_us": self.superseded_at_us,
        }


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One line of the history."""

    at_us: int
    event: str
    state_from: str
    state_to: str
    facts: dict[str, Any]

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> "EventRecord":
        """Build the record from a row of `events`."""
        facts = parse_json(row["facts"]) or {}
        return cls(row["at_us"], row["event"], row["state_from"], row["state_to"], facts)

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "at_us": self.at_us,
            "event": self.event,
            "state_from": self.state_from or None,
            "state_to": self.state_to or None,
            "facts": self.facts,
        }
