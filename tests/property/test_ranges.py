"""Cutting a pass into ranges: nothing twice, nothing left out, no shard shared."""

from hypothesis import given
from hypothesis import strategies as st

from stackwatch.engine.ladder import plan_mags
from stackwatch.engine.planner import GIB, StreamRequest, plan_stream
from stackwatch.engine.ranges import shard_slices, split_plan
from stackwatch.model.geometry import Vec3, VoxelSize

sizes = st.builds(Vec3, st.integers(1, 600), st.integers(1, 600), st.integers(1, 3000))
voxels = st.sampled_from([VoxelSize(10, 10, 10), VoxelSize(10, 10, 25), VoxelSize(40, 40, 10)])
shards = st.sampled_from([None, Vec3(64, 64, 64), Vec3(128, 128, 32)])


@given(sizes, voxels, shards, st.integers(1, 3), st.integers(2, 40))
def test_ranges_share_no_shard_of_any_mag_they_make(size, voxel_size, shard, timepoints, slots):
    """Every slice is in one range, each begins at the edge of shards, and no mag is forgotten."""
    mags = plan_mags(size, voxel_size)
    plan = plan_stream(StreamRequest(size, mags, 1, 32, shard, 0, True, 2, 4 * GIB))
    split, ranges = split_plan(plan, timepoints, slots)

    covered = [(span.t, z) for span in ranges for z in range(span.first, span.end)]
    assert [(t, z) for t in range(timepoints) for z in range(size.z)] == covered
    assert list(range(len(ranges))) == [span.number for span in ranges]
    if len(ranges) > timepoints:
        edges = {span.first for span in ranges}
        assert all(
            first % shard_slices(grid, split.grids[0]) == 0
            for grid in split.grids
            for first in edges
        )
    assert mags == (*(grid.mag for grid in split.grids), *split.later_mags)
    assert split.grids == plan.grids[: len(split.grids)]


def test_ranges_are_deep_where_coarse_mags_would_be_left_over():
    """Hundreds of slots are no reason to let one process read a fine mag back alone."""
    size = Vec3(2048, 2048, 2000)

    def depth(voxel_size, slots, max_mag=None):
        mags = plan_mags(size, voxel_size, max_mag=max_mag)
        plan = plan_stream(StreamRequest(size, mags, 1, 32, None, 0, True, 2, 4 * GIB))
        _, ranges = split_plan(plan, 1, slots)
        return ranges[0].end

    assert 128 == depth(VoxelSize(10, 10, 10), 200)
    assert 64 == depth(VoxelSize(10, 10, 25), 200), "mags that keep z cost no depth"
    assert 32 == depth(VoxelSize(10, 10, 10), 200, max_mag=1), "nothing is left over"
