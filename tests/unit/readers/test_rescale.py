"""Rescaling: a line between two values, equal to the formula in numpy, clipping counted."""

from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import stackwatch
from stackwatch.errors import UnsupportedVoxelTypeError, UsageError
from stackwatch.model.image import PixelFormat
from stackwatch.model.options import LayoutOptions
from stackwatch.model.voxels import Category
from stackwatch.readers.pixels import plan_treatment
from stackwatch.readers.rescale import rescale_into

SOURCES = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
    "float16", "float32", "float64",
)  # fmt: skip
TARGETS = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32")


def by_numpy(plane: np.ndarray, dtype: str, ends: tuple[float, float]) -> np.ndarray:
    """Return what the line gives, written down plainly."""
    share: np.ndarray = (np.clip(plane.astype(float), *ends) - ends[0]) / (ends[1] - ends[0])
    if dtype == "float32":
        return share.astype(dtype)
    limits = np.iinfo(dtype)
    found: np.ndarray = share * (float(limits.max) - float(limits.min)) + float(limits.min)
    return found.round().astype(dtype)


def values_of(dtype: str) -> np.ndarray:
    """Return a plane that reaches over the whole range of a type, or a wide part of it."""
    if dtype.startswith("float"):
        plane = np.linspace(-900, 900, 35 * 61)
        plane[:2] = -np.inf, np.inf
        return plane.reshape(35, 61).astype(dtype)
    limits = np.iinfo(dtype)
    wide = np.random.default_rng(3).integers(limits.min, limits.max, (35, 61), dtype)
    wide[3:30] %= 999 if limits.max > 999 else 99
    return wide


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", SOURCES)
def test_every_type_to_every_type(source, target):
    """Values are those of the formula, and as many are clipped as lie beyond the ends."""
    plane, ends = values_of(source), (-20.0, 101.5)
    out = np.empty(plane.shape, target)
    clipped = rescale_into(out, plane, ends, "a.tif")

    np.testing.assert_array_equal(by_numpy(plane, target, ends), out)
    expected = np.count_nonzero((plane.astype(float) < -20) | (plane.astype(float) > 101.5))
    assert expected == clipped


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_plane_of_many_parts(dtype):
    """A plane larger than what is worked on at a time has no seam, in colours too."""
    plane = (np.arange(300 * 400 * 3) % 65521).reshape(300, 400, 3).astype(dtype)
    out = np.empty(plane.shape, "uint8")

    assert 0 == rescale_into(out, plane, (0.0, 65535.0), "a.tif")
    np.testing.assert_array_equal(by_numpy(plane, "uint8", (0.0, 65535.0)), out)


def test_no_number():
    """NaN has no place between two numbers, and is never made one."""
    plane = np.array([[1.0, np.nan]], "float32")

    with pytest.raises(UnsupportedVoxelTypeError, match="NaN"):
        rescale_into(np.empty((1, 2), "uint8"), plane, (0.0, 2.0), "a.tif")


@pytest.mark.parametrize(
    ("pixels", "category", "cast", "expected"),
    [
        (PixelFormat("float64"), "color", None, ("uint8", 1, True)),
        (PixelFormat("uint16"), "color", "int16", ("int16", 1, True)),
        (PixelFormat("uint16", "rgb", 3), "color", None, ("uint8", 3, True)),
        (PixelFormat("uint8", "rgb", 3), "color", "uint16", ("uint16", 1, True)),
        (PixelFormat("uint16"), "segmentation", None, ("uint16", 1, False)),
        (PixelFormat("bool", "bilevel"), "color", None, ("uint8", 1, False)),
        (PixelFormat("uint8", "palette"), "segmentation", None, ("uint8", 1, False)),
    ],
)  # fmt: skip
def test_what_is_rescaled(pixels, category, cast, expected):
    """Measured values of color layers; never ids, indices or bits."""
    options = LayoutOptions(rescale=(0.0, 9.0), cast=cast)
    plan = plan_treatment(pixels, None, Category(category), options)

    assert expected == (
        plan.voxel_type.dtype_name,
        plan.voxel_type.channels,
        plan.treatment.rescale is not None,
    )


@pytest.mark.parametrize(("dtype", "cast"), [("complex64", None), ("float64", "uint64")])
def test_what_cannot_be_rescaled(dtype, cast):
    """Complex values lie on no line, and a type that WEBKNOSSOS does not show stays refused."""
    options = LayoutOptions(rescale=(0.0, 9.0), cast=cast)

    with pytest.raises(UnsupportedVoxelTypeError):
        plan_treatment(PixelFormat(dtype), None, Category.COLOR, options)


def test_converted(tmp_path):
    """Every voxel is the formula's and is verified so; what was clipped is said with its share."""
    stack = np.linspace(-10, 110, 5 * 40 * 50).reshape(5, 40, 50)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    result = stackwatch.convert(
        tmp_path / "a.tif", tmp_path / "out", voxel_size_nm=(1, 1, 1), rescale=(0, 100),
        verify="full",
    )  # fmt: skip
    written: Any = zarr.open_array(tmp_path / "out/color/1", mode="r")
    clipped = np.count_nonzero((stack < 0) | (stack > 100))

    np.testing.assert_array_equal(by_numpy(stack, "uint8", (0.0, 100.0)), written[0].T)
    (warning,) = [one for one in result.warnings if "rescale" in one]
    assert f"{clipped:,} of 10,000 values" in warning


@pytest.mark.parametrize("ends", [(1,), (2, 1), (1, 1), (0, float("nan")), (-1e308, 1e308)])
def test_mistaken_ends(tmp_path, ends):
    """Two numbers, the smaller first."""
    with pytest.raises(UsageError, match="rescale"):
        stackwatch.inspect(tmp_path, rescale=ends)


@pytest.mark.parametrize("dtype", ["bool", "float16", "float64"])
def test_cast_keeps_what_survives(tmp_path, dtype):
    """With `cast` to float32 these types keep every value, halves and quarters too."""
    stack = (np.arange(3 * 8 * 9).reshape(3, 8, 9) % 37 / 4).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    options: dict[str, Any] = {"voxel_size_nm": (1, 1, 1), "cast": "float32"}
    stackwatch.convert(tmp_path / "a.tif", tmp_path / "out", **options)
    written: Any = zarr.open_array(tmp_path / "out/color/1", mode="r")

    expected = stack.astype("uint8") * 255 if dtype == "bool" else stack.astype("float32")
    np.testing.assert_array_equal(expected, written[0].T)
