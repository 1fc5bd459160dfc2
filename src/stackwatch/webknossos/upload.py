"""Upload a dataset: reserve, send, finish, each step recorded before it is taken.

Whatever a kill interrupts, the record tells the next process what was begun: a reservation is made
again under the same id, chunks that are there are not sent again, and a finish that may be at work
is waited for. Only an upload that came to nothing is begun anew, under another id.
"""

from dataclasses import replace
from typing import Final

from stackwatch.errors import (
    DeliveryError,
    DeliveryRefusedError,
    DeliveryUnauthorizedError,
    DeliveryUnavailableError,
)
from stackwatch.failpoints import reach
from stackwatch.model.delivery import UploadRecord, UploadStage
from stackwatch.webknossos.chunks import Chunk
from stackwatch.webknossos.connection import Connection
from stackwatch.webknossos.dialects import Reservation
from stackwatch.webknossos.finishing import (
    ChunksMissingError,
    UnclearFinishError,
    find_reserved,
    find_upload,
    give_up,
    recover_finish,
    request_finish,
)
from stackwatch.webknossos.parcel import Parcel, Reporting, Shipped, plan_record
from stackwatch.webknossos.remote import link_of, look_up
from stackwatch.webknossos.sending import ChunkTooLargeError, Sender, UploadGoneError

_MOST_UPLOADS: Final = 4
_MOST_FINISHES: Final = 3
_SHRINKING: Final = 4
_TOO_LARGE: Final = 413
_MIB: Final = 1 << 20


def upload_parcel(connection: Connection, parcel: Parcel, reporting: Reporting) -> Shipped:
    """Bring a dataset to the server by sending its files.

    Parameters
    ----------
    connection : Connection
    parcel : Parcel
        With the record of an earlier attempt in its request, if there was one.
    reporting : Reporting

    Returns
    -------
    Shipped
        The server has the dataset; whether it is the same as here must be looked at.

    Raises
    ------
    DeliveryUnavailableError
        Later it goes on from the last record.
    DeliveryUnauthorizedError, DeliveryRefusedError
        A human is needed.
    CancelledError
        Stopped on request.

    Cost
    ----
    Memory for `parallel` pieces of a mebibyte, and for the names of the files.
    """
    return _Upload(connection, parcel, reporting).run()


class _Upload:
    def __init__(self, connection: Connection, parcel: Parcel, reporting: Reporting) -> None:
        self._connection = connection
        self._parcel = parcel
        self._reporting = reporting
        self._local = parcel.local
        self._sender = self._new_sender()
        self._chunk_bytes = parcel.request.server.chunk_mib * _MIB
        self._warnings: list[str] = []
        self._was_doubted = False
        self._last: UploadRecord | None = None  # what was recorded last, whatever failed since

    def run(self) -> Shipped:
        record = self._begin(self._parcel.request.record)
        for _ in range(_MOST_UPLOADS):
            try:
                return self._shipped(self._advance(record))
            except UploadGoneError:
                record = self._anew(self._last or record)
            except DeliveryUnauthorizedError:
                if not self._is_deleted(self._last or record):
                    raise
                record = self._anew(self._last or record)
            except ChunkTooLargeError as error:
                self._shrink(self._last or record, error)
                record = self._anew(self._last or record)
        raise DeliveryUnavailableError(
            f"{self._connection.greeting.datastore.url} forgot the upload of “{record.name}” "
            f"{_MOST_UPLOADS} times. It is tried again later; look into the server's log.",
            hint="Look into the log of the datastore.",
        )

    def _begin(self, record: UploadRecord | None) -> UploadRecord:
        """Return the record to go on from: the earlier one, if it is about these very files."""
        if record is None or record.kind != "upload":
            return self._plan()
        greeting = self._connection.greeting
        is_same = (
            record.files_digest == self._local.digest
            and record.datastore_url == greeting.datastore.url
            and record.organization == greeting.account.organization
            and (record.name, record.folder_id) == (self._parcel.name, self._parcel.folder_id)
        )
        return record if is_same else self._anew(record)

    def _anew(self, record: UploadRecord) -> UploadRecord:
        """Return the record of a new upload; what the old one left is removed if that may be."""
        if record.stage not in {"planned", "finished", "described"} and record.datastore_url == (
            self._connection.greeting.datastore.url
        ):
            known = record if record.remote_id else self._with_id(record)
            if give_up(self._connection, known) == "left":
                link = link_of(self._connection.greeting.url, known.remote_id)
                self._warnings.append(
                    f"{link} is left from an upload that came to nothing; delete it in WEBKNOSSOS."
                )
        return self._plan()

    def _with_id(self, record: UploadRecord) -> UploadRecord:
        # a name may be somebody else's upload too; only while ours lives it must be among them
        found = find_upload(self._connection, record) if self._sender.is_alive(record) else None
        if found is None or found.is_active:
            return record
        return replace(record, remote_id=found.id)

    def _is_deleted(self, record: UploadRecord) -> bool:
        """Tell whether a token is refused for the sole reason that the dataset is gone.

        Raises
        ------
        DeliveryUnauthorizedError
            The token is not taken at all.
        """
        return bool(record.remote_id) and look_up(self._connection, record.remote_id) is None

    def _plan(self) -> UploadRecord:
        self._sender = self._new_sender()
        return plan_record(self._connection, self._parcel, self._chunk_bytes)

    def _new_sender(self) -> Sender:
        parallel = self._parcel.request.server.parallel
        return Sender(self._connection, self._local, self._reporting, parallel)

    # ------------------------------------------------------------ the stages

    def _advance(self, record: UploadRecord) -> UploadRecord:
        """Bring an upload from where it stands to its end."""
        if record.stage in {"finished", "described"}:
            found = find_upload(self._connection, record)
            if found is None or not found.is_active:
                raise UploadGoneError
            return record
        if record.stage == "finishing":
            return self._finished(record, self._recover(record))
        is_resumed = record.stage == "sending"
        if record.stage == "planned":
            record = self._reserve(record)
        if record.stage == "reserved":
            record = replace(record, remote_id=find_reserved(self._connection, record))
            record = self._record(record, "sending")
            reach("delivery.id_recorded")
        return self._send_and_finish(record, is_resumed=is_resumed)

    def _reserve(self, record: UploadRecord) -> UploadRecord:
        record = self._record(record, "planned")
        reach("delivery.planned")
        wanted = Reservation(
            upload_id=record.upload_id,
            name=record.name,
            organization=record.organization,
            folder_id=record.folder_id,
            team_ids=self._parcel.team_ids,
            paths=[file.path for file in self._local.files],
            file_count=len(self._local.files),
            total_bytes=self._local.total_bytes,
        )
        if not self._ask_for_room(wanted, passes=frozenset({_TOO_LARGE})):
            # the names of very many files are more than some servers read; they need not be told
            self._ask_for_room(replace(wanted, paths=()))
        reach("delivery.reserved")
        return self._record(record, "reserved")

    def _ask_for_room(self, wanted: Reservation, passes: frozenset[int] = frozenset()) -> bool:
        dialect = self._connection.dialect
        answer = self._connection.ask_data(
            "POST",
            dialect.reserve_path,
            document=dialect.reserve_body(wanted),
            passes=passes,
            wanted="reserve the upload",
        )
        return answer.is_success

    def _send_and_finish(self, record: UploadRecord, *, is_resumed: bool) -> UploadRecord:
        if is_resumed:
            self._sender.send_all(record, tests=True)
        else:
            record, first = self._send_first(record)
            self._sender.send_all(record, tests=False, sent=first)
        for _ in range(_MOST_FINISHES):
            reach("delivery.chunks_sent")
            try:
                return self._finish(record)
            except ChunksMissingError:
                record = self._record(record, "sending")
                self._sender.send_all(record, tests=True)
        raise UploadGoneError  # it says that it has all chunks, and that it lacks some

    def _send_first(self, record: UploadRecord) -> tuple[UploadRecord, Chunk]:
        while True:
            try:
                return record, self._sender.send_first(record)
            except ChunkTooLargeError as error:
                self._shrink(record, error)
                record = self._record(replace(record, chunk_bytes=self._chunk_bytes), "sending")

    def _shrink(self, record: UploadRecord, error: ChunkTooLargeError) -> None:
        """Take smaller chunks from now on.

        Raises
        ------
        DeliveryRefusedError
            They are as small as can be.
        """
        if record.chunk_bytes <= _MIB:
            refusal: DeliveryError = error.args[0]
            raise refusal from error
        self._chunk_bytes = max(_MIB, record.chunk_bytes // _SHRINKING)
        self._warnings.append(
            f"The server takes no chunks of {record.chunk_bytes // _MIB} MiB; set `chunk_mib = "
            f"{self._chunk_bytes // _MIB}`, or raise the limit of its proxy."
        )

    def _finish(self, record: UploadRecord) -> UploadRecord:
        record = self._record(record, "finishing")
        reach("delivery.finishing")
        try:
            remote_id = request_finish(self._connection, record, self._reporting)
        except (DeliveryUnavailableError, DeliveryUnauthorizedError):
            self._record(record, "sending")  # it has not begun, and that must be known
            raise
        except UnclearFinishError:
            remote_id = self._recover(record)
        except DeliveryRefusedError as error:
            # a chunk that was counted and never written may be why: once, all is sent again
            if self._sender.doubtful and not self._was_doubted:
                self._was_doubted = True
                self._warnings.append(f"{error.message} All was sent once more.")
                raise UploadGoneError from error
            raise
        return self._finished(record, remote_id)

    def _recover(self, record: UploadRecord) -> str:
        return recover_finish(self._connection, record, self._local, self._reporting)

    def _finished(self, record: UploadRecord, remote_id: str) -> UploadRecord:
        record = self._record(replace(record, remote_id=remote_id), "finished")
        reach("delivery.finished")
        return record

    def _record(self, record: UploadRecord, stage: UploadStage) -> UploadRecord:
        record = replace(record, stage=stage)
        self._reporting.record(record)
        self._last = record
        return record

    def _shipped(self, record: UploadRecord) -> Shipped:
        return Shipped(
            record,
            self._sender.meter.sent_bytes,
            tuple(self._sender.doubtful),
            tuple(self._warnings),
        )
