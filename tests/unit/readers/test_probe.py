"""What a file is goes by its first bytes; every refusal names what it looks like."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.readers.probe import FOREIGN_SUFFIXES, IMAGE_SUFFIXES, probe_image


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a", "a.xyz"])
def test_content_comes_before_suffix(name):
    """A TIFF is read as a TIFF whatever it is called."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((6, 10), np.uint8))

    assert "tiff" == probe_image(buffer, name).reader


def test_file_stays_open():
    """Probing leaves the file to its opener."""
    buffer = io.BytesIO()
    Image.new("L", (10, 6)).save(buffer, "png")

    probe_image(buffer, "a.png")

    assert not buffer.closed


@pytest.mark.parametrize(
    ("head", "name", "what"),
    [
        (b"\x93NUMPY", "a.npy", "NumPy"),
        (b"\x01" * 344 + b"ni1\0", "a.hdr", "NIfTI pair"),
        (b"GIF89a", "a.gif", "GIF"),
        (b"PK\x03\x04", "a.tif", "zip"),
        (b"stage position 1 2 3\n" * 9, "a.tif", "text"),
        (b"stage position 1 2 3\n" * 9, "stage.map", "text"),
        (b"\x01\x02\x03\x04", "a.vsi", "Olympus VSI"),
    ],
)
def test_refused_by_name(head, name, what):
    """What is not read is called by its name."""
    with pytest.raises(UnsupportedFormatError) as caught:
        probe_image(io.BytesIO(head), name)

    assert what in caught.value.values["format"]


@pytest.mark.parametrize("data", [b"", b"\0" * 4096])
def test_empty_or_zeros(data):
    """An empty file, or one of zeros, was not written completely: worth another try."""
    with pytest.raises(CorruptSliceError):
        probe_image(io.BytesIO(data), "a.tif")


def test_damaged_beginning():
    """Garbage that is named .png is a damaged PNG."""
    with pytest.raises(CorruptSliceError) as caught:
        probe_image(io.BytesIO(b"\x01\x02\x03garbage\xff\xfe"), "a.png")

    assert "PNG" in caught.value.message


def test_unknown():
    """What nobody knows is refused as such."""
    with pytest.raises(UnsupportedFormatError) as caught:
        probe_image(io.BytesIO(b"\x01\x02\x03\x04\xff"), "a.xyz")

    assert "no known image format" in caught.value.message


def test_suffix_tables_do_not_overlap():
    """A suffix is read or refused, not both."""
    assert set() == IMAGE_SUFFIXES & FOREIGN_SUFFIXES
