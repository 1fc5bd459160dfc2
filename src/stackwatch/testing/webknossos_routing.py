"""Which request goes where, in which versions of the API."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

from stackwatch.testing.webknossos_faults import Behaviour
from stackwatch.testing.webknossos_http import RefusedError, Request, Response, html_page, messages
from stackwatch.testing.webknossos_world import World

Side = Literal["api", "datastore"]
Answer = Callable[[World, Request], Response]

EVERY: Final = range(100)
LEGACY: Final = range(14)
MODERN: Final = range(14, 100)

PREFIXES: Final = {"api": "/api", "datastore": "/data"}


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes
    ----------
    name : str
        What faults and the list of requests call it.
    versions : range
        Of the API in which it exists.
    servers : range
        Newest versions of the servers that have it.
    is_unversioned : bool
        Without a version it is meant, whatever is newest.
    """

    side: Side
    method: str
    pattern: re.Pattern[str]
    name: str
    answer: Answer
    versions: range
    servers: range
    is_unversioned: bool


def route(
    side: Side,
    method: str,
    path: str,
    name: str,
    answer: Answer,
    versions: range = EVERY,
    *,
    servers: range = EVERY,
    is_unversioned: bool = False,
) -> Route:
    """Return a route; `{part}` in the path stands for anything without a slash."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))
    return Route(side, method, pattern, name, answer, versions, servers, is_unversioned)


def find_route(routes: Sequence[Route], request: Request, behaviour: Behaviour) -> Route:
    """Return the route of a request, with the request's version and parameters filled in.

    Raises
    ------
    RefusedError
        The version is outside of what the server speaks, or nothing is there.
    """
    prefix = PREFIXES[request.side]
    newest = newest_version(behaviour, request.side)
    found = re.match(rf"{prefix}(?:/v(\d+))?(?=/)", request.path)
    if not found:
        raise RefusedError(html_page(404, "Action not found"))
    request.version = int(found[1]) if found[1] else newest
    if not behaviour.oldest_version <= request.version <= newest:
        text = (
            "This WEBKNOSSOS instance does not support the requested HTTP API version. Client "
            f"requested {request.version} but must be at least {behaviour.oldest_version} and at "
            f"most {newest}."
        )
        raise RefusedError(messages(text, status=404))
    path = request.path[found.end() :]
    for candidate in routes:
        matched = _match(candidate, request, path, newest, has_version=bool(found[1]))
        if matched is not None:
            request.parameters = {name: unquote(part) for name, part in matched.groupdict().items()}
            return candidate
    raise RefusedError(html_page(404, "Action not found"))


def newest_version(behaviour: Behaviour, side: str) -> int:
    """Return the newest version that one side speaks."""
    if side == "datastore" and behaviour.datastore_newest_version:
        return behaviour.datastore_newest_version
    return behaviour.newest_version


def _match(
    candidate: Route, request: Request, path: str, newest: int, *, has_version: bool
) -> re.Match[str] | None:
    if candidate.side != request.side or candidate.method != request.method:
        return None
    is_meant = candidate.is_unversioned and not has_version
    if newest not in candidate.servers or not (is_meant or request.version in candidate.versions):
        return None
    return candidate.pattern.fullmatch(path)
