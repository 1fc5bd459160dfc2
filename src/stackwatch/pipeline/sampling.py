"""Compare a staged dataset with its source: read back through zarr-python, slices read anew.

The engine that wrote the dataset has no part in this. What is compared are rows of chunks, since
that is how slices can be read: the first and the last of every layer, with the edges in x, y and z
that come with them, and others at random until the sample is large enough. One chunk of each
coarser mag is recomputed from the finer one.
"""

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackwatch.engine.downsample import Method, downsample_into, reduced_shape
from stackwatch.engine.stream import StreamControl
from stackwatch.errors import VerificationError, WriteError
from stackwatch.model.geometry import Mag
from stackwatch.model.plan import LayerPlan, StackPlan
from stackwatch.pipeline.stored import StoredMag, open_stored
from stackwatch.pipeline.streams import OpenSource
from stackwatch.readers.protocol import SliceSource
from stackwatch.stores.protocol import MagGrid

LEAST_CHUNKS = 32
SHARE = 0.01
SLICES_PER_SLAB = 4
"""Slices of a sampled slab that are decoded again, where rows cannot be read alone."""


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A full-width row of chunks of one slab."""

    t: int
    slab: int
    row: int


@dataclass(frozen=True, slots=True)
class StagedStack:
    """A stack and what was written for it.

    Attributes
    ----------
    stack : StackPlan
    layers : tuple of (LayerPlan, tuple of MagGrid, Method)
    held_bytes : int
        How much memory slices that were read again may take, where rows cannot be read alone; one
        slice is always held.
    """

    stack: StackPlan
    layers: tuple[tuple[LayerPlan, tuple[MagGrid, ...], Method], ...]
    held_bytes: int


def plan_sample(
    grid: MagGrid, timepoints: int, seed: str, *, in_few_slabs: bool, is_full: bool = False
) -> list[ChunkRow]:
    """Choose the rows of chunks to compare. Pure.

    Parameters
    ----------
    grid : MagGrid
        Of mag 1.
    timepoints : int
    seed : str
        The run's id: another run looks elsewhere.
    in_few_slabs : bool
        Whether the source decodes whole slices only: then the sample is gathered in few slabs.
    is_full : bool
        Choose every row.
    """
    columns, rows, slabs = grid.size.ceil_div(grid.chunk)
    if is_full:
        return [
            ChunkRow(t, slab, row)
            for t in range(timepoints)
            for slab in range(slabs)
            for row in range(rows)
        ]
    wanted = max(LEAST_CHUNKS, round(SHARE * columns * rows * slabs * timepoints))
    chosen = {ChunkRow(0, 0, 0), ChunkRow(timepoints - 1, slabs - 1, rows - 1)}
    generator = random.Random(seed)  # noqa: S311 - a sample, not a secret
    places = _random_rows(generator, (timepoints, slabs, rows), in_few_slabs=in_few_slabs)
    for place in places:
        if len(chosen) * columns >= wanted:
            break
        chosen.add(place)
    return sorted(chosen, key=lambda place: (place.t, place.slab, place.row))


def _random_rows(
    generator: random.Random, shape: tuple[int, int, int], *, in_few_slabs: bool
) -> Iterator[ChunkRow]:
    """Yield rows of chunks in random order; where asked, all rows of one slab before the next."""
    timepoints, slabs, rows = shape
    total = timepoints * slabs * rows
    if not in_few_slabs:
        # rows repeat now and then; a set takes care of that, and ten tries per row are plenty
        for _ in range(10 * total):
            number = generator.randrange(total)
            yield ChunkRow(number // (slabs * rows), number // rows % slabs, number % rows)
        return
    yield from (ChunkRow(0, 0, row) for row in range(rows))
    yield from (ChunkRow(timepoints - 1, slabs - 1, row) for row in range(rows))
    for number in generator.sample(range(timepoints * slabs), timepoints * slabs):
        yield from (ChunkRow(number // slabs, number % slabs, row) for row in range(rows))


def compare_with_source(
    root: Path,
    staged: StagedStack,
    open_source: OpenSource,
    control: StreamControl,
    seed: str,
    *,
    is_full: bool,
) -> int:
    """Compare one stack's layers with its slices; return how many chunks were compared.

    Parameters
    ----------
    root : Path
        The staged dataset.
    staged : StagedStack
    open_source : OpenSource
    control : StreamControl
    seed : str
    is_full : bool
        Compare every voxel of mag 1.

    Raises
    ------
    VerificationError
        A voxel differs; the message names layer, mag and place.
    """
    grid = staged.layers[0][1][0]
    stored = [
        open_stored(root / layer.name / str(grids[0].mag), grids[0])
        for layer, grids, _ in staged.layers
    ]
    reads_rows = open_source(staged.stack, 0).can_read_rows
    sample = plan_sample(
        grid,
        len(staged.stack.planes_tz),
        seed,
        in_few_slabs=not reads_rows,
        is_full=is_full,
    )
    reader = _SliceReader(staged, open_source, reads_rows=reads_rows, is_full=is_full, seed=seed)
    for (t, slab), places in groupby(sample, key=lambda place: (place.t, place.slab)):
        rows = [place.row for place in places]
        for zs in reader.rounds(slab):
            control.check()
            for row in rows:
                _compare_row(ChunkRow(t, slab, row), zs, staged, stored, reader)
    compared = len(sample) * -(-grid.size.x // grid.chunk.x) * len(stored)
    for layer, grids, method in staged.layers:
        control.check()
        compared += _compare_mags(root, layer, grids, method, seed)
    return compared


class _SliceReader:
    """Reads slices of the source again: whole ones as many at a time as fit, each one once."""

    def __init__(
        self,
        staged: StagedStack,
        open_source: OpenSource,
        *,
        reads_rows: bool,
        is_full: bool,
        seed: str,
    ) -> None:
        self._staged = staged
        self._open_source = open_source
        self._reads_rows = reads_rows
        self._is_full = is_full
        self._random = random.Random(seed)  # noqa: S311 - a sample, not a secret
        self._source: tuple[int, SliceSource] | None = None
        self._held: tuple[int, list[int]] | None = None
        self._whole: list[list[NDArray[Any]]] = []

    def rounds(self, slab: int) -> list[list[int]]:
        """Return the z of the slices of a slab to compare, those together that fit into memory."""
        grid = self._staged.layers[0][1][0]
        first = slab * grid.chunk.z
        depth = min(grid.chunk.z, grid.size.z - first)
        if self._reads_rows:
            return [list(range(first, first + depth))]
        chosen = [first + z for z in self._choose(depth)]
        layer = self._staged.layers[0][0]
        plane = grid.size.x * grid.size.y * layer.voxel_type.bytes_per_voxel
        most = max(1, self._staged.held_bytes // (plane * len(self._staged.layers)))
        return [chosen[start : start + most] for start in range(0, len(chosen), most)]

    def slices(
        self, t: int, zs: list[int], rows: tuple[int, int]
    ) -> Iterator[tuple[int, list[NDArray[Any]]]]:
        """Yield z and, for each layer, the rows of that slice."""
        if self._reads_rows:
            yield from ((z, self._read(t, z, rows)) for z in zs)
            return
        if self._held != (t, zs):
            height = self._staged.layers[0][0].size.y
            self._whole = []  # let go of the old ones first
            self._whole = [self._read(t, z, (0, height)) for z in zs]
            self._held = (t, zs)
        for z, planes in zip(zs, self._whole, strict=True):
            yield z, [plane[rows[0] : rows[1]] for plane in planes]

    def _choose(self, depth: int) -> list[int]:
        if self._is_full or depth <= SLICES_PER_SLAB:
            return list(range(depth))
        between = self._random.sample(range(1, depth - 1), SLICES_PER_SLAB - 2)
        return sorted([0, depth - 1, *between])

    def _read(self, t: int, z: int, rows: tuple[int, int]) -> list[NDArray[Any]]:
        if self._source is None or self._source[0] != t:
            self._source = (t, self._open_source(self._staged.stack, t))
        outs = []
        for layer, _, _ in self._staged.layers:
            shape: tuple[int, ...] = (rows[1] - rows[0], layer.size.x)
            if layer.voxel_type.channels > 1:
                shape += (layer.voxel_type.channels,)
            outs.append(np.empty(shape, layer.voxel_type.dtype))
        self._source[1].read_slice_into(z, outs, rows)
        return outs


def _compare_row(
    place: ChunkRow,
    zs: list[int],
    staged: StagedStack,
    stored: list[StoredMag],
    reader: _SliceReader,
) -> None:
    grid = staged.layers[0][1][0]
    top = place.row * grid.chunk.y
    rows = (top, min(top + grid.chunk.y, grid.size.y))
    first = place.slab * grid.chunk.z
    z_part = slice(first, first + grid.chunk.z)
    slabs = [
        _read_back(mag, layer, grid.mag, (place.t, z_part, slice(*rows), slice(None)))
        for mag, (layer, _, _) in zip(stored, staged.layers, strict=True)
    ]
    for z, planes in reader.slices(place.t, zs, rows):
        for (layer, _, _), slab, plane in zip(staged.layers, slabs, planes, strict=True):
            if not _same(slab[z - first], plane):
                y, x = _first_difference(slab[z - first], plane)
                raise _differs(layer, grid.mag, place.t, z, (top + y, x))


def _read_back(
    stored: StoredMag, layer: LayerPlan, mag: Mag, part: tuple[int, slice, slice, slice]
) -> NDArray[Any]:
    """Read a part of a mag; what its decoders cannot read is not what was written."""
    try:
        return stored.read(*part)
    except WriteError:
        raise  # a bucket refuses, or is away: that says nothing of what is in it
    except (RuntimeError, ValueError, OSError, zlib.error) as error:
        t, z, y, x = part
        raise VerificationError(
            f"Layer “{layer.name}”, mag {mag}, timepoint {t}: what was written cannot be read back "
            f"near x {x.start or 0}, y {y.start}, z {z.start} ({error}). Nothing was published; "
            "the conversion is tried again. If it happens again, look at the disks and the memory "
            "of this machine.",
            hint="Look at the disks and the memory of this machine.",
            layer=layer.name,
            mag=str(mag),
            t=t,
            z=z.start,
            y=y.start,
            x=x.start or 0,
        ) from error


def _bits(voxels: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(voxels).view(f"u{voxels.dtype.itemsize}")


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Compare bit by bit: NaN equals NaN, and 0 is not -0."""
    return np.array_equal(_bits(a), _bits(b))


def _first_difference(a: NDArray[Any], b: NDArray[Any]) -> tuple[int, int]:
    y, x = np.argwhere(_bits(a) != _bits(b))[0, :2].tolist()
    return y, x


def _differs(layer: LayerPlan, mag: Mag, t: int, z: int, yx: tuple[int, int]) -> VerificationError:
    return VerificationError(
        f"Layer “{layer.name}”, mag {mag}, timepoint {t}: voxel x {yx[1]}, y {yx[0]}, z {z} on the "
        "disk is not the one in the source. Nothing was published; the conversion is tried again. "
        "If it happens again, look at the disks and the memory of this machine.",
        hint="Look at the disks and the memory of this machine.",
        layer=layer.name,
        mag=str(mag),
        t=t,
        z=z,
        y=yx[0],
        x=yx[1],
    )


def _compare_mags(
    root: Path, layer: LayerPlan, grids: tuple[MagGrid, ...], method: Method, seed: str
) -> int:
    """Recompute one chunk of each coarser mag from the finer one."""
    generator = random.Random(f"{seed}{layer.name}")  # noqa: S311 - a sample, not a secret
    finer = open_stored(root / layer.name / str(grids[0].mag), grids[0])
    for previous, grid in pairwise(grids):
        coarser = open_stored(root / layer.name / str(grid.mag), grid)
        t = generator.randrange(layer.size_t)
        place = [generator.randrange(count) for count in grid.size.ceil_div(grid.chunk)]
        factor = grid.mag.factor_from(previous.mag)
        x, y, z = (
            slice(number * edge, min((number + 1) * edge, size))
            for number, edge, size in zip(place, grid.chunk, grid.size, strict=True)
        )
        part = (t, _scaled(z, factor.z), _scaled(y, factor.y), _scaled(x, factor.x))
        block = np.ascontiguousarray(_read_back(finer, layer, previous.mag, part))
        shape = reduced_shape(block.shape[:3], factor) + block.shape[3:]
        expected = np.empty(shape, block.dtype)
        downsample_into(block, factor, method, expected)
        # by value: of 0 and -0, which is the smaller one depends on how the loop was vectorised
        is_float = expected.dtype.kind == "f"
        found = _read_back(coarser, layer, grid.mag, (t, z, y, x))
        if not np.array_equal(found, expected, equal_nan=is_float):
            raise _differs(layer, grid.mag, t, z.start, (y.start, x.start))
        finer = coarser
    return len(grids) - 1


def _scaled(part: slice, factor: int) -> slice:
    return slice(part.start * factor, part.stop * factor)
