"""The synthetic acquisitions that other tests lean on."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from stackwatch.testing.synthetic import (
    SyntheticAcquisition,
    SyntheticLayer,
    coordinate_slice,
    coordinate_stack,
    coordinate_tczyx,
    iter_em_slices,
    iter_label_slices,
    iter_light_sheet_slices,
    write_image,
    write_ome_set,
)

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_swap_and_shift_of_axes_changes_the_values(dtype):
    """Coordinates are encoded so that no mistake in the order of axes goes unnoticed."""
    stack = coordinate_stack((6, 6, 6), dtype)
    orders = [(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]

    assert (np.dtype(dtype), (6, 6, 6)) == (stack.dtype, stack.shape)
    assert not any(np.array_equal(stack, stack.transpose(order)) for order in orders)
    assert not any(np.array_equal(stack, np.roll(stack, 1, axis)) for axis in range(3))


def test_wide_types_can_be_read_back():
    """The value is x + 2^11 y + 2^22 z."""
    stack = coordinate_stack((3, 5, 7), "uint32")

    assert 6 + (4 << 11) + (2 << 22) == stack[2, 4, 6]


def test_channels_samples_and_times_differ():
    """Each has values of its own."""
    stack = coordinate_tczyx(2, 2, (2, 3, 4), "uint8")
    picture = coordinate_slice((3, 4), 0, samples=3)

    assert (2, 2, 2, 3, 4) == stack.shape
    assert 4 == len({stack[t, c].tobytes() for t in range(2) for c in range(2)})
    assert 3 == len({picture[..., s].tobytes() for s in range(3)})


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (iter_em_slices, "uint8"),
        (iter_light_sheet_slices, "uint16"),
        (iter_label_slices, "uint32"),
    ],
)
def test_lifelike_slices_are_reproducible(make, dtype):
    """The same seed gives the same slices, another seed others; odd sizes are exact."""
    one, again, other = (list(make((3, 97, 131), seed)) for seed in (1, 1, 2))

    assert [((97, 131), np.dtype(dtype))] * 3 == [(s.shape, s.dtype) for s in one]
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], other[0])
    assert not np.array_equal(one[0], one[2]) or make is iter_label_slices


@pytest.mark.parametrize(
    "layer",
    [
        SyntheticLayer(),
        SyntheticLayer(dtype="uint16", pattern="{z}.png"),
        SyntheticLayer(samples=3, pattern="{z}.bmp"),
        SyntheticLayer(dtype="float32", compression="zlib"),
        SyntheticLayer(dtype="uint64", samples=1),
    ],
)
def test_a_sequence_holds_what_its_description_says(tmp_path, layer):
    """Read back with other libraries than ours."""
    paths = layer.write(tmp_path)
    read = tifffile.imread if paths[0].suffix == ".tif" else lambda p: np.asarray(Image.open(p))
    expected = coordinate_stack(layer.shape_zyx, layer.dtype, samples=layer.samples)

    assert np.array_equal(expected, np.stack([read(path) for path in paths]))


@pytest.mark.parametrize(
    ("kind", "axes"), [("multipage", "IYX"), ("ome-tiff", "TCZYX"), ("imagej", "TZCYX")]
)
def test_one_file_holds_what_its_description_says(tmp_path, kind, axes):
    """Channels, times and slices in the order each dialect has."""
    many = 1 if kind == "multipage" else 2
    layer = SyntheticLayer(
        kind=kind,
        pattern="a.ome.tif" if kind == "ome-tiff" else "a.tif",
        dtype="uint16",
        channels=many,
        timepoints=many,
        voxel_size_nm=(100.0, 100.0, 300.0),
    )
    (path,) = layer.write(tmp_path)
    expected = coordinate_tczyx(many, many, layer.shape_zyx, "uint16")
    if kind == "imagej":
        expected = expected.swapaxes(1, 2)
    with tifffile.TiffFile(path) as tif:
        assert axes == tif.series[0].axes
        assert np.array_equal(expected.reshape(tif.series[0].shape), tif.series[0].asarray())


def test_an_ome_set_is_one_image_to_others(tmp_path):
    """One plane per file, joined by the descriptions."""
    stack = coordinate_tczyx(1, 2, (3, 8, 9), "uint16")[0]
    paths = write_ome_set(tmp_path, stack, voxel_size_nm=(4.0, 4.0, 40.0))
    with tifffile.TiffFile(paths[3]) as tif:
        found = tif.series[0].asarray()

    assert (6, True) == (len(paths), np.array_equal(stack, found))


def test_gaps_extras_and_damage(tmp_path):
    """What is left out, put beside, and broken."""
    layers = (SyntheticLayer(missing=(1,)),)
    SyntheticAcquisition(
        layers,
        extra={"logs/notes.txt": b"x"},
        damaged={"slice_0000.tif": "truncated", "slice_0002.tif": "empty"},
    ).write(tmp_path)
    whole = write_image(tmp_path.parent / "whole.tif", coordinate_slice((40, 60), 0))

    assert ["logs", "slice_0000.tif", "slice_0002.tif", "slice_0003.tif"] == sorted(
        path.name for path in tmp_path.iterdir()
    )
    assert 0 < (tmp_path / "slice_0000.tif").stat().st_size < whole.stat().st_size
    assert 0 == (tmp_path / "slice_0002.tif").stat().st_size
