"""Zeiss LSM: a TIFF whose pages hold all channels of a slice, each followed by a thumbnail.

tifffile reads the header and puts right what the format is known for: offsets that wrapped at
4 GiB, byte counts that are those of the decoded strips. The strips are read by position, each
channel's alone.

Source: Zeiss' description of the LSM 5/7 file format, as tifffile documents it; the tag 34412.
"""

import math
import struct
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError, IncompleteAcquisitionError, StackwatchError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import Channel, ImageInfo, PixelFormat
from stackwatch.readers.damage import damaged_header, no_such_image, unsupported
from stackwatch.readers.ifd import read_ifds
from stackwatch.readers.limits import check_declared_size
from stackwatch.readers.positional import PositionalFile
from stackwatch.readers.protocol import RawPlane, RawRun
from stackwatch.readers.scale import length_nm

LSM_TAG: Final = 34412

_ERRORS: Final = (
    ValueError, TypeError, KeyError, IndexError, RuntimeError, ArithmeticError, OSError,
    struct.error,
)  # fmt: skip
_DTYPES: Final = frozenset({"uint8", "uint16", "float32"})

_Decode = Callable[..., tuple[NDArray[Any] | None, tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True)
class _Layout:
    """Where the strips of one image of a file lie.

    Attributes
    ----------
    offsets, byte_counts : array of int64, shape (t, z, strips of a page)
        A page's strips channel by channel where its channels are planes of their own.
    strip_rows : int
    is_planar : bool
    decode : callable or None
        tifffile's decoder of one strip; None where nothing is compressed.
    """

    offsets: NDArray[np.int64]
    byte_counts: NDArray[np.int64]
    strip_rows: int
    is_planar: bool
    decode: _Decode | None


def open_lsm(file: BinaryIO, name: str, scene: int = 0) -> "LsmReader":
    """Read the pages of an LSM and return the reader of one of its positions.

    Parameters
    ----------
    file : BinaryIO
    name : str
    scene : int
        Which position or tile, counted from 0.

    Raises
    ------
    IncompleteAcquisitionError
        Fewer pages than the header declares; the caller waits or parks.
    CorruptSliceError, UnsupportedFormatError, LimitExceededError
        The caller passes them on.
    """
    source = PositionalFile(file, name)
    if len(read_ifds(source)) == 1:  # and a chain of pages that breaks is an error at once
        raise unsupported(name, "an LSM image without its thumbnail", "Export it as OME-TIFF.")
    file.seek(0)
    try:
        with tifffile.TiffFile(file, name=name) as opened:  # leaves the file itself open
            return _parse(source, opened, scene)
    except StackwatchError:
        raise
    except _ERRORS as error:
        raise damaged_header(name, f"{error}") from error


class LsmReader:
    """One position of an LSM; `readers.probe.open_image` is the way in."""

    def __init__(self, source: PositionalFile, layout: _Layout, info: ImageInfo) -> None:
        self.info = info
        self._source = source
        self._layout = layout

    @property
    def decode_bytes(self) -> int:
        """Memory that reading one plane takes at most, the plane included."""
        samples = 1 if self._layout.is_planar else self.info.size_c
        return 3 * samples * self.info.size_y * self._row_bytes

    def reopened(self, file: BinaryIO) -> "LsmReader":
        """Return a reader of the same content for another thread, without parsing it again."""
        other = copy(self)
        other._source = PositionalFile(file, self._source.name)
        return other

    def read_plane(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return rows of one plane, as `SliceReader.read_plane` says."""
        raw = self.raw_plane(t, c, z)
        if raw is None:
            return self._decode(t, c, z)[rows[0] : rows[1]]
        plane = np.empty((rows[1] - rows[0], self.info.size_x), raw.dtype)
        view = plane.view(np.uint8).reshape(-1).data
        for run in raw.runs:
            first, last = max(run.first_row, rows[0]), min(run.first_row + run.rows, rows[1])
            if first < last:
                part = view[(first - rows[0]) * raw.row_bytes : (last - rows[0]) * raw.row_bytes]
                self._source.read_into(run.offset + (first - run.first_row) * raw.row_bytes, part)
        return plane.astype(raw.dtype.newbyteorder("="), copy=False)

    def raw_plane(self, t: int, c: int, z: int) -> RawPlane | None:
        """Return where the rows of a plane lie, or None if it has to be decoded."""
        layout = self._layout
        if layout.decode is not None:
            return None
        runs = tuple(
            RawRun(int(offset), strip * layout.strip_rows, self._rows_of(strip))
            for strip, offset in enumerate(layout.offsets[t, z][self._strips_of(c)])
        )
        dtype = np.dtype(self.info.pixels.dtype_name).newbyteorder("<")
        return RawPlane(dtype, self._row_bytes, runs)

    def byte_span(self, t: int, c: int, z: int) -> tuple[int, int]:
        """Return the first byte of a plane and the byte after its last."""
        strips = self._strips_of(c)
        offsets = self._layout.offsets[t, z][strips]
        return int(offsets.min()), int((offsets + self._layout.byte_counts[t, z][strips]).max())

    def palette_rgb(self) -> NDArray[Any] | None:
        """Return None: an LSM has channels with colours, not palettes."""
        return None

    def close(self) -> None:
        """Do nothing: the file is the opener's."""

    # ------------------------------------------------------------- strips

    @property
    def _row_bytes(self) -> int:
        return self.info.size_x * np.dtype(self.info.pixels.dtype_name).itemsize

    def _strips_of(self, c: int) -> slice:
        """Return which strips of a page hold a channel."""
        if not self._layout.is_planar:
            return slice(None)
        each = -(-self.info.size_y // self._layout.strip_rows)
        return slice(c * each, (c + 1) * each)

    def _rows_of(self, strip: int) -> int:
        first = strip * self._layout.strip_rows
        return min(self._layout.strip_rows, self.info.size_y - first)

    def _decode(self, t: int, c: int, z: int) -> NDArray[Any]:
        layout, info = self._layout, self.info
        assert layout.decode is not None
        plane = np.empty((info.size_y, info.size_x), info.pixels.dtype_name)
        sample = 0 if layout.is_planar else c
        strips = self._strips_of(c)
        for strip in range(*strips.indices(layout.offsets.shape[2])):
            at = int(layout.offsets[t, z, strip])
            data = self._source.read(at, int(layout.byte_counts[t, z, strip]))
            try:
                decoded, (_, _, y, _, _), _ = layout.decode(data, strip)
                if decoded is None:
                    raise ValueError("an empty strip")
                tile = decoded[0]
                plane[y : y + tile.shape[0]] = tile[..., sample]
            except _ERRORS as error:
                raise self._damaged(t, c, z, error) from error
        return plane

    def _damaged(self, t: int, c: int, z: int, error: Exception) -> CorruptSliceError:
        return CorruptSliceError(
            f"Plane z={z} c={c} t={t} of “{show_path(self._source.name)}” cannot be decoded "
            f"({error}): the file is damaged. Copy the file again.",
            hint="Copy the file again.",
            path=show_path(self._source.name),
            z=z,
            c=c,
            t=t,
        )


def _parse(source: PositionalFile, opened: tifffile.TiffFile, scene: int) -> LsmReader:
    header: dict[str, Any] = opened.lsm_metadata or {}
    series = opened.series[0]
    page = series.keyframe
    sizes = dict(zip(series.axes, (int(size) for size in series.shape), strict=True))
    if not series.axes.replace("C", "").endswith("YX"):
        shown = ", ".join(f"{axis} {size}" for axis, size in sizes.items())
        hint = "Export it as OME-TIFF."
        raise unsupported(source.name, f"a line scan or an x-z scan ({shown})", hint)
    channels = sizes.get("C", 1)
    if channels != page.samplesperpixel or (sizes["Y"], sizes["X"]) != page.shaped[2:4]:
        why = f"its extents {dict(sizes)} are not those of its first page {page.shape}"
        raise damaged_header(source.name, why)
    dtype_name = str(page.dtype)
    if dtype_name not in _DTYPES:
        raise unsupported(source.name, f"values of {page.bitspersample} bits", "Save it as TIFF.")
    pixel_bytes = np.dtype(dtype_name).itemsize * channels
    check_declared_size(source.name, sizes["X"], sizes["Y"], pixel_bytes, source.size)
    scenes = sizes.get("M", 1) * sizes.get("P", 1)
    if scene >= scenes:
        raise no_such_image(source.name, scene, scenes)
    layout = _layout_of(source, series, (scenes, sizes.get("T", 1), sizes.get("Z", 1)), scene)
    info = ImageInfo(
        reader="lsm",
        size_y=sizes["Y"],
        size_x=sizes["X"],
        pixels=PixelFormat(dtype_name),
        size_z=sizes.get("Z", 1),
        size_c=channels,
        size_t=sizes.get("T", 1),
        voxel_size_nm=PartialVoxelSize(
            *(length_nm(header.get(f"VoxelSize{axis}"), "m") for axis in "XYZ")
        ),
        voxel_size_source="LSM VoxelSize",
        channels=_channels(header, channels),
        can_read_rows=layout.decode is None,
        is_time_declared=True,
        is_z_declared=True,
        scenes=("",) * scenes if scenes > 1 else (),
        scene=scene,
    )
    return LsmReader(source, layout, info)


def _layout_of(
    source: PositionalFile,
    series: tifffile.TiffPageSeries,
    sizes: tuple[int, int, int],
    scene: int,
) -> _Layout:
    """Collect the strips of one position; make sure that all of them are in the file."""
    page, expected = series.keyframe, math.prod(sizes)
    pages = [found for found in series.pages if found is not None]
    if len(pages) < expected:
        raise _fewer(source.name, expected, len(pages))
    if len(pages) > expected:
        what = f"{len(pages)} slices where its header declares {expected}"
        raise unsupported(source.name, what, "Save it again, or export it as OME-TIFF.")
    samples = int(page.samplesperpixel)
    is_planar = page.planarconfig == 2 and samples > 1
    is_plain = page.compression == 1 and (is_planar or samples == 1)
    height = int(page.imagelength)
    strip_rows = min(int(page.rowsperstrip) or height, height)
    first_rows = np.arange(0, height, strip_rows)
    rows = np.minimum(strip_rows, height - first_rows)
    strips = len(rows) * (samples if is_planar else 1)
    mine = pages[scene * sizes[1] * sizes[2] :][: sizes[1] * sizes[2]]
    offsets = np.array([found.dataoffsets[:strips] for found in mine], np.int64)
    counts = np.array([found.databytecounts[:strips] for found in mine], np.int64)
    if not offsets.shape == counts.shape == (len(mine), strips):
        raise damaged_header(source.name, f"a slice has not {strips} strips")
    if is_plain:  # the tag counts what the strip was padded to
        row_bytes = page.imagewidth * np.dtype(page.dtype).itemsize
        counts[:] = np.tile(rows * row_bytes, strips // len(rows))
    if not offsets.all() or offsets.min() < 0 or int((offsets + counts).max()) > source.size:
        raise CorruptSliceError(
            f"A slice of “{show_path(source.name)}” lies outside the file, which ends at byte "
            f"{source.size:,}: it is truncated or was not written completely. Copy the file again.",
            hint="Copy the file again.",
            path=show_path(source.name),
            bytes_expected=int((offsets + counts).max()),
            bytes_present=source.size,
        )
    shape = (sizes[1], sizes[2], strips)
    decode = None if is_plain else page.decode
    return _Layout(offsets.reshape(shape), counts.reshape(shape), strip_rows, is_planar, decode)


def _channels(header: dict[str, Any], count: int) -> tuple[Channel, ...]:
    stated = header.get("ChannelColors") or {}
    names, colours = stated.get("ColorNames", []), stated.get("Colors", [])
    if len(names) != count or len(colours) != count:
        return ()
    return tuple(
        Channel(str(name).strip(), (int(red), int(green), int(blue)))
        for name, (red, green, blue, _) in zip(names, colours, strict=True)
    )


def _fewer(name: str, declared: int, present: int) -> IncompleteAcquisitionError:
    return IncompleteAcquisitionError(
        f"The header of “{show_path(name)}” declares {declared:,} pages, {present:,} are there: "
        "the file was cut off, or is not written completely. Copy the file again.",
        hint="Copy the file again.",
        path=show_path(name),
        planes_declared=declared,
        planes_present=present,
    )
