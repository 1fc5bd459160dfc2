"""LSM: channels in one page, thumbnails between, positions, times; judged by tifffile."""

import logging
import struct
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import tifffile
import zarr

import stackwatch
from stackwatch.errors import (
    CorruptSliceError,
    IncompleteAcquisitionError,
    StackwatchError,
    UnsupportedFormatError,
)
from stackwatch.model.image import Channel
from stackwatch.readers.protocol import ByteRanges, SliceReader
from stackwatch.testing.lsm_files import write_lsm

OpenPath = Callable[..., SliceReader]
CHANNELS = (("Ch1-T1", (0, 255, 0)), ("ChS", (255, 0, 128)), ("T PMT", (255, 255, 255)))


def coordinates(shape: tuple[int, ...], dtype: str = "uint16") -> np.ndarray:
    """Return an array in which every value is different, as far as the type allows."""
    values: np.ndarray = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    return values


def read_tzcyx(reader: SliceReader) -> np.ndarray:
    """Return every plane, axes t, z, c, y, x."""
    info = reader.info
    indices = np.ndindex(info.size_t, info.size_z, info.size_c)
    planes = [reader.read_plane(t, c, z, (0, info.size_y)).copy() for t, z, c in indices]
    shape = (info.size_t, info.size_z, info.size_c, info.size_y, info.size_x)
    return np.stack(planes).reshape(shape)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("is_lzw", [False, True], ids=["plain", "lzw"])
@pytest.mark.parametrize("strip_rows", [0, 5])
@pytest.mark.parametrize("shape", [(1, 4, 3, 17, 23), (3, 2, 1, 17, 23), (1, 1, 3, 17, 23)])
def test_axes(shape, strip_rows, is_lzw, dtype, tmp_path, open_path):
    """Each voxel lies where it was written, and where tifffile finds it."""
    volume = coordinates(shape, dtype)
    path = write_lsm(tmp_path / "a.lsm", volume, is_lzw=is_lzw, strip_rows=strip_rows)

    found = read_tzcyx(open_path(path))

    assert volume.dtype == found.dtype
    np.testing.assert_array_equal(volume, found)
    np.testing.assert_array_equal(tifffile.imread(path).reshape(shape), found)


def test_header(tmp_path, open_path):
    """Voxel size, names, colours and axes are those of the header."""
    volume = coordinates((1, 4, 3, 17, 23))
    path = write_lsm(tmp_path / "a.lsm", volume, channels=CHANNELS)

    info = open_path(path).info

    assert "lsm" == info.reader
    assert pytest.approx((100.0, 100.0, 300.0)) == tuple(info.voxel_size_nm)
    assert tuple(Channel(*channel) for channel in CHANNELS) == info.channels
    assert info.is_time_declared
    assert () == info.scenes


def test_no_distance_between_single_slices(tmp_path, open_path):
    """A single slice says 1e-19 m of its thickness: unknown."""
    path = write_lsm(
        tmp_path / "a.lsm", coordinates((1, 1, 1, 9, 9)), voxel_size_m=(1e-7, 1e-7, 1e-19)
    )

    assert open_path(path).info.voxel_size_nm.z is None


def test_positions(tmp_path, open_path):
    """Positions are images of their own."""
    volume = coordinates((3, 1, 2, 1, 9, 11))
    path = write_lsm(tmp_path / "a.lsm", volume)

    for position in range(3):
        reader = open_path(path, position)
        assert ("", "", "") == reader.info.scenes
        np.testing.assert_array_equal(volume[position], read_tzcyx(reader))
    with pytest.raises(UnsupportedFormatError, match="no image 4"):
        open_path(path, 3)


@pytest.mark.parametrize("is_lzw", [False, True])
def test_bytes_of_a_plane(is_lzw, tmp_path, open_path):
    """What is said of a plane's place in the file holds."""
    volume = coordinates((1, 2, 3, 17, 23))
    path = write_lsm(tmp_path / "a.lsm", volume, is_lzw=is_lzw, strip_rows=5)
    reader, data = open_path(path), path.read_bytes()
    assert isinstance(reader, ByteRanges)

    raw, (start, end) = reader.raw_plane(0, 2, 1), reader.byte_span(0, 2, 1)

    assert 0 < start < end <= len(data)
    assert is_lzw == (raw is None)
    if raw is not None:
        rows = [data[run.offset : run.offset + run.rows * raw.row_bytes] for run in raw.runs]
        found = np.frombuffer(b"".join(rows), raw.dtype).reshape(17, 23)
        np.testing.assert_array_equal(volume[0, 1, 2], found)


@pytest.mark.parametrize("is_lzw", [False, True])
def test_truncated(is_lzw, tmp_path, open_path):
    """A file that ends early is an error, wherever it is cut."""
    path = write_lsm(tmp_path / "a.lsm", coordinates((1, 4, 3, 17, 23)), is_lzw=is_lzw)
    data = path.read_bytes()
    for end in range(9, len(data) - 8, 997):
        path.write_bytes(data[:end])
        with pytest.raises(StackwatchError) as caught:
            read_tzcyx(open_path(path))
        assert isinstance(caught.value, CorruptSliceError | IncompleteAcquisitionError), end


def test_pages_are_counted(tmp_path, open_path, caplog):
    """Fewer slices than the header declares: incomplete, never a shorter stack."""
    caplog.set_level(logging.CRITICAL)
    volume = coordinates((1, 4, 3, 17, 23))
    path = write_lsm(tmp_path / "a.lsm", volume)
    data = bytearray(path.read_bytes())
    place = data.index((67127628).to_bytes(4, "little"))
    data[place + 16 : place + 20] = (9).to_bytes(4, "little")  # DimensionZ
    path.write_bytes(data)

    with pytest.raises(IncompleteAcquisitionError, match="declares 9"):
        open_path(path)


@pytest.mark.parametrize("is_zipped", [False, True])
def test_converted(is_zipped, tmp_path):
    """The file becomes a dataset with a layer for each channel; in an archive too."""
    volume = coordinates((1, 4, 3, 17, 23))
    path = write_lsm(tmp_path / "a.lsm", volume, channels=CHANNELS, is_lzw=True)
    if is_zipped:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(path, path.name)
        path = tmp_path / "a.zip"

    stackwatch.convert(path, tmp_path / "dataset")

    for channel, layer in enumerate(("Ch1-T1", "ChS", "T_PMT")):
        found = np.asarray(zarr.open_array(tmp_path / "dataset" / layer / "1", mode="r"))
        np.testing.assert_array_equal(volume[0, :, channel], found[0].T)


def test_strips_without_rows(tmp_path, open_path):
    """Compressed strips of no rows are damage."""
    path = write_lsm(tmp_path / "a.lsm", coordinates((1, 2, 3, 17, 23)), is_lzw=True)
    entry = struct.pack("<HHI", 278, 4, 1)  # RowsPerStrip, one number
    path.write_bytes(path.read_bytes().replace(entry + bytes([17]), entry + bytes([0])))

    with pytest.raises(CorruptSliceError, match="zero"):
        open_path(path)
