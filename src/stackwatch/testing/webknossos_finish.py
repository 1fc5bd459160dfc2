"""The end of an upload, on the stand-in: check, move into place, drop what nothing refers to.

Unlike the real server it does not guess: an upload without `datasource-properties.json` is invalid
(`Not imported yet.`), and a conversion that was asked for is never done.
"""

import json
import os
import shutil
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, Final

from stackwatch.testing.webknossos_checks import (
    data_source_errors,
    is_remote,
    leaves_dataset,
    mag_path,
    mags_of,
    properties_problem,
)
from stackwatch.testing.webknossos_http import ConnectionCutError, RefusedError, messages
from stackwatch.testing.webknossos_world import Dataset, Upload, World

PROPERTIES_FILE: Final = "datasource-properties.json"

_NO_FILES = (
    "Tried to finish upload with no files. Note that files starting with dot are not read. This "
    "may be a retry of a failed finish request, see previous errors."
)
_LEAVING = (
    "Cannot upload a data source with local paths that leave the dataset, or with paths that match "
    "the WEBKNOSSOS reserved paths."
)


class _FinishError(Exception):
    """Finishing failed for these reasons, the outermost first."""

    def __init__(self, *causes: str, is_alive: bool = False) -> None:
        self.causes = causes
        self.is_alive = is_alive
        super().__init__(*causes)


def finish_upload(world: World, upload_id: str, token: str) -> str:
    """Finish an upload and return its dataset's id.

    The work goes on whoever still waits for its answer.

    Raises
    ------
    RefusedError
        With `Could not finalize upload …` and the reason in its chain. Chunks that are missing
        leave the upload alive; everything else ends it, and its dataset with it.
    ConnectionCutError
        The server was restarted meanwhile.
    """
    epoch = world.epoch
    with world.lock:
        upload = world.upload(upload_id)
        world.check_writer(token, upload.dataset_id)
        upload.finishing += 1
        is_second = upload.finishing > 1
    try:
        if is_second and world.behaviour.does_second_finish_delete:
            raise _FinishError("Two requests to finish the same upload moved the same files.")
        _check_size(world, upload)
        _check_chunks(upload)
        world.closing.wait(world.behaviour.finish_s)
        if world.epoch != epoch:
            raise ConnectionCutError
        dataset = _put_in_place(world, upload)
    except _FinishError as failed:
        if not failed.is_alive:
            _forget(world, upload)
            with world.lock:
                world.datasets.pop(upload.dataset_id, None)
        outer = f"Could not finalize upload for dataset “{upload.dataset_id}”."
        raise RefusedError(messages(outer, *failed.causes)) from failed
    finally:
        upload.finishing -= 1
    return dataset.id


def _check_size(world: World, upload: Upload) -> None:
    if upload.reserved_bytes is None:
        return
    size = _tree_bytes(upload.folder)
    if size > upload.reserved_bytes:
        raise _FinishError(
            "File size check failed during dataset upload.",
            f"Uploaded dataset {upload.dataset_id} exceeds the reserved size of "
            f"{upload.reserved_bytes} bytes, got {size} bytes.",
        )


def _check_chunks(upload: Upload) -> None:
    outer = "Could not verify that all chunks have been uploaded."
    if len(upload.files) != upload.file_count:
        inner = "Reserved file count does not match file names length."
        raise _FinishError(outer, inner, is_alive=True)
    for path, file in upload.files.items():
        if len(file.seen) != file.total:
            inner = (
                f"Chunks missing for uploaded file {path}: expected {file.total}, got "
                f"{len(file.seen)}."
            )
            raise _FinishError(outer, inner, is_alive=True)


def _put_in_place(world: World, upload: Upload) -> Dataset:
    """Do steps 5 to 11: unpack, forget the upload, read the properties, drop, move, report."""
    unpacked = upload.folder.with_name(f".{upload.id}.unpacked")
    shutil.rmtree(unpacked, ignore_errors=True)
    files = _unpack(upload.folder, unpacked)
    if not files:
        raise _FinishError(_NO_FILES)
    _forget(world, upload)
    source = _read_source(unpacked)
    _drop_unreferenced(unpacked, source)
    with world.lock:
        dataset = world.datasets.get(upload.dataset_id)
        if dataset is None:
            raise _FinishError(
                "Could not report upload completion from the data store to WEBKNOSSOS.",
                f"Dataset “{upload.dataset_id}” could not be found or accessed.",
            )
        final = world.storage / dataset.organization / dataset.directory
        final.parent.mkdir(parents=True, exist_ok=True)
        unpacked.rename(final)
        dataset.source = absolute_source(source, dataset, str(final))
        dataset.is_active, dataset.status = True, ""
        dataset.used_bytes = _tree_bytes(final)
    return dataset


def _unpack(folder: Path, target: Path) -> list[Path]:
    """Move the files without their common folders; a single zip is opened."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if len(files) == 1 and files[0].suffix == ".zip" and files[0].parent == folder:
        opened = folder / ".opened"
        with zipfile.ZipFile(files[0]) as archive:
            names = [name for name in archive.namelist() if not _is_hidden(name)]
            archive.extractall(opened, names)
        folder, files = opened, [path for path in sorted(opened.rglob("*")) if path.is_file()]
    prefix = _common_folder([path.relative_to(folder) for path in files])
    for path in files:
        place = target / path.relative_to(folder / prefix)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    return files


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") and part not in {".zarray", ".zattrs"} for part in parts)


def _common_folder(paths: list[Path]) -> Path:
    if not paths:
        return Path()
    common = Path(os.path.commonpath([path.parent.as_posix() or "." for path in paths] or ["."]))
    for place, part in enumerate(common.parts):
        if part in {"color", "segmentation"}:
            return Path(*common.parts[:place])
    return common


def _read_source(folder: Path) -> dict[str, Any]:
    path = folder / PROPERTIES_FILE
    if not path.exists():
        raise _FinishError("Invalid dataset uploaded: Not imported yet.")
    try:
        source = json.loads(path.read_bytes())
    except ValueError as error:
        raise _FinishError(
            f"Invalid dataset uploaded: Error: Invalid json format in {PROPERTIES_FILE}"
        ) from error
    if problem := properties_problem(source):
        text = f"Invalid dataset uploaded: Error: Invalid json format in {PROPERTIES_FILE}"
        raise _FinishError(text, problem)
    if any(
        leaves_dataset(mag_path(layer, mag))
        for layer in source["dataLayers"]
        for mag in mags_of(layer)
    ):
        raise _FinishError(_LEAVING)
    if errors := data_source_errors(source):
        raise _FinishError(f"Invalid dataset uploaded: Error: {' '.join(errors)}")
    found: dict[str, Any] = source
    return found


def _drop_unreferenced(folder: Path, source: dict[str, Any]) -> None:
    """Delete every file that is not below a mag or an attachment of the properties."""
    kept = [
        folder / mag_path(layer, mag) for layer in source["dataLayers"] for mag in mags_of(layer)
    ]
    for layer in source["dataLayers"]:
        for entries in (layer.get("attachments") or {}).values():
            entries = entries if isinstance(entries, list) else [entries]
            kept += [folder / entry["path"] for entry in entries if "path" in entry]
    places = [path.resolve() for path in kept]
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif not any(path.resolve().is_relative_to(place) for place in places):
            path.unlink()


def absolute_source(source: dict[str, Any], dataset: Dataset, base: str) -> dict[str, Any]:
    """Return a data source as the server keeps it: its own id, explicit absolute mag paths."""
    scale = source["scale"]
    layers = []
    for layer in source["dataLayers"]:
        mags = [
            _mag_entry(layer, mag) | {"path": _absolute(mag_path(layer, mag), base)}
            for mag in mags_of(layer)
        ]
        kept = {key: value for key, value in layer.items() if key != "wkwResolutions"}
        layers.append(kept | {"mags": mags})
    return {
        "id": {"name": dataset.directory, "team": dataset.organization},
        "dataLayers": layers,
        "scale": scale if isinstance(scale, dict) else {"factor": scale, "unit": "nanometer"},
    }


def _mag_entry(layer: dict[str, Any], mag: tuple[int, int, int]) -> dict[str, Any]:
    for entry in layer.get("mags") or []:
        if entry["mag"] in (list(mag), mag[0]):
            return dict(entry) | {"mag": list(mag)}
    return {"mag": list(mag)}


def _absolute(path: str, base: str) -> str:
    if is_remote(path) or path.startswith(("/", "file://")):
        return path
    return f"{base.rstrip('/')}/{path.removeprefix('./')}"


def _tree_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _forget(world: World, upload: Upload) -> None:
    with world.lock:
        world.uploads.pop(upload.id, None)
    shutil.rmtree(upload.folder, ignore_errors=True)
