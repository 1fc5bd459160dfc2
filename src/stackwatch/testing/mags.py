"""Write a volume through a store as the engine would, and read it back with the judges.

The judges are zarr-python and tensorstore: neither has a part in writing shards.
"""

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackwatch.model.geometry import Vec3
from stackwatch.model.plan import LayerPlan
from stackwatch.stores.codecs import CodecSpec
from stackwatch.stores.protocol import Block, MagGrid, MagWriter, ShardRecord
from stackwatch.stores.zarr3 import Zarr3Store


@dataclass(frozen=True, slots=True)
class WriteOrder:
    """In which order and by how many threads the blocks of a slab are written.

    Attributes
    ----------
    seed : int
        Of the shuffling; the order differs from slab to slab.
    threads : int
    swath_rows : int or None
        Height of the swaths, a multiple of the shard; None writes the whole plane at once.
    """

    seed: int = 0
    threads: int = 1
    swath_rows: int | None = None


def write_mag(
    root: Path,
    layer: LayerPlan,
    grid: MagGrid,
    codec: CodecSpec,
    volumes: Sequence[NDArray[Any]],
    order: WriteOrder = WriteOrder(),
) -> tuple[ShardRecord, ...]:
    """Write one mag through `Zarr3Store`.

    Parameters
    ----------
    root : Path
        The dataset's directory.
    layer : LayerPlan
    grid : MagGrid
    codec : CodecSpec
    volumes : sequence of arrays, shape (z, y, x) or (z, y, x, c)
        One per timepoint, of the grid's size.
    order : WriteOrder

    Returns
    -------
    tuple of ShardRecord
        The manifest.
    """
    store = Zarr3Store(root, {layer.name: codec})
    try:
        writer = store.mag_writer(layer, grid)
        with ThreadPoolExecutor(order.threads) as pool:
            for t, volume in enumerate(volumes):
                _write_timepoint(writer, pool, t, volume, order)
        store.describe_mag(layer, grid)
        store.wait()
        return store.manifest()
    finally:
        store.abort()


def _write_timepoint(
    writer: MagWriter, pool: ThreadPoolExecutor, t: int, volume: NDArray[Any], order: WriteOrder
) -> None:
    size, depth = writer.grid.size, writer.grid.chunk.z
    step = order.swath_rows or size.y
    shuffler = random.Random(order.seed)  # noqa: S311 - an order, not a secret
    slabs = -(-size.z // depth)
    for top in range(0, size.y, step):
        rows = (top, min(top + step, size.y))
        for slab in range(slabs):
            voxels = volume[slab * depth : (slab + 1) * depth]
            blocks = list(writer.blocks(rows))
            shuffler.shuffle(blocks)

            def write(block: Block, voxels: NDArray[Any] = voxels, slab: int = slab) -> None:
                cut = voxels[:, block.y0 : block.y1, block.x0 : block.x1]
                writer.write_block(t, slab, block, cut)

            list(pool.map(write, blocks))
            writer.finish_slab(t, slab, rows, is_last=False)
        writer.finish_slab(t, slabs, rows, is_last=True)


def read_with_zarr(path: Path) -> NDArray[Any]:
    """Read a whole array with zarr-python, axes as stored: ([t,] c, x, y, z)."""
    import zarr

    return np.asarray(zarr.open_array(path, mode="r")[...])


def read_with_tensorstore(path: Path) -> NDArray[Any]:
    """Read a whole array with tensorstore, axes as stored: ([t,] c, x, y, z)."""
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    array = tensorstore.open(spec, read=True).result()
    return np.asarray(array.read().result())


def stored_axes(volumes: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return volumes (z, y, x[, c]), one per timepoint, with the axes of a stored array."""
    cxyz = [
        (volume if volume.ndim == 4 else volume[..., None]).transpose(3, 2, 1, 0)
        for volume in volumes
    ]
    return np.stack(cxyz) if len(cxyz) > 1 else cxyz[0]


def stored_files(root: Path) -> Mapping[str, bytes]:
    """Return the content of every file below a directory, by relative path."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def filled_chunks(volume: NDArray[Any], grid: MagGrid) -> dict[Vec3, set[Vec3]]:
    """Return for each shard with voxels which of its chunks hold any: the slow, obvious way.

    Parameters
    ----------
    volume : array, shape (z, y, x) or (z, y, x, c)
    grid : MagGrid

    Returns
    -------
    dict
        From the shard's place (x, y, z in shards) to the chunks' places (in chunks, within it).
    """
    found: dict[Vec3, set[Vec3]] = {}
    counts = grid.size.ceil_div(grid.chunk)
    per_shard = grid.shard.ceil_div(grid.chunk)
    for z, y, x in np.ndindex(counts.z, counts.y, counts.x):
        cut = volume[
            z * grid.chunk.z : (z + 1) * grid.chunk.z,
            y * grid.chunk.y : (y + 1) * grid.chunk.y,
            x * grid.chunk.x : (x + 1) * grid.chunk.x,
        ]
        if not np.ascontiguousarray(cut).view(np.uint8).any():
            continue
        shard = Vec3(x // per_shard.x, y // per_shard.y, z // per_shard.z)
        inside = Vec3(x % per_shard.x, y % per_shard.y, z % per_shard.z)
        found.setdefault(shard, set()).add(inside)
    return found
