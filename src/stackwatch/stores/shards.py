"""Shards: chunks are appended as they come, the index follows.

Source of the format: Zarr's `sharding_indexed` codec, index at the end: for every chunk of the
shard in C order of the chunk grid a little-endian uint64 offset and length, all ones for an empty
chunk, then the crc32c of those bytes.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Final

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from stackwatch.stores.protocol import MagGrid, ShardRecord
from stackwatch.stores.sinks import Flusher, OpenSink, ShardSink

WRITE_BATCH = 512
"""Buffers per system call; the kernel takes 1,024."""
EMPTY: Final = 0xFFFF_FFFF_FFFF_FFFF
"""Offset and length of a chunk that is not stored."""


def shard_path(mag_path: str, t: int | None, shard_zyx: tuple[int, int, int]) -> str:
    """Return the path of a shard below the dataset's root.

    Parameters
    ----------
    mag_path : str
    t : int or None
        None for a layer without time.
    shard_zyx : (int, int, int)
        Counted in shards.
    """
    z, y, x = shard_zyx
    time = "" if t is None else f"{t}/"
    return f"{mag_path}/c/{time}0/{x}/{y}/{z}"


def chunk_positions(
    grid: MagGrid, slab: int, rows: Sequence[int], columns: Sequence[int]
) -> NDArray[np.intp]:
    """Return the places of chunks in C order (x, y, z) of their shard's grid, row by row.

    Parameters
    ----------
    grid : MagGrid
    slab : int
        Index along z, of the whole mag.
    rows, columns : sequence of int
        Of chunks, counted within the shard.
    """
    chunks_y, chunks_z = grid.shard.y // grid.chunk.y, grid.shard.z // grid.chunk.z
    places = np.asarray(columns, np.intp)[None, :] * chunks_y + np.asarray(rows, np.intp)[:, None]
    found: NDArray[np.intp] = (places * chunks_z + slab % chunks_z).ravel()
    return found


class Shard:
    """One shard being written. Blocks may arrive in any order; their bytes land in one order.

    Parameters
    ----------
    path : str
        The shard's path below the dataset's root.
    chunks : int
        Chunks in the shard, empty ones included.
    open_sink : callable
        Begins it, when its first bytes come.
    """

    def __init__(self, path: str, chunks: int, open_sink: OpenSink) -> None:
        self.path = path
        self._open_sink = open_sink
        self._index = np.full((chunks, 2), EMPTY, "<u8")
        self._sink: ShardSink | None = None
        self._offset = 0
        self._crc = 0
        self._next_order = 0
        self._early: dict[int, tuple[Sequence[int], Sequence[Any]]] = {}
        self._lock = threading.Lock()
        self.closing: Future[None] | None = None
        """Once it is finished: what to wait for, if it holds memory until then."""

    def append(self, order: int, positions: Sequence[int], chunks: Sequence[Any]) -> int:
        """Append the chunks of one block, or keep them until the blocks before have come.

        Parameters
        ----------
        order : int
            The block's place in the shard, counted from 0 without gaps.
        positions : sequence of int
            For each chunk its index in C order of the shard's chunk grid.
        chunks : sequence of buffers

        Returns
        -------
        int
            Bytes written by this call.
        """
        with self._lock:
            self._early[order] = (positions, chunks)
            before = self._offset
            while self._next_order in self._early:
                self._write(*self._early.pop(self._next_order))
                self._next_order += 1
            return self._offset - before

    def finish(self, flusher: Flusher) -> ShardRecord | None:
        """Write the index and hand the file to the flusher; None if every chunk was empty."""
        with self._lock:
            assert not self._early, f"{self.path}: block {self._next_order} never came"
            if self._sink is None:
                return None
            index = self._index.tobytes()
            index += google_crc32c.value(index).to_bytes(4, "little")
            self._write_all([index])
            self.closing = self._sink.finish(flusher)
            self._sink = None
            filled = int((self._index[:, 1] != EMPTY).sum())
            return ShardRecord(self.path, self._offset, filled, len(self._index), self._crc)

    def abort(self) -> None:
        """Let go of it without finishing it."""
        with self._lock:
            if self._sink is not None:
                self._sink.abort()
                self._sink = None

    def _write(self, positions: Sequence[int], chunks: Sequence[Any]) -> None:
        if not positions:
            return
        lengths = np.fromiter((len(chunk) for chunk in chunks), np.uint64, len(positions))
        ends = np.cumsum(lengths) + np.uint64(self._offset)
        self._index[positions, 0] = ends - lengths
        self._index[positions, 1] = lengths
        self._write_all(list(chunks))

    def _write_all(self, buffers: list[Any]) -> None:
        if self._sink is None:
            self._sink = self._open_sink(self.path)
        for start in range(0, len(buffers), WRITE_BATCH):
            batch = buffers[start : start + WRITE_BATCH]
            for buffer in batch:
                self._crc = google_crc32c.extend(self._crc, buffer)
            self._offset += self._sink.write(batch)
