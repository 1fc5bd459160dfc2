"""Ranges of slices that share no shard with their neighbours: the unit of work of executors. Pure.

What a range writes is, byte for byte, what a single pass would have written there. Mags too coarse
for a range are made afterwards, from the last mag on the disk.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stackwatch.engine.planner import StreamPlan
from stackwatch.stores.protocol import MagGrid


@dataclass(frozen=True, slots=True)
class SliceRange:
    """Slices of one timepoint that are converted by themselves.

    Attributes
    ----------
    number : int
        Counted from 0 through the whole stack.
    t : int
    first, end : int
        Slices of mag 1: the first, and one after the last.
    """

    number: int
    t: int
    first: int
    end: int


def shard_slices(grid: MagGrid, finest: MagGrid) -> int:
    """Return how many slices of the finest mag one shard of a mag spans."""
    return grid.shard.z * grid.mag.factor_from(finest.mag).z


def range_depth(grids: Sequence[MagGrid], wanted: int) -> int:
    """Return how many slices a range has, so that there are about `wanted` of them.

    The shards of mag 1, doubled as often as ranges are left over: the deeper a range, the more
    mags are made in it.
    """
    depth = unit = shard_slices(grids[0], grids[0])
    slices = grids[0].size.z
    while math.ceil(slices / (2 * depth)) >= wanted:
        depth *= 2
    return max(unit, depth)


def split_plan(
    plan: StreamPlan, timepoints: int, wanted: int
) -> tuple[StreamPlan, tuple[SliceRange, ...]]:
    """Cut a pass over a stack into ranges.

    Parameters
    ----------
    plan : StreamPlan
        Of the whole stack.
    timepoints : int
    wanted : int
        How many ranges there should be, about.

    Returns
    -------
    StreamPlan
        With the mags that are made range by range; the others are its `later_mags`.
    tuple of SliceRange
        At least one; they cover all slices of all timepoints.
    """
    slices = plan.grids[0].size.z
    depth = range_depth(plan.grids, math.ceil(wanted / timepoints))
    starts = range(0, slices, depth)
    ranges = tuple(
        SliceRange(t * len(starts) + place, t, first, min(first + depth, slices))
        for t in range(timepoints)
        for place, first in enumerate(starts)
    )
    if len(starts) == 1:
        return plan, ranges
    kept = 1
    while kept < len(plan.grids) and not depth % shard_slices(plan.grids[kept], plan.grids[0]):
        kept += 1
    later = (*(grid.mag for grid in plan.grids[kept:]), *plan.later_mags)
    return replace(plan, grids=plan.grids[:kept], later_mags=later), ranges
