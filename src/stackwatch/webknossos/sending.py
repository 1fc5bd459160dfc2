"""Send the chunks of an upload: side by side, each until it has arrived, those only that miss."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from stackwatch.errors import DeliveryUnauthorizedError, DeliveryUnavailableError
from stackwatch.failpoints import reach
from stackwatch.model.delivery import UploadRecord
from stackwatch.webknossos.chunks import Chunk, ChunkForm, iter_chunks, run_threads
from stackwatch.webknossos.connection import Connection
from stackwatch.webknossos.local import LocalDataset
from stackwatch.webknossos.meter import Meter
from stackwatch.webknossos.parcel import DoubtfulChunk, Reporting
from stackwatch.webknossos.transport import Answer, Request, server_of
from stackwatch.webknossos.verdicts import UPLOAD_UNKNOWN, verdict_of

CHUNK_ANSWER_S: Final = 600.0
"""A chunk that hangs for longer is sent again."""
_REPORT_S: Final = 0.5
_MOST_REFUSALS: Final = 3
"""So often a chunk that the server could not store is sent: its disk may have hiccuped."""
_PRESENT: Final = 200
_NOT_STORED: Final = 400
_TOO_LARGE: Final = 413


class UploadGoneError(Exception):
    """The server does not know the upload any more: it expired, or came to nothing."""


class ChunkTooLargeError(Exception):
    """Something between here and the server takes no request of this size.

    Its argument is the error for a human, should no size pass.
    """


class Sender:
    """Sends the chunks of one upload.

    Parameters
    ----------
    connection : Connection
    local : LocalDataset
    reporting : Reporting
    parallel : int
        How many chunks are under way at the same time.

    Attributes
    ----------
    meter : Meter
    doubtful : list of DoubtfulChunk
        What may be counted by the server and not be written.
    """

    def __init__(
        self, connection: Connection, local: LocalDataset, reporting: Reporting, parallel: int
    ) -> None:
        self.meter = Meter(local.total_bytes, connection.waiting.clock)
        self.doubtful: list[DoubtfulChunk] = []
        self._connection = connection
        self._local = local
        self._reporting = reporting
        self._parallel = parallel
        self._reported_at = float("-inf")

    def is_alive(self, record: UploadRecord) -> bool:
        """Tell whether the server knows the upload."""
        first = next(iter_chunks(self._local.files, record.chunk_bytes))
        return is_present(self._connection, record, first) is not None

    def send_first(self, record: UploadRecord) -> Chunk:
        """Send one chunk alone, of the largest file: it tells whether chunks of this size pass.

        Raises
        ------
        ChunkTooLargeError
            They do not, and nothing has arrived: the size can still be changed.
        UploadGoneError, DeliveryError, CancelledError
        """
        largest = max(self._local.files, key=lambda file: file.size)
        chunk = next(iter_chunks([largest], record.chunk_bytes))
        stop = threading.Event()
        one = self._round(record, stop)
        self._run(lambda: one.bring(chunk), 1, stop)
        return chunk

    def send_all(self, record: UploadRecord, *, tests: bool, sent: Chunk | None = None) -> None:
        """Send every chunk, the files in order.

        Parameters
        ----------
        record : UploadRecord
        tests : bool
            Whether the server is asked for each chunk first, and only those that miss are sent.
        sent : Chunk or None
            Is there already.

        Raises
        ------
        UploadGoneError, ChunkTooLargeError, DeliveryError, CancelledError
        """
        if tests:
            self.meter.begin_again()
        stop = threading.Event()
        sending = self._round(record, stop)
        chunks = _Shared(chunk for chunk in self._chunks(record) if chunk != sent)

        def work() -> None:
            while not stop.is_set():
                chunk = chunks.next()
                if chunk is None:
                    return
                sending.bring(chunk, tests=tests)

        self._run(work, self._parallel, stop)
        self._reporting.progress(self.meter.progress("sending"))

    def _chunks(self, record: UploadRecord) -> Iterator[Chunk]:
        return iter_chunks(self._local.files, record.chunk_bytes)

    def _round(self, record: UploadRecord, stop: threading.Event) -> "_Round":
        waiting = self._connection.waiting.stopped_by(stop)
        connection = self._connection.with_waiting(waiting)
        return _Round(connection, self._local, record, self.meter, self.doubtful)

    def _run(self, work: Callable[[], None], count: int, stop: threading.Event) -> None:
        # a server that hangs would hold up those that are to end for as long as a chunk may take
        run_threads(work, count, stop, self._watch, self._connection.transport.hang_up)

    def _watch(self) -> None:
        waiting = self._connection.waiting
        waiting.check()
        now = waiting.clock.monotonic()
        if now - self._reported_at >= _REPORT_S:
            self._reported_at = now
            self._reporting.progress(self.meter.progress("sending"))


def is_present(connection: Connection, record: UploadRecord, chunk: Chunk) -> bool | None:
    """Tell whether the server has a chunk; None if it does not know the whole upload."""
    query = {
        "resumableChunkNumber": str(chunk.number),
        "resumableIdentifier": f"{record.upload_id}/{chunk.file.path}",
    }
    wanted = "tell which chunks it has"
    path = connection.dialect.chunks_path
    passes = frozenset({400})
    answer = connection.ask_data("GET", path, query=query, passes=passes, wanted=wanted)
    if answer.is_success:
        return answer.status == _PRESENT
    if answer.complaint.says(*UPLOAD_UNKNOWN):
        return None
    raise verdict_of(answer.complaint, wanted, connection.greeting.datastore.url)


class _Round:
    """One round of sending, used by several threads; its waits end when one of them fails."""

    def __init__(
        self,
        connection: Connection,
        local: LocalDataset,
        record: UploadRecord,
        meter: Meter,
        doubtful: list[DoubtfulChunk],
    ) -> None:
        self._connection = connection
        self._local = local
        self._record = record
        self._meter = meter
        self._doubtful = doubtful

    def bring(self, chunk: Chunk, *, tests: bool = False) -> None:
        """Send a chunk until it is there."""
        if tests:
            is_there = is_present(self._connection, self._record, chunk)
            if is_there is None:
                raise UploadGoneError
            if is_there:
                self._meter.add_known(chunk.size)
                self._doubt(chunk)
                return
        tries = _Tries()
        self._connection.waiting.repeat(lambda: self._try(chunk, tries))
        reach("delivery.chunk_sent")
        if tries.unclear:
            self._doubt(chunk)

    def _try(self, chunk: Chunk, tries: "_Tries") -> None:
        url = self._connection.data_url(self._connection.dialect.chunks_path)
        went_out = 0

        def count(size: int) -> None:
            nonlocal went_out
            went_out += size
            self._meter.add_sent(size)
            self._connection.waiting.check()

        try:
            form = ChunkForm(self._local.root, chunk, self._fields(chunk), count)
            request = Request(
                "POST", url, content=form, headers=form.headers, answer_s=CHUNK_ANSWER_S
            )
            answer = self._connection.ask(request)
            if not answer.is_success:
                self._judge(answer, url, tries)
        except BaseException as error:
            self._meter.add_sent(-went_out)
            if isinstance(error, DeliveryUnavailableError):
                tries.unclear += 1
            raise

    def _judge(self, answer: Answer, url: str, tries: "_Tries") -> None:
        """Raise for a chunk that did not arrive; what is raised tells whether to try again."""
        complaint = answer.complaint
        if complaint.says(*UPLOAD_UNKNOWN):
            raise UploadGoneError
        if answer.status == _TOO_LARGE:
            raise ChunkTooLargeError(verdict_of(complaint, "take a chunk", server_of(url)))
        error = verdict_of(complaint, "take a chunk", server_of(url))
        if isinstance(error, DeliveryUnauthorizedError):
            self._look_at_token(error, tries)
        if answer.status == _NOT_STORED and complaint.says("Error receiving chunk"):
            tries.refusals += 1
            if tries.refusals < _MOST_REFUSALS:
                raise DeliveryUnavailableError(error.message, hint=error.hint, **error.values)
        raise error

    def _look_at_token(self, error: DeliveryUnauthorizedError, tries: "_Tries") -> None:
        """Raise for good, unless the token is valid: then the datastore may go by old knowledge."""
        self._connection.ask_api("GET", "user", wanted="take the token")
        if tries.waited_for_access:
            raise error
        tries.waited_for_access = True
        self._connection.waiting.pause(self._connection.waiting.patience.access_cache_s)
        raise DeliveryUnavailableError(error.message, hint=error.hint, **error.values)

    def _fields(self, chunk: Chunk) -> dict[str, str]:
        record, file = self._record, chunk.file
        return {
            "resumableChunkNumber": str(chunk.number),
            "resumableChunkSize": str(record.chunk_bytes),
            "resumableCurrentChunkSize": str(chunk.size),
            "resumableTotalSize": str(file.size),
            "resumableType": "",
            "resumableIdentifier": f"{record.upload_id}/{file.path}",
            "resumableFilename": Path(file.path).name,
            "resumableRelativePath": file.path,
            "resumableTotalChunks": str(chunk.count),
            "totalFileCount": str(len(self._local.files)),
            **self._connection.dialect.chunk_fields(record.organization, record.name),
        }

    def _doubt(self, chunk: Chunk) -> None:
        part = DoubtfulChunk(chunk.file.path, chunk.start, chunk.start + chunk.size)
        self._doubtful.append(part)


class _Tries:
    """What became of one chunk so far."""

    def __init__(self) -> None:
        self.unclear = 0
        self.refusals = 0
        self.waited_for_access = False


class _Shared:
    """Chunks that are handed out to several threads."""

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self._lock = threading.Lock()

    def next(self) -> Chunk | None:
        """Return the next chunk; None if there is no more."""
        with self._lock:
            return next(self._chunks, None)
