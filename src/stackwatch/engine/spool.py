"""A raw file of decoded slices, for sources whose rows cannot be read alone."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackwatch.readers.protocol import SliceSource


class SpooledSource:
    """A source of slices whose every slice was decoded once into a raw file.

    Parameters
    ----------
    source : SliceSource
        Read to its end by `fill`.
    path : Path
        The raw file, made anew; unlinked by `close`.
    shapes : sequence of tuples
        Shape of a slice for each layer, (y, x) or (y, x, 3).
    dtype : numpy dtype
    """

    can_read_rows = True
    decode_bytes = 0

    def __init__(
        self,
        source: SliceSource,
        path: Path,
        shapes: Sequence[tuple[int, ...]],
        dtype: np.dtype[Any],
    ) -> None:
        self._source = source
        self._path = path
        self._shapes = shapes
        self._dtype = dtype
        self._count = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)

    def fill_one(self, key: int) -> None:
        """Decode one slice and append it."""
        planes = [np.empty(shape, self._dtype) for shape in self._shapes]
        self._source.read_slice_into(key, planes, (0, self._shapes[0][0]))
        for plane in planes:
            view = plane.reshape(-1).view(np.uint8).data
            while view:
                view = view[os.write(self._descriptor, view) :]
        self._count += 1

    def iter_keys(self) -> Iterator[int]:
        """Yield the slices' numbers."""
        yield from range(self._count)

    def read_slice_into(
        self, key: int, outs: Sequence[NDArray[Any]], rows: tuple[int, int]
    ) -> None:
        """Read rows of one slice back."""
        sizes = [int(np.prod(shape)) * self._dtype.itemsize for shape in self._shapes]
        offset = key * sum(sizes)
        for shape, size, out in zip(self._shapes, sizes, outs, strict=True):
            row_bytes = size // shape[0]
            direct = out.flags.c_contiguous and out.dtype == self._dtype
            band = out if direct else np.empty((rows[1] - rows[0], *shape[1:]), self._dtype)
            _read_fully(self._descriptor, band, offset + rows[0] * row_bytes)
            if not direct:
                out[...] = band
            offset += size

    def close(self) -> None:
        """Remove the raw file."""
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


def _read_fully(descriptor: int, out: NDArray[Any], offset: int) -> None:
    view = out.reshape(-1).view(np.uint8).data
    while view:
        count = os.preadv(descriptor, [view], offset)
        if count == 0:
            raise OSError(f"the spool file ends {len(view)} bytes early")
        view, offset = view[count:], offset + count
