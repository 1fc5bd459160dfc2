"""Downsampling against its slow, obvious twin, over every method, type, factor and odd shape."""

from typing import Any, get_args
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stackwatch.engine import downsample as fast
from stackwatch.engine import reference
from stackwatch.engine.downsample import Method, downsample_into, reduced_shape
from stackwatch.model.geometry import Vec3

METHODS = get_args(Method)
INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
HALF = settings(max_examples=settings().max_examples // 2)
sizes = st.integers(1, 7)
factors = st.builds(Vec3, *[st.sampled_from([1, 2, 4])] * 3).filter(lambda f: max(f) > 1)


@st.composite
def integer_volumes(draw: st.DrawFn) -> NDArray[Any]:
    """Return volumes of few different values, extreme ones among them, so that ties are common."""
    dtype: np.dtype[Any] = np.dtype(draw(st.sampled_from(INTEGERS)))
    limits = np.iinfo(dtype)
    values = st.integers(limits.min, limits.max) | st.sampled_from(
        [limits.min, limits.min + 1, limits.max - 1, limits.max, 0, 1]
    )
    pool = np.array(draw(st.lists(values, min_size=1, max_size=6)), dtype)
    return _drawn_from(pool, draw)


@st.composite
def float_volumes(draw: st.DrawFn, *, finite: bool) -> NDArray[Any]:
    """Return float32 volumes; finite ones of values whose sums are exact."""
    if finite:
        values = st.integers(-(2**20), 2**20).map(lambda n: n / 8)
    else:
        values = st.floats(width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0])
    pool = np.array(draw(st.lists(values, min_size=1, max_size=6)), np.float32)
    return _drawn_from(pool, draw)


def _drawn_from(pool: NDArray[Any], draw: st.DrawFn) -> NDArray[Any]:
    shape: tuple[int, ...] = (draw(sizes), draw(sizes), draw(sizes))
    if draw(st.booleans()):
        shape += (3,)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return pool[rng.integers(0, len(pool), shape)]


def reduce_into(volume: NDArray[Any], factor: Vec3, method: Method) -> NDArray[Any]:
    """Return the reduced volume, the engine's way."""
    out = np.empty(reduced_shape(volume.shape, factor) + volume.shape[3:], volume.dtype)
    downsample_into(volume, factor, method, out)
    return out


@pytest.mark.parametrize("method", METHODS)
@given(volume=integer_volumes(), factor=factors)
def test_integers_equal_the_reference(method: Method, volume: NDArray[Any], factor: Vec3) -> None:
    """Integers of every width, extremes among them, are reduced as the reference does it."""
    expected = reference.downsample(volume, factor, method)

    np.testing.assert_array_equal(expected, reduce_into(volume, factor, method))


@pytest.mark.parametrize("method", METHODS)
@HALF
@given(volume=float_volumes(finite=True), factor=factors)
def test_finite_floats_equal_the_reference(
    method: Method, volume: NDArray[Any], factor: Vec3
) -> None:
    """Finite floats are reduced as the reference does it."""
    expected = reference.downsample(volume, factor, method)

    np.testing.assert_array_equal(expected, reduce_into(volume, factor, method))


@pytest.mark.parametrize("method", ["median", "mode", "nearest", "min", "max"])
@HALF
@given(volume=float_volumes(finite=False), factor=factors)
def test_any_floats_equal_the_reference(method: Method, volume: NDArray[Any], factor: Vec3) -> None:
    """Infinities pass, and a NaN makes the median, minimum and maximum of its cell NaN."""
    expected = reference.downsample(volume, factor, method)

    np.testing.assert_array_equal(expected, reduce_into(volume, factor, method))


@given(volume=float_volumes(finite=False), factor=factors)
def test_the_mean_of_nan_is_nan_and_nothing_else_is(volume: NDArray[Any], factor: Vec3) -> None:
    """A mean is NaN where its cell holds NaN or infinities of both signs, and only there."""

    def any_of(found: NDArray[Any]) -> NDArray[Any]:
        return reference.downsample(found.astype(np.uint8), factor, "max").astype(bool)

    both = any_of(volume == np.inf) & any_of(volume == -np.inf)
    undefined = any_of(np.isnan(volume)) | both

    np.testing.assert_array_equal(undefined, np.isnan(reduce_into(volume, factor, "mean")))


@given(volume=integer_volumes(), factor=factors, method=st.sampled_from(METHODS))
def test_the_order_of_memory_does_not_matter(
    volume: NDArray[Any], factor: Vec3, method: Method
) -> None:
    """Views that skip, run backwards or are transposed give what a copy of them gives."""
    wide = np.repeat(np.repeat(volume, 2, axis=2), 2, axis=1)
    turned = np.ascontiguousarray(volume.swapaxes(0, 2)).swapaxes(0, 2)
    for view in (wide[:, ::2, ::2], turned, volume[::-1, ::-1, ::-1]):
        expected = reduce_into(view.copy(order="C"), factor, method)

        np.testing.assert_array_equal(expected, reduce_into(view, factor, method))


@given(
    volume=integer_volumes(),
    factor=factors,
    method=st.sampled_from(METHODS),
    piece_bytes=st.integers(1, 400),
)
def test_the_size_of_pieces_does_not_matter(
    volume: NDArray[Any], factor: Vec3, method: Method, piece_bytes: int
) -> None:
    """However small the pieces are that the work is cut into, the outcome is the same."""
    expected = reduce_into(volume, factor, method)
    with mock.patch.object(fast, "PIECE_BYTES", piece_bytes):
        actual = reduce_into(volume, factor, method)

    np.testing.assert_array_equal(expected, actual)


@given(
    volume=integer_volumes(),
    factor=factors,
    method=st.sampled_from(METHODS),
    cuts=st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
)
def test_where_blocks_are_cut_does_not_matter(
    volume: NDArray[Any], factor: Vec3, method: Method, cuts: tuple[int, int, int]
) -> None:
    """A volume cut at multiples of the factors and reduced part by part gives the same."""
    steps = (factor.z, factor.y, factor.x)
    actual = np.zeros(reduced_shape(volume.shape, factor) + volume.shape[3:], volume.dtype)
    for sides in np.ndindex(2, 2, 2):
        source, result = [], []
        for side, cut, step in zip(sides, cuts, steps, strict=True):
            source.append(slice(cut * step, None) if side else slice(0, cut * step))
            result.append(slice(cut, None) if side else slice(0, cut))
        part = volume[tuple(source)]
        if part.size:
            downsample_into(part, factor, method, actual[tuple(result)])

    np.testing.assert_array_equal(reduce_into(volume, factor, method), actual)


@given(volume=integer_volumes(), factor=factors, method=st.sampled_from(METHODS))
def test_every_voxel_around_the_output_is_left_alone(
    volume: NDArray[Any], factor: Vec3, method: Method
) -> None:
    """The reduction fills its output to the edges, and nothing beside it; the input stays."""
    before = volume.copy()
    shape = reduced_shape(volume.shape, factor)
    room = np.full(tuple(n + 2 for n in shape) + volume.shape[3:], 77, volume.dtype)
    downsample_into(volume, factor, method, room[1:-1, 1:-1, 1:-1])
    inside = room[1:-1, 1:-1, 1:-1].copy()
    room[1:-1, 1:-1, 1:-1] = 77

    assert (room == 77).all()
    np.testing.assert_array_equal(before, volume)
    np.testing.assert_array_equal(reference.downsample(volume, factor, method), inside)


def test_factor_4_looks_at_all_its_voxels_at_once() -> None:
    """The mode by factor 4 is the mode of 16 voxels, not the mode of four modes."""
    volume = np.array([[[1, 1, 2, 2], [1, 3, 2, 3], [2, 2, 3, 3], [1, 2, 3, 1]]], np.uint8)
    once = reduce_into(volume, Vec3(4, 4, 1), "mode")
    half = reduce_into(volume, Vec3(2, 2, 1), "mode")

    assert 2 == once.item()
    assert [[[1, 2], [2, 3]]] == half.tolist()
