"""Map a range of values onto a type: a line between its ends, clipped beyond them. Pure."""

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import UnsupportedVoxelTypeError
from stackwatch.model.acquisition import show_path

_TABLE_BYTES: Final = 2
"""Values of so many bytes at most are looked up: a plane has far more of them than the table."""

_VALUES_AT_ONCE: Final = 2**17
"""Values worked on at a time: little memory beside the plane, and it stays in the cache."""


def rescale_into(
    out: NDArray[Any], plane: NDArray[Any], ends: tuple[float, float], name: str
) -> int:
    """Write a plane into `out`, `ends` becoming the smallest and the largest value of its type.

    Integers are rounded to the nearest, halves to the even one; of floats the ends become 0 and 1.

    Parameters
    ----------
    out : array
        Of the shape of `plane`.
    plane : array
        Real numbers.
    ends : (float, float)
    name : str
        For messages.

    Returns
    -------
    int
        How many values lay beyond the ends.

    Raises
    ------
    UnsupportedVoxelTypeError
        A value is no number (NaN): it has no place on the line. The caller parks the job.
    """
    rows = max(1, _VALUES_AT_ONCE // max(1, plane[:1].size))
    is_small = plane.dtype.kind in "iu" and plane.dtype.itemsize <= _TABLE_BYTES
    clipped = 0
    for first in range(0, len(plane), rows):
        part, target = plane[first : first + rows], out[first : first + rows]
        if is_small:
            table, is_beyond = _table(plane.dtype.str, out.dtype.str, ends)
            unsigned = part.view(f"u{plane.dtype.itemsize}")
            target[...] = table[unsigned]
            clipped += int(np.count_nonzero(is_beyond[unsigned]))
            continue
        values = part.astype(np.float64)
        if bool(np.isnan(values).any()):
            raise _no_number(name)
        clipped += int(np.count_nonzero((values < ends[0]) | (values > ends[1])))
        np.copyto(target, _mapped(values, out.dtype, ends), casting="unsafe")
    return clipped


def _mapped(values: NDArray[Any], dtype: np.dtype[Any], ends: tuple[float, float]) -> NDArray[Any]:
    """Return values of float64 where they lie in the range of a type; `values` is overwritten."""
    low, high = 0.0, 1.0
    if dtype.kind in "iu":
        low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    np.clip(values, *ends, out=values)
    values -= ends[0]
    values /= ends[1] - ends[0]
    values *= high - low
    values += low
    return np.rint(values, out=values) if dtype.kind in "iu" else values


@lru_cache(maxsize=8)
def _table(
    from_type: str, to_type: str, ends: tuple[float, float]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return for each bit pattern of a small integer type what it becomes, and if it is beyond."""
    source, target = np.dtype(from_type), np.dtype(to_type)
    patterns = np.arange(2 ** (8 * source.itemsize), dtype=f"u{source.itemsize}")
    values = patterns.view(source).astype(np.float64)
    is_beyond = (values < ends[0]) | (values > ends[1])
    return _mapped(values, target, ends).astype(target), is_beyond


def _no_number(name: str) -> UnsupportedVoxelTypeError:
    hint = 'Leave `rescale` out and set `cast = "float32"`, or replace these values.'
    return UnsupportedVoxelTypeError(
        f"“{show_path(name)}” has values that are no number (NaN), for which `rescale` has no "
        f"place. {hint}",
        hint=hint,
        path=show_path(name),
    )
