"""DM3 and DM4: which image, which bytes, which calibration; real files as others read them."""

import io

import numpy as np
import pytest

from stackwatch.errors import CorruptSliceError, StackwatchError, UnsupportedFormatError
from stackwatch.readers.probe import open_image, probe_image
from stackwatch.testing.patterns import coordinate_slice, coordinate_stack
from stackwatch.testing.volumes import write_dm

VARIANTS = [(3, "<"), (3, ">"), (4, "<"), (4, ">")]
STACK = coordinate_stack((3, 5, 7), "int16")
PICTURE = coordinate_slice((6, 10), 0, "float32")


@pytest.mark.parametrize(("version", "order"), VARIANTS)
@pytest.mark.parametrize("has_thumbnail", [True, False])
def test_the_image_not_the_thumbnail(version, order, has_thumbnail, tmp_path, open_path):
    """The image is read and its thumbnail is not, in both versions and byte orders."""
    path = tmp_path / f"a.dm{version}"
    write_dm(path, PICTURE, version=version, order=order, has_thumbnail=has_thumbnail)
    reader = open_path(path)

    assert ("dm", 1, 6, 10) == (
        reader.info.reader, reader.info.size_z, reader.info.size_y, reader.info.size_x
    )  # fmt: skip
    np.testing.assert_array_equal(PICTURE, reader.read_plane(0, 0, 0, (0, 6)))


@pytest.mark.parametrize(("version", "order"), VARIANTS)
def test_calibrations(version, order, tmp_path, open_path):
    """Scales with a unit of length are the voxel size, axis by axis."""
    calibrations = [(2.0, "pm"), (3.0, "nm"), (4.0, "µm")]
    path = tmp_path / "a.dm4"
    write_dm(path, STACK, version=version, order=order, calibrations=calibrations)
    info = open_path(path).info

    assert (0.002, 3.0, 4000.0) == tuple(info.voxel_size_nm)
    assert f"DM{version} calibration" == info.voxel_size_source


@pytest.mark.parametrize("unit", ["1/nm", "eV", "pixels", "rad"])
def test_what_is_no_length(unit, tmp_path, open_path):
    """Diffraction patterns and spectra have no voxel size, and the unit is told."""
    info = open_path(write_dm(tmp_path / "a.dm3", PICTURE, calibrations=[(1.0, unit)] * 2)).info

    assert (None, None, None) == tuple(info.voxel_size_nm)
    assert any(unit in note for note in info.notes)


def test_uncalibrated(tmp_path, open_path):
    """No unit is no voxel size, and nothing to tell."""
    info = open_path(write_dm(tmp_path / "a.dm3", STACK)).info

    assert ((None, None, None), ()) == (tuple(info.voxel_size_nm), info.notes)


@pytest.mark.parametrize("version", [3, 4])
def test_colours(version, tmp_path, open_path):
    """Blue, green, red and an unused byte become RGB."""
    colours = coordinate_slice((5, 7), 0, "uint8", samples=4)
    reader = open_path(write_dm(tmp_path / "a.dm3", colours, version=version, data_type=23))

    assert ("rgb", 3) == (reader.info.pixels.kind, reader.info.pixels.samples)
    np.testing.assert_array_equal(colours[..., [2, 1, 0]], reader.read_plane(0, 0, 0, (0, 5)))


def test_bilevel(tmp_path, open_path):
    """Yes and no are kept as such; the treatment makes 0 and 255, or 0 and 1, of them."""
    mask = coordinate_slice((5, 7), 0, "bool")
    reader = open_path(write_dm(tmp_path / "a.dm3", mask))

    assert ("bool", "bilevel") == (reader.info.pixels.dtype_name, reader.info.pixels.kind)
    np.testing.assert_array_equal(mask, reader.read_plane(0, 0, 0, (0, 5)))


def test_axes_of_one_are_none(tmp_path, open_path):
    """A fourth axis of a single position is no fourth axis."""
    reader = open_path(write_dm(tmp_path / "a.dm3", STACK[None]))

    assert (3, 5, 7) == (reader.info.size_z, reader.info.size_y, reader.info.size_x)


def test_several_images(tmp_path):
    """A file with several images names them all, and opens as any of them."""
    path = write_dm(tmp_path / "a.dm4", PICTURE, STACK, version=4, names=("Überblick", "tilts"))
    with path.open("rb") as file:
        first, reader = probe_image(file, path.name), open_image(file, path.name, 1)

        assert (("Überblick", "tilts"), 0) == (first.scenes, first.scene)
        assert (first.scenes, 1, 3) == (
            reader.info.scenes,
            reader.info.scene,
            reader.info.size_z,
        )
        np.testing.assert_array_equal(STACK[2], reader.read_plane(0, 0, 2, (0, 5)))
        with pytest.raises(UnsupportedFormatError, match="no image 3: it holds 2"):
            open_image(file, path.name, 2)


def test_an_image_that_is_none_is_named(tmp_path):
    """A spectrum among images is refused by its number, the image beside it is read."""
    path = write_dm(tmp_path / "a.dm4", PICTURE[0], PICTURE, version=4)
    with path.open("rb") as file:
        with pytest.raises(UnsupportedFormatError, match=r"a spectrum .* as image 1 of 2"):
            probe_image(file, path.name)

        assert 10 == probe_image(file, path.name, 1).size_x


@pytest.mark.parametrize(
    ("stack", "data_type", "what"),
    [
        (PICTURE.astype(np.complex64), None, "complex"),
        (PICTURE, 27, "packed complex"),
        (PICTURE[0], None, "spectrum"),
        (np.zeros((2, 2, 2, 2), np.int16), None, "4 axes"),
        (PICTURE, 99, "type 99"),
    ],
)
def test_refused(stack, data_type, what, tmp_path):
    """Transforms, spectra and unknown types are refused by name."""
    path = write_dm(tmp_path / "a.dm3", stack, data_type=data_type)
    with path.open("rb") as file, pytest.raises(UnsupportedFormatError, match=what):
        probe_image(file, path.name)


def test_only_a_thumbnail(tmp_path):
    """A file without any image is refused."""
    with (
        write_dm(tmp_path / "a.dm3").open("rb") as file,
        pytest.raises(UnsupportedFormatError, match="no image"),
    ):
        probe_image(file, "a.dm3")


def test_fewer_pixels_than_declared(tmp_path):
    """Sizes and data that do not fit are damage."""
    path = write_dm(tmp_path / "a.dm3", PICTURE, data_type=12)  # 8 bytes each, and 4 are there
    with path.open("rb") as file, pytest.raises(CorruptSliceError, match="240 bytes"):
        probe_image(file, path.name)


@pytest.mark.parametrize(("version", "order"), VARIANTS)
def test_every_truncation(version, order, tmp_path):
    """Cut anywhere, the file is an error of ours, never an image."""
    path = write_dm(tmp_path / "a.dm3", PICTURE, version=version, order=order)
    data = path.read_bytes()
    for end in range(5, len(data)):
        with pytest.raises(StackwatchError):
            probe_image(io.BytesIO(data[:end]), path.name)
