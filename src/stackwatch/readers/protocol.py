"""The ports of this floor: what a reader is, and what the engine pulls slices from."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stackwatch.model.image import ImageInfo


class SliceReader(Protocol):
    """One opened image file. Not shared between threads; closed by its opener."""

    @property
    def info(self) -> ImageInfo:
        """What the headers tell."""
        ...

    def read_plane(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return rows of one plane as they lie in the file, before any treatment.

        Parameters
        ----------
        t, c, z : int
            Indices within `info`'s extents.
        rows : (int, int)
            First row and the row after the last, *in the file's own orientation*. Readers without
            `info.can_read_rows` are only asked for all rows.

        Returns
        -------
        array, shape (rows, x) or (rows, x, samples), native byte order. May be a view that is only
        valid until the next call or `close`.

        Raises
        ------
        CorruptSliceError
            The plane is truncated or damaged; the caller passes it on.
        """
        ...

    def palette_rgb(self) -> NDArray[Any] | None:
        """Return the palette as uint8 of shape (n, 3), or None."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


ImageOpener = Callable[[BinaryIO, str, int], SliceReader]
"""From an opened file, its path and the index of an image in it to a reader, as `open_image`."""


@dataclass(frozen=True, slots=True)
class RawRun:
    """Rows of a plane that lie one behind the other in the file, as they will lie in memory.

    Attributes
    ----------
    offset : int
        Byte of the file where they begin.
    first_row, rows : int
        Which rows, and how many.
    """

    offset: int
    first_row: int
    rows: int


@dataclass(frozen=True, slots=True)
class RawPlane:
    """A plane that needs no decoder.

    Attributes
    ----------
    dtype : numpy dtype
        With the file's byte order.
    row_bytes : int
    runs : tuple of RawRun
        In the order of their rows; together all rows.
    """

    dtype: np.dtype[Any]
    row_bytes: int
    runs: tuple[RawRun, ...]


@runtime_checkable
class ByteRanges(Protocol):
    """What a reader adds whose planes lie at known places of the file.

    With it, planes without a decoder are read straight into the slab, and the digest of a large
    file runs just ahead of its decoding.
    """

    def raw_plane(self, t: int, c: int, z: int) -> RawPlane | None:
        """Return where the rows of a plane lie, or None if it has to be decoded."""
        ...

    def byte_span(self, t: int, c: int, z: int) -> tuple[int, int]:
        """Return the first byte of a plane and the byte after its last."""
        ...


@runtime_checkable
class Reopens(Protocol):
    """What a reader adds whose headers take time to parse."""

    def reopened(self, file: BinaryIO) -> SliceReader:
        """Return a reader of the same content for another thread, without parsing it again.

        Parameters
        ----------
        file : BinaryIO
            The same file, opened anew and found unchanged.
        """
        ...


@runtime_checkable
class StatesMemory(Protocol):
    """What a reader adds that knows what memory a plane takes to read.

    Of other readers whose planes lie at no known place it is taken that they hold the whole file.
    """

    @property
    def decode_bytes(self) -> int:
        """Memory that reading one plane takes at most, the plane included."""
        ...


class SliceSource(Protocol):
    """The ordered slices of one stream: what the engine reads. Safe to use from many threads.

    One decode of a slice fills an array for every layer the stream feeds.
    """

    @property
    def can_read_rows(self) -> bool:
        """Whether reading some rows costs about their share of the whole slice."""
        ...

    @property
    def decode_bytes(self) -> int:
        """Bytes of memory one call of `read_slice_into` needs beside `outs`, all rows read."""
        ...

    def iter_keys(self) -> Iterator[int]:
        """Yield a key for each slice, in z order. May block while the microscope still writes."""
        ...

    def read_slice_into(
        self, key: int, outs: Sequence[NDArray[Any]], rows: tuple[int, int]
    ) -> None:
        """Decode rows of one slice into the caller's arrays.

        Parameters
        ----------
        key : int
            From `iter_keys`.
        outs : sequence of arrays
            One for each layer of the stream, each of shape (rows, x) or (rows, x, 3), writable and
            C-contiguous within a row; every voxel is written.
        rows : (int, int)
            First row and the row after the last.
        """
        ...
