"""StackSource: the right voxels, the right digests, and nothing changes unnoticed."""

import os
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
import xxhash
from PIL import Image

from stackwatch.errors import ChangedDuringConversionError, MixedSlicesError, VanishedError
from stackwatch.model.acquisition import FileEntry
from stackwatch.model.geometry import Vec3
from stackwatch.model.options import LayoutOptions
from stackwatch.model.plan import BLACK, LayerPlan, PlaneRef, StackPlan
from stackwatch.model.voxels import Category
from stackwatch.readers.pixels import plan_treatment
from stackwatch.readers.probe import probe_image
from stackwatch.readers.source import FolderFiles, ZipFiles, ZipLimits
from stackwatch.readers.stack import SourceBook, StackSource


class Desk:
    """A folder of images, planned by hand and read."""

    def __init__(self, root: Path, files=None) -> None:
        self.root = root
        self.files = files or FolderFiles(root)
        self.entries: dict[str, FileEntry] = {}
        for path in sorted(root.rglob("*")):
            if path.is_file():
                found = path.stat()
                rel = str(path.relative_to(root))
                self.entries[rel] = FileEntry(rel, found.st_size, found.st_mtime_ns)
        self.book = SourceBook(self.files, self.entries)

    def source(self, names=None, planes=None, category=Category.COLOR, t=0) -> StackSource:
        """Return the source of a stack of these files, its plan made from the first."""
        names = tuple(names or self.entries)
        with self.files.open(names[0]) as file:
            info = probe_image(file, names[0])
        treatment, voxel_type, is_split = plan_treatment(
            info.pixels, None, category, LayoutOptions()
        )
        if planes is None:
            planes = tuple(
                tuple(
                    PlaneRef(index, at_t, 0, z)
                    for index in range(len(names))
                    for z in range(info.size_z)
                )
                for at_t in range(info.size_t)
            )
        size = Vec3(info.size_x, info.size_y, len(planes[0]))
        layer = LayerPlan("color", category, voxel_type, size, len(planes))
        layers = (layer,) * (3 if is_split else 1)
        plan = StackPlan(names, planes, info.pixels, treatment, layers, info.can_read_rows)
        return StackSource(self.book, plan, t)

    def close(self) -> None:
        """Close everything."""
        self.book.close()
        self.files.close()


@pytest.fixture
def desk(tmp_path):
    """Return a function that makes a Desk on a folder."""
    desks = []

    def made(root: Path = tmp_path, files=None) -> Desk:
        desks.append(Desk(root, files))
        return desks[-1]

    yield made
    for one in desks:
        one.close()


def read_all(source: StackSource, shape, dtype, threads=2, bands=1) -> np.ndarray:
    """Read every slice with some threads into an array full of a value that must not survive."""
    out = np.full(shape, 77, dtype)
    edges = np.linspace(0, shape[1], bands + 1).astype(int)
    for first, last in pairwise(edges):
        rows = (int(first), int(last))
        with ThreadPoolExecutor(threads) as pool:
            jobs = [
                pool.submit(source.read_slice_into, key, [out[key, first:last]], rows)
                for key in source.iter_keys()
            ]
            for job in jobs:
                job.result()
    return out


def true_digests(root: Path) -> dict[str, str]:
    """Return each file's digest as the plain tool computes it."""
    return {
        str(path.relative_to(root)): xxhash.xxh3_128(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"byteorder": ">"}, {"rowsperstrip": 7}, {"tile": (16, 16)}, {"compression": "lzw"},
     {"compression": "deflate", "rowsperstrip": 8}],
    ids=str,
)  # fmt: skip
def test_file_per_slice(tmp_path, desk, ramp, options, bands):
    """A file for each slice: voxels, digests and bytes read are exact, in bands too."""
    for z, plane in enumerate(ramp):
        tifffile.imwrite(tmp_path / f"z{z}.tif", plane, **options)
    table = desk()
    source = table.source()

    found = read_all(source, ramp.shape, ramp.dtype, bands=bands)
    table.book.finish()

    np.testing.assert_array_equal(ramp, found)
    assert true_digests(tmp_path) == table.book.file_digests()


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"byteorder": ">"}, {"compression": "zstd"}, {"tile": (16, 16)}], ids=str
)
def test_many_pages(tmp_path, desk, ramp, options, bands):
    """One file with all slices, read by several threads: voxels and digest are exact."""
    tifffile.imwrite(tmp_path / "a.tif", ramp, photometric="minisblack", **options)
    table = desk()

    found = read_all(table.source(), ramp.shape, ramp.dtype, threads=4, bands=bands)
    table.book.finish()

    np.testing.assert_array_equal(ramp, found)
    assert true_digests(tmp_path) == table.book.file_digests()


def test_each_byte_is_read_once(tmp_path, desk, ramp):
    """One pass over a stack reads exactly its bytes; reading again for verification adds none."""
    for z, plane in enumerate(ramp):
        tifffile.imwrite(tmp_path / f"z{z}.tif", plane)
    table = desk()
    source = table.source()
    total = sum(entry.size for entry in table.entries.values())

    read_all(source, ramp.shape, ramp.dtype)
    table.book.finish()
    read_all(source, ramp.shape, ramp.dtype)

    assert total == table.book.bytes_read


def test_pages_in_reverse_order(tmp_path, desk, ramp):
    """Slices that lie backwards in their file give the right voxels and digest."""
    tifffile.imwrite(tmp_path / "a.tif", ramp, photometric="minisblack")
    table = desk()
    planes = (tuple(PlaneRef(0, 0, 0, z) for z in reversed(range(6))),)

    found = read_all(table.source(planes=planes), ramp.shape, ramp.dtype)
    table.book.finish()

    np.testing.assert_array_equal(ramp[::-1], found)
    assert true_digests(tmp_path) == table.book.file_digests()


def test_black_slices(tmp_path, desk, ramp):
    """A slice that does not exist is zeros, and opens nothing."""
    tifffile.imwrite(tmp_path / "a.tif", ramp[0])
    table = desk()
    planes = ((PlaneRef(BLACK), PlaneRef(0)),)

    found = read_all(table.source(planes=planes), (2, 40, 60), ramp.dtype)

    np.testing.assert_array_equal(np.stack([np.zeros_like(ramp[0]), ramp[0]]), found)


def test_timepoints(tmp_path, desk):
    """Each timepoint has its own source over the same file."""
    tzyx = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", tzyx, imagej=True, metadata={"axes": "TZYX"})
    table = desk()

    found = [read_all(table.source(t=t), (3, 4, 5), np.uint16) for t in range(2)]

    np.testing.assert_array_equal(tzyx, found)


@pytest.mark.parametrize("suffix", ["png", "bmp", "jpg"])
def test_pictures(tmp_path, desk, suffix):
    """PNG, BMP and JPEG slices: voxels as Pillow decodes them, digests exact."""
    zyx = np.arange(3 * 8 * 9, dtype=np.uint8).reshape(3, 8, 9)
    for z, plane in enumerate(zyx):
        Image.fromarray(plane).save(tmp_path / f"z{z}.{suffix}")
    table = desk()
    expected = [np.asarray(Image.open(path)) for path in sorted(tmp_path.iterdir())]

    found = read_all(table.source(), zyx.shape, np.uint8)
    table.book.finish()

    np.testing.assert_array_equal(expected, found)
    assert true_digests(tmp_path) == table.book.file_digests()


def test_turned_pictures(tmp_path, desk):
    """EXIF-turned slices come upright, also when asked for row by row."""
    plane = np.arange(40, dtype=np.uint8).reshape(5, 8)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(plane).save(tmp_path / "a.png", exif=exif)
    table = desk()
    source = table.source()

    found = read_all(source, (1, 8, 5), np.uint8, bands=3)

    assert not source.can_read_rows
    np.testing.assert_array_equal(np.rot90(plane, -1), found[0])


def test_deep_rgb_feeds_three_layers(tmp_path, desk):
    """One decode fills the arrays of all three layers."""
    pixels = np.arange(5 * 8 * 3, dtype=np.uint16).reshape(5, 8, 3)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    outs = [np.zeros((5, 8), np.uint16) for _ in range(3)]

    desk().source().read_slice_into(0, outs, (0, 5))

    np.testing.assert_array_equal(pixels, np.stack(outs, -1))


def test_padded_rows(tmp_path, desk, ramp):
    """An array whose rows do not follow each other in memory is filled as well."""
    tifffile.imwrite(tmp_path / "a.tif", ramp[1])
    wide = np.zeros((40, 64), np.uint16)

    desk().source().read_slice_into(0, [wide[:, :60]], (0, 40))

    np.testing.assert_array_equal(ramp[1], wide[:, :60])
    assert 0 == wide[:, 60:].max()


@pytest.mark.parametrize(
    ("stranger", "word"),
    [
        (np.zeros((40, 61), np.uint16), "61 x 40"),
        (np.zeros((40, 60), np.uint8), "uint8"),
        (np.zeros((40, 60, 3), np.uint16), "rgb"),
    ],
)
def test_stranger_in_the_stack(tmp_path, desk, ramp, stranger, word):
    """A slice of other size, type or channels is named, with what it is and what was expected."""
    tifffile.imwrite(tmp_path / "z0.tif", ramp[0])
    tifffile.imwrite(
        tmp_path / "z1.tif", stranger, photometric="rgb" if stranger.ndim == 3 else "minisblack"
    )
    table = desk()
    planes = ((PlaneRef(0), PlaneRef(1)),)

    with pytest.raises(MixedSlicesError) as caught:
        read_all(table.source(planes=planes), (2, 40, 60), np.uint16, threads=1)

    assert "z1.tif" == caught.value.values["path"]
    assert word in caught.value.values["found"]
    assert "60 x 40 uint16 grey" == caught.value.values["expected"]


def test_changed_before_reading(tmp_path, desk, ramp):
    """A file that is not what was listed any more stops the conversion."""
    tifffile.imwrite(tmp_path / "a.tif", ramp[0])
    table = desk()
    source = table.source()
    os.utime(tmp_path / "a.tif", ns=(0, 1))

    with pytest.raises(ChangedDuringConversionError):
        source.read_slice_into(0, [np.zeros((40, 60), np.uint16)], (0, 40))


@pytest.mark.parametrize("pages", [1, 6])
def test_changed_after_reading(tmp_path, desk, ramp, pages):
    """A file that changes after its last slice was read is noticed at the end."""
    tifffile.imwrite(tmp_path / "a.tif", ramp[:pages], photometric="minisblack")
    table = desk()
    source = table.source()
    read_all(source, (pages, 40, 60), np.uint16)
    with (tmp_path / "a.tif").open("ab") as file:
        file.write(b"more")

    with pytest.raises(ChangedDuringConversionError):
        table.book.finish()


def test_vanished_meanwhile(tmp_path, desk, ramp):
    """A file that is removed after it was read is noticed at the end."""
    tifffile.imwrite(tmp_path / "a.tif", ramp[0])
    table = desk()
    read_all(table.source(), (1, 40, 60), np.uint16)
    (tmp_path / "a.tif").unlink()

    with pytest.raises(VanishedError):
        table.book.finish()


@pytest.mark.parametrize("memory_bytes", [0, 2**20])
def test_archive_equals_folder(tmp_path, desk, ramp, memory_bytes):
    """A zip of a stack gives the voxels and digests of the folder."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "scratch").mkdir()
    for z, plane in enumerate(ramp):
        tifffile.imwrite(tmp_path / f"folder/z{z}.tif", plane)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "folder").iterdir()):
            archive.write(path, path.name)
    files = ZipFiles(tmp_path / "a.zip", tmp_path / "scratch", ZipLimits(memory_bytes))
    table = desk(tmp_path / "folder", files)

    found = read_all(table.source(), ramp.shape, ramp.dtype, threads=3)
    table.book.finish()

    np.testing.assert_array_equal(ramp, found)
    assert true_digests(tmp_path / "folder") == table.book.file_digests()


def test_open_files_are_bounded(tmp_path, desk):
    """However many multi-page files a stack has, few stay open."""
    for index in range(50):
        tifffile.imwrite(
            tmp_path / f"p{index:02d}.tif", np.full((2, 4, 5), index, np.uint8),
            photometric="minisblack",
        )  # fmt: skip
    table = desk()
    before = len(list(Path("/proc/self/fd").iterdir()))

    found = read_all(table.source(), (100, 4, 5), np.uint8)

    np.testing.assert_array_equal(np.repeat(np.arange(50), 2), found[:, 0, 0])
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 33


def test_decode_bytes(tmp_path, desk, ramp):
    """A plane that is read straight needs a buffer, one that is decoded needs its own size too."""
    tifffile.imwrite(tmp_path / "raw.tif", ramp[0])
    tifffile.imwrite(tmp_path / "packed.tif", ramp[0], compression="lzw")
    table = desk()

    raw = table.source(["raw.tif"]).decode_bytes
    packed = table.source(["packed.tif"]).decode_bytes

    assert 2**20 == raw
    assert 2 * ramp[0].nbytes <= packed - raw


def test_threads_share_one_file(tmp_path, desk):
    """Eight threads on one compressed file, each slice read many times, always agree."""
    zyx = np.random.default_rng(3).integers(0, 255, (16, 33, 47), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", zyx, photometric="minisblack", compression="deflate")
    source = desk().source()
    wrong: list[int] = []
    start = threading.Barrier(8)

    def work(seed: int) -> None:
        start.wait(10)
        for key in np.random.default_rng(seed).permutation(16):
            out = np.zeros((33, 47), np.uint8)
            source.read_slice_into(int(key), [out], (0, 33))
            if not np.array_equal(out, zyx[key]):
                wrong.append(int(key))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert [] == wrong
