"""The Zarr3 store: shards encoded by us, metadata written by zarr-python.

Arrays have the axes c, x, y, z (with time: t, c, x, y, z) and the exact shape of the data. The
`transpose` codec reverses them, so a chunk on disk is a C-ordered (z, y, x, c) cut of a slab and
nothing is ever transposed. Chunks lie in a shard block by block, rows before columns: the order in
which they are cut, the same in every run; the index says where each one is.
"""

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackwatch.model.geometry import Mag
from stackwatch.model.plan import LayerPlan
from stackwatch.stores.codecs import CodecSpec, chunk_encoder
from stackwatch.stores.cutting import BlockCutter, cut_chunks, has_voxels
from stackwatch.stores.objects import Objects
from stackwatch.stores.protocol import Block, MagGrid, ShardRecord
from stackwatch.stores.shard_reader import ShardReader
from stackwatch.stores.shards import Shard, chunk_positions, shard_path
from stackwatch.stores.sinks import FileSink, Flusher, ObjectSink, OpenSink, ShardSink
from stackwatch.stores.zarr3_metadata import write_array

FLUSH_THREADS = 2
PUT_THREADS = 8
"""To close an object is a request or two that wait for a server."""
FRAME_BYTES = 128
EMPTY_RATIO = 64
"""Every codec shrinks zeros by more than this, but for the frame it puts around them: a chunk that
shrank less needs no second look."""


class Zarr3Store:
    """Writes one dataset's layers below `root`.

    Parameters
    ----------
    root : Path
        The (staging) directory of the dataset.
    codecs : mapping of layer name to CodecSpec
    workshop : Path or None
        A folder of this process alone where shards grow until they are whole, if another process
        may write the same ones. None: they grow in their places.
    objects : Objects or None
        Where shards go instead, if not below `root`.
    """

    def __init__(
        self,
        root: Path,
        codecs: dict[str, CodecSpec],
        workshop: Path | None = None,
        objects: Objects | None = None,
    ) -> None:
        self._root = root
        self._codecs = codecs
        self._workshop = workshop
        self._objects = objects
        self._adopted: list[ShardRecord] = []
        self._flusher = Flusher(FLUSH_THREADS if objects is None else PUT_THREADS)
        self._writers: list[Zarr3MagWriter] = []

    def mag_writer(self, layer: LayerPlan, grid: MagGrid) -> "Zarr3MagWriter":
        """Return the writer of one mag of one layer."""
        path = self.mag_path(layer, grid.mag).as_posix()
        codec = self._codecs[layer.name]
        writer = Zarr3MagWriter(path, layer, grid, codec, self._flusher, self._open_sink)
        self._writers.append(writer)
        return writer

    def _open_sink(self, path: str) -> ShardSink:
        if self._objects is not None:
            return ObjectSink(self._objects, path)
        return FileSink(self._root, path, self._workshop)

    def describe_mag(self, layer: LayerPlan, grid: MagGrid) -> None:
        """Write the metadata of one mag, so that it can be read."""
        path = self._root / self.mag_path(layer, grid.mag)
        path.mkdir(parents=True, exist_ok=True)
        write_array(path, layer, grid, self._codecs[layer.name])

    def wait(self) -> None:
        """Return when every closed shard is on the disk; raise what went wrong there."""
        self._flusher.wait()

    def mag_reader(self, layer: LayerPlan, grid: MagGrid) -> ShardReader:
        """Return the reader of a mag that is complete; call `wait` before."""
        path = self.mag_path(layer, grid.mag).as_posix()
        below = f"{path}/"
        records = {it.path: it for it in self.manifest() if it.path.startswith(below)}
        codec = self._codecs[layer.name]
        return ShardReader(path, grid, layer.voxel_type, codec, records, self._read_range)

    def _read_range(self, path: str, start: int, end: int) -> bytes:
        if self._objects is not None:
            return self._objects.read_range(path, start, end)
        with (self._root / path).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), end - start, start)

    @property
    def bytes_written(self) -> int:
        """Bytes appended so far."""
        adopted = sum(record.bytes for record in self._adopted)
        return adopted + sum(writer.bytes_written for writer in self._writers)

    def adopt(self, records: Iterable[ShardRecord]) -> None:
        """Take shards into the manifest that another process wrote below the same root."""
        self._adopted.extend(records)

    def manifest(self) -> tuple[ShardRecord, ...]:
        """Return every shard written, sorted by path."""
        records = [record for writer in self._writers for record in writer.records]
        return tuple(sorted([*records, *self._adopted], key=lambda record: record.path))

    def close(self) -> None:
        """End the background threads after the last flush."""
        self._flusher.stop()

    def abort(self) -> None:
        """Close every open file; what was written is of no use any more."""
        for writer in self._writers:
            writer.abort()
        self._flusher.stop()

    def mag_path(self, layer: LayerPlan, mag: Mag) -> Path:
        """Return the directory of one mag, relative to the dataset's root."""
        return Path(layer.name) / str(mag)


class Zarr3MagWriter:
    """Writes one mag of one layer: cuts blocks into chunks, encodes and appends them."""

    def __init__(
        self,
        path: str,
        layer: LayerPlan,
        grid: MagGrid,
        codec: CodecSpec,
        flusher: Flusher,
        open_sink: OpenSink,
    ) -> None:
        self.records: list[ShardRecord] = []
        self.bytes_written = 0
        self._path = path
        self._grid = grid
        self._has_time = layer.size_t > 1
        self._encode = chunk_encoder(codec)
        self._is_raw = codec.name == "none"
        self._flusher = flusher
        self._open_sink = open_sink
        self._open: dict[tuple[int, int, int, int], Shard] = {}
        self._closing: list[Future[None]] = []
        self._lock = threading.Lock()
        self._scratch = threading.local()
        self._slabs_per_shard = grid.shard.z // grid.chunk.z
        self._cutter = BlockCutter(grid, layer.voxel_type.bytes_per_voxel)

    @property
    def grid(self) -> MagGrid:
        """How this mag is cut."""
        return self._grid

    def blocks(self, rows: tuple[int, int]) -> Sequence[Block]:
        """Return the blocks of the plane within `rows`, in the order of their bytes."""
        return self._cutter.blocks(rows)

    def write_block(self, t: int, slab: int, block: Block, voxels: NDArray[Any]) -> None:
        """Encode one block and append it to its shard."""
        grid = self._grid
        chunk_zyx = (grid.chunk.z, grid.chunk.y, grid.chunk.x)
        chunks = cut_chunks(voxels, chunk_zyx, self._scratch)
        positions = self._positions(slab, block)
        encoded = self._encode(chunks)
        small = FRAME_BYTES + chunks.shape[1] // EMPTY_RATIO
        if self._is_raw or any(len(chunk) <= small for chunk in encoded):
            filled = has_voxels(chunks)
            positions = positions[filled]
            encoded = [encoded[number] for number in np.flatnonzero(filled).tolist()]
        shard = self._shard(t, slab, block)
        blocks_per_slab = self._cutter.count(block.shard_y, block.shard_x)
        order = (slab % self._slabs_per_shard) * blocks_per_slab + block.order
        written = shard.append(order, positions.tolist(), encoded)
        with self._lock:
            self.bytes_written += written

    def finish_slab(self, t: int, slab: int, rows: tuple[int, int], *, is_last: bool) -> None:
        """Close the shards of these rows that no later slab reaches.

        Waits for those of the slabs before, where they hold memory until they are away; raises what
        went wrong with them.
        """
        if not is_last and (slab + 1) % self._slabs_per_shard:
            return
        shard_rows = range(rows[0] // self._grid.shard.y, -(-rows[1] // self._grid.shard.y))
        with self._lock:
            done = [key for key in self._open if key[0] == t and key[2] in shard_rows]
        before, self._closing = self._closing, []
        for future in before:
            future.result()
        for key in done:
            shard = self._open[key]
            record = shard.finish(self._flusher)
            with self._lock:
                if shard.closing is not None:
                    self._closing.append(shard.closing)
                del self._open[key]  # not before: `abort` closes what could not be finished
                if record is not None:
                    self.records.append(record)
                    self.bytes_written += record.index_bytes

    def abort(self) -> None:
        """Close every open shard without finishing it."""
        with self._lock:
            for shard in self._open.values():
                shard.abort()
            self._open.clear()

    def _positions(self, slab: int, block: Block) -> NDArray[np.intp]:
        grid = self._grid
        y0, x0 = block.y0 % grid.shard.y, block.x0 % grid.shard.x
        rows = range(y0 // grid.chunk.y, -(-(y0 + block.y1 - block.y0) // grid.chunk.y))
        columns = range(x0 // grid.chunk.x, -(-(x0 + block.x1 - block.x0) // grid.chunk.x))
        return chunk_positions(grid, slab, rows, columns)

    def _shard(self, t: int, slab: int, block: Block) -> Shard:
        z = slab // self._slabs_per_shard
        key = (t, z, block.shard_y, block.shard_x)
        with self._lock:
            if key not in self._open:
                time = t if self._has_time else None
                path = shard_path(self._path, time, (z, block.shard_y, block.shard_x))
                grid = self._grid
                chunks = (
                    (grid.shard.x // grid.chunk.x)
                    * (grid.shard.y // grid.chunk.y)
                    * self._slabs_per_shard
                )
                self._open[key] = Shard(path, chunks, self._open_sink)
            return self._open[key]
