"""KNOSSOS cubes: a tree of raw cubes of 128³ voxels; what was not written is zero.

`xXXXX/yYYYY/zZZZZ/NAME_xXXXX_yYYYY_zZZZZ.raw` holds uint8 voxels, x fastest, then y, then z. The
tree lies beside `knossos.conf`, or in `mag1` below it. Only mag 1 is read, and of its cubes only
those without compression.

Source: the KNOSSOS documentation on its dataset format and `knossos.conf`.
"""

import re
from collections.abc import Mapping
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize, Vec3
from stackwatch.readers.chunked import ChunkedReader
from stackwatch.readers.damage import unsupported
from stackwatch.readers.folder import FolderView, join
from stackwatch.readers.scale import length_nm, number_of
from stackwatch.readers.webknossos_layer import LayerBoxes, LayerPlace, open_layer

_EDGE: Final = 128
_CUBE: Final = re.compile(r"x(\d+)/y(\d+)/z(\d+)/[^/]*_x\1_y\2_z\3\.(.+)")
_WORD: Final = re.compile(r'^\s*([a-z_]+(?:\s+[a-z_]+)?)\s+"?([^";]+)"?\s*;?\s*$')

Cubes = Mapping[tuple[int, int, int], str]
"""Paths of the cubes by their numbers along z, y, x."""


def open_knossos(view: FolderView, anchor: str) -> ChunkedReader:
    """Open the cubes of mag 1 beside or below a `knossos.conf`.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError
        The caller passes them on.
    """
    root = anchor.rpartition("/")[0]
    conf = _parse(view.read(anchor) or b"")
    if conf.get("magnification", "1") != "1":
        raise unsupported(
            root, f"KNOSSOS cubes of mag {conf['magnification']}", "Give the folder of mag 1."
        )
    edge = int(conf.get("cube_edge_length", _EDGE))
    cubes = _find_cubes(view, root) or _find_cubes(view, join(root, "mag1"))
    if not cubes:
        raise _damaged(anchor, "no cube lies beside it or in “mag1” below it")
    for path in cubes.values():
        size = view.entries[path].size
        if size != edge**3:
            raise _damaged(path, f"a cube has {edge**3:,} bytes, this file {size:,}")
    place, notes = _place(conf, cubes, edge)

    def read_part(_t: int, z: range, y: range, x: range) -> NDArray[Any]:
        return _read(view, cubes, edge, (z, y, x))

    boxes = LayerBoxes(place, Vec3(edge, edge, edge), (), "uint8", read_part, lambda: None)
    return open_layer(boxes, "knossos", notes)


def _parse(data: bytes) -> dict[str, str]:
    """Return the statements of a `knossos.conf`: a word or two, a value, a semicolon."""
    lines = data.decode("utf-8", "replace").splitlines()
    return {
        " ".join(found[1].split()): found[2].strip()
        for line in lines
        if (found := _WORD.match(line))
    }


def _find_cubes(view: FolderView, folder: str) -> Cubes:
    prefix = f"{folder}/" if folder else ""
    cubes: dict[tuple[int, int, int], str] = {}
    for path in view.entries:
        found = _CUBE.fullmatch(path[len(prefix) :]) if path.startswith(prefix) else None
        if found is None:
            continue
        if found[4] != "raw":
            raise unsupported(
                path, f"a cube of the kind .{found[4]}", "Save the cubes without compression."
            )
        x, y, z = (int(number) for number in found.groups()[:3])
        if (z, y, x) in cubes:
            raise _damaged(path, f"“{show_path(cubes[z, y, x])}” is the same cube")
        cubes[z, y, x] = path
    return cubes


def _place(conf: Mapping[str, str], cubes: Cubes, edge: int) -> tuple[LayerPlace, tuple[str, ...]]:
    """Return extent and voxel size: as `knossos.conf` says, or around the cubes that are there."""
    start, held = Vec3(0, 0, 0), [(max(axis) + 1) * edge for axis in zip(*cubes, strict=True)]
    boundary = [conf.get(f"boundary {axis}", "") for axis in "xyz"]
    edges = (length_nm(number_of(conf.get(f"scale {axis}")), "nm") for axis in "xyz")
    size = PartialVoxelSize(*edges)
    missing = np.prod([extent // edge for extent in held]) - len(cubes)
    notes = [f"{missing} cubes are not there; they are black"] * bool(missing)
    if all(word.isdigit() and int(word) for word in boundary):
        end = Vec3(*map(int, boundary))
        beyond = [axis for axis, has, said in zip("zyx", held, tuple(end)[::-1], strict=True)
                  if has - edge >= said]  # fmt: skip
        if beyond:
            raise _damaged(
                "knossos.conf", f"cubes lie behind its boundary along {', '.join(beyond)}"
            )
        return LayerPlace(start, end, start, size), tuple(notes)
    notes.append(f"no boundary is stated: whole cubes of {edge} voxels are read")
    return LayerPlace(start, Vec3(*held[::-1]), start, size), tuple(notes)


def _read(
    view: FolderView, cubes: Cubes, edge: int, part: tuple[range, range, range]
) -> NDArray[Any]:
    """Return a part of the tree; zeros where there is no cube."""
    found = np.zeros(tuple(map(len, part)), np.uint8)
    zs, ys, xs = (range(axis.start // edge, -(-axis.stop // edge)) for axis in part)
    for cube in product(zs, ys, xs):
        data = view.read(cubes[cube]) if cube in cubes else None
        if data is None:
            continue
        voxels = np.frombuffer(data, np.uint8).reshape(edge, edge, edge)
        into, inside = [], []
        for number, axis in zip(cube, part, strict=True):
            first, last = max(number * edge, axis.start), min((number + 1) * edge, axis.stop)
            into.append(slice(first - axis.start, last - axis.start))
            inside.append(slice(first - number * edge, last - number * edge))
        found[tuple(into)] = voxels[tuple(inside)]
    return found


def _damaged(path: str, why: str) -> CorruptSliceError:
    return CorruptSliceError(
        f"“{show_path(path)}” cannot be read as KNOSSOS cubes: {why}. Copy the folder again.",
        hint="Copy the folder again.",
        path=show_path(path),
    )
