"""Around every request: is it meant for us, does it stay within bounds, which headers go out.

A name that somebody else's site points at this machine (DNS rebinding) is refused by the Host
header; what the page may load is only what this service serves.
"""

import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect

from stackwatch.logs import Event, logger
from stackwatch.web.files import CutShort
from stackwatch.web.live import PageOptions

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([\w.-]+))(?::\d{1,5})?", re.ASCII)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ANYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not bound

_PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_VIEWER_POLICY: Final = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self' 'wasm-unsafe-eval'; "
    "worker-src 'self' blob:; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
"""The viewer styles its own elements; it may be shown in our frame."""

_WORKERS_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval'; worker-src 'self'; "
    "connect-src 'self'"
)
"""Decoders of the viewer are compiled while they run: in its workers, which have no page."""

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Guard:
    """The outermost application.

    Parameters
    ----------
    app : callable
        What answers.
    read_options : callable
        Returns the options in force.
    """

    def __init__(self, app: App, read_options: Callable[[], PageOptions]) -> None:
        self._app = app
        self._read_options = read_options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return  # no lifespan, no web sockets
        refusal = self._refuse(scope)
        if refusal is not None:
            await _answer(_with_headers(scope, send), *refusal)
            return
        has_begun = False

        async def note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await _with_headers(scope, send)(message)

        try:
            await self._app(scope, receive, note)
        except (CutShort, ClientDisconnect):
            return  # the server ends a connection whose answer has no end; or the client has gone
        except Exception as error:  # noqa: BLE001 - one bad request must not end the page
            logger().error(Event.MISTAKE_CAUGHT, path=scope["path"], exc_info=error)
            if not has_begun:
                text = "A mistake in stackwatch. The log of the service tells more."
                await _answer(_with_headers(scope, send), 500, text)

    def _refuse(self, scope: Scope) -> tuple[int, str] | None:
        """Return status and words for a request that is not answered, None for one that is."""
        if scope["method"] not in {"GET", "HEAD", "POST"}:
            return 405, "This page is read, and at most posted to."
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        options = self._read_options()
        if len(hosts) != 1 or not is_our_name(hosts[0].decode("latin-1"), options):
            return 421, (
                "The service is not known under this name. Ask for it as localhost, or add the "
                "name to `hosts` under `[web]`."
            )
        if scope["method"] == "POST" and not is_own_site(scope["headers"], hosts[0]):
            return 403, "This form is not one of this page."
        return None


def is_our_name(host: str, options: PageOptions) -> bool:
    """Tell whether a Host header names this service.

    A number is no name that anybody could point at us; where the service listens on all addresses,
    each number that leads here is one of them.

    Examples
    --------
    >>> from pathlib import Path
    >>> options = PageOptions(Path("/s"), "127.0.0.1:8087", hosts=("lab-pc",))
    >>> [is_our_name(one, options) for one in ("localhost:8087", "LAB-PC", "evil.example", "[::1]")]
    [True, True, False, True]
    """
    name = _name_of(host)
    if not name:
        return False
    listening = options.listen.rpartition(":")[0].strip("[]").lower()
    known = {*_LOOPBACK, listening, *(one.lower() for one in options.hosts)}
    return name in known or (listening in _ANYWHERE and _is_number(name))


def is_own_site(headers: Iterable[tuple[bytes, bytes]], host: bytes) -> bool:
    """Tell whether a form was sent from a page of ours; programs that send no word of it may."""
    found = dict(headers)
    site, origin = found.get(b"sec-fetch-site"), found.get(b"origin")
    if site is not None and site not in {b"same-origin", b"none"}:
        return False
    if origin is None:
        return True
    try:
        return urlsplit(origin.decode("latin-1")).netloc.lower() == host.decode("latin-1").lower()
    except ValueError:
        return False


def _name_of(host: str) -> str:
    """Return a host without its port, lower case; empty if it is none."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).lower() if match is not None else ""


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _with_headers(scope: Scope, send: Send) -> Send:
    """Return a `send` that adds our headers."""
    is_viewer = scope["path"].startswith("/viewer/")
    policy = _VIEWER_POLICY if is_viewer else _PAGE_POLICY
    if scope["path"].startswith("/viewer/workers/"):
        policy = _WORKERS_POLICY
    ours = {
        **_HEADERS,
        "Content-Security-Policy": policy,
        "X-Frame-Options": "SAMEORIGIN" if is_viewer else "DENY",
    }

    async def decorated(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            given = {name.lower() for name, _ in headers}
            headers += [(name.encode(), value.encode()) for name, value in ours.items()]
            if b"cache-control" not in given:
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        await send(message)

    return decorated


async def _answer(send: Send, status: int, text: str) -> None:
    body = f"{text}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
