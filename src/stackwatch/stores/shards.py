"""Shard files: chunks are appended as they come, the index follows, then the disk keeps it.

Source of the format: Zarr's `sharding_indexed` codec, index at the end: for every chunk of the
shard in C order of the chunk grid a little-endian uint64 offset and length, all ones for an empty
chunk, then the crc32c of those bytes.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from stackwatch.stores.protocol import ShardRecord

WRITE_BATCH = 512
"""Buffers per system call; the kernel takes 1,024."""


class Flusher:
    """Asks the disk to keep finished shards, beside the work: write-back overlaps with encoding."""

    def __init__(self, threads: int = 2) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="flush")
        self._waiting: list[Future[None]] = []
        self._lock = threading.Lock()

    def close_durably(self, descriptor: int, then: Callable[[], None] | None = None) -> None:
        """Flush and close a file in the background, and do what is to be done `then`.

        `wait` raises what went wrong.
        """
        with self._lock:
            self._waiting.append(self._pool.submit(_sync_and_close, descriptor, then))

    def wait(self) -> None:
        """Return when everything handed in so far is on the disk."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.result()

    def stop(self) -> None:
        """End the threads; closes what was handed in."""
        self._pool.shutdown(wait=True)


def _sync_and_close(descriptor: int, then: Callable[[], None] | None) -> None:
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    if then is not None:
        then()


class ShardFile:
    """One shard being written. Blocks may arrive in any order; their bytes land in one order.

    Parameters
    ----------
    root : Path
        The dataset's directory.
    path : str
        The shard's path below it.
    chunks : int
        Chunks in the shard, empty ones included.
    workshop : Path or None
        A folder on the same file system where the file grows until it is whole, if somebody else
        may be writing the same shard. None: it grows in its place.
    """

    def __init__(self, root: Path, path: str, chunks: int, workshop: Path | None = None) -> None:
        self.path = path
        self._root = root
        self._is_elsewhere = workshop is not None
        self._file = root / path if workshop is None else workshop / path.replace("/", "~")
        self._index = np.full((chunks, 2), 0xFFFF_FFFF_FFFF_FFFF, "<u8")
        self._descriptor: int | None = None
        self._offset = 0
        self._crc = 0
        self._next_order = 0
        self._early: dict[int, tuple[Sequence[int], Sequence[Any]]] = {}
        self._lock = threading.Lock()

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
            if self._descriptor is None:
                return None
            index = self._index.tobytes()
            index += google_crc32c.value(index).to_bytes(4, "little")
            self._write_all([index])
            flusher.close_durably(self._descriptor, self._move if self._is_elsewhere else None)
            self._descriptor = None
            filled = int((self._index[:, 1] != 0xFFFF_FFFF_FFFF_FFFF).sum())
            return ShardRecord(self.path, self._offset, filled, len(self._index), self._crc)

    def abort(self) -> None:
        """Close the file without finishing it."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _move(self) -> None:
        """Put the file into its place; another process may have put the same one there."""
        place = self._root / self.path
        _make_folders(self._root, place.parent)
        self._file.rename(place)

    def _write(self, positions: Sequence[int], chunks: Sequence[Any]) -> None:
        if not positions:
            return
        lengths = np.fromiter((len(chunk) for chunk in chunks), np.uint64, len(positions))
        ends = np.cumsum(lengths) + np.uint64(self._offset)
        self._index[positions, 0] = ends - lengths
        self._index[positions, 1] = lengths
        self._write_all(list(chunks))

    def _write_all(self, buffers: list[Any]) -> None:
        if self._descriptor is None:
            if not self._is_elsewhere:
                _make_folders(self._root, self._file.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._file, flags, 0o666)
        for start in range(0, len(buffers), WRITE_BATCH):
            batch = buffers[start : start + WRITE_BATCH]
            for buffer in batch:
                self._crc = google_crc32c.extend(self._crc, buffer)
            self._offset += write_fully(self._descriptor, [memoryview(b) for b in batch])


def _make_folders(root: Path, folder: Path) -> None:
    """Create a folder below `root`, but not `root`: where it is gone, nobody wants the file."""
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError:
        if folder == root:
            raise
        _make_folders(root, folder.parent)
        folder.mkdir(exist_ok=True)


def write_fully(descriptor: int, views: list[memoryview]) -> int:
    """Write all views, however often the kernel takes only a part."""
    total = sum(view.nbytes for view in views)
    left = total
    while left:
        written = os.writev(descriptor, views)
        left -= written
        if left:
            views = _after(views, written)
    return total


def _after(views: list[memoryview], written: int) -> list[memoryview]:
    for number, view in enumerate(views):
        if written < view.nbytes:
            return [view[written:], *views[number + 1 :]]
        written -= view.nbytes
    return []
