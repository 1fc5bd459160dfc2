"""NDTiff, the store of Micro-Manager and Pycro-Manager: TIFF files, and an index of their planes.

`NDTiff.index` lists every plane with its place along named axes, its file and where its pixels
lie; nothing is compressed. The summary of the acquisition stands at the beginning of each file.

Source: the description of NDTiff, versions 2 and 3, by its authors; files that their Python package
`ndstorage` writes; tifffile, which judges in the tests.
"""

import json
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import (
    AmbiguousLayoutError,
    CorruptSliceError,
    IncompleteAcquisitionError,
    MixedSlicesError,
    StackwatchError,
)
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import Channel, ImageInfo, PixelFormat
from stackwatch.readers.damage import damaged_header, no_such_image, unsupported
from stackwatch.readers.folder import FolderView, join
from stackwatch.readers.limits import check_declared_planes, check_declared_size
from stackwatch.readers.mmstack import NDTIFF, SUMMARY, summary_channels, summary_voxel_size
from stackwatch.readers.plane_map import MOST_PLANES
from stackwatch.readers.protocol import RawPlane

_MOST_INDEX_BYTES: Final = 2**31
_PIXELS: Final = {
    0: PixelFormat("uint8"),
    1: PixelFormat("uint16"),
    2: PixelFormat("uint8", "rgb", 3),
    **dict.fromkeys((3, 4, 5, 6), PixelFormat("uint16")),  # 10, 12, 14, 11 of 16 bits
}
"""By the pixel type of the index."""

_AXES: Final = ("time", "channel", "z")

Place = tuple[int, int, int]


class _Entry(NamedTuple):
    """One plane of the index."""

    axes: Mapping[str, Any]
    path: str
    offset: int
    width: int
    height: int
    pixel_type: int
    compression: int
    text_offset: int
    text_bytes: int


class _Spot(NamedTuple):
    """Where the pixels of a plane lie."""

    path: str
    offset: int


def open_ndtiff(view: FolderView, anchor: str, scene: int = 0) -> "NdTiffReader":
    """Read the index of an NDTiff dataset and return the reader of one of its positions.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError, MixedSlicesError, LimitExceededError
        The caller passes them on.
    IncompleteAcquisitionError
        The index is not closed, or a file that it names is not there: the acquisition runs, or
        the copy does.
    AmbiguousLayoutError
        A file in the folder is not in the index.
    """
    entries = _read_index(view, anchor)
    try:
        axes = _axes_of(entries, anchor)
        positions = list(dict.fromkeys(entry.axes.get("position", 0) for entry in entries))
        if scene >= len(positions):
            raise no_such_image(anchor, scene, len(positions))
        mine = [entry for entry in entries if entry.axes.get("position", 0) == positions[scene]]
        places, labels = _places(mine, anchor)
    except (TypeError, ValueError) as error:  # axes that are no words and numbers
        raise damaged_header(anchor, f"{error}") from error
    first = mine[0]
    check_declared_size(
        anchor, first.width, first.height, 6, sum(one.size for one in view.entries.values())
    )
    order, summary = _read_head(view, first.path)
    size = [max(place[axis] for place in places) + 1 for axis in range(3)]
    edges = summary_voxel_size(summary, _read_text(view, first), has_slices=size[2] > 1)
    channels = tuple(map(Channel, labels)) or summary_channels(summary, size[1])
    every = product(range(size[0]), range(size[1]), range(size[2]))
    info = ImageInfo(
        reader="ndtiff",
        size_t=size[0],
        size_c=size[1],
        size_z=size[2],
        size_y=first.height,
        size_x=first.width,
        pixels=_PIXELS[first.pixel_type],
        voxel_size_nm=edges,
        voxel_size_source="Micro-Manager summary" if any(edges) else "",
        channels=channels,
        can_read_rows=True,
        is_z_declared="z" in axes,
        is_time_declared="time" in axes,
        scenes=tuple(_position_name(one) for one in positions) if len(positions) > 1 else (),
        scene=scene,
        absent_tcz=tuple(place for place in every if place not in places),
    )
    dtype = np.dtype(info.pixels.dtype_name).newbyteorder(order)
    return NdTiffReader(view, anchor, info, places, dtype)


@dataclass(frozen=True)
class NdTiffReader:
    """One position of an NDTiff dataset; `readers.probe.open_image` is the way in.

    Safe to use from many threads: each plane is opened by itself.
    """

    view: FolderView
    name: str
    info: ImageInfo
    places: Mapping[Place, _Spot]
    dtype: np.dtype[Any]

    @property
    def decode_bytes(self) -> int:
        """Memory that reading one plane takes at most, the plane included."""
        return 2 * self.info.size_y * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return self.info.size_x * self.info.pixels.samples * self.dtype.itemsize

    def read_plane(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return rows of one plane, as `SliceReader.read_plane` says."""
        spot, row_bytes = self.places.get((t, c, z)), self._row_bytes
        if spot is None:
            raise _unfinished(self.name, f"plane z={z} c={c} t={t} is not in it")
        count = (rows[1] - rows[0]) * row_bytes
        data = self.view.read_part(spot.path, spot.offset + rows[0] * row_bytes, count) or b""
        if len(data) != count:
            raise _cut(spot.path, f"plane z={z} c={c} t={t} lies behind its end")
        samples = self.info.pixels.samples
        tail = (samples,) if samples > 1 else ()
        plane = np.frombuffer(data, self.dtype).reshape(-1, self.info.size_x, *tail)
        return plane.astype(self.info.pixels.dtype_name, copy=False)

    def raw_plane(self, t: int, c: int, z: int) -> RawPlane | None:
        """Return None: planes lie in other files than the index."""
        del t, c, z
        return None

    def byte_span(self, t: int, c: int, z: int) -> tuple[int, int]:
        """Return two equal numbers: the files are digested at the end."""
        del t, c, z
        return 0, 0

    def palette_rgb(self) -> NDArray[Any] | None:
        """Return None: there are no palettes."""
        return None

    def reopened(self, file: BinaryIO) -> "NdTiffReader":
        """Return itself: it holds no file."""
        del file
        return self

    def close(self) -> None:
        """Do nothing: no file stays open."""


# ---------------------------------------------------------------- the index


def _read_index(view: FolderView, anchor: str) -> list[_Entry]:
    """Return all planes; every file has to be there, and none beside them."""
    if view.entries[anchor].size > _MOST_INDEX_BYTES:
        raise damaged_header(anchor, f"an index of {view.entries[anchor].size:,} bytes")
    folder = anchor.rpartition("/")[0]
    try:
        entries = list(_iter_entries(view.read(anchor) or b"", anchor, folder))
    except (struct.error, ValueError, RecursionError) as error:
        raise damaged_header(anchor, f"an entry of the index cannot be read ({error})") from error
    if not entries:
        raise _unfinished(anchor, "its index is empty")
    if len(entries) > MOST_PLANES:
        raise damaged_header(anchor, f"an index of {len(entries):,} planes")
    for entry in entries:
        _check(entry, entries[0], view, anchor)
    named = {entry.path for entry in entries}
    beside = {join(folder, name) for name in view.names_in(folder)}
    others = sorted(one for one in beside - named if one.lower().endswith((".tif", ".tiff")))
    if others:
        hint = "Move it apart, or finish the copy of the index."
        raise AmbiguousLayoutError(
            f"“{show_path(others[0])}” lies in an NDTiff dataset, and “{show_path(anchor)}” names "
            f"no plane of it. {hint}",
            hint=hint,
            path=show_path(others[0]),
        )
    return entries


def _iter_entries(data: bytes, anchor: str, folder: str) -> Iterator[_Entry]:
    """Yield the planes of an index: axes as JSON, the name of a file, eight numbers."""
    at = 0
    while at < len(data):
        (count,) = struct.unpack_from("<I", data, at)
        if not count:
            raise _unfinished(anchor, "its index is not closed")
        axes = json.loads(data[at + 4 : at + 4 + count])
        at += 4 + count
        (count,) = struct.unpack_from("<I", data, at)
        name = data[at + 4 : at + 4 + count].decode()
        at += 4 + count
        numbers = struct.unpack_from("<8I", data, at)
        at += 32
        if not isinstance(axes, dict):
            raise damaged_header(anchor, f"a plane has the axes {axes!r}")
        yield _Entry(axes, join(folder, name), *numbers[:7])


def _check(entry: _Entry, first: _Entry, view: FolderView, anchor: str) -> None:
    """Make sure that a plane is there whole, and like the first."""
    listed = view.entries.get(entry.path)
    if listed is None:
        raise _unfinished(anchor, f"“{show_path(entry.path)}”, which its index names, is not there")
    pixels = _PIXELS.get(entry.pixel_type)
    if pixels is None or entry.compression:
        what = f"pixels of type {entry.pixel_type}, compression {entry.compression}"
        raise unsupported(anchor, what, "Save it as an image stack file in Micro-Manager.")
    alike = (entry.width, entry.height, entry.pixel_type)
    if alike != (first.width, first.height, first.pixel_type):
        hint = "Save the images of each kind as a dataset of their own."
        raise MixedSlicesError(
            f"“{show_path(anchor)}” names planes of {first.width:,} x {first.height:,} and of "
            f"{entry.width:,} x {entry.height:,}, pixel types {first.pixel_type} and "
            f"{entry.pixel_type}: they do not form one stack. {hint}",
            hint=hint,
            path=show_path(anchor),
        )
    count = entry.width * entry.height * pixels.samples * np.dtype(pixels.dtype_name).itemsize
    if not count:
        raise damaged_header(anchor, f"planes of {entry.width} x {entry.height} pixels")
    if entry.offset + count > listed.size:
        raise _cut(entry.path, f"a plane at byte {entry.offset:,} lies behind its end")


def _axes_of(entries: list[_Entry], anchor: str) -> set[str]:
    """Return the names of the axes: those of every plane, of which we know all that count."""
    axes = set(entries[0].axes)
    if any(set(entry.axes) != axes for entry in entries):
        raise damaged_header(anchor, "its planes lie along different axes")
    values = defaultdict(set)
    for entry in entries:
        for axis in axes - {*_AXES, "position"}:
            values[axis].add(entry.axes[axis])
    unknown = sorted(axis for axis, found in values.items() if len(found) > 1)
    if unknown:
        hint = "Save each place along it as a dataset of its own."
        if {"row", "column"} & set(unknown):
            hint = "Tiles are not stitched here: stitch them first."
        raise unsupported(anchor, f"planes along the axis “{'”, “'.join(unknown)}”", hint)
    return axes


def _places(entries: list[_Entry], anchor: str) -> tuple[dict[Place, _Spot], list[str]]:
    """Return where the planes of a position lie, and the names of its channels.

    Numbers of slices and timepoints may begin anywhere, below zero too; channels that have names
    stand in the order in which they were taken.
    """
    keys = [tuple(entry.axes.get(axis, 0) for axis in _AXES) for entry in entries]
    names = list(dict.fromkeys(c for _, c, _ in keys if isinstance(c, str)))
    numbers = [(t, names.index(c) if isinstance(c, str) else c, z) for t, c, z in keys]
    if not all(type(one) is int for place in numbers for one in place):
        raise ValueError(f"its axes count {numbers[0]}")
    least = [min(place[axis] for place in numbers) for axis in range(3)]
    extent = [max(place[axis] for place in numbers) - least[axis] + 1 for axis in range(3)]
    check_declared_planes(anchor, extent[0] * extent[1] * extent[2], len(numbers))
    places = {
        (t - least[0], c - least[1], z - least[2]): _Spot(entry.path, entry.offset)
        for (t, c, z), entry in zip(numbers, entries, strict=True)
    }
    if len(places) < len(entries):
        raise damaged_header(anchor, "its index names a plane twice")
    return places, names if len(names) == extent[1] else []


def _position_name(value: object) -> str:
    return value if isinstance(value, str) else f"Pos{value}"


# ---------------------------------------------------------------- the files


def _read_head(view: FolderView, path: str) -> tuple[Any, Mapping[str, Any]]:
    """Return the byte order of a file and the summary of the acquisition."""
    head = view.read_part(path, 0, 28) or b""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    numbers = struct.unpack(f"{order}5I", head[8:28]) if order and len(head) == 28 else (0,)
    if numbers[0] != NDTIFF or SUMMARY not in numbers[2:4]:
        raise damaged_header(path, "it does not begin like a file of an NDTiff dataset")
    at = numbers.index(SUMMARY, 2)
    return order, _json_at(view, path, 8 + 4 * (at + 2), numbers[at + 1])


def _read_text(view: FolderView, entry: _Entry) -> Mapping[str, Any]:
    """Return a plane's own metadata."""
    return _json_at(view, entry.path, entry.text_offset, entry.text_bytes)


def _json_at(view: FolderView, path: str, offset: int, count: int) -> Mapping[str, Any]:
    size = view.entries[path].size
    try:
        found = json.loads(view.read_part(path, offset, min(count, size)) or b"")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _unfinished(anchor: str, why: str) -> StackwatchError:
    hint = (
        "Wait for the end of the acquisition or copy; after a crash, save it again in its program."
    )
    return IncompleteAcquisitionError(
        f"“{show_path(anchor)}” is not complete: {why}. {hint}",
        hint=hint,
        path=show_path(anchor),
    )


def _cut(path: str, why: str) -> CorruptSliceError:
    return CorruptSliceError(
        f"“{show_path(path)}” is truncated: {why}. Copy the file again.",
        hint="Copy the file again.",
        path=show_path(path),
    )
