"""NIfTI-1 and NIfTI-2 in one file (`.nii`), plain or gzipped: a header and the array behind it.

Values are kept as they are stored. Where the file gives them a slope and an intercept, these are
part of the `PixelFormat`, and a note says so.

Source: the headers `nifti1.h` and `nifti2.h` of the NIfTI data format working group.
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
from stackwatch.readers.volume import (
    ArrayLayout,
    ByteOrder,
    ByteSource,
    PlainBytes,
    VolumeReader,
)

_UNITS: Final = {1: "m", 2: "mm", 3: "µm"}
_UNIT_OF_SPACE: Final = 0b111


class _Type(NamedTuple):
    dtype_name: str
    samples: int = 1


_TYPES: Final = {
    2: _Type("uint8"), 4: _Type("int16"), 8: _Type("int32"), 16: _Type("float32"),
    64: _Type("float64"), 128: _Type("uint8", 3), 256: _Type("int8"), 512: _Type("uint16"),
    768: _Type("uint32"), 1024: _Type("int64"), 1280: _Type("uint64"), 2304: _Type("uint8", 4),
}  # fmt: skip
_REFUSED: Final = {
    1: "values of one bit", 32: "complex values", 1792: "complex values",
    2048: "complex values of 256 bits", 1536: "floats of 128 bits",
}  # fmt: skip


class _Version(NamedTuple):
    """Where the fields stand: struct formats and offsets.

    Attributes
    ----------
    header_bytes : int
        The first number of the header, which also tells the byte order.
    dims, edges : (str, int)
        Eight numbers each: how many axes, then the size or the edge along each.
    """

    header_bytes: int
    dims: tuple[str, int]
    datatype: tuple[str, int]
    edges: tuple[str, int]
    offset: tuple[str, int]
    slope: tuple[str, int]
    units: tuple[str, int]


_VERSIONS: Final = (
    _Version(348, ("8h", 40), ("h", 70), ("8f", 76), ("f", 108), ("2f", 112), ("B", 123)),
    _Version(540, ("8q", 16), ("h", 12), ("8d", 104), ("q", 168), ("2d", 176), ("i", 500)),
)


@dataclass(frozen=True, slots=True)
class _Header:
    """What is read of the header.

    Attributes
    ----------
    sizes, edges : tuple
        Along x, y, z, t and three more.
    units : int
        Their code, of space and time together.
    """

    order: ByteOrder
    sizes: tuple[int, ...]
    edges: tuple[float, ...]
    datatype: int
    offset: int
    slope: float
    intercept: float
    units: int


def open_nifti(file: BinaryIO, name: str) -> VolumeReader:
    """Parse the header of a NIfTI file, plain or gzipped."""
    file.seek(0)
    is_gzipped = file.read(2) == GZIP_MAGIC
    source: ByteSource = GzipBytes(file, name) if is_gzipped else PlainBytes(file, name)
    header = _parse(source)
    layout = _layout_of(header, name)
    has_unit = (header.units & _UNIT_OF_SPACE) in _UNITS
    info = ImageInfo(
        reader="nifti",
        size_y=layout.size("y"),
        size_x=layout.size("x"),
        pixels=_pixels_of(header, layout),
        voxel_size_nm=_voxel_size(header),
        voxel_size_source="NIfTI pixdim" if has_unit else "",
        is_z_declared=layout.size("z") > 1,
        is_time_declared=layout.size("t") > 1,
        notes=_notes(header, layout, source),
    )
    return VolumeReader(source, layout, info)


def _parse(source: ByteSource) -> _Header:
    """Read the header; its first number tells version and byte order."""
    first = source.read(0, 4)
    orders: tuple[ByteOrder, ByteOrder] = ("<", ">")
    for version in _VERSIONS:
        for order in orders:
            if struct.unpack(f"{order}i", first)[0] == version.header_bytes:
                return _fields(source.read(0, version.header_bytes), version, order, source.name)
    (length,) = struct.unpack("<i", first)
    raise damaged_header(source.name, f"it should be 348 or 540 bytes long and says {length:,}")


def _fields(data: bytes, version: _Version, order: ByteOrder, name: str) -> _Header:
    count, *sizes = struct.unpack_from(order + version.dims[0], data, version.dims[1])
    _, *edges = struct.unpack_from(order + version.edges[0], data, version.edges[1])
    (offset,) = struct.unpack_from(order + version.offset[0], data, version.offset[1])
    (datatype,) = struct.unpack_from(order + version.datatype[0], data, version.datatype[1])
    slope, intercept = struct.unpack_from(order + version.slope[0], data, version.slope[1])
    (units,) = struct.unpack_from(order + version.units[0], data, version.units[1])
    if not 1 <= count <= 7 or min(sizes[:count]) < 1:
        shown = " x ".join(str(size) for size in sizes[: max(0, min(count, 7))])
        raise damaged_header(name, f"it declares {count} axes of {shown or 'no'} values")
    # The array begins behind the header and its four bytes of extension flags; some write 0 there.
    least = version.header_bytes + 4
    if not math.isfinite(offset) or (offset and not least <= offset < 2**62):
        raise damaged_header(name, f"its values should begin at byte {offset:g}")
    return _Header(
        order=order,
        sizes=(*sizes[:count], *[1] * (7 - count)),
        edges=(*edges[:count], *[0.0] * (7 - count)),
        datatype=datatype,
        offset=int(offset) or least,
        slope=slope,
        intercept=intercept,
        units=units,
    )


def _layout_of(header: _Header, name: str) -> ArrayLayout:
    if header.datatype in _REFUSED:
        hint = "Save it with real values of 8 bits or more, or exclude it with `ignore`."
        raise unsupported(name, _REFUSED[header.datatype], hint)
    kind = _TYPES.get(header.datatype)
    if kind is None:
        raise damaged_header(name, f"there is no NIfTI data type {header.datatype}")
    x, y, z, t, c, *more = header.sizes
    if max(more) > 1:
        shown = " x ".join(str(size) for size in header.sizes)
        raise unsupported(name, f"more than five axes ({shown})", "Save each part by itself.")
    dtype = np.dtype(kind.dtype_name).newbyteorder(header.order)
    if kind.samples > 1:
        return ArrayLayout(header.offset, dtype, "ctzyxs", (c, t, z, y, x, kind.samples))
    return ArrayLayout(header.offset, dtype, "ctzyx", (c, t, z, y, x))


def _value_scale(header: _Header) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0 means that there are none."""
    slope, intercept = header.slope, header.intercept
    is_stated = math.isfinite(slope) and slope != 0 and math.isfinite(intercept)
    is_colour = _TYPES[header.datatype].samples > 1
    return (slope, intercept) if is_stated and not is_colour else (1.0, 0.0)


def _pixels_of(header: _Header, layout: ArrayLayout) -> PixelFormat:
    samples = layout.size("s")
    return PixelFormat(
        layout.dtype.name,
        "rgb" if samples > 1 else "grey",
        samples,
        has_alpha=samples == 4,
        value_scale=_value_scale(header),
    )


def _voxel_size(header: _Header) -> PartialVoxelSize:
    unit = _UNITS.get(header.units & _UNIT_OF_SPACE, "")
    # The sign of an edge says nothing; the header's own words for orientation stand elsewhere.
    return PartialVoxelSize(
        *(single_precision(length_nm(abs(edge), unit)) for edge in header.edges[:3])
    )


def _notes(header: _Header, layout: ArrayLayout, source: ByteSource) -> tuple[str, ...]:
    notes = []
    slope, intercept = _value_scale(header)
    if (slope, intercept) != (1.0, 0.0):
        notes.append(
            f"its values stand for {slope:g} x value {'-' if intercept < 0 else '+'} "
            f"{abs(intercept):g}; they are kept as they are stored"
        )
    if (header.units & _UNIT_OF_SPACE) not in _UNITS and any(header.edges[:3]):
        shown = " x ".join(f"{edge:g}" for edge in header.edges[:3])
        notes.append(f"its voxels measure {shown} of a unit that is not said")
    surplus = source.size - layout.offset - layout.array_bytes if source.size is not None else 0
    if surplus > 0:
        notes.append(f"{surplus:,} bytes after the last slice are not read")
    return tuple(notes)
