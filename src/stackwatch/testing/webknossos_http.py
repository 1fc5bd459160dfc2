"""The plumbing of the stand-in for WEBKNOSSOS: real HTTP on loopback, and the shapes of its errors.

Source: the server's answers as they are on the wire: JSON messages with a chain of causes, Play's
form of what a JSON body lacks, plain text for 401 and 403, a proxy's HTML for 413 and 5xx.
"""

import contextlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

LOOPBACK: Final = "127.0.0.1"
PIECE_BYTES: Final = 1 << 20
IDLE_S: Final = 60.0
"""How long a connection may lie still before it is closed."""

_FIELD = re.compile(rb'\bname="([^"]*)"')
_FILE_NAME = re.compile(rb'\bfilename="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Response:
    """What is sent back."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=UTF-8"
    headers: tuple[tuple[str, str], ...] = ()


class RefusedError(Exception):
    """A request is refused with this response."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__(f"{response.status} {response.body[:200]!r}")


class ConnectionCutError(Exception):
    """The connection ends here without a word, as when the server dies."""


@dataclass(slots=True)
class Request:
    """One request, as the routes see it.

    Attributes
    ----------
    side : str
        Which port it came to: `api` or `datastore`.
    path : str
        As sent, without the query.
    headers : mapping
        Names in lower case.
    parameters : dict
        What the path's pattern holds, decoded.
    version : int
        Of the API; unversioned routes are the newest.
    """

    side: str
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytearray = field(default_factory=bytearray)
    parameters: dict[str, str] = field(default_factory=dict)
    version: int = 0
    is_unwritten: bool = False
    parsed_form: "tuple[dict[str, str], memoryview | None] | None" = None

    @property
    def token(self) -> str:
        """Who asks: on the datastore the query wins over the header."""
        header = self.headers.get("x-auth-token", "")
        return self.query.get("token", header) if self.side == "datastore" else header

    def json(self) -> Any:
        """Return the JSON body, or refuse what is none."""
        if "json" not in self.headers.get("content-type", ""):
            raise RefusedError(html_page(415, "Expecting text/json or application/json body"))
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise RefusedError(html_page(400, "Invalid Json")) from error

    def form(self) -> tuple[dict[str, str], "memoryview | None"]:
        """Return the text fields of a multipart body, and its file if that has a name and bytes."""
        if self.parsed_form is None:
            content_type = self.headers.get("content-type", "")
            found = re.search(r'boundary="?([^";]+)"?', content_type, re.IGNORECASE)
            if not found:
                raise RefusedError(html_page(400, "Missing boundary header"))
            self.parsed_form = parse_form(self.body, found[1].encode())
        return self.parsed_form


def parse_form(body: bytearray, boundary: bytes) -> tuple[dict[str, str], "memoryview | None"]:
    """Return fields and file of `multipart/form-data`; the file is a view of the body.

    An empty file is dropped, as Play does.
    """
    fields: dict[str, str] = {}
    file: memoryview | None = None
    delimiter = b"\r\n--" + boundary
    at = body.find(delimiter[2:]) + len(delimiter) - 2
    while body[at : at + 2] == b"\r\n":
        head_end = body.index(b"\r\n\r\n", at)
        head = bytes(body[at:head_end])
        end = body.index(delimiter, head_end + 2)
        name = _FIELD.search(head)
        file_name = _FILE_NAME.search(head)
        if file_name and file_name[1]:
            if name and name[1] == b"file" and end > head_end + 4:
                file = memoryview(body)[head_end + 4 : end]
        elif name:
            fields[name[1].decode()] = bytes(body[head_end + 4 : end]).decode()
        at = end + len(delimiter)
    return fields, file


def as_json(document: Any, status: int = 200) -> Response:
    """Return a JSON response."""
    text = json.dumps(document, ensure_ascii=False)
    return Response(status, text.encode(), "application/json")


def messages(error: str, *causes: str, status: int = 400) -> Response:
    """Return an application error: its outermost text, and the chain if there are causes."""
    told: list[dict[str, str]] = [{"error": error}]
    if causes:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        told.append({"chain": f"[Server Time {now}] " + " <~ ".join((error, *causes))})
    return as_json({"messages": told}, status)


def message_list(errors: list[str]) -> Response:
    """Return several errors of one validation."""
    return as_json({"messages": [{"error": error} for error in errors]}, 400)


def html_page(status: int, text: str = "") -> Response:
    """Return an error of a proxy, or of Play's own pages."""
    title = text or f"{status} {HTTPStatus(status).phrase}"
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1>"
    return Response(status, f"{page}</center>\r\n</body>\r\n</html>\r\n".encode(), "text/html")


def refusal(error: str, *causes: str, status: int = 400) -> RefusedError:
    """Return an application error to raise."""
    return RefusedError(messages(error, *causes, status=status))


def not_logged_in() -> RefusedError:
    """Return the refusal of a route that needs a login."""
    return RefusedError(
        Response(401, b"You are not authorized to view this resource. Please log in.")
    )


def forbidden() -> RefusedError:
    """Return the refusal of WEBKNOSSOS itself."""
    return RefusedError(Response(403, b"You are not authorized to view or edit this resource."))


class Wire:
    """One request's connection, as far as a fault may spoil it."""

    def __init__(self, handler: "_Handler") -> None:
        self._handler = handler
        length = handler.headers.get("content-length")
        self.body_bytes = int(length) if length else 0
        self._is_chunked = handler.headers.get("transfer-encoding", "").lower() == "chunked"

    def read_body(self) -> bytearray:
        """Return the request's body."""
        if self._is_chunked:
            return self._read_chunked()
        body = bytearray(self.body_bytes)
        if self._handler.rfile.readinto(body) != self.body_bytes:
            raise ConnectionCutError
        return body

    def discard_body(self, size: int | None = None) -> None:
        """Read the body, or its first bytes, and forget it."""
        left = self.body_bytes if size is None else size
        while left > 0:
            piece = self._handler.rfile.read(min(left, PIECE_BYTES))
            if not piece:
                raise ConnectionCutError
            left -= len(piece)

    def _read_chunked(self) -> bytearray:
        body = bytearray()
        while size := int(self._handler.rfile.readline().split(b";")[0] or b"0", 16):
            body += self._handler.rfile.read(size)
            self._handler.rfile.readline()
        self._handler.rfile.readline()
        return body


Serve = Callable[[Request, Wire], Response]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def __init__(self, port: int, side: str, serve: Serve) -> None:
        self.side = side
        self.serve = serve
        self.lock = threading.Lock()
        self.connections: set[socket.socket] = set()
        self.is_closing = False
        super().__init__((LOOPBACK, port), _Handler)

    def _forget(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that broke: tests break them on purpose."""

    handle_error = _forget


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = PIECE_BYTES
    timeout = IDLE_S
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections.add(self.connection)
            is_closing = self.server.is_closing
        if is_closing:
            raise ConnectionCutError

    def finish(self) -> None:
        with self.server.lock:
            self.server.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_parts: Any) -> None:
        """Say nothing: the requests are kept in memory."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            side=self.server.side,
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
        )
        wire = Wire(self)
        try:
            self._send(self.server.serve(request, wire))
        except ConnectionCutError:
            reset(self.connection)
            self.close_connection = True

    def _send(self, response: Response) -> None:
        head = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
        head += [f"{name}: {value}" for name, value in response.headers]
        if response.body:
            head.append(f"Content-Type: {response.content_type}")
        if response.status != HTTPStatus.NO_CONTENT:
            head.append(f"Content-Length: {len(response.body)}")
        if ("Connection", "close") in response.headers:
            self.close_connection = True
        body = b"" if self.command == "HEAD" else response.body
        self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)


for _method in ("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD"):
    setattr(_Handler, f"do_{_method}", _Handler._serve)


class Listener:
    """A port on loopback with a thread per connection.

    Parameters
    ----------
    side : str
        Told to `serve` with every request.
    serve : callable
        Answers a request; called in many threads at once.
    port : int
        0: a free one.
    tls : ssl.SSLContext or None
    """

    def __init__(
        self, side: str, serve: Serve, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._server = _Server(port, side, serve)
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://{LOOPBACK}:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name=f"{side} port"
        )
        self._thread.start()

    def close(self) -> None:
        """Break every connection, and return when no thread is left."""
        self._server.shutdown()
        self._thread.join()
        with self._server.lock:
            self._server.is_closing = True
            connections = list(self._server.connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()


def reset(connection: socket.socket) -> None:
    """Break a connection as a dying server does: the other side sees a reset."""
    with contextlib.suppress(OSError):
        linger = struct.pack("ii", 1, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
