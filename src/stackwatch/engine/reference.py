"""The slow, obvious version of the engine, kept for the tests and for verification.

Nothing here is clever: one cell at a time where that is the clearest way to say it.
"""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackwatch.engine.downsample import Method
from stackwatch.model.geometry import Mag, Vec3


def downsample(volume: NDArray[Any], factor: Vec3, method: Method) -> NDArray[Any]:
    """Reduce a volume of shape (z, y, x) or (z, y, x, c), cell by cell.

    A cell that the edge cuts is mirrored in itself until it is full; with factor 2 that is the
    same as counting only the voxels that exist.
    """
    steps = (factor.z, factor.y, factor.x)
    shape = tuple(-(-size // step) for size, step in zip(volume.shape[:3], steps, strict=True))
    out = np.empty(shape + volume.shape[3:], volume.dtype)
    for index in np.ndindex(*out.shape):
        z, y, x = (position * step for position, step in zip(index[:3], steps, strict=True))
        cell = volume[z : z + steps[0], y : y + steps[1], x : x + steps[2]][..., *index[3:]]
        if cell.shape != steps:
            missing = [(0, step - held) for step, held in zip(steps, cell.shape, strict=True)]
            cell = np.pad(cell, missing, mode="symmetric")
        # y fastest, then x, then z: the order in which ties of the mode are settled
        out[index] = _reduce_cell(cell.transpose(0, 2, 1).ravel(), method, volume.dtype)
    return out


def _reduce_cell(values: NDArray[Any], method: Method, dtype: np.dtype[Any]) -> Any:
    if method == "nearest":
        return values[0]
    if method == "mode":
        most = Counter(value.tobytes() for value in values).most_common()[0][1]
        counts = Counter(value.tobytes() for value in values)
        return next(value for value in values if counts[value.tobytes()] == most)
    if method in ("min", "max"):
        return values.min() if method == "min" else values.max()
    if dtype.kind == "f" and np.isnan(values).any():
        return dtype.type(np.nan)
    ordered = sorted(values.tolist()) if dtype.kind != "f" else np.sort(values)
    if method == "median":
        half = max(1, len(ordered) // 2)
        ordered = ordered[half - 1 : half + 1]
    if dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # infinities of both signs, huge sums
            total = np.sum(ordered, dtype=np.float32 if method == "median" else np.float64)
            return np.float64(total) / len(ordered)
    total = sum(ordered)  # Python's integers do not overflow
    return total // len(ordered) if total >= 0 else -(-total // len(ordered))


def mags_of(volume: NDArray[Any], mags: tuple[Mag, ...], method: Method) -> dict[Mag, NDArray[Any]]:
    """Return the volume in every mag, each computed from the one before."""
    found = {mags[0]: volume}
    for finer, mag in pairwise(mags):
        found[mag] = downsample(found[finer], mag.factor_from(finer), method)
    return found
