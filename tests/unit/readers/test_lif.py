"""LIF and LOF: images by their description, judged by liffile's own arrays."""

import errno
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

import stackwatch
from stackwatch.errors import (
    CorruptSliceError,
    MissingMetadataError,
    SourceUnreadableError,
    UnsupportedFormatError,
)
from stackwatch.model.image import Channel
from stackwatch.readers.protocol import SliceReader
from stackwatch.testing.lif_files import LifPicture, write_lif, write_lof

liffile = pytest.importorskip("liffile", reason="liffile is not installed: no LIF")

OpenPath = Callable[..., SliceReader]
STEPS = {"x": 1e-7, "y": 1e-7, "z": -3e-7, "t": 2.0}
SAMPLE = "lif/gpl-readlif/xz-example.lif"


def picture(axes: str, shape: tuple[int, ...], dtype: str = "uint16", **more: object) -> LifPicture:
    """Return an image in which every value is different, as far as the type allows."""
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    tables = more.pop("tables", ("Gray",))
    return LifPicture("one", values, axes, STEPS, tables, **more)  # type: ignore[arg-type]


def read_tczyx(reader: SliceReader) -> np.ndarray:
    """Return every plane, axes t, c, z, y, x, and s for colours."""
    info = reader.info
    indices = list(np.ndindex(info.size_t, info.size_c, info.size_z))
    planes = [reader.read_plane(t, c, z, (0, info.size_y)).copy() for t, c, z in indices]
    shape = (info.size_t, info.size_c, info.size_z, *planes[0].shape)
    return np.stack(planes).reshape(shape)


def as_tczyx(array: np.ndarray, axes: str) -> np.ndarray:
    """Return an array with all five axes in their order."""
    missing = "".join(axis for axis in "tczyx" if axis not in axes)
    whole = array[(None,) * len(missing)]
    return whole.transpose([(missing + axes).index(axis) for axis in "tczyx"])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("yx", (9, 11)),
        ("zyx", (3, 9, 11)),
        ("tzcyx", (2, 3, 2, 9, 11)),
        ("ctzyx", (2, 2, 3, 9, 11)),
        ("yczx", (5, 2, 7, 11)),
        ("tczx", (4, 2, 7, 11)),
        ("zyxc", (3, 9, 11, 2)),
    ],
)
def test_axes(axes, shape, dtype, tmp_path, open_path):
    """Each voxel lies where it was written, and where liffile finds it."""
    tables = ("Green", "Red") if "c" in axes else ("Gray",)
    written = picture(axes, shape, dtype, tables=tables)
    path = write_lif(tmp_path / "a.lif", [written])

    found = read_tczyx(open_path(path))

    np.testing.assert_array_equal(as_tczyx(written.array, axes), found)
    with liffile.LifFile(path) as judge:
        image = judge.images[0]
        letters = "".join("c" if dim == "S" else dim.lower() for dim in image.dims)
        np.testing.assert_array_equal(as_tczyx(image.asarray(), letters), found)


def test_header(tmp_path, open_path):
    """Steps are positive lengths, channels have the names of their dyes and the tables' colours."""
    written = picture("czyx", (2, 3, 9, 11), tables=("Green", "Magenta"), dyes=("ALEXA 488", "Cy5"))
    info = open_path(write_lif(tmp_path / "a.lif", [written])).info

    assert pytest.approx((100.0, 100.0, 300.0)) == tuple(info.voxel_size_nm)
    assert (Channel("ALEXA 488", (0, 255, 0)), Channel("Cy5", (255, 0, 255))) == info.channels
    assert () == info.scenes


@pytest.mark.parametrize("tables", [("Red", "Green", "Blue"), ("Blue", "Green", "Red")])
def test_colours(tables, tmp_path, open_path):
    """Samples of a colour become RGB, whichever comes first in the file."""
    written = picture("zyxc", (2, 9, 11, 3), "uint8", tables=tables, is_colour=True)
    reader = open_path(write_lif(tmp_path / "a.lif", [written]))

    expected = written.array if tables[0] == "Red" else written.array[..., ::-1]
    assert "rgb" == reader.info.pixels.kind
    np.testing.assert_array_equal(expected, read_tczyx(reader)[0, 0])


def test_lof(tmp_path, open_path):
    """A LOF holds one image."""
    written = picture("zyx", (3, 9, 11))

    reader = open_path(write_lof(tmp_path / "a.lof", written))

    assert pytest.approx((100.0, 100.0, 300.0)) == tuple(reader.info.voxel_size_nm)
    np.testing.assert_array_equal(written.array, read_tczyx(reader)[0, 0])


@pytest.mark.parametrize(
    ("axes", "shape", "what"), [("mzyx", (2, 3, 9, 11), "mosaic"), ("λyx", (4, 9, 11), "wavelen")]
)
def test_refused_axes(axes, shape, what, tmp_path, open_path):
    """An axis that is neither space nor time nor channel is refused by its name."""
    path = write_lif(tmp_path / "a.lif", [picture(axes, shape)])

    with pytest.raises(UnsupportedFormatError, match=what):
        open_path(path)


def test_padded_rows(tmp_path, open_path):
    """Rows with bytes between them are not read as if there were none."""
    path = write_lif(tmp_path / "a.lif", [picture("yx", (9, 11))], row_padding=2)

    with pytest.raises((UnsupportedFormatError, CorruptSliceError)):
        open_path(path)


def test_truncated(tmp_path, open_path):
    """A file that ends early is damaged, wherever it is cut."""
    path = write_lif(tmp_path / "a.lif", [picture("zyx", (3, 9, 11))])
    data = path.read_bytes()
    for end in [20, *range(100, len(data), 211), len(data) - 1]:
        path.write_bytes(data[:end])
        with pytest.raises(CorruptSliceError):
            open_path(path)


def test_failing_disk(tmp_path, open_path, monkeypatch):
    """An error of the disk is the source's, even where the library takes it for the end."""
    path = write_lif(tmp_path / "a.lif", [picture("zyx", (3, 50, 50)), picture("yx", (9, 9))])
    read, end = os.pread, path.stat().st_size - 2000

    def failing(descriptor: int, count: int, offset: int) -> bytes:
        if offset > end - 9000:
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", failing)

    with pytest.raises(SourceUnreadableError):
        open_path(path)


@pytest.mark.parametrize("is_zipped", [False, True])
def test_converted(is_zipped, tmp_path):
    """Each image becomes a dataset, in an archive too."""
    first, second = picture("zyx", (3, 9, 11)), picture("tzyx", (2, 4, 8, 7), "uint8")
    pictures = [
        LifPicture("cells", first.array, "zyx", STEPS),
        LifPicture("late", second.array, "tzyx", STEPS),
    ]
    path = write_lif(tmp_path / "a.lif", pictures)
    if is_zipped:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(path, path.name)
        path = tmp_path / "a.zip"

    stackwatch.convert(path, tmp_path / "set")

    one = zarr.open_array(next((tmp_path / "set_cells").glob("*/1")), mode="r")
    two = zarr.open_array(next((tmp_path / "set_late").glob("*/1")), mode="r")
    np.testing.assert_array_equal(first.array, np.asarray(one)[0].T)
    np.testing.assert_array_equal(second.array, np.asarray(two)[:, 0].transpose(0, 3, 2, 1))


@pytest.mark.samples
def test_sample_without_rows(samples, tmp_path):
    """A section along z says nothing of y: its voxel size is asked for, not invented."""
    with pytest.raises(MissingMetadataError):
        stackwatch.convert(Path(samples / SAMPLE), tmp_path / "set")
