"""Cut the plane of a slab into blocks for the threads, and blocks into chunks for the codecs."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackwatch.stores.protocol import Block, MagGrid

BLOCK_BYTES = 2 * 1024 * 1024
"""Voxels encoded by one call, about: large enough to forget Python, small enough for the cache."""


class BlockCutter:
    """Divides the plane of one mag into blocks, none of which reaches over a shard's edge.

    Parameters
    ----------
    grid : MagGrid
    bytes_per_voxel : int
    """

    def __init__(self, grid: MagGrid, bytes_per_voxel: int) -> None:
        self._grid = grid
        self.rows, self.columns = _block_shape(grid, bytes_per_voxel)

    def blocks(self, rows: tuple[int, int]) -> list[Block]:
        """Return the blocks within `rows` of the plane, which begin and end with a chunk.

        Rows of the plane come first, so that readers and writers move down the slab together.
        """
        grid = self._grid
        found = []
        for shard_y in range(rows[0] // grid.shard.y, -(-rows[1] // grid.shard.y)):
            for shard_x in range(-(-grid.size.x // grid.shard.x)):
                found += self._shard_blocks(shard_y, shard_x, rows)
        return sorted(found, key=lambda block: (block.y0, block.x0))

    def count(self, shard_y: int, shard_x: int) -> int:
        """Return the number of blocks that a shard has in one slab."""
        grid = self._grid
        height = min(grid.shard.y, grid.size.y - shard_y * grid.shard.y)
        width = min(grid.shard.x, grid.size.x - shard_x * grid.shard.x)
        return -(-height // self.rows) * -(-width // self.columns)

    def _shard_blocks(self, shard_y: int, shard_x: int, rows: tuple[int, int]) -> list[Block]:
        grid = self._grid
        left = shard_x * grid.shard.x
        right = min(left + grid.shard.x, grid.size.x)
        top = max(shard_y * grid.shard.y, rows[0])
        bottom = min((shard_y + 1) * grid.shard.y, grid.size.y, rows[1])
        corners = [
            (y, x) for y in range(top, bottom, self.rows) for x in range(left, right, self.columns)
        ]
        return [
            Block(
                y, min(y + self.rows, bottom), x, min(x + self.columns, right),
                shard_y, shard_x, order,
            )
            for order, (y, x) in enumerate(corners)
        ]  # fmt: skip


def _block_shape(grid: MagGrid, bytes_per_voxel: int) -> tuple[int, int]:
    """Return rows and columns of a block: multiples of the chunk, within a shard.

    Wide before high: the longer the rows, the quicker they are halved.
    """
    rows = grid.chunk.y
    column_bytes = rows * grid.chunk.z * bytes_per_voxel
    columns = max(grid.chunk.x, BLOCK_BYTES // column_bytes // grid.chunk.x * grid.chunk.x)
    columns = min(columns, grid.shard.x)
    while 2 * rows // grid.chunk.y * column_bytes * columns <= BLOCK_BYTES:
        if grid.shard.y % (2 * rows):
            break
        rows *= 2
    return rows, columns


def cut_chunks(
    voxels: NDArray[Any], chunk_zyx: tuple[int, int, int], scratch: threading.local
) -> NDArray[np.uint8]:
    """Cut a block into chunks, each contiguous; edges are filled up with zeros.

    Parameters
    ----------
    voxels : array, shape (z, y, x) or (z, y, x, c)
        z at most the chunk's; x and c contiguous.
    chunk_zyx : (int, int, int)
    scratch : threading.local
        Keeps each thread's memory for the next block: fresh memory costs a page fault every 4 KiB.

    Returns
    -------
    array, shape (chunks, bytes), uint8
        Rows of chunks from the top, each from the left. Valid until the thread's next call.
    """
    depth, height, width = chunk_zyx
    rows, columns = -(-voxels.shape[1] // height), -(-voxels.shape[2] // width)
    padded_shape = (depth, rows * height, columns * width)
    if voxels.shape[:3] != padded_shape:
        padded = np.zeros(padded_shape + voxels.shape[3:], voxels.dtype)
        padded[: voxels.shape[0], : voxels.shape[1], : voxels.shape[2]] = voxels
        voxels = padded
    # A chunk's row moves as one item: twice as fast as voxel by voxel.
    row_bytes = width * int(np.prod(voxels.shape[3:], dtype=int)) * voxels.itemsize
    flat = voxels.reshape(*voxels.shape[:2], -1).view(np.dtype((np.void, row_bytes)))
    cut = flat.reshape(depth, rows, height, columns).transpose(1, 3, 0, 2)
    buffer = getattr(scratch, "buffer", None)
    if buffer is None or buffer.size < cut.size * row_bytes:
        buffer = scratch.buffer = np.empty(cut.size * row_bytes, np.uint8)
    chunks = buffer[: cut.size * row_bytes]
    np.copyto(chunks.view(cut.dtype).reshape(cut.shape), cut)
    return chunks.reshape(rows * columns, -1)


def has_voxels(chunks: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell for each chunk whether any byte of it is not zero."""
    words = chunks.view(np.uint64) if chunks.shape[1] % 8 == 0 else chunks
    found: NDArray[np.bool_] = np.any(words, axis=1)
    return found
