"""What every reader keeps: types, axes, rows, threads, memory, damage, and nothing left open."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from stackwatch.errors import StackwatchError
from stackwatch.readers.formats import FOLDER_FORMATS, FORMATS
from stackwatch.readers.protocol import ByteRanges, Reopens, SliceReader
from stackwatch.testing.reader_cases import CASES, IN_ONE_PIECE, MEASURED, ReaderCase, read_all
from stackwatch.testing.reader_files import Voxels

MEASURE = "stackwatch.testing.measured_reading"
FILES = [name for name, case in CASES.items() if case.format not in
         {form.name for form in FOLDER_FORMATS.values()}]  # fmt: skip
FOLDERS = [name for name in CASES if name not in FILES]
TYPES = {
    "mrc": ("int8", "int16", "uint16", "float32"),
    "mrc of bytes": ("uint8",),
    "dm3": ("uint8", "int8", "uint16", "int32", "uint32", "float32", "float64"),
    "dm4": ("int16", "uint16", "int64"),
    "nii.gz": ("uint8", "int8", "int16", "uint16", "int32", "uint32", "float32"),
}
"""Types that a case is written in beside its own."""

CUTS = (0.02, 0.3, 0.6, 0.9, 0.99)
"""Shares of a file that are left of it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the files of all cases."""
    return tmp_path_factory.mktemp("contract")


@pytest.fixture
def case(request: pytest.FixtureRequest) -> ReaderCase:
    """Return the case of this name."""
    return CASES[request.param]


@pytest.fixture
def path(case: ReaderCase, request: pytest.FixtureRequest, place: Path) -> Path:
    """Return the case's file, written once."""
    if case.sample:
        found: Path = request.getfixturevalue("samples") / case.sample
        return found
    name = next(name for name, one in CASES.items() if one is case)
    folder = place / name
    note = place / f"{name}.json"
    if not note.exists():
        assert case.write is not None
        folder.mkdir()
        note.write_text(json.dumps(str(case.write(folder, case.voxels()))))
    return Path(json.loads(note.read_text()))


@pytest.fixture
def expected(case: ReaderCase, path: Path) -> Voxels:
    """Return the voxels that are in the file."""
    return case.judge(path) if case.judge is not None else case.voxels()


def test_every_format_has_a_case() -> None:
    """A format of the table without a case here fails, and one that is not measured says why."""
    formats = {form.name for form in (*FORMATS, *FOLDER_FORMATS.values())}

    assert formats == {case.format for case in CASES.values()}
    assert formats - {CASES[name].format for name in MEASURED} == set(IN_ONE_PIECE)


@pytest.mark.parametrize("case", CASES, indirect=True)
class TestEveryReader:
    """The contract."""

    def test_shape_type_and_axes(self, case: ReaderCase, path: Path, expected: Voxels) -> None:
        """Each voxel lies where it was written, in its type; the voxel size is the file's."""
        with case.opened(path) as reader:
            info = reader.info
            found = read_all(reader)

        shape = (info.size_t, info.size_c, info.size_z, info.size_y, info.size_x)
        assert case.shape == shape
        assert (case.dtype, case.samples) == (info.pixels.dtype_name, info.pixels.samples)
        np.testing.assert_array_equal(expected, found, strict=True)
        assert [edge and pytest.approx(edge, rel=1e-6) for edge in case.voxel_size_nm] == list(
            info.voxel_size_nm
        )

    def test_rows(self, case: ReaderCase, path: Path, expected: Voxels) -> None:
        """A plane alone is that plane; where rows can be read, some of them are its rows."""
        t, c, z = (size - 1 for size in case.shape[:3])
        with case.opened(path) as reader:
            height = reader.info.size_y
            rows = (5, height - 3) if reader.info.can_read_rows else (0, height)
            plane = reader.read_plane(t, c, z, rows).copy()

        assert plane.dtype.isnative
        np.testing.assert_array_equal(expected[t, c, z, rows[0] : rows[1]], plane)

    def test_bytes_of_a_plane(self, case: ReaderCase, path: Path, expected: Voxels) -> None:
        """Where a reader says that voxels lie as they are, they do, and within the plane's span."""
        t, c, z = (size // 2 for size in case.shape[:3])
        with case.opened(path) as reader:
            if not isinstance(reader, ByteRanges):
                assert expected[0, 0].shape[0] == 1, "planes at no known place: the file is one"
                return
            raw, (start, end) = reader.raw_plane(t, c, z), reader.byte_span(t, c, z)
        data = path.read_bytes()

        assert 0 <= start <= end <= len(data)
        if raw is not None:
            runs = [data[one.offset :][: one.rows * raw.row_bytes] for one in raw.runs]
            found = np.frombuffer(b"".join(runs), raw.dtype).reshape(expected[t, c, z].shape)
            np.testing.assert_array_equal(expected[t, c, z], found)
            assert start <= min(one.offset for one in raw.runs)
            assert end >= max(one.offset + one.rows * raw.row_bytes for one in raw.runs)

    def test_threads(self, case: ReaderCase, path: Path, expected: Voxels) -> None:
        """Four threads that read the same planes in any order all get them right."""
        planes = list(np.ndindex(*case.shape[:3]))[-12:] * 3
        random.Random(4).shuffle(planes)
        with case.opened(path) as first:

            def read(plane: tuple[int, int, int]) -> Voxels:
                with reader_for_a_thread(case, path, first) as reader:
                    return reader.read_plane(*plane, (0, case.shape[3])).copy()

            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(read, planes))

        for plane, voxels in zip(planes, found, strict=True):
            np.testing.assert_array_equal(expected[plane], voxels)

    def test_nothing_stays_open(self, case: ReaderCase, path: Path) -> None:
        """A closed reader leaves no descriptor and no mapping of its file."""
        before = descriptors()
        with case.opened(path) as reader:
            reader.read_plane(0, 0, 0, (0, case.shape[3]))

        assert before == descriptors()
        assert str(path) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize(("name", "dtype"), [(n, d) for n, ds in TYPES.items() for d in ds])
def test_types(name: str, dtype: str, tmp_path: Path) -> None:
    """What our own readers take for a type is that type."""
    case = replace(CASES[name], dtype=dtype)
    assert case.write is not None
    path = case.write(tmp_path, case.voxels())

    with case.opened(path) as reader:
        np.testing.assert_array_equal(case.voxels(), read_all(reader), strict=True)


@pytest.mark.parametrize("case", FILES, indirect=True)
class TestEveryFile:
    """What holds of formats that are one file."""

    def test_reopened(self, case: ReaderCase, path: Path, expected: Voxels) -> None:
        """A reopened reader lives on its own file: the first one, and its file, may be closed."""
        planes = list(np.ndindex(*case.shape[:3]))
        with ExitStack() as stack:
            with case.opened(path) as first:
                again: object = first
                if not isinstance(again, Reopens):
                    assert [(0, 0, 0)] == planes, "a file of many planes is parsed once"
                    return
                file = stack.enter_context(path.open("rb"))
                reader = again.reopened(file)
                stack.callback(reader.close)
            for t, c, z in planes:
                found = reader.read_plane(t, c, z, (0, case.shape[3]))
                np.testing.assert_array_equal(expected[t, c, z], found)

    def test_from_memory(self, case: ReaderCase, path: Path, expected: Voxels) -> None:
        """A member of an archive, which is bytes in memory, reads the same."""
        found = case.read_bytes(path.read_bytes(), path.name)

        np.testing.assert_array_equal(expected, found)

    def test_truncated(self, case: ReaderCase, path: Path, expected: Voxels) -> None:
        """A file that was cut is an error that names it; no zeros and no grey stand for voxels."""
        data = path.read_bytes()
        for end in sorted({*(int(len(data) * share) for share in CUTS), len(data) - 1}):
            found, error = read_or_error(case, data[:end], path.name)
            if error is not None:
                assert f"“{path.name}”" in error.message, end
                assert error.hint, end
            else:  # what was cut off was no voxel
                assert end > len(data) * 0.85
                np.testing.assert_array_equal(expected, found)

    def test_flipped_bytes(self, case: ReaderCase, path: Path) -> None:
        """Whatever a damaged header says: an error of ours, or what it says is read."""
        data = path.read_bytes()
        rng = random.Random(8)
        for _ in range(60):
            damaged = bytearray(data)
            for _ in range(rng.choice([1, 2, 8])):
                damaged[rng.randrange(min(400, len(data)))] = rng.randrange(256)
            with suppress(StackwatchError):
                read_some(case, bytes(damaged), path.name)


@pytest.mark.parametrize("case", FOLDERS, indirect=True)
class TestEveryFolder:
    """What holds of formats that are a folder of files."""

    def test_truncated(self, case: ReaderCase, path: Path) -> None:
        """A chunk or cube that was cut is an error that names it."""
        files = [one for one in path.parent.rglob("*") if one.is_file()]
        largest = max(files, key=lambda one: one.stat().st_size)
        data = largest.read_bytes()
        try:
            for share in CUTS:
                largest.write_bytes(data[: int(len(data) * share)])
                with pytest.raises(StackwatchError, match="“"), case.opened(path) as reader:
                    read_all(reader)
        finally:
            largest.write_bytes(data)


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """Return what reading a large file of every family took, measured in a process of its own."""
    folder = tmp_path_factory.mktemp("large")
    command = [sys.executable, "-m", MEASURE, str(folder), *MEASURED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", MEASURED)
def test_memory(name: str, reading: dict[str, dict[str, float]]) -> None:
    """A large file is read plane by plane: the process grows by a few planes, not by the file."""
    found = reading[name]

    most = found["stated_mib"] + 4 * found["plane_mib"] + CASES[name].library_mib

    assert found["grown_mib"] < most
    assert found["grown_mib"] < 0.6 * found["voxels_mib"]


# ---------------------------------------------------------------- parts of the tests


@contextmanager
def reader_for_a_thread(case: ReaderCase, path: Path, first: object) -> Iterator[SliceReader]:
    """Lend a reader as a second thread gets one: reopened, where that can be."""
    if not isinstance(first, Reopens):
        with case.opened(path) as reader:
            yield reader
        return
    with path.open("rb") as file, closing(first.reopened(file)) as reader:
        yield reader


def descriptors() -> list[str]:
    """Return what this process has open on disks."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(str(entry.readlink()))
    return sorted(one for one in found if one.startswith("/") and not one.startswith("/proc/"))


def read_or_error(
    case: ReaderCase, data: bytes, name: str
) -> tuple[Voxels, None] | tuple[None, StackwatchError]:
    """Return the voxels of a file in memory, or the error of ours that they end with."""
    try:
        return case.read_bytes(data, name), None
    except StackwatchError as error:
        return None, error


def read_some(case: ReaderCase, data: bytes, name: str) -> None:
    """Read the first two planes of a file in memory, if they are not absurdly large."""
    with closing(case.reader_of(BytesIO(data), name)) as reader:
        info = reader.info
        if info.size_x * info.size_y <= 2**22:
            for z in range(min(2, info.size_z)):
                reader.read_plane(0, 0, z, (0, info.size_y))
