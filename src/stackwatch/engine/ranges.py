"""Ranges of slices that share no shard with their neighbours: the unit of work of executors. Pure.

What a range writes is, byte for byte, what a single pass would have written there. Mags too coarse
for a range are made afterwards, from the last mag on the disk.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from stackwatch.engine.planner import StreamPlan
from stackwatch.stores.protocol import MagGrid

START_SLICES: Final = 4
"""What a range costs beside its slices, in slices: to open the acquisition anew."""
TAIL: Final = 0.5
"""How much of a range its slot works on alone at the end, on average."""
READ_BACK: Final = 0.5
"""What a voxel of the last mag costs that coarser ones are made of, against converting one."""


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


def count_kept(grids: Sequence[MagGrid], depth: int) -> int:
    """Return how many mags are made range by range, if ranges are `depth` slices deep."""
    kept = 1
    while kept < len(grids) and not depth % shard_slices(grids[kept], grids[0]):
        kept += 1
    return kept


def choose_depth(grids: Sequence[MagGrid], timepoints: int, slots: int, *, has_later: bool) -> int:
    """Return how many slices a range has, so that a stack is done as early as possible.

    Deep ranges make more mags, shallow ones keep all slots busy to the end. The estimate counts
    slices that a slot converts one after another.

    Parameters
    ----------
    grids : sequence of MagGrid
        Of the whole pass.
    timepoints, slots : int
    has_later : bool
        Whether there are mags that even the whole pass does not make.
    """
    slices, unit = grids[0].size.z, shard_slices(grids[0], grids[0])
    whole = grids[0].size.volume

    def estimate(depth: int) -> float:
        rounds = math.ceil(math.ceil(slices / depth) * timepoints / slots)
        kept = count_kept(grids, depth)
        is_read_back = kept < len(grids) or has_later
        read_back = grids[kept - 1].size.volume / whole if is_read_back else 0.0
        return (
            rounds * (min(depth, slices) + START_SLICES)
            + TAIL * depth
            + READ_BACK * read_back * slices * timepoints
        )

    return min(range(unit, slices + unit, unit), key=estimate)


def split_plan(
    plan: StreamPlan, timepoints: int, slots: int
) -> tuple[StreamPlan, tuple[SliceRange, ...]]:
    """Cut a pass over a stack into ranges.

    Parameters
    ----------
    plan : StreamPlan
        Of the whole stack.
    timepoints : int
    slots : int
        How many ranges are converted at the same time.

    Returns
    -------
    StreamPlan
        With the mags that are made range by range; the others are its `later_mags`.
    tuple of SliceRange
        At least one; they cover all slices of all timepoints.
    """
    slices = plan.grids[0].size.z
    depth = choose_depth(plan.grids, timepoints, slots, has_later=bool(plan.later_mags))
    starts = range(0, slices, depth)
    ranges = tuple(
        SliceRange(t * len(starts) + place, t, first, min(first + depth, slices))
        for t in range(timepoints)
        for place, first in enumerate(starts)
    )
    if len(starts) == 1:
        return plan, ranges
    kept = count_kept(plan.grids, depth)
    later = (*(grid.mag for grid in plan.grids[kept:]), *plan.later_mags)
    return replace(plan, grids=plan.grids[:kept], later_mags=later), ranges
