"""Which voxels are read back after a delivery, and what they are here.

Of every mag boxes at its first and last voxels, in its middle and at random places; and of every
part of a file whose arrival is in doubt the first and the last chunk of voxels that lie in it.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stackwatch.pipeline.stored import place_of_array
from stackwatch.readers.wkw import WkwMag
from stackwatch.readers.wkw_header import (
    HEADER_BYTES,
    HEADER_FILE,
    BlockType,
    morton_places,
    parse_header,
)
from stackwatch.webknossos.local import LocalDataset, LocalLayer, LocalMag
from stackwatch.webknossos.parcel import DoubtfulChunk
from stackwatch.webknossos.verify import Probe

_EDGE: Final = 32
_RANDOM_BOXES: Final = 4
_MOST_DOUBTFUL: Final = 256
_ABSENT: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)

Place = tuple[int, int, int]


def iter_probes(
    local: LocalDataset, doubtful: Sequence[DoubtfulChunk] = (), seed: int = 0
) -> Iterator[Probe]:
    """Yield boxes of a dataset with their voxels; layers with a time are left out.

    Parameters
    ----------
    local : LocalDataset
    doubtful : sequence of DoubtfulChunk
        The first of them are looked at closely; of very many evenly chosen ones.
    seed : int
        Chooses the places.

    Cost
    ----
    One chunk of voxels in memory at a time.
    """
    step = -(-len(doubtful) // _MOST_DOUBTFUL) or 1
    for part in doubtful[::step]:
        yield from _doubtful_probes(local, part)
    draw = random.Random(seed)  # noqa: S311 - it chooses places, no secrets
    for layer in local.layers:
        for mag in layer.mags:
            yield from _probes_of(local.root, layer, mag, _sampled_corners(layer, mag, draw))


def _sampled_corners(layer: LocalLayer, mag: LocalMag, draw: random.Random) -> list[Place]:
    """Return corners of boxes in voxels of the mag, on its grid of chunks."""
    first, end = _extent(layer, mag)
    lowest = [a // _EDGE for a in first]
    highest = [(b - 1) // _EDGE for b in end]
    middle = [(a + b) // 2 for a, b in zip(lowest, highest, strict=True)]
    blocks = [lowest, highest, middle]
    blocks += [
        [draw.randint(a, b) for a, b in zip(lowest, highest, strict=True)]
        for _ in range(_RANDOM_BOXES)
    ]
    corners = [(x * _EDGE, y * _EDGE, z * _EDGE) for x, y, z in blocks]
    return list(dict.fromkeys(corners))


def _extent(layer: LocalLayer, mag: LocalMag) -> tuple[list[int], list[int]]:
    """Return the layer's box in voxels of the mag: what lies in it in part counts."""
    first = [at // edge for at, edge in zip(layer.top_left, mag.mag, strict=True)]
    sizes = zip(layer.top_left, layer.size, mag.mag, strict=True)
    return first, [-(-(at + size) // edge) for at, size, edge in sizes]


def _probes_of(
    root: Path, layer: LocalLayer, mag: LocalMag, corners: Sequence[Place], edge: int = _EDGE
) -> Iterator[Probe]:
    if layer.has_more_axes or layer.data_format not in {"zarr3", "wkw"}:
        return
    first, end = _extent(layer, mag)
    read_cxyz = _reader(root / mag.path, layer)
    for corner in corners:
        starts = [max(a, b) for a, b in zip(corner, first, strict=True)]
        stops = [min(a + edge, b) for a, b in zip(corner, end, strict=True)]
        if any(a >= b for a, b in zip(starts, stops, strict=True)):
            continue
        voxels_cxyz = read_cxyz(tuple(slice(a, b) for a, b in zip(starts, stops, strict=True)))
        x, y, z = (a * b for a, b in zip(starts, mag.mag, strict=True))
        width, height, depth = (b - a for a, b in zip(starts, stops, strict=True))
        little = voxels_cxyz.astype(voxels_cxyz.dtype.newbyteorder("<"), copy=False)
        expected = little.tobytes(order="F")
        yield Probe(layer.name, mag.mag, (x, y, z), (width, height, depth), expected)


def _reader(folder: Path, layer: LocalLayer) -> Callable[[tuple[slice, ...]], NDArray[Any]]:
    """Return what reads a box (x, y, z) of a mag as (c, x, y, z); the array is opened once."""
    if layer.data_format == "zarr3":
        import zarr

        array: Any = zarr.open_array(place_of_array(folder), mode="r")
        return lambda part: np.asarray(array[(slice(None), *part)])

    def read_wkw(part: tuple[slice, ...]) -> NDArray[Any]:
        x, y, z = (range(piece.start, piece.stop) for piece in part)
        with WkwMag(folder) as stored:
            voxels = stored.read(z, y, x)
        zyxc = voxels if voxels.ndim == 4 else voxels[..., np.newaxis]
        return zyxc.transpose(3, 2, 1, 0)

    return read_wkw


# ---------------------------------------------------------------- what is in doubt


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk of voxels in a file: where its bytes and its voxels are."""

    start: int
    end: int
    corner: Place


def _doubtful_probes(local: LocalDataset, part: DoubtfulChunk) -> Iterator[Probe]:
    for layer in local.layers:
        for mag in layer.mags:
            if not part.path.startswith(f"{mag.path}/"):
                continue
            inside = part.path.removeprefix(f"{mag.path}/")
            edge, pieces = _pieces_of(local.root / mag.path, inside, layer)
            touched = _touched(pieces, part) or pieces
            corners = [touched[at].corner for at in (0, -1) if touched]
            yield from _probes_of(local.root, layer, mag, list(dict.fromkeys(corners)), edge)


def _touched(pieces: list[_Piece], part: DoubtfulChunk) -> list[_Piece]:
    """Return the pieces that lie in a part of a file; none where it holds an index or a header.

    A lost index shows in any piece of its file.
    """
    return [piece for piece in pieces if piece.start < part.end and part.start < piece.end]


def _pieces_of(folder: Path, inside: str, layer: LocalLayer) -> tuple[int, list[_Piece]]:
    """Return the edge of the chunks of voxels in a file, and those that it holds, by offset."""
    if layer.has_more_axes:
        return _EDGE, []
    if layer.data_format == "zarr3":
        edge, pieces = _zarr_pieces(folder, inside)
    elif layer.data_format == "wkw":
        edge, pieces = _wkw_pieces(folder, inside)
    else:
        return _EDGE, []
    return edge, sorted(pieces, key=lambda piece: piece.start)


def _zarr_pieces(folder: Path, inside: str) -> tuple[int, list[_Piece]]:
    """Read a shard's index: offset and length of each chunk, in C order, at the file's end."""
    import zarr

    array: Any = zarr.open_array(folder, mode="r")
    if not inside.startswith("c/"):
        return _EDGE, []
    place = [int(number) for number in inside.split("/")[1:]]
    if array.shards is None:
        corner = [number * edge for number, edge in zip(place, array.chunks, strict=True)][1:]
        whole = _Piece(0, (folder / inside).stat().st_size, (corner[0], corner[1], corner[2]))
        return int(max(array.chunks[1:])), [whole]
    counts = [shard // chunk for shard, chunk in zip(array.shards, array.chunks, strict=True)]
    total = int(np.prod(counts))
    with (folder / inside).open("rb") as file:
        file.seek(-(16 * total + 4), os.SEEK_END)  # a shard may be larger than the memory
        index = np.frombuffer(file.read(16 * total), "<u8").reshape(-1, 2)
    pieces = []
    for at in np.flatnonzero(index[:, 0] != _ABSENT):
        chunk = np.unravel_index(int(at), counts)
        _, x, y, z = (
            int(number) * shard + int(inner) * edge
            for number, shard, inner, edge in zip(
                place, array.shards, chunk, array.chunks, strict=True
            )
        )
        start, length = int(index[at, 0]), int(index[at, 1])
        pieces.append(_Piece(start, start + length, (x, y, z)))
    return int(max(array.chunks[1:])), pieces


def _wkw_pieces(folder: Path, inside: str) -> tuple[int, list[_Piece]]:
    """Read a cube's jump table: where each block ends, in Morton order."""
    if not inside.endswith(".wkw") or inside == HEADER_FILE:
        return _EDGE, []
    z, y, x = (int(part.removesuffix(".wkw")[1:]) for part in inside.split("/"))
    with (folder / inside).open("rb") as file:
        header = parse_header(file.read(HEADER_BYTES), folder / inside)
        if header.block_type is BlockType.RAW:
            ends = header.first_block + header.block_bytes * np.arange(1, header.blocks + 1)
        else:
            ends = np.frombuffer(file.read(8 * header.blocks), "<u8").astype(np.int64)
    starts = np.concatenate([[header.data_offset], ends[:-1]])
    edge, cubes = header.block_edge, header.cube_edge
    pieces = []
    for (bz, by, bx), place in np.ndenumerate(morton_places(header.blocks_per_edge)):
        corner = (x * cubes + bx * edge, y * cubes + by * edge, z * cubes + bz * edge)
        pieces.append(_Piece(int(starts[place]), int(ends[place]), corner))
    return edge, pieces
