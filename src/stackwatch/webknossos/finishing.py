"""Finish an upload: asked for once, and where the answer gets lost, find out what became of it.

Finishing is not idempotent: a second request while the first is at work makes the server delete the
dataset. It is sent again only where the server cannot have begun.
"""

import contextlib
import socket
import threading
from dataclasses import replace
from typing import Final, Literal

from stackwatch.errors import DeliveryUnauthorizedError, DeliveryUnavailableError
from stackwatch.failpoints import reach
from stackwatch.model.delivery import DeliveryProgress, UploadRecord
from stackwatch.webknossos.chunks import run_threads
from stackwatch.webknossos.connection import Connection
from stackwatch.webknossos.local import LocalDataset
from stackwatch.webknossos.parcel import Reporting
from stackwatch.webknossos.remote import RemoteDataset, list_named, look_up
from stackwatch.webknossos.sending import Sender, UploadGoneError
from stackwatch.webknossos.transport import Answer, Request, server_of
from stackwatch.webknossos.verdicts import CHUNKS_MISSING, UPLOAD_UNKNOWN, verdict_of

CLOCK_SLACK_MS: Final = 5_000
"""So far may two clocks of one server be apart."""
_TOO_MANY: Final = 429
_FIRST_POLL_S: Final = 1.0
_SHORTEST_S: Final = 1e-3
_UNREPORTED: Final = "Could not report upload completion"


class ChunksMissingError(Exception):
    """The server says that it lacks chunks: the upload lives, and may be finished again."""


class UnclearFinishError(Exception):
    """Nobody knows whether the server finished, is still at it, or never began."""


def request_finish(connection: Connection, record: UploadRecord, reporting: Reporting) -> str:
    """Ask the server to finish, and return the dataset's id.

    Raises
    ------
    ChunksMissingError, UnclearFinishError
    DeliveryUnavailableError, DeliveryUnauthorizedError
        It has not begun: it may be asked again.
    DeliveryRefusedError
        It failed, and the upload is gone.
    CancelledError
        We do not wait any more; the server works on.
    """
    path, query, document = connection.dialect.finish(record.upload_id)
    request = Request("POST", connection.data_url(path), query, document)
    timeout_s = connection.waiting.patience.finish_timeout_s

    def attempt() -> Answer:
        try:
            answer = _ask_alone(connection, replace(request, answer_s=timeout_s), reporting)
        except DeliveryUnavailableError as error:
            if error.values.get("was_sent"):
                raise UnclearFinishError(error.message) from error
            raise
        if not answer.is_success:
            _judge(answer, server_of(request.url))
        return answer

    remote_id = connection.dialect.finished_id(connection.waiting.repeat(attempt).document)
    if not remote_id:
        raise UnclearFinishError("the answer names no dataset")  # a proxy's own, or cut off
    return remote_id


def recover_finish(
    connection: Connection,
    record: UploadRecord,
    local: LocalDataset,
    reporting: Reporting,
) -> str:
    """Find out what became of a finish, and return the dataset's id.

    Raises
    ------
    UploadGoneError
        It came to nothing, or to nothing within the time that it may take.
    DeliveryError, CancelledError
    """
    waiting = connection.waiting
    sender = Sender(connection, local, reporting, parallel=1)
    began = waiting.clock.monotonic()
    limit_s = waiting.patience.settled_after_s(local.total_bytes)
    pause_s = _FIRST_POLL_S
    while True:
        found = find_upload(connection, record)
        if found is not None and found.is_active:
            return found.id
        if found is None and not sender.is_alive(record):
            raise UploadGoneError
        left_s = limit_s - (waiting.clock.monotonic() - began)
        if left_s < _SHORTEST_S:
            raise UploadGoneError
        total = local.total_bytes
        reporting.progress(DeliveryProgress("finishing", total, total))
        waiting.pause(min(pause_s, left_s))
        pause_s = min(2 * pause_s, waiting.patience.poll_s)


def find_upload(connection: Connection, record: UploadRecord) -> RemoteDataset | None:
    """Return the dataset that an upload is to become: by its id, else by name and time."""
    if record.remote_id:
        return look_up(connection, record.remote_id)
    found = _candidates(connection, record)
    shown = look_up(connection, found[0].id) if len(found) == 1 else None
    return shown if shown is not None and not shown.run_id else None


def find_reserved(connection: Connection, record: UploadRecord) -> str:
    """Return the id of the dataset that was just reserved; empty if that is not clear."""
    found = [dataset for dataset in _candidates(connection, record) if not dataset.is_active]
    return found[0].id if len(found) == 1 else ""


def _candidates(connection: Connection, record: UploadRecord) -> list[RemoteDataset]:
    earliest = record.reserved_at_ms - CLOCK_SLACK_MS
    named = list_named(connection, record.name, is_own=True)
    return [dataset for dataset in named if dataset.created_ms >= earliest]


def give_up(connection: Connection, record: UploadRecord) -> Literal["removed", "left", "none"]:
    """Remove what an upload left on the server, as far as this account may.

    Returns
    -------
    str
        `left`: it stays in the list, until somebody deletes it.
    """
    path, query, document = connection.dialect.cancel(record.upload_id)
    request = Request("POST", connection.data_url(path), query, document)
    with contextlib.suppress(DeliveryUnavailableError):
        connection.ask(request)  # for administrators only, but it frees the chunks too
    found = look_up(connection, record.remote_id) if record.remote_id else None
    if found is None:
        return "none"
    if found.is_active:
        return "left"  # it was finished after all: people may look at it
    answer = connection.ask(Request("DELETE", connection.api_url(f"datasets/{found.id}")))
    return "removed" if answer.is_success else "left"


def _judge(answer: Answer, server: str) -> None:
    """Raise for a finish that did not succeed."""
    complaint = answer.complaint
    if complaint.says(*CHUNKS_MISSING):
        raise ChunksMissingError(complaint.text)
    if complaint.says(*UPLOAD_UNKNOWN, _UNREPORTED):
        raise UnclearFinishError(complaint.text)
    error = verdict_of(complaint, "finish the upload", server)
    if isinstance(error, DeliveryUnauthorizedError) or answer.status == _TOO_MANY:
        raise error  # turned away at the door
    if isinstance(error, DeliveryUnavailableError):
        raise UnclearFinishError(complaint.text)
    raise error


def _ask_alone(connection: Connection, request: Request, reporting: Reporting) -> Answer:
    """Send a request that may take hours; a delivery that is stopped does not wait for it."""
    sockets: list[socket.socket] = []
    answers: list[Answer] = []

    def work() -> None:
        answers.append(connection.ask(replace(request, on_connected=connected)))
        reach("delivery.finish_answered")

    def connected(found: socket.socket) -> None:
        sockets.append(found)
        hang_up_if_stopped()  # nobody looks any more where it was stopped meanwhile

    def hang_up_if_stopped() -> None:
        if connection.waiting.cancelled.is_set():
            for found in sockets:
                with contextlib.suppress(OSError):
                    found.shutdown(socket.SHUT_RDWR)

    def watch() -> None:
        hang_up_if_stopped()
        connection.waiting.check()

    reporting.progress(DeliveryProgress("finishing"))
    run_threads(work, 1, threading.Event(), watch)
    return answers[0]
