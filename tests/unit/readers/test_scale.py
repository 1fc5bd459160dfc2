"""Lengths and resolution tags: what makes a voxel size and what does not."""

import pytest

from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.readers.scale import complete, imagej_voxel_size, length_nm, tag_edge_nm


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1, "nm", 1.0), (2, "µm", 2000.0), (2, "μm", 2000.0), (2, "um", 2000.0),
        (2, "micron", 2000.0), (2, "microns", 2000.0), (2, "\\u00B5m", 2000.0),
        (5, "Å", 0.5), (5, "A", 0.5), (500, "pm", 0.5), (1, "mm", 1e6), (1, "cm", 1e7),
        (1, "m", 1e9), (1, "inch", 2.54e7), (1, "pixel", None), (1, "", None), (0, "nm", None),
        (-1, "nm", None), (float("nan"), "nm", None), (float("inf"), "nm", None),
        (None, "nm", None), (1e-10, "µm", None), (1, "reference frame", None), (1, "1/nm", None),
    ],
)  # fmt: skip
def test_lengths(value, unit, expected):
    """Lengths come in nanometres; anything else comes as None."""
    assert pytest.approx(expected) == length_nm(value, unit)


@pytest.mark.parametrize(
    ("pixels_per_unit", "unit", "expected"),
    [
        (254_000.0, 2, 100.0), (10_000.0, 3, 1000.0), (72.0, 2, None), (96.0, 2, None),
        (300.0, 2, None), (118.11, 3, None), (28.0, 3, None), (1.0, 1, None), (None, 2, None),
        (9.0, 3, None), (-5.0, 3, None), (1000.0, 1, None), (1e30, 3, None),
    ],
)  # fmt: skip
def test_tags(pixels_per_unit, unit, expected):
    """Printing resolutions, missing units and sizes from a millimetre up are no measurement."""
    assert pytest.approx(expected) == tag_edge_nm(pixels_per_unit, unit)


def test_imagej_inch_is_a_printing_resolution():
    """ImageJ carries 72 dpi along as `unit=inch`: that is no calibration."""
    found = imagej_voxel_size({"unit": "inch", "spacing": "1"}, 72.0, 72.0)

    assert (None, None) == (found.x, found.y)


def test_imagej_units_per_axis():
    """`yunit` and `zunit` override the unit of their axis."""
    found = imagej_voxel_size(
        {"unit": "um", "yunit": "nm", "zunit": "mm", "spacing": "0.001"}, 10.0, 0.01
    )

    assert [100.0, 100.0, 1000.0] == pytest.approx(list(found))


def test_complete_names_what_it_used():
    """Each axis comes from the first that knows it, and only used sources are named."""
    first, second = PartialVoxelSize(x=1.0), PartialVoxelSize(x=2.0, y=3.0)

    assert (PartialVoxelSize(1.0, 3.0, None), "A, B") == complete(first, "A", second, "B")
    assert (second, "B") == complete(PartialVoxelSize(), "A", second, "B")
    assert (first, "A") == complete(first, "A", PartialVoxelSize(), "B")
    assert (PartialVoxelSize(), "") == complete(PartialVoxelSize(), "A", PartialVoxelSize(), "B")
