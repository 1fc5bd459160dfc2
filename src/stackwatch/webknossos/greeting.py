"""What a server is asked first: its versions, whose token it is, where its data goes."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from stackwatch.errors import DeliveryRefusedError, DeliveryUnavailableError, UsageError
from stackwatch.webknossos.dialects import choose_version, parse_range
from stackwatch.webknossos.patience import Waiting
from stackwatch.webknossos.transport import Answer, Request, Transport, is_loopback, server_of
from stackwatch.webknossos.verdicts import VERSION_REFUSED, verdict_of


@dataclass(frozen=True, slots=True)
class Account:
    """Whose token it is.

    Attributes
    ----------
    user_id, name, organization : str
        `organization` is its id.
    is_admin, is_dataset_manager : bool
    teams : tuple of (str, str, bool)
        Id, name, and whether the account manages the team.
    """

    user_id: str
    name: str
    organization: str
    is_admin: bool = False
    is_dataset_manager: bool = False
    teams: tuple[tuple[str, str, bool], ...] = ()

    @property
    def may_upload(self) -> bool:
        """Tell whether the server lets this account add datasets."""
        return self.is_admin or self.is_dataset_manager or any(team[2] for team in self.teams)


@dataclass(frozen=True, slots=True)
class Datastore:
    """Where a WEBKNOSSOS keeps data.

    Attributes
    ----------
    name : str
        Empty where somebody gave an address that the server does not name.
    url : str
        Without a trailing slash.
    allows_upload : bool
    """

    name: str
    url: str
    allows_upload: bool = True


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the server said when it was greeted.

    Attributes
    ----------
    url : str
    release : str
        Of WEBKNOSSOS, such as 26.08.0; empty if it does not say.
    api_version, data_version : int
        Spoken with WEBKNOSSOS, and with the datastore, which may lag behind.
    account : Account
    datastore : Datastore
    datastores : tuple of Datastore
        All that were offered.
    """

    url: str
    release: str
    api_version: int
    data_version: int
    account: Account
    datastore: Datastore
    datastores: tuple[Datastore, ...] = ()


def checked_url(url: str) -> str:
    """Return an address without a trailing slash.

    Raises
    ------
    UsageError
        It is no http or https address, or holds a password: it stands in links and logs.

    Examples
    --------
    >>> checked_url("https://wk.example.org/")
    'https://wk.example.org'
    """
    clean = url.strip().rstrip("/")
    if not _is_address(clean):
        raise UsageError(
            f"“{url}” is no address of a WEBKNOSSOS. Write it as https://webknossos.org.",
            hint="Write the address as https://webknossos.org.",
        )
    if "@" in clean.partition("://")[2].partition("/")[0]:
        raise UsageError(
            "The address of WEBKNOSSOS holds a name or a password. It would stand in links and "
            "logs; give it without.",
            hint="Give the address without name and password.",
        )
    return clean


def choose_datastore(stores: tuple[Datastore, ...], wanted: str, server: str) -> Datastore:
    """Return the datastore to send to: the one that is named, else the first that takes uploads.

    Raises
    ------
    DeliveryRefusedError
        There is none of that name, or none that takes uploads.
    """
    named = wanted.rstrip("/")
    offered = ", ".join(store.name for store in stores) or "none"
    if named:
        found = next((s for s in stores if named in {s.name, s.url}), None)
        if found is None and "://" in named:
            found = Datastore("", named)
        problem = f"has no datastore “{wanted}” (it offers {offered})"
    else:
        found = next((store for store in stores if store.allows_upload), None)
        problem = f"offers no datastore that takes uploads ({offered})"
    if found is None:
        raise DeliveryRefusedError(
            f"{server} {problem}. Name one with `datastore` under `[webknossos]`, or ask its "
            "administrator.",
            hint="Set `datastore` under `[webknossos]` (--datastore).",
            server=server,
        )
    if server.startswith("https:") and not _is_safe(found.url):
        raise DeliveryRefusedError(
            f"The datastore {found.url} is reached without encryption, though {server} is. The "
            "token was not sent there. Have the datastore's address changed to https.",
            hint="Have the datastore's address changed to https.",
            server=found.url,
        )
    return found


def demand_once(
    transport: Transport,
    request: Request,
    wanted: str,
    passes: frozenset[int] = frozenset(),
    shape: type | None = None,
) -> Answer:
    """Send once; return an answer that is a success or has one of `passes`, else raise.

    Parameters
    ----------
    transport : Transport
    request : Request
    wanted : str
    passes : set of int
    shape : type or None
        `dict` or `list`, which the JSON of a success must be; a complaint must then be the server's
        own. Anything else is a page of a proxy, and tells nothing about what was asked.

    Raises
    ------
    DeliveryUnavailableError, DeliveryUnauthorizedError, DeliveryRefusedError
        By what the caller can do.
    """
    answer = transport.ask(request)
    if answer.is_success or answer.status in passes:
        expected = shape if answer.is_success else dict
        if shape is not None and not isinstance(answer.document, expected or object):
            raise _no_answer(answer, request, wanted)
        return answer
    error = verdict_of(answer.complaint, wanted, server_of(request.url))
    named = answer.headers.get("retry-after", "")
    if named.isascii() and named.isdigit() and len(named) < 9:
        error.values["retry_after_s"] = int(named)
    raise error


def read_build(transport: Transport, url: str, waiting: Waiting) -> tuple[str, int]:
    """Return a server's release, and the version of the protocol to speak with it.

    Raises
    ------
    DeliveryRefusedError
        It is no WEBKNOSSOS, or there is no version in common.
    """
    # asked without the token: whoever answers has not yet said that it is a WEBKNOSSOS
    request = Request("GET", f"{url}/api/buildinfo", is_anonymous=True)
    passes = frozenset({404})
    answer = waiting.repeat(lambda: demand_once(transport, request, "tell its version", passes))
    document = answer.document
    versions = document.get("httpApiVersioning") if isinstance(document, dict) else None
    oldest = versions.get("oldestSupportedApiVersion") if isinstance(versions, dict) else None
    current = versions.get("currentApiVersion") if isinstance(versions, dict) else None
    if not isinstance(oldest, int) or not isinstance(current, int):
        raise DeliveryRefusedError(
            f"{url} does not answer as a WEBKNOSSOS does (no versions in /api/buildinfo). Check "
            "`url`.",
            hint="Check `url` under `[webknossos]` (--url).",
            server=url,
        )
    build = document.get("webknossos") if isinstance(document, dict) else None
    release = build.get("version", "") if isinstance(build, dict) else ""
    return str(release), choose_version(oldest, current, url)


def read_account(transport: Transport, url: str, waiting: Waiting) -> Account:
    """Return whose token it is; `url` is that of the account's own route."""
    request = Request("GET", url)
    wanted = "take the token"
    found = waiting.repeat(lambda: demand_once(transport, request, wanted, shape=dict)).document
    teams = found.get("teams")
    return Account(
        user_id=str(found.get("id", "")),
        name=str(found.get("email") or ""),
        organization=str(found.get("organization", "")),
        is_admin=found.get("isAdmin") is True,
        is_dataset_manager=found.get("isDatasetManager") is True,
        teams=tuple(
            (str(team.get("id", "")), str(team.get("name", "")), team.get("isTeamManager") is True)
            for team in (teams if isinstance(teams, list) else [])
            if isinstance(team, dict)
        ),
    )


def read_datastores(transport: Transport, url: str, waiting: Waiting) -> tuple[Datastore, ...]:
    """Return the datastores that the account may use; `url` is that of their list."""
    request = Request("GET", url)
    wanted = "list its datastores"
    found = waiting.repeat(lambda: demand_once(transport, request, wanted, shape=list)).document
    return tuple(
        Datastore(
            name=str(store.get("name", "")),
            url=str(store.get("url", "")).rstrip("/"),
            allows_upload=store.get("allowsUpload") is True,
        )
        for store in found
        if isinstance(store, dict)
    )


def probe_data_version(transport: Transport, url: str, newest: int, waiting: Waiting) -> int:
    """Return the version to speak with a datastore, which may be older than its WEBKNOSSOS.

    Its health is asked for in the version wanted: one that does not know it names those it does.
    """
    request = Request("GET", f"{url}/data/v{newest}/health")
    passes = frozenset({401, 403, 404})
    answer = waiting.repeat(lambda: demand_once(transport, request, "tell its health", passes))
    if answer.is_success or not answer.complaint.says(VERSION_REFUSED):
        return newest
    span = parse_range(answer.complaint.text)
    if span is None:
        raise verdict_of(answer.complaint, "take uploads", url)
    return choose_version(*span, url)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_number = parts.port is None or parts.port > 0
    except ValueError:
        return False
    has_gap = any(not sign.isprintable() or sign.isspace() for sign in url)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and is_number and not has_gap


def _no_answer(answer: Answer, request: Request, wanted: str) -> DeliveryUnavailableError:
    server = server_of(request.url)
    said = answer.complaint.text
    return DeliveryUnavailableError(
        f"{server} was asked to {wanted} and answered as no WEBKNOSSOS does: HTTP {answer.status}, "
        f"“{said[:100]}”. A proxy may have answered in its place. It is tried again.",
        hint="Check `url` under `[webknossos]` (--url), and what stands in front of the server.",
        server=server,
        status=answer.status,
    )


def _is_safe(url: str) -> bool:
    is_near = _is_address(url) and is_loopback(urlsplit(url).hostname or "")
    return url.startswith("https:") or is_near
