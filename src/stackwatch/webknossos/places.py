"""Where a dataset goes on the server: folder, teams and name."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from stackwatch.errors import DeliveryRefusedError, DeliveryUnavailableError
from stackwatch.model.acquisition import fit_dataset_name
from stackwatch.webknossos.connection import Connection, quoted
from stackwatch.webknossos.patience import Waiting
from stackwatch.webknossos.transport import Request

_LONGEST_NAME: Final = 200
"""A server makes a directory of it, of its id too; a longer one it takes, and fails at the end."""
_OTHERS_S: Final = 300.0
"""So long another delivery may take to create folders before it is no longer waited for."""
_LOOK_AGAIN_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """How far a path of folders exists.

    Attributes
    ----------
    folder_id : str
        Of the last one that exists.
    missing : tuple of str
        Names of those below it that do not.
    is_ambiguous : bool
        Two folders of one name lie side by side; the first was taken.
    is_editable : bool
        Whether this account may put something there.
    """

    folder_id: str
    missing: tuple[str, ...] = ()
    is_ambiguous: bool = False
    is_editable: bool = True


def find_folder(connection: Connection, path: str) -> FolderPlace:
    """Walk a path such as `Datasets/em/2026` down from the root folder.

    Parameters
    ----------
    connection : Connection
    path : str
        The root folder's own name in front may be left out. Empty: the root folder.
    """
    wanted = "list its folders"
    tree = connection.ask_api("GET", "folders/tree", wanted=wanted, shape=list).document
    folders = [entry for entry in tree if isinstance(entry, dict)]
    root = next((folder for folder in folders if not folder.get("parent")), None)
    if root is None:
        raise DeliveryRefusedError(
            f"{connection.greeting.url} shows this account no folder at all. Ask "
            "its administrator.",
            hint="Ask the administrator of the server for access to a folder.",
        )
    return walk_folders(folders, root, path)


def walk_folders(folders: list[dict[str, Any]], root: dict[str, Any], path: str) -> FolderPlace:
    """Walk a path through the flat list of all folders. Pure."""
    names = [name for name in path.split("/") if name]
    if names and names[0] == root.get("name"):
        names = names[1:]
    here, is_ambiguous = root, False
    for at, name in enumerate(names):
        below = [
            folder
            for folder in folders
            if folder.get("parent") == here.get("id") and folder.get("name") == name
        ]
        if not below:
            return _place(here, tuple(names[at:]), is_ambiguous=is_ambiguous)
        is_ambiguous = is_ambiguous or len(below) > 1
        here = below[0]
    return _place(here, (), is_ambiguous=is_ambiguous)


def ensure_folder(connection: Connection, path: str) -> FolderPlace:
    """Return the folder of a path; what is missing of it is created, once on this machine.

    Raises
    ------
    DeliveryRefusedError
        The account may not create it there.
    """
    place = find_folder(connection, path)
    if not place.missing:
        return place
    with _alone(connection.greeting.url, connection.waiting):
        place = find_folder(connection, path)  # another delivery may have created it meanwhile
        for name in place.missing:
            query = {"parentId": place.folder_id, "name": name}
            # not sent again by itself: each time would make another folder of that name
            request = Request("POST", connection.api_url("folders/create"), query)
            made = connection.demand_once(request, f"create the folder “{name}”", shape=dict)
            place = FolderPlace(_id_of(made.document, connection), (), place.is_ambiguous)
    return place


@contextlib.contextmanager
def _alone(url: str, waiting: Waiting) -> Iterator[None]:
    """Let one delivery of this machine at a time create folders on a server.

    They are processes of their own, of the service or started by hand, and share no file. So an
    abstract socket's name is what they share: it has one owner, and is free when that one ends.
    """
    import xxhash

    server = xxhash.xxh3_64_hexdigest(url.encode())
    until_s = waiting.clock.monotonic() + _OTHERS_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held:
        while True:
            try:
                held.bind(f"\0stackwatch/folders/{server}")
            except OSError as error:
                is_taken = error.errno == errno.EADDRINUSE
                if not is_taken or waiting.clock.monotonic() >= until_s:
                    break  # two folders of one name are better than none
                waiting.pause(_LOOK_AGAIN_S)
            else:
                break
        yield


def _id_of(folder: Any, connection: Connection) -> str:
    found = folder.get("id")
    if isinstance(found, str) and found:
        return found
    raise DeliveryUnavailableError(  # without it the dataset would go into the root folder
        f"{connection.greeting.url} did not tell the id of the folder that it created. It is "
        "looked for again.",
        hint="Nothing: it is tried again.",
    )


def find_teams(connection: Connection, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ids of teams, given by name or id.

    Raises
    ------
    DeliveryRefusedError
        There is none of that name; a human is needed.
    """
    if not names:
        return ()
    listed = connection.ask_api("GET", "teams", wanted="list its teams", shape=list).document
    teams = [team for team in listed if isinstance(team, dict)]
    ids = {str(team.get("name")): str(team.get("id")) for team in reversed(teams)}
    known = set(ids.values())
    unknown = [name for name in names if name not in ids and name not in known]
    if unknown:
        hint = f"Name teams that exist: {', '.join(sorted(ids)) or 'there are none'}."
        raise DeliveryRefusedError(
            f"{connection.greeting.url} has no team “{'”, “'.join(unknown)}”. {hint}", hint=hint
        )
    return tuple(dict.fromkeys(ids.get(name, name) for name in names))


def fit_name(connection: Connection, name: str) -> str:
    """Return a name for a dataset that the server takes, as near as can be to the one wanted.

    Raises
    ------
    DeliveryRefusedError
        The server does not take it either.
    """
    fitting = fit_dataset_name(name)[:_LONGEST_NAME]
    path = f"datasets/{quoted(fitting)}/isValidNewName"
    wanted = "check the dataset's name"
    answer = connection.ask_api("GET", path, wanted=wanted, shape=dict).document
    if answer.get("isValid") is False:
        errors = answer.get("errors")
        told = " ".join(map(str, errors)) if isinstance(errors, list) else str(errors or "")
        raise DeliveryRefusedError(
            f"{connection.greeting.url} does not take the name “{fitting}”: {told} Choose another "
            "one: `dataset_name` of the folder, `name` in the sidecar, or --name.",
            hint="Choose another name.",
            name=fitting,
        )
    return fitting


def _place(folder: dict[str, Any], missing: tuple[str, ...], *, is_ambiguous: bool) -> FolderPlace:
    is_editable = folder.get("isEditable") is not False
    return FolderPlace(str(folder.get("id", "")), missing, is_ambiguous, is_editable)
