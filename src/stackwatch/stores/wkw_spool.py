"""Encoded blocks of one cube, waiting on the disk until all are there; then the cube itself.

A spool is a file of our own: for each part of a slab the number of its blocks, the place and the
length of each, then their bytes. Nothing but a count stays in memory, so neither the number of
slices nor that of open cubes matters. Deterministic: the cube's bytes do not depend on the order in
which the parts came.
"""

import os
import struct
import threading
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Final

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from stackwatch.readers.wkw_header import BlockType, WkwHeader, morton_places
from stackwatch.stores.codecs import Encoded
from stackwatch.stores.protocol import ShardRecord
from stackwatch.stores.shards import WRITE_BATCH
from stackwatch.stores.sinks import Flusher, write_fully

_COUNT: Final = struct.Struct("<I")


class CubeSpool:
    """The blocks of one cube that are there already.

    Parameters
    ----------
    folder : Path
        Where the spool lies; made when it is needed.
    cube_zyx : (int, int, int)
    header : WkwHeader
    blocks : int
        How many make the cube complete, empty ones counted.
    """

    def __init__(
        self, folder: Path, cube_zyx: tuple[int, int, int], header: WkwHeader, blocks: int
    ) -> None:
        self.cube_zyx = cube_zyx
        self.bytes = 0
        self._path = folder / "{}-{}-{}.spool".format(*cube_zyx)
        self._header = header
        self._blocks_left = blocks
        self._lock = threading.Lock()

    def append(self, numbers: NDArray[np.uint32], encoded: Encoded) -> int:
        """Add the blocks of one part, empty ones left out; return their bytes.

        Parameters
        ----------
        numbers : array of uint32
            Place of each block in C order (z, y, x) of the cube.
        encoded : sequence of buffers
        """
        if not encoded:
            return 0
        lengths = np.fromiter((len(block) for block in encoded), "<u4", len(encoded))
        head = _COUNT.pack(len(encoded)) + numbers.astype("<u4").tobytes() + lengths.tobytes()
        total = int(lengths.sum())
        with self._lock:
            if not self.bytes:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            # opened for each part: a wide plane has more cubes than a process may have open files
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            try:
                pieces = [memoryview(piece) for piece in (head, *encoded)]
                for start in range(0, len(pieces), WRITE_BATCH):
                    write_fully(descriptor, pieces[start : start + WRITE_BATCH])
            finally:
                os.close(descriptor)
            self.bytes += total
        return total

    def take_off(self, blocks: int) -> bool:
        """Count blocks as done, empty ones too; return whether these were the last."""
        with self._lock:
            self._blocks_left -= blocks
            return self._blocks_left == 0

    def assemble(self, root: Path, path: str, empty: bytes, flusher: Flusher) -> ShardRecord | None:
        """Write the cube, hand it to the flusher, and remove the spool.

        Parameters
        ----------
        root : Path
            The dataset's directory.
        path : str
            The cube's path below it.
        empty : bytes
            What a block of zeros is compressed to.
        flusher : Flusher

        Returns
        -------
        ShardRecord or None
            None if every block is empty: a cube that is not there holds zeros.
        """
        if not self.bytes:
            return None
        header = self._header
        spool = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            starts, lengths = self._find_blocks(spool)
            sizes = np.where(lengths == 0, len(empty), lengths).astype(np.uint64)
            ends = np.cumsum(sizes, dtype=np.uint64) + np.uint64(header.first_block)
            head = header.pack(header.first_block)
            if header.block_type is not BlockType.RAW:
                head += ends.astype("<u8").tobytes()
            blocks = (
                os.pread(spool, length, start) if length else empty
                for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
            )
            crc = _write_durably(root / path, chain([head], blocks), flusher)
        finally:
            os.close(spool)
        self._path.unlink()
        filled = int(np.count_nonzero(lengths))
        return ShardRecord(path, int(ends[-1]), filled, header.blocks, crc)

    def _find_blocks(self, spool: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where each block of the cube begins and how long it is, in Morton order."""
        header = self._header
        starts = np.zeros(header.blocks, np.int64)
        lengths = np.zeros(header.blocks, np.int64)
        places = morton_places(header.blocks_per_edge).reshape(-1)
        for numbers, sizes, first in _iter_parts(spool):
            ends = np.cumsum(sizes) + first
            morton = places[numbers]
            starts[morton] = ends - sizes
            lengths[morton] = sizes
        return starts, lengths


def _iter_parts(spool: int) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.int64], int]]:
    """Yield places, lengths and the offset of the first byte of each part."""
    offset = 0
    while head := os.pread(spool, _COUNT.size, offset):
        (count,) = _COUNT.unpack(head)
        table = np.frombuffer(os.pread(spool, 8 * count, offset + _COUNT.size), "<u4")
        first = offset + _COUNT.size + 8 * count
        sizes = table[count:].astype(np.int64)
        yield table[:count], sizes, first
        offset = first + int(sizes.sum())


def _write_durably(file: Path, pieces: Iterator[bytes], flusher: Flusher) -> int:
    """Write a new file a few blocks at a time, have it flushed, and return its checksum."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    crc = 0
    try:
        while batch := list(islice(pieces, WRITE_BATCH)):
            for piece in batch:
                crc = google_crc32c.extend(crc, piece)
            write_fully(descriptor, [memoryview(piece) for piece in batch])
    except BaseException:
        os.close(descriptor)
        raise
    flusher.close_durably(descriptor)
    return crc
