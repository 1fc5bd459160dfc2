"""The sample that is compared with the source: what is chosen, and that it sees what differs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stackwatch.engine.stream import StreamControl
from stackwatch.errors import CancelledError, VerificationError
from stackwatch.model.geometry import Mag, Vec3
from stackwatch.model.image import PixelFormat, Treatment
from stackwatch.model.plan import LayerPlan, PlaneRef, StackPlan
from stackwatch.model.voxels import Category, VoxelType
from stackwatch.pipeline.sampling import (
    LEAST_CHUNKS,
    ChunkRow,
    StagedStack,
    compare_with_source,
    plan_sample,
)
from stackwatch.stores.codecs import choose_codec
from stackwatch.stores.protocol import MagGrid
from stackwatch.testing.mags import write_mag
from stackwatch.testing.synthetic import coordinate_stack

SIZE = Vec3(50, 41, 37)
CHUNK = Vec3(8, 8, 8)
GRID = MagGrid(Mag(1, 1, 1), SIZE, CHUNK, Vec3(64, 64, 8))
sides = st.integers(1, 400)


@given(
    size=st.builds(Vec3, sides, sides, sides),
    timepoints=st.integers(1, 5),
    seed=st.text(),
    in_few_slabs=st.booleans(),
)
def test_a_sample_is_large_enough_and_holds_both_ends(
    size: Vec3, timepoints: int, seed: str, in_few_slabs: bool
) -> None:
    """At least 32 chunks and 1 %, or all there are; first and last row always; none twice."""
    grid = MagGrid(Mag(1, 1, 1), size, Vec3(32, 32, 32), Vec3(4096, 4096, 32))
    sample = plan_sample(grid, timepoints, seed, in_few_slabs=in_few_slabs)
    columns, rows, slabs = size.ceil_div(grid.chunk)
    total = columns * rows * slabs * timepoints

    assert {ChunkRow(0, 0, 0), ChunkRow(timepoints - 1, slabs - 1, rows - 1)} <= set(sample)
    assert len(sample) == len(set(sample))
    assert sample == sorted(sample, key=lambda place: (place.t, place.slab, place.row))
    assert all(place.t < timepoints and place.slab < slabs and place.row < rows for place in sample)
    assert len(sample) * columns >= min(total, LEAST_CHUNKS, round(0.01 * total))


def test_where_rows_cannot_be_read_alone_few_slabs_are_looked_at() -> None:
    """Whole slices are dear to decode: their sample lies in the fewest slabs that hold it."""
    grid = MagGrid(Mag(1, 1, 1), Vec3(320, 3200, 3200), Vec3(32, 32, 32), Vec3(4096, 4096, 32))
    few = plan_sample(grid, 1, "seed", in_few_slabs=True)
    many = plan_sample(grid, 1, "seed", in_few_slabs=False)

    assert 2 == len({place.slab for place in few})
    assert len({place.slab for place in many}) > 20


def test_another_run_looks_elsewhere() -> None:
    """The choice depends on the run's id, and on nothing else."""
    grid = MagGrid(Mag(1, 1, 1), Vec3(320, 3200, 3200), Vec3(32, 32, 32), Vec3(4096, 4096, 32))

    def chosen(seed: str) -> list[ChunkRow]:
        return plan_sample(grid, 1, seed, in_few_slabs=False)

    assert chosen("a") == chosen("a")
    assert chosen("a") != chosen("b")


def test_a_full_sample_is_every_row() -> None:
    """Every row of every slab of every timepoint, once."""
    sample = plan_sample(GRID, 2, "seed", in_few_slabs=True, is_full=True)

    assert 2 * 5 * 6 == len(set(sample)) == len(sample)


class Slices:
    """A source of one volume that counts what it is asked for."""

    decode_bytes = 0

    def __init__(self, volume: NDArray[Any], *, can_read_rows: bool) -> None:
        self.can_read_rows = can_read_rows
        self.reads: list[tuple[int, tuple[int, int]]] = []
        self._volume = volume

    def iter_keys(self) -> Iterator[int]:
        """Yield the z of each slice."""
        yield from range(len(self._volume))

    def read_slice_into(
        self, key: int, outs: Sequence[NDArray[Any]], rows: tuple[int, int]
    ) -> None:
        """Copy rows of one slice."""
        self.reads.append((key, rows))
        outs[0][...] = self._volume[key, rows[0] : rows[1]]


def stage(root: Path, volume: NDArray[Any], held_bytes: int = 1) -> StagedStack:
    """Write a volume as mag 1 of a layer."""
    voxel_type = VoxelType(volume.dtype.name)
    layer = LayerPlan("color", Category.COLOR, voxel_type, SIZE)
    spec = choose_codec(layer.voxel_type, layer.category)
    write_mag(root, layer, GRID, spec, [volume])
    planes = (tuple(PlaneRef(z) for z in range(SIZE.z)),)
    files = tuple(f"{z}.tif" for z in range(SIZE.z))
    pixels = PixelFormat(volume.dtype.name)
    stack = StackPlan(files, planes, pixels, Treatment(), (layer,))
    return StagedStack(stack, ((layer, (GRID,), "median"),), held_bytes)


def compare(root: Path, staged: StagedStack, source: Slices, *, is_full: bool = True) -> int:
    """Compare a staged stack with its source."""
    return compare_with_source(
        root, staged, lambda _stack, _t: source, StreamControl(), "seed", is_full=is_full
    )


@pytest.mark.parametrize("can_read_rows", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_what_is_equal_passes(tmp_path: Path, can_read_rows: bool, dtype: str) -> None:
    """Every chunk is compared, and counted once."""
    volume = coordinate_stack((SIZE.z, SIZE.y, SIZE.x), dtype)
    source = Slices(volume, can_read_rows=can_read_rows)

    assert 7 * 6 * 5 == compare(tmp_path, stage(tmp_path, volume), source)


@pytest.mark.parametrize("can_read_rows", [True, False])
@pytest.mark.parametrize("place", [(0, 0, 0), (36, 40, 49), (20, 13, 31)])
def test_one_voxel_that_differs_is_named(
    tmp_path: Path, can_read_rows: bool, place: tuple[int, int, int]
) -> None:
    """The whole volume compared, one voxel of the source is another one: found, and named."""
    volume = coordinate_stack((SIZE.z, SIZE.y, SIZE.x))
    staged = stage(tmp_path, volume)
    changed = volume.copy()
    changed[place] ^= 1
    with pytest.raises(VerificationError) as found:
        compare(tmp_path, staged, Slices(changed, can_read_rows=can_read_rows))
    values = found.value.values

    assert place == (values["z"], values["y"], values["x"])


def test_the_sign_of_zero_is_a_difference(tmp_path: Path) -> None:
    """A float that differs only in its bits is found and named, NaN equals NaN."""
    volume = np.full((SIZE.z, SIZE.y, SIZE.x), np.nan, np.float32)
    volume[5, 6, 7] = 0.0
    staged = stage(tmp_path, volume)
    compare(tmp_path, staged, Slices(volume, can_read_rows=True))
    changed = volume.copy()
    changed[5, 6, 7] = -0.0
    with pytest.raises(VerificationError) as found:
        compare(tmp_path, staged, Slices(changed, can_read_rows=True))

    assert 7 == found.value.values["x"]


@pytest.mark.parametrize("is_full", [True, False])
@pytest.mark.parametrize("held", [1, 3, 100])
def test_whole_slices_are_decoded_once(tmp_path: Path, is_full: bool, held: int) -> None:
    """However little memory there is for slices, each one is decoded once."""
    volume = coordinate_stack((SIZE.z, SIZE.y, SIZE.x))
    source = Slices(volume, can_read_rows=False)
    compare(tmp_path, stage(tmp_path, volume, held * SIZE.x * SIZE.y), source, is_full=is_full)
    keys = [key for key, _ in source.reads]

    assert len(keys) == len(set(keys))
    assert {(0, SIZE.y)} == {rows for _, rows in source.reads}
    if is_full:
        assert SIZE.z == len(keys)


def test_a_stop_is_obeyed(tmp_path: Path) -> None:
    """Verification ends at the next row when it is asked to."""
    volume = coordinate_stack((SIZE.z, SIZE.y, SIZE.x))
    staged = stage(tmp_path, volume)
    control = StreamControl()
    control.cancelled.set()
    source = Slices(volume, can_read_rows=True)
    with pytest.raises(CancelledError):
        compare_with_source(
            tmp_path, staged, lambda _stack, _t: source, control, "seed", is_full=True
        )

    assert [] == source.reads
