"""The planes of one scene of a CZI: read in place, or composed from tiles by Zeiss' own library.

A plane that is one tile without compression is read by position, as any other volume. All else
(mosaics, JPEG XR, zstd) is decoded and composed by pylibCZIrw, which opens the descriptor of the
file that was opened and checked here. Its colours come as blue, green, red.

Each thread has a handle of the library of its own: they cost little, and nobody waits.
"""

import os
import struct
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from pylibCZIrw.czi import CziReader as LibraryReader

from stackwatch.errors import CorruptSliceError, IncompleteAcquisitionError
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.readers.czi_directory import (
    JPEG_XR,
    SEGMENT_BYTES,
    UNCOMPRESSED,
    ZSTD1,
    CziDirectory,
)
from stackwatch.readers.czi_jpegxr import HEAD_BYTES, check_jpegxr
from stackwatch.readers.czi_scenes import PlaneKey, SceneTiles
from stackwatch.readers.czi_zstd import decode_zstd
from stackwatch.readers.damage import damaged_header, unsupported
from stackwatch.readers.positional import PositionalFile
from stackwatch.readers.protocol import RawPlane, RawRun

PIXEL_TYPES: Final = {
    0: ("Gray8", PixelFormat("uint8")),
    1: ("Gray16", PixelFormat("uint16")),
    2: ("Gray32Float", PixelFormat("float32")),
    3: ("Bgr24", PixelFormat("uint8", "rgb", 3)),
    4: ("Bgr48", PixelFormat("uint16", "rgb", 3)),
}
"""By their number in the format: what the library calls them, and what they are."""

_BGR48: Final = 4

_TILE_SIZES: Final = struct.Struct("<iiq")
"""After the header of a tile's segment: bytes of its metadata, its attachment, its data."""
_TILE_HEAD_BYTES: Final = SEGMENT_BYTES + _TILE_SIZES.size

_FEWEST_TILE_ROWS: Final = 4
"""A mosaic so many tiles high is read in strips: each tile is decoded about once."""

_LONGEST_SPAN: Final = 2**28
"""Bytes of a plane over which a digest runs ahead of its decoding. The page cache might not hold
more of them until they are decoded: such a file is digested at the end, by reading it once more."""


@dataclass(frozen=True)
class SceneLayout:
    """What is known of a scene before a voxel is read.

    Attributes
    ----------
    directory : CziDirectory
    scene : SceneTiles
    types : tuple of int
        The type of the pixels of each channel, by its number in the format.
    """

    directory: CziDirectory
    scene: SceneTiles
    types: tuple[int, ...]

    def pixels(self, c: int) -> PixelFormat:
        """Return what the pixels of a channel are."""
        return PIXEL_TYPES[self.types[c]][1]

    def pixel_bytes(self, c: int) -> int:
        """Return the bytes of a pixel of a channel."""
        pixels = self.pixels(c)
        return np.dtype(pixels.dtype_name).itemsize * pixels.samples

    def is_plain_tile(self, tiles: NDArray[Any]) -> bool:
        """Tell whether tiles are one that fills its plane and is stored as it is."""
        directory, scene, tile = self.directory, self.scene, tiles[0]
        return (
            len(tiles) == 1
            and directory.compression[tile] == UNCOMPRESSED
            and (directory.width[tile], directory.height[tile]) == (scene.width, scene.height)
        )

    @cached_property
    def is_plain(self) -> bool:
        """Whether every plane is such a tile."""
        return all(self.is_plain_tile(tiles) for tiles in self.scene.tiles.values())

    @cached_property
    def largest_tile(self) -> int:
        """Pixels of the largest tile."""
        directory = self.directory
        return int((directory.width * directory.height)[self.scene.every].max())

    @property
    def can_read_rows(self) -> bool:
        """Whether some rows of a plane can be had without decoding all of it."""
        if self.is_plain:
            return True
        tile_height = int(self.directory.height[self.scene.every].max())
        return tile_height * _FEWEST_TILE_ROWS <= self.scene.height

    @property
    def decode_bytes(self) -> int:
        """Memory that reading one plane takes at most, the plane included."""
        pixel_bytes = max(self.pixel_bytes(c) for c in range(len(self.types)))
        tiles = 0 if self.is_plain else 2 * self.largest_tile
        planes = 1 if all(self.pixels(c).samples == 1 for c in range(len(self.types))) else 2
        return (self.scene.width * self.scene.height * planes + tiles) * pixel_bytes


class CziReader:
    """One scene of a CZI; `readers.probe.open_image` is the way in."""

    def __init__(self, file: BinaryIO, name: str, layout: SceneLayout, info: ImageInfo) -> None:
        self.info = info
        self._file = file
        self._source = PositionalFile(file, name)
        self._layout = layout
        self._library: LibraryReader | None = None

    @property
    def decode_bytes(self) -> int:
        """Memory that reading one plane takes at most, the plane included."""
        is_copied = isinstance(self._file, BytesIO) and not self._layout.is_plain
        return self._layout.decode_bytes + (self._source.size if is_copied else 0)

    def reopened(self, file: BinaryIO) -> "CziReader":
        """Return a reader of the same scene for another thread, without parsing it again."""
        other = copy(self)
        other._file = file
        other._source = PositionalFile(file, self._source.name)
        other._library = None
        return other

    def read_plane(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return rows of one plane, as `SliceReader.read_plane` says."""
        tiles = self._tiles(t, c, z)
        directory = self._layout.directory
        is_apart = self._layout.types[c] == _BGR48 and ZSTD1 in directory.compression[tiles]
        if self._layout.is_plain_tile(tiles):
            plane = self._read_plain(int(tiles[0]), c, rows)
        elif is_apart:
            plane = self._compose_here(tiles, c, rows)
        else:
            plane = self._compose(tiles, (t, c, z), rows)
        return _red_first(plane) if plane.ndim == 3 else plane

    def raw_plane(self, t: int, c: int, z: int) -> RawPlane | None:
        """Return where a plane lies, or None if it has to be composed or turned to RGB."""
        tiles = self._tiles(t, c, z)
        pixels = self._layout.pixels(c)
        if pixels.samples > 1 or not self._layout.is_plain_tile(tiles):
            return None
        run = RawRun(self._check_tile(int(tiles[0]), c), 0, self._layout.scene.height)
        dtype = np.dtype(pixels.dtype_name).newbyteorder("<")
        return RawPlane(dtype, self._layout.scene.width * dtype.itemsize, (run,))

    def byte_span(self, t: int, c: int, z: int) -> tuple[int, int]:
        """Return the first byte of a plane's tiles and the byte after the last."""
        tiles = self._tiles(t, c, z)
        directory = self._layout.directory
        start, end = int(directory.position[tiles].min()), directory.end_of(tiles)
        return (start, end) if end - start <= _LONGEST_SPAN else (start, start)

    def palette_rgb(self) -> NDArray[Any] | None:
        """Return None: a CZI has no palettes."""
        return None

    def close(self) -> None:
        """Release the library's handle; the file itself is the opener's."""
        if self._library is not None:
            self._library.close()
            self._library = None

    # ------------------------------------------------------------- tiles

    def _tiles(self, t: int, c: int, z: int) -> NDArray[Any]:
        found = self._layout.scene.tiles.get((t, c, z))
        if found is None:
            raise IncompleteAcquisitionError(
                f"Timepoint {t}, channel {c}, slice {z} of “{show_path(self._source.name)}” is "
                "not in the file. Save it again from ZEN.",
                hint="Save the file again from ZEN.",
                path=show_path(self._source.name),
                plane=[t, c, z],
            )
        return found

    def _tile_bytes(self, tile: int) -> tuple[int, int]:
        """Return where the data of a tile begin, and how many bytes they have.

        The library believes what stands there: absurd sizes end the process.
        """
        position = int(self._layout.directory.position[tile])
        head = self._source.read(position, _TILE_HEAD_BYTES)
        metadata_bytes, attachment_bytes, data_bytes = _TILE_SIZES.unpack_from(head, SEGMENT_BYTES)
        offset = position + int(self._layout.directory.header_bytes[tile]) + metadata_bytes
        sizes = (metadata_bytes, attachment_bytes, data_bytes)
        is_sound = head.startswith(b"ZISRAWSUBBLOCK\0") and min(sizes) >= 0
        if not is_sound or offset + data_bytes + attachment_bytes > self._source.size:
            why = f"no tile of {data_bytes:,} bytes is at byte {position:,}"
            raise damaged_header(self._source.name, why)
        return offset, data_bytes

    def _check_tile(self, tile: int, c: int) -> int:
        """Return where the pixels of a tile begin; make sure that all are there.

        What an uncompressed tile lacks, the library fills with zeros.
        """
        directory = self._layout.directory
        offset, present = self._tile_bytes(tile)
        expected = int(directory.width[tile] * directory.height[tile]) * self._layout.pixel_bytes(c)
        if directory.compression[tile] == UNCOMPRESSED and present < expected:
            position = int(directory.position[tile])
            why = f"the tile at byte {position:,} needs {expected:,} bytes and has {present:,}"
            raise damaged_header(self._source.name, why)
        if directory.compression[tile] == JPEG_XR:
            head = self._source.read(offset, min(present, HEAD_BYTES))
            extent = (int(directory.width[tile]), int(directory.height[tile]))
            check_jpegxr(head, self._layout.pixels(c), extent, self._source.name)
        return offset

    def _new_plane(self, c: int, rows: int, width: int) -> NDArray[Any]:
        pixels = self._layout.pixels(c)
        samples = (pixels.samples,) if pixels.samples > 1 else ()
        return np.empty((rows, width, *samples), np.dtype(pixels.dtype_name).newbyteorder("<"))

    def _read_plain(self, tile: int, c: int, rows: tuple[int, int]) -> NDArray[Any]:
        width = self._layout.scene.width
        plane = self._new_plane(c, rows[1] - rows[0], width)
        offset = self._check_tile(tile, c) + rows[0] * width * self._layout.pixel_bytes(c)
        self._source.read_into(offset, plane.view(np.uint8).reshape(-1).data)
        return plane.astype(plane.dtype.newbyteorder("="), copy=False)

    def _touching(self, tiles: NDArray[Any], rows: tuple[int, int]) -> NDArray[Any]:
        """Return those tiles that some rows of the plane touch."""
        directory = self._layout.directory
        top = directory.y[tiles] - self._layout.scene.y
        found: NDArray[Any] = tiles[(top < rows[1]) & (top + directory.height[tiles] > rows[0])]
        return found

    # ------------------------------------------------------------- composition

    def _compose(self, tiles: NDArray[Any], plane: PlaneKey, rows: tuple[int, int]) -> NDArray[Any]:
        """Let the library put rows of a plane together."""
        layout, scene, c = self._layout, self._layout.scene, plane[1]
        here = self._touching(tiles, rows)
        for tile in here:
            self._check_tile(int(tile), c)
        numbers = (at + first for at, first in zip(plane, scene.first_tcz, strict=True))
        try:
            composed: NDArray[Any] = self._handle().read(
                roi=(scene.x, scene.y + rows[0], scene.width, rows[1] - rows[0]),
                plane=dict(zip("TCZ", numbers, strict=True)),
                scene=scene.index,
                pixel_type=PIXEL_TYPES[layout.types[c]][0],
            )
        except (RuntimeError, ValueError, OSError) as error:
            for tile in here:  # a disk that gives errors is blamed for them
                self._source.read(*self._tile_bytes(int(tile)))
            raise self._damaged(plane, error) from error
        return composed if layout.pixels(c).samples > 1 else composed[..., 0]

    def _compose_here(self, tiles: NDArray[Any], c: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Put rows of a plane together from tiles that the library does not decode rightly."""
        directory, scene, name = self._layout.directory, self._layout.scene, self._source.name
        plane = self._new_plane(c, rows[1] - rows[0], scene.width)
        plane[...] = 0
        here = self._touching(tiles, rows)
        if JPEG_XR in directory.compression[here]:
            raise unsupported(name, "zstd and JPEG XR in one plane of 16-bit colours", _EXPORT)
        for tile in here[np.argsort(directory.index("M")[here], kind="stable")]:
            width, height = int(directory.width[tile]), int(directory.height[tile])
            pixels = self._new_plane(c, height, width)
            data = self._source.read(*self._tile_bytes(int(tile)))
            decode_zstd(data, int(directory.compression[tile]), pixels, name)
            top = int(directory.y[tile]) - scene.y - rows[0]
            left = int(directory.x[tile]) - scene.x
            upper, lower = max(top, 0), min(top + height, len(plane))
            plane[upper:lower, left : left + width] = pixels[upper - top : lower - top]
        return plane.astype(plane.dtype.newbyteorder("="), copy=False)

    def _handle(self) -> LibraryReader:
        if self._library is None:
            try:
                self._library = _open_library(self._file)
            except (RuntimeError, ValueError, OSError) as error:
                raise damaged_header(self._source.name, f"{error}") from error
        return self._library

    def _damaged(self, plane: PlaneKey, error: Exception) -> CorruptSliceError:
        t, c, z = plane
        return CorruptSliceError(
            f"Timepoint {t}, channel {c}, slice {z} of “{show_path(self._source.name)}” cannot be "
            f"decoded ({error}): the file is damaged. Copy it again.",
            hint="Copy the file again.",
            path=show_path(self._source.name),
            plane=[t, c, z],
        )


_EXPORT: Final = "Save it from ZEN with one compression, or export it as OME-TIFF."


def _red_first(plane: NDArray[Any]) -> NDArray[Any]:
    """Return a picture of blue, green, red as one of red, green, blue.

    Sample by sample: a reversed view costs six times as much as soon as it is copied.
    """
    turned = np.empty_like(plane)
    for sample in range(3):
        turned[..., sample] = plane[..., 2 - sample]
    return turned


def _open_library(file: BinaryIO) -> LibraryReader:
    """Open the very file that is open already; one in memory is handed over as such."""
    if not isinstance(file, BytesIO):
        return LibraryReader(f"/proc/self/fd/{file.fileno()}")
    descriptor = os.memfd_create("stackwatch-czi", os.MFD_CLOEXEC)
    try:
        with file.getbuffer() as data, os.fdopen(descriptor, "wb", closefd=False) as copied:
            copied.write(data)
        return LibraryReader(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)  # the library has opened it for itself
