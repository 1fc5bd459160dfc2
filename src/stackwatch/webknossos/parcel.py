"""What every way of delivering is given, and what it hands back.

`upload`, `register` and `paths` each bring one parcel to the server and return a `Shipped` whose
record has the stage `finished` and the dataset's id. They are told how far an earlier attempt came
(`parcel.request.record`), record each step before they take it, and look at `cancelled` often.
Verification and metadata follow outside of them, the same for all.
"""

import threading
import uuid
from dataclasses import dataclass
from typing import Protocol

from stackwatch.model.delivery import DeliveryProgress, DeliveryRequest, UploadRecord
from stackwatch.webknossos.connection import Connection
from stackwatch.webknossos.local import LocalDataset
from stackwatch.webknossos.server_time import server_ms


class Reporting(Protocol):
    """Where a delivery reports (`stackwatch.pipeline.delivery_journal` has the same shape)."""

    cancelled: threading.Event

    def progress(self, progress: DeliveryProgress) -> None:
        """Take the newest progress; it may be lost."""

    def record(self, record: UploadRecord) -> None:
        """Return when the record is committed."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One dataset, and where on the server it goes.

    Attributes
    ----------
    request : DeliveryRequest
    local : LocalDataset
    name : str
        On the server; one it takes.
    folder_id : str
        Empty: the root folder.
    team_ids : tuple of str
    """

    request: DeliveryRequest
    local: LocalDataset
    name: str
    folder_id: str = ""
    team_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DoubtfulChunk:
    """A part of a file that the server says it has, though its answer to it was once lost.

    A server counts a chunk before it writes it: if it dies in between, nobody writes it.

    Attributes
    ----------
    path : str
        Of the file, relative to the dataset.
    start, end : int
        Bytes, the end exclusive.
    """

    path: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Shipped:
    """A dataset that the server has.

    Attributes
    ----------
    record : UploadRecord
        Of stage `finished`, with the dataset's id.
    sent_bytes : int
        By this attempt.
    doubtful : tuple of DoubtfulChunk
        What must be compared with care.
    warnings : tuple of str
    """

    record: UploadRecord
    sent_bytes: int = 0
    doubtful: tuple[DoubtfulChunk, ...] = ()
    warnings: tuple[str, ...] = ()


def plan_record(connection: Connection, parcel: Parcel, chunk_bytes: int = 0) -> UploadRecord:
    """Return the record of a delivery that the server has not heard of yet."""
    greeting = connection.greeting
    return UploadRecord(
        stage="planned",
        kind=parcel.request.kind,
        upload_id=f"stackwatch-{uuid.uuid4()}",
        api_version=greeting.data_version,
        datastore_url=greeting.datastore.url,
        organization=greeting.account.organization,
        folder_id=parcel.folder_id,
        name=parcel.name,
        chunk_bytes=chunk_bytes,
        files_digest=parcel.local.digest,
        reserved_at_ms=server_ms(connection),
    )
