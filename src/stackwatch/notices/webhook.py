"""Post a message as JSON to an address. What the address answers is judged, never followed."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from stackwatch import __version__
from stackwatch.model.notice import ReceiverAnswer

TIMEOUT_S: Final = 15.0
"""To connect, and for each piece that is sent or received; the whole is bounded by who calls."""


def receiver_id(address: str) -> str:
    """Return what a receiver is called in the ledger: it tells nothing of its address."""
    return hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()[:12]


def describe_webhook(url: str) -> str:
    """Return a webhook's name for people: its path and query often are its password.

    Examples
    --------
    >>> describe_webhook("https://user:pw@chat.example.org:8443/hooks/T0/secret?key=1")
    'webhook chat.example.org:8443'
    """
    place = urlsplit(url)
    port = f":{place.port}" if place.port else ""
    return f"webhook {place.hostname or '?'}{port}"


def post_webhook(url: str, document: Mapping[str, Any]) -> ReceiverAnswer:
    """Send a document and return what came of it. Never raises, never follows a redirect."""
    import httpx

    try:
        with (
            httpx.Client(timeout=TIMEOUT_S, follow_redirects=False) as client,
            # the body is not read: it may be endless, and says nothing we need
            client.stream(
                "POST",
                url,
                json=dict(document),
                headers={"User-Agent": f"stackwatch/{__version__}"},
            ) as answer,
        ):
            is_reached, reason = _judge(answer.status_code, answer.headers.get("location", ""))
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        is_reached, reason = False, _explain(error)
    return ReceiverAnswer(receiver_id(url), describe_webhook(url), is_reached, reason)


def _judge(status: int, location: str) -> tuple[bool, str]:
    if 200 <= status < 300:
        return True, f"{status}: taken"
    if 300 <= status < 400:
        host = urlsplit(location).hostname or "another place"
        return False, f"{status}: it sends on to {host}, which is not followed; set that address"
    if status in (401, 403, 404, 410):
        return False, f"{status}: the address is not accepted, or not any more"
    return False, f"{status}: refused"


def _explain(error: Exception) -> str:
    """Return an error in words; the library's own text may hold the address."""
    import httpx

    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError():
            return "no connection"
        case httpx.TimeoutException():
            return f"no answer within {TIMEOUT_S:g} s"
        case httpx.RemoteProtocolError() | httpx.ReadError() | httpx.WriteError():
            return "the connection broke off"
        case _:
            return f"it could not be sent ({type(error).__name__})"
