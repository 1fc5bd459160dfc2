"""Datasets that are not sent, on the stand-in: explored, described, or put into its storage.

Unlike the real server it explores what has a `datasource-properties.json`, and nothing else.
"""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from stackwatch.testing.webknossos_checks import (
    check_object_id,
    check_schema,
    data_source_errors,
    is_remote,
    mag_literal,
    mags_of,
    name_error,
    properties_problem,
)
from stackwatch.testing.webknossos_data import local_place, plain_path
from stackwatch.testing.webknossos_finish import PROPERTIES_FILE, absolute_source
from stackwatch.testing.webknossos_http import (
    RefusedError,
    Request,
    Response,
    as_json,
    forbidden,
    message_list,
    refusal,
)
from stackwatch.testing.webknossos_routing import Route, route
from stackwatch.testing.webknossos_world import NOT_IN_PLACE, Dataset, User, World, new_id

FETCH_S: Final = 5.0

_LEAVING = (
    "Cannot directly add a data source with local paths that leave the dataset, or with paths "
    "that match the WEBKNOSSOS reserved paths."
)


def explore_and_add(world: World, request: Request) -> Response:
    """Add the dataset at a URL, and answer its id as a JSON string."""
    user = world.user(request.token)
    body = request.json()
    check_schema(body, {"remoteUri": str, "datasetName": str}, {
        "folderId": str, "folderPath": str, "dataStoreName": str,
    })  # fmt: skip
    base = _base(body["remoteUri"])
    source, report = explore(world, base)
    if source is None:
        raise refusal("Could not explore remote dataset.", report)
    if not source["dataLayers"]:
        raise refusal("Explored dataset has no layers.")
    with world.lock:
        folder_id = body.get("folderId") or _folder_of(world, user, body.get("folderPath"))
        dataset = _add_row(world, user, body["datasetName"], folder_id)
        dataset.datastore = _datastore_name(world, body.get("dataStoreName"))
        _activate(world, dataset, absolute_source(source, dataset, base))
    return as_json(dataset.id)


def explore_remote(world: World, request: Request) -> Response:
    """Say what lies at some URLs; a failure is a report without a data source."""
    world.user(request.token)
    reports: list[str] = []
    found: dict[str, Any] | None = None
    for entry in request.json():
        base = _base(entry["remoteUri"])
        source, report = explore(world, base)
        reports.append(report)
        if source is not None:
            row = Dataset("", "explored", "", "", "", "", 0)
            layers = absolute_source(source, row, base)["dataLayers"]
            if found is None:
                found = absolute_source(source, row, base)
            else:
                found["dataLayers"] += layers
    answer: dict[str, Any] = {"report": "\n".join(reports)}
    return as_json(answer if found is None else answer | {"dataSource": found})


def explore(world: World, base: str) -> tuple[dict[str, Any] | None, str]:
    """Return the properties below a URL, or None and why not."""
    if not world.behaviour.can_explore:
        return None, "Exploring is not possible here."
    try:
        text = _fetch(world, f"{base}/{PROPERTIES_FILE}")
    except (OSError, ValueError) as error:
        return None, f"Error when exploring {base}: {error}"
    try:
        source = json.loads(text)
    except ValueError as error:
        return None, f"Error when exploring {base}: {error}"
    if problem := properties_problem(source):
        return None, f"Error when exploring {base}: {problem}"
    return source, f"Explored {base}."


def _fetch(world: World, url: str) -> bytes:
    if not is_remote(url):
        path = plain_path(url)
        whitelist = world.behaviour.local_whitelist
        if not any(path.resolve().is_relative_to(Path(place).resolve()) for place in whitelist):
            raise PermissionError(f"Absolute path {path} in local file system is not allowed.")
        return path.read_bytes()
    if any(url.startswith(remote) for remote, _ in world.behaviour.remote_places):
        return local_place(world, url).read_bytes()
    if not url.startswith(("http://", "https://")):
        raise ValueError("no such storage")
    with urllib.request.urlopen(url, timeout=FETCH_S) as answer:  # noqa: S310 - http, see above
        data: bytes = answer.read()
    return data


def _base(url: str) -> str:
    return url.rstrip("/").removesuffix(f"/{PROPERTIES_FILE}")


def _folder_of(world: World, user: User, path: str | None) -> str:
    """Return the id of a folder by its path; what is missing below the root is created."""
    folder = world.root_folder(user.organization)
    if path is None:
        return folder.id
    outer = "Could not get or create folder during dataset exploration."
    parts = path.split("/")
    if parts[:2] != ["", folder.name]:
        raise refusal(outer, f"Folder path must start with /{folder.name}")
    for name in parts[2:]:
        below = [f for f in world.folders.values() if f.parent == folder.id and f.name == name]
        if not below and not world.may_write_folder(user, folder.id):
            raise refusal(outer, "No write access in this folder.")
        folder = below[0] if below else world.add_folder(name, folder.id, user.organization)
    return folder.id


def _datastore_name(world: World, name: str | None) -> str:
    if name is None:
        return world.datastores[-1].name
    if name not in {store.name for store in world.datastores}:
        raise refusal("Data store could not be found or accessed.", status=404)
    return name


def _add_row(world: World, user: User, name: str, folder_id: str | None) -> Dataset:
    if problem := name_error(name):
        raise refusal(problem)
    folder = folder_id or world.root_folder(user.organization).id
    if not world.may_write_folder(user, folder):
        raise refusal("No write access in this folder.")
    dataset = Dataset(
        id=new_id(),
        name=name,
        organization=user.organization,
        folder_id=folder,
        uploader_id=user.id,
        datastore=world.datastores[-1].name,
        created_ms=world.now_ms(),
    )
    world.datasets[dataset.id] = dataset
    return dataset


def _activate(world: World, dataset: Dataset, source: dict[str, Any]) -> None:
    dataset.source, dataset.is_active, dataset.status = source, True, ""
    dataset.creation_type = "ExploreAndAdd"


def add_virtual(world: World, request: Request) -> Response:
    """Add a dataset whose mags have explicit paths."""
    user = world.user(request.token)
    if not user.may_administrate:
        raise forbidden()
    body = request.json()
    check_schema(body, {"dataSource": dict, "dataStoreName": str}, {
        "folderId": str, "importUrl": str,
    })  # fmt: skip
    source = body["dataSource"]
    _check_source(source)
    with world.lock:
        store = _datastore_name(world, body["dataStoreName"])
        for layer in source["dataLayers"]:
            for entry in layer.get("mags") or []:
                _check_path(world, entry.get("path"))
        dataset = _add_row(world, user, request.parameters["name"], body.get("folderId"))
        dataset.datastore, dataset.import_url = store, body.get("importUrl")
        _activate(world, dataset, absolute_source(source, dataset, ""))
        dataset.creation_type = "AddVirtual"
    return as_json({"newDatasetId": dataset.id})


def _check_source(source: dict[str, Any]) -> None:
    if problem := properties_problem(source):
        raise RefusedError(
            as_json({f"obj.dataSource.{problem}": [{"msg": ["error.path.missing"], "args": []}]},
                    400)
        )  # fmt: skip
    if errors := data_source_errors(source):
        raise RefusedError(message_list(errors))


def _check_path(world: World, path: str | None) -> None:
    if not path:
        raise refusal(_LEAVING)
    if is_remote(path):
        return
    local = plain_path(path)
    whitelist = world.behaviour.local_whitelist
    if not any(local.is_relative_to(Path(place)) for place in whitelist):
        raise refusal(_LEAVING)


def find_by_import_url(world: World, request: Request) -> Response:
    """Return the dataset that was imported from a URL, or null."""
    wanted = request.query.get("importURL", "")
    for dataset in world.iter_visible(request.token):
        if dataset.import_url == wanted:
            return as_json({"id": dataset.id, "name": dataset.name})
    return as_json(None)


def reserve_to_paths(world: World, request: Request) -> Response:
    """Begin an upload by path: say where each mag shall be put."""
    user = world.user(request.token)
    body = request.json()
    check_schema(body, {"datasetName": str, "initialTeamIds": list, "dataSource": dict}, {
        "layersToLink": list, "folderId": str, "requireUniqueName": bool, "pathPrefix": str,
    })  # fmt: skip
    source = body["dataSource"]
    if not user.may_administrate:
        raise forbidden()
    _check_quota(world, user)
    if problem := name_error(body["datasetName"]):
        raise refusal(problem)
    if not source.get("dataLayers"):
        raise refusal("Cannot reserve upload for dataset with no layers.")
    _check_source(source)
    prefix = _prefix(world, body.get("pathPrefix"))
    with world.lock:
        dataset = _add_row(world, user, body["datasetName"], body.get("folderId"))
        dataset.teams = list(body["initialTeamIds"])
        dataset.status, dataset.creation_type = NOT_IN_PLACE, "UploadToPaths"
        base = f"{prefix}/{dataset.organization}/{dataset.directory}"
        dataset.source = _with_paths(absolute_source(source, dataset, base), base)
    return as_json({"newDatasetId": dataset.id, "dataSource": dataset.source})


def _check_quota(world: World, user: User) -> None:
    quota = world.behaviour.quota_bytes
    if quota and world.used_bytes(user.organization) >= quota:
        text = "Cannot upload dataset because the storage quota of the organization is exceeded."
        raise refusal(text, status=403)


def _prefix(world: World, wanted: str | None) -> str:
    if not world.behaviour.has_paths:
        store = world.datastores[-1].name
        raise refusal(f"The data store {store} does not support dataset upload to paths.")
    prefixes = world.behaviour.path_prefixes or (str(world.root / "paths"),)
    if wanted is not None and wanted.rstrip("/") not in prefixes:
        raise refusal("Could not determine a configured path prefix that matches the request.")
    prefix = wanted.rstrip("/") if wanted else prefixes[0]
    return f"file://{prefix}" if world.behaviour.are_paths_uris else prefix


def _with_paths(source: dict[str, Any], base: str) -> dict[str, Any]:
    layers = [
        layer
        | {
            "mags": [
                entry | {"path": f"{base}/{layer['name']}/{mag_literal(mag)}"}
                for entry, mag in zip(layer["mags"], mags_of(layer), strict=True)
            ]
        }
        for layer in source["dataLayers"]
    ]
    return source | {"dataLayers": layers}


def finish_to_paths(world: World, request: Request) -> Response:
    """Make a dataset active whose mags were put into place; nobody looks whether they were."""
    found = world.dataset_to_edit(check_object_id(request.parameters["id"]), request.token)
    if found.is_active:
        raise refusal("Dataset is already marked as usable.")
    if found.status != NOT_IN_PLACE:
        raise refusal(f"Dataset is not in uploading-to-paths status, got {found.status}")
    found.is_active, found.status = True, ""
    return Response()


ROUTES: tuple[Route, ...] = (
    route("api", "POST", "/datasets/exploreAndAddRemote", "explore_and_add", explore_and_add),
    route("api", "POST", "/datasets/exploreRemote", "explore", explore_remote),
    route("api", "POST", "/datasets/addVirtualDataset/{name}", "add_virtual", add_virtual),
    route("api", "GET", "/datasets/findByImportURL", "find_by_import_url", find_by_import_url),
    route("api", "POST", "/datasets/reserveUploadToPaths", "reserve_paths", reserve_to_paths),
    route("api", "POST", "/datasets/{id}/finishUploadToPaths", "finish_paths", finish_to_paths),
)
