"""WKW, the older store of WEBKNOSSOS: its header, and the order of blocks.

A mag is a directory with `header.wkw` and files `z{Z}/y{Y}/x{X}.wkw`, each a cube of blocks. A
block holds its voxels x fastest, then y, then z, the channels of a voxel side by side; the blocks
of a file follow one another in Morton order (x in the lowest bit, then y, then z), each compressed
by itself. A file that does not exist holds zeros.

Source: the README of webknossos-wrap, which defines the format.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path

HEADER_FILE: Final = "header.wkw"
HEADER_BYTES: Final = 16
_HEADER: Final = struct.Struct("<3sBBBBBQ")
_MAGIC: Final = b"WKW"
_VERSION: Final = 1
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
        raise damaged_wkw(path, "it does not begin with a WKW header")
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
        raise damaged_wkw(path, f"voxels of {voxel_bytes} bytes cannot hold {dtype_name} values")
    found = WkwHeader(
        block_edge=1 << (edges & 15),
        blocks_per_edge=1 << (edges >> 4),
        block_type=BlockType(kind),
        dtype_name=dtype_name,
        channels=voxel_bytes // itemsize,
        data_offset=data_offset,
    )
    if found.blocks > _MOST_BLOCKS or found.block_bytes > _LARGEST_BLOCK:
        raise damaged_wkw(
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


def cube_path(cube_zyx: tuple[int, int, int]) -> str:
    """Return the path of a file below its mag's directory."""
    return "z{}/y{}/x{}.wkw".format(*cube_zyx)


def damaged_wkw(path: Path, what: str) -> CorruptSliceError:
    """Return the error of a damaged file."""
    return CorruptSliceError(
        f"“{show_path(path)}” is damaged: {what}. Copy the file again.",
        hint="Copy the file again.",
        path=show_path(path),
    )
