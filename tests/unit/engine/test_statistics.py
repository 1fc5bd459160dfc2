"""Extremes and percentiles of a layer, against numpy on all its voxels."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stackwatch.engine import statistics
from stackwatch.engine.statistics import LayerStatistics

NARROW = ("uint8", "int8", "uint16", "int16")


def gather(volume: NDArray[Any], **options: Any) -> LayerStatistics:
    """Feed a volume slice by slice."""
    found = LayerStatistics(volume.dtype, volume.size, **options)
    for slice_yx in volume:
        found.add(slice_yx)
    return found


@given(
    dtype=st.sampled_from(NARROW),
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 90), st.integers(1, 90)),
    zeros=st.sampled_from([0.0, 0.5, 0.999, 1.0]),
)
def test_percentiles_are_exact(
    dtype: str, seed: int, shape: tuple[int, int, int], zeros: float
) -> None:
    """For 8 and 16 bit, signed or not, the percentiles are those of all non-zero voxels."""
    rng = np.random.default_rng(seed)
    limits = np.iinfo(dtype)
    volume = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    volume[rng.random(shape) < zeros] = 0
    found = gather(volume)
    kept = volume[volume != 0]
    shares = (0.001, 0.999)

    assert (volume.min(), volume.max()) == (found.minimum, found.maximum)
    if kept.size == 0:
        assert found.percentiles_of_nonzero(shares) is None
        return
    expected = tuple(np.quantile(kept, share, method="inverted_cdf") for share in shares)
    assert expected == found.percentiles_of_nonzero(shares)


@pytest.mark.parametrize("dtype", NARROW)
def test_every_value_is_counted_in_its_place(dtype: str) -> None:
    """The histogram begins at the lowest value of the type, each value once."""
    limits = np.iinfo(dtype)
    volume = np.arange(limits.min, limits.max + 1, dtype=dtype).reshape(1, -1, 16)
    found = gather(volume)

    assert found.histogram is not None
    assert [1] * (limits.max - limits.min + 1) == found.histogram.tolist()
    assert int(limits.min) == found.lowest_value


def test_a_large_layer_counts_every_nth_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit every n-th row is counted; the extremes are those of all voxels."""
    monkeypatch.setattr(statistics, "COUNTED_VOXELS", 100)
    volume = np.full((1, 40, 10), 5, np.uint8)
    volume[0, 1] = 200
    found = gather(volume)

    assert found.histogram is not None
    assert 100 == found.histogram.sum() == found.histogram[5]
    assert 200 == found.maximum


@pytest.mark.parametrize("dtype", ["uint32", "int32", "uint64", "int64", "float32"])
def test_wide_types_keep_exact_extremes_and_no_histogram(dtype: str) -> None:
    """32 and 64 bit: the extremes are exact, as Python numbers; values are not counted."""
    low, high = (-1.5, 3e38) if dtype == "float32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    volume = np.zeros((2, 3, 4), dtype)
    volume[0, 1, 2], volume[1, 2, 3] = low, high
    found = gather(volume)

    assert found.histogram is None
    assert (volume.min().item(), volume.max().item()) == (found.minimum, found.maximum)
    assert type(found.minimum) is (float if dtype == "float32" else int)


def test_a_segmentation_is_not_counted() -> None:
    """Where no histogram is wanted there is none."""
    assert gather(np.ones((1, 2, 2), np.uint8), count_values=False).histogram is None


def test_values_that_are_not_finite_are_no_extremes() -> None:
    """NaN and infinities do not count; a layer of nothing else has no extremes."""
    volume = np.array([[[np.nan, -2.5, np.inf, 7.0, -np.inf]]], np.float32)
    found = gather(volume)
    nothing = gather(np.full((2, 2, 2), np.nan, np.float32))

    assert (-2.5, 7.0) == (found.minimum, found.maximum)
    assert (None, None) == (nothing.minimum, nothing.maximum)


def test_many_threads_lose_nothing() -> None:
    """Slices added all at once are all counted."""
    volume = np.random.default_rng(5).integers(0, 256, (64, 50, 70), np.uint8)
    found = LayerStatistics(volume.dtype, volume.size)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(found.add, volume))

    assert found.histogram is not None
    assert np.bincount(volume.ravel(), minlength=256).tolist() == found.histogram.tolist()


def test_rows_of_a_slab_are_counted_where_they_lie() -> None:
    """Views that are not contiguous count like copies, RGB samples like voxels."""
    wide = np.random.default_rng(6).integers(0, 256, (3, 20, 30, 3), np.uint8)
    view = wide[:, ::2, 3:17]
    found = LayerStatistics(wide.dtype, view.size)
    for slice_yx in view:
        found.add(slice_yx)

    assert found.histogram is not None
    assert np.bincount(view.ravel(), minlength=256).tolist() == found.histogram.tolist()
