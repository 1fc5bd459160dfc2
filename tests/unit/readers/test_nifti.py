"""NIfTI: both versions and byte orders, units, slopes, times; as nibabel reads and writes it."""

import nibabel
import numpy as np
import pytest

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.testing.patterns import coordinate_stack
from stackwatch.testing.volumes import write_nifti

VARIANTS = [(1, "<"), (1, ">"), (2, "<"), (2, ">")]
STACK = coordinate_stack((4, 6, 10), "int16")


def voxels(reader) -> np.ndarray:
    """Return everything a reader has, shape (c, t, z, y, x)."""
    info = reader.info
    return np.array([
        [
            [reader.read_plane(t, c, z, (0, info.size_y)) for z in range(info.size_z)]
            for t in range(info.size_t)
        ]
        for c in range(info.size_c)
    ])  # fmt: skip


@pytest.mark.parametrize(("version", "order"), VARIANTS)
def test_edges(version, order, tmp_path, open_path):
    """Edges are lengths in the unit the header names, whatever their sign."""
    edges = (0.25, -0.5, 4.0)
    path = tmp_path / "a.nii"
    write_nifti(path, STACK, version=version, order=order, edges=edges, unit="µm")
    info = open_path(path).info

    assert (250.0, 500.0, 4000.0) == tuple(info.voxel_size_nm)
    assert ("NIfTI pixdim", ()) == (info.voxel_size_source, info.notes)


def test_unknown_unit(tmp_path, open_path):
    """Edges without a unit are no voxel size, and are told."""
    info = open_path(write_nifti(tmp_path / "a.nii", STACK, edges=(2.0, 2.0, 3.0), unit="")).info

    assert ((None, None, None), "") == (tuple(info.voxel_size_nm), info.voxel_size_source)
    assert "2 x 2 x 3" in info.notes[0]


@pytest.mark.parametrize(
    ("scale", "kept"),
    [
        ((0.0, 0.0), (1.0, 0.0)),
        ((1.0, 0.0), (1.0, 0.0)),
        ((0.5, -3.0), (0.5, -3.0)),
        ((float("nan"), 0.0), (1.0, 0.0)),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_slope_and_intercept(scale, kept, version, tmp_path, open_path):
    """Values stay as they are stored; what they stand for is kept beside them and told."""
    reader = open_path(write_nifti(tmp_path / "a.nii", STACK, scale=scale, version=version))

    assert kept == reader.info.pixels.value_scale
    assert (kept != (1.0, 0.0)) == bool(reader.info.notes)
    np.testing.assert_array_equal(STACK, voxels(reader)[0, 0])


@pytest.mark.parametrize(("version", "order"), VARIANTS)
def test_times_and_vectors(version, order, tmp_path, open_path):
    """The fourth axis is time, the fifth one channels."""
    stack = (
        np.stack([STACK, STACK + 7, STACK * 3])[None]
        + np.array([0, 100])[:, None, None, None, None]
    )
    stack = stack.astype(np.int16)
    reader = open_path(write_nifti(tmp_path / "a.nii", stack, version=version, order=order))

    assert (2, 3, 4) == (reader.info.size_c, reader.info.size_t, reader.info.size_z)
    np.testing.assert_array_equal(stack, voxels(reader))


@pytest.mark.parametrize("samples", [3, 4])
def test_colours(samples, tmp_path, open_path):
    """RGB and RGBA are samples of a pixel."""
    stack = coordinate_stack((2, 5, 7), "uint8", samples=samples)
    record = np.dtype([(letter, np.uint8) for letter in "RGBA"[:samples]])
    reader = open_path(write_nifti(tmp_path / "a.nii", stack.view(record)[..., 0], scale=(2, 0)))

    assert ("rgb", samples == 4) == (reader.info.pixels.kind, reader.info.pixels.has_alpha)
    assert (1.0, 0.0) == reader.info.pixels.value_scale
    np.testing.assert_array_equal(stack, voxels(reader)[0, 0])


def test_picture(tmp_path, open_path):
    """Two axes are one slice."""
    reader = open_path(write_nifti(tmp_path / "a.nii", STACK[0]))

    assert 1 == reader.info.size_z
    np.testing.assert_array_equal(STACK[0], voxels(reader)[0, 0, 0])


def test_values_behind_extensions(tmp_path, open_path):
    """Values begin where the header says; 0 means right behind it."""
    later = open_path(write_nifti(tmp_path / "a.nii", STACK, offset=1024))

    np.testing.assert_array_equal(STACK, voxels(later)[0, 0])
    np.testing.assert_array_equal(
        STACK, voxels(open_path(write_nifti(tmp_path / "b.nii", STACK, offset=0)))[0, 0]
    )


@pytest.mark.parametrize(
    ("fields", "error", "what"),
    [
        ({"datatype": 32}, UnsupportedFormatError, "complex"),
        ({"datatype": 1}, UnsupportedFormatError, "one bit"),
        ({"datatype": 1536}, UnsupportedFormatError, "128 bits"),
        ({"datatype": 77}, CorruptSliceError, "data type 77"),
        ({"count": 9}, CorruptSliceError, "9 axes"),
        ({"count": 0}, CorruptSliceError, "0 axes"),
        ({"offset": 100}, CorruptSliceError, "byte 100"),
    ],
)
def test_refused(fields, error, what, tmp_path, open_path):
    """What is not read is refused by name, what cannot be is damage."""
    with pytest.raises(error, match=what):
        open_path(write_nifti(tmp_path / "a.nii", STACK, **fields))


def test_six_axes(tmp_path, open_path):
    """A sixth axis has no place in a dataset."""
    with pytest.raises(UnsupportedFormatError, match="five axes"):
        open_path(write_nifti(tmp_path / "a.nii", np.zeros((2, 1, 1, 2, 3, 4), np.int16)))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [">i2", "<u1", "<f4", ">u4"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_as_nibabel_writes_it(suffix, dtype, kind, tmp_path, open_path):
    """Files that nibabel writes read as what was written."""
    stack = coordinate_stack((3, 5, 7), np.dtype(dtype).name)
    header = kind.header_class(endianness=dtype[0])
    header.set_data_dtype(np.dtype(dtype))
    header.set_xyzt_units("micron")
    path = tmp_path / f"a{suffix}"
    nibabel.save(kind(stack.T, np.diag([2.0, 3.0, 4.0, 1.0]), header), path)
    reader = open_path(path)

    np.testing.assert_array_equal(stack, voxels(reader)[0, 0])
    assert (2000.0, 3000.0, 4000.0) == tuple(reader.info.voxel_size_nm)
