"""Where a voxel size comes from, axis by axis."""

import math
from dataclasses import replace

import pytest

from stackwatch.errors import ConflictingMetadataError, MissingMetadataError
from stackwatch.layout.voxel_size import StatedSize, resolve_voxel_size
from stackwatch.model.geometry import PartialVoxelSize, VoxelSize
from stackwatch.model.options import VoxelSizeOptions


def stated(
    x: float | None = None, y: float | None = None, z: float | None = None, path: str = "a.tif"
) -> StatedSize:
    """Return what one file says."""
    return StatedSize(path, PartialVoxelSize(x, y, z), "tags")


SETTINGS = VoxelSizeOptions(PartialVoxelSize(8.0, 8.0, 30.0))
NOTHING = VoxelSizeOptions()


def test_files_win_over_settings():
    """Under `files-first` a difference is a warning that names both."""
    found = resolve_voxel_size([stated(4.0, 4.0, 30.0)], SETTINGS, depth=9)

    assert VoxelSize(4.0, 4.0, 30.0) == found.size_nm
    assert ("tags", "tags", "tags") == found.sources
    assert 2 == len(found.warnings)
    assert all("4 nm" in warning and "8 nm" in warning for warning in found.warnings)


def test_settings_complete_what_files_do_not_say():
    """An image sequence knows x and y, never z."""
    found = resolve_voxel_size(
        [stated(4.0, 4.0)], VoxelSizeOptions(PartialVoxelSize(z=35.0)), depth=9
    )

    assert (VoxelSize(4.0, 4.0, 35.0), ("tags", "tags", "settings"), ()) == found


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (VoxelSizeOptions(SETTINGS.voxel_size_nm, prefer="settings"), "settings"),
        (VoxelSizeOptions(SETTINGS.voxel_size_nm, is_flag=True), "command line"),
    ],
)
def test_settings_that_prefer_themselves_and_flags_win(options, word):
    """The files are overruled, and a warning says so."""
    found = resolve_voxel_size([stated(4.0, 8.0, 30.1)], options, depth=9)

    assert (VoxelSize(8.0, 8.0, 30.0), (word, word, word)) == found[:2]
    assert 1 == len(found.warnings)
    assert word in found.warnings[0]


def test_a_partial_flag_leaves_the_rest_to_the_files():
    """`--voxel-size-nm` may be given for z alone."""
    options = VoxelSizeOptions(PartialVoxelSize(z=50.0), is_flag=True)
    found = resolve_voxel_size([stated(4.0, 4.0, 30.0)], options, depth=9)

    assert (VoxelSize(4.0, 4.0, 50.0), ("tags", "tags", "command line")) == found[:2]


def test_one_percent_is_rounding():
    """No warning and no conflict for numbers that were only rounded."""
    found = resolve_voxel_size(
        [stated(8.0, 8.0, 30.0), stated(8.05, 8.0, 30.1, "b.tif")], SETTINGS, depth=9
    )

    assert (VoxelSize(8.0, 8.0, 30.0), ()) == (found.size_nm, found.warnings)


def test_files_that_disagree_are_parked():
    """One dataset has one voxel size; settings alone do not decide under `files-first`."""
    with pytest.raises(ConflictingMetadataError) as caught:
        resolve_voxel_size([stated(4.0, 4.0, 30.0), stated(4.0, 5.0, 30.0, "b.tif")], SETTINGS, 9)

    assert ("y", ["a.tif", "b.tif"], [4.0, 5.0]) == (
        caught.value.values["axis"],
        caught.value.values["paths"],
        caught.value.values["values_nm"],
    )
    assert "voxel_size_from" in caught.value.hint


def test_settings_can_decide_a_disagreement():
    """`voxel_size_from = "settings"` is the way out the hint names."""
    options = VoxelSizeOptions(SETTINGS.voxel_size_nm, prefer="settings")
    found = resolve_voxel_size([stated(4.0, 4.0), stated(5.0, 5.0, path="b.tif")], options, 9)

    assert VoxelSize(8.0, 8.0, 30.0) == found.size_nm


def test_a_single_slice_takes_z_from_x():
    """One slice has no depth to measure; the source says what was done."""
    found = resolve_voxel_size([stated(4.0, 5.0)], NOTHING, depth=1)

    assert VoxelSize(4.0, 5.0, 4.0) == found.size_nm
    assert "same as x" in found.sources[2]


def test_a_single_slice_keeps_a_z_that_is_stated():
    """Nothing is overwritten."""
    found = resolve_voxel_size([stated(4.0, 4.0, 30.0)], NOTHING, depth=1)

    assert VoxelSize(4.0, 4.0, 30.0) == found.size_nm


@pytest.mark.parametrize(
    ("found", "axes", "example"),
    [
        ([], ["x", "y", "z"], "voxel_size_nm = [x, y, z]"),
        ([stated(4.0, 4.0)], ["z"], "voxel_size_nm = [4, 4, z]"),
        ([stated(0.0, -10.0, math.nan)], ["x", "y", "z"], "--voxel-size-nm X,Y,Z"),
        ([stated(z=30.0)], ["x", "y"], "--voxel-size-nm X,Y,30"),
    ],
)
def test_what_nobody_states_is_parked(found, axes, example):
    """Never 1, 1, 1: zero, negative and NaN are as good as nothing; the hint shows the rest."""
    with pytest.raises(MissingMetadataError) as caught:
        resolve_voxel_size(found, NOTHING, depth=9)

    assert axes == caught.value.values["missing_axes"]
    assert example in caught.value.hint


def test_a_single_slice_without_x_is_parked_too():
    """Setting z to x needs an x."""
    with pytest.raises(MissingMetadataError):
        resolve_voxel_size([], NOTHING, depth=1)


def test_a_sidecar_takes_the_place_of_the_settings():
    """Axis by axis; the settings complete what it does not say, and files win as they do there."""
    said = VoxelSizeOptions(
        PartialVoxelSize(1.0, 2.0, 3.0),
        sidecar_nm=PartialVoxelSize(z=25.0),
        sidecar="stackwatch.toml",
    )
    stated = StatedSize("a.tif", PartialVoxelSize(4.0, 4.0, 40.0), "ImageJ spacing")

    alone = resolve_voxel_size([], said, depth=9)
    beside = resolve_voxel_size([stated], said, depth=9)
    first = resolve_voxel_size([stated], replace(said, prefer="settings"), depth=9)

    assert (VoxelSize(1.0, 2.0, 25.0), ("settings", "settings", "stackwatch.toml")) == alone[:2]
    assert VoxelSize(4.0, 4.0, 40.0) == beside.size_nm
    assert "“stackwatch.toml” says 25 nm; taken from “a.tif”" in beside.warnings[-1]
    assert VoxelSize(1.0, 2.0, 25.0) == first.size_nm
