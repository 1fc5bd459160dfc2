"""Slices in, every mag out, in one pass: the loop that reads, halves and encodes slabs.

::

    read threads ─▶ slab (chunk-deep, z y x) ─▶ blocks of it, each by one thread:
                                                  1. halve into the slab of the next mag
                                                  2. encode and append to the shard
                    slab of the next mag, once it is deep enough, goes the same way

Nothing is read back from the disk, and memory does not depend on the number of slices.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackwatch import failpoints
from stackwatch.engine.downsample import Method, downsample_into
from stackwatch.engine.planner import StreamPlan
from stackwatch.engine.statistics import LayerStatistics
from stackwatch.errors import CancelledError
from stackwatch.model.geometry import Vec3
from stackwatch.model.voxels import VoxelType
from stackwatch.readers.protocol import SliceSource
from stackwatch.stores.protocol import Block, MagWriter


@dataclass(frozen=True, slots=True)
class LayerStream:
    """One layer of a stream: where its mags go.

    Attributes
    ----------
    voxel_type : VoxelType
    method : Method
        How a mag is made from the one before.
    writers : tuple of MagWriter or None
        One per mag of the pass; None for a first mag that lies on the disk already.
    statistics : LayerStatistics or None
        Fed with every voxel of the first mag.
    """

    voxel_type: VoxelType
    method: Method
    writers: tuple[MagWriter | None, ...]
    statistics: LayerStatistics | None = None


class StreamControl:
    """What a running stream reports to and obeys.

    Parameters
    ----------
    on_slice : callable
        Called from any thread after each slice read.
    cancelled : threading.Event
        Set by somebody else to stop at the next slab.
    on_step : callable
        Called from any thread where no slice of the source moves, but something does.
    """

    def __init__(
        self,
        on_slice: Callable[[], None] = lambda: None,
        cancelled: threading.Event | None = None,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        self.on_slice = on_slice
        self.cancelled = cancelled or threading.Event()
        self.on_step = on_step

    def check(self) -> None:
        """Raise if the stream was cancelled."""
        if self.cancelled.is_set():
            raise CancelledError("The conversion was stopped on request. Nothing was published.")

    def step(self) -> None:
        """Tell that something moves; raise if the stream was cancelled."""
        self.check()
        self.on_step()


class Pools:
    """The two thread pools of a conversion: one waits for sources, one keeps the cores busy."""

    def __init__(self, read_threads: int, encode_threads: int) -> None:
        self.read = ThreadPoolExecutor(read_threads, thread_name_prefix="read")
        self.encode = ThreadPoolExecutor(encode_threads, thread_name_prefix="encode")

    def __enter__(self) -> "Pools":
        return self

    def __exit__(self, *_: object) -> None:
        self.read.shutdown(wait=True, cancel_futures=True)
        self.encode.shutdown(wait=True, cancel_futures=True)


def run_stream(
    source: SliceSource,
    layers: Sequence[LayerStream],
    plan: StreamPlan,
    pools: Pools,
    control: StreamControl,
    t: int = 0,
    first: int = 0,
) -> int:
    """Stream one timepoint of a stack, or a range of it, into its layers, swath by swath.

    Parameters
    ----------
    source : SliceSource
        Iterated once per swath.
    layers : sequence of LayerStream
        In the order in which the source fills its arrays.
    plan : StreamPlan
    pools : Pools
    control : StreamControl
    t : int
        The timepoint written.
    first : int
        Where the source's first slice lies; at the edge of a shard in every mag of the plan.

    Returns
    -------
    int
        Slices found, the same in every swath.

    Raises
    ------
    CancelledError
        On request, between two slabs.
    StackwatchError, OSError
        Whatever the source or the store raised first; running threads have ended.

    Cost
    ----
    One pass over the slices per swath; memory as planned.
    """
    place = (t, first)
    depths = {_Swath(layers, plan, rows, pools, control, place).run(source) for rows in plan.swaths}
    assert len(depths) == 1, f"the source gave {sorted(depths)} slices"
    return depths.pop()


class _Swath:
    """One swath of one timepoint: the slab buffers of every mag, and the walk up the ladder."""

    def __init__(
        self,
        layers: Sequence[LayerStream],
        plan: StreamPlan,
        rows: tuple[int, int],
        pools: Pools,
        control: StreamControl,
        place: tuple[int, int],
    ) -> None:
        self._layers = layers
        self._grids = plan.grids
        self._pools = pools
        self._control = control
        self._t, first = place
        self._depth = plan.grids[0].chunk.z
        base = plan.grids[0].mag
        self._factors = [
            coarser.mag.factor_from(finer.mag)
            for finer, coarser in zip(plan.grids, plan.grids[1:], strict=False)
        ]
        # Rows of this swath in every mag; swaths are cut so that these are whole numbers.
        self._rows = [
            (rows[0] // grid.mag.factor_from(base).y, -(-rows[1] // grid.mag.factor_from(base).y))
            for grid in plan.grids
        ]
        self._first = [[self._new_slab(layer, 0) for layer in layers] for _ in range(plan.buffers)]
        self._coarser = [
            [self._new_slab(layer, level) for layer in layers]
            for level in range(1, len(plan.grids))
        ]
        self._filled = [0] * len(plan.grids)
        self._slabs = [first // (self._depth * grid.mag.factor_from(base).z) for grid in plan.grids]

    def _new_slab(self, layer: LayerStream, level: int) -> NDArray[Any]:
        top, bottom = self._rows[level]
        shape: tuple[int, ...] = (self._depth, bottom - top, self._grids[level].size.x)
        if layer.voxel_type.channels > 1:
            shape += (layer.voxel_type.channels,)
        return np.empty(shape, layer.voxel_type.dtype)

    def run(self, source: SliceSource) -> int:
        keys = source.iter_keys()
        total = 0
        number = 0
        reading = self._start_reading(source, keys, self._first[0])
        while reading:
            _finish_all(reading)
            depth, slabs = len(reading), self._first[number % len(self._first)]
            total += depth
            number += 1
            following = self._first[number % len(self._first)]
            ahead = len(self._first) > 1
            reading = self._start_reading(source, keys, following) if ahead else []
            try:
                self._climb(0, slabs, depth)
            except BaseException:
                _abandon(reading)
                raise
            failpoints.reach("convert.slab_written")
            if not ahead:
                reading = self._start_reading(source, keys, following)
        self._flush()
        return total

    def _start_reading(
        self, source: SliceSource, keys: Iterator[int], slabs: list[NDArray[Any]]
    ) -> list[Future[None]]:
        """Begin to fill a slab with the next slices; an empty list when there are none."""
        self._control.check()
        futures = []
        for place in range(self._depth):
            key = next(keys, None)
            if key is None:
                break
            futures.append(self._pools.read.submit(self._read_slice, source, key, slabs, place))
        return futures

    def _read_slice(
        self, source: SliceSource, key: int, slabs: list[NDArray[Any]], place: int
    ) -> None:
        outs = [slab[place] for slab in slabs]
        source.read_slice_into(key, outs, self._rows[0])
        for layer, out in zip(self._layers, outs, strict=True):
            if layer.statistics is not None:  # the voxels are still in the cache
                layer.statistics.add(out)
        self._control.on_slice()

    def _climb(self, level: int, slabs: list[NDArray[Any]], depth: int) -> None:
        """Encode a slab of one mag and halve it into the next, which may now be full itself."""
        self._control.check()
        has_next = level + 1 < len(self._grids)
        futures = [
            self._pools.encode.submit(self._treat_block, level, number, slab[:depth], block)
            for number, slab in enumerate(slabs)
            for block in self._blocks(level, self._layers[number])
        ]
        _finish_all(futures)
        self._control.check()  # cancelled, some blocks were dropped: the slab is not complete
        self._finish_slab(level, is_last=False)
        self._slabs[level] += 1
        if not has_next:
            return
        self._filled[level + 1] += -(-depth // self._factors[level].z)
        if self._filled[level + 1] == self._depth:
            self._filled[level + 1] = 0
            self._climb(level + 1, self._coarser[level], self._depth)

    def _treat_block(self, level: int, number: int, slab: NDArray[Any], block: Block) -> None:
        if self._control.cancelled.is_set():
            return
        layer, top = self._layers[number], self._rows[level][0]
        voxels = slab[:, block.y0 - top : block.y1 - top, block.x0 : block.x1]
        if level + 1 < len(self._grids):
            self._halve(level, number, voxels, block)
        writer = layer.writers[level]
        if writer is not None:
            writer.write_block(self._t, self._slabs[level], block, voxels)

    def _halve(self, level: int, number: int, voxels: NDArray[Any], block: Block) -> None:
        factor = self._factors[level]
        top = self._rows[level + 1][0]
        start = self._filled[level + 1]
        coarser = self._coarser[level][number][
            start : start + -(-voxels.shape[0] // factor.z),
            block.y0 // factor.y - top : -(-block.y1 // factor.y) - top,
            block.x0 // factor.x : -(-block.x1 // factor.x),
        ]
        if factor == Vec3(1, 1, 1):
            coarser[...] = voxels
        else:
            downsample_into(voxels, factor, self._layers[number].method, coarser)

    def _blocks(self, level: int, layer: LayerStream) -> Sequence[Block]:
        writer = layer.writers[level]
        if writer is not None:
            return writer.blocks(self._rows[level])
        # The first mag lies on the disk already: it is only halved, in bands of two rows of chunks.
        top, bottom = self._rows[level]
        step = 2 * self._grids[level].chunk.y
        width = self._grids[level].size.x
        return [
            Block(y, min(y + step, bottom), 0, width, 0, 0, 0) for y in range(top, bottom, step)
        ]

    def _finish_slab(self, level: int, *, is_last: bool) -> None:
        for layer in self._layers:
            writer = layer.writers[level]
            if writer is not None:
                writer.finish_slab(self._t, self._slabs[level], self._rows[level], is_last=is_last)

    def _flush(self) -> None:
        """Send what is left in partly filled slabs up the ladder, and close the last shards."""
        for level in range(len(self._grids)):
            filled, self._filled[level] = self._filled[level], 0
            if filled:
                self._climb(level, self._coarser[level - 1], filled)
            self._finish_slab(level, is_last=True)


def _finish_all(futures: list[Future[None]]) -> None:
    """Wait for all; on the first failure drop what has not begun, and raise it."""
    if not futures:
        return
    done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
    if waiting:
        _abandon(list(waiting))
    for future in futures:
        if not future.cancelled():
            future.result()
    assert len(done) == len(futures), "a task was dropped without a failure"


def _abandon(futures: list[Future[None]]) -> None:
    for future in futures:
        future.cancel()
    wait(futures)
