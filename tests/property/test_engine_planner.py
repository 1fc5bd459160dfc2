"""Plans of streams: within the budget, complete, and cut so that nothing spans two swaths."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackwatch.engine.ladder import plan_mags
from stackwatch.engine.planner import (
    BASE_BYTES,
    GIB,
    MIB,
    StreamPlan,
    StreamRequest,
    plan_stream,
)
from stackwatch.errors import BudgetTooSmallError
from stackwatch.model.geometry import Vec3, VoxelSize

edge_nm = st.sampled_from([3.0, 4.0, 6.0, 11.24, 25.0, 100.0])


@st.composite
def requests(draw: st.DrawFn) -> StreamRequest:
    """Return requests of every size, the small and the huge."""
    side = st.integers(1, 300) | st.integers(1, 40_000)
    size = Vec3(draw(side), draw(side), draw(st.integers(1, 2000)))
    chunk = draw(st.sampled_from([8, 16, 32, 64, 128]))
    chunks = st.integers(1, 130)
    shards = st.builds(lambda *n: Vec3(*(k * chunk for k in n)), chunks, chunks, chunks)
    return StreamRequest(
        size=size,
        mags=plan_mags(
            size,
            VoxelSize(draw(edge_nm), draw(edge_nm), draw(edge_nm)),
            downsample=draw(st.booleans()) or draw(st.booleans()),
        ),
        bytes_per_voxel=draw(st.sampled_from([1, 2, 3, 4, 6, 8])),
        chunk=chunk,
        max_shard=draw(st.none() | shards),
        decode_bytes=draw(st.sampled_from([0, MIB]) | st.integers(0, 3 * size.x * size.y)),
        can_read_rows=draw(st.booleans()),
        threads=draw(st.integers(1, 64)),
        budget_bytes=draw(st.integers(100 * MIB, 700 * MIB) | st.integers(GIB // 4, 16 * GIB)),
        shard_bytes=draw(st.sampled_from([0, 0, 24 * MIB])),
    )


def plan_or_none(request: StreamRequest) -> StreamPlan | None:
    """Return the plan, or None where there is too little memory for any."""
    try:
        return plan_stream(request)
    except BudgetTooSmallError:
        return None


@given(request=requests())
def test_a_plan_fits_its_budget_or_says_what_it_needs(request: StreamRequest) -> None:
    """A plan stays within its budget; a refusal names the budget with which there is a plan."""
    plan = plan_or_none(request)
    if plan is not None:
        assert plan.peak_bytes <= request.budget_bytes
        return
    with pytest.raises(BudgetTooSmallError, match="memory_gib") as refused:
        plan_stream(request)
    needed = refused.value.values["needed_bytes"]

    assert needed > request.budget_bytes
    assert needed == plan_stream(replace(request, budget_bytes=needed)).peak_bytes
    assert plan_or_none(replace(request, budget_bytes=needed - 1)) is None


@given(request=requests())
def test_the_peak_counts_every_slab(request: StreamRequest) -> None:
    """What a stream holds for its tallest swath is within the peak: slabs, and shards on the way.

    Of these there are those of the slab being written and of the one before.
    """
    plan = plan_or_none(request)
    if plan is None:
        return
    tallest = max(bottom - top for top, bottom in plan.swaths)
    slabs = 0
    for number, grid in enumerate(plan.grids):
        rows = math.ceil(tallest / grid.mag.y * request.mags[0].y)
        voxels = grid.chunk.z * rows * grid.size.x
        slabs += voxels * request.bytes_per_voxel * (plan.buffers if number == 0 else 1)
        shards = math.ceil(grid.size.x / grid.shard.x) * math.ceil(rows / grid.shard.y)
        slabs += 2 * shards * min(request.shard_bytes, grid.shard.volume * request.bytes_per_voxel)

    assert BASE_BYTES + slabs <= plan.peak_bytes


@given(request=requests())
def test_swaths_tile_the_rows(request: StreamRequest) -> None:
    """Swaths follow one another from the first row to the last, without gap or overlap."""
    plan = plan_or_none(request)
    if plan is None:
        return
    tops = [top for top, _ in plan.swaths]
    bottoms = [bottom for _, bottom in plan.swaths]

    assert [0, *bottoms[:-1]] == tops
    assert request.size.y == bottoms[-1]
    assert all(top < bottom for top, bottom in plan.swaths)


@given(request=requests())
def test_every_mag_is_made_once(request: StreamRequest) -> None:
    """The mags of this pass and those left for later are the ladder; each pass makes progress."""
    plan = plan_or_none(request)
    if plan is None:
        return

    assert request.mags == tuple(grid.mag for grid in plan.grids) + plan.later_mags
    assert len(plan.grids) >= min(2, len(request.mags))
    for grid in plan.grids:
        assert request.size.ceil_div(grid.mag) == grid.size


@given(request=requests())
def test_shards_stay_within_one_swath(request: StreamRequest) -> None:
    """Where a swath begins, a shard begins, in every mag of the pass."""
    plan = plan_or_none(request)
    if plan is None:
        return
    for grid in plan.grids:
        for top, _ in plan.swaths:
            assert 0 == top % grid.mag.y
            assert 0 == top // grid.mag.y % grid.shard.y


@given(request=requests())
def test_shards_hold_whole_chunks_within_their_limits(request: StreamRequest) -> None:
    """Shards are multiples of the chunk, within the limit, and no larger than the data needs."""
    plan = plan_or_none(request)
    if plan is None:
        return
    depth = 1 if request.size.z == 1 else request.chunk
    limit = request.max_shard or Vec3(4096, 4096, depth)
    for grid in plan.grids:
        assert Vec3(request.chunk, request.chunk, depth) == grid.chunk
        for size, chunk, shard, most in zip(grid.size, grid.chunk, grid.shard, limit, strict=True):
            assert 0 == shard % chunk
            assert shard <= max(most, chunk)
            assert shard < size + chunk


@given(request=requests())
def test_rows_are_spooled_only_where_they_must(request: StreamRequest) -> None:
    """A spool is planned for several swaths of a source that reads whole slices, never else."""
    plan = plan_or_none(request)
    if plan is None:
        return

    assert (len(plan.swaths) > 1 and not request.can_read_rows) == plan.spool
    assert 1 <= plan.encode_threads <= request.threads
    assert plan.read_threads >= 1


@given(request=requests())
def test_more_memory_never_means_fewer_threads(request: StreamRequest) -> None:
    """With ten times the memory a plan never falls back to fewer threads."""
    plan = plan_or_none(request)
    richer = plan_or_none(replace(request, budget_bytes=10 * request.budget_bytes))
    if plan is None:
        return

    assert richer is not None
    assert richer.encode_threads >= plan.encode_threads


@pytest.mark.parametrize("bytes_per_voxel", [1, 2, 4])
@pytest.mark.parametrize("can_read_rows", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 16])
def test_planes_of_30_000_fit_into_4_gib(
    bytes_per_voxel: int, can_read_rows: bool, threads: int
) -> None:
    """Slices of 30,000 x 30,000 voxels are planned within 4 GiB, whole slices or rows."""
    size = Vec3(30_000, 30_000, 100)
    plane = size.x * size.y * bytes_per_voxel
    request = StreamRequest(
        size=size,
        mags=plan_mags(size, VoxelSize(4, 4, 40)),
        bytes_per_voxel=bytes_per_voxel,
        chunk=32,
        max_shard=None,
        decode_bytes=0 if can_read_rows else plane // 100,
        can_read_rows=can_read_rows,
        threads=threads,
        budget_bytes=4 * GIB,
    )
    plan = plan_stream(request)

    assert plan.peak_bytes <= 4 * GIB
    assert len(plan.swaths) > 1
    assert plan.spool is not can_read_rows


def test_a_small_stack_is_one_swath_with_two_buffers() -> None:
    """Where everything fits, the next slab is read while one is encoded."""
    size = Vec3(2048, 2048, 256)
    request = StreamRequest(
        size=size,
        mags=plan_mags(size, VoxelSize(11, 11, 25)),
        bytes_per_voxel=1,
        chunk=32,
        max_shard=None,
        decode_bytes=MIB,
        can_read_rows=True,
        threads=2,
        budget_bytes=GIB,
    )
    plan = plan_stream(request)

    assert ((0, 2048),) == plan.swaths
    assert 2 == plan.buffers
    assert 2 == plan.encode_threads
    assert () == plan.later_mags
    assert plan.peak_bytes < 500 * MIB
