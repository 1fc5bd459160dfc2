"""A WEBKNOSSOS that was greeted: requests that wait, try again, and raise by what can be done."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from stackwatch.model.delivery import ServerOptions
from stackwatch.webknossos.dialects import Dialect
from stackwatch.webknossos.greeting import (
    Account,
    Greeting,
    checked_url,
    choose_datastore,
    demand_once,
    probe_data_version,
    read_account,
    read_build,
    read_datastores,
)
from stackwatch.webknossos.patience import Waiting
from stackwatch.webknossos.token import Token
from stackwatch.webknossos.transport import Answer, Request, Transport

_SPARE_CONNECTIONS: Final = 2
_GREETING_S: Final = 20.0
"""So long a server that does not answer at all is asked again: its address may be wrong."""


class Connection:
    """Speaks with one WEBKNOSSOS and one of its datastores; may be used by several threads.

    `connect` makes one. A call waits and tries again while the server is not available, and
    raises by what the caller can do; `ask_…` leave an answer that is no success to the caller.

    Attributes
    ----------
    greeting : Greeting
    dialect : Dialect
        Of uploads.
    waiting : Waiting
    """

    def __init__(self, transport: Transport, greeting: Greeting, waiting: Waiting) -> None:
        self.transport = transport
        self.greeting = greeting
        self.waiting = waiting
        self.dialect = Dialect(greeting.data_version)

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
        self.transport.close()

    def with_waiting(self, waiting: Waiting) -> "Connection":
        """Return the same connection with other waits; closing either closes both."""
        return Connection(self.transport, self.greeting, waiting)

    @property
    def account(self) -> Account:
        """Whose token it is."""
        return self.greeting.account

    def api_url(self, path: str) -> str:
        """Return the address of a route of WEBKNOSSOS."""
        return f"{self.greeting.url}/api/v{self.greeting.api_version}/{path}"

    def data_url(self, path: str) -> str:
        """Return the address of a route of the datastore."""
        return f"{self.greeting.datastore.url}/data/v{self.greeting.data_version}/{path}"

    def ask(self, request: Request) -> Answer:
        """Send once; whatever comes back is returned.

        Raises
        ------
        DeliveryUnavailableError
            Nothing came back.
        DeliveryRefusedError
            A redirect, or a certificate that is not trusted.
        """
        return self.transport.ask(request)

    def ask_api(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        document: Any = None,  # JSON
        passes: frozenset[int] = frozenset(),
        wanted: str = "",
        shape: type | None = None,
    ) -> Answer:
        """Ask WEBKNOSSOS, again and again while it is not available.

        Only for what may happen twice.

        Parameters
        ----------
        method, path : str
            The path behind `/api/vN/`.
        query : mapping or None
        document : JSON value
        passes : set of int
            Statuses that the caller reads itself, beside those of success.
        wanted : str
            What is asked for, as it stands in an error: “find the folder”.
        shape : type or None
            `dict` or `list`, where the answer must be a document: a proxy's page is none.

        Raises
        ------
        DeliveryUnavailableError, DeliveryUnauthorizedError, DeliveryRefusedError
            By what the caller can do.
        """
        request = Request(method, self.api_url(path), query or {}, document)
        return self.demand(request, wanted or f"answer {path}", passes, shape)

    def ask_data(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        document: Any = None,  # JSON
        passes: frozenset[int] = frozenset(),
        wanted: str = "",
    ) -> Answer:
        """Ask the datastore; as `ask_api`."""
        request = Request(method, self.data_url(path), query or {}, document)
        return self.demand(request, wanted or f"answer {path}", passes)

    def demand(
        self,
        request: Request,
        wanted: str,
        passes: frozenset[int] = frozenset(),
        shape: type | None = None,
    ) -> Answer:
        """Send until there is an answer that is a success, or one of `passes`; else raise."""
        return self.waiting.repeat(
            lambda: demand_once(self.transport, request, wanted, passes, shape)
        )

    def demand_once(
        self,
        request: Request,
        wanted: str,
        passes: frozenset[int] = frozenset(),
        shape: type | None = None,
    ) -> Answer:
        """Send once, what must not happen twice; return a success, or one of `passes`."""
        return demand_once(self.transport, request, wanted, passes, shape)


def connect(
    server: ServerOptions, token: Token, waiting: Waiting, data_version: int = 0
) -> Connection:
    """Greet a server: its versions, whose token it is, and where data goes.

    Parameters
    ----------
    server : ServerOptions
    token : Token
    waiting : Waiting
    data_version : int
        Of the datastore's protocol, where an upload was begun in it; 0 takes the newest.

    Raises
    ------
    DeliveryUnavailableError
        It does not answer: a greeting gives up sooner than what was begun.
    DeliveryUnauthorizedError
        It does not take the token.
    DeliveryRefusedError
        No version in common, no datastore that takes uploads.
    """
    url = checked_url(server.url)
    transport = Transport(token, server.ca_file, server.parallel + _SPARE_CONNECTIONS)
    hurried = waiting.hurried(_GREETING_S)
    try:
        release, api_version = read_build(transport, url, hurried)
        account = read_account(transport, f"{url}/api/v{api_version}/user", hurried)
        stores = read_datastores(transport, f"{url}/api/v{api_version}/datastores", hurried)
        store = choose_datastore(stores, server.datastore, url)
        newest = data_version or api_version
        data_version = probe_data_version(transport, store.url, newest, hurried)
    except BaseException:
        transport.close()
        raise
    greeting = Greeting(url, release, api_version, data_version, account, store, stores)
    return Connection(transport, greeting, waiting)


def quoted(part: str) -> str:
    """Return a name as one part of a path."""
    return quote(part, safe="")
