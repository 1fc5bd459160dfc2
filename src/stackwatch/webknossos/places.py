"""Where a dataset goes on the server: folder, teams and name."""

from dataclasses import dataclass
from typing import Any, Final

from stackwatch.errors import DeliveryRefusedError
from stackwatch.model.acquisition import fit_dataset_name
from stackwatch.webknossos.connection import Connection, quoted
from stackwatch.webknossos.transport import Request

_LONGEST_NAME: Final = 200
"""A server makes a directory of it, of its id too; a longer one it takes, and fails at the end."""


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
    """Return the folder of a path; what is missing of it is created.

    Raises
    ------
    DeliveryRefusedError
        The account may not create it there.
    """
    place = find_folder(connection, path)
    for name in place.missing:
        query = {"parentId": place.folder_id, "name": name}
        # not sent again by itself: each time would make another folder of that name
        request = Request("POST", connection.api_url("folders/create"), query)
        made = connection.demand_once(request, f"create the folder “{name}”").document
        found = str(made.get("id", "")) if isinstance(made, dict) else ""
        place = FolderPlace(found, (), place.is_ambiguous)
    return place


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
