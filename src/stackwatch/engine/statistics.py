"""What the voxels of a layer look like: extremes, and the histogram where it is exact."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIECE = 1 << 16
WORTH_A_PICTURE = 1 << 18
"""Bytes from which on Pillow's histogram is the quicker one: it makes a list of 256 numbers."""
COUNTED_VOXELS = 1 << 26
"""Voxels whose values are counted one by one; of a larger layer every n-th row is."""


class LayerStatistics:
    """Gathers the extremes of one layer's mag-1 voxels, and for 8 and 16 bit their histogram.

    Safe to feed from many threads. The extremes are those of all voxels. The histogram counts all
    voxels of a layer up to `COUNTED_VOXELS`, and every n-th row of a larger one: counting is an
    eighth of the whole work otherwise, and a percentile of 67 million voxels is as good.

    Parameters
    ----------
    dtype : numpy dtype
    voxels : int
        How many voxels are to come.
    count_values : bool
        Whether a histogram is wanted at all.

    Attributes
    ----------
    minimum, maximum : int or float or None
        True extremes of the finite values; None if there were none.
    histogram : array of int64 or None
        Voxels per value, the lowest value of the type first; None for wider types.
    """

    def __init__(self, dtype: np.dtype[Any], voxels: int = 0, *, count_values: bool = True) -> None:
        self.minimum: int | float | None = None
        self.maximum: int | float | None = None
        self._dtype = dtype
        self._lock = threading.Lock()
        self._row_step = max(1, voxels // COUNTED_VOXELS)
        counts = count_values and dtype.kind in "iu" and dtype.itemsize <= 2
        self.histogram = np.zeros(1 << (8 * dtype.itemsize), np.int64) if counts else None

    def add(self, slice_yx: NDArray[Any]) -> None:
        """Count the rows of one slice; every row of mag 1 must be given exactly once."""
        counts = None
        if self.histogram is not None:
            counts = _count_values(slice_yx[:: self._row_step])
        extremes = _finite_extremes(slice_yx)
        with self._lock:
            if counts is not None and self.histogram is not None:
                self.histogram += counts
            if extremes is not None:
                self._widen(*extremes)

    def merge(
        self,
        minimum: float | None,
        maximum: float | None,
        histogram: NDArray[np.int64] | None,
    ) -> None:
        """Take what was gathered elsewhere, of voxels that were not given here."""
        with self._lock:
            if histogram is not None and self.histogram is not None:
                self.histogram += histogram
            self._widen(minimum, maximum)

    def _widen(self, low: float | None, high: float | None) -> None:
        if low is not None:
            self.minimum = low if self.minimum is None else min(self.minimum, low)
        if high is not None:
            self.maximum = high if self.maximum is None else max(self.maximum, high)

    @property
    def lowest_value(self) -> int:
        """The value that the histogram's first entry counts."""
        return int(np.iinfo(self._dtype).min)

    def percentiles_of_nonzero(self, shares: tuple[float, float]) -> tuple[int, int] | None:
        """Return the values below which these shares of the non-zero voxels lie; None if none is.

        Only with a histogram.
        """
        assert self.histogram is not None
        counts = self.histogram.copy()
        counts[-self.lowest_value] = 0
        total = int(counts.sum())
        if total == 0:
            return None
        cumulated = np.cumsum(counts)
        ranks = [max(1, int(np.ceil(share * total))) for share in shares]
        low, high = (int(np.searchsorted(cumulated, rank)) + self.lowest_value for rank in ranks)
        return low, high


def _count_values(voxels: NDArray[Any]) -> NDArray[np.int64]:
    """Return how often each value occurs, the lowest value of the type first."""
    flat = np.ascontiguousarray(voxels).reshape(-1)
    bits = flat.view(f"u{flat.itemsize}")
    counts = _count_bytes(bits) if flat.itemsize == 1 else _count_words(bits)
    if flat.dtype.kind == "i":  # the bit patterns of negative numbers come last
        counts = np.roll(counts, counts.size // 2)
    return counts


def _count_bytes(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    from PIL import Image  # its histogram is four times as fast as numpy's bincount

    counts = np.zeros(256, np.int64)
    width = 4096
    whole = values.size // width * width if values.size >= WORTH_A_PICTURE else 0
    if whole:
        picture = Image.frombuffer("L", (width, whole // width), values[:whole], "raw", "L", 0, 1)
        counts += np.array(picture.histogram(), np.int64)
    if whole < values.size:
        counts += np.bincount(values[whole:], minlength=256)
    return counts


def _count_words(values: NDArray[np.uint16]) -> NDArray[np.int64]:
    counts = np.zeros(1 << 16, np.int64)
    for start in range(0, values.size, PIECE):  # bincount widens its input: keep that in the cache
        found = np.bincount(values[start : start + PIECE])
        counts[: found.size] += found
    return counts


def _finite_extremes(voxels: NDArray[Any]) -> tuple[int | float, int | float] | None:
    low, high = voxels.min(), voxels.max()
    if voxels.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        finite = voxels[np.isfinite(voxels)]
        if finite.size == 0:
            return None
        low, high = finite.min(), finite.max()
    return low.item(), high.item()
