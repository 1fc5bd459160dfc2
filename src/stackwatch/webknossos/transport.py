"""Requests over HTTP: one try each, with the token in its header and nowhere else.

Nothing is followed to another place: a redirect to another host is an error, so that no other host
ever sees the token. `httpx` is imported when the first request is made.
"""

import contextlib
import ipaddress
import json
import socket
import threading
import urllib.request
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urljoin, urlsplit

from stackwatch import __version__
from stackwatch.errors import DeliveryRefusedError, DeliveryUnavailableError, StackwatchError
from stackwatch.webknossos.certificates import (
    is_certificate_trouble,
    trusted,
    trusting_nobody,
)
from stackwatch.webknossos.complaints import Complaint, parse_complaint
from stackwatch.webknossos.token import Token

if TYPE_CHECKING:
    import httpx

CONNECT_S: Final = 15.0
ANSWER_S: Final = 120.0
WRITE_S: Final = 120.0
"""How long a server may take none of the bytes that are sent to it."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 3
_LARGEST_ANSWER: Final = 64 << 20
"""No server has more to say; what goes on is not kept."""
_KEEP_ALIVE: Final = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 10),
]
"""Keeps a connection through firewalls while a server works for an hour without a word."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes
    ----------
    status : int
    body : bytes
        Often empty, even of a success.
    headers : mapping
        Names in lower case.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_success(self) -> bool:
        """Tell whether the status is 200 to 299."""
        return 200 <= self.status < 300

    @property
    def document(self) -> Any:
        """Return the JSON of the body; None where there is none."""
        try:
            return json.loads(self.body) if self.body else None
        except (ValueError, RecursionError):
            return None

    @property
    def complaint(self) -> Complaint:
        """Return what the server says, of an answer that is no success."""
        return parse_complaint(self.status, self.body)

    @property
    def server_time(self) -> float | None:
        """Return the server's clock, Unix seconds without a fraction; None if it tells none."""
        try:
            return parsedate_to_datetime(self.headers.get("date", "")).timestamp()
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    method, url : str
    query : mapping of str to str
    document : JSON value or None
        Sent as the body.
    content : iterable of bytes or None
        Sent as the body, with `headers` that tell length and type.
    headers : mapping of str to str
    answer_s : float
        How long the server may think.
    on_connected : callable or None
        The request gets a connection of its own (one that lay idle may be dead), and this is told
        its socket: shutting that down ends the waiting.
    is_anonymous : bool
        Whether it is sent without the token.
    """

    method: str
    url: str
    query: Mapping[str, str] = field(default_factory=dict)
    document: Any = None
    content: Iterable[bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    answer_s: float = ANSWER_S
    on_connected: Callable[[socket.socket], None] | None = None
    is_anonymous: bool = False


class Transport:
    """Connections to the hosts of one WEBKNOSSOS; may be used by several threads.

    Parameters
    ----------
    token : Token or None
        None for what needs none.
    ca_file : str
        Certificates to trust beside the system's; empty: none.
    connections : int
        How many there may be at the same time.
    """

    def __init__(self, token: Token | None, ca_file: str = "", connections: int = 4) -> None:
        self._token = token
        self._ca_file = ca_file
        self._connections = connections
        self._clients: dict[tuple[str, str | None], httpx.Client] = {}
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def hang_up(self) -> None:
        """Break every connection off: what waits for an answer hears at once that none comes."""
        for found in list(self._sockets):
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)

    def ask(self, request: Request) -> Answer:
        """Send a request once, and return what comes back, whatever the status.

        A redirect within the same host is followed where nothing is changed by the request.

        Raises
        ------
        DeliveryUnavailableError
            No answer came. `values["was_sent"]` tells whether the server may have the request:
            what must not happen twice may be repeated only where it is false.
        DeliveryRefusedError
            It redirects to another place, or its certificate is not trusted; a human is needed.
        """
        answer = self._ask_once(request)
        for _ in range(_MOST_REDIRECTS):
            place = _place_of(request, answer)
            is_ours = bool(place) and _origin(place) == _origin(request.url)
            is_elsewhere = request.method != "GET" or not is_ours
            if answer.status not in _REDIRECTS or is_elsewhere:
                break
            request = replace(request, url=place, query={})
            answer = self._ask_once(request)
        if answer.status in _REDIRECTS:
            raise self._redirected(request, answer)
        return answer

    def _ask_once(self, request: Request) -> Answer:
        import httpx

        try:
            if request.on_connected is None:
                answer = self._send(self._client(request.url), request)
            else:
                with self._new_client(request.url) as client:
                    answer = self._send(client, request)
        except StackwatchError:
            raise  # the body's own: reading a file failed, or the delivery was stopped
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise self._unanswered(request, error) from error
        except (httpx.InvalidURL, httpx.HTTPError, ValueError) as error:
            raise DeliveryRefusedError(
                f"“{request.url}” cannot be asked ({type(error).__name__}). Check the address.",
                hint="Check `url` under `[webknossos]` (--url).",
                server=request.url,
            ) from error
        if self._token is not None and not answer.is_success:
            masked = self._token.mask(answer.body.decode("utf-8", "replace"))
            answer = replace(answer, body=masked.encode())
        return answer

    def _send(self, client: "httpx.Client", request: Request) -> Answer:
        import httpx

        with client.stream(
            request.method,
            request.url,
            params=dict(request.query) or None,
            json=request.document,
            content=request.content,
            headers={**self._identity(request), **request.headers},
            timeout=httpx.Timeout(CONNECT_S, read=request.answer_s, write=WRITE_S),
            extensions={"trace": _Trace(request.on_connected or self._sockets.add)},
        ) as response:
            body = bytearray()
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _LARGEST_ANSWER:
                    raise _endless(request)
            return Answer(response.status_code, bytes(body), dict(response.headers))

    def _identity(self, request: Request) -> dict[str, str]:
        return {} if self._token is None or request.is_anonymous else self._token.header()

    def _client(self, url: str) -> "httpx.Client":
        scheme = urlsplit(url).scheme
        key = (scheme, _proxy_for(url))
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._new_client(url)
            return self._clients[key]

    def _new_client(self, url: str) -> "httpx.Client":
        import httpx

        is_secure = urlsplit(url).scheme == "https"
        return httpx.Client(
            transport=httpx.HTTPTransport(
                verify=trusted(self._ca_file) if is_secure else trusting_nobody(),
                proxy=_proxy_for(url),
                socket_options=_KEEP_ALIVE,
                limits=httpx.Limits(
                    max_connections=self._connections,
                    max_keepalive_connections=self._connections,
                ),
            ),
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": f"stackwatch/{__version__}"},
        )

    def _unanswered(self, request: Request, error: "httpx.RequestError") -> StackwatchError:
        import httpx

        server = server_of(request.url)
        if is_certificate_trouble(error):
            return DeliveryRefusedError(
                f"The certificate of {server} is not trusted ({_reason(error)}). Nothing was sent. "
                "Name the certificates of its authority with `ca_file` (--ca-file).",
                hint="Name the certificates of the server's authority with `ca_file` (--ca-file).",
                server=server,
            )
        unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
        return DeliveryUnavailableError(
            f"{server} does not answer ({_reason(error)}). It is tried again; nothing is lost.",
            hint=f"Look whether {server} is up and can be reached from here.",
            server=server,
            was_sent=not isinstance(error, unsent),
        )

    def _redirected(self, request: Request, answer: Answer) -> StackwatchError:
        place = _place_of(request, answer)
        shown = self._token.mask(place) if self._token else place
        target = server_of(shown) if shown else "an address that cannot be read"
        return DeliveryRefusedError(
            f"{server_of(request.url)} sends us on to {target} (HTTP {answer.status}). The token "
            f"was not sent there. If that is the server, set `url` to {target}.",
            hint=f"If that is the right server, set `url` to {target}.",
            server=server_of(request.url),
            location=target,
        )


def server_of(url: str) -> str:
    """Return scheme, host and port: what may be shown of an address.

    Examples
    --------
    >>> server_of("https://u:secret@wk.example.org:9000/api/user?token=x")
    'https://wk.example.org:9000'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}"


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names; this machine is reached without one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


class _Trace:
    """Hears what happens beneath a request, and tells which socket it goes through."""

    def __init__(self, on_connected: Callable[[socket.socket], None]) -> None:
        self._on_connected = on_connected

    def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            found = info["return_value"].get_extra_info("socket")
            if found is not None:
                self._on_connected(found)


def _place_of(request: Request, answer: Answer) -> str:
    """Return where a redirect leads to; empty if that is no address."""
    try:
        place = urljoin(request.url, answer.headers.get("location", ""))
        _origin(place)
    except ValueError:
        return ""
    return place


def _endless(request: Request) -> DeliveryUnavailableError:
    server = server_of(request.url)
    return DeliveryUnavailableError(
        f"{server} answers with more than {_LARGEST_ANSWER >> 20} MiB, which no WEBKNOSSOS does. "
        "It is tried again.",
        hint=f"Look what stands at {server}, or in front of it.",
        server=server,
        was_sent=True,
    )


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port


def _reason(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
