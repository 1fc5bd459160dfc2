"""WKW, the older store of WEBKNOSSOS: the header, the order of blocks, and a reader.

A mag is a directory with `header.wkw` and files `z{Z}/y{Y}/x{X}.wkw`, each a cube of blocks. A
block holds its voxels x fastest, then y, then z, the channels of a voxel side by side; the blocks
of a file follow one another in Morton order (x in the lowest bit, then y, then z), each compressed
by itself. A file that does not exist holds zeros.

Source: the README of webknossos-wrap, which defines the format.
"""

import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import Vec3

HEADER_FILE: Final = "header.wkw"
HEADER_BYTES: Final = 16
_HEADER: Final = struct.Struct("<3sBBBBBQ")
_MAGIC: Final = b"WKW"
_VERSION: Final = 1
_OPEN_FILES: Final = 16
"""Cubes kept open, with their jump tables: a row of blocks through a plane meets as many."""

_MOST_BLOCKS: Final = 2**21
"""Of a file: cubes of 4,096 in blocks of 32. Usual ones have 32,768."""

_LARGEST_BLOCK: Final = 2**28
"""Bytes. Usual ones have 32,768 voxels."""

DTYPE_CODES: Final = {
    "uint8": 1, "uint16": 2, "uint32": 3, "uint64": 4, "float32": 5, "float64": 6,
    "int8": 7, "int16": 8, "int32": 9, "int64": 10,
}  # fmt: skip
_DTYPE_NAMES: Final = {code: name for name, code in DTYPE_CODES.items()}


class BlockType(IntEnum):
    """How the blocks of a file are stored. Both LZ4 kinds are read alike."""

    RAW = 1
    LZ4 = 2
    LZ4HC = 3


@dataclass(frozen=True, slots=True)
class WkwHeader:
    """What `header.wkw`, and the first bytes of every file, say.

    Attributes
    ----------
    block_edge : int
        In voxels, a power of two.
    blocks_per_edge : int
        Of a file, a power of two.
    block_type : BlockType
    dtype_name : str
        numpy dtype; little-endian on disk.
    channels : int
        Values of a voxel.
    data_offset : int
        Where the first block begins; 0 in `header.wkw`.
    """

    block_edge: int
    blocks_per_edge: int
    block_type: BlockType
    dtype_name: str
    channels: int = 1
    data_offset: int = 0

    @property
    def cube_edge(self) -> int:
        """Edge of a file in voxels."""
        return self.block_edge * self.blocks_per_edge

    @property
    def blocks(self) -> int:
        """Blocks of a file."""
        return self.blocks_per_edge**3

    @property
    def voxel_bytes(self) -> int:
        """Bytes of a voxel, all its values together."""
        return self.channels * np.dtype(self.dtype_name).itemsize

    @property
    def block_bytes(self) -> int:
        """Bytes of a block before compression."""
        return self.block_edge**3 * self.voxel_bytes

    @property
    def first_block(self) -> int:
        """Where the blocks of a file begin: behind the header, and the jump table if there is one.

        The table holds, for each block, where it ends.
        """
        table = 0 if self.block_type is BlockType.RAW else 8 * self.blocks
        return HEADER_BYTES + table

    def pack(self, data_offset: int = 0) -> bytes:
        """Return the 16 bytes; byte 4: exponents of blocks per edge (high) and block edge."""
        edges = (self.blocks_per_edge.bit_length() - 1) << 4 | (self.block_edge.bit_length() - 1)
        code = DTYPE_CODES[self.dtype_name]
        return _HEADER.pack(
            _MAGIC, _VERSION, edges, self.block_type, code, self.voxel_bytes, data_offset
        )


def parse_header(data: bytes, path: Path) -> WkwHeader:
    """Return what the 16 bytes at the beginning of a file say.

    Raises
    ------
    CorruptSliceError
        They are no WKW header; the caller passes it on.
    UnsupportedFormatError
        A version or a kind of voxels that we do not know.
    """
    if len(data) < HEADER_BYTES or data[:3] != _MAGIC:
        raise _corrupt(path, "it does not begin with a WKW header")
    _, version, edges, kind, code, voxel_bytes, data_offset = _HEADER.unpack(data[:HEADER_BYTES])
    dtype_name = _DTYPE_NAMES.get(code, "")
    if version != _VERSION or kind not in tuple(BlockType) or not dtype_name:
        raise UnsupportedFormatError(
            f"“{show_path(path)}” is a WKW file of version {version}, block type {kind}, voxel "
            f"type {code}; version 1, block types 1 to 3 and voxel types 1 to 10 are read.",
            hint="Convert it with the program that wrote it.",
            path=show_path(path),
        )
    itemsize = np.dtype(dtype_name).itemsize
    if not voxel_bytes or voxel_bytes % itemsize:
        raise _corrupt(path, f"voxels of {voxel_bytes} bytes cannot hold {dtype_name} values")
    found = WkwHeader(
        block_edge=1 << (edges & 15),
        blocks_per_edge=1 << (edges >> 4),
        block_type=BlockType(kind),
        dtype_name=dtype_name,
        channels=voxel_bytes // itemsize,
        data_offset=data_offset,
    )
    if found.blocks > _MOST_BLOCKS or found.block_bytes > _LARGEST_BLOCK:
        raise _corrupt(
            path, f"a file cannot have {found.blocks:,} blocks of {found.block_bytes:,} bytes each"
        )
    return found


@cache
def morton_places(edge: int) -> NDArray[np.uint32]:
    """Return the place of each block in its file, shape (z, y, x) with `edge` blocks each.

    Examples
    --------
    >>> morton_places(2).tolist()
    [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    """
    numbers = np.arange(edge, dtype=np.uint32)
    spread = np.zeros(edge, np.uint32)
    for bit in range(max(1, edge.bit_length() - 1)):
        spread |= (numbers >> np.uint32(bit) & np.uint32(1)) << np.uint32(3 * bit)
    places: NDArray[np.uint32] = (
        spread[None, None, :]
        | spread[None, :, None] << np.uint32(1)
        | spread[:, None, None] << np.uint32(2)
    )
    places.flags.writeable = False
    return places


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


def cube_path(cube_zyx: tuple[int, int, int]) -> str:
    """Return the path of a file below its mag's directory."""
    return "z{}/y{}/x{}.wkw".format(*cube_zyx)


class _Cube:
    """One open file and its jump table."""

    def __init__(self, path: Path, header: WkwHeader, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        try:
            own = parse_header(os.pread(self._descriptor, HEADER_BYTES, 0), path)
            if own.pack() != header.pack():
                raise _corrupt(path, "its header is not that of its mag")
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
            raise _corrupt(self._path, f"block {place} lies behind its end")
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
            raise _corrupt(self._path, f"block {place} cannot be decompressed") from error
        if found != len(out):
            raise _corrupt(self._path, f"block {place} holds {found} bytes")

    def _read_table(self) -> NDArray[np.uint64]:
        """Return where each block ends."""
        header = self._header
        if header.block_type is BlockType.RAW:
            numbers = np.arange(1, header.blocks + 1, dtype=np.uint64)
            return numbers * np.uint64(header.block_bytes) + np.uint64(header.data_offset)
        data = os.pread(self._descriptor, 8 * header.blocks, HEADER_BYTES)
        if len(data) != 8 * header.blocks:
            raise _corrupt(self._path, "it ends within its jump table")
        ends = np.frombuffer(data, "<u8")
        starts = np.concatenate([[np.uint64(header.data_offset)], ends[:-1]])
        longest = 2 * header.block_bytes + 64  # LZ4 makes nothing larger than that
        if np.any(ends < starts) or np.any(ends - starts > longest):
            raise _corrupt(self._path, "its jump table is damaged")
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


def _corrupt(path: Path, what: str) -> CorruptSliceError:
    return CorruptSliceError(
        f"“{show_path(path)}” is damaged: {what}. Copy the file again.",
        hint="Copy the file again.",
        path=show_path(path),
    )
