"""MRC: signs, axes, cells, stacks, stamps; real maps as mrcfile reads them."""

import mrcfile
import numpy as np
import pytest

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.testing.patterns import coordinate_stack
from stackwatch.testing.volumes import write_mrc

STACK = coordinate_stack((4, 6, 10), "int16")
BYTES = coordinate_stack((4, 6, 10), "uint8")


@pytest.mark.parametrize(
    ("fields", "dtype", "is_told"),
    [
        ({"imod_flags": 0}, "uint8", True),
        ({"imod_flags": 1}, "int8", True),
        ({"imod_flags": 0, "smallest": -5, "largest": 90}, "uint8", True),
        ({"imod_stamp": 0}, "int8", False),
        ({"imod_stamp": 0, "smallest": 0, "largest": 127}, "int8", False),
        ({"imod_stamp": 0, "smallest": 0, "largest": 251}, "uint8", False),
        ({"imod_stamp": 0, "smallest": -3, "largest": 251}, "int8", False),
    ],
)
def test_sign_of_bytes(fields, dtype, is_told, tmp_path, open_path):
    """IMOD's flag decides; without it bytes are signed unless the header's range denies it."""
    info = open_path(write_mrc(tmp_path / "a.mrc", BYTES, **fields)).info

    assert dtype == info.pixels.dtype_name
    assert is_told == (not any("sign" in note for note in info.notes))


def test_colours(tmp_path, open_path):
    """Mode 16 is RGB."""
    stack = coordinate_stack((3, 5, 7), "uint8", samples=3)
    reader = open_path(write_mrc(tmp_path / "a.mrc", stack))

    assert ("rgb", 3) == (reader.info.pixels.kind, reader.info.pixels.samples)
    np.testing.assert_array_equal(stack[2], reader.read_plane(0, 0, 2, (0, 5)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("axis_order", [(1, 2, 3), (3, 1, 2)])
def test_voxel_size(order, axis_order, tmp_path, open_path):
    """The cell divided by its intervals, from Å, along x, y, z whatever the stored order."""
    path = write_mrc(
        tmp_path / "a.mrc",
        STACK,
        voxel_size_nm=(0.5, 1.5, 2.5),
        order=order,
        axis_order=axis_order,
    )
    info = open_path(path).info

    assert (0.5, 1.5, 2.5) == tuple(info.voxel_size_nm)
    assert "MRC cell" == info.voxel_size_source


@pytest.mark.parametrize("cell", [None, (-1.0, -1.0, -1.0)])
def test_no_voxel_size(cell, tmp_path, open_path):
    """A cell of zero or less says nothing."""
    info = open_path(write_mrc(tmp_path / "a.mrc", STACK, voxel_size_nm=cell)).info

    assert (None, None, None) == tuple(info.voxel_size_nm)


def test_images_have_no_distance(tmp_path, open_path):
    """The sections of an image stack are single images: no voxel size along z."""
    path = write_mrc(tmp_path / "a.mrcs", STACK, voxel_size_nm=(2.0, 2.0, 2.0), ispg=0, mz=1)

    assert (2.0, 2.0, None) == tuple(open_path(path).info.voxel_size_nm)


def test_volume_stack(tmp_path, open_path):
    """A stack of volumes has one timepoint for each of them."""
    reader = open_path(write_mrc(tmp_path / "a.mrc", STACK, ispg=401, mz=2))

    assert (2, 2) == (reader.info.size_t, reader.info.size_z)
    np.testing.assert_array_equal(STACK[3], reader.read_plane(1, 0, 1, (0, 6)))


def test_without_stamp(tmp_path, open_path):
    """Files from before the stamp are known by their suffix and a plausible header."""
    reader = open_path(write_mrc(tmp_path / "a.rec", STACK, stamp=b"\0\0\0\0", order=">"))

    np.testing.assert_array_equal(STACK[1], reader.read_plane(0, 0, 1, (0, 6)))


def test_not_plausible(tmp_path, open_path):
    """Bytes that no header can have are damage, not a volume."""
    path = tmp_path / "a.mrc"
    path.write_bytes(bytes(range(256)) * 8)

    with pytest.raises(CorruptSliceError, match="mode"):
        open_path(path)


@pytest.mark.parametrize(("mode", "word"), [(4, "complex"), (3, "complex"), (101, "4 bits")])
def test_refused_modes(mode, word, tmp_path, open_path):
    """Transforms and packed values are refused by name."""
    with pytest.raises(UnsupportedFormatError, match=word):
        open_path(write_mrc(tmp_path / "a.mrc", STACK, mode=mode))


def test_surplus_and_angles_are_told(tmp_path, open_path):
    """What is left out, or shown otherwise than it is, is said."""
    path = write_mrc(tmp_path / "a.mrc", STACK, angle=94.5)
    path.write_bytes(path.read_bytes() + b"12345")
    notes = " ".join(open_path(path).info.notes)

    assert "5 bytes after" in notes
    assert "94.5" in notes


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32"])
def test_as_mrcfile_writes_it(dtype, tmp_path, open_path):
    """Files that mrcfile writes read as what was written."""
    stack = coordinate_stack((3, 5, 7), dtype)
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as judge:
        judge.set_data(stack)
        judge.voxel_size = (11.0, 11.0, 25.0)
    reader = open_path(path)
    planes = [reader.read_plane(0, 0, z, (0, 5)) for z in range(3)]

    np.testing.assert_array_equal(stack, np.stack(planes))
    assert (1.1, 1.1, 2.5) == tuple(reader.info.voxel_size_nm)
