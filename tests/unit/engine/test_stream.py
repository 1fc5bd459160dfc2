"""The stream between a source and writers that only remember: order, failures, cancelling."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stackwatch.engine.planner import GIB, StreamPlan, StreamRequest, plan_stream
from stackwatch.engine.reference import mags_of
from stackwatch.engine.statistics import LayerStatistics
from stackwatch.engine.stream import LayerStream, Pools, StreamControl, run_stream
from stackwatch.errors import CancelledError, CorruptSliceError
from stackwatch.model.geometry import Mag, Vec3
from stackwatch.model.voxels import VoxelType
from stackwatch.stores.protocol import Block, MagGrid
from stackwatch.testing.synthetic import coordinate_stack

SIZE = Vec3(41, 50, 37)
MAGS = (Mag(1, 1, 1), Mag(2, 2, 1), Mag(4, 4, 2), Mag(8, 8, 4))
VOLUME = coordinate_stack((SIZE.z, SIZE.y, SIZE.x), "uint16")


class Slices:
    """A source of the slices of one volume; one of them may be damaged."""

    can_read_rows = True
    decode_bytes = 0

    def __init__(self, volume: NDArray[Any] = VOLUME, damaged: int | None = None) -> None:
        self._volume = volume
        self._damaged = damaged

    def iter_keys(self) -> Iterator[int]:
        """Yield the z of each slice."""
        yield from range(len(self._volume))

    def read_slice_into(
        self, key: int, outs: Sequence[NDArray[Any]], rows: tuple[int, int]
    ) -> None:
        """Copy rows of one slice."""
        if key == self._damaged:
            raise CorruptSliceError("damaged")
        for out in outs:
            out[...] = self._volume[key, rows[0] : rows[1]]


class Memory:
    """A writer that puts blocks into an array, and notes which slabs were called finished."""

    def __init__(self, grid: MagGrid) -> None:
        self.grid = grid
        self.volume = np.zeros((grid.size.z, grid.size.y, grid.size.x), np.uint16)
        self.blocks_of_slab: dict[int, int] = {}
        self.finished: list[tuple[int, int, bool]] = []
        self._lock = threading.Lock()

    def blocks(self, rows: tuple[int, int]) -> Sequence[Block]:
        """Return single chunks, row by row."""
        return [
            Block(y, min(y + 8, rows[1]), x, min(x + 8, self.grid.size.x), 0, 0, 0)
            for y in range(rows[0], rows[1], 8)
            for x in range(0, self.grid.size.x, 8)
        ]

    def write_block(self, t: int, slab: int, block: Block, voxels: NDArray[Any]) -> None:
        """Remember one block."""
        first = slab * self.grid.chunk.z
        place = self.volume[first : first + len(voxels), block.y0 : block.y1, block.x0 : block.x1]
        with self._lock:
            assert not place.any(), "a block was written twice"
            place[...] = voxels
            self.blocks_of_slab[slab] = self.blocks_of_slab.get(slab, 0) + 1

    def finish_slab(self, t: int, slab: int, rows: tuple[int, int], *, is_last: bool) -> None:
        """Note that a slab is complete."""
        self.finished.append((rows[0], slab, is_last))


def plan_of(*, swath_rows: int | None = None, buffers: int = 2) -> StreamPlan:
    """Return a plan with chunks of 8, in one swath or in several."""
    request = StreamRequest(
        size=SIZE,
        mags=MAGS[:2] if swath_rows else MAGS,
        bytes_per_voxel=2,
        chunk=8,
        max_shard=None,
        decode_bytes=0,
        can_read_rows=True,
        threads=4,
        budget_bytes=GIB,
    )
    plan = plan_stream(request)
    step = swath_rows or SIZE.y
    swaths = tuple((top, min(top + step, SIZE.y)) for top in range(0, SIZE.y, step))
    return StreamPlan(plan.grids, (), swaths, buffers, False, 3, 4, plan.peak_bytes)


def run(
    plan: StreamPlan,
    source: Slices,
    writers: Sequence[Any],
    control: StreamControl | None = None,
    statistics: LayerStatistics | None = None,
) -> int:
    """Run one stream of one layer."""
    layer = LayerStream(VoxelType("uint16"), "median", tuple(writers), statistics)
    with Pools(plan.read_threads, plan.encode_threads) as pools:
        return run_stream(source, [layer], plan, pools, control or StreamControl())


@pytest.mark.parametrize("swath_rows", [None, 16, 32])
@pytest.mark.parametrize("buffers", [1, 2])
def test_every_mag_is_what_the_reference_makes(swath_rows: int | None, buffers: int) -> None:
    """Whatever the swaths and buffers: each voxel of each mag is written once, and right."""
    plan = plan_of(swath_rows=swath_rows, buffers=buffers)
    writers = [Memory(grid) for grid in plan.grids]
    count = run(plan, Slices(), writers)
    expected = mags_of(VOLUME, tuple(grid.mag for grid in plan.grids), "median")

    assert SIZE.z == count
    for writer in writers:
        np.testing.assert_array_equal(writer.volume, expected[writer.grid.mag])


def test_every_slab_is_finished_in_order() -> None:
    """Each swath finishes its slabs one after another, and says once that it was the last."""
    plan = plan_of(swath_rows=32)
    writers = [Memory(grid) for grid in plan.grids]
    run(plan, Slices(), writers)
    slabs = [*[(n, False) for n in range(5)], (5, True)]

    assert [(top, *slab) for top in (0, 32) for slab in slabs] == writers[0].finished
    assert [(top, *slab) for top in (0, 16) for slab in slabs] == writers[1].finished


def test_a_first_mag_on_the_disk_is_only_halved() -> None:
    """Without a writer for the first mag, the coarser ones come out the same."""
    plan = plan_of()
    writers = [Memory(grid) for grid in plan.grids]
    run(plan, Slices(), [None, *writers[1:]])
    expected = mags_of(VOLUME, MAGS, "median")

    assert not writers[0].volume.any()
    for writer in writers[1:]:
        np.testing.assert_array_equal(writer.volume, expected[writer.grid.mag])


@pytest.mark.parametrize("swath_rows", [None, 16])
def test_statistics_see_every_voxel_once(swath_rows: int | None) -> None:
    """The histogram of a stream is that of its slices, in however many swaths."""
    plan = plan_of(swath_rows=swath_rows)
    statistics = LayerStatistics(np.dtype("uint16"), SIZE.volume)
    run(plan, Slices(), [Memory(grid) for grid in plan.grids], statistics=statistics)
    expected = np.bincount(VOLUME.ravel(), minlength=1 << 16)

    assert statistics.histogram is not None
    np.testing.assert_array_equal(expected, statistics.histogram)
    assert (VOLUME.min(), VOLUME.max()) == (statistics.minimum, statistics.maximum)


@pytest.mark.parametrize("damaged", [0, 7, 8, 20, SIZE.z - 1])
@pytest.mark.parametrize("buffers", [1, 2])
def test_a_damaged_slice_ends_the_stream(damaged: int, buffers: int) -> None:
    """The reader's own error comes out, whichever slice it is, and no thread goes on."""
    plan = plan_of(buffers=buffers)
    with pytest.raises(CorruptSliceError, match="damaged"):
        run(plan, Slices(damaged=damaged), [Memory(grid) for grid in plan.grids])


def test_a_failing_writer_ends_the_stream() -> None:
    """The store's own error comes out, from whichever mag."""

    class Full(Memory):
        def write_block(self, t: int, slab: int, block: Block, voxels: NDArray[Any]) -> None:
            raise OSError(28, "No space left on device")

    plan = plan_of()
    writers = [*[Memory(grid) for grid in plan.grids[:2]], *[Full(g) for g in plan.grids[2:]]]
    with pytest.raises(OSError, match="No space left"):
        run(plan, Slices(), writers)


def test_a_cancelled_slab_is_never_called_finished() -> None:
    """Cancelled among the blocks of a slab: the rest is dropped, and so is the slab."""
    control = StreamControl()

    class Cancelling(Memory):
        def write_block(self, t: int, slab: int, block: Block, voxels: NDArray[Any]) -> None:
            super().write_block(t, slab, block, voxels)
            if slab == 1:
                control.cancelled.set()

    plan = plan_of()
    writers = [Cancelling(plan.grids[0]), *[Memory(grid) for grid in plan.grids[1:]]]
    with pytest.raises(CancelledError):
        run(plan, Slices(), writers, control)
    whole = len(writers[0].blocks((0, SIZE.y)))

    assert writers[0].blocks_of_slab[1] < whole
    assert [(0, 0, False)] == writers[0].finished


def test_cancelled_before_it_began_a_stream_reads_nothing() -> None:
    """No slice is read once the stop was asked for."""
    read: list[int] = []
    control = StreamControl(lambda: read.append(1))
    control.cancelled.set()
    plan = plan_of()
    with pytest.raises(CancelledError):
        run(plan, Slices(), [Memory(grid) for grid in plan.grids], control)

    assert [] == read


def test_every_slice_is_reported() -> None:
    """Progress hears of each slice of each swath once."""
    read: list[int] = []
    plan = plan_of(swath_rows=16)
    control = StreamControl(lambda: read.append(1))
    run(plan, Slices(), [Memory(grid) for grid in plan.grids], control)

    assert SIZE.z * 4 == len(read)
