"""Whatever the Zarr3 store writes, zarr-python and tensorstore read voxel for voxel."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stackwatch.errors import VerificationError
from stackwatch.model.geometry import Mag, Vec3
from stackwatch.model.options import Codec
from stackwatch.model.plan import LayerPlan
from stackwatch.model.voxels import Category, VoxelType
from stackwatch.stores.codecs import CodecSpec, choose_codec
from stackwatch.stores.protocol import MagGrid
from stackwatch.stores.shard_reader import ShardReader
from stackwatch.stores.zarr3 import Zarr3Store
from stackwatch.testing.mags import (
    WriteOrder,
    filled_chunks,
    read_with_tensorstore,
    read_with_zarr,
    stored_axes,
    stored_files,
    write_mag,
)

DTYPES = (
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32",
)  # fmt: skip
CODECS: tuple[Codec, ...] = (
    "auto", "none", "zstd", "zstd-1", "zstd-3", "zstd-5", "blosc", "gzip",
)  # fmt: skip
EMPTY = 0xFFFF_FFFF_FFFF_FFFF
IN_ORDER = WriteOrder()
HALF = settings(max_examples=settings().max_examples // 2)
QUARTER = settings(max_examples=settings().max_examples // 4)


@dataclass(frozen=True)
class Written:
    """A mag as it is to be written."""

    layer: LayerPlan
    grid: MagGrid
    codec: CodecSpec
    volumes: tuple[NDArray[Any], ...]

    @property
    def path(self) -> str:
        """The array's directory below the dataset."""
        return f"{self.layer.name}/{self.grid.mag}"


def describe(
    size: Vec3,
    *,
    dtype: str = "uint8",
    channels: int = 1,
    timepoints: int = 1,
    chunk: int = 32,
    shard: Vec3 | None = None,
    codec: Codec = "auto",
    filled: float = 1.0,
    seed: int = 0,
) -> Written:
    """Return a mag of random voxels, of which about `filled` of the chunks hold any."""
    depth = 1 if size.z == 1 else chunk
    chunk_xyz = Vec3(chunk, chunk, depth)
    voxel_type = VoxelType(dtype, channels)
    layer = LayerPlan("color", Category.COLOR, voxel_type, size, timepoints)
    limit = shard or Vec3(4096, 4096, depth)
    whole = size.ceil_div(chunk_xyz)
    edges = (
        max(edge, min(most, count * edge))
        for most, count, edge in zip(limit, whole, chunk_xyz, strict=True)
    )
    grid = MagGrid(Mag(1, 1, 1), size, chunk_xyz, Vec3(*edges))
    spec = choose_codec(voxel_type, Category.COLOR, codec)
    rng = np.random.default_rng(seed)
    volumes = tuple(_volume(rng, layer, grid, filled) for _ in range(timepoints))
    return Written(layer, grid, spec, volumes)


def _volume(
    rng: np.random.Generator, layer: LayerPlan, grid: MagGrid, filled: float
) -> NDArray[Any]:
    size, chunk = grid.size, grid.chunk
    shape: tuple[int, ...] = (size.z, size.y, size.x)
    if layer.voxel_type.channels > 1:
        shape += (layer.voxel_type.channels,)
    dtype = layer.voxel_type.dtype
    count = int(np.prod(shape)) * dtype.itemsize
    volume = np.frombuffer(rng.bytes(count), dtype).reshape(shape).copy()
    if dtype.kind == "f":  # bits of NaN may differ without meaning anything
        volume[np.isnan(volume)] = 1.5
    counts = size.ceil_div(chunk)
    for z, y, x in np.ndindex(counts.z, counts.y, counts.x):
        if rng.random() >= filled:
            volume[
                z * chunk.z : (z + 1) * chunk.z,
                y * chunk.y : (y + 1) * chunk.y,
                x * chunk.x : (x + 1) * chunk.x,
            ] = 0
    return volume


@contextmanager
def written(mag: Written, order: WriteOrder = IN_ORDER) -> Iterator[Path]:
    """Write a mag into a folder of its own, and check its manifest against the disk."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        manifest = write_mag(root, mag.layer, mag.grid, mag.codec, mag.volumes, order)
        shards = {path: data for path, data in stored_files(root).items() if "/c/" in path}
        recorded = {r.path: (r.bytes, r.crc32c) for r in manifest}
        assert {p: (len(d), google_crc32c.value(d)) for p, d in shards.items()} == recorded
        yield root


@st.composite
def mags(draw: st.DrawFn) -> Written:
    """Return mags of every type, codec, cut and odd size."""
    chunk = draw(st.sampled_from([8, 16, 32, 64]))
    side = st.integers(1, 80 if chunk < 32 else 140)
    size = Vec3(draw(side), draw(side), draw(st.just(1) | st.integers(1, 70)))
    multiple = st.integers(1, 3)
    shard = Vec3(chunk * draw(multiple), chunk * draw(multiple), chunk * draw(multiple))
    is_rgb = draw(st.integers(0, 4)) == 0
    return describe(
        size,
        dtype="uint8" if is_rgb else draw(st.sampled_from(DTYPES)),
        channels=3 if is_rgb else 1,
        timepoints=draw(st.sampled_from([1, 1, 1, 2, 3])),
        chunk=chunk,
        shard=draw(st.none() | st.just(shard)),
        codec=draw(st.sampled_from(CODECS)),
        filled=draw(st.sampled_from([0.0, 0.2, 0.7, 1.0])),
        seed=draw(st.integers(0, 2**32)),
    )


orders = st.builds(WriteOrder, st.integers(0, 2**32), st.sampled_from([1, 2, 4]))


@HALF
@given(mag=mags(), order=orders)
def test_both_judges_read_what_was_written(mag: Written, order: WriteOrder) -> None:
    """Any type, codec, size and cut, blocks written in any order: read back equal, twice."""
    expected = stored_axes(mag.volumes)
    with written(mag, order) as root:
        by_zarr = read_with_zarr(root / mag.path)
        by_tensorstore = read_with_tensorstore(root / mag.path)

    assert expected.dtype == by_zarr.dtype == by_tensorstore.dtype
    np.testing.assert_array_equal(expected, by_zarr)
    np.testing.assert_array_equal(expected, by_tensorstore)


@HALF
@given(mag=mags(), rows_of_chunks=st.integers(1, 4))
def test_our_own_reader_reads_what_was_written(mag: Written, rows_of_chunks: int) -> None:
    """Slab by slab, whole or in bands of rows that end anywhere in a shard: read back equal."""
    size, chunk = mag.grid.size, mag.grid.chunk
    step = rows_of_chunks * chunk.y
    with tempfile.TemporaryDirectory() as folder:
        reader = reader_of(mag, Path(folder))
        for t, volume in enumerate(mag.volumes):
            time = t if len(mag.volumes) > 1 else None
            for slab in range(-(-size.z // chunk.z)):
                expected = volume[slab * chunk.z : (slab + 1) * chunk.z]
                bands = [
                    reader.read_slab(time, slab, (top, min(top + step, size.y)))
                    for top in range(0, size.y, step)
                ]
                np.testing.assert_array_equal(expected, np.concatenate(bands, axis=1))


@pytest.mark.parametrize("harm", ["flip", "index", "cut", "gone"])
@pytest.mark.parametrize("codec", ["zstd-3", "gzip", "blosc"])
def test_our_own_reader_notices_damage(codec: Codec, harm: str, tmp_path: Path) -> None:
    """A shard that is damaged, cut or gone is an error that names it; never zeros."""
    mag = describe(Vec3(40, 40, 20), dtype="uint16", chunk=8, shard=Vec3(16, 16, 8), codec=codec)
    reader = reader_of(mag, tmp_path)
    shard = f"{mag.path}/c/0/1/0/1"
    data = bytearray((tmp_path / shard).read_bytes())
    first = 1 if codec != "blosc" else 12  # the lengths in blosc's header; it has no checksum
    if harm in ("flip", "index"):
        data[first if harm == "flip" else -10] ^= 0x40
    elif harm == "cut":
        del data[len(data) // 2 :]
    (tmp_path / shard).write_bytes(data)
    if harm == "gone":
        (tmp_path / shard).unlink()

    reader.read_slab(None, 0, (0, 40))
    with pytest.raises(VerificationError, match=re.escape(shard)):
        reader.read_slab(None, 1, (0, 40))


def reader_of(mag: Written, root: Path) -> ShardReader:
    """Write a mag and return a reader of it."""
    manifest = write_mag(root, mag.layer, mag.grid, mag.codec, mag.volumes)
    store = Zarr3Store(root, {mag.layer.name: mag.codec})
    store.adopt(manifest)
    store.close()
    return store.mag_reader(mag.layer, mag.grid)


@HALF
@given(mag=mags(), order=orders)
def test_empty_chunks_are_not_stored(mag: Written, order: WriteOrder) -> None:
    """The index names exactly the chunks that hold voxels; a shard without any is no file."""
    expected = {}
    for t, volume in enumerate(mag.volumes):
        time = f"{t}/" if len(mag.volumes) > 1 else ""
        for shard, chunks in filled_chunks(volume, mag.grid).items():
            expected[f"{mag.path}/c/{time}0/{shard.x}/{shard.y}/{shard.z}"] = chunks
    with written(mag, order) as root:
        shards = {path: data for path, data in stored_files(root).items() if "/c/" in path}

    assert expected == {path: chunks_in(data, mag.grid) for path, data in shards.items()}


def chunks_in(shard: bytes, grid: MagGrid) -> set[Vec3]:
    """Return the places of the filled chunks a shard's index names; its bytes hold no gap."""
    per_shard = grid.shard.ceil_div(grid.chunk)
    index = shard[-(per_shard.volume * 16 + 4) :]
    assert google_crc32c.value(index[:-4]).to_bytes(4, "little") == index[-4:]
    entries = np.frombuffer(index[:-4], "<u8").reshape(per_shard.x, per_shard.y, per_shard.z, 2)
    places = {
        Vec3(x, y, z): tuple(int(n) for n in entries[x, y, z])
        for x, y, z in np.ndindex(per_shard.x, per_shard.y, per_shard.z)
        if int(entries[x, y, z, 0]) != EMPTY
    }
    position = 0
    for offset, length in sorted(places.values()):
        assert position == offset
        position = offset + length
    assert position == len(shard) - len(index)
    return set(places)


@QUARTER
@given(mag=mags(), order=orders)
def test_the_bytes_do_not_depend_on_order_or_threads(mag: Written, order: WriteOrder) -> None:
    """Another order of blocks, and one thread or four: the same files, byte for byte."""
    with written(mag, WriteOrder(order.seed + 1, threads=1)) as root:
        one = dict(stored_files(root))
    with written(mag, replace(order, threads=4)) as root:
        four = dict(stored_files(root))

    assert one == four


@QUARTER
@given(mag=mags(), order=orders)
def test_the_bytes_do_not_depend_on_swaths(mag: Written, order: WriteOrder) -> None:
    """Written swath by swath, each a row of shards: the same files, byte for byte."""
    with written(mag) as root:
        whole = dict(stored_files(root))
    with written(mag, replace(order, swath_rows=mag.grid.shard.y)) as root:
        in_swaths = dict(stored_files(root))

    assert whole == in_swaths


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("dtype", "channels"), [*((d, 1) for d in DTYPES), ("uint8", 3)])
def test_every_codec_takes_every_type(codec: Codec, dtype: str, channels: int) -> None:
    """Each codec with each voxel type, an empty chunk among the others, read by both judges."""
    mag = describe(
        Vec3(41, 37, 9), dtype=dtype, channels=channels, chunk=16, codec=codec, filled=0.7
    )
    expected = stored_axes(mag.volumes)
    with written(mag) as root:
        by_zarr = read_with_zarr(root / mag.path)
        by_tensorstore = read_with_tensorstore(root / mag.path)

    np.testing.assert_array_equal(expected, by_zarr)
    np.testing.assert_array_equal(expected, by_tensorstore)


@pytest.mark.parametrize(
    ("size", "shard", "files"),
    [
        (Vec3(1, 1, 1), None, 1),
        (Vec3(32, 32, 32), None, 1),
        (Vec3(33, 32, 32), Vec3(32, 32, 32), 2),
        (Vec3(100, 70, 50), Vec3(64, 64, 32), 8),
        (Vec3(100, 70, 150), Vec3(64, 64, 64), 12),
        (Vec3(100, 70, 65), Vec3(4096, 4096, 64), 2),
        (Vec3(500, 400, 1), None, 1),
        (Vec3(500, 400, 1), Vec3(256, 128, 32), 8),
    ],
)
def test_the_plane_is_cut_as_planned(size: Vec3, shard: Vec3 | None, files: int) -> None:
    """One voxel, one chunk, partial shards, several shards a plane, shards of several slabs."""
    mag = describe(size, shard=shard)
    with written(mag) as root:
        found = [path for path in stored_files(root) if "/c/" in path]
        by_zarr = read_with_zarr(root / mag.path)

    assert files == len(found)
    np.testing.assert_array_equal(stored_axes(mag.volumes), by_zarr)
