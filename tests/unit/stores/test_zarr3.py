"""The Zarr3 store where things go wrong, and its accounts."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stackwatch.model.geometry import Mag, Vec3
from stackwatch.model.options import Codec
from stackwatch.model.plan import LayerPlan
from stackwatch.model.voxels import Category, VoxelType
from stackwatch.stores.codecs import choose_codec
from stackwatch.stores.protocol import MagGrid
from stackwatch.stores.zarr3 import Zarr3MagWriter, Zarr3Store
from stackwatch.testing.mags import stored_files, write_mag

SIZE = Vec3(64, 32, 32)
LAYER = LayerPlan("color", Category.COLOR, VoxelType("uint8"), SIZE)
TWO_SHARDS = MagGrid(Mag(1, 1, 1), SIZE, Vec3(16, 16, 16), Vec3(32, 32, 16))
ONES = np.ones((32, 32, 64), np.uint8)


def open_writer(store: Zarr3Store) -> Zarr3MagWriter:
    """Return a writer that has taken every block of the first slab, none of its shards closed."""
    writer = store.mag_writer(LAYER, TWO_SHARDS)
    for block in writer.blocks((0, SIZE.y)):
        writer.write_block(0, 0, block, ONES[:16, block.y0 : block.y1, block.x0 : block.x1])
    return writer


def store_at(root: Path) -> Zarr3Store:
    """Return a store that writes zstd."""
    return Zarr3Store(root, {"color": choose_codec(LAYER.voxel_type, LAYER.category)})


def test_a_disk_full_at_the_index_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room for a shard's index: the error comes out, and abort closes every shard."""
    store = store_at(tmp_path)
    writer = open_writer(store)

    def refuse(descriptor: int, views: list[memoryview]) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("stackwatch.stores.sinks.os.writev", refuse)
    with pytest.raises(OSError, match="No space left") as failed:
        writer.finish_slab(0, 0, (0, SIZE.y), is_last=False)
    store.abort()

    assert errno.ENOSPC == failed.value.errno


def test_a_failed_flush_is_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong when the disk is asked to keep a shard comes out of `wait`."""

    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("stackwatch.stores.sinks.os.fdatasync", refuse)
    store = store_at(tmp_path)
    open_writer(store).finish_slab(0, 0, (0, SIZE.y), is_last=False)
    with pytest.raises(OSError, match="Input/output error"):
        store.wait()
    store.abort()


def test_abort_closes_what_is_half_written(tmp_path: Path) -> None:
    """Shards that were begun are closed, without an index."""
    store = store_at(tmp_path)
    open_writer(store)
    store.abort()

    assert () == store.manifest()


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that takes a few bytes at a time gets all of them, in order."""
    codec = choose_codec(LAYER.voxel_type, LAYER.category)
    volume = np.random.default_rng(3).integers(0, 256, ONES.shape, np.uint8)
    write_mag(tmp_path / "whole", LAYER, TWO_SHARDS, codec, [volume])
    writev = os.writev

    def take_little(descriptor: int, views: list[memoryview]) -> int:
        return writev(descriptor, [views[0][:1000]])

    monkeypatch.setattr("stackwatch.stores.sinks.os.writev", take_little)
    write_mag(tmp_path / "little", LAYER, TWO_SHARDS, codec, [volume])

    assert stored_files(tmp_path / "whole") == stored_files(tmp_path / "little")


def test_a_shard_is_never_written_twice(tmp_path: Path) -> None:
    """A shard that exists already is an error, never overwritten."""
    store = store_at(tmp_path)
    open_writer(store).finish_slab(0, 0, (0, SIZE.y), is_last=False)
    store.wait()
    try:
        with pytest.raises(FileExistsError):
            open_writer(store)
    finally:
        store.abort()


def test_every_byte_of_the_shards_is_counted(tmp_path: Path) -> None:
    """`bytes_written` is what lies on the disk, indexes included."""
    store = store_at(tmp_path)
    open_writer(store).finish_slab(0, 0, (0, SIZE.y), is_last=False)
    store.wait()
    store.close()

    assert sum(len(data) for data in stored_files(tmp_path).values()) == store.bytes_written


@pytest.mark.parametrize("codec", ["none", "zstd-1", "zstd-5", "blosc", "gzip"])
@pytest.mark.parametrize("chunk", [Vec3(8, 8, 1), Vec3(32, 32, 1), Vec3(128, 128, 128)])
@pytest.mark.parametrize("dtype", ["uint8", "uint64"])
def test_an_empty_mag_is_no_file(tmp_path: Path, codec: Codec, chunk: Vec3, dtype: str) -> None:
    """All-zero chunks of the smallest and of large size are recognised behind every codec."""
    layer = LayerPlan("color", Category.COLOR, VoxelType(dtype), chunk)
    grid = MagGrid(Mag(1, 1, 1), chunk, chunk, chunk)
    spec = choose_codec(layer.voxel_type, layer.category, codec)
    volume = np.zeros((chunk.z, chunk.y, chunk.x), dtype)

    assert () == write_mag(tmp_path, layer, grid, spec, [volume])


def test_shards_are_opened_by_many_threads(tmp_path: Path) -> None:
    """Blocks of one shard that arrive all at once make one file."""
    size = Vec3(512, 512, 8)
    layer = LayerPlan("color", Category.COLOR, VoxelType("uint8"), size)
    grid = MagGrid(Mag(1, 1, 1), size, Vec3(8, 8, 8), Vec3(512, 512, 8))
    store = store_at(tmp_path)
    writer = store.mag_writer(layer, grid)
    blocks = writer.blocks((0, size.y))
    with ThreadPoolExecutor(8) as pool:
        ones = np.ones((8, 512, 512), np.uint8)
        list(
            pool.map(
                lambda b: writer.write_block(0, 0, b, ones[:, b.y0 : b.y1, b.x0 : b.x1]), blocks
            )
        )
    writer.finish_slab(0, 0, (0, size.y), is_last=False)
    store.wait()
    store.close()

    assert [64 * 64] == [record.chunks for record in store.manifest()]
