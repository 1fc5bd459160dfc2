"""Whatever the WKW store writes, the `wkw` package reads voxel for voxel, and we what it writes."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import wkw
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.model.geometry import Mag, Vec3
from stackwatch.model.options import Codec
from stackwatch.model.plan import LayerPlan
from stackwatch.model.voxels import Category, VoxelType
from stackwatch.readers.wkw import WkwMag
from stackwatch.readers.wkw_header import (
    DTYPE_CODES,
    BlockType,
    WkwHeader,
    morton_places,
    parse_header,
)
from stackwatch.stores.protocol import MagGrid, ShardRecord
from stackwatch.stores.wkw import WkwStore, choose_wkw_codec, wkw_grid

CODECS: tuple[Codec, ...] = ("auto", "none", "lz4", "lz4hc", "lz4hc-9")
THIRD = settings(max_examples=settings().max_examples // 3)


@dataclass(frozen=True)
class Volume:
    """A mag as it is to be written: voxels of shape (z, y, x) or (z, y, x, c)."""

    voxels: NDArray[Any]
    block_edge: int = 8
    cube_edge: int = 32
    codec: Codec = "auto"
    category: Category = Category.COLOR

    @property
    def layer(self) -> LayerPlan:
        """The layer it is the first mag of."""
        z, y, x = self.voxels.shape[:3]
        channels = self.voxels.shape[3] if self.voxels.ndim == 4 else 1
        voxel_type = VoxelType(self.voxels.dtype.name, channels)
        return LayerPlan("em", self.category, voxel_type, Vec3(x, y, z))

    @property
    def grid(self) -> MagGrid:
        """How it is cut."""
        edge = self.block_edge
        block = Vec3(edge, edge, edge)
        return wkw_grid(MagGrid(Mag(1, 1, 1), self.layer.size, block, block), self.cube_edge)


@contextmanager
def written(volume: Volume, seed: int = 0) -> Iterator[tuple[Path, tuple[ShardRecord, ...]]]:
    """Write a mag slab by slab, the parts of each in random order; yield its folder."""
    layer, grid = volume.layer, volume.grid
    with tempfile.TemporaryDirectory() as folder:
        root, scratch = Path(folder, "dataset"), Path(folder, "scratch")
        root.mkdir()
        store = WkwStore(root, scratch, {"em": choose_wkw_codec(volume.category, volume.codec)})
        writer = store.mag_writer(layer, grid)
        rng = np.random.default_rng(seed)
        for slab, z in enumerate(range(0, grid.size.z, grid.chunk.z)):
            blocks = list(writer.blocks((0, grid.size.y)))
            for number in rng.permutation(len(blocks)).tolist():
                part = blocks[number]
                voxels = volume.voxels[z : z + grid.chunk.z, part.y0 : part.y1, part.x0 : part.x1]
                writer.write_block(0, slab, part, voxels)
            writer.finish_slab(0, slab, (0, grid.size.y), is_last=False)
        store.describe_mag(layer, grid)
        store.wait()
        store.close()
        assert not [path for path in scratch.rglob("*") if path.is_file()]
        yield root / "em" / "1", store.manifest()


def read_with_wkw(folder: Path, shape_zyx: tuple[int, ...]) -> NDArray[Any]:
    """Return the voxels as the reference library reads them, shape (c, z, y, x)."""
    with wkw.Dataset.open(str(folder)) as dataset:
        cxyz = dataset.read((0, 0, 0), shape_zyx[2::-1])
    return np.asarray(cxyz).transpose(0, 3, 2, 1)


def random_voxels(seed: int, shape: tuple[int, ...], dtype: str, filled: float) -> NDArray[Any]:
    """Return voxels of which about `filled` of the 8-cubes hold any."""
    rng = np.random.default_rng(seed)
    voxels = rng.integers(0, 100, shape).astype(dtype)
    for corner in np.ndindex(*(-(-edge // 8) for edge in shape[:3])):
        if rng.random() >= filled:
            z, y, x = (slice(8 * c, 8 * c + 8) for c in corner)
            voxels[z, y, x] = 0
    return voxels


@given(
    st.tuples(*[st.integers(1, 70)] * 3),
    st.sampled_from(sorted(DTYPE_CODES)),
    st.sampled_from(CODECS),
    st.sampled_from([(4, 8), (8, 8), (8, 32), (16, 64), (32, 1024)]),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.integers(0, 2**32 - 1),
)
@THIRD
def test_the_reference_library_reads_what_we_write(shape, dtype, codec, edges, filled, seed):
    """Odd shapes, every type, codec and edge, empty blocks and cubes: every voxel is the same."""
    voxels = random_voxels(seed, shape, dtype, filled)
    volume = Volume(voxels, edges[0], edges[1], codec)

    with written(volume, seed) as (folder, manifest):
        found = read_with_wkw(folder, shape)
        with WkwMag(folder) as mag:
            ours = mag.read(*(range(edge) for edge in shape))
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("z*/y*/x*.wkw")}

    np.testing.assert_array_equal(voxels, found[0])
    np.testing.assert_array_equal(voxels, ours)
    assert files == {record.path.removeprefix("em/1/") for record in manifest}


@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.integers(2, 4),
    st.sampled_from(CODECS),
    st.integers(0, 2**32 - 1),
)
@THIRD
def test_channels_lie_side_by_side(shape, channels, codec, seed):
    """RGB is three values in a voxel, for the reference library and for us."""
    voxels = random_voxels(seed, (*shape, channels), "uint8", 0.7)

    with written(Volume(voxels, codec=codec), seed) as (folder, _):
        found = read_with_wkw(folder, shape)
        with WkwMag(folder) as mag:
            ours = mag.read(*(range(edge) for edge in shape))

    np.testing.assert_array_equal(voxels, np.moveaxis(found, 0, 3))
    np.testing.assert_array_equal(voxels, ours)


@given(
    st.tuples(*[st.integers(1, 50)] * 3),
    st.tuples(*[st.integers(0, 40)] * 3),
    st.sampled_from(sorted(DTYPE_CODES)),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
@THIRD
def test_we_read_what_the_reference_library_writes(shape, offset, dtype, is_packed, seed):
    """Any part of a dataset it wrote at any place is read alike; what it never wrote is zero."""
    voxels = random_voxels(seed, shape, dtype, 0.7)
    whole = [first + edge for first, edge in zip(offset, shape, strict=True)]
    header = wkw.Header(
        np.dtype(dtype), block_len=8, file_len=2, block_type=wkw.Header.BLOCK_TYPE_RAW
    )
    with tempfile.TemporaryDirectory() as folder:
        raw, packed = Path(folder, "raw"), Path(folder, "packed")
        with wkw.Dataset.create(str(raw), header) as dataset:
            dataset.write(offset[::-1], np.asfortranarray(voxels.transpose(2, 1, 0)))
            if is_packed:
                dataset.compress(str(packed), compress_files=True).close()
        with WkwMag(packed if is_packed else raw) as mag:
            found = mag.read(*(range(edge) for edge in whole))
            extent = mag.extent()

    z, y, x = offset
    np.testing.assert_array_equal(voxels, found[z:, y:, x:])
    assert int(np.count_nonzero(voxels)) == int(np.count_nonzero(found))
    assert all(
        edge <= most for edge, most in zip(whole, (extent.z, extent.y, extent.x), strict=True)
    )


def test_the_order_of_writing_leaves_no_trace():
    """Two runs whose threads were differently quick give the same bytes."""
    voxels = random_voxels(1, (70, 50, 90), "uint16", 0.6)
    found = []
    for seed in (1, 2):
        with written(Volume(voxels, codec="lz4"), seed) as (folder, manifest):
            files = {p.name: p.read_bytes() for p in sorted(folder.rglob("*.wkw"))}
            found.append((files, manifest))

    assert found[0] == found[1]


def test_the_manifest_names_what_lies_on_the_disk():
    """Path, size, checksum, and how many blocks hold any voxel."""
    voxels = np.zeros((20, 40, 10), np.uint8)
    voxels[3, 39, 9] = 7
    with written(Volume(voxels, codec="lz4")) as (folder, manifest):
        data = (folder / "z0/y1/x0.wkw").read_bytes()

    assert manifest == (
        ShardRecord("em/1/z0/y1/x0.wkw", len(data), 1, 64, google_crc32c.value(data)),
    )


def test_a_cube_is_no_larger_than_its_data_needs():
    """Cubes have the edge that was asked for, or the least that holds a smaller volume."""
    sizes = [Vec3(5000, 20, 3), Vec3(100, 20, 3), Vec3(5, 5, 5), Vec3(33, 64, 2)]
    chunk = Vec3(32, 32, 32)

    assert [1024, 128, 32, 64] == [
        wkw_grid(MagGrid(Mag(1, 1, 1), size, chunk, chunk)).shard.x for size in sizes
    ]


def test_morton_places_follow_the_bits():
    """The place of a block is made of the bits of x, y and z in turn, x lowest."""
    places = morton_places(8)
    expected = [
        sum(
            ((n >> bit) & 1) << (3 * bit + axis)
            for bit in range(3)
            for axis, n in enumerate((x, y, z))
        )
        for z, y, x in np.ndindex(8, 8, 8)
    ]

    assert expected == places.ravel().tolist()


@pytest.mark.parametrize("dtype", sorted(DTYPE_CODES))
def test_headers_survive_the_round_trip(dtype):
    """What is packed into 16 bytes is read back."""
    header = WkwHeader(32, 32, BlockType.LZ4HC, dtype, 1, 262160)

    assert header == parse_header(header.pack(262160), Path("x.wkw"))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", CorruptSliceError),
        (b"WKX" + bytes(13), CorruptSliceError),
        (b"WKW\x02\x55\x03\x01\x01" + bytes(8), UnsupportedFormatError),
        (b"WKW\x01\x55\x09\x01\x01" + bytes(8), UnsupportedFormatError),
        (b"WKW\x01\x55\x03\x0b\x01" + bytes(8), UnsupportedFormatError),
        (b"WKW\x01\x55\x03\x02\x01" + bytes(8), CorruptSliceError),
    ],
)
def test_foreign_headers_are_refused(data, error):
    """No header, another version, unknown types, voxels that do not add up."""
    with pytest.raises(error, match=r"x\.wkw"):
        parse_header(data, Path("x.wkw"))


@pytest.mark.parametrize("cut", [3, 100, 500, 1])
def test_a_cut_file_is_an_error_never_zeros(cut):
    """A file that ends early, in its table or in its blocks, is damaged."""
    voxels = random_voxels(3, (16, 16, 16), "uint8", 1.0)
    with written(Volume(voxels, 8, 16, "lz4")) as (folder, _):
        file = folder / "z0/y0/x0.wkw"
        data = file.read_bytes()
        file.write_bytes(data[:-cut] if cut < 500 else data[:40])
        with WkwMag(folder) as mag, pytest.raises(CorruptSliceError, match=r"x0\.wkw"):
            mag.read(range(16), range(16), range(16))


@given(st.integers(16, 2000), st.integers(0, 255))
@THIRD
def test_flipped_bytes_never_crash(place, value):
    """Whatever a byte of a file is changed to, the answer is voxels or a clear error."""
    voxels = random_voxels(3, (16, 16, 16), "uint8", 1.0)
    with written(Volume(voxels, 8, 16, "lz4")) as (folder, _):
        file = folder / "z0/y0/x0.wkw"
        data = bytearray(file.read_bytes())
        data[place % len(data)] = value
        file.write_bytes(data)
        with WkwMag(folder) as mag:
            try:
                found = mag.read(range(16), range(16), range(16))
            except (CorruptSliceError, UnsupportedFormatError):
                return
    assert voxels.shape == found.shape
