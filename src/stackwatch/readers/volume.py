"""One array in a file, behind a header that a format module has parsed: read by position.

Where the planes of the array lie in one piece, or row by row, nothing is decoded: the slab is
filled by the system call. Other orders of axes are gathered; where z is the fastest axis, a block
of neighbouring planes at a time.
"""

import math
import threading
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, BinaryIO, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import ImageInfo
from stackwatch.readers.limits import check_declared_size
from stackwatch.readers.positional import PositionalFile
from stackwatch.readers.protocol import RawPlane, RawRun

BLOCK_BYTES: Final = 2**25
"""Planes gathered at a time where z is the fastest axis: the file is read once for each block."""

_MOST_READ_ALONG: Final = 2
"""Planes with so many times their bytes from their first to their last value are read at once."""

ByteOrder = Literal["<", ">"]

_AXES: Final = frozenset("tczyxs")


class ByteSource(Protocol):
    """Bytes by their position: a file as it is, or decompressed."""

    name: str

    @property
    def size(self) -> int | None:
        """Bytes in all; None where only reading to the end tells."""
        ...

    @property
    def file_bytes(self) -> int:
        """Bytes of the file itself."""
        ...

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes from `offset`, or raise CorruptSliceError."""
        ...

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` from `offset`, or raise CorruptSliceError."""
        ...

    def reopened(self, file: BinaryIO) -> "ByteSource":
        """Return a source of the same bytes for another thread."""
        ...

    def position_in_file(self, offset: int) -> int:
        """Return where a byte lies in the file, or, compressed, how far the file was read."""
        ...

    def ensure_whole(self, end: int) -> None:
        """Make sure, once byte `end` was read, that nothing behind it says the file is damaged."""
        ...


class PlainBytes(PositionalFile):
    """A file as it is."""

    @property
    def file_bytes(self) -> int:
        """Bytes of the file itself."""
        return self.size

    def reopened(self, file: BinaryIO) -> "PlainBytes":
        """Return the same file, opened anew, for another thread."""
        return PlainBytes(file, self.name)

    def position_in_file(self, offset: int) -> int:
        """Return the offset: here the file's bytes are the array's."""
        return offset

    def ensure_whole(self, end: int) -> None:
        """Do nothing: the size was compared with the header when the file was opened."""
        del end


@dataclass(frozen=True)
class ArrayLayout:
    """Where the values of one array lie.

    Attributes
    ----------
    offset : int
        Byte of the first value.
    dtype : numpy dtype
        With the file's byte order.
    axes : str
        Letters of t, c, z, y, x and s (samples of a pixel), slowest first; y and x are there, s
        is last if it is.
    shape : tuple of int
        One for each axis.
    picked : tuple of int
        Which stored samples make the pixel, in which order; empty for all as they are.
    """

    offset: int
    dtype: np.dtype[Any]
    axes: str
    shape: tuple[int, ...]
    picked: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.axes) == len(self.shape) == len(set(self.axes)), (self.axes, self.shape)
        assert set("yx") <= set(self.axes) <= _AXES, self.axes
        assert "s" not in self.axes[:-1], self.axes

    @property
    def array_bytes(self) -> int:
        """Bytes of all values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def size(self, axis: str) -> int:
        """Return the extent along an axis; 1 for one that is not there."""
        place = self.axes.find(axis)
        return 1 if place < 0 else self.shape[place]

    @cached_property
    def strides(self) -> dict[str, int]:
        """Bytes from one value to the next along each of the six axes; 0 for those not there."""
        found = dict.fromkeys("tczyxs", 0)
        step = self.dtype.itemsize
        for axis, size in zip(reversed(self.axes), reversed(self.shape), strict=True):
            found[axis] = step
            step *= size
        return found

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one stored pixel, all samples together."""
        return self.dtype.itemsize * self.size("s")

    @property
    def plane_bytes(self) -> int:
        """Bytes of one plane as it is stored."""
        return self.size("y") * self.size("x") * self.pixel_bytes

    @property
    def has_rows(self) -> bool:
        """Whether the pixels of a row lie side by side, so that rows can be read alone."""
        return self.size("x") == 1 or self.strides["x"] == self.pixel_bytes

    @property
    def planes_in_block(self) -> int:
        """How many planes are gathered at a time: several only where they are interleaved."""
        if self.strides["z"] > max(self.strides["y"], self.strides["x"]):
            return 1
        return max(1, min(self.size("z"), BLOCK_BYTES // self.plane_bytes))


@dataclass
class _Block:
    """Planes gathered last, shared by the readers of one file: whoever comes next finds them."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    key: tuple[int, int, int] | None = None
    planes: NDArray[Any] | None = None


class VolumeReader:
    """A file that is one array behind a header; `readers.probe.open_image` is the way in.

    Parameters
    ----------
    source : ByteSource
        Of an opened file, which stays the caller's.
    layout : ArrayLayout
    info : ImageInfo
        Sizes and `can_read_rows` are filled in from the layout.

    Raises
    ------
    CorruptSliceError
        The file is shorter than its header says.
    LimitExceededError
        The header declares an absurd size.
    """

    def __init__(self, source: ByteSource, layout: ArrayLayout, info: ImageInfo) -> None:
        self._source = source
        self._layout = layout
        self._block = _Block()
        self.info = replace(
            info,
            size_t=layout.size("t"),
            size_c=layout.size("c"),
            size_z=layout.size("z"),
            size_y=layout.size("y"),
            size_x=layout.size("x"),
            # what is compressed is decompressed in order, whole planes
            can_read_rows=layout.has_rows and source.size is not None,
        )
        _ensure_whole(source, layout)

    @property
    def decode_bytes(self) -> int:
        """Memory that reading one plane takes at most, the plane included."""
        layout = self._layout
        planes = layout.planes_in_block * (1 + _MOST_READ_ALONG) if self._is_gathered else 1
        return planes * layout.plane_bytes

    def reopened(self, file: BinaryIO) -> "VolumeReader":
        """Return a reader of the same content for another thread, without parsing it again."""
        other = copy(self)
        other._source = self._source.reopened(file)
        return other

    def read_plane(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return rows of one plane, as `SliceReader.read_plane` says."""
        if self._is_gathered:
            plane = self._gathered(t, c, z)[rows[0] : rows[1]]
        else:
            plane = self._read_rows(t, c, z, rows)
        if (t + 1, c + 1, z + 1) == (self.info.size_t, self.info.size_c, self.info.size_z):
            self._source.ensure_whole(self._layout.offset + self._layout.array_bytes)
        if self._layout.picked:
            plane = np.ascontiguousarray(plane[..., list(self._layout.picked)])
        if not plane.dtype.isnative:
            plane = plane.astype(plane.dtype.newbyteorder("="))
        return plane.view(np.bool_) if self.info.pixels.dtype_name == "bool" else plane

    def raw_plane(self, t: int, c: int, z: int) -> RawPlane | None:
        """Return where the rows of a plane lie, or None if it has to be decoded."""
        layout = self._layout
        if self._is_gathered or layout.picked or self._source.size is None:
            return None
        row_bytes = layout.size("x") * layout.pixel_bytes
        return RawPlane(layout.dtype, row_bytes, tuple(self._iter_runs(t, c, z)))

    def byte_span(self, t: int, c: int, z: int) -> tuple[int, int]:
        """Return the first byte of a plane and the byte after its last."""
        start = self._start_of(t, c, z)
        if self._source.size is None:
            # The digest follows the decompressor over bytes that have just been read.
            reached = self._source.position_in_file(start)
            return reached, reached
        layout = self._layout
        last = sum((layout.size(axis) - 1) * layout.strides[axis] for axis in "yxs")
        return start, start + last + layout.dtype.itemsize

    def palette_rgb(self) -> NDArray[Any] | None:
        """Return None: these formats have no palettes."""
        return None

    def close(self) -> None:
        """Release the block of planes; the file itself is the opener's."""
        self._block = _Block()

    # ------------------------------------------------------------- planes

    @property
    def _is_gathered(self) -> bool:
        return not self._layout.has_rows

    def _start_of(self, t: int, c: int, z: int) -> int:
        strides = self._layout.strides
        return self._layout.offset + t * strides["t"] + c * strides["c"] + z * strides["z"]

    def _iter_runs(self, t: int, c: int, z: int) -> Iterator[RawRun]:
        layout = self._layout
        start, height = self._start_of(t, c, z), layout.size("y")
        if height == 1 or layout.strides["y"] == layout.size("x") * layout.pixel_bytes:
            yield RawRun(start, 0, height)
            return
        for row in range(height):
            yield RawRun(start + row * layout.strides["y"], row, 1)

    def _read_rows(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        layout = self._layout
        samples = (layout.size("s"),) if "s" in layout.axes else ()
        plane = np.empty((rows[1] - rows[0], layout.size("x"), *samples), layout.dtype)
        row_bytes = layout.size("x") * layout.pixel_bytes
        view = plane.view(np.uint8).reshape(-1).data
        for run in self._iter_runs(t, c, z):
            first, last = max(run.first_row, rows[0]), min(run.first_row + run.rows, rows[1])
            if first < last:
                part = view[(first - rows[0]) * row_bytes : (last - rows[0]) * row_bytes]
                self._source.read_into(run.offset + (first - run.first_row) * row_bytes, part)
        return plane

    def _gathered(self, t: int, c: int, z: int) -> NDArray[Any]:
        """Return a plane whose rows lie scattered, from the block of planes it is part of."""
        depth = self._layout.planes_in_block
        first = z - z % depth
        block = self._block
        with block.lock:
            if block.key != (t, c, first) or block.planes is None:
                block.planes = None  # the old block goes before the new one comes
                planes = self._gather(t, c, first, min(depth, self._layout.size("z") - first))
                block.key, block.planes = (t, c, first), planes
            plane: NDArray[Any] = block.planes[z - first]
            return plane

    def _gather(self, t: int, c: int, first_z: int, depth: int) -> NDArray[Any]:
        """Read planes whose pixels lie scattered, with what lies between them."""
        layout = self._layout
        shape = (depth, layout.size("y"), layout.size("x"), layout.size("s"))
        steps = (*(layout.strides[axis] for axis in "zyx"), layout.dtype.itemsize)
        start = self._start_of(t, c, first_z)
        span = _span(shape, steps) + layout.dtype.itemsize
        planes = np.empty(shape, layout.dtype)
        if span <= _MOST_READ_ALONG * planes.nbytes:
            planes[...] = self._read_strided(start, shape, steps)
        else:
            # Line by line along the slowest axis of the plane.
            axis = 1 if steps[1] > steps[2] else 2
            line_shape, line_steps = _without(shape, axis), _without(steps, axis)
            for line in range(shape[axis]):
                where = start + line * steps[axis]
                np.moveaxis(planes, axis, 0)[line] = self._read_strided(
                    where, line_shape, line_steps
                )
        return planes if "s" in layout.axes else planes[..., 0]

    def _read_strided(
        self, start: int, shape: tuple[int, ...], steps: tuple[int, ...]
    ) -> NDArray[Any]:
        dtype = self._layout.dtype
        data = np.empty(_span(shape, steps) + dtype.itemsize, np.uint8)
        self._source.read_into(start, data.data)
        return np.ndarray(shape, dtype, data, strides=steps)


def _span(shape: tuple[int, ...], steps: tuple[int, ...]) -> int:
    return sum((size - 1) * step for size, step in zip(shape, steps, strict=True))


def _without(numbers: tuple[int, ...], place: int) -> tuple[int, ...]:
    return numbers[:place] + numbers[place + 1 :]


def _ensure_whole(source: ByteSource, layout: ArrayLayout) -> None:
    """Refuse a file that is shorter than its header says, or could not hold its planes."""
    end = layout.offset + layout.array_bytes
    if source.size is None:
        width, height = layout.size("x"), layout.size("y")
        check_declared_size(source.name, width, height, layout.pixel_bytes, source.file_bytes)
        return
    if end > source.size:
        raise CorruptSliceError(
            f"The header of “{show_path(source.name)}” declares {show_extent(layout)}, which end "
            f"at byte {end:,}, but the file ends at {source.size:,}: it is truncated or was not "
            "written completely. Copy the file again.",
            hint="Copy the file again.",
            path=show_path(source.name),
            bytes_expected=end,
            bytes_present=source.size,
        )


def show_extent(layout: ArrayLayout) -> str:
    """Return the extents and the type of an array for people."""
    sizes = [f"{layout.size(axis):,}" for axis in "xyzct" if axis in "xyz" or layout.size(axis) > 1]
    return f"{' x '.join(sizes)} values of {layout.dtype.name}"
