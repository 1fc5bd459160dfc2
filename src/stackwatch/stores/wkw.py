"""The WKW store: blocks are spooled as slabs come, each cube is put together when its last is in.

A cube's blocks lie in Morton order behind a table of where each one ends, so nothing of it can be
written in its place before all of it is there. Voxels are held for one slab only; what waits for
the end of a cube is compressed, and waits on the disk (`wkw_spool`).
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackwatch.model.geometry import Mag, Vec3
from stackwatch.model.options import Codec
from stackwatch.model.plan import LayerPlan
from stackwatch.model.voxels import Category
from stackwatch.readers.wkw_header import HEADER_FILE, BlockType, WkwHeader, cube_path
from stackwatch.stores.codecs import Encoded
from stackwatch.stores.cutting import BlockCutter, cut_chunks, has_voxels
from stackwatch.stores.protocol import Block, MagGrid, ShardRecord
from stackwatch.stores.sinks import Flusher
from stackwatch.stores.wkw_spool import CubeSpool

CUBE_EDGE = 1024


@dataclass(frozen=True, slots=True)
class WkwCodec:
    """How blocks are compressed.

    Attributes
    ----------
    block_type : BlockType
    level : int
        Of LZ4HC: 1 (fast) to 12 (small).
    """

    block_type: BlockType
    level: int = 0

    def encode(self, blocks: NDArray[np.uint8]) -> Encoded:
        """Return each block compressed; `blocks` has the shape (blocks, bytes)."""
        if self.block_type is BlockType.RAW:
            return [block.tobytes() for block in blocks]
        from imagecodecs import lz4_encode  # late: only WKW datasets pay

        if self.block_type is BlockType.LZ4:
            return [lz4_encode(block, header=False) for block in blocks]
        return [lz4_encode(block, level=self.level, hc=True, header=False) for block in blocks]


def choose_wkw_codec(category: Category, codec: Codec = "auto") -> WkwCodec:
    """Return the codec for a layer: the setting's, or by category.

    The table is the outcome of measurements (docs/performance.md): grey values shrink by LZ4HC
    hardly more than by LZ4, at a tenth of its speed; segmentations shrink to half of LZ4's size,
    and further levels cost more than they save.

    Parameters
    ----------
    category : Category
    codec : str
        One of `WKW_CODECS`: WKW knows LZ4 and nothing else.
    """
    if codec == "auto":
        codec = "lz4hc" if category is Category.SEGMENTATION else "lz4"
    return _NAMED[codec]


_NAMED: dict[Codec, WkwCodec] = {
    "none": WkwCodec(BlockType.RAW),
    "lz4": WkwCodec(BlockType.LZ4),
    "lz4hc": WkwCodec(BlockType.LZ4HC, 3),
    "lz4hc-9": WkwCodec(BlockType.LZ4HC, 9),
}


def wkw_grid(grid: MagGrid, cube_edge: int = CUBE_EDGE) -> MagGrid:
    """Return how a mag is cut into cubes: the edge asked for, or the least that holds the data.

    A cube stores all its blocks, empty ones too: 4.8 MB of nothing for a small picture.
    """
    edge = grid.chunk.x
    while edge < min(cube_edge, max(grid.size)):
        edge *= 2
    return MagGrid(grid.mag, grid.size, grid.chunk, Vec3(edge, edge, edge))


class WkwStore:
    """Writes one dataset's layers below `root`.

    Parameters
    ----------
    root : Path
        The (staging) directory of the dataset.
    scratch : Path
        Where encoded blocks wait for the rest of their cube; on the same disk.
    codecs : mapping of layer name to WkwCodec
    """

    def __init__(self, root: Path, scratch: Path, codecs: Mapping[str, WkwCodec]) -> None:
        self._root = root
        self._scratch = scratch
        self._codecs = codecs
        self._flusher = Flusher()
        self._writers: list[WkwMagWriter] = []

    def mag_writer(self, layer: LayerPlan, grid: MagGrid) -> "WkwMagWriter":
        """Return the writer of one mag of one layer."""
        path = self.mag_path(layer, grid.mag)
        codec = self._codecs[layer.name]
        places = CubePlaces(self._root, self._scratch / path, path.as_posix(), self._flusher)
        writer = WkwMagWriter(places, layer, grid, codec)
        self._writers.append(writer)
        return writer

    def describe_mag(self, layer: LayerPlan, grid: MagGrid) -> None:
        """Write the header of one mag, so that it can be read."""
        folder = self._root / self.mag_path(layer, grid.mag)
        folder.mkdir(parents=True, exist_ok=True)
        header = wkw_header(layer, grid, self._codecs[layer.name])
        (folder / HEADER_FILE).write_bytes(header.pack())

    def wait(self) -> None:
        """Return when every finished cube is on the disk; raise what went wrong there."""
        self._flusher.wait()

    @property
    def bytes_written(self) -> int:
        """Bytes of finished cubes, and of blocks that wait for theirs."""
        return sum(writer.bytes_written for writer in self._writers)

    def manifest(self) -> tuple[ShardRecord, ...]:
        """Return every cube written, sorted by path."""
        records = [record for writer in self._writers for record in writer.records]
        return tuple(sorted(records, key=lambda record: record.path))

    def close(self) -> None:
        """End the background threads after the last flush."""
        self._flusher.stop()

    def abort(self) -> None:
        """End the background threads; what was written is of no use any more."""
        self._flusher.stop()

    def mag_path(self, layer: LayerPlan, mag: Mag) -> Path:
        """Return the directory of one mag, relative to the dataset's root."""
        return Path(layer.name) / str(mag)


def wkw_header(layer: LayerPlan, grid: MagGrid, codec: WkwCodec) -> WkwHeader:
    """Return the header of a mag and of its cubes."""
    return WkwHeader(
        block_edge=grid.chunk.x,
        blocks_per_edge=grid.shard.x // grid.chunk.x,
        block_type=codec.block_type,
        dtype_name=layer.voxel_type.dtype_name,
        channels=layer.voxel_type.channels,
    )


@dataclass(frozen=True, slots=True)
class CubePlaces:
    """Where the cubes of one mag go.

    Attributes
    ----------
    root : Path
        The dataset's directory.
    scratch : Path
        Of this mag's spools.
    path : str
        The mag's directory below `root`.
    flusher : Flusher
    """

    root: Path
    scratch: Path
    path: str
    flusher: Flusher


class WkwMagWriter:
    """Writes one mag of one layer: cuts and encodes blocks, spools them, puts cubes together."""

    def __init__(
        self, places: CubePlaces, layer: LayerPlan, grid: MagGrid, codec: WkwCodec
    ) -> None:
        assert layer.size_t == 1, "WKW has no time: the plan refuses it"
        assert len({*grid.chunk}) == len({*grid.shard}) == 1, "blocks and cubes have one edge"
        self.records: list[ShardRecord] = []
        self.bytes_written = 0
        self._places = places
        self._grid = grid
        self._codec = codec
        self._header = wkw_header(layer, grid, codec)
        self._cutter = BlockCutter(grid, layer.voxel_type.bytes_per_voxel)
        self._spools: dict[tuple[int, int, int], CubeSpool] = {}
        self._lock = threading.Lock()
        self._scratch = threading.local()

    @property
    def grid(self) -> MagGrid:
        """How this mag is cut."""
        return self._grid

    def blocks(self, rows: tuple[int, int]) -> Sequence[Block]:
        """Return the blocks of the plane within `rows`."""
        return self._cutter.blocks(rows)

    def write_block(self, t: int, slab: int, block: Block, voxels: NDArray[Any]) -> None:
        """Encode one part of a slab and spool it; the last one of a cube completes the file."""
        assert t == 0
        chunk = self._grid.chunk
        blocks = cut_chunks(voxels, (chunk.z, chunk.y, chunk.x), self._scratch)
        filled = has_voxels(blocks)
        encoded = self._codec.encode(blocks if filled.all() else blocks[filled])
        spool = self._spool(slab, block)
        size = spool.append(self._numbers(slab, block)[filled], encoded)
        with self._lock:
            self.bytes_written += size
        if not spool.take_off(len(blocks)):
            return
        path = f"{self._places.path}/{cube_path(spool.cube_zyx)}"
        record = spool.assemble(self._places.root, path, self._empty_block(), self._places.flusher)
        with self._lock:
            del self._spools[spool.cube_zyx]
            if record is not None:
                self.records.append(record)
                self.bytes_written += record.bytes - spool.bytes

    def finish_slab(self, t: int, slab: int, rows: tuple[int, int], *, is_last: bool) -> None:
        """Do nothing: a cube is complete when its last block is in, whatever the order."""

    def _empty_block(self) -> bytes:
        zeros = np.zeros((1, self._header.block_bytes), np.uint8)
        return bytes(self._codec.encode(zeros)[0])

    def _numbers(self, slab: int, block: Block) -> NDArray[np.uint32]:
        """Return the number of each block of a part in the C order (z, y, x) of its cube."""
        grid, edge = self._grid, self._header.blocks_per_edge
        y0, x0 = block.y0 % grid.shard.y, block.x0 % grid.shard.x
        rows = np.arange(y0 // grid.chunk.y, -(-(y0 + block.y1 - block.y0) // grid.chunk.y))
        columns = np.arange(x0 // grid.chunk.x, -(-(x0 + block.x1 - block.x0) // grid.chunk.x))
        numbers = ((slab % edge) * edge + rows[:, None]) * edge + columns[None, :]
        return numbers.ravel().astype(np.uint32)

    def _blocks_of(self, cube_zyx: tuple[int, int, int]) -> int:
        """Return how many blocks of a cube lie within the data."""
        edge = self._header.blocks_per_edge
        x, y, z = self._grid.size.ceil_div(self._grid.chunk)
        return math.prod(
            min(edge, count - number * edge)
            for count, number in zip((z, y, x), cube_zyx, strict=True)
        )

    def _spool(self, slab: int, block: Block) -> CubeSpool:
        edge = self._header.blocks_per_edge
        cube_zyx = (slab // edge, block.shard_y, block.shard_x)
        with self._lock:
            spool = self._spools.get(cube_zyx)
            if spool is None:
                spool = CubeSpool(
                    self._places.scratch, cube_zyx, self._header, self._blocks_of(cube_zyx)
                )
                self._spools[cube_zyx] = spool
            return spool
