"""Read back what was written: slabs of a mag out of its shards, as fast as they were made.

For the passes that make coarse mags from the last one in the store. The judges of the verification
read by other people's code; this is ours, and knows from the manifest which shards there must be:
one that is gone is an error here, not zeros.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import VerificationError
from stackwatch.model.voxels import VoxelType
from stackwatch.stores.codecs import CodecSpec, chunk_decoder
from stackwatch.stores.protocol import MagGrid, ShardRecord
from stackwatch.stores.shards import EMPTY, chunk_positions, shard_path

ReadRange = Callable[[str, int, int], bytes]
"""Returns the bytes of a shard from `start` to `end`, fewer where it is shorter.

Raises
------
FileNotFoundError
    There is no such shard.
"""
GAP_BYTES = 1 << 16
"""What lies between two chunks is read along with them up to this length: one request the less."""


class ShardReader:
    """Reads one mag of one layer. One thread at a time.

    Parameters
    ----------
    mag_path : str
        Of the mag below the dataset's root.
    grid : MagGrid
    voxel_type : VoxelType
    codec : CodecSpec
    records : mapping of path to ShardRecord
        Every shard of the mag that holds anything.
    read : ReadRange
    """

    def __init__(
        self,
        mag_path: str,
        grid: MagGrid,
        voxel_type: VoxelType,
        codec: CodecSpec,
        records: Mapping[str, ShardRecord],
        read: ReadRange,
    ) -> None:
        self._mag_path = mag_path
        self._grid = grid
        self._dtype = voxel_type.dtype
        self._channels = () if voxel_type.channels == 1 else (voxel_type.channels,)
        self._decode = chunk_decoder(codec)
        self._records = records
        self._read = read

    def read_slab(self, t: int | None, slab: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return rows of a slab.

        Parameters
        ----------
        t : int or None
            None for a layer without time.
        slab : int
            Index along z.
        rows : (int, int)
            Begins with a chunk, ends with one or with the plane.

        Returns
        -------
        array, shape (z, y, x) or (z, y, x, c)

        Raises
        ------
        VerificationError
            A shard is not what was written.
        """
        grid = self._grid
        depth = min(grid.chunk.z, grid.size.z - slab * grid.chunk.z)
        shape = (depth, rows[1] - rows[0], grid.size.x, *self._channels)
        voxels = np.zeros(shape, self._dtype)
        z = slab * grid.chunk.z // grid.shard.z
        for shard_y in range(rows[0] // grid.shard.y, -(-rows[1] // grid.shard.y)):
            top = max(rows[0], shard_y * grid.shard.y)
            bottom = min(rows[1], (shard_y + 1) * grid.shard.y)
            for shard_x in range(-(-grid.size.x // grid.shard.x)):
                record = self._records.get(shard_path(self._mag_path, t, (z, shard_y, shard_x)))
                if record is None:
                    continue
                left = shard_x * grid.shard.x
                part = voxels[:, top - rows[0] : bottom - rows[0], left : left + grid.shard.x]
                try:
                    self._fill(part, record, slab, top % grid.shard.y)
                except (FileNotFoundError, ValueError) as error:
                    raise _not_as_written(record, error) from error
        return voxels

    def _fill(self, part: NDArray[Any], record: ShardRecord, slab: int, top: int) -> None:
        """Decode chunks into a part of a slab that lies in one shard, from row `top` of it."""
        chunk = self._grid.chunk
        rows = range(top // chunk.y, -(-(top + part.shape[1]) // chunk.y))
        columns = range(-(-part.shape[2] // chunk.x))
        positions = chunk_positions(self._grid, slab, rows, columns)
        index = self._index(record)[positions]
        corners = [(y * chunk.y - top, x * chunk.x) for y in rows for x in columns]
        for place, encoded in self._chunks(record, index):
            y, x = corners[place]
            out = part[:, y : y + chunk.y, x : x + chunk.x]
            decoded = np.frombuffer(self._decode(encoded), self._dtype)
            whole = decoded.reshape(chunk.z, chunk.y, chunk.x, *self._channels)
            out[...] = whole[: out.shape[0], : out.shape[1], : out.shape[2]]

    def _index(self, record: ShardRecord) -> NDArray[np.uint64]:
        data = self._read(record.path, record.bytes - record.index_bytes, record.bytes)
        entries, crc = data[:-4], data[-4:]
        if len(data) != record.index_bytes or google_crc32c.value(entries) != int.from_bytes(
            crc, "little"
        ):
            raise ValueError("its index is damaged")
        return np.frombuffer(entries, "<u8").reshape(-1, 2)

    def _chunks(
        self, record: ShardRecord, index: NDArray[np.uint64]
    ) -> Iterator[tuple[int, memoryview]]:
        """Yield encoded chunks with their places in the index, in the order of their bytes."""
        filled = np.flatnonzero(index[:, 0] != EMPTY)
        wanted = [(int(index[place, 0]), int(index[place, 1]), int(place)) for place in filled]
        run: list[tuple[int, int, int]] = []
        for entry in sorted(wanted):
            if run and entry[0] > run[-1][0] + run[-1][1] + GAP_BYTES:
                yield from self._run(record, run)
                run = []
            run.append(entry)
        if run:
            yield from self._run(record, run)

    def _run(
        self, record: ShardRecord, run: list[tuple[int, int, int]]
    ) -> Iterator[tuple[int, memoryview]]:
        start, end = run[0][0], run[-1][0] + run[-1][1]
        data = memoryview(self._read(record.path, start, end))
        if len(data) != end - start:
            raise ValueError(f"it ends before byte {end}")
        for offset, length, place in run:
            yield place, data[offset - start : offset - start + length]


def _not_as_written(record: ShardRecord, error: Exception) -> VerificationError:
    hint = "Look at the disk of the target and at who else writes there; it is tried again."
    reason = "it is gone" if isinstance(error, FileNotFoundError) else str(error)
    return VerificationError(
        f"The shard “{record.path}” is not what was written: {reason}. {hint}",
        hint=hint,
        path=record.path,
    )
