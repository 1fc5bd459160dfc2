"""What the ledger tells of a delivery to WEBKNOSSOS."""

import dataclasses
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stackwatch.ledger.columns import error_values, parse_json, parse_path
from stackwatch.model.acquisition import show_path
from stackwatch.model.delivery import DeliveryKind, DeliveryState, UploadRecord, UploadStage
from stackwatch.model.job import AcquisitionId, DatasetState, JobId

UNDECIDED: Final[frozenset[UploadStage]] = frozenset({"finishing", "finished", "described"})
"""The server may have the dataset, or has it: the delivery is followed to its end."""


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """One delivery, and what is known of its dataset now.

    Attributes
    ----------
    source : Path
        What the dataset was made from: a folder or file in its drop folder.
    path : Path
        The dataset.
    upload : bool or None
        What the acquisition's sidecar says about delivering; None: nothing.
    server : str
        Its address, without a trailing slash.
    attempt : int
        How often it was begun.
    record : UploadRecord or None
        How far it came.
    remote_id, link : str
        The dataset on the server; the link when it can be opened.
    error : dict or None
        An error's `as_record`: why it waits, or is parked.
    progress : dict or None
        The newest one recorded, up to a minute old.
    not_before_us : int
        A paused one is tried again then.
    """

    delivery_id: int
    dataset_id: int
    job_id: JobId
    acquisition_id: AcquisitionId
    folder: str
    key: str
    source: Path
    generation: int
    name: str
    path: Path
    run_id: str
    content_digest: str
    total_bytes: int
    dataset_state: DatasetState
    upload: bool | None
    kind: DeliveryKind
    state: DeliveryState
    server: str
    attempt: int
    record: UploadRecord | None
    remote_id: str
    link: str
    error: dict[str, Any] | None
    progress: dict[str, Any] | None
    not_before_us: int
    queued_at_us: int
    started_at_us: int | None
    alive_at_us: int | None
    finished_at_us: int | None

    @property
    def is_superseded(self) -> bool:
        """Whether a newer content took the dataset's place before it was delivered."""
        is_current = self.dataset_state is DatasetState.PUBLISHED
        return not is_current and self.state is not DeliveryState.DELIVERED

    @property
    def is_undecided(self) -> bool:
        """Whether the server may have the dataset already."""
        return self.record is not None and self.record.stage in UNDECIDED

    @property
    def is_current(self) -> bool:
        """Whether it may go on: nothing newer took its place, or the server may have it."""
        return not self.is_superseded or self.is_undecided

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> "DeliveryRecord":
        """Build the record from a row of the query `deliveries`."""
        return cls(
            delivery_id=row["id"],
            dataset_id=row["dataset_id"],
            job_id=JobId(row["job_id"]),
            acquisition_id=AcquisitionId(row["acquisition_id"]),
            folder=row["folder"],
            key=os.fsdecode(row["key"]),
            source=parse_path(row["folder_path"]) / os.fsdecode(row["source"]),
            generation=row["generation"],
            name=row["name"],
            path=parse_path(row["path"]),
            run_id=row["run_id"],
            content_digest=row["content_digest"],
            total_bytes=row["total_bytes"],
            dataset_state=DatasetState(row["dataset_state"]),
            upload=None if row["upload"] is None else bool(row["upload"]),
            kind=row["kind"],
            state=DeliveryState(row["state"]),
            server=row["server"],
            attempt=row["attempt"],
            record=parse_upload(row["record"]),
            remote_id=row["remote_id"],
            link=row["link"],
            error=parse_json(row["error"]),
            progress=parse_json(row["progress"]),
            not_before_us=row["not_before_us"],
            queued_at_us=row["queued_at_us"],
            started_at_us=row["started_at_us"],
            alive_at_us=row["alive_at_us"],
            finished_at_us=row["finished_at_us"],
        )

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "delivery_id": self.delivery_id,
            "job_id": self.job_id,
            "folder": self.folder,
            "acquisition": show_path(self.key),
            "generation": self.generation,
            "dataset": self.name,
            "path": show_path(self.path),
            "run_id": self.run_id,
            "kind": self.kind,
            "state": str(self.state),
            "is_superseded": self.is_superseded,
            "server": self.server,
            "attempt": self.attempt,
            "stage": self.record.stage if self.record is not None else None,
            "remote_id": self.remote_id or None,
            "link": self.link or None,
            **error_values(self.error if self.state is not DeliveryState.RUNNING else None),
            "progress": self.progress,
            "total_bytes": (self.progress or {}).get("total_bytes") or self.total_bytes or None,
            "not_before_us": self.not_before_us or None,
            "queued_at_us": self.queued_at_us,
            "started_at_us": self.started_at_us,
            "finished_at_us": self.finished_at_us,
        }


def parse_upload(text: str) -> UploadRecord | None:
    """Return the column `record`; keys that another version wrote are left out."""
    values = parse_json(text)
    if values is None:
        return None
    known = {field.name for field in dataclasses.fields(UploadRecord)}
    return UploadRecord(**{key: value for key, value in values.items() if key in known})
