"""Imaris IMS: an HDF5 file with one dataset for each timepoint and channel, of every resolution.

Only `ResolutionLevel 0`, the finest, is read. Its datasets are padded to whole chunks; the
attributes `ImageSizeX`, `ImageSizeY`, `ImageSizeZ` say how much of them is image. Attributes are
arrays of single characters.

Source: the Imaris 5.5 file format description of Bitplane, and the minimal file of the vendor's
own writer, which says no unit.
"""

from typing import Any, BinaryIO, Final

import h5py
import numpy as np

from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import Channel, ImageInfo, PixelFormat
from stackwatch.readers.chunked import ChunkedReader, reads_rows
from stackwatch.readers.damage import damaged_header, unsupported
from stackwatch.readers.hdf5_file import H5Boxes, H5Layout, damage_told, dataset_at
from stackwatch.readers.limits import check_declared_size
from stackwatch.readers.scale import length_nm, number_of

_FINEST: Final = "DataSet/ResolutionLevel 0"
_IMAGE: Final = "DataSetInfo/Image"


def is_imaris(opened: h5py.File) -> bool:
    """Tell whether an HDF5 file is an Imaris one."""
    return "DataSet" in opened and ("DataSetInfo" in opened or "ImarisDataSet" in opened.attrs)


def read_imaris(opened: h5py.File, file: BinaryIO, name: str) -> ChunkedReader:
    """Return the reader of an Imaris file.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError, LimitExceededError
        The caller passes them on.
    """
    with damage_told(name):
        times = _count(opened[_FINEST], "TimePoint")
        channels = _count(opened[f"{_FINEST}/TimePoint 0"], "Channel") if times else 0
    if not times or not channels:
        raise damaged_header(name, f"it has {times} timepoints of {channels} channels")
    first = dataset_at(opened, _path_of(0, 0), name)
    size_xyz = _image_size(opened, first, name)
    _ensure_alike(opened, (times, channels), (first, size_xyz), name)
    width, height, depth = size_xyz
    pixel_bytes = first.dtype.itemsize
    check_declared_size(name, width, height, pixel_bytes, file.seek(0, 2))
    chunk = first.chunks or first.shape
    layout = H5Layout("zyx", first.dtype.newbyteorder("=").name, width, chunk, _path_of)
    voxel_size, unit_note = _voxel_size(opened, size_xyz)
    levels = len([key for key in opened["DataSet"] if key.startswith("ResolutionLevel ")])
    info = ImageInfo(
        reader="ims",
        size_t=times,
        size_c=channels,
        size_z=depth,
        size_y=height,
        size_x=width,
        pixels=PixelFormat(layout.dtype_name),
        voxel_size_nm=voxel_size,
        voxel_size_source="Imaris extents" if any(voxel_size) else "",
        channels=tuple(_channel(opened, c) for c in range(channels)),
        can_read_rows=reads_rows(chunk[1], height),
        is_time_declared=True,
        is_z_declared=True,
        notes=(*unit_note, *_notes(opened, levels)),
    )
    return ChunkedReader(H5Boxes(opened, name, layout), info)


def _path_of(t: int, c: int) -> str:
    return f"{_FINEST}/TimePoint {t}/Channel {c}/Data"


def _count(group: h5py.Group, word: str) -> int:
    """Return how many members are called so, numbered from 0 without a gap."""
    count = len([key for key in group if key.startswith(f"{word} ")])
    for number in range(count):
        if f"{word} {number}" not in group:
            raise KeyError(f"there are {count} of “{word}”, and number {number} is missing")
    return count


def _image_size(opened: h5py.File, data: h5py.Dataset, name: str) -> tuple[int, int, int]:
    """Return x, y, z of the image without the padding of its dataset."""
    found = []
    for axis, stored in zip("XYZ", reversed(data.shape), strict=True):
        said = _text(data.parent, f"ImageSize{axis}") or _text_at(opened, _IMAGE, axis)
        size = int(said) if said.isdigit() else stored
        if not 0 < size <= stored:
            raise damaged_header(name, f"{size} voxels along {axis} do not fit into {stored}")
        found.append(size)
    return found[0], found[1], found[2]


def _ensure_alike(
    opened: h5py.File,
    counts: tuple[int, int],
    first: tuple[h5py.Dataset, tuple[int, int, int]],
    name: str,
) -> None:
    """Make sure that every timepoint and channel is there, of one type, size and chunk."""
    data, size_xyz = first
    if data.ndim != 3 or data.dtype.kind not in "uif":
        raise unsupported(name, f"{data.ndim}-D {data.dtype} data", "Save it again from Imaris.")
    expected = (data.shape, data.dtype, data.chunks)
    for t in range(counts[0]):
        for c in range(counts[1]):
            other = dataset_at(opened, _path_of(t, c), name)
            is_same = (other.shape, other.dtype, other.chunks) == expected
            if not is_same or _image_size(opened, other, name) != size_xyz:
                raise unsupported(
                    name,
                    f"timepoint {t}, channel {c} of another type or size ({other.dtype}, "
                    f"{' x '.join(map(str, reversed(other.shape)))}) than the first",
                    "Save the channels as files of their own.",
                )


def _voxel_size(
    opened: h5py.File, size_xyz: tuple[int, int, int]
) -> tuple[PartialVoxelSize, tuple[str, ...]]:
    unit = _text_at(opened, _IMAGE, "Unit")
    edges: list[float | None] = []
    for axis, size in enumerate(size_xyz):
        low = number_of(_text_at(opened, _IMAGE, f"ExtMin{axis}"))
        high = number_of(_text_at(opened, _IMAGE, f"ExtMax{axis}"))
        extent = None if low is None or high is None else (high - low) / size
        edge = length_nm(extent, unit or "um")
        edges.append(None if edge is None else float(f"{edge:.9g}"))
    note = "its extents have no unit; they are micrometres, as Imaris has them"
    return PartialVoxelSize(*edges), (note,) * (not unit and any(edges))


def _channel(opened: h5py.File, number: int) -> Channel:
    place = f"DataSetInfo/Channel {number}"
    values = [number_of(part) for part in _text_at(opened, place, "Color").split()]
    parts = [round(255 * value) for value in values if value is not None and 0 <= value <= 1]
    is_table = _text_at(opened, place, "ColorMode") == "TableColor"
    color = (parts[0], parts[1], parts[2]) if len(parts) == 3 and not is_table else None
    return Channel(_text_at(opened, place, "Name"), color)


def _notes(opened: h5py.File, levels: int) -> tuple[str, ...]:
    notes = []
    if levels > 1:
        notes.append(f"{levels - 1} coarser resolutions left out")
    others = [key for key in opened if key.startswith("DataSet") and key[7:].isdigit()]
    if others:
        notes.append(f"{len(others)} further images ({', '.join(others)}) left out")
    return tuple(notes)


def _text_at(opened: h5py.File, place: str, key: str) -> str:
    group = opened.get(place)
    return "" if group is None else _text(group, key)


def _text(group: Any, key: str) -> str:
    """Return an attribute as text: arrays of single characters, strings, or numbers."""
    value = group.attrs.get(key)
    if value is None:
        return ""
    if isinstance(value, np.ndarray) and value.dtype.kind == "S":
        value = value.tobytes()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return str(value).strip("\0 \t\r\n")
