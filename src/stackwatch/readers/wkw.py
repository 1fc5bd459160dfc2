"""Read the mags of WKW layers, in parts."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from stackwatch.model.geometry import Vec3
from stackwatch.readers.wkw_header import (
    HEADER_BYTES,
    HEADER_FILE,
    BlockType,
    WkwHeader,
    cube_path,
    damaged_wkw,
    morton_places,
    parse_header,
)

_OPEN_FILES: Final = 16
"""Cubes kept open, with their jump tables: a row of blocks through a plane meets as many."""

OpenFile = Callable[[Path], int]


def _open_plain(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


class WkwMag:
    """One mag of a WKW layer, read in parts. Usable by several threads; closed by its opener.

    Parameters
    ----------
    folder : Path
        The directory with `header.wkw`.
    open_file : callable
        From a path below it to a descriptor; FileNotFoundError for a cube that was not written.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError
        The header is damaged or of a kind we do not know.
    OSError
        There is none, or it cannot be read.
    """

    def __init__(self, folder: Path, open_file: OpenFile = _open_plain) -> None:
        self._folder = folder
        self._open_file = open_file
        path = folder / HEADER_FILE
        descriptor = open_file(path)
        try:
            self.header = parse_header(os.pread(descriptor, HEADER_BYTES, 0), path)
        finally:
            os.close(descriptor)
        self._cubes: OrderedDict[tuple[int, int, int], _Cube | None] = OrderedDict()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every open file."""
        with self._lock:
            for cube in self._cubes.values():
                if cube is not None:
                    cube.close()
            self._cubes.clear()

    def read(self, z: range, y: range, x: range) -> NDArray[Any]:
        """Return a part of the mag; what was never written is zero.

        Parameters
        ----------
        z, y, x : range
            Voxels of this mag, step 1.

        Returns
        -------
        array, shape (z, y, x) or (z, y, x, c), native byte order

        Raises
        ------
        CorruptSliceError
            A file is cut short or damaged.
        """
        header = self.header
        edge = header.block_edge
        across = range(x.start // edge, -(-x.stop // edge))
        # Rows of a block stay together: one copy puts those of all blocks of a strip in order.
        row = np.dtype((np.void, edge * header.voxel_bytes))
        out = np.empty((len(z), len(y), len(across)), row)
        strip = np.empty((len(across), edge, edge), row)
        for (bz, into_z, of_z), (by, into_y, of_y) in product(
            _overlaps(z, edge), _overlaps(y, edge)
        ):
            for bx, block in zip(
                across, strip.reshape(len(across), -1).view(np.uint8), strict=True
            ):
                self._read_block((bz, by, bx), block)
            out[into_z, into_y] = strip[:, of_z, of_y].transpose(1, 2, 0)
        channels = (header.channels,) if header.channels > 1 else ()
        stored = np.dtype(header.dtype_name).newbyteorder("<")
        voxels = out.view(stored).reshape(len(z), len(y), len(across) * edge, *channels)
        first = across.start * edge
        return voxels[:, :, x.start - first : x.stop - first].astype(header.dtype_name, copy=False)

    def ensure_fits(self, cube_zyx: tuple[int, int, int]) -> None:
        """Make sure that one file is as the header of the mag says.

        Raises
        ------
        CorruptSliceError, UnsupportedFormatError
            It is not.
        """
        with self._lock:
            self._open_cube(cube_zyx)

    def extent(self) -> Vec3:
        """Return the smallest extent from the origin that holds every file, in whole cubes."""
        corners = [(0, 0, 0), *self._iter_cubes()]
        edge = self.header.cube_edge
        z, y, x = ((max(corner[axis] for corner in corners) + 1) * edge for axis in range(3))
        return Vec3(x, y, z)

    def _iter_cubes(self) -> Iterator[tuple[int, int, int]]:
        for path in self._folder.glob("z*/y*/x*.wkw"):
            numbers = (path.parent.parent.name[1:], path.parent.name[1:], path.stem[1:])
            if all(number.isdigit() for number in numbers):
                z, y, x = map(int, numbers)
                yield z, y, x

    def _read_block(self, block_zyx: tuple[int, int, int], out: NDArray[np.uint8]) -> None:
        """Fill `out` with the bytes of one block, zeros where no file was written."""
        edge = self.header.blocks_per_edge
        z, y, x = block_zyx
        place = int(morton_places(edge)[z % edge, y % edge, x % edge])
        with self._lock:  # a file may not be closed by another thread while it is read
            cube = self._open_cube((z // edge, y // edge, x // edge))
            stored = b"" if cube is None else cube.read_stored(place)
        if cube is None:
            out[:] = 0
        else:
            cube.decode_into(out, stored, place)

    def _open_cube(self, cube_zyx: tuple[int, int, int]) -> "_Cube | None":
        if cube_zyx in self._cubes:
            self._cubes.move_to_end(cube_zyx)
            return self._cubes[cube_zyx]
        while len(self._cubes) >= _OPEN_FILES:
            _, oldest = self._cubes.popitem(last=False)
            if oldest is not None:
                oldest.close()
        path = self._folder / cube_path(cube_zyx)
        try:
            cube = _Cube(path, self.header, self._open_file(path))
        except FileNotFoundError:
            self._cubes[cube_zyx] = None
            return None
        self._cubes[cube_zyx] = cube
        return cube


class _Cube:
    """One open file and its jump table."""

    def __init__(self, path: Path, header: WkwHeader, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        try:
            own = parse_header(os.pread(self._descriptor, HEADER_BYTES, 0), path)
            if own.pack() != header.pack():
                raise damaged_wkw(path, "its header is not that of its mag")
            self._header = own
            self._ends = self._read_table().data  # its items are plain numbers: quick
        except BaseException:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        os.close(self._descriptor)

    def read_stored(self, place: int) -> bytes:
        """Return the bytes of a block as they lie in the file."""
        start = self._ends[place - 1] if place else self._header.data_offset
        end = self._ends[place]
        stored = os.pread(self._descriptor, end - start, start)
        if len(stored) != end - start:
            raise damaged_wkw(self._path, f"block {place} lies behind its end")
        return stored

    def decode_into(self, out: NDArray[np.uint8], stored: bytes, place: int) -> None:
        """Fill `out` with the bytes of a block, decompressed."""
        if self._header.block_type is BlockType.RAW:
            out[:] = np.frombuffer(stored, np.uint8)
            return
        from imagecodecs import Lz4Error, lz4_decode  # late: only files with LZ4 pay

        try:
            found = len(lz4_decode(stored, header=False, out=out.data))
        except (Lz4Error, ValueError) as error:
            raise damaged_wkw(self._path, f"block {place} cannot be decompressed") from error
        if found != len(out):
            raise damaged_wkw(self._path, f"block {place} holds {found} bytes")

    def _read_table(self) -> NDArray[np.uint64]:
        """Return where each block ends."""
        header = self._header
        if header.block_type is BlockType.RAW:
            numbers = np.arange(1, header.blocks + 1, dtype=np.uint64)
            return numbers * np.uint64(header.block_bytes) + np.uint64(header.data_offset)
        data = os.pread(self._descriptor, 8 * header.blocks, HEADER_BYTES)
        if len(data) != 8 * header.blocks:
            raise damaged_wkw(self._path, "it ends within its jump table")
        ends = np.frombuffer(data, "<u8")
        starts = np.concatenate([[np.uint64(header.data_offset)], ends[:-1]])
        longest = 2 * header.block_bytes + 64  # LZ4 makes nothing larger than that
        if np.any(ends < starts) or np.any(ends - starts > longest):
            raise damaged_wkw(self._path, "its jump table is damaged")
        return ends


def _overlaps(part: range, edge: int) -> list[tuple[int, slice, slice]]:
    """Return the blocks that meet a part of one axis.

    Of each its number, where it lies in the part, and which of its voxels these are.
    """
    found = []
    for number in range(part.start // edge, -(-part.stop // edge)):
        start, stop = max(number * edge, part.start), min((number + 1) * edge, part.stop)
        into = slice(start - part.start, stop - part.start)
        found.append((number, into, slice(start - number * edge, stop - number * edge)))
    return found
