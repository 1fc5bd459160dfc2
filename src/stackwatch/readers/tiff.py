"""The TIFF family: pages are walked here, compressed pixels decoded by tifffile."""

import struct
import sys
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from stackwatch.errors import (
    CorruptSliceError,
    MixedSlicesError,
    StackwatchError,
    UnsupportedFormatError,
)
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import ImageInfo
from stackwatch.readers.dialects import Description, describe_pages
from stackwatch.readers.ifd import Ifd, has_first_tag, read_ifds
from stackwatch.readers.lsm import LSM_TAG, LsmReader, open_lsm
from stackwatch.readers.pages import (
    JPEG_COMPRESSIONS,
    PageFormat,
    PageFormats,
    Segments,
    parse_segments,
)
from stackwatch.readers.palette import is_grey_palette
from stackwatch.readers.plane_map import NOT_HERE
from stackwatch.readers.positional import PositionalFile
from stackwatch.readers.protocol import RawPlane, RawRun

_Decode = Callable[..., tuple[NDArray[Any] | None, tuple[int, ...], tuple[int, ...]]]

_LATER_TAGS = {
    33628: "MetaMorph STK", 33629: "MetaMorph STK", 34361: "FluoView",
    65420: "Hamamatsu NDPI", 50706: "camera raw (DNG)",
}  # fmt: skip
DECODER_ERRORS = (
    ValueError, TypeError, KeyError, IndexError, RuntimeError, ArithmeticError, OSError,
    ImportError, NotImplementedError, struct.error,
)  # fmt: skip
"""What decoders raise on damaged bytes; each codec has its own class below one of these."""


def open_tiff(file: BinaryIO, name: str, scene: int = 0) -> "TiffReader | LsmReader":
    """Parse the headers of a TIFF; `readers.probe.open_image` is the way in for everybody else."""
    try:
        if has_first_tag(PositionalFile(file, name), LSM_TAG):
            return open_lsm(file, name, scene)
        return TiffReader(file, name, scene)
    except StackwatchError:
        raise
    except DECODER_ERRORS as error:
        raise CorruptSliceError(
            f"The headers of “{show_path(name)}” are damaged ({error}). Copy the file again.",
            hint="Copy the file again.",
            path=show_path(name),
        ) from error


class TiffReader:
    """One opened TIFF.

    Cost: opening reads every page's tags once, linear in the pages; no pixel is touched.
    """

    def __init__(self, file: BinaryIO, name: str, scene: int = 0) -> None:
        self._file = PositionalFile(file, name)
        self._name = name
        self._pages = read_ifds(self._file)
        for code, what in _LATER_TAGS.items():
            if code in self._pages[0].tags:
                raise _unsupported(name, what)
        formats = PageFormats(name, self._file.size)
        self._formats = tuple(formats.of(page) for page in self._pages)
        self._segments: dict[int, Segments] = {}
        self._decoders: dict[PageFormat, _Decode] = {}
        self._tifffile: tifffile.TiffFile | None = None
        told = describe_pages(self._file, self._pages, self._formats, scene)
        self._main, self._planes = told.main, told.planes
        self.info = self._info(told)
        self._check_segments()

    def reopened(self, file: BinaryIO) -> "TiffReader":
        """Return a reader of the same content for another thread, without parsing it again."""
        other = copy(self)
        other._file = PositionalFile(file, self._name)
        other._decoders, other._tifffile = {}, None  # the segments found are shared: they stay true
        return other

    def read_plane(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return rows of one plane, as `SliceReader.read_plane` says."""
        try:
            raw = self.raw_plane(t, c, z)
            if raw is not None:
                return self._read_raw(raw, rows)
            return self._decode(t, c, z, rows)
        except StackwatchError:
            raise
        except DECODER_ERRORS as error:
            raise CorruptSliceError(
                f"Plane z={z} c={c} t={t} of “{show_path(self._name)}” cannot be decoded "
                f"({error}): the file is damaged. Copy the file again.",
                hint="Copy the file again.",
                path=show_path(self._name),
                z=z,
                c=c,
                t=t,
            ) from error

    def raw_plane(self, t: int, c: int, z: int) -> RawPlane | None:
        """Return where the rows of a plane lie, or None if it has to be decoded."""
        entry = self._entry(t, c, z)
        page = 0 if self._planes.form == "contiguous" else entry
        form = self._formats[page]
        if not form.is_raw or self._planes.form == "samples":
            return None
        segments = self._segments_of(page)
        dtype = np.dtype(form.pixels.dtype_name)
        if (self._pages[0].header.byte_order == ">") == (sys.byteorder == "little"):
            dtype = dtype.newbyteorder()
        if self._planes.form == "contiguous":
            start = segments.start + entry * form.plane_bytes
            return RawPlane(dtype, form.row_bytes, (RawRun(start, 0, form.height),))
        return RawPlane(dtype, form.row_bytes, _runs_of(segments, form))

    def byte_span(self, t: int, c: int, z: int) -> tuple[int, int]:
        """Return the first byte of a plane and the byte after its last."""
        entry = self._entry(t, c, z)
        if self._planes.form == "contiguous":
            plane_bytes = self._formats[0].plane_bytes
            start = self._segments_of(0).start + entry * plane_bytes
            return start, start + plane_bytes
        segments = self._segments_of(entry)
        return segments.start, segments.end

    def palette_rgb(self) -> NDArray[Any] | None:
        """Return the first page's palette as uint8 of shape (n, 3), or None."""
        main = self._formats[self._main]
        if main.pixels.kind != "palette":
            return None
        values = np.array(self._page(self._main).ints(320), np.uint16)
        if len(values) != 3 << main.bits:
            raise CorruptSliceError(
                f"The palette of “{show_path(self._name)}” has {len(values)} entries, not "
                f"{3 << main.bits}: the file is damaged. Copy the file again.",
                hint="Copy the file again.",
                path=show_path(self._name),
            )
        # 16-bit entries by the standard; some writers put 8-bit ones in.
        scaled = values >> 8 if values.max() > 255 else values
        return scaled.astype(np.uint8).reshape(3, -1).T

    def close(self) -> None:
        """Release what decoding needed; the file itself is the opener's."""
        if self._tifffile is not None:
            self._tifffile.close()
            self._tifffile = None

    # ------------------------------------------------------------- planes

    def _entry(self, t: int, c: int, z: int) -> int:
        entry = self._planes.page_of(t, c, z)
        if entry == NOT_HERE:
            raise UnsupportedFormatError(
                f"Plane z={z} c={c} t={t} lies in another file of the set than "
                f"“{show_path(self._name)}”.",
                path=show_path(self._name),
            )
        return entry

    def _segments_of(self, page: int) -> Segments:
        found = self._segments.get(page)
        if found is None:
            form = self._formats[page]
            parts = len(self._planes.pages) if self._planes.form == "contiguous" else 1
            found = self._segments[page] = parse_segments(self._page(page), form, parts)
        return found

    def _page(self, number: int) -> Ifd:
        """Return a page that reads through our own file: the first reader's may be closed."""
        return replace(self._pages[number], file=self._file)

    def _check_segments(self) -> None:
        """Make sure at once that every plane is in the file: a late surprise costs an hour."""
        is_contiguous = self._planes.form == "contiguous"
        used = {0} if is_contiguous else set(self._planes.pages) - {NOT_HERE}
        for page in used:
            self._segments_of(page)
        if self._formats[self._main].pixels.kind == "palette":
            palettes = {self._pages[page].value_bytes(320) for page in used}
            if len(palettes) > 1:
                raise MixedSlicesError(
                    f"The pages of “{show_path(self._name)}” have {len(palettes)} different "
                    "palettes: the same number means different colours. Save them as RGB.",
                    hint="Save the pages as RGB.",
                    path=show_path(self._name),
                )

    def _info(self, told: Description) -> ImageInfo:
        planes = told.planes
        here = (entry for entry in planes.pages if entry != NOT_HERE)
        page = 0 if planes.form == "contiguous" else next(here, 0)
        form = self._formats[page]
        is_turned = form.pixels.orientation >= 5
        levels = len(self._pages[page].ints(330))
        notes = planes.notes + (
            (f"{levels} coarser pyramid level{'s' if levels > 1 else ''} left out",)
            if levels
            else ()
        )
        palette = self.palette_rgb()
        is_grey = palette is not None and is_grey_palette(palette)
        return ImageInfo(
            reader="tiff",
            size_y=form.width if is_turned else form.height,
            size_x=form.height if is_turned else form.width,
            pixels=replace(form.pixels, has_grey_palette=is_grey),
            size_z=planes.size_z,
            size_c=planes.size_c,
            size_t=planes.size_t,
            voxel_size_nm=told.voxel_size_nm,
            voxel_size_source=told.voxel_size_source,
            channels=told.channels,
            can_read_rows=form.can_read_rows,
            is_time_declared=planes.is_time_declared,
            is_z_declared=planes.is_z_declared,
            set_files=told.set_files,
            set_uuid=told.set_uuid,
            scenes=told.scenes,
            scene=told.scene,
            set_planes_tcz=planes.planes_here_tcz if told.set_files else (),
            notes=notes,
            absent_tcz=told.absent_tcz,
        )

    # ------------------------------------------------------------- pixels

    def _read_raw(self, raw: RawPlane, rows: tuple[int, int]) -> NDArray[Any]:
        form = self._formats[self._main]
        samples = (form.samples,) if form.samples > 1 else ()
        plane = np.empty((rows[1] - rows[0], form.width, *samples), raw.dtype)
        view = plane.view(np.uint8).reshape(-1).data
        for run in raw.runs:
            first, last = max(run.first_row, rows[0]), min(run.first_row + run.rows, rows[1])
            if first < last:
                offset = run.offset + (first - run.first_row) * raw.row_bytes
                start = (first - rows[0]) * raw.row_bytes
                end = (last - rows[0]) * raw.row_bytes
                self._file.read_into(offset, view[start:end])
        return plane if plane.dtype.isnative else plane.astype(plane.dtype.newbyteorder("="))

    def _decode(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        page = self._entry(t, c, z)
        form = self._formats[page]
        plane = self._decode_segments(page, form, rows)
        if self._planes.form == "samples":
            part = (t * self._planes.size_c + c) * self._planes.size_z + z
            return plane[..., part]
        return plane[..., 0] if form.samples == 1 else plane

    def _decode_segments(self, page: int, form: PageFormat, rows: tuple[int, int]) -> NDArray[Any]:
        """Decode the strips or tiles that hold `rows`; return shape (rows, x, samples)."""
        segments, decode = self._segments_of(page), self._decoder(form, page)
        tables = self._page(page).value_bytes(347) or None
        is_jpeg = form.compression in JPEG_COMPRESSIONS
        planar, contig = (form.samples, 1) if form.is_planar else (1, form.samples)
        dtype = np.dtype(form.pixels.dtype_name)
        wanted = (rows[1] - rows[0], form.width, contig)
        plane: NDArray[Any] | None = None
        down, across = form.segments_down, form.segments_across
        first, last = rows[0] // form.segment_height, -(-rows[1] // form.segment_height)
        for sample in range(planar):
            for index in range((sample * down + first) * across, (sample * down + last) * across):
                data = self._file.read(
                    int(segments.offsets[index]), int(segments.byte_counts[index])
                )
                if is_jpeg:
                    self._check_jpeg(data, index)
                tile, (_, _, y, x, _), _ = decode(data, index, jpegtables=tables)
                assert tile is not None
                if planar == 1 and (y, *tile[0].shape) == (rows[0], *wanted):
                    only: NDArray[Any] = tile[0].astype(dtype, copy=False)
                    return only  # one segment is the whole plane: nothing to put together
                if plane is None:
                    plane = np.empty((planar, *wanted), dtype)
                _paste(plane[sample], tile[0], y - rows[0], x)
        assert plane is not None
        return plane[0] if planar == 1 else np.moveaxis(plane[..., 0], 0, -1)

    def _check_jpeg(self, data: bytes, index: int) -> None:
        """Refuse a JPEG strip without its end: the decoder would fill it with grey, silently."""
        if b"\xff\xd9" not in data[-64:]:
            raise CorruptSliceError(
                f"Strip or tile {index} of “{show_path(self._name)}” is a JPEG without an end: "
                "the file is damaged. Copy the file again.",
                hint="Copy the file again.",
                path=show_path(self._name),
            )

    def _decoder(self, form: PageFormat, page: int) -> _Decode:
        found = self._decoders.get(form)
        if found is None:
            if form.compression not in tifffile.TIFF.DECOMPRESSORS and form.compression != 1:
                raise _unsupported(self._name, f"TIFF compression {form.compression}")
            if self._tifffile is None:
                self._file.file.seek(0)
                self._tifffile = tifffile.TiffFile(self._file.file, name=self._name)
            key_page = self._tifffile.pages[page]
            assert isinstance(key_page, tifffile.TiffPage)
            found = self._decoders[form] = key_page.decode
        return found


def _paste(plane: NDArray[Any], tile: NDArray[Any], y: int, x: int) -> None:
    """Copy the part of a segment that lies within the plane; `y` may be negative."""
    top = max(y, 0)
    bottom = min(y + tile.shape[0], plane.shape[0])
    right = min(x + tile.shape[1], plane.shape[1])
    plane[top:bottom, x:right] = tile[top - y : bottom - y, : right - x]


def _runs_of(segments: Segments, form: PageFormat) -> tuple[RawRun, ...]:
    """Join strips that follow each other in the file."""
    if len(segments.offsets) == 1:
        return (RawRun(int(segments.offsets[0]), 0, form.height),)
    height = form.segment_height
    full_bytes = height * form.row_bytes
    breaks = np.flatnonzero(np.diff(segments.offsets) != full_bytes) + 1
    firsts = [0, *(int(index) for index in breaks)]
    lasts = [*firsts[1:], len(segments.offsets)]
    return tuple(
        RawRun(
            int(segments.offsets[first]),
            first * height,
            min(last * height, form.height) - first * height,
        )
        for first, last in zip(firsts, lasts, strict=True)
    )


def _unsupported(name: str, what: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"“{show_path(name)}” is a TIFF of the kind “{what}”, which this version of stackwatch "
        "does not read. Export it as OME-TIFF.",
        hint="Export it as OME-TIFF.",
        path=show_path(name),
        format=what,
    )
