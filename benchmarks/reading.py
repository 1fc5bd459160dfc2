"""Measure how fast each format is read, beside the library that others read it with.

`python -m benchmarks.reading` writes a file of each format and reads all its planes with our
reader and with the library in turn, several times, from the page cache, on one thread; the share
is the median of those pairs. `--threads 1 2` shows instead how decoding scales with threads.

Times are CPU seconds, those of the kernel and of a library's own threads included: on a machine
that others use they mean more than the clock.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.libraries import (
    by_h5py,
    by_liffile,
    by_mrcfile,
    by_nibabel,
    by_numpy,
    by_pillow,
    by_pylibczi,
    by_tifffile,
    by_wkw,
    by_zarr,
    whole_by_mrcfile,
    whole_by_nibabel,
)
from stackwatch.readers.positional import PositionalFile
from stackwatch.readers.protocol import ByteRanges, Reopens, SliceReader
from stackwatch.testing import reader_files as files
from stackwatch.testing.czi_files import JPEG_XR, RAW, ZSTD1
from stackwatch.testing.patterns import iter_em_slices, iter_light_sheet_slices
from stackwatch.testing.reader_cases import CASES
from stackwatch.testing.reader_files import Voxels, Write, named
from stackwatch.testing.volume_folders import write_wkw
from stackwatch.testing.volumes import write_dm, write_mrc, write_nifti
from stackwatch.testing.writers import write_image, write_multipage

SHAPE = (16, 2048, 2048)
PAIRS = 7
SHARE_WANTED = 0.9
MB = 1e6


class Reading(NamedTuple):
    """One format, in one way.

    Attributes
    ----------
    write : Write
    case : str
        In `reader_cases.CASES`: how ours opens it.
    library : str
        Whose the yardstick is.
    planes : callable
        From the file to its planes, as the library gives them.
    dtype : str
        `uint16`, made like light-sheet images, or `uint8`, made like electron microscopy.
    """

    write: Write
    case: str
    library: str
    planes: Callable[[Path], Iterator[NDArray[Any]]]
    dtype: str = "uint16"


Fill = Callable[[Path, Reading, NDArray[Any]], int]
"""Reads every plane into the array; returns the bytes of all."""


def tiff(compression: str, **options: Any) -> Write:
    """Return a writer of compressed pages."""

    def written(folder: Path, voxels: Voxels) -> Path:
        options.setdefault("rowsperstrip", voxels.shape[3])
        settings = {"compression": compression, "predictor": 2, **options}
        if "tile" in options:
            settings.pop("rowsperstrip")
        return write_multipage(folder / "a.tif", voxels[0, 0], **settings)

    return written


def wkw_cubes(folder: Path, voxels: Voxels) -> Path:
    """Write WKW in cubes of 512: the slices are repeated up to a whole one."""
    stack = np.resize(voxels[0, 0], (512, *voxels.shape[3:]))[:, :1024, :1024]
    write_wkw(folder / "color/1", np.asfortranarray(stack.T), (0, 0, 0), cube_blocks=16)
    return folder / "color/1/header.wkw"


def written_as(case: str) -> Write:
    """Return the writer of a case."""
    write = CASES[case].write
    assert write is not None
    return write


READINGS = {
    "MRC": Reading(named("a.mrc", write_mrc), "mrc", "mrcfile, mapped", by_mrcfile),
    "MRC, z fastest": Reading(
        named("a.map", lambda p, s: write_mrc(p, s, axis_order=(3, 1, 2))), "mrc z fastest",
        "mrcfile, whole", whole_by_mrcfile,
    ),
    "DM3": Reading(named("a.dm3", write_dm), "dm3", "numpy, mapped", by_numpy),
    "NIfTI": Reading(named("a.nii", write_nifti), "mrc", "nibabel", by_nibabel),
    "NIfTI, gzipped": Reading(
        files.gzipped(named("a.nii", write_nifti)), "nii.gz", "nibabel, whole", whole_by_nibabel
    ),
    "TIFF": Reading(files.pages, "tiff", "tifffile", by_tifffile),
    "TIFF, LZW": Reading(tiff("lzw"), "tiff", "tifffile", by_tifffile),
    "TIFF, deflate": Reading(tiff("deflate"), "tiff", "tifffile", by_tifffile),
    "TIFF, zstd": Reading(tiff("zstd"), "tiff", "tifffile", by_tifffile),
    "TIFF, tiles, deflate": Reading(
        tiff("deflate", tile=(256, 256)), "tiff", "tifffile", by_tifffile
    ),
    "LSM, LZW": Reading(files.lsm, "lsm", "tifffile", by_tifffile),
    "CZI": Reading(files.czi(RAW), "czi", "pylibCZIrw", by_pylibczi),
    "CZI, zstd": Reading(files.czi(ZSTD1), "czi", "pylibCZIrw", by_pylibczi),
    "CZI, mosaic, zstd": Reading(files.czi(ZSTD1, 512), "czi", "pylibCZIrw", by_pylibczi),
    "CZI, JPEG XR": Reading(files.czi(JPEG_XR), "czi", "pylibCZIrw", by_pylibczi),
    "Imaris IMS, gzip": Reading(written_as("ims"), "ims", "h5py", by_h5py),
    "LIF": Reading(files.lif, "lif", "liffile, whole", by_liffile),
    "OME-Zarr": Reading(written_as("ome-zarr in shards"), "wkw", "zarr", by_zarr),
    "WKW": Reading(wkw_cubes, "wkw", "wkw", by_wkw, "uint8"),
    "PNG": Reading(
        named("a.png", lambda p, s: write_image(p, s[0])), "png", "Pillow", by_pillow, "uint8"
    ),
    "JPEG": Reading(
        named("a.jpg", lambda p, s: write_image(p, s[0])), "jpeg", "Pillow", by_pillow, "uint8"
    ),
}  # fmt: skip
SCALING = ("TIFF, LZW", "TIFF, deflate", "PNG", "JPEG", "CZI, zstd", "CZI, JPEG XR")


def fill_by_us(path: Path, reading: Reading, out: NDArray[Any]) -> int:
    """Read every plane into an array, as a conversion does: raw planes without a step between."""
    taken = 0
    with CASES[reading.case].opened(path) as reader, path.open("rb") as file:
        source = PositionalFile(file, path.name)
        ranges = reader if isinstance(reader, ByteRanges) else None
        for z in range(reader.info.size_z):
            raw = ranges.raw_plane(0, 0, z) if ranges else None
            if raw is None:
                np.copyto(out, reader.read_plane(0, 0, z, (0, reader.info.size_y)))
            else:
                view = out.view(np.uint8).reshape(-1).data
                for run in raw.runs:
                    part = view[run.first_row * raw.row_bytes :][: run.rows * raw.row_bytes]
                    source.read_into(run.offset, part)
            taken += out.nbytes
    return taken


def fill_by_library(path: Path, reading: Reading, out: NDArray[Any]) -> int:
    """Copy every plane that the library gives into an array."""
    taken = 0
    for plane in reading.planes(path):
        np.copyto(out, plane)
        taken += out.nbytes
    return taken


def measure(path: Path, reading: Reading, pairs: int) -> tuple[float, float, float]:
    """Return our megabytes per CPU second, the library's, and the median share of the pairs."""
    speeds: dict[Fill, list[float]] = {fill_by_us: [], fill_by_library: []}
    plane_yx = next(reading.planes(path)).shape[:2]
    out = np.empty(plane_yx, reading.dtype)
    for number in range(pairs + 1):
        for fill in random.sample([*speeds], 2):
            began = time.process_time()
            taken = fill(path, reading, out)
            speed = taken / MB / (time.process_time() - began)
            if number:  # the first pair only loads libraries and fills the page cache
                speeds[fill].append(speed)
    ours, theirs = speeds.values()
    shares = [one / other for one, other in zip(ours, theirs, strict=True)]
    return statistics.median(ours), statistics.median(theirs), statistics.median(shares)


def wanted_ns() -> int:
    """Return how long this thread has run so far, or waited for a processor; not for locks."""
    words = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()
    return int(words[0]) + int(words[1])


def scale(path: Path, reading: Reading, threads: int) -> tuple[float, float]:
    """Return the megabytes decoded per second by the clock, and the threads at work on average.

    A thread is at work while it runs or waits for a processor that others have; one that waits for
    another thread of ours is not. So the second figure holds on a busy machine too.
    """
    case = CASES[reading.case]
    with case.opened(path) as first:
        info = first.info
        jobs = [z % info.size_z for z in range(max(info.size_z, SHAPE[0]))]

        def reader_of_a_thread(file: BinaryIO) -> SliceReader:
            again: object = first  # one may or may not be able to reopen
            return (
                again.reopened(file)
                if isinstance(again, Reopens)
                else case.reader_of(file, path.name)
            )

        def read(numbers: list[int]) -> tuple[int, int]:
            taken, began = 0, wanted_ns()
            # a picture is opened anew each time, as each slice of a sequence is
            for part in [numbers] if info.size_z > 1 else [[z] for z in numbers]:
                with path.open("rb") as file, closing(reader_of_a_thread(file)) as reader:
                    for z in part:
                        taken += reader.read_plane(0, 0, z, (0, info.size_y)).nbytes
            return taken, wanted_ns() - began

        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            done = list(pool.map(read, [jobs[at::threads] for at in range(threads)]))
        seconds = time.perf_counter() - began
    taken, wanted = (sum(part) for part in zip(*done, strict=True))
    return taken / MB / seconds, wanted / 1e9 / seconds


def write_file(name: str, folder: Path) -> Path:
    """Write the file of a reading; its voxels compress about as badly as real ones."""
    is_grey = READINGS[name].dtype == "uint8"
    slices = iter_em_slices(SHAPE) if is_grey else iter_light_sheet_slices(SHAPE)
    return READINGS[name].write(folder, np.stack(list(slices))[None, None])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.reading", description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=[*READINGS], metavar="FORMAT")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--threads", type=int, nargs="+", help="show how decoding scales instead")
    choice = parser.parse_args()
    names = choice.only or (SCALING if choice.threads else READINGS)
    print(f"{SHAPE[0]} planes of {SHAPE[2]} x {SHAPE[1]}; MB of voxels", file=sys.stderr)
    is_met = True
    for name in names:
        reading = READINGS[name]
        with tempfile.TemporaryDirectory(prefix="reading-") as folder:
            path = write_file(name, Path(folder))
            if choice.threads:
                scale(path, reading, 1)
                found = [(count, *scale(path, reading, count)) for count in choice.threads]
                shown = "   ".join(f"{n}: {mb:6.0f} MB/s, {at:.2f} at work" for n, mb, at in found)
                print(f"{name:<22}{shown}", flush=True)
                continue
            ours, theirs, share = measure(path, reading, choice.pairs)
        is_met &= share >= SHARE_WANTED
        verdict = "" if share >= SHARE_WANTED else "  MISSED"
        print(
            f"{name:<22}{reading.library:<18}{ours:>7.0f}{theirs:>7.0f} MB / CPU s"
            f"{share:>7.0%}{verdict}",
            flush=True,
        )
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
