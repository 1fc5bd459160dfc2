"""Volumes that lie in chunks several slices deep: planes by way of blocks, each chunk decoded once.

A block is all planes of one row of chunks: as many slices as a chunk is deep, or the part of them
between two rows of pixels. Who asks for a plane finds it in the block that another thread decoded
just before.
"""

import threading
from collections import OrderedDict
from copy import copy
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stackwatch.model.image import ImageInfo
from stackwatch.readers.protocol import RawPlane

FEWEST_CHUNK_ROWS: Final = 4
"""A plane so many chunks high can be read in strips: each chunk is decoded about once."""

_HELD_BLOCKS: Final = 2
"""While one thread begins with the next row of chunks, others are at the last planes of this."""


class BoxKey(NamedTuple):
    """Which part of a volume: a timepoint, a channel, and ranges of slices and of rows."""

    t: int
    c: int
    first_z: int
    last_z: int
    first_row: int
    last_row: int


class BoxSource(Protocol):
    """What a format gives: parts of a volume, decoded."""

    @property
    def chunk_depth(self) -> int:
        """Slices that are decoded together."""
        ...

    @property
    def chunk_rows(self) -> int:
        """Rows of pixels that are decoded together."""
        ...

    def read_box(self, box: BoxKey) -> NDArray[Any]:
        """Return voxels of shape (z, y, x) or (z, y, x, samples), native byte order.

        Raises
        ------
        CorruptSliceError
            The file is truncated or damaged.
        """
        ...

    def byte_span(self, box: BoxKey) -> tuple[int, int]:
        """Return the first byte of the box in the file and the byte after its last, if known.

        Two equal numbers where it is not: the digest of the file is then completed at the end.
        """
        ...

    def reopened(self, file: BinaryIO) -> "BoxSource":
        """Return a source of the same voxels for another thread."""
        ...

    def close(self) -> None:
        """Release what was opened, but not the file that was given."""
        ...


@dataclass
class _Blocks:
    """Blocks decoded last, shared by the readers of one file."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    held: OrderedDict[BoxKey, NDArray[Any]] = field(default_factory=OrderedDict)


class ChunkedReader:
    """One image that lies in chunks; `readers.probe.open_image` is the way in.

    Parameters
    ----------
    source : BoxSource
        Closed with the reader.
    info : ImageInfo
        `can_read_rows` as `reads_rows` tells.
    cut_slices : int
        How many slices of the first row of chunks lie before the image.
    """

    def __init__(self, source: BoxSource, info: ImageInfo, cut_slices: int = 0) -> None:
        self.info = info
        self._cut = cut_slices
        self._source = source
        self._blocks = _Blocks()

    @property
    def decode_bytes(self) -> int:
        """Memory that reading one plane takes at most, the plane included."""
        info = self.info
        pixel = np.dtype(info.pixels.dtype_name).itemsize * info.pixels.samples
        depth = min(self._source.chunk_depth, info.size_z)
        return _HELD_BLOCKS * depth * info.size_y * info.size_x * pixel

    def reopened(self, file: BinaryIO) -> "ChunkedReader":
        """Return a reader of the same image for another thread, without parsing it again."""
        other = copy(self)
        other._source = self._source.reopened(file)
        return other

    def read_plane(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return rows of one plane, as `SliceReader.read_plane` says."""
        box = self._box(t, c, z, rows)
        if box.last_z - box.first_z == 1:
            plane: NDArray[Any] = self._source.read_box(box)[0]
            return plane
        blocks = self._blocks
        with blocks.lock:
            block = blocks.held.get(box)
            if block is None:
                while len(blocks.held) >= _HELD_BLOCKS:
                    blocks.held.popitem(last=False)
                block = blocks.held[box] = self._source.read_box(box)
        found: NDArray[Any] = block[z - box.first_z]
        return found

    def raw_plane(self, t: int, c: int, z: int) -> RawPlane | None:
        """Return None: chunks are decoded."""
        del t, c, z
        return None

    def byte_span(self, t: int, c: int, z: int) -> tuple[int, int]:
        """Return the first byte of a plane's chunks and the byte after the last."""
        return self._source.byte_span(self._box(t, c, z, (0, self.info.size_y)))

    def palette_rgb(self) -> NDArray[Any] | None:
        """Return None: these formats have no palettes."""
        return None

    def close(self) -> None:
        """Release the library's handle; blocks go with the last reader that shares them."""
        self._source.close()

    def _box(self, t: int, c: int, z: int, rows: tuple[int, int]) -> BoxKey:
        depth = self._source.chunk_depth
        first = z - (z + self._cut) % depth
        last = min(first + depth, self.info.size_z)
        return BoxKey(t, c, max(first, 0), last, *rows)


def reads_rows(chunk_rows: int, height: int) -> bool:
    """Tell whether rows cost about their share of a plane of so many rows.

    Examples
    --------
    >>> reads_rows(64, 1000), reads_rows(1000, 1000)
    (True, False)
    """
    return chunk_rows * FEWEST_CHUNK_ROWS <= height


def select_axes(
    axes: str, box: BoxKey, width: int
) -> tuple[tuple[int | slice, ...], tuple[int, ...]]:
    """Return what to take of an array with its axes in any order, and how to turn what comes.

    Parameters
    ----------
    axes : str
        Letters of t, c, z, y, x, s in the array's order; y and x are among them.
    box : BoxKey
    width : int
        Pixels of a row.

    Returns
    -------
    (index, order)
        The index along each axis; the transposition of the result to z, y, x, s.

    Examples
    --------
    >>> index, order = select_axes("xyz", BoxKey(0, 0, 4, 8, 0, 20), 30)
    >>> index, order
    ((slice(0, 30, None), slice(0, 20, None), slice(4, 8, None)), (2, 1, 0))
    """
    taken: dict[str, int | slice] = {
        "t": box.t,
        "c": box.c,
        "z": slice(box.first_z, box.last_z),
        "y": slice(box.first_row, box.last_row),
        "x": slice(0, width),
        "s": slice(None),
    }
    kept = [axis for axis in axes if axis in "zyxs"]
    order = tuple(kept.index(axis) for axis in "zyxs" if axis in kept)
    return tuple(taken[axis] for axis in axes), order
