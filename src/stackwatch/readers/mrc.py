"""MRC and its relatives (MAP, REC, ST, ALI): a header of 1,024 bytes, an extended one, the array.

Source: the MRC2014 format description (Cheng et al. 2015); IMOD's description of its MRC files for
`imodStamp`, `imodFlags` and mode 16.
"""

import math
import struct
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple

import numpy as np

from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.readers.damage import damaged_header, unsupported
from stackwatch.readers.gunzip import GZIP_MAGIC, GzipBytes
from stackwatch.readers.scale import length_nm, single_precision
from stackwatch.readers.volume import ArrayLayout, ByteOrder, ByteSource, PlainBytes, VolumeReader

_HEADER_BYTES: Final = 1024
_LARGEST_EXTENT: Final = 2**24
_IMOD_STAMP: Final = 1146047817
_IMOD_SIGNED: Final = 1
_VOLUME_STACK: Final = range(401, 631)
"""Space groups of stacks of volumes: 400 + the space group of each volume."""

_RIGHT_ANGLE: Final = 90.0


class _Mode(NamedTuple):
    dtype_name: str
    samples: int = 1


_MODES: Final = {
    0: _Mode("int8"),
    1: _Mode("int16"),
    2: _Mode("float32"),
    6: _Mode("uint16"),
    12: _Mode("float16"),
    16: _Mode("uint8", 3),
}
_REFUSED_MODES: Final = {
    3: "complex values of 16-bit integers (mode 3, a transform)",
    4: "complex values (mode 4, a transform)",
    101: "values of 4 bits (mode 101)",
}


@dataclass(frozen=True, slots=True)
class _Header:
    """What is read of the header; axes of `extent` and `axis_order` as stored, of others x, y, z.

    Attributes
    ----------
    extent : (int, int, int)
        Columns, rows, sections.
    axis_order : (int, int, int)
        Which of x (1), y (2), z (3) columns, rows, sections run along.
    intervals : (int, int, int)
        Grid intervals of the cell along x, y, z.
    cell : (float, float, float)
        Edges of the cell along x, y, z in Å.
    """

    order: ByteOrder
    extent: tuple[int, int, int]
    mode: int
    axis_order: tuple[int, int, int]
    intervals: tuple[int, int, int]
    cell: tuple[float, float, float]
    angles: tuple[float, float, float]
    smallest: float
    largest: float
    space_group: int
    extended_bytes: int
    imod_stamp: int
    imod_flags: int

    @property
    def is_plausible(self) -> bool:
        """Whether the numbers can be those of a header, read in this byte order."""
        return (
            all(0 < size <= _LARGEST_EXTENT for size in self.extent)
            and self.mode in {*_MODES, *_REFUSED_MODES}
            and sorted(self.axis_order) == [1, 2, 3]
            and 0 <= self.extended_bytes < 2**31
        )


def open_mrc(file: BinaryIO, name: str) -> VolumeReader:
    """Parse the header of an MRC file, plain or gzipped."""
    file.seek(0)
    is_gzipped = file.read(2) == GZIP_MAGIC
    source: ByteSource = GzipBytes(file, name) if is_gzipped else PlainBytes(file, name)
    data = source.read(0, _HEADER_BYTES)
    header = _parse_either(data, name)
    layout = _layout_of(header, name)
    info = ImageInfo(
        reader="mrc",
        size_y=layout.size("y"),
        size_x=layout.size("x"),
        pixels=PixelFormat(
            layout.dtype.name, "rgb" if layout.size("s") == 3 else "grey", layout.size("s")
        ),
        voxel_size_nm=_voxel_size(header),
        voxel_size_source="MRC cell",
        is_z_declared=layout.size("z") > 1,
        is_time_declared=layout.size("t") > 1,
        notes=_notes(header, layout, source),
    )
    return VolumeReader(source, layout, info)


def _parse_either(data: bytes, name: str) -> _Header:
    """Return the header in the byte order that makes sense: its own word for it is often wrong."""
    orders: tuple[ByteOrder, ByteOrder] = ("<", ">")
    if data[212:214] == b"\x11\x11":
        orders = (">", "<")
    headers = [_parse(data, order) for order in orders]
    for header in headers:
        if header.is_plausible:
            return header
    likely = headers[0]
    raise damaged_header(
        name,
        f"an MRC cannot have {' x '.join(map(str, likely.extent))} values of mode {likely.mode}, "
        f"axes {likely.axis_order} and an extended header of {likely.extended_bytes:,} bytes",
    )


def _parse(data: bytes, order: ByteOrder) -> _Header:
    numbers = struct.unpack_from(f"{order}10i6f3i3f2i", data)
    stamp, flags = struct.unpack_from(f"{order}2i", data, 152)
    return _Header(
        order=order,
        extent=numbers[0:3],
        mode=numbers[3],
        intervals=numbers[7:10],
        cell=numbers[10:13],
        angles=numbers[13:16],
        # Files from before there was a choice have zeros.
        axis_order=numbers[16:19] if any(numbers[16:19]) else (1, 2, 3),
        smallest=numbers[19],
        largest=numbers[20],
        space_group=numbers[22],
        extended_bytes=numbers[23],
        imod_stamp=stamp,
        imod_flags=flags,
    )


def _layout_of(header: _Header, name: str) -> ArrayLayout:
    if header.mode in _REFUSED_MODES:
        raise unsupported(
            name,
            _REFUSED_MODES[header.mode],
            "Save it in mode 0, 1, 2 or 6 (IMOD: `newstack -mode`).",
        )
    mode = _MODES[header.mode]
    dtype_name = "uint8" if header.mode == 0 and not _is_signed(header) else mode.dtype_name
    # Stored fastest first: columns, rows, sections; ours is slowest first.
    axes = "".join("xyz"[axis - 1] for axis in reversed(header.axis_order))
    shape = tuple(reversed(header.extent))
    volumes = _count_volumes(header, name)
    if volumes > 1:
        axes, shape = "t" + axes, (volumes, shape[0] // volumes, *shape[1:])
    if mode.samples > 1:
        axes, shape = axes + "s", (*shape, mode.samples)
    dtype = np.dtype(dtype_name).newbyteorder(header.order)
    return ArrayLayout(_HEADER_BYTES + header.extended_bytes, dtype, axes, shape)


def _is_signed(header: _Header) -> bool:
    """Tell whether the bytes of mode 0 are signed.

    MRC2014 says they are, and IMOD says in a flag what its files hold. Other programs wrote
    unsigned ones all along: their smallest and largest value, as the header has them, prove it.
    """
    if header.imod_stamp == _IMOD_STAMP:
        return bool(header.imod_flags & _IMOD_SIGNED)
    return not (header.smallest >= 0 and 127 < header.largest <= 255)


def _count_volumes(header: _Header, name: str) -> int:
    """Return how many volumes follow each other in z."""
    sections, deep = header.extent[2], header.intervals[2]
    if header.space_group not in _VOLUME_STACK:
        return 1
    if deep <= 0 or sections % deep or header.axis_order != (1, 2, 3):
        raise damaged_header(
            name,
            f"a stack of volumes cannot have {sections:,} sections in volumes of {deep:,}, with "
            f"axes {header.axis_order}",
        )
    return sections // deep


def _is_image_stack(header: _Header) -> bool:
    """Tell whether the sections are single images: then the header has no distance between them.

    MRC2014: space group 0 and one interval along z.
    """
    return header.space_group == 0 and header.intervals[2] == 1 < header.extent[2]


def _voxel_size(header: _Header) -> PartialVoxelSize:
    edges = [
        single_precision(length_nm(edge / count, "Å"))
        if count > 0 and math.isfinite(edge)
        else None
        for edge, count in zip(header.cell, header.intervals, strict=True)
    ]
    return PartialVoxelSize(edges[0], edges[1], None if _is_image_stack(header) else edges[2])


def _notes(header: _Header, layout: ArrayLayout, source: ByteSource) -> tuple[str, ...]:
    notes = []
    if header.mode == 0 and header.imod_stamp != _IMOD_STAMP:
        signed = "signed" if _is_signed(header) else "unsigned"
        notes.append(f"whether its bytes (mode 0) have a sign is not said; read as {signed}")
    if header.axis_order != (1, 2, 3):
        words = ", ".join("xyz"[axis - 1] for axis in header.axis_order)
        notes.append(f"columns, rows and sections run along {words}; they are read as x, y, z")
    if layout.size("t") > 1:
        notes.append(f"a stack of {layout.size('t')} volumes; they become timepoints")
    if any(angle not in {0.0, _RIGHT_ANGLE} for angle in header.angles):
        shown = ", ".join(f"{angle:g}" for angle in header.angles)
        notes.append(f"the angles of its cell are {shown} degrees; it is shown as if they were 90")
    surplus = source.size - layout.offset - layout.array_bytes if source.size is not None else 0
    if surplus > 0:
        notes.append(f"{surplus:,} bytes after the last section are not read")
    return tuple(notes)
