"""WEBKNOSSOS itself, on the stand-in: build info, people, datastores, folders, datasets."""

from typing import Any

from stackwatch.testing.webknossos_checks import check_object_id, name_error
from stackwatch.testing.webknossos_data import local_place
from stackwatch.testing.webknossos_http import (
    RefusedError,
    Request,
    Response,
    as_json,
    forbidden,
    html_page,
    refusal,
)
from stackwatch.testing.webknossos_routing import Route, route
from stackwatch.testing.webknossos_world import Dataset, Folder, User, World


def build_info(world: World, _request: Request) -> Response:
    """Say which versions are spoken."""
    behaviour = world.behaviour
    return as_json({
        "webknossos": {"name": "webknossos", "version": "26.08.0", "commitHash": "0" * 40},
        "schemaVersion": 150,
        "httpApiVersioning": {
            "currentApiVersion": behaviour.newest_version,
            "oldestSupportedApiVersion": behaviour.oldest_version,
        },
        "localDataStoreEnabled": True,
        "localTracingStoreEnabled": True,
    })  # fmt: skip


def health(_world: World, _request: Request) -> Response:
    """Say that the server is up."""
    return Response()


def who_am_i(world: World, request: Request) -> Response:
    """Tell who asks."""
    user = world.user(request.token)
    first, _, last = user.name.partition(" ")
    managed = {team.id for team in user.managed}
    return as_json({
        "id": user.id,
        "email": f"{first.lower()}@{user.organization}.example",
        "firstName": first,
        "lastName": last,
        "isAdmin": user.is_admin,
        "isOrganizationOwner": user.is_admin,
        "isDatasetManager": user.is_dataset_manager,
        "isActive": True,
        "teams": [
            {"id": team.id, "name": team.name, "isTeamManager": team.id in managed}
            for team in user.teams
        ],
        "experiences": {},
        "lastActivity": world.now_ms(),
        "isAnonymous": False,
        "isEditable": True,
        "organization": user.organization,
        "novelUserExperienceInfos": {},
        "selectedTheme": "auto",
        "created": world.now_ms(),
        "lastTaskTypeId": None,
        "isSuperUser": False,
        "isEmailVerified": True,
    })  # fmt: skip


def own_token(world: World, request: Request) -> Response:
    """Tell the asker's token."""
    world.user(request.token)
    return as_json({"token": request.token})


def list_teams(world: World, request: Request) -> Response:
    """List the teams of the asker's organization."""
    user = world.user(request.token)
    return as_json(
        [
            {"id": team.id, "name": team.name, "organization": team.organization}
            for team in world.teams
            if team.organization == user.organization
        ]
    )


def list_datastores(world: World, _request: Request) -> Response:
    """List the datastores."""
    return as_json(
        [
            {
                "name": store.name,
                "url": store.url,
                "allowsUpload": store.allows_upload,
                "jobsSupportedByAvailableWorkers": [],
                "jobsEnabled": False,
            }
            for store in world.datastores
        ]
    )


def is_valid_name(world: World, request: Request) -> Response:
    """Say whether a name may be given to a dataset; one that exists may."""
    world.user(request.token)
    error = name_error(request.parameters["name"])
    if not error:
        return as_json({"isValid": True})
    listed = world.behaviour.are_name_errors_listed
    return as_json({"isValid": False, "errors": [error] if listed else error})


def _folder_json(world: World, folder: Folder, user: User) -> dict[str, Any]:
    return {
        "id": folder.id,
        "name": folder.name,
        "parent": folder.parent or None,
        "metadata": [],
        "isEditable": world.may_write_folder(user, folder.id),
    }


def folder_tree(world: World, request: Request) -> Response:
    """List all folders."""
    user = world.user(request.token)
    return as_json(
        [
            _folder_json(world, folder, user)
            for folder in world.folders.values()
            if folder.organization == user.organization
        ]
    )


def root_folder(world: World, request: Request) -> Response:
    """Tell of the folder at the top."""
    user = world.user(request.token)
    folder = world.root_folder(user.organization)
    teams: dict[str, Any] = {"allowedTeams": [], "allowedTeamsCumulative": []}
    return as_json(_folder_json(world, folder, user) | teams)


def create_folder(world: World, request: Request) -> Response:
    """Create a folder; one of the same name is not in the way."""
    user = world.user(request.token)
    parent = check_object_id(request.query.get("parentId", ""))
    name = request.query.get("name", "")
    if not name:
        raise RefusedError(html_page(400, "Missing parameter: name"))
    if "/" in name:
        raise refusal("Folder names cannot contain forward slashes.")
    if not world.may_write_folder(user, parent):
        raise refusal("No write access in this folder.", status=403)
    folder = world.add_folder(name, parent, user.organization)
    return as_json(_folder_json(world, folder, user))


def dataset_json(world: World, dataset: Dataset) -> dict[str, Any]:
    """Return a dataset as WEBKNOSSOS shows it."""
    store = next(s for s in world.datastores if s.name == dataset.datastore)
    unusable = {
        "id": {"name": dataset.directory, "team": dataset.organization},
        "status": dataset.status,
    }
    return {
        "id": dataset.id,
        "name": dataset.name,
        "dataSource": dataset.source if dataset.is_active else unusable,
        "dataStore": {"name": store.name, "url": store.url, "allowsUpload": store.allows_upload},
        "owningOrganization": dataset.organization,
        "allowedTeams": _teams(world, dataset),
        "allowedTeamsCumulative": _teams(world, dataset),
        "isActive": dataset.is_active,
        "isPublic": dataset.is_public,
        "description": dataset.description,
        "directoryName": dataset.directory,
        "created": dataset.created_ms,
        "isEditable": True,
        "lastUsedByUser": 0,
        "logoUrl": None,
        "sortingKey": dataset.sorting_ms or dataset.created_ms,
        "metadata": dataset.metadata,
        "isUnreported": False,
        "tags": dataset.tags,
        "folderId": dataset.folder_id,
        "usedStorageBytes": dataset.used_bytes,
        "isVirtual": dataset.is_virtual,
        "creationType": dataset.creation_type,
    }


def _teams(world: World, dataset: Dataset) -> list[dict[str, str]]:
    return [
        {"id": team.id, "name": team.name, "organization": team.organization}
        for team in world.teams
        if team.id in dataset.teams
    ]


def _compact(dataset: Dataset) -> dict[str, Any]:
    layers = (dataset.source or {}).get("dataLayers", [])
    return {
        "id": dataset.id,
        "name": dataset.name,
        "owningOrganization": dataset.organization,
        "folderId": dataset.folder_id,
        "isActive": dataset.is_active,
        "directoryName": dataset.directory,
        "created": dataset.created_ms,
        "isEditable": True,
        "lastUsedByUser": 0,
        "status": dataset.status,
        "tags": dataset.tags,
        "isUnreported": False,
        "colorLayerNames": [x["name"] for x in layers if x["category"] == "color"],
        "segmentationLayerNames": [x["name"] for x in layers if x["category"] != "color"],
    }


def show_dataset(world: World, request: Request) -> Response:
    """Tell everything about a dataset."""
    found = world.dataset(check_object_id(request.parameters["id"]), request.token)
    return as_json(dataset_json(world, found))


def dataset_health(world: World, request: Request) -> Response:
    """Say whether a dataset can be read."""
    found = world.dataset(check_object_id(request.parameters["id"]), request.token)
    layers = (found.source or {}).get("dataLayers", ())
    paths = [local_place(world, mag["path"]) for layer in layers for mag in layer["mags"]]
    if not found.is_active or not any(path.is_dir() for path in paths):
        raise refusal("Could not read dataset.")
    return Response()


def list_datasets(world: World, request: Request) -> Response:
    """List datasets; the search is fuzzy, and full objects come unless compact ones are asked."""
    query = request.query
    found = [
        dataset
        for dataset in world.iter_visible(request.token)
        if _is_meant(dataset, query) and _is_in_folder(world, dataset, query)
    ]
    found = found[: int(query.get("limit", len(found) + 1))]
    if request.version >= 16 or query.get("compact") == "true":
        return as_json([_compact(dataset) for dataset in found])
    return as_json([dataset_json(world, dataset) for dataset in found])


def _is_meant(dataset: Dataset, query: dict[str, str]) -> bool:
    wanted = {
        "organizationId": dataset.organization,
        "uploaderId": dataset.uploader_id,
        "isActive": str(dataset.is_active).lower(),
    }
    if any(query.get(name, value) != value for name, value in wanted.items()):
        return False
    words = query.get("searchQuery", "").lower().split()
    return all(word in dataset.name.lower() for word in words)


def _is_in_folder(world: World, dataset: Dataset, query: dict[str, str]) -> bool:
    wanted = query.get("folderId")
    at = dataset.folder_id
    if wanted is None or at == wanted:
        return True
    if query.get("includeSubfolders") != "true":
        return False
    while at and at != wanted:
        at = world.folders[at].parent
    return at == wanted


_CHANGEABLE = {
    "name": "name",
    "description": "description",
    "tags": "tags",
    "isPublic": "is_public",
    "sortingKey": "sorting_ms",
    "dataSource": "source",
}


def update_dataset(world: World, request: Request) -> Response:
    """Change what the body names; what is absent stays."""
    found = world.dataset_to_edit(check_object_id(request.parameters["id"]), request.token)
    body = request.json()
    if "metadata" in body:
        keys = [entry["key"] for entry in body["metadata"]]
        if len(set(keys)) < len(keys):
            raise refusal("Metadata keys must be unique.")
        if any(entry["type"] not in {"string", "number", "string[]"} for entry in body["metadata"]):
            raise RefusedError(
                as_json({"obj.metadata": [{"msg": ["error.expected.type"], "args": []}]}, 400)
            )
        found.metadata = body["metadata"]
    if "folderId" in body:
        if not world.may_write_folder(world.user(request.token), body["folderId"]):
            raise refusal("No write access in this folder.", status=403)
        found.folder_id = body["folderId"]
    for name, attribute in _CHANGEABLE.items():
        if name in body:
            setattr(found, attribute, body[name])
    return as_json(dataset_json(world, found))


def update_teams(world: World, request: Request) -> Response:
    """Set a dataset's teams; teams that the asker may not edit stay as they are."""
    found = world.dataset_to_edit(check_object_id(request.parameters["id"]), request.token)
    user = world.user(request.token)
    wanted = request.json()
    if not isinstance(wanted, list) or any(not isinstance(team, str) for team in wanted):
        raise RefusedError(as_json({"obj": [{"msg": ["error.expected.jsarray"], "args": []}]}, 400))
    own = {team.id for team in (world.teams if user.is_admin else user.teams)}
    found.teams = [team for team in found.teams if team not in own]
    found.teams += [team for team in wanted if team in own]
    return as_json(found.teams)


def delete_dataset(world: World, request: Request) -> Response:
    """Delete a dataset."""
    found = world.dataset_to_edit(check_object_id(request.parameters["id"]), request.token)
    if not world.behaviour.can_delete:
        raise refusal("Dataset deletion is not enabled for this WEBKNOSSOS instance.")
    if not world.may_write(world.user(request.token), found):
        raise forbidden()
    del world.datasets[found.id]
    return Response()


ROUTES: tuple[Route, ...] = (
    route("api", "GET", "/buildinfo", "buildinfo", build_info),
    route("api", "GET", "/health", "health", health),
    route("datastore", "GET", "/health", "health", health),
    route("api", "GET", "/user", "user", who_am_i),
    route("api", "GET", "/auth/token", "token", own_token),
    route("api", "GET", "/teams", "teams", list_teams),
    route("api", "GET", "/datastores", "datastores", list_datastores),
    route("api", "GET", "/datasets/{name}/isValidNewName", "is_valid_name", is_valid_name),
    route("api", "GET", "/folders/tree", "folder_tree", folder_tree),
    route("api", "GET", "/folders/root", "root_folder", root_folder),
    route("api", "POST", "/folders/create", "create_folder", create_folder),
    route("api", "GET", "/datasets", "list_datasets", list_datasets),
    route("api", "GET", "/datasets/{id}", "dataset", show_dataset),
    route("api", "GET", "/datasets/{id}/health", "dataset_health", dataset_health),
    route("api", "PATCH", "/datasets/{id}/updatePartial", "update", update_dataset),
    route("api", "PATCH", "/datasets/{id}/teams", "update_teams", update_teams),
    route("api", "DELETE", "/datasets/{id}", "delete", delete_dataset),
)
