"""Files with several images: which become datasets, what these are called, what is refused."""

from typing import Any

import pytest

from stackwatch.errors import (
    AmbiguousLayoutError,
    StackwatchError,
    UnknownLayoutError,
    UnsupportedFormatError,
    UnsupportedVoxelTypeError,
)
from stackwatch.layout.scenes import choose_scenes, name_scenes, plan_datasets
from stackwatch.model.geometry import PartialVoxelSize, VoxelSize
from stackwatch.model.image import ImageInfo
from stackwatch.model.options import LayoutOptions, VoxelSizeOptions
from stackwatch.model.plan import DatasetPlan
from stackwatch.testing.fakes import image_info, listing_of

SIZE = VoxelSizeOptions(PartialVoxelSize(4.0, 4.0, 40.0))
NAMES = ("Well A/1", "Well B/1")


def scene(index: int, names: tuple[str, ...] = NAMES, **facts: Any) -> ImageInfo:
    """Return what the headers tell of one image of a file."""
    return image_info(scenes=names, scene=index, **facts)


def plan(
    files: dict[str, list[ImageInfo | StackwatchError]], **options: Any
) -> tuple[DatasetPlan, ...]:
    """Plan files by what their headers tell of each image."""

    def probe(path: str, index: int) -> ImageInfo:
        found = files[path][index]
        if isinstance(found, StackwatchError):
            raise found
        return found

    return plan_datasets(
        listing_of(list(files)), probe, lambda *_: None, LayoutOptions(**options), SIZE
    )


def test_each_image_becomes_a_dataset():
    """Each has its own extent and voxel size, its number in the stacks, and a name of its own."""
    own_size = PartialVoxelSize(8.0, 8.0, 80.0)
    one, two = plan(
        {"a.czi": [scene(0, size_z=5), scene(1, size_x=7, voxel_size_nm=own_size,
                                             voxel_size_source="CZI")]}
    )  # fmt: skip

    assert ("Well_A_1", "Well_B_1") == (one.scene_name, two.scene_name)
    assert (0, 1) == (one.stacks[0].scene, two.stacks[0].scene)
    assert (5, 7) == (one.layers[0].size.z, two.layers[0].size.x)
    assert (VoxelSize(4, 4, 40), VoxelSize(8, 8, 80)) == (one.voxel_size_nm, two.voxel_size_nm)
    assert {"scene": "Well B/1"} == two.metadata


def test_one_image_is_no_scene():
    """Files with one image each are planned as ever, under the plain name."""
    (found,) = plan({f"slice_{z}.tif": [image_info()] for z in range(3)})
    (named,) = plan({"a.czi": [scene(0, ("only",))]})

    assert ("", 0, 3) == (found.scene_name, found.stacks[0].scene, found.layers[0].size.z)
    assert ("", None) == (named.scene_name, named.metadata)


@pytest.mark.parametrize("wanted", ["Well B/1", "Well_B_1", "2"])
def test_one_image_can_be_asked_for(wanted):
    """By its own name, by what it would be called, or by its number; it keeps its name."""
    (found,) = plan({"a.czi": [scene(0), scene(1, size_z=9)]}, scenes=wanted)

    assert ("Well_B_1", 1, 9) == (
        found.scene_name,
        found.stacks[0].scene,
        found.layers[0].size.z,
    )


@pytest.mark.parametrize("wanted", ["3", "0", "Well", "well b/1"])
@pytest.mark.parametrize("names", [NAMES, ()])
def test_an_image_that_is_not_there_is_refused(wanted, names):
    """Nothing is converted in its place, and those that are there are listed."""
    with pytest.raises(UnknownLayoutError, match=wanted) as caught:
        plan({"a.czi": [scene(0, names), scene(1, names)]}, scenes=wanted)

    assert wanted == caught.value.values["wanted"]
    assert list(names or ("",)) == caught.value.values["scenes"]


@pytest.mark.parametrize(
    "files",
    [
        {"a.czi": [scene(0), scene(1)], "b.czi": [scene(0), scene(1)]},
        {"a.tif": [image_info(size_z=3)], "b.czi": [scene(0, size_z=3), scene(1, size_z=3)]},
    ],
)
def test_beside_other_files_nothing_is_guessed(files):
    """Which image of one file belongs to which of another is not known: parked."""
    with pytest.raises(AmbiguousLayoutError, match="holds 2 images"):
        plan(files)


def test_an_image_that_cannot_be_converted_is_named():
    """Neither is the rest published without it, nor does the error hide which it is."""
    with pytest.raises(UnsupportedVoxelTypeError, match="Image “Well_B_1”: ") as caught:
        plan({"a.czi": [scene(0), scene(1, dtype_name="float64")]})

    assert "Well_B_1" == caught.value.values["scene"]
    assert 1 == len(plan({"a.czi": [scene(0), scene(1, dtype_name="float64")]}, scenes="1"))


def test_an_unreadable_first_image_does_not_hide_the_second():
    """Asked for by its number, an image is converted whatever lies before it."""
    spectrum = UnsupportedFormatError("a spectrum", hint="None.")
    (found,) = plan({"a.dm4": [spectrum, scene(1)]}, scenes="2")

    assert 1 == found.stacks[0].scene
    with pytest.raises(UnsupportedFormatError):
        plan({"a.dm4": [spectrum, scene(1)]})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("A", "B"), ("A", "B")),
        (("A", "a"), ("1", "2")),
        (("µm", "nm"), ("_m", "nm")),
        (("µ", "nm"), ("1", "2")),
        (("", ""), ("1", "2")),
        (("a/b", "a b"), ("1", "2")),
        (("x" * 300, "y"), ("x" * 80, "y")),
        (("../up", "."), ("1", "2")),
    ],
)
def test_names_are_fit_and_differ(names, expected):
    """Own names if every one is fit and its own, on any disk; numbers otherwise."""
    assert expected == name_scenes(names)


def test_a_name_goes_before_a_number():
    """An image called “1” that is the second is meant by `1`; a name that repeats means none."""
    assert (1,) == choose_scenes(["2", "1"], "1", "x")
    assert (1,) == choose_scenes(["a", "a"], "2", "x")
    with pytest.raises(UnknownLayoutError):
        choose_scenes(["a", "a"], "a", "x")
