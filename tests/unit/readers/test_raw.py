"""Raw files: read as described, to the byte; descriptions say everything or are refused."""

import io

import numpy as np
import pytest

from stackwatch.errors import ConflictingMetadataError, CorruptSliceError, MissingMetadataError
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.readers.raw import RawShape, complete_raw, open_raw
from stackwatch.readers.raw_text import read_raw_description
from stackwatch.testing.patterns import coordinate_stack


def shape_in(text: str, name: str) -> RawShape:
    """Return what a text beside a raw file says by itself."""
    return complete_raw([read_raw_description(text, name)], "a.raw")


STACK = coordinate_stack((4, 6, 10), "uint16")


@pytest.mark.parametrize("axes", ["zyx", "xyz", "yzx", "zxy"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_order_of_axes(axes, order):
    """Planes are those of the stack, in whichever order its axes are stored."""
    stored = STACK.transpose(["zyx".index(axis) for axis in axes])
    data = b"head" + stored.astype(f"{order}u2").tobytes()
    shape = RawShape(axes, stored.shape, "uint16", order, 4)
    reader = open_raw(io.BytesIO(data), "a.raw", shape)

    for z, plane in enumerate(STACK):
        np.testing.assert_array_equal(plane, reader.read_plane(0, 0, z, (0, 6)))
    reader.close()


def test_colours():
    """Three samples are RGB."""
    stack = coordinate_stack((2, 3, 5), "uint8", samples=3)
    shape = RawShape("zyxs", stack.shape, "uint8")
    reader = open_raw(io.BytesIO(stack.tobytes()), "a.raw", shape)

    assert ("rgb", 3) == (reader.info.pixels.kind, reader.info.pixels.samples)
    np.testing.assert_array_equal(stack[1], reader.read_plane(0, 0, 1, (0, 3)))


@pytest.mark.parametrize(
    ("change", "error"), [(-1, CorruptSliceError), (1, ConflictingMetadataError)]
)
def test_size_matches_to_the_byte(change, error):
    """A byte less is truncation, a byte more a wrong description."""
    data = bytes(STACK.nbytes + change)

    with pytest.raises(error, match=f"{STACK.nbytes:,}"):
        open_raw(io.BytesIO(data), "a.raw", RawShape("zyx", STACK.shape, "uint16"))


EXPECTED = RawShape(
    "zyx", (4, 6, 10), "uint16", ">", 512, PartialVoxelSize(4.0, 4.0, 30.0), "“a.txt”", "“a.txt”"
)


@pytest.mark.parametrize(
    "text",
    [
        '{"shape": [4, 6, 10], "axes": "zyx", "dtype": "uint16", "byte_order": "big",'
        ' "offset": 512, "voxel_size_nm": [4, 4, 30]}',
        '{"width": 10, "height": 6, "depth": 4, "type": "unsigned short", "endian": "BE",'
        ' "header_bytes": 512, "voxel_size": [0.004, 0.004, 0.03], "unit": "um"}',
        "<raw width='10' height='6' depth='4'><DataType>ushort</DataType>"
        "<ByteOrder>big-endian</ByteOrder><Offset>512</Offset>"
        "<VoxelSizeNm>4 4 30</VoxelSizeNm></raw>",
        "shape: 4 x 6 x 10\naxes: z, y, x\ndata type: 16-bit unsigned\nendianness: motorola\n"
        "skip = 512\nvoxel size: 4 4 30\nunit = nm\nremark: anything",
        "nx=10, ny=6, nz=4, dtype=u2, byte order=msb, offset=512, voxel_size_nm=4 4 30",
    ],
)
def test_descriptions(text):
    """JSON, XML and lines of words say the same."""
    assert EXPECTED == shape_in(text, "a.txt")


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", "shape"),
        ("shape: 4 6 10\ndtype: uint8", "axes"),
        ("shape: 4 6 10\naxes: zyq\ndtype: uint8", "shape and axes"),
        ("shape: 4 0 10\naxes: zyx\ndtype: uint8", "shape and axes"),
        ("width: 10\nheight: 6\ndtype: complex", "dtype"),
        ("width: 10\nheight: 6\ndtype: uint16", "byte_order"),
        ("width: ten\nheight: 6\ndtype: uint8", "x"),
        ("width: 10\nheight: 6\ndtype: uint8\noffset: -3", "offset"),
    ],
)
def test_what_is_not_said(text, missing):
    """No fact is made up: what is missing is asked for by its name."""
    with pytest.raises(MissingMetadataError) as caught:
        shape_in(text, "a.info")

    assert missing == caught.value.values["missing"]


@pytest.mark.parametrize(
    "text", ['{"shape": [4,', "<raw><width>", "<!DOCTYPE a><raw/>", '{"a": ' * 9]
)
def test_damaged_descriptions(text):
    """A text that cannot be parsed is named."""
    with pytest.raises(MissingMetadataError, match=r"a\.info"):
        shape_in(text, "a.info")
