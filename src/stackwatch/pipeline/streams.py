"""Drive the engine: every stack of a dataset, every timepoint, every pass."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackwatch.engine.downsample import Method
from stackwatch.engine.ladder import plan_mags
from stackwatch.engine.machine import default_memory_gib, usable_cpus
from stackwatch.engine.planner import GIB, StreamPlan, StreamRequest, plan_stream
from stackwatch.engine.ranges import SliceRange, split_plan
from stackwatch.engine.spool import SpooledSource
from stackwatch.engine.statistics import LayerStatistics
from stackwatch.engine.stream import LayerStream, Pools, StreamControl, run_stream
from stackwatch.model.geometry import Mag
from stackwatch.model.options import ConvertOptions
from stackwatch.model.plan import DatasetPlan, LayerPlan, StackPlan
from stackwatch.model.voxels import Category
from stackwatch.pipeline.stored import reopen
from stackwatch.pipeline.storing import Store, adapt_grids, ensure_storable, shard_bytes, slab_depth
from stackwatch.readers.protocol import SliceSource
from stackwatch.stores.protocol import MagGrid, MagWriter

OpenSource = Callable[[StackPlan, int], SliceSource]
"""Gives the slices of one timepoint of a stack."""
BINS = 4096
STORED_COPIES = 3
"""A slab read back is held once whole, once in decoded chunks, and compressed, all together."""


@dataclass(frozen=True, slots=True)
class StackJob:
    """One stack with everything that was decided for it before the first voxel moves.

    Attributes
    ----------
    stack : StackPlan
    mags : tuple of Mag
    plan : StreamPlan
        The pass over the source.
    later : tuple of StreamPlan
        The passes that make its `later_mags`, each from the last mag of the one before. Planned
        with it: a budget that is too small for them is known before anything is written.
    ranges : tuple of SliceRange
        The parts of the first pass that are carried out by other processes; empty: by this one.
    """

    stack: StackPlan
    mags: tuple[Mag, ...]
    plan: StreamPlan
    later: tuple[StreamPlan, ...] = ()
    ranges: tuple[SliceRange, ...] = ()

    @property
    def slice_reads(self) -> int:
        """How many slices will be read, each pass over one counted."""
        planes = sum(len(planes) for planes in self.stack.planes_tz)
        return planes * (len(self.plan.swaths) + (1 if self.plan.spool else 0))

    @property
    def spool_bytes(self) -> int:
        """How much room the raw file of one timepoint takes."""
        layers = self.stack.layers
        raw = layers[0].size.volume * layers[0].voxel_type.bytes_per_voxel * len(layers)
        return raw if self.plan.spool else 0


@dataclass(frozen=True, slots=True)
class RangeCut:
    """How stacks are cut into ranges.

    Attributes
    ----------
    options : ConvertOptions
        With what one range may use.
    slots : callable
        How many ranges of a stack are converted at the same time; 1: it is not cut.
    """

    options: ConvertOptions
    slots: Callable[[StackPlan], int]


@dataclass(slots=True)
class WrittenMags:
    """What one layer has on the disk, mag by mag, and what its voxels look like."""

    layer: LayerPlan
    statistics: LayerStatistics
    grids: list[MagGrid] = field(default_factory=list)


def plan_jobs(
    dataset: DatasetPlan,
    options: ConvertOptions,
    decode_bytes: Callable[[StackPlan], int],
    cut: RangeCut | None = None,
) -> tuple[StackJob, ...]:
    """Plan mags, memory and threads for every stack.

    Parameters
    ----------
    dataset : DatasetPlan
    options : ConvertOptions
    decode_bytes : callable
        Memory that decoding one slice of a stack needs.
    cut : RangeCut or None
        How stacks are cut into ranges; None: they are not.

    Raises
    ------
    BudgetTooSmallError, PlanError
        The caller parks the job.
    """
    jobs = []
    for stack in dataset.stacks:
        ensure_storable(stack, options.store)
        layer = stack.layers[0]
        mags = plan_mags(
            layer.size,
            dataset.voxel_size_nm,
            max_mag=options.mags.max_mag,
            downsample=options.mags.downsample,
        )
        plan, ranges = _plan_pass(stack, mags, options, decode_bytes(stack), cut)
        later = plan_later_passes(plan, layer, options)
        jobs.append(StackJob(stack, mags, plan, later, ranges))
    return tuple(jobs)


def _plan_pass(
    stack: StackPlan,
    mags: tuple[Mag, ...],
    options: ConvertOptions,
    decode_bytes: int,
    cut: RangeCut | None,
) -> tuple[StreamPlan, tuple[SliceRange, ...]]:
    """Plan the pass over the source: by this process, or range by range where that is possible."""
    if cut is not None and cut.slots(stack) > 1:
        plan = _plan_stack(stack, mags, cut.options, decode_bytes)
        split, ranges = split_plan(plan, len(stack.planes_tz), cut.slots(stack))
        if len(ranges) > 1 and not plan.spool:
            return split, ranges
    return _plan_stack(stack, mags, options, decode_bytes), ()


def _plan_stack(
    stack: StackPlan, mags: tuple[Mag, ...], options: ConvertOptions, decode_bytes: int
) -> StreamPlan:
    layer, store = stack.layers[0], options.store
    plan = plan_stream(
        StreamRequest(
            size=layer.size,
            mags=mags,
            bytes_per_voxel=layer.voxel_type.bytes_per_voxel * len(stack.layers),
            chunk=store.chunk_vx,
            max_shard=store.shard_vx,
            decode_bytes=decode_bytes,
            can_read_rows=stack.can_read_rows and stack.treatment.orientation == 1,
            threads=options.resources.threads or usable_cpus(),
            budget_bytes=budget_bytes(options),
            slab_depth=slab_depth(store),
            shard_bytes=shard_bytes(store) * len(stack.layers),
        )
    )
    return adapt_grids(plan, store)


def plan_later_passes(
    plan: StreamPlan, layer: LayerPlan, options: ConvertOptions
) -> tuple[StreamPlan, ...]:
    """Plan the passes over mags on the disk that make what a pass in swaths leaves over.

    Raises
    ------
    BudgetTooSmallError
        The caller parks the job.
    """
    resources = options.resources
    passes = []
    while plan.later_mags:
        last = plan.grids[-1]
        slab_bytes = last.size.x * last.size.y * last.chunk.z * layer.voxel_type.bytes_per_voxel
        plan = plan_stream(
            StreamRequest(
                size=last.size,
                mags=(last.mag, *plan.later_mags),
                bytes_per_voxel=layer.voxel_type.bytes_per_voxel,
                chunk=last.chunk.x,
                max_shard=options.store.shard_vx,
                decode_bytes=STORED_COPIES * slab_bytes,
                can_read_rows=True,
                threads=resources.threads or usable_cpus(),
                budget_bytes=budget_bytes(options),
                slab_depth=last.chunk.z,
                read_threads=1,
                shard_bytes=shard_bytes(options.store),
            )
        )
        plan = adapt_grids(plan, options.store)
        passes.append(plan)
    return tuple(passes)


def budget_bytes(options: ConvertOptions) -> int:
    """Return the memory that a conversion may use, in bytes."""
    return int((options.resources.memory_gib or default_memory_gib()) * GIB)


def choose_method(category: Category, options: ConvertOptions) -> Method:
    """Return how mags are made: median for color and mode for segmentation, unless told."""
    if options.mags.interpolation != "default":
        return options.mags.interpolation
    return "mode" if category is Category.SEGMENTATION else "median"


@dataclass(frozen=True, slots=True)
class Streamer:
    """What all passes of one conversion share.

    Attributes
    ----------
    store : Store
    root : Path
        The dataset's staging directory.
    scratch : Path
        A folder for raw spools.
    options : ConvertOptions
    control : StreamControl
    open_source : OpenSource
    carry_out : callable or None
        Has the ranges of a stack carried out by other processes, and gathers what they have seen.
    """

    store: Store
    root: Path
    scratch: Path
    options: ConvertOptions
    control: StreamControl
    open_source: OpenSource
    carry_out: Callable[[StackJob, list[WrittenMags]], None] | None = None

    def run(self, job: StackJob) -> list[WrittenMags]:
        """Stream one stack into all mags of its layers; return what was written."""
        written = _begin(job)
        if job.ranges:
            assert self.carry_out is not None
            self.carry_out(job, written)
        else:
            self._run_whole(job, written)
        for mags in written:
            self._record(mags, job.plan.grids)
            self._make_later_mags(mags, job.later)
        return written

    def run_range(self, job: StackJob, span: SliceRange) -> list[WrittenMags]:
        """Stream one range of a stack into the mags of its pass; return what was written.

        `open_source` gives the slices of the range alone.
        """
        written = _begin(job)
        streams = [self._layer_stream(mags, job.plan.grids) for mags in written]
        with Pools(job.plan.read_threads, job.plan.encode_threads) as pools:
            source = self.open_source(job.stack, span.t)
            run_stream(source, streams, job.plan, pools, self.control, span.t, span.first)
        return written

    def _run_whole(self, job: StackJob, written: Sequence[WrittenMags]) -> None:
        streams = [self._layer_stream(mags, job.plan.grids) for mags in written]
        with Pools(job.plan.read_threads, job.plan.encode_threads) as pools:
            for t in range(len(job.stack.planes_tz)):
                source = self.open_source(job.stack, t)
                if job.plan.spool:
                    with closing(self._spool(source, job)) as spooled:
                        run_stream(spooled, streams, job.plan, pools, self.control, t)
                else:
                    run_stream(source, streams, job.plan, pools, self.control, t)

    def _record(self, mags: WrittenMags, grids: Sequence[MagGrid]) -> None:
        for grid in grids:
            self.store.describe_mag(mags.layer, grid)
            mags.grids.append(grid)

    def _layer_stream(
        self, mags: WrittenMags, grids: Sequence[MagGrid], *, is_first_stored: bool = False
    ) -> LayerStream:
        writers: list[MagWriter | None] = [
            self.store.mag_writer(mags.layer, grid) for grid in grids[is_first_stored:]
        ]
        return LayerStream(
            voxel_type=mags.layer.voxel_type,
            method=choose_method(mags.layer.category, self.options),
            writers=tuple([None, *writers] if is_first_stored else writers),
            statistics=None if is_first_stored else mags.statistics,
        )

    def _spool(self, source: SliceSource, job: StackJob) -> SpooledSource:
        layers = job.stack.layers
        channels = layers[0].voxel_type.channels
        shape: tuple[int, ...] = (layers[0].size.y, layers[0].size.x)
        shapes = [shape + ((channels,) if channels > 1 else ())] * len(layers)
        path = self.scratch / "slices.raw"
        spooled = SpooledSource(source, path, shapes, layers[0].voxel_type.dtype)
        try:
            for key in source.iter_keys():
                self.control.check()
                spooled.fill_one(key)
                self.control.on_slice()
        except BaseException:
            spooled.close()
            raise
        return spooled

    def _make_later_mags(self, mags: WrittenMags, passes: Sequence[StreamPlan]) -> None:
        """Make the mags too coarse for the swaths from the last one on the disk, pass by pass."""
        quiet = StreamControl(self.control.on_step, self.control.cancelled)
        for plan in passes:
            last = mags.grids[-1]
            stored = reopen(self.store, self.root, mags.layer, last)
            stream = self._layer_stream(mags, plan.grids, is_first_stored=True)
            with Pools(plan.read_threads, plan.encode_threads) as pools:
                for t in range(mags.layer.size_t):
                    run_stream(stored.timepoint(t), [stream], plan, pools, quiet, t)
            self._record(mags, plan.grids[1:])


def _begin(job: StackJob) -> list[WrittenMags]:
    return [WrittenMags(layer, _statistics_for(layer)) for layer in job.stack.layers]


def _statistics_for(layer: LayerPlan) -> LayerStatistics:
    voxels = layer.size.volume * layer.size_t * layer.voxel_type.channels
    counts = layer.category is Category.COLOR
    return LayerStatistics(layer.voxel_type.dtype, voxels, count_values=counts)


def intensity_range(
    mags: WrittenMags, coarsest: Callable[[], Iterable[NDArray[Any]]]
) -> tuple[int | float, int | float]:
    """Return what is shown from black to white: the 0.1 and 99.9 percentile of non-zero voxels.

    Parameters
    ----------
    mags : WrittenMags
    coarsest : callable
        Reads the coarsest mag in parts; used where no histogram was kept (32 bit and floats).
    """
    dtype = mags.layer.voxel_type.dtype
    if mags.layer.voxel_type.channels == 3:
        return 0, 255  # stretching the channels together would change nobody's colours rightly
    low_high: tuple[int | float, int | float] | None = None
    if mags.statistics.histogram is not None:
        low_high = mags.statistics.percentiles_of_nonzero((0.001, 0.999))
    elif mags.statistics.minimum is not None and mags.statistics.maximum is not None:
        low_high = _range_of(coarsest(), mags.statistics.minimum, mags.statistics.maximum)
    if low_high is not None:
        return low_high
    if dtype.kind == "f":
        return 0.0, 1.0
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _range_of(
    parts: Iterable[NDArray[Any]], minimum: float, maximum: float
) -> tuple[int | float, int | float] | None:
    """Read the percentiles off a histogram of 4,096 bins between the true extremes."""
    if minimum == maximum:
        return (minimum, maximum) if minimum else None
    counts = np.zeros(BINS, np.int64)
    edges = np.linspace(minimum, maximum, BINS + 1)
    is_float = isinstance(maximum, float)
    for part in parts:
        kept = part[np.isfinite(part) & (part != 0)]
        counts += np.histogram(kept.astype(np.float64), BINS, (minimum, maximum))[0]
    total = int(counts.sum())
    if total == 0:  # what there is got lost in the coarse mag
        return minimum, maximum
    cumulated = np.cumsum(counts)
    low = int(np.searchsorted(cumulated, 0.001 * total))
    high = min(int(np.searchsorted(cumulated, 0.999 * total)), BINS - 1)
    found = float(edges[low]), float(edges[high + 1])
    return found if is_float else (round(found[0]), round(found[1]))
