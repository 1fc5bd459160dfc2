"""Which mags a layer gets: the peer's ladder, and where ours is wiser."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackwatch.engine.ladder import coarsest_mag, plan_mags
from stackwatch.model.geometry import MAG_1, Vec3, VoxelSize


def ladder(size: Vec3, edges: tuple[float, float, float], max_mag: int | None = None) -> list[str]:
    """Return the ladder's folder names."""
    return [str(mag) for mag in plan_mags(size, VoxelSize(*edges), max_mag=max_mag)]


@pytest.mark.parametrize(
    ("width", "coarsest"),
    [
        (1, 4), (50, 4), (100, 4), (101, 4), (400, 4), (401, 8), (512, 8), (1000, 16), (1601, 32),
        (4096, 64), (10_000, 128), (25_600, 256), (100_000, 1024),
    ],
)  # fmt: skip
def test_the_coarsest_mag_is_about_100_voxels_wide(width: int, coarsest: int) -> None:
    """The peer's rule for the coarsest mag, by the wider of x and y; z is not looked at."""
    assert coarsest == coarsest_mag(Vec3(width, 1, 10**6))
    assert coarsest == coarsest_mag(Vec3(1, width, 1))


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ((11.24, 11.24, 25), "1 2-2-1 4-4-2 8-8-4 16-16-8"),
        ((4, 4, 35), "1 2-2-1 4-4-1 8-8-1 16-16-2 32-32-4"),
        ((4, 4, 40), "1 2-2-1 4-4-1 8-8-1 16-16-2 32-32-4"),
        ((100, 100, 20), "1 1-1-2 1-1-4 2-2-8 4-4-16 8-8-32"),
        ((10, 10, 10), "1 2 4 8 16 32"),
    ],
)
def test_the_ladder_is_the_peers(edges: tuple[float, float, float], expected: str) -> None:
    """Anisotropic voxels are brought towards cubes first, then all axes are doubled."""
    largest = max(int(n) for n in expected.split()[-1].split("-"))

    assert expected.split() == ladder(Vec3(5000, 5000, 500), edges, largest)


@pytest.mark.parametrize(
    ("nearly", "exactly"),
    [
        ((4, 4.0001, 35), (4, 4, 35)),
        ((0.103, 0.1031, 0.5), (0.103, 0.103, 0.5)),
        ((4.03, 4, 35), (4, 4, 35)),
        ((10, 10.05, 9.97), (10, 10, 10)),
    ],
)
def test_edges_within_one_percent_are_one_length(
    nearly: tuple[float, float, float], exactly: tuple[float, float, float]
) -> None:
    """A voxel that is square but for the last digits gets the ladder of a square one."""
    size = Vec3(3000, 3000, 300)

    assert ladder(size, exactly) == ladder(size, nearly)


def test_edges_further_apart_are_two_lengths() -> None:
    """Two percent apart is another shape: the shorter edge is doubled first."""
    assert "2-1-1" == ladder(Vec3(3000, 3000, 300), (4, 4.08, 35))[1]


def test_a_step_that_raises_nothing_is_not_written() -> None:
    """No two mags of a ladder share their largest component."""
    assert ["1", "2-1-1", "4-2-1", "8-4-1", "16-16-2"] == ladder(
        Vec3(1600, 1600, 300), (4, 4.5, 35)
    )


def test_a_single_slice_is_never_halved_along_z() -> None:
    """A layer of one slice keeps its z, whatever the voxel size says."""
    assert ["1", "2-2-1", "4-4-1", "8-8-1"] == ladder(Vec3(512, 512, 1), (100, 100, 20))


def test_without_downsampling_there_is_mag_1() -> None:
    """The choice not to downsample leaves mag 1 alone, whatever the limit."""
    size, edges = Vec3(512, 512, 9), VoxelSize(1, 1, 1)

    assert (MAG_1,) == plan_mags(size, edges, downsample=False)
    assert (MAG_1,) == plan_mags(size, edges, max_mag=1)


sizes = st.builds(Vec3, st.integers(1, 40_000), st.integers(1, 40_000), st.integers(1, 5000))
edges = st.floats(0.01, 1e5)


@given(
    size=sizes,
    voxel_size=st.builds(VoxelSize, edges, edges, edges),
    max_mag=st.none() | st.sampled_from([1, 2, 4, 64, 1024]),
)
def test_every_ladder_can_be_climbed(
    size: Vec3, voxel_size: VoxelSize, max_mag: int | None
) -> None:
    """Mags are powers of two that never fall; the largest component doubles at each step."""
    mags = plan_mags(size, voxel_size, max_mag=max_mag)
    limit = coarsest_mag(size) if max_mag is None else max_mag

    assert MAG_1 == mags[0]
    assert [2**n for n in range(limit.bit_length())] == [mag.largest for mag in mags]
    for finer, mag in pairwise(mags):
        factor = mag.factor_from(finer)
        assert set(factor) <= {1, 2, 4}
        assert size.z > 1 or mag.z == 1
