"""What every reader of volume files keeps: axes, rows, bytes, threads, memory, damage."""

import gzip
import io
import random
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zarr

import stackwatch
from stackwatch.errors import CorruptSliceError, LimitExceededError, StackwatchError
from stackwatch.readers.probe import open_image
from stackwatch.readers.protocol import ByteRanges, Reopens
from stackwatch.testing.patterns import coordinate_stack
from stackwatch.testing.volumes import write_dm, write_mrc, write_nifti

Write = Callable[[Path, np.ndarray], Path]


def gzipped(write: Write) -> Write:
    """Return a writer of the same file, gzipped."""

    def written(path: Path, stack: np.ndarray) -> Path:
        plain = write(path.with_suffix(""), stack)
        path.write_bytes(gzip.compress(plain.read_bytes(), 1))
        plain.unlink()
        return path

    return written


FORMATS: dict[str, tuple[Write, tuple[str, ...]]] = {
    ".mrc": (write_mrc, ("uint8", "int8", "int16", "uint16", "float32")),
    ".rec": (lambda p, s: write_mrc(p, s, order=">", extended=b"x" * 90), ("int16", "float32")),
    ".map": (lambda p, s: write_mrc(p, s, axis_order=(3, 1, 2)), ("int16", "float32")),
    ".st": (lambda p, s: write_mrc(p, s, axis_order=(1, 3, 2)), ("uint16",)),
    ".ali": (lambda p, s: write_mrc(p, s, axis_order=(2, 1, 3)), ("uint16",)),
    ".dm3": (write_dm, ("uint8", "int8", "uint16", "int32", "uint32", "float32", "float64")),
    ".dm4": (lambda p, s: write_dm(p, s, version=4, order=">"), ("int16", "uint16", "int64")),
    ".nii": (write_nifti, ("uint8", "int8", "int16", "uint16", "int32", "uint32", "float32")),
    ".nii.gz": (
        gzipped(lambda p, s: write_nifti(p, s, version=2, order=">", offset=4096)),
        ("int16", "float32", "uint8"),
    ),
    ".mrc.gz": (gzipped(write_mrc), ("int16",)),
}
CASES = [(suffix, dtype) for suffix, (_, dtypes) in FORMATS.items() for dtype in dtypes]
ONE_EACH = [(suffix, dtypes[0]) for suffix, (_, dtypes) in FORMATS.items()]
SHAPE = (7, 33, 45)


@pytest.fixture
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Return a file of the format and type asked for, and the voxels in it."""
    suffix, dtype = request.param
    stack = coordinate_stack(SHAPE, dtype)
    return FORMATS[suffix][0](tmp_path / f"volume{suffix}", stack), stack


@pytest.mark.parametrize("written", CASES, indirect=True, ids="".join)
def test_axes_and_type(written, open_path):
    """Each voxel lies where it was written, in the type it was written in."""
    path, stack = written
    reader = open_path(path)
    info = reader.info
    planes = [reader.read_plane(0, 0, z, (0, info.size_y)) for z in range(info.size_z)]

    assert SHAPE == (info.size_z, info.size_y, info.size_x)
    assert stack.dtype.name == info.pixels.dtype_name
    np.testing.assert_array_equal(stack, np.stack(planes))


@pytest.mark.parametrize("written", ONE_EACH, indirect=True, ids="".join)
def test_rows(written, open_path):
    """Some rows of a plane are those rows, in native byte order."""
    path, stack = written
    plane = open_path(path).read_plane(0, 0, 3, (5, 20))

    assert plane.dtype.isnative
    np.testing.assert_array_equal(stack[3, 5:20], plane)


@pytest.mark.parametrize("written", ONE_EACH, indirect=True, ids="".join)
def test_raw_rows_are_the_voxels(written, open_path):
    """Where a reader says that voxels lie as they are, they do, and within the plane's span."""
    path, stack = written
    reader, data = open_path(path), path.read_bytes()
    assert isinstance(reader, ByteRanges)
    raw, (start, end) = reader.raw_plane(0, 0, 4), reader.byte_span(0, 0, 4)
    if raw is None:
        assert 0 <= start <= end <= len(data)
        return

    rows = [data[run.offset : run.offset + run.rows * raw.row_bytes] for run in raw.runs]
    found = np.frombuffer(b"".join(rows), raw.dtype).reshape(SHAPE[1:])
    np.testing.assert_array_equal(stack[4], found)
    assert start <= min(run.offset for run in raw.runs)
    assert end >= max(run.offset + run.rows * raw.row_bytes for run in raw.runs)


@pytest.mark.parametrize("written", ONE_EACH, indirect=True, ids="".join)
def test_threads(written):
    """Reopened readers give the right planes to four threads, in any order."""
    path, stack = written
    with path.open("rb") as parsed:
        first = open_image(parsed, path.name)
        assert isinstance(first, Reopens)

        def read(z: int) -> np.ndarray:
            with path.open("rb") as file:
                reader = first.reopened(file)
                return reader.read_plane(0, 0, z, (0, SHAPE[1])).copy()

        order = [*range(SHAPE[0])] * 3
        random.Random(4).shuffle(order)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(read, order))

    np.testing.assert_array_equal(stack[order], np.stack(found))


@pytest.mark.parametrize("written", ONE_EACH, indirect=True, ids="".join)
def test_truncated(written):
    """A file that ends early is an error that says so, wherever it is cut."""
    path, _ = written
    data = path.read_bytes()
    for end in sorted({100, 400, 512, 1023, 1024, *range(1100, len(data), 4001), len(data) - 1}):
        with pytest.raises(StackwatchError) as caught:
            read_all(data[:end], path.name)

        assert isinstance(caught.value, CorruptSliceError), end
        assert "“volume" in caught.value.message


@pytest.mark.parametrize("written", ONE_EACH, indirect=True, ids="".join)
def test_flipped_header_bytes(written):
    """Whatever a damaged header says, it is refused with an error of ours or read as it says."""
    path, _ = written
    data = path.read_bytes()
    rng = random.Random(8)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 2, 8])):
            damaged[rng.randrange(min(400, len(data)))] = rng.randrange(256)
        with suppress(StackwatchError):
            read_all(bytes(damaged), path.name, planes=2)


@pytest.mark.parametrize("written", ONE_EACH, indirect=True, ids="".join)
def test_from_memory(written):
    """A member of an archive, which is bytes in memory, reads the same."""
    path, stack = written

    np.testing.assert_array_equal(stack, np.stack(read_all(path.read_bytes(), path.name)))


@pytest.mark.parametrize("suffix", FORMATS)
def test_memory(suffix, tmp_path):
    """Reading a file of 12 MiB plane by plane takes a few planes, or one block, of memory."""
    stack = np.zeros((24, 512, 512), np.int16)
    stack[:] = np.arange(24)[:, None, None]
    if FORMATS[suffix][1][0] == "uint16":
        stack = stack.view(np.uint16)
    path = FORMATS[suffix][0](tmp_path / f"volume{suffix}", stack)
    with path.open("rb") as file:
        tracemalloc.start()
        try:
            reader = open_image(file, path.name)
            allowed = reader.decode_bytes + 4 * stack[0].nbytes  # type: ignore[attr-defined]
            for z in range(24):
                assert z == reader.read_plane(0, 0, z, (0, 512))[100, 100]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        reader.close()

    assert peak < min(allowed, 120 * 2**20)
    if reader.info.can_read_rows:
        assert peak < 3 * 2**20


@pytest.mark.parametrize("written", ONE_EACH, indirect=True, ids="".join)
def test_converted(written, tmp_path):
    """The file becomes a dataset with the voxels that were written."""
    path, stack = written
    target = tmp_path / "dataset"
    stackwatch.convert(path, target, voxel_size_nm=(4.0, 4.0, 8.0), layer_name="em")

    found = zarr.open_array(target / "em" / "1", mode="r")
    np.testing.assert_array_equal(stack, np.asarray(found)[0].T)


def read_all(data: bytes, name: str, planes: int | None = None) -> list[np.ndarray]:
    """Open a file in memory and return its planes."""
    reader = open_image(io.BytesIO(data), name)
    try:
        if reader.info.size_x * reader.info.size_y > 2**22:
            raise LimitExceededError("too large to read in a test", hint="do not")
        count = reader.info.size_z if planes is None else min(planes, reader.info.size_z)
        return [reader.read_plane(0, 0, z, (0, reader.info.size_y)) for z in range(count)]
    finally:
        reader.close()
