"""Which tiles of a CZI make which plane, scene by scene; which planes are not there. Pure.

A scene is one picture: its tiles lie somewhere on the stage, its bounding box is their union over
all planes. The declared extents and the directory are held against each other; a tile that nobody
wrote is never passed off as black.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stackwatch.readers.czi_directory import CziDirectory
from stackwatch.readers.damage import unsupported
from stackwatch.readers.limits import check_declared_planes

_DIMENSIONS: Final = {
    "H": "phases", "I": "directions of illumination", "V": "views", "R": "rotations", "B": "blocks",
}  # fmt: skip

PlaneKey = tuple[int, int, int]
"""t, c, z of a plane, counted from 0."""


@dataclass(frozen=True, slots=True)
class SceneTiles:
    """One scene.

    Attributes
    ----------
    index : int or None
        Its number in the file; None where the file has no scenes.
    x, y, width, height : int
        Bounding box of its tiles.
    first_tcz : (int, int, int)
        The file's own numbers of the first timepoint, channel and slice.
    size_tcz : (int, int, int)
    tiles : mapping of (t, c, z), counted from 0, to array of int
        The tiles of each plane that is there, in the order of the directory.
    every : array of int
        All tiles of the scene.
    absent_tcz : tuple of (int, int, int)
        Planes without any tile.
    partial_tcz : tuple of (int, int, int)
        Planes with fewer tiles than others have.
    """

    index: int | None
    x: int
    y: int
    width: int
    height: int
    first_tcz: PlaneKey
    size_tcz: PlaneKey
    tiles: Mapping[PlaneKey, NDArray[Any]]
    every: NDArray[Any]
    absent_tcz: tuple[PlaneKey, ...]
    partial_tcz: tuple[PlaneKey, ...]


def list_scenes(directory: CziDirectory) -> tuple[int | None, ...]:
    """Return the numbers of the scenes in the file."""
    if "S" not in directory.starts:
        return (None,)
    return tuple(int(number) for number in np.unique(directory.starts["S"]))


def arrange_scene(
    directory: CziDirectory, declared: Mapping[str, int], scene: int | None, name: str
) -> SceneTiles:
    """Sort the tiles of a scene into planes.

    Parameters
    ----------
    directory : CziDirectory
    declared : mapping of str to int
        Extents along Z, C, T as the metadata say.
    scene : int or None
        One of `list_scenes`.
    name : str
        The file's path, for messages.

    Raises
    ------
    IncompleteAcquisitionError
        Hardly any of the declared planes are there; the caller passes it on.
    UnsupportedFormatError
        It has an axis that a dataset has not.
    """
    chosen = np.arange(len(directory.position))
    if scene is not None:
        chosen = np.flatnonzero(directory.starts["S"] == scene)
    _refuse_axes(directory, chosen, name)
    spans = [_span(directory.index(axis), declared.get(axis, 1)) for axis in "TCZ"]
    (t0, c0, z0), (size_t, size_c, size_z) = zip(*spans, strict=True)
    tiles = _group(directory, chosen, (t0, c0, z0))
    check_declared_planes(name, size_t * size_c * size_z, len(tiles))
    every = ((t, c, z) for t in range(size_t) for c in range(size_c) for z in range(size_z))
    most = max(len(of_plane) for of_plane in tiles.values())
    left, top = directory.x[chosen].min(), directory.y[chosen].min()
    return SceneTiles(
        index=scene,
        x=int(left),
        y=int(top),
        width=int((directory.x + directory.width)[chosen].max() - left),
        height=int((directory.y + directory.height)[chosen].max() - top),
        first_tcz=(t0, c0, z0),
        size_tcz=(size_t, size_c, size_z),
        tiles=tiles,
        every=chosen,
        absent_tcz=tuple(plane for plane in every if plane not in tiles),
        partial_tcz=tuple(plane for plane, found in tiles.items() if len(found) < most),
    )


def black_share(directory: CziDirectory, scene: SceneTiles, plane: PlaneKey) -> float:
    """Return the part of a plane that no tile covers, which is black.

    Cost: one pass over the tiles for each of their edges.
    """
    tiles = scene.tiles[plane]
    if len(tiles) == 1:
        (tile,) = tiles
        covered = int(directory.width[tile] * directory.height[tile])
        return 1 - covered / (scene.width * scene.height)
    left, top = directory.x[tiles], directory.y[tiles]
    right, bottom = left + directory.width[tiles], top + directory.height[tiles]
    edges = np.unique(np.concatenate([top, bottom]))
    covered = 0
    for upper, lower in pairwise(edges):
        here = np.flatnonzero((top <= upper) & (bottom >= lower))
        here = here[np.argsort(left[here])]
        # What each tile adds to the right of all before it.
        reached = np.maximum.accumulate(right[here])
        before = np.concatenate([left[here][:1], reached[:-1]])
        covered += int(np.maximum(right[here] - np.maximum(left[here], before), 0).sum()) * int(
            lower - upper
        )
    return 1 - covered / (scene.width * scene.height)


def _refuse_axes(directory: CziDirectory, chosen: NDArray[Any], name: str) -> None:
    for axis, starts in directory.starts.items():
        if axis in {"Z", "C", "T", "S", "M"}:
            continue
        count = len(np.unique(starts[chosen]))
        if count > 1:
            what = f"{count} {_DIMENSIONS.get(axis, 'steps of an unknown kind')} ({axis})"
            hint = "Process them in ZEN into one image, or export each as OME-TIFF."
            raise unsupported(name, what, hint)


def _span(starts: NDArray[Any], declared: int) -> tuple[int, int]:
    """Return the first number along an axis and how many there are to be, in all scenes."""
    first, last = int(starts.min()), int(starts.max())
    if declared <= last - first + 1:
        return first, last - first + 1
    return (0, declared) if 0 <= last < declared and first >= 0 else (first, declared)


def _group(
    directory: CziDirectory, chosen: NDArray[Any], first_tcz: PlaneKey
) -> dict[PlaneKey, NDArray[Any]]:
    """Return the tiles of each plane."""
    keys = np.stack(
        [
            directory.index(axis)[chosen] - first
            for axis, first in zip("TCZ", first_tcz, strict=True)
        ],
        axis=1,
    )
    planes, which = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(which.reshape(-1), kind="stable")
    counts = np.bincount(which.reshape(-1), minlength=len(planes))
    groups = np.split(chosen[order], np.cumsum(counts)[:-1])
    return {
        (int(t), int(c), int(z)): group for (t, c, z), group in zip(planes, groups, strict=True)
    }
