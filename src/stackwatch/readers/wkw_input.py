"""WKW as input: one layer of a dataset, its mag 1.

With `datasource-properties.json` beside the layer its bounding box counts; without it the cubes
that are there, which end at a multiple of their edge. A cube that is not there holds zeros.
"""

import math
import re
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import Vec3
from stackwatch.readers.chunked import ChunkedReader
from stackwatch.readers.damage import unsupported
from stackwatch.readers.folder import FolderView
from stackwatch.readers.webknossos_layer import LayerBoxes, LayerPlace, open_layer, read_layer
from stackwatch.readers.wkw import WkwMag

_CUBE: Final = re.compile(r"z(\d+)/y(\d+)/x(\d+)\.wkw")


def open_wkw(view: FolderView, anchor: str) -> ChunkedReader:
    """Open the layer whose mag 1 has this header.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError
        The caller passes them on.
    """
    folder = anchor.rpartition("/")[0]
    mag = WkwMag(Path(folder), lambda path: view.open_descriptor(path.as_posix()))
    header = mag.header
    if header.channels not in {1, 3} or (header.channels == 3 and header.dtype_name != "uint8"):
        raise unsupported(
            folder, f"{header.channels} channels of {header.dtype_name}", "Save a layer for each."
        )
    place = read_layer(view, folder)
    cubes = _find_cubes(view, folder)
    if cubes:  # before a plane is planned after a header that is damaged
        mag.ensure_fits(cubes[0])
    notes = []
    if place is None:
        place = _place_of_cubes(cubes, folder, header.cube_edge)
        notes.append(
            "no `datasource-properties.json` says where its data ends: whole cubes of "
            f"{header.cube_edge} voxels are read, and where nothing was written they are black"
        )

    missing = _count_cubes(place, header.cube_edge) - len(cubes)
    if missing > 0:
        notes.append(f"{missing:,} of its cubes are not there; they are black")

    def read_part(_t: int, z: range, y: range, x: range) -> NDArray[Any]:
        return mag.read(z, y, x)

    edge = header.block_edge
    tail = (3,) if header.channels == 3 else ()
    boxes = LayerBoxes(place, Vec3(edge, edge, edge), tail, header.dtype_name, read_part, mag.close)
    return open_layer(boxes, "wkw", tuple(notes))


def _find_cubes(view: FolderView, folder: str) -> list[tuple[int, int, int]]:
    """Return the numbers of the cubes that are there, along z, y, x."""
    prefix = f"{folder}/" if folder else ""
    return [
        (int(found[1]), int(found[2]), int(found[3]))
        for path in view.entries
        if path.startswith(prefix) and (found := _CUBE.fullmatch(path[len(prefix) :]))
    ]


def _count_cubes(place: LayerPlace, edge: int) -> int:
    """Return how many cubes a box meets."""
    return math.prod(
        -(-end // edge) - start // edge for start, end in zip(place.start, place.end, strict=True)
    )


def _place_of_cubes(cubes: list[tuple[int, int, int]], folder: str, edge: int) -> LayerPlace:
    """Return the box around all cubes that are there."""
    if not cubes:
        raise CorruptSliceError(
            f"“{show_path(folder)}” has a WKW header and no cubes. Copy the layer again.",
            hint="Copy the layer again.",
            path=show_path(folder),
        )
    start = Vec3(*(min(axis) * edge for axis in reversed(list(zip(*cubes, strict=True)))))
    end = Vec3(*((max(axis) + 1) * edge for axis in reversed(list(zip(*cubes, strict=True)))))
    return LayerPlace(start, end, start)
