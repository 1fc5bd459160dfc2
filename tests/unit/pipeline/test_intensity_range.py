"""What is shown from black to white, by voxel type."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stackwatch.engine.statistics import LayerStatistics
from stackwatch.model.geometry import Vec3
from stackwatch.model.plan import LayerPlan
from stackwatch.model.voxels import Category, VoxelType
from stackwatch.pipeline.streams import WrittenMags, intensity_range


def shown(volume: NDArray[Any], *, channels: int = 1) -> tuple[int | float, int | float]:
    """Return the range of a layer whose coarsest mag is the volume itself, in two parts."""
    size_z, size_y, size_x = volume.shape[:3]
    voxel_type = VoxelType(volume.dtype.name, channels)
    layer = LayerPlan("color", Category.COLOR, voxel_type, Vec3(size_x, size_y, size_z))
    statistics = LayerStatistics(volume.dtype, volume.size)
    for slice_yx in volume:
        statistics.add(slice_yx)
    half = len(volume) // 2
    return intensity_range(WrittenMags(layer, statistics), lambda: [volume[:half], volume[half:]])


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_narrow_types_are_exact(dtype: str) -> None:
    """8 and 16 bit: the percentiles of all voxels that are not zero."""
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(1)
    volume = rng.integers(limits.min, limits.max, (4, 60, 70), dtype, endpoint=True)
    volume[:2] = 0
    kept = volume[volume != 0]
    expected = tuple(np.quantile(kept, q, method="inverted_cdf") for q in (0.001, 0.999))

    assert expected == shown(volume)


@pytest.mark.parametrize("dtype", ["uint32", "int32", "float32"])
def test_wide_types_are_as_good_as_their_bins(dtype: str) -> None:
    """32 bit: within a bin of the true percentiles."""
    rng = np.random.default_rng(2)
    volume = (rng.normal(0.5, 0.1, (4, 60, 70)) * 1e6).astype(dtype)
    low, high = shown(volume)
    expected = np.quantile(volume[volume != 0].astype(float), (0.001, 0.999), method="inverted_cdf")
    bin_width = (float(volume.max()) - float(volume.min())) / 4096

    assert expected == pytest.approx((low, high), abs=2 * bin_width)
    assert (type(low), type(high)) == ((float, float) if dtype == "float32" else (int, int))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("uint8", (0, 255)), ("int8", (-128, 127)), ("uint16", (0, 65535)),
        ("int32", (-(2**31), 2**31 - 1)), ("uint32", (0, 2**32 - 1)), ("float32", (0.0, 1.0)),
    ],
)  # fmt: skip
def test_an_empty_layer_takes_the_range_of_its_type(
    dtype: str, expected: tuple[float, float]
) -> None:
    """Nothing but zeros: what the type can hold."""
    assert expected == shown(np.zeros((2, 3, 4), dtype))


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "float32"])
def test_a_constant_layer_shows_its_value(dtype: str) -> None:
    """One value everywhere: both ends are that value."""
    assert (7, 7) == shown(np.full((2, 3, 4), 7, dtype))


def test_nan_does_not_count() -> None:
    """NaN and infinities have no part in the range; a layer of nothing else takes 0 to 1."""
    volume = np.full((2, 10, 10), np.nan, np.float32)
    assert (0.0, 1.0) == shown(volume)
    volume[0, 0], volume[1, 0, 0] = np.linspace(1, 3, 10), np.inf
    low, high = shown(volume)

    assert (low, high) == pytest.approx((1, 3), abs=0.01)


def test_what_is_lost_in_the_coarse_mag_is_shown_from_end_to_end() -> None:
    """A coarse mag of zeros says nothing: then the true extremes do."""
    layer = LayerPlan("color", Category.COLOR, VoxelType("float32"), Vec3(4, 4, 4))
    statistics = LayerStatistics(np.dtype("float32"), 64)
    statistics.add(np.array([[0, 0, 9.0]], np.float32))
    coarsest = [np.zeros((1, 2, 2), np.float32)]

    assert (0.0, 9.0) == intensity_range(WrittenMags(layer, statistics), lambda: coarsest)


def test_rgb_is_left_alone() -> None:
    """RGB is shown as it is."""
    volume = np.full((2, 4, 4, 3), 100, np.uint8)

    assert (0, 255) == shown(volume, channels=3)
