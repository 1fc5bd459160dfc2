"""Zeiss CZI: scenes, channels, slices and timepoints, composed from tiles by Zeiss' own library.

A plane that is one tile without compression is read by position, as any other volume. All else
(mosaics, JPEG XR, zstd) is decoded and composed by pylibCZIrw, which opens the descriptor of the
file that was opened and checked here. Its colours come as blue, green, red.

Each thread has a handle of the library of its own: they cost little, and nobody waits.
"""

import os
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from pylibCZIrw.czi import CziReader as LibraryReader

from stackwatch.errors import CorruptSliceError, IncompleteAcquisitionError
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import Channel, ImageInfo, PixelFormat
from stackwatch.readers.czi_directory import CziDirectory, read_directory
from stackwatch.readers.czi_metadata import CziMetadata, parse_metadata
from stackwatch.readers.czi_scenes import SceneTiles, arrange_scene, black_share, list_scenes
from stackwatch.readers.damage import damaged_header, unsupported
from stackwatch.readers.limits import check_declared_size
from stackwatch.readers.positional import PositionalFile
from stackwatch.readers.protocol import RawPlane, RawRun

_PIXELS: Final = {
    0: ("Gray8", PixelFormat("uint8")),
    1: ("Gray16", PixelFormat("uint16")),
    2: ("Gray32Float", PixelFormat("float32")),
    3: ("Bgr24", PixelFormat("uint8", "rgb", 3)),
    4: ("Bgr48", PixelFormat("uint16", "rgb", 3)),
}
_REFUSED_PIXELS: Final = {
    8: "colours of 32-bit floats (Bgr96Float)", 9: "colours with alpha (Bgra32)",
    10: "complex values", 11: "complex colours", 12: "values of the type Gray32",
    13: "values of the type Gray64",
}  # fmt: skip
_UNCOMPRESSED: Final = 0
_COMPRESSIONS: Final = frozenset({_UNCOMPRESSED, 4, 5, 6})
"""None, JPEG XR, zstd, zstd behind a header."""
_REFUSED_COMPRESSIONS: Final = {1: "JPEG", 2: "LZW"}

_FEWEST_TILE_ROWS: Final = 4
"""A mosaic so many tiles high is read in strips: each tile is decoded about once."""

_LONGEST_SPAN: Final = 2**28
"""Bytes of a plane over which a digest runs ahead of its decoding. The page cache might not hold
more of them until they are decoded: such a file is digested at the end, by reading it once more."""


def open_czi(file: BinaryIO, name: str, scene: int = 0) -> "CziReader":
    """Read directory and metadata of a CZI and return the reader of one of its scenes.

    Parameters
    ----------
    file : BinaryIO
    name : str
    scene : int
        Which of its scenes, counted from 0.

    Raises
    ------
    IncompleteAcquisitionError, CorruptSliceError, UnsupportedFormatError, LimitExceededError
        The caller passes them on.
    """
    source = PositionalFile(file, name)
    directory, xml = read_directory(source)
    metadata = parse_metadata(xml, name)
    scenes = list_scenes(directory)
    tiles = arrange_scene(directory, metadata.sizes, scenes[scene], name)
    every = np.concatenate(list(tiles.tiles.values()))
    code = _pixel_type(directory, tiles, every, name)
    _check_compression(directory, every, name)
    library_type, pixels = _PIXELS[code]
    pixel_bytes = np.dtype(pixels.dtype_name).itemsize * pixels.samples
    check_declared_size(name, tiles.width, tiles.height, pixel_bytes, source.size)
    layout = _Layout(
        directory, tiles, library_type, pixel_bytes, int(directory.height[every].max())
    )
    size_t, size_c, size_z = tiles.size_tcz
    info = ImageInfo(
        reader="czi",
        size_y=tiles.height,
        size_x=tiles.width,
        pixels=pixels,
        size_z=size_z,
        size_c=size_c,
        size_t=size_t,
        voxel_size_nm=metadata.voxel_size_nm,
        voxel_size_source="CZI Scaling" if any(metadata.voxel_size_nm) else "",
        channels=_channels(metadata, tiles, pixels),
        can_read_rows=layout.is_plain or layout.is_tall_mosaic,
        is_time_declared=True,
        is_z_declared=True,
        notes=_notes(directory, tiles),
        scenes=tuple(metadata.scenes.get(number, "") for number in scenes if number is not None),
        scene=scene,
        absent_tcz=tiles.absent_tcz,
        partial_tcz=tiles.partial_tcz,
    )
    return CziReader(file, name, layout, info)


@dataclass(frozen=True)
class _Layout:
    """What is known of one scene before a voxel is read."""

    directory: CziDirectory
    scene: SceneTiles
    library_type: str
    pixel_bytes: int
    tile_height: int

    def is_plain_tile(self, tiles: NDArray[Any]) -> bool:
        """Tell whether tiles are one that fills its plane and is stored as it is."""
        directory, scene, tile = self.directory, self.scene, tiles[0]
        place = (directory.x, directory.y, directory.width, directory.height)
        return (
            len(tiles) == 1
            and int(directory.compression[tile]) == _UNCOMPRESSED
            and tuple(int(column[tile]) for column in place)
            == (scene.x, scene.y, scene.width, scene.height)
        )

    @property
    def is_plain(self) -> bool:
        """Whether every plane is such a tile."""
        return all(self.is_plain_tile(tiles) for tiles in self.scene.tiles.values())

    @property
    def is_tall_mosaic(self) -> bool:
        """Whether planes are many tiles high."""
        return self.tile_height * _FEWEST_TILE_ROWS <= self.scene.height

    @property
    def plane_bytes(self) -> int:
        """Bytes of one decoded plane."""
        return self.scene.width * self.scene.height * self.pixel_bytes


class CziReader:
    """One scene of a CZI; `readers.probe.open_image` is the way in."""

    def __init__(self, file: BinaryIO, name: str, layout: _Layout, info: ImageInfo) -> None:
        self.info = info
        self._file = file
        self._source = PositionalFile(file, name)
        self._layout = layout
        self._library: LibraryReader | None = None

    @property
    def decode_bytes(self) -> int:
        """Memory that reading one plane takes at most, the plane included."""
        directory = self._layout.directory
        if self._layout.is_plain:
            return self._layout.plane_bytes
        tile = int((directory.width * directory.height).max()) * self._layout.pixel_bytes
        copied = self._source.size if isinstance(self._file, BytesIO) else 0
        return self._layout.plane_bytes + 2 * tile + copied

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
        if self._layout.is_plain_tile(tiles):
            plane = self._read_plain(int(tiles[0]), rows)
        else:
            plane = self._compose(tiles, (t, c, z), rows)
        return plane[..., ::-1] if self.info.pixels.samples == 3 else plane

    def raw_plane(self, t: int, c: int, z: int) -> RawPlane | None:
        """Return where a plane lies, or None if it has to be composed or turned to RGB."""
        tiles = self._tiles(t, c, z)
        if self.info.pixels.samples > 1 or not self._layout.is_plain_tile(tiles):
            return None
        run = RawRun(self._pixels_of(int(tiles[0])), 0, self._layout.scene.height)
        dtype = np.dtype(self.info.pixels.dtype_name).newbyteorder("<")
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

    def _pixels_of(self, tile: int) -> int:
        """Return where the pixels of an uncompressed tile begin; make sure that all are there.

        The library fills what a tile lacks with zeros.
        """
        directory, source = self._layout.directory, self._source
        position = int(directory.position[tile])
        head = source.read(position, 48)
        metadata_bytes = int.from_bytes(head[32:36], "little", signed=True)
        data_bytes = int.from_bytes(head[40:48], "little", signed=True)
        pixels = int(directory.width[tile] * directory.height[tile])
        expected = pixels * self._layout.pixel_bytes
        offset = position + int(directory.header_bytes[tile]) + metadata_bytes
        is_sound = head.startswith(b"ZISRAWSUBBLOCK\0") and metadata_bytes >= 0
        if not is_sound or data_bytes < expected or offset + expected > source.size:
            why = f"the tile at byte {position:,} should hold {expected:,} bytes"
            raise damaged_header(source.name, f"{why}, and does not")
        return offset

    def _read_plain(self, tile: int, rows: tuple[int, int]) -> NDArray[Any]:
        pixels, width = self.info.pixels, self._layout.scene.width
        dtype = np.dtype(pixels.dtype_name).newbyteorder("<")
        samples = (pixels.samples,) if pixels.samples > 1 else ()
        plane = np.empty((rows[1] - rows[0], width, *samples), dtype)
        offset = self._pixels_of(tile) + rows[0] * width * self._layout.pixel_bytes
        self._source.read_into(offset, plane.view(np.uint8).reshape(-1).data)
        return plane.astype(dtype.newbyteorder("="), copy=False)

    def _compose(
        self, tiles: NDArray[Any], plane: tuple[int, int, int], rows: tuple[int, int]
    ) -> NDArray[Any]:
        """Let the library put rows of a plane together."""
        scene, directory = self._layout.scene, self._layout.directory
        top = directory.y[tiles] - scene.y
        here = tiles[(top < rows[1]) & (top + directory.height[tiles] > rows[0])]
        for tile in here[directory.compression[here] == _UNCOMPRESSED]:
            self._pixels_of(int(tile))
        numbers = (at + first for at, first in zip(plane, scene.first_tcz, strict=True))
        try:
            composed: NDArray[Any] = self._handle().read(
                roi=(scene.x, scene.y + rows[0], scene.width, rows[1] - rows[0]),
                plane=dict(zip("TCZ", numbers, strict=True)),
                scene=scene.index,
                pixel_type=self._layout.library_type,
            )
        except (RuntimeError, ValueError, OSError) as error:
            self._read_through(here)  # a disk that gives errors is blamed for them
            raise self._damaged(plane, error) from error
        return composed if composed.shape[2] == self.info.pixels.samples > 1 else composed[..., 0]

    def _handle(self) -> LibraryReader:
        if self._library is None:
            try:
                self._library = _open_library(self._file)
            except (RuntimeError, ValueError, OSError) as error:
                raise damaged_header(self._source.name, f"{error}") from error
        return self._library

    def _read_through(self, tiles: NDArray[Any]) -> None:
        """Read every byte of some tiles."""
        directory = self._layout.directory
        for tile in tiles:
            start = int(directory.position[tile])
            self._source.read(start, directory.end_of(np.array([tile])) - start)

    def _damaged(self, plane: tuple[int, int, int], error: Exception) -> CorruptSliceError:
        t, c, z = plane
        return CorruptSliceError(
            f"Timepoint {t}, channel {c}, slice {z} of “{show_path(self._source.name)}” cannot be "
            f"decoded ({error}): the file is damaged. Copy it again.",
            hint="Copy the file again.",
            path=show_path(self._source.name),
            plane=[t, c, z],
        )


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


def _pixel_type(directory: CziDirectory, scene: SceneTiles, tiles: NDArray[Any], name: str) -> int:
    """Return the number of the one type that all pixels of a scene have."""
    codes = [int(code) for code in np.unique(directory.pixel_type[tiles])]
    for code in codes:
        if code not in _PIXELS:
            what = _REFUSED_PIXELS.get(code, f"values of the CZI type {code}")
            raise unsupported(name, what, "Convert it in ZEN to 8 or 16 bit, or export it.")
    if len(codes) > 1:
        shown = " and ".join(_PIXELS[code][0] for code in codes)
        where = "channels" if scene.size_tcz[1] > 1 else "planes"
        hint = "Save each channel as a file of its own, or export it as OME-TIFF."
        raise unsupported(name, f"{where} of different types ({shown})", hint)
    return codes[0]


def _check_compression(directory: CziDirectory, tiles: NDArray[Any], name: str) -> None:
    for code in np.unique(directory.compression[tiles]):
        if int(code) not in _COMPRESSIONS:
            shown = _REFUSED_COMPRESSIONS.get(int(code), f"number {int(code)}")
            hint = "Save it from ZEN without compression, or with zstd or JPEG XR."
            raise unsupported(name, f"tiles of the compression {shown}", hint)


def _channels(metadata: CziMetadata, scene: SceneTiles, pixels: PixelFormat) -> tuple[Channel, ...]:
    """Return one channel for each index; a picture in colours has no colour of its own."""
    first, count = scene.first_tcz[1], scene.size_tcz[1]
    if len(metadata.channels) < first + count:
        first = 0
    found = metadata.channels[first : first + count]
    if len(found) < count:
        return ()
    return tuple(Channel(one.name) for one in found) if pixels.kind == "rgb" else found


def _notes(directory: CziDirectory, scene: SceneTiles) -> tuple[str, ...]:
    notes = []
    if directory.coarser:
        notes.append(f"{directory.coarser:,} tiles of coarser copies left out")
    places = _places(directory, list(scene.tiles.values()))
    share = black_share(directory, scene, min(scene.tiles))
    if places > 1:
        notes.append(
            f"its planes lie at {places} different places of the stage; where a plane has no tile "
            "it is black"
        )
    elif share > 0:
        notes.append(f"{max(share, 1e-4):.2%} of each plane is covered by no tile and is black")
    return tuple(notes)


def _places(directory: CziDirectory, planes: Sequence[NDArray[Any]]) -> int:
    """Return how many bounding boxes the planes have."""
    return len(
        {
            (
                int(directory.x[tiles].min()),
                int(directory.y[tiles].min()),
                int((directory.x + directory.width)[tiles].max()),
                int((directory.y + directory.height)[tiles].max()),
            )
            for tiles in planes
        }
    )
