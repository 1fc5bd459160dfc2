"""Halving slabs: median, mean, mode, nearest, min, max. Pure numpy.

Every function reduces a block of shape (z, y, x) or (z, y, x, c) by factors along z, y and x.
At an odd edge only the voxels that exist count; for the rare factors above 2 they are mirrored
within their cell. `engine.reference` holds the slow, obvious version.

The work is cut into pieces small enough for the processor's cache: whole-slab temporaries would
cost more in page faults than the arithmetic itself.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stackwatch.model.geometry import Vec3

Method = Literal["median", "mean", "mode", "nearest", "min", "max"]
Values = list[NDArray[Any]]
"""The voxels of each cell, as one array per position, y fastest, then x, then z."""

PIECE_BYTES = 256 * 1024


def downsample_into(block: NDArray[Any], factor: Vec3, method: Method, out: NDArray[Any]) -> None:
    """Reduce a block into the caller's array.

    Parameters
    ----------
    block : array, shape (z, y, x) or (z, y, x, c)
        Read, never kept.
    factor : Vec3
        Powers of two, at least one of them above 1.
    method : Method
        `median` of an even count is the mean of the two middle values, truncated towards zero for
        integers, as is `mean`. Ties of `mode` go to the first value, y fastest, then x, then z.
        `nearest` takes the first voxel of each cell.
    out : array
        Shape of `block` divided by the factors, rounded up; same dtype. Every voxel is written.
    """
    assert out.shape[:3] == reduced_shape(block.shape[:3], factor), (out.shape, block.shape, factor)
    if max(factor) > 2:
        out[...] = _REDUCERS[method](_values_any(block, factor), block.dtype)
        return
    even_z, even_y, even_x = (
        size - size % step
        for size, step in zip(block.shape[:3], (factor.z, factor.y, factor.x), strict=True)
    )
    if (even_z, even_y, even_x) == block.shape[:3]:
        _downsample_even(block, factor, method, out)
        return
    # An odd edge is a block of its own in which the factor along that axis is 1.
    for z_part, z_out, z_step in _parts(block.shape[0], even_z, factor.z):
        for y_part, y_out, y_step in _parts(block.shape[1], even_y, factor.y):
            for x_part, x_out, x_step in _parts(block.shape[2], even_x, factor.x):
                part, step = block[z_part, y_part, x_part], Vec3(x_step, y_step, z_step)
                _downsample_even(part, step, method, out[z_out, y_out, x_out])


def reduced_shape(shape_zyx: tuple[int, ...], factor: Vec3) -> tuple[int, int, int]:
    """Return the shape (z, y, x) that a block of `shape_zyx` has after the reduction."""
    z, y, x = shape_zyx[:3]
    return -(-z // factor.z), -(-y // factor.y), -(-x // factor.x)


def _parts(size: int, even: int, step: int) -> list[tuple[slice, slice, int]]:
    """Return the even part and the odd rest of an axis: where in, where out, and its factor."""
    parts = []
    if even:
        parts.append((slice(0, even), slice(0, even // step), step))
    if even < size:
        parts.append((slice(even, size), slice(even // step, even // step + 1), 1))
    return parts


def _downsample_even(block: NDArray[Any], factor: Vec3, method: Method, out: NDArray[Any]) -> None:
    """Reduce a block whose sizes are multiples of the factors, piece by piece."""
    reduce_piece = _piece_reducer(block, factor, method)
    rows, planes = _piece_size(block, factor)
    for z in range(0, block.shape[0], planes):
        for y in range(0, block.shape[1], rows):
            piece = block[z : z + planes, y : y + rows]
            out[
                z // factor.z : -(-(z + planes) // factor.z),
                y // factor.y : -(-(y + rows) // factor.y),
            ] = reduce_piece(piece)


def _piece_size(block: NDArray[Any], factor: Vec3) -> tuple[int, int]:
    """Return rows and planes of a piece of about `PIECE_BYTES`, multiples of the factors."""
    row_bytes = max(1, block[0, 0].size * block.itemsize)
    rows = min(block.shape[1], max(2, PIECE_BYTES // (row_bytes * factor.z) // 2 * 2))
    planes = max(factor.z, PIECE_BYTES // (row_bytes * rows) // factor.z * factor.z)
    return rows, planes


def _piece_reducer(
    block: NDArray[Any], factor: Vec3, method: Method
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    has_pairs = (
        factor.x == 2
        and block.ndim == 3
        and block.dtype in (np.uint8, np.uint16)
        and block.strides[2] == block.itemsize
    )
    if method == "median" and has_pairs:
        return lambda piece: _median_of_pairs(piece, factor)
    reducer = _REDUCERS[method]
    return lambda piece: reducer(_values(piece, factor), piece.dtype)


def _values(block: NDArray[Any], factor: Vec3) -> Values:
    """Return the positions of each cell as strided views."""
    return [
        block[z :: factor.z, y :: factor.y, x :: factor.x]
        for z in range(factor.z)
        for x in range(factor.x)
        for y in range(factor.y)
    ]


def _values_any(block: NDArray[Any], factor: Vec3) -> Values:
    """Return the positions of each cell for factors above 2, edges mirrored within their cell.

    Mirroring beyond the cell would make a voxel depend on where the blocks are cut.
    """
    for axis, step in enumerate((factor.z, factor.y, factor.x)):
        rest = block.shape[axis] % step
        if rest:
            whole = np.arange(block.shape[axis] - rest)
            last = np.pad(np.arange(rest), (0, step - rest), mode="symmetric") + whole.size
            block = block.take(np.concatenate([whole, last]), axis)
    return _values(block, factor)


def _median_of_pairs(piece: NDArray[Any], factor: Vec3) -> NDArray[Any]:
    """Median for uint8 and uint16 where x is halved, two neighbours in x at a time.

    The voxels of a cell that share their x are put in order first: whole rows, whole vectors. Then
    pairs of neighbours are looked at as one word of twice the width: taking words apart by shift
    and mask runs on whole vectors too, a stride of two does not, and the sum of two voxels fits.
    """
    wide = np.dtype(f"u{piece.itemsize * 2}")
    bits = piece.itemsize * 8
    mask = wide.type((1 << bits) - 1)
    rows = [piece[z :: factor.z, y :: factor.y] for z in range(factor.z) for y in range(factor.y)]
    pairs = [np.ascontiguousarray(row).view(wide) for row in _in_order(rows)]
    if len(pairs) == 1:
        low, high = pairs[0] & mask, pairs[0] >> bits
    elif len(pairs) == 2:
        low = np.maximum(pairs[0] & mask, pairs[0] >> bits)
        high = np.minimum(pairs[1] & mask, pairs[1] >> bits)
    else:
        low, high = _middle_of_two_fours([p & mask for p in pairs], [p >> bits for p in pairs])
    low += high
    low >>= 1
    median: NDArray[Any] = low.astype(piece.dtype)
    return median


def _in_order(rows: Values) -> Values:
    """Sort one, two or four arrays against each other, place by place."""
    if len(rows) == 4:
        return _sorted_4(rows)
    if len(rows) == 2:
        return [np.minimum(*rows), np.maximum(*rows)]
    return rows


def _truncated_mean(low: NDArray[Any], high: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the mean of two arrays, truncated towards zero, without overflow."""
    mean: NDArray[Any]
    if dtype.kind == "f":
        mean = ((low + high) / dtype.type(2)).astype(dtype, copy=False)
        return mean
    differing = low ^ high
    mean = (low & high) + (differing >> 1)
    if dtype.kind == "i":
        mean += (mean < 0) & ((differing & 1) != 0)
    return mean


def _median(values: Values, dtype: np.dtype[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):  # infinities and NaN pass through
        if len(values) == 1:
            return values[0]
        if len(values) == 2:
            return _truncated_mean(values[0], values[1], dtype)
        if len(values) == 4:
            return _truncated_mean(*_middle_of_4(values), dtype)
        if len(values) == 8:
            return _truncated_mean(*_middle_of_8(values), dtype)
        ordered = np.sort(np.stack(values), axis=0)
        half = len(values) // 2
        median = _truncated_mean(ordered[half - 1], ordered[half], dtype)
        if dtype.kind == "f":  # sorting puts NaN last; here as below 8 values it wins
            median[np.isnan(ordered[-1])] = np.nan
        return median


def _middle_of_4(v: Values) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the second and third smallest of four."""
    low_a, high_a = np.minimum(v[0], v[1]), np.maximum(v[0], v[1])
    low_b, high_b = np.minimum(v[2], v[3]), np.maximum(v[2], v[3])
    return np.maximum(low_a, low_b), np.minimum(high_a, high_b)


def _sorted_4(v: Values) -> Values:
    low_a, high_a = np.minimum(v[0], v[1]), np.maximum(v[0], v[1])
    low_b, high_b = np.minimum(v[2], v[3]), np.maximum(v[2], v[3])
    first, last = np.minimum(low_a, low_b), np.maximum(high_a, high_b)
    middle_a, middle_b = np.maximum(low_a, low_b), np.minimum(high_a, high_b)
    return [first, np.minimum(middle_a, middle_b), np.maximum(middle_a, middle_b), last]


def _middle_of_8(v: Values) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the fourth and fifth smallest of eight: two sorted fours, merged half-way."""
    return _middle_of_two_fours(_sorted_4(v[:4]), _sorted_4(v[4:]))


def _middle_of_two_fours(a: Values, b: Values) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the fourth and fifth smallest of two fours, each in order."""
    pairs = [(a[i], b[3 - i]) for i in range(4)]
    lower = [np.minimum(p, q) for p, q in pairs]
    upper = [np.maximum(p, q) for p, q in pairs]
    fourth = np.maximum(np.maximum(lower[0], lower[1]), np.maximum(lower[2], lower[3]))
    fifth = np.minimum(np.minimum(upper[0], upper[1]), np.minimum(upper[2], upper[3]))
    return fourth, fifth


def _mean(values: Values, dtype: np.dtype[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype.kind == "f":
            total = np.sum(values, axis=0, dtype=np.float64)
            return (total / len(values)).astype(dtype)
        if dtype.itemsize == 8:
            return _mean_of_wide_integers(values, dtype)
        wide = np.dtype(f"{dtype.kind}{dtype.itemsize * 2}")  # holds the sum of up to 256 values
        total = values[0].astype(wide)
        for value in values[1:]:
            total += value
        if dtype.kind == "i":  # shifting rounds down; truncation is towards zero
            total += (total < 0) * wide.type(len(values) - 1)
        mean: NDArray[Any] = np.right_shift(total, len(values).bit_length() - 1).astype(dtype)
        return mean


def _mean_of_wide_integers(values: Values, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Mean of 64-bit integers: the sum would overflow, so quotients and remainders are added."""
    count = dtype.type(len(values))
    quotients = np.sum([value // count for value in values], axis=0, dtype=dtype)
    remainders = np.sum([value % count for value in values], axis=0, dtype=dtype)
    floor: NDArray[Any] = quotients + remainders // count
    if dtype.kind == "i":  # the floor of a negative mean lies one below the truncated one
        floor += (floor < 0) & (remainders % count != 0)
    return floor


def _mode(values: Values, dtype: np.dtype[Any]) -> NDArray[Any]:
    first = values[0]
    if len(values) <= 2:
        return first
    if dtype.kind == "f":  # NaN equals nothing: compare the bits
        bits = np.dtype(f"u{dtype.itemsize}")
        return _mode([np.ascontiguousarray(v).view(bits) for v in values], bits).view(dtype)
    mixed = values[1] != first
    for value in values[2:]:
        mixed |= value != first
    out = first.copy()
    if mixed.any():  # most cells of a segmentation lie inside one segment
        out[mixed] = _mode_of_mixed(np.stack([value[mixed] for value in values]))
    return out


def _mode_of_mixed(cells: NDArray[Any]) -> NDArray[Any]:
    """Return the most frequent value of each column, the first one on a tie.

    Parameters
    ----------
    cells : array, shape (positions, cells)
    """
    best: NDArray[Any] = cells[0].copy()
    best_count = (cells == best).sum(axis=0)
    for value in cells[1:]:
        count = (cells == value).sum(axis=0)
        better = count > best_count
        best[better] = value[better]
        best_count[better] = count[better]
    return best


def _nearest(values: Values, _dtype: np.dtype[Any]) -> NDArray[Any]:
    return values[0]


def _min(values: Values, _dtype: np.dtype[Any]) -> NDArray[Any]:
    return _fold(np.minimum, values)


def _max(values: Values, _dtype: np.dtype[Any]) -> NDArray[Any]:
    return _fold(np.maximum, values)


def _fold(function: np.ufunc, values: Values) -> NDArray[Any]:
    result = values[0]
    for value in values[1:]:
        result = function(result, value)
    return result


_REDUCERS: dict[str, Callable[[Values, np.dtype[Any]], NDArray[Any]]] = {
    "median": _median,
    "mean": _mean,
    "mode": _mode,
    "nearest": _nearest,
    "min": _min,
    "max": _max,
}
