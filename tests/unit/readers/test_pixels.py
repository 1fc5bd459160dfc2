"""From pixels to voxels: which treatment, and what it does."""

from typing import Any

import numpy as np
import pytest

from stackwatch.errors import MixedSlicesError, UnsupportedFormatError, UnsupportedVoxelTypeError
from stackwatch.model.image import PixelFormat, Treatment
from stackwatch.model.options import LayoutOptions
from stackwatch.model.voxels import COLOR_DTYPES, SEGMENTATION_DTYPES, Category, VoxelType
from stackwatch.readers.pixels import (
    TreatmentPlan,
    apply_treatment,
    check_cast,
    plan_treatment,
    upright,
)

COLOR, SEGMENTATION = Category.COLOR, Category.SEGMENTATION
OPTIONS = LayoutOptions()
RGB8 = PixelFormat("uint8", "rgb", 3)


def voxels_of(
    plane: Any,
    treatment: Treatment,
    voxel_type: VoxelType | None = None,
    palette: Any = None,
    outs: int = 1,
) -> Any:
    """Apply a treatment into fresh arrays, filled with a value that must not survive."""
    dtype = (voxel_type or VoxelType(plane.dtype.name)).dtype
    channels = (voxel_type or VoxelType("uint8")).channels
    shape = plane.shape[:2] + ((3,) if channels == 3 else ())
    arrays = [np.full(shape, 77, dtype) for _ in range(outs)]
    apply_treatment(plane, treatment, palette, arrays, "a.tif")
    return arrays if outs > 1 else arrays[0]


@pytest.mark.parametrize("dtype_name", COLOR_DTYPES)
def test_color_types_pass(dtype_name):
    """What WEBKNOSSOS takes as color stays as it is."""
    plan = plan_treatment(PixelFormat(dtype_name), None, COLOR, OPTIONS)

    assert (Treatment(), VoxelType(dtype_name), False) == plan


@pytest.mark.parametrize("dtype_name", SEGMENTATION_DTYPES)
def test_segmentation_types_pass(dtype_name):
    """What WEBKNOSSOS takes as ids stays as it is."""
    plan = plan_treatment(PixelFormat(dtype_name), None, SEGMENTATION, OPTIONS)

    assert (VoxelType(dtype_name), "") == (plan.voxel_type, plan.treatment.cast)


@pytest.mark.parametrize(
    ("dtype_name", "category"),
    [("float64", COLOR), ("float16", COLOR), ("int64", COLOR), ("uint64", COLOR),
     ("complex64", COLOR), ("float32", SEGMENTATION), ("float64", SEGMENTATION)],
)  # fmt: skip
def test_refused_types(dtype_name, category):
    """Other types are refused, and the setting that helps is named."""
    with pytest.raises(UnsupportedVoxelTypeError) as caught:
        plan_treatment(PixelFormat(dtype_name), None, category, OPTIONS)

    assert dtype_name == caught.value.values["voxel_type"]
    assert "`cast`" in caught.value.hint


def test_cast_helps_only_where_needed():
    """`cast` applies to refused types, leaves others alone, and must be allowed itself."""
    cast = LayoutOptions(cast="float32")

    assert (
        VoxelType("float32") == plan_treatment(PixelFormat("float64"), None, COLOR, cast).voxel_type
    )
    assert VoxelType("uint8") == plan_treatment(PixelFormat("uint8"), None, COLOR, cast).voxel_type
    with pytest.raises(UnsupportedVoxelTypeError):
        plan_treatment(PixelFormat("float64"), None, SEGMENTATION, cast)


def test_rgb():
    """8-bit RGB is one layer, deeper RGB is three, RGB ids are refused."""
    assert (VoxelType("uint8", 3), False) == plan_treatment(RGB8, None, COLOR, OPTIONS)[1:]
    deep = PixelFormat("uint16", "rgb", 3)
    assert (VoxelType("uint16"), True) == plan_treatment(deep, None, COLOR, OPTIONS)[1:]
    for pixels in (RGB8, deep):
        with pytest.raises(UnsupportedVoxelTypeError):
            plan_treatment(pixels, None, SEGMENTATION, LayoutOptions(cast="uint32"))


def test_cmyk_and_inverted_floats_are_refused():
    """What has no right reading as voxels is refused."""
    with pytest.raises(UnsupportedFormatError):
        plan_treatment(PixelFormat("uint8", "cmyk", 4), None, COLOR, OPTIONS)
    with pytest.raises(UnsupportedFormatError):
        plan_treatment(PixelFormat("float32", is_inverted=True), None, COLOR, OPTIONS)


@pytest.mark.parametrize(("category", "high"), [(COLOR, 255), (SEGMENTATION, 1)])
def test_bilevel(category, high):
    """1-bit becomes 0 and 255, or 0 and 1 for ids; inverted ones turn round first."""
    pixels = PixelFormat("bool", "bilevel")
    bits = np.array([[True, False]])

    plan = plan_treatment(pixels, None, category, OPTIONS)

    assert VoxelType("uint8") == plan.voxel_type
    assert [[high, 0]] == voxels_of(bits, plan.treatment, plan.voxel_type).tolist()
    inverted = plan_treatment(
        PixelFormat("bool", "bilevel", is_inverted=True), None, category, OPTIONS
    )
    assert [[0, high]] == voxels_of(bits, inverted.treatment, plan.voxel_type).tolist()


def test_palettes():
    """Colour palettes become RGB, grey ones grey, and in a segmentation the indices count."""
    plane = np.array([[0, 1, 2]], np.uint8)
    colours = np.array([[0, 0, 0], [255, 0, 0], [1, 2, 3]], np.uint8)
    greys = np.array([[9, 9, 9], [7, 7, 7], [5, 5, 5]], np.uint8)
    pixels = PixelFormat("uint8", "palette")

    rgb = plan_treatment(pixels, colours, COLOR, OPTIONS)
    grey = plan_treatment(pixels, greys, COLOR, OPTIONS)
    ids = plan_treatment(pixels, colours, SEGMENTATION, OPTIONS)

    assert [colours.tolist()] == voxels_of(plane, rgb.treatment, rgb.voxel_type, colours).tolist()
    assert [[9, 7, 5]] == voxels_of(plane, grey.treatment, grey.voxel_type, greys).tolist()
    assert [[0, 1, 2]] == voxels_of(plane, ids.treatment, ids.voxel_type, colours).tolist()
    with pytest.raises(MixedSlicesError):
        voxels_of(plane, grey.treatment, grey.voxel_type, colours)


@pytest.mark.parametrize("has_grey_palette", [True, False])
def test_palette_known_by_format_alone(has_grey_palette):
    """Without the palette at hand the pixel format says whether it is grey."""
    pixels = PixelFormat("uint8", "palette", has_grey_palette=has_grey_palette)

    plan = plan_treatment(pixels, None, COLOR, OPTIONS)

    assert ("grey" if has_grey_palette else "rgb") == plan.treatment.palette


@pytest.mark.parametrize(("samples", "kind"), [(2, "grey"), (4, "rgb")])
@pytest.mark.parametrize("dtype_name", ["uint8", "uint16"])
def test_alpha(samples, kind, dtype_name):
    """Opaque alpha is dropped; other alpha stops, unless the settings drop it."""
    pixels = PixelFormat(dtype_name, kind, samples, has_alpha=True)
    plane = np.arange(samples * 2, dtype=dtype_name).reshape(1, 2, samples)
    opaque = plane.copy()
    opaque[..., -1] = np.iinfo(dtype_name).max
    kept = plane[..., :-1] if samples == 4 else plane[..., 0]

    careful = plan_treatment(pixels, None, COLOR, OPTIONS)
    careless = plan_treatment(pixels, None, COLOR, LayoutOptions(alpha="drop"))
    outs = 3 if careful.is_split else 1

    def together(plane: Any, plan: TreatmentPlan) -> Any:
        found = voxels_of(plane, plan.treatment, plan.voxel_type, outs=outs)
        return np.stack(found, -1) if outs == 3 else found

    np.testing.assert_array_equal(kept, together(opaque, careful))
    np.testing.assert_array_equal(kept, together(plane, careless))
    with pytest.raises(MixedSlicesError) as caught:
        together(plane, careful)
    assert 'alpha = "drop"' in caught.value.hint


@pytest.mark.parametrize(
    ("dtype_name", "values", "inverted"),
    [("uint8", [0, 1, 255], [255, 254, 0]), ("int16", [-32768, 0, 32767], [32767, -1, -32768]),
     ("uint16", [0, 65535], [65535, 0])],
)  # fmt: skip
def test_inversion(dtype_name, values, inverted):
    """MINISWHITE is mirrored in the range of its type, signed types too."""
    plan = plan_treatment(PixelFormat(dtype_name, is_inverted=True), None, COLOR, OPTIONS)

    found = voxels_of(np.array([values], dtype_name), plan.treatment)

    assert [inverted] == found.tolist()


def test_orientations():
    """Each of the eight orientations puts the letter F upright again."""
    letter = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    stored = {
        1: letter, 2: letter[:, ::-1], 3: letter[::-1, ::-1], 4: letter[::-1],
        5: letter.T, 6: np.rot90(letter), 7: letter[::-1, ::-1].T, 8: np.rot90(letter, -1),
    }  # fmt: skip

    for orientation, plane in stored.items():
        np.testing.assert_array_equal(letter, upright(plane, orientation), str(orientation))


def test_deep_rgb_is_split():
    """Each sample of a deep RGB pixel goes into a layer of its own."""
    plane = np.arange(12, dtype=np.uint16).reshape(2, 2, 3)
    plan = plan_treatment(PixelFormat("uint16", "rgb", 3), None, COLOR, OPTIONS)

    outs = voxels_of(plane, plan.treatment, plan.voxel_type, outs=3)

    np.testing.assert_array_equal(plane, np.stack(outs, -1))


@pytest.mark.parametrize(
    ("values", "source", "target", "survives"),
    [
        ([0, 255], "int64", "uint8", True),
        ([0, 256], "int64", "uint8", False),
        ([-1], "int64", "uint8", False),
        ([2**53], "uint64", "float32", False),
        ([2**24], "uint64", "float32", True),
        ([0.1, -1e30], "float64", "float32", True),
        ([1e300], "float64", "float32", False),
        ([np.nan, np.inf, 1.0], "float64", "float32", True),
        ([1.0, 2.0], "float32", "uint8", True),
        ([1.5], "float32", "uint8", False),
        ([np.nan], "float32", "uint8", False),
        ([2.0**64], "float64", "uint64", False),
        ([1 + 0j], "complex64", "float32", False),
    ],
)
def test_cast(values, source, target, survives):
    """A cast keeps every value's meaning, or stops."""
    plane = np.array([values], source)
    if survives:
        found = voxels_of(plane, Treatment(cast=target), VoxelType(target))
        np.testing.assert_array_equal(plane.astype(target), found)
    else:
        with pytest.raises(UnsupportedVoxelTypeError):
            check_cast(plane, np.dtype(target), "a.tif")
