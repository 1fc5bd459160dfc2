"""Uploads, on the datastore of the stand-in: reserve, chunks, unfinished ones, cancel."""

import os
from pathlib import Path, PurePosixPath
from typing import Any

from stackwatch.testing.webknossos_checks import check_schema, name_error
from stackwatch.testing.webknossos_finish import finish_upload
from stackwatch.testing.webknossos_http import (
    RefusedError,
    Request,
    Response,
    as_json,
    html_page,
    messages,
    refusal,
)
from stackwatch.testing.webknossos_routing import LEGACY, MODERN, Route, route
from stackwatch.testing.webknossos_world import ChunkedFile, Dataset, Upload, User, World, new_id

INFO = "resumableUploadInfo"
REQUIRED = {
    f"{INFO}.uploadId": str,
    f"{INFO}.totalFileCount": int,
    "datasetName": str,
    "organizationId": str,
    "initialTeamIds": list,
}
OPTIONAL = {
    f"{INFO}.filePaths": list,
    f"{INFO}.totalFileSizeInBytes": int,
    "layersToLink": list,
    "folderId": str,
    "requireUniqueName": bool,
    "isVirtual": bool,
    "needsConversion": bool,
    "voxelSizeUnit": str,
}
LEGACY_REQUIRED = {
    "uploadId": str,
    "name": str,
    "organization": str,
    "totalFileCount": int,
    "initialTeams": list,
}
LEGACY_OPTIONAL = {
    "filePaths": list,
    "totalFileSizeInBytes": int,
    "layersToLink": list,
    "folderId": str,
    "requireUniqueName": bool,
}


def reserve(world: World, request: Request) -> Response:
    """Begin an upload; an upload id that is known is answered 200 and nothing changes."""
    body = request.json()
    check_schema(body, REQUIRED, OPTIONAL)
    return _reserve(world, request, body)


def reserve_legacy(world: World, request: Request) -> Response:
    """Begin an upload as versions 10 to 13 do."""
    body = request.json()
    check_schema(body, LEGACY_REQUIRED, LEGACY_OPTIONAL)
    info = {
        name: body.get(name)
        for name in ("uploadId", "totalFileCount", "filePaths", "totalFileSizeInBytes")
    }
    return _reserve(world, request, {
        INFO: info,
        "datasetName": body["name"],
        "organizationId": body["organization"],
        "initialTeamIds": body["initialTeams"],
        "layersToLink": body.get("layersToLink"),
        "folderId": body.get("folderId"),
        "requireUniqueName": body.get("requireUniqueName"),
    })  # fmt: skip


def _reserve(world: World, request: Request, body: dict[str, Any]) -> Response:
    info = body[INFO]
    upload_id = info["uploadId"]
    with world.lock:
        world.check_administrator(request.token, body["organizationId"])
        if upload_id in world.uploads:
            return Response()
        dataset = create_row(world, world.users[request.token], body)
        if body.get("needsConversion") and body.get("layersToLink"):
            raise refusal("Cannot use linked layers if the dataset needs conversion")
        world.uploads[upload_id] = Upload(
            id=upload_id,
            dataset_id=dataset.id,
            organization=dataset.organization,
            user_id=dataset.uploader_id,
            file_count=info["totalFileCount"],
            reserved_bytes=info.get("totalFileSizeInBytes"),
            paths=info.get("filePaths") or [],
            folder=world.root / "uploading" / upload_id,
            last_active_s=world.clock.now(),
            needs_conversion=bool(body.get("needsConversion")),
        )
    return Response()


def create_row(world: World, user: User, body: dict[str, Any]) -> Dataset:
    """Create the row of a dataset to come, after all checks of WEBKNOSSOS in their order."""
    outer = "Could not validate dataset information for upload."
    organization, name = body["organizationId"], body["datasetName"]
    size = body[INFO].get("totalFileSizeInBytes") or 0
    quota = world.behaviour.quota_bytes
    if quota and world.used_bytes(organization) + size > quota:
        inner = "Cannot upload dataset because the storage quota of the organization is exceeded."
        raise refusal(outer, _relayed(inner, 403))
    if user.organization != organization:
        inner = "You are not authorized to view or edit this resource."
        raise refusal(outer, _relayed(inner, 403))
    if problem := name_error(name):
        raise refusal(outer, _relayed(problem))
    for link in body.get("layersToLink") or []:
        if link.get("datasetId") not in world.datasets:
            raise refusal(outer, _relayed("Could not link all requested layers."))
    if body.get("requireUniqueName") and any(d.name == name for d in world.datasets.values()):
        raise refusal(outer, _relayed(f"Dataset name “{name}” is already taken."))
    folder_id = body.get("folderId") or world.root_folder(organization).id
    if not world.may_write_folder(user, folder_id):
        inner = "No write access in this folder."
        raise refusal(outer, _relayed("Could not create dataset.", 400, inner))
    dataset = Dataset(
        id=new_id(),
        name=name,
        organization=organization,
        folder_id=folder_id,
        uploader_id=user.id,
        datastore=world.datastores[-1].name,
        created_ms=world.now_ms(),
    )
    world.datasets[dataset.id] = dataset
    # the row is there already when the teams are looked at
    own = {team.id for team in user.teams}
    wanted = body["initialTeamIds"]
    if not user.is_admin and set(wanted) - own:
        inner = "Can only assign teams the requesting user is in."
        raise refusal(outer, _relayed(inner))
    dataset.teams = list(wanted)
    return dataset


def _relayed(text: str, status: int = 400, *causes: str) -> str:
    """Return what the datastore's chain shows of an error of WEBKNOSSOS."""
    told = " <~ ".join((text, *causes))
    return (
        "Failed RPC to WEBKNOSSOS, Status: "
        f'{status} ResponseBody: \'{{"messages":[{{"error":"{told}"}}]}}\''[:400]
    )


def send_chunk(world: World, request: Request) -> Response:
    """Store one chunk of a file; one that is there already is answered 200 unread."""
    form, file = request.form()
    number, chunk_bytes, size, total = (
        _number(form, name)
        for name in (
            "resumableChunkNumber",
            "resumableChunkSize",
            "resumableCurrentChunkSize",
            "resumableTotalChunks",
        )
    )
    upload_id, _, path = form.get("resumableIdentifier", "").partition("/")
    if not upload_id:
        raise refusal("error.required")
    with world.lock:
        upload = world.upload(upload_id)
        world.check_writer(request.token, upload.dataset_id)
        if file is None:
            raise refusal("zip.file.notFound")
        target = _inside(upload.folder, path)
        known = upload.files.setdefault(path, ChunkedFile(total))
        if number in known.seen:
            return Response()
        known.seen.add(number)
    if request.is_unwritten:
        return Response()
    try:
        if len(file) > size:
            raise OSError(f"chunk has {len(file)} bytes, not {size}")
        _write_at(target, file, (number - 1) * chunk_bytes)
    except OSError as error:
        with world.lock:
            known.seen.discard(number)
        text = f"Error receiving chunk {number} for upload {upload_id}: {error}"
        raise refusal(text) from error
    return Response()


def _number(form: dict[str, str], name: str) -> int:
    if name not in form:
        raise refusal("error.required")
    try:
        return int(form[name])
    except ValueError as error:
        raise refusal("error.number") from error


def _inside(folder: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts
    if not path or path.startswith("/") or ".." in parts:
        raise refusal(f"Invalid file path: {path}")
    return folder / path


def _write_at(path: Path, piece: memoryview, offset: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while piece:
            written = os.pwrite(descriptor, piece, offset)
            piece, offset = piece[written:], offset + written
    finally:
        os.close(descriptor)


def test_chunk(world: World, request: Request) -> Response:
    """Tell whether a chunk is there: 200, or 204."""
    number = request.query.get("resumableChunkNumber", "")
    identifier = request.query.get("resumableIdentifier", "")
    if not number.isdigit() or not identifier:
        raise RefusedError(html_page(400, "Missing parameter"))
    upload_id, _, path = identifier.partition("/")
    with world.lock:
        upload = world.upload(upload_id)
        world.check_writer(request.token, upload.dataset_id)
        known = upload.files.get(path)
        return Response(200 if known is not None and int(number) in known.seen else 204)


def finish(world: World, request: Request) -> Response:
    """Finish an upload and tell the dataset's id."""
    if "uploadId" not in request.query:
        raise RefusedError(html_page(400, "Missing parameter: uploadId"))
    return as_json({"datasetId": finish_upload(world, request.query["uploadId"], request.token)})


def finish_legacy(world: World, request: Request) -> Response:
    """Finish an upload as versions 10 to 13 do."""
    body = request.json()
    check_schema(body, {"uploadId": str}, {"needsConversion": bool})
    return as_json({"newDatasetId": finish_upload(world, body["uploadId"], request.token)})


def unfinished(world: World, request: Request) -> Response:
    """List the asker's uploads that are alive."""
    organization = request.query.get("organizationName")
    if organization is None:
        raise RefusedError(html_page(400, "Missing parameter: organizationName"))
    with world.lock:
        world.check_administrator(request.token, organization)
        user = world.users[request.token]
        alive = [_as_unfinished(world, u) for u in _alive(world) if u.user_id == user.id]
    return as_json([entry for entry in alive if entry is not None])


def _alive(world: World) -> list[Upload]:
    now = world.clock.now()
    lasts = world.behaviour.upload_lasts_s
    return [upload for upload in world.uploads.values() if now - upload.last_active_s <= lasts]


def _as_unfinished(world: World, upload: Upload) -> dict[str, Any] | None:
    dataset = world.datasets.get(upload.dataset_id)
    if dataset is None:
        return None
    return {
        "uploadId": upload.id,
        "datasetName": dataset.name,
        "folderId": dataset.folder_id,
        "created": dataset.created_ms,
        "filePaths": upload.paths,
        "allowedTeams": dataset.teams,
    }


def cancel(world: World, request: Request) -> Response:
    """Forget an upload and its dataset's row; the id is in the query and in the body."""
    check_schema(request.json(), {"uploadId": str}, {})
    if "uploadId" not in request.query:
        raise RefusedError(html_page(400, "Missing parameter: uploadId"))
    return _cancel(world, request.query["uploadId"], request.token)


def cancel_legacy(world: World, request: Request) -> Response:
    """Forget an upload as servers up to version 13 do."""
    body = request.json()
    check_schema(body, {"uploadId": str}, {})
    return _cancel(world, body["uploadId"], request.token)


def _cancel(world: World, upload_id: str, token: str) -> Response:
    with world.lock:
        upload = world.upload(upload_id)
        if not world.behaviour.can_delete:
            outer = "Failed to check data access, token may be expired, consider reloading."
            inner = "Dataset deletion is not enabled for this WEBKNOSSOS instance."
            raise RefusedError(messages(outer, inner))
        user = world.users.get(token)
        if user is None or not user.is_admin or user.organization != upload.organization:
            text = "Token may be expired, consider reloading. Token authentication failed."
            raise RefusedError(Response(403, text.encode()))
        world.uploads.pop(upload_id)
        world.datasets.pop(upload.dataset_id, None)
    return Response()


_DATASET = "/datasets/upload/dataset"

ROUTES: tuple[Route, ...] = (
    route("datastore", "POST", f"{_DATASET}/reserveUpload", "reserve", reserve, MODERN),
    route("datastore", "POST", _DATASET, "chunk", send_chunk, MODERN),
    route("datastore", "GET", _DATASET, "test_chunk", test_chunk, MODERN),
    route("datastore", "POST", f"{_DATASET}/finishUpload", "finish", finish, MODERN),
    route("datastore", "POST", f"{_DATASET}/cancelUpload", "cancel", cancel, MODERN),
    route("datastore", "GET", f"{_DATASET}/unfinishedUploads", "unfinished", unfinished, MODERN),
    route("datastore", "POST", "/datasets/reserveUpload", "reserve", reserve_legacy, LEGACY),
    route("datastore", "POST", "/datasets", "chunk", send_chunk, LEGACY, is_unversioned=True),
    route("datastore", "GET", "/datasets", "test_chunk", test_chunk, LEGACY, is_unversioned=True),
    route("datastore", "POST", "/datasets/finishUpload", "finish", finish_legacy, LEGACY),
    route(
        "datastore", "POST", "/datasets/cancelUpload", "cancel", cancel_legacy, LEGACY,
        servers=range(14),
    ),
    route(
        "datastore", "GET", "/datasets/unfinishedUploads", "unfinished", unfinished, LEGACY,
        servers=range(14, 100),
    ),
    route(
        "datastore", "GET", "/datasets/getUnfinishedUploads", "unfinished", unfinished, LEGACY,
        servers=range(14),
    ),
)  # fmt: skip
