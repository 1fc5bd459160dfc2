"""OIB: each plane a TIFF in an OLE document, judged by oiffile's own arrays."""

import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from stackwatch.readers.probe import open_image
from stackwatch.readers.protocol import SliceReader

oiffile = pytest.importorskip("oiffile", reason="oiffile is not installed: no OIB")
oib_module = pytest.importorskip("stackwatch.readers.oib")

SAMPLE = "oib/bsd-oiffile/test.oib"


class Document:
    """Stands in for oiffile's document: planes that hold their number, and a main file."""

    def __init__(self, names: list[str], sizes: dict[str, int], interval: object = -500) -> None:
        self._names = [f"Storage00001/{name}" for name in names]
        whole = {"X": 5, "Y": 4, "C": 1, "Z": 0, "T": 0, "L": 0} | sizes
        self.mainfile: dict[str, Any] = {
            f"Axis {number} Parameters Common": {
                "AxisCode": axis, "AxisName": axis, "MaxSize": size, "Interval": interval,
                "UnitName": "nm",
            }
            for number, (axis, size) in enumerate(whole.items())
        }  # fmt: skip
        self.mainfile["Reference Image Parameter"] = {
            "WidthConvertValue": 0.25, "WidthUnit": "um",
            "HeightConvertValue": 0.5, "HeightUnit": "um",
        }  # fmt: skip

    def files(self) -> Iterator[str]:
        """Yield the names of all files."""
        yield from ["Storage00001/s_Thumb.bmp", *self._names]

    def open_file(self, name: str) -> io.BytesIO:
        """Return a TIFF of the plane's number in the sorted names."""
        out = io.BytesIO()
        tifffile.imwrite(out, np.full((4, 5), sorted(self._names).index(name), np.uint16))
        out.seek(0)
        return out

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def opened_as(monkeypatch):
    """Return a function that opens a stand-in as an OIB."""

    def opened(document: Document) -> SliceReader:
        monkeypatch.setattr(oib_module, "_opened", lambda *_: document)
        reader: SliceReader = oib_module.open_oib(io.BytesIO(bytes(999)), "a.oib")
        return reader

    return opened


def read_tczyx(reader: SliceReader) -> np.ndarray:
    """Return every plane, axes t, c, z, y, x."""
    info = reader.info
    indices = np.ndindex(info.size_t, info.size_c, info.size_z)
    planes = [reader.read_plane(t, c, z, (0, info.size_y)).copy() for t, c, z in indices]
    return np.stack(planes).reshape(info.size_t, info.size_c, info.size_z, info.size_y, info.size_x)


def test_axes_by_name(opened_as):
    """A plane's name says channel, slice and time."""
    names = [f"s_C00{c}Z00{z}T00{t}.tif" for t in (1, 2) for z in (1, 2, 3) for c in (1, 2)]
    reader = opened_as(Document(names, {"C": 2, "Z": 3, "T": 2}))

    found = read_tczyx(reader)[..., 0, 0]

    expected = np.arange(12).reshape(2, 3, 2).transpose(2, 0, 1)  # sorted: c, z, t
    np.testing.assert_array_equal(expected, found)
    assert (250.0, 500.0, 500.0) == tuple(reader.info.voxel_size_nm)


def test_missing_planes(opened_as):
    """Planes that the main file declares and that are not there are absent."""
    reader = opened_as(Document(["s_C001T001.tif", "s_C001T003.tif"], {"T": 3}))

    assert ((1, 0, 0),) == reader.info.absent_tcz
    with pytest.raises(CorruptSliceError, match="t=1"):
        reader.read_plane(1, 0, 0, (0, 4))


def test_hardly_anything(opened_as):
    """A declaration of a million million planes is answered before they are listed."""
    with pytest.raises(IncompleteAcquisitionError, match="1 are there"):
        opened_as(Document(["s_C001T001.tif"], {"T": 10**6, "Z": 10**6}))


@pytest.mark.parametrize(
    ("names", "sizes", "what"),
    [
        (["s_C001.tif", "s_C002.tif"], {}, "declares 1, 1, 1"),
        (["s_C001L001.tif", "s_C001L002.tif"], {"L": 2}, "neither space nor time"),
        (["s_C001P002.tif"], {}, "unknown place"),
        (["s_C001.tif"], {"X": 7}, "no x-y pictures"),
    ],
)
def test_refused(names, sizes, what, opened_as):
    """What cannot be told for certain is refused by its name."""
    with pytest.raises(UnsupportedFormatError, match=what):
        opened_as(Document(names, sizes))


@pytest.mark.samples
def test_sample(samples, open_path):
    """The real file has its names and colours."""
    info = open_path(samples / SAMPLE).info

    assert ["CH1", "Alexa Fluor 546", "TD1"] == [channel.name for channel in info.channels]
    assert Channel("CH1", (0, 255, 0)) == info.channels[0]
    assert "uint16" == info.pixels.dtype_name


@pytest.mark.samples
def test_truncated(samples):
    """A file that ends early is an error, wherever it is cut in its planes or its directory."""
    data = (samples / SAMPLE).read_bytes()
    for end in (100, 600, 70_000, 500_000, len(data) - 100_000):
        with pytest.raises(CorruptSliceError):
            read_tczyx(open_image(io.BytesIO(data[:end]), "a.oib"))


@pytest.mark.samples
def test_other_document(samples):
    """An OLE document without the name of an OIB in it is refused by name."""
    data = (samples / SAMPLE).read_bytes()
    other = data.replace("OibInfo".encode("utf-16-le"), "ZviInfo".encode("utf-16-le"))

    with pytest.raises(StackwatchError, match="no OIB"):
        open_image(io.BytesIO(other), "a.zvi")


def test_empty_document():
    """A damaged header is an error of ours."""
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + struct.pack(
        "<16sHHHHH", b"", 0x3E, 3, 0xFFFE, 9, 6
    )

    with pytest.raises(CorruptSliceError):
        open_image(io.BytesIO(head.ljust(2048, b"\0")), "a.oib")


@pytest.mark.parametrize("directory", [1, 2])
def test_chain_that_leads_into_itself(directory, with_little_memory):
    """A table that names a sector as its own follower is damage, and takes no memory to find."""
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + struct.pack(
        "<16s6H10I", b"", 0x3E, 3, 0xFFFE, 9, 6, 0, 0, 0, 1, directory, 0, 4096, 1, 0, 0, 0
    )
    table = struct.pack("<128I", 0xFFFFFFFD, 0xFFFFFFFE, 2, *([0xFFFFFFFF] * 125))
    root = "Root Entry".encode("utf-16-le").ljust(64, b"\0") + struct.pack(
        "<HBB3I", 22, 5, 1, *[2**32 - 1] * 3
    )
    root = root.ljust(116, b"\0") + struct.pack("<IQ", 2, 64)  # its own sectors begin at 2
    data = head.ljust(512, b"\0") + table + root.ljust(512, b"\0") * 2

    with pytest.raises(CorruptSliceError, match="more than the 2,048 bytes"):
        open_image(io.BytesIO(data), "a.oib")


@pytest.mark.samples
@pytest.mark.parametrize("is_zipped", [False, True])
def test_converted(is_zipped, samples, tmp_path):
    """The file becomes a dataset with a layer for each channel; in an archive too."""
    path = Path(samples / SAMPLE)
    if is_zipped:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(path, path.name)
        path = tmp_path / "a.zip"

    stackwatch.convert(path, tmp_path / "set")

    with oiffile.OifFile(str(samples / SAMPLE)) as judge:
        expected = judge.asarray()
    for channel, layer in enumerate(("CH1", "Alexa_Fluor_546", "TD1")):
        found = np.asarray(zarr.open_array(tmp_path / "set" / layer / "1", mode="r"))
        np.testing.assert_array_equal(expected[channel], found[0, :, :, 0].T)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("a.oir", "Bio-Formats"), ("a.oif", "drop both"), ("a.xlef", "with the LOF files")],
)
def test_why_not(name, reason, tmp_path):
    """Formats of the same makers that are not read are refused with the reason."""
    (tmp_path / name).write_bytes(b"\xff\xfe[\0F\0i\0l\0e\0]\0" * 20)

    with pytest.raises(UnsupportedFormatError, match=reason):
        stackwatch.convert(tmp_path / name, tmp_path / "set")
