"""Voxels, from the datastore of the stand-in: what a client's probe reads back."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import zarr
from numpy.typing import NDArray

from stackwatch.errors import StackwatchError
from stackwatch.readers.wkw import WkwMag
from stackwatch.testing.webknossos_checks import check_object_id, mags_of
from stackwatch.testing.webknossos_http import RefusedError, Request, Response, html_page, refusal
from stackwatch.testing.webknossos_routing import Route, route
from stackwatch.testing.webknossos_world import World

DTYPES = {"uint24": "uint8", "float": "float32", "double": "float64"}


def read_data(world: World, request: Request) -> Response:
    """Return a box of voxels: channels, then x, y and z, in Fortran order; outside it is zero."""
    dataset_id = check_object_id(request.parameters["id"])
    with world.lock:
        world.check_reader(request.token, dataset_id)
        source = world.datasets[dataset_id].source
    name = request.parameters["layer"]
    layers = {layer["name"]: layer for layer in (source or {}).get("dataLayers", ())}
    if name not in layers:
        raise refusal(f"Could not find data layer “{name}”.", status=404)
    layer = layers[name]
    mag = _parse_mag(request.query.get("mag", ""))
    x, y, z, width, height, depth = (
        _number(request, key) for key in ("x", "y", "z", "width", "height", "depth")
    )
    if mag not in mags_of(layer):
        raise refusal(f"Could not find mag {mag} of data layer “{name}”.", status=404)
    entry = next(entry for entry in layer["mags"] if tuple(entry["mag"]) == mag)
    folder = local_place(world, entry["path"])
    start = tuple(at // edge for at, edge in zip((x, y, z), mag, strict=True))
    try:
        voxels = read_box(folder, entry, layer, start, (width, height, depth))
    except (OSError, ValueError, RuntimeError, StackwatchError) as error:
        raise refusal("Could not load data.", str(error)) from error
    return Response(
        body=voxels.tobytes(order="F"),
        content_type="application/octet-stream",
        headers=(("MISSING-BUCKETS", "[]"),),
    )


def local_place(world: World, path: str) -> Path:
    """Return where a mag's path leads on this machine."""
    for remote, local in world.behaviour.remote_places:
        if path.startswith(remote):
            return Path(local) / unquote(path.removeprefix(remote)).lstrip("/")
    return plain_path(path)


def plain_path(path: str) -> Path:
    """Return a local path that may be written as `file://` URI."""
    return Path(unquote(path.removeprefix("file://")) if path.startswith("file://") else path)


def read_box(
    folder: Path,
    entry: dict[str, Any],
    layer: dict[str, Any],
    start: tuple[int, ...],
    size: tuple[int, ...],
) -> NDArray[Any]:
    """Read a box from a mag directory.

    Parameters
    ----------
    folder : Path
        The mag directory: WKW, or an array of Zarr 2 or 3.
    entry, layer : dict
        As the data source describes mag and layer.
    start, size : (x, y, z)
        In voxels of the mag.

    Returns
    -------
    array, shape (c, x, y, z)
    """
    dtype = np.dtype(DTYPES.get(layer["elementClass"], layer["elementClass"]))
    channels = 3 if layer["elementClass"] == "uint24" else 1
    found = np.zeros((channels, *size), dtype)
    if not folder.is_dir():
        return found
    if (folder / "header.wkw").exists():
        with WkwMag(folder) as stored:
            x, y, z = (range(at, at + n) for at, n in zip(start, size, strict=True))
            part = stored.read(z, y, x)
            part = part[..., None] if part.ndim == 3 else part
            found[:] = part.transpose(3, 2, 1, 0)
        return found
    array = zarr.open_array(folder, mode="r")
    order = entry.get("axisOrder") or _axes_of(folder, array)
    index: list[Any] = [0] * array.ndim
    kept = [axis for axis in "cxyz" if axis in order]
    for axis in kept:
        place = "xyz".find(axis)
        first, count = (start[place], size[place]) if place >= 0 else (0, channels)
        index[order[axis]] = slice(first, min(first + count, array.shape[order[axis]]))
    if any(part.start >= part.stop for part in index if isinstance(part, slice)):
        return found
    part = np.asarray(array[tuple(index)])
    left = sorted(kept, key=lambda axis: order[axis])
    part = part.transpose([left.index(axis) for axis in kept])
    part = part[None] if "c" not in kept else part
    c, x_n, y_n, z_n = part.shape
    found[:c, :x_n, :y_n, :z_n] = part
    return found


def _axes_of(folder: Path, array: Any) -> dict[str, int]:
    metadata = folder / "zarr.json"
    if metadata.exists():
        names = json.loads(metadata.read_bytes()).get("dimension_names")
        if names:
            return {name: place for place, name in enumerate(names)}
    first = array.ndim - 4
    return {axis: first + at for at, axis in enumerate("cxyz") if first + at >= 0}


def _parse_mag(text: str) -> tuple[int, int, int]:
    parts = [int(part) for part in re.findall(r"\d+", text)]
    if len(parts) == 1:
        return (parts[0], parts[0], parts[0])
    if len(parts) == 3:
        return (parts[0], parts[1], parts[2])
    raise RefusedError(html_page(400, "Missing parameter: mag"))


def _number(request: Request, name: str) -> int:
    try:
        return int(request.query[name])
    except (KeyError, ValueError) as error:
        raise RefusedError(html_page(400, f"Missing parameter: {name}")) from error


ROUTES: tuple[Route, ...] = (
    route("datastore", "GET", "/datasets/{id}/layers/{layer}/data", "data", read_data),
)
