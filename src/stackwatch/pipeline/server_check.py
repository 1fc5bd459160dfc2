"""Look whether deliveries to a server can work, without changing anything there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stackwatch.errors import StackwatchError
from stackwatch.model.delivery import ServerOptions
from stackwatch.pipeline.deliver import require_rights
from stackwatch.webknossos.connection import Connection, connect
from stackwatch.webknossos.greeting import Account, read_build
from stackwatch.webknossos.patience import Waiting
from stackwatch.webknossos.places import find_folder
from stackwatch.webknossos.token import Token, find_token
from stackwatch.webknossos.transport import Transport, is_loopback


@dataclass(slots=True)
class ServerCheck:
    """What was found, step by step, as far as it went.

    Attributes
    ----------
    record : dict
        JSON values of docs/json.md.
    lines : list of (str, str)
        Name of a step and what was found, for people.
    warnings : list of str
    error : StackwatchError or None
        Why it went no further.
    """

    record: dict[str, Any] = field(default_factory=dict)
    lines: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: StackwatchError | None = None


def check_server(
    server: ServerOptions,
    folders: Sequence[str],
    waiting: Waiting,
    token: Token | None = None,
) -> ServerCheck:
    """Ask a server for its versions, the token's account and rights, datastore and folders.

    Parameters
    ----------
    server : ServerOptions
    folders : sequence of str
        Paths of folders in WEBKNOSSOS that will be delivered to.
    waiting : Waiting
        With a patience of 0 the first failure ends the check.
    token : Token or None
        None looks where the options say, and in the environment.
    """
    check = ServerCheck({"url": server.url})
    try:
        _check(check, server, folders, waiting, token)
    except StackwatchError as error:
        check.error = error
    return check


def _check(
    check: ServerCheck,
    server: ServerOptions,
    folders: Sequence[str],
    waiting: Waiting,
    token: Token | None,
) -> None:
    with Transport(None, server.ca_file) as transport:
        release, version = read_build(transport, server.url.rstrip("/"), waiting)
    check.lines.append(("url", f"{server.url} (WEBKNOSSOS {release or 'of unknown version'})"))
    check.record |= {"release": release, "api_version": version}
    host = server.url.partition("://")[2].partition("/")[0].partition(":")[0]
    if server.url.startswith("http:") and not is_loopback(host):
        check.warnings.append(f"{server.url} is not encrypted: the token can be read on the way.")
    token = token or find_token(server.token_file)
    check.record["token_source"] = token.source
    with connect(server, token, waiting) as connection:
        _describe(check, connection, token)
        require_rights(connection)
        for path in folders:
            _check_folder(check, connection, path)


def _describe(check: ServerCheck, connection: Connection, token: Token) -> None:
    greeting = connection.greeting
    account, store = greeting.account, greeting.datastore
    rights = describe_rights(account)
    check.record |= {
        "data_version": greeting.data_version,
        "account": account.name,
        "organization": account.organization,
        "rights": rights,
        "datastore": {"name": store.name, "url": store.url},
        "datastores": [
            {"name": one.name, "url": one.url, "allows_upload": one.allows_upload}
            for one in greeting.datastores
        ],
        "folders": [],
    }
    spoken = f"version {greeting.api_version}"
    if greeting.data_version != greeting.api_version:
        spoken += f", with the datastore version {greeting.data_version}"
    whose = f"{account.name} of the organization {account.organization}"
    check.lines += [
        ("protocol", spoken),
        ("token", f"from {token.source}: {whose}"),
        ("rights", rights),
        ("datastore", f"{store.name or 'not listed'}, {store.url}"),
    ]


def describe_rights(account: Account) -> str:
    """Return what an account may do, in words."""
    if account.is_admin:
        return "administrator: may upload"
    if account.is_dataset_manager:
        return "dataset manager: may upload"
    managed = ", ".join(team[1] for team in account.teams if team[2])
    return f"manager of {managed}: may upload to its folders" if managed else "may not upload"


def _check_folder(check: ServerCheck, connection: Connection, path: str) -> None:
    place = find_folder(connection, path)
    told = "exists"
    if place.missing:
        told = f"“{'/'.join(place.missing)}” will be created"
    if not place.is_editable:
        told += "; this account may not put anything there"
        check.warnings.append(f"The account may not put anything into the folder “{path}”.")
    if place.is_ambiguous:
        told += "; there are two of that name, the first is taken"
    check.record["folders"].append({
        "path": path, "exists": not place.missing, "is_editable": place.is_editable,
    })  # fmt: skip
    check.lines.append(("folder", f"{path or 'the root folder'}: {told}"))
