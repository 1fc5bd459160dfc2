"""From headers to the plan of a dataset, with made-up headers."""

from typing import Any

import numpy as np
import pytest

from stackwatch.errors import (
    AmbiguousLayoutError,
    ConflictingMetadataError,
    LimitExceededError,
    MissingMetadataError,
    MixedSlicesError,
    UnsupportedFormatError,
    UnsupportedVoxelTypeError,
)
from stackwatch.layout.plan import explain_mixed, plan_dataset
from stackwatch.model.geometry import PartialVoxelSize, Vec3, VoxelSize
from stackwatch.model.image import Channel, ImageInfo, PixelFormat
from stackwatch.model.options import LayoutOptions, VoxelSizeOptions
from stackwatch.model.plan import DatasetPlan
from stackwatch.testing.fakes import FakeProbe, image_info, listing_of

SIZE = VoxelSizeOptions(PartialVoxelSize(4.0, 4.0, 40.0))
SLICES = [f"img_{n:04d}.tif" for n in range(200)]


def plan(
    paths: list[str],
    default: ImageInfo | None = None,
    special: dict[str, ImageInfo] | None = None,
    voxel_size: VoxelSizeOptions = SIZE,
    **options: Any,
) -> DatasetPlan:
    """Plan files whose headers are made up."""
    probe = FakeProbe(default or image_info(), special or {})
    return plan_dataset(
        listing_of(paths), probe, lambda _: None, LayoutOptions(**options), voxel_size
    )


def test_a_sequence_becomes_one_layer():
    """Extent x, y, z; type and files of the stack."""
    found = plan(SLICES[:7], image_info("uint16", can_read_rows=True))
    (stack,) = found.stacks

    assert ("color", "uint16", Vec3(60, 40, 7), 1) == (
        stack.layers[0].name,
        str(stack.layers[0].voxel_type),
        stack.layers[0].size,
        stack.layers[0].size_t,
    )
    assert (tuple(SLICES[:7]), True) == (stack.files, stack.can_read_rows)
    assert VoxelSize(4.0, 4.0, 40.0) == found.voxel_size_nm


def test_the_plan_says_what_every_file_must_hold():
    """A file outside of the sample with more slices or channels is not cut while it is read."""
    parts = plan(
        ["part1.tif", "part2.tif"], image_info(size_z=5), {"part2.tif": image_info(size_z=2)}
    )

    many = [f"part{n}.tif" for n in range(200)]
    short = plan(many, image_info(size_z=5), {many[100]: image_info(size_z=2)})

    assert (1, 1, 0) == short.stacks[0].file_extent_tcz
    assert 199 * 5 + 2 == short.layers[0].size.z
    assert (1, 2, 1) == plan(SLICES[:3], image_info(size_c=2)).stacks[0].file_extent_tcz
    assert (1, 1, 0) == parts.stacks[0].file_extent_tcz
    assert (3, 1, 4) == plan(["a.tif"], image_info(size_t=3, size_z=4)).stacks[0].file_extent_tcz


def test_each_file_is_probed_once():
    """Classification, uniformity and voxel size share what was looked at."""
    probe = FakeProbe()
    plan_dataset(listing_of(SLICES), probe, lambda _: None, LayoutOptions(), SIZE)

    assert len(probe.asked) == len(set(probe.asked)) == 64


def test_rgb_of_sixteen_bit_becomes_three_layers():
    """Rows 12h and 12m: never three slices; one decode feeds all three."""
    pixels = PixelFormat("uint16", "rgb", 3)
    (stack,) = plan(SLICES[:3], image_info(pixels=pixels)).stacks

    assert ["color_red", "color_green", "color_blue"] == [layer.name for layer in stack.layers]
    assert [(255, 0, 0), (0, 255, 0), (0, 0, 255)] == [layer.color_rgb for layer in stack.layers]


def test_split_colours_never_meet_another_layer():
    """A folder that is already called `em_red`."""
    with pytest.raises(AmbiguousLayoutError, match="em_red"):
        plan(
            ["em/1.tif", "em/2.tif", "em_red/1.tif", "em_red/2.tif"],
            special={
                f"em/{n}.tif": image_info(pixels=PixelFormat("uint16", "rgb", 3)) for n in (1, 2)
            },
        )


def test_the_palette_is_asked_for_palette_images_only():
    """A colour palette is RGB, in a segmentation the indices are the ids (row 21a)."""
    asked: list[str] = []

    def palette(path: str) -> Any:
        asked.append(path)
        return np.array([[1, 2, 3]], np.uint8)

    indexed = image_info(pixels=PixelFormat("uint8", "palette"))
    paths = ["raw/1.tif", "raw/2.tif", "labels/1.tif", "labels/2.tif", "em/1.tif", "em/2.tif"]
    probe = FakeProbe(indexed, {f"em/{n}.tif": image_info() for n in (1, 2)})
    found = plan_dataset(listing_of(paths), probe, palette, LayoutOptions(), SIZE)

    assert {"em": "uint8", "labels": "uint8", "raw": "uint24"} == {
        layer.name: str(layer.voxel_type) for layer in found.layers
    }
    assert ["labels/1.tif", "raw/1.tif"] == sorted(asked)


@pytest.mark.parametrize(
    ("other", "word"),
    [
        (image_info("uint16"), "uint16"),
        (image_info("float32"), "float32"),
        (image_info(size_x=50), "50 x 40"),
        (image_info(pixels=PixelFormat("uint8", "rgb", 3)), "rgb"),
        (image_info(pixels=PixelFormat("uint8", samples=2, has_alpha=True)), "alpha"),
        (image_info(pixels=PixelFormat("uint8", is_inverted=True)), "inverted"),
        (image_info(pixels=PixelFormat("uint8", orientation=6)), "rotated"),
        (image_info(size_c=2), "2 channels"),
    ],
)
def test_slices_that_differ_are_parked(other, word):
    """Rows 02, 03, 03e, 03c, 15c: named with the majority, never cast, padded or cut."""
    with pytest.raises(MixedSlicesError) as caught:
        plan(SLICES[:9], special={SLICES[4]: other, SLICES[7]: other})

    assert (SLICES[4], 7, [SLICES[4], SLICES[7]]) == (
        caught.value.values["path"],
        caught.value.values["majority"],
        caught.value.values["differing"],
    )
    assert word in caught.value.values["found"]
    assert SLICES[4] in caught.value.hint


def test_the_first_slice_that_differs_is_found_beyond_the_sample():
    """The sample proves that something differs; then all files are looked at."""
    odd = dict.fromkeys(SLICES[101:], image_info("uint16"))
    with pytest.raises(MixedSlicesError) as caught:
        plan(SLICES, special=odd)

    assert (SLICES[101], 101, 200) == (
        caught.value.values["path"],
        caught.value.values["majority"],
        caught.value.values["compared"],
    )


def test_the_pipeline_can_ask_what_differed():
    """A slice outside of the sample turned out to differ while it was read."""
    found = plan(SLICES)
    probe = FakeProbe(special={SLICES[100]: image_info("uint16", size_t=2, size_z=3)})
    error = explain_mixed(listing_of(SLICES), found.stacks[0], probe)

    assert isinstance(error, MixedSlicesError)
    assert (SLICES[100], 199) == (error.values["path"], error.values["majority"])
    assert "of 2 timepoints of several slices" in error.values["found"]
    assert explain_mixed(listing_of(SLICES), found.stacks[0], FakeProbe()) is None


def test_layers_may_differ_in_extent_and_type():
    """One voxel size, any extents."""
    found = plan(
        ["a/1.tif", "a/2.tif", "labels/1.tif"],
        special={"labels/1.tif": image_info("uint64", size_x=9, size_y=8)},
    )

    assert [(Vec3(60, 40, 2), "uint8"), (Vec3(9, 8, 1), "uint64")] == [
        (layer.size, str(layer.voxel_type)) for layer in found.layers
    ]


def test_the_word_for_the_category_comes_from_the_layers_own_place():
    """`Labels_project/raw` is no segmentation; a flat folder's own name counts."""
    inner = plan_dataset(
        listing_of(["raw/1.tif", "raw/2.tif", "em/1.tif"], root=ROOT_LABELS),
        FakeProbe(),
        lambda _: None,
        LayoutOptions(),
        SIZE,
    )
    flat = plan_dataset(
        listing_of(["1.tif", "2.tif"], root=ROOT_LABELS),
        FakeProbe(),
        lambda _: None,
        LayoutOptions(),
        SIZE,
    )
    loose = plan_dataset(
        listing_of(["1.tif", "2.tif"], root=ROOT_LABELS, is_whole_folder=False),
        FakeProbe(),
        lambda _: None,
        LayoutOptions(),
        SIZE,
    )

    assert {"color"} == {str(layer.category) for layer in inner.layers}
    assert ["segmentation", "color"] == [str(p.layers[0].category) for p in (flat, loose)]


ROOT_LABELS = listing_of([]).root.parent / "Labels_project"


def test_file_names_say_segmentation_too():
    """The common part of the names counts."""
    found = plan(["mask_1.tif", "mask_2.tif"])

    assert [("segmentation", "segmentation")] == [
        (layer.name, str(layer.category)) for layer in found.layers
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_name_that_says_segmentation_of_fractions_is_parked(dtype):
    """Row 10c: no layer of labels without whole numbers."""
    with pytest.raises(UnsupportedVoxelTypeError, match="integers"):
        plan(["labels_1.tif", "labels_2.tif"], image_info(dtype))


def test_types_webknossos_refuses_name_layer_and_file():
    """The planner of pixels knows neither; `cast` is the way out."""
    with pytest.raises(UnsupportedVoxelTypeError) as caught:
        plan(SLICES[:3], image_info("float64"))
    found = plan(SLICES[:3], image_info("float64"), cast="float32")

    assert ("color", SLICES[0]) == (caught.value.values["layer"], caught.value.values["path"])
    assert "float32" == str(found.layers[0].voxel_type)


def test_cmyk_is_parked():
    """Row 12o: never four slices."""
    with pytest.raises(UnsupportedFormatError, match="CMYK"):
        plan(["a.tif"], image_info(pixels=PixelFormat("uint8", "cmyk", 4)))


@pytest.mark.parametrize(
    "info",
    [
        image_info("uint16", size_z=2**40),
        image_info(size_x=1, size_y=1, size_t=2**20, size_z=2**20),
    ],
)
def test_absurd_extents_are_refused(info):
    """A damaged header: refused before its planes are listed, by bytes or by their number."""
    with pytest.raises(LimitExceededError, match="max_gib") as caught:
        plan(["a.tif"], info)

    assert 2**40 == caught.value.values["planes"]


def test_the_limit_counts_all_files():
    """Each file alone is below it."""
    with pytest.raises(LimitExceededError, match="Layer “color”"):
        plan(SLICES[:10], max_gib=60 * 40 * 9 / 2**30)


def test_the_limit_counts_time_and_split_colours():
    """All bytes that would be written at mag 1."""
    info = image_info(pixels=PixelFormat("uint16", "rgb", 3), size_t=100, size_z=100)
    total_gib = 60 * 40 * 100 * 100 * 6 / 2**30
    with pytest.raises(LimitExceededError):
        plan(["a.tif"], info, max_gib=total_gib * 0.99)

    assert 3 == len(plan(["a.tif"], info, max_gib=total_gib * 1.01).layers)


def test_the_voxel_size_comes_from_the_files():
    """Settings complete z."""
    info = image_info(voxel_size_nm=PartialVoxelSize(5.0, 5.0), voxel_size_source="resolution tags")
    found = plan(SLICES[:3], info, voxel_size=VoxelSizeOptions(PartialVoxelSize(z=30.0)))

    assert (VoxelSize(5.0, 5.0, 30.0), ("resolution tags", "resolution tags", "settings")) == (
        found.voxel_size_nm,
        found.voxel_size_source,
    )


def test_a_single_slice_takes_z_from_x():
    """And says so; two slices are parked."""
    info = image_info(voxel_size_nm=PartialVoxelSize(5.0, 6.0), voxel_size_source="resolution tags")
    found = plan(["a.tif"], info, voxel_size=VoxelSizeOptions())

    assert (VoxelSize(5.0, 6.0, 5.0), True) == (
        found.voxel_size_nm,
        "single slice" in found.voxel_size_source[2],
    )
    with pytest.raises(MissingMetadataError):
        plan(SLICES[:2], info, voxel_size=VoxelSizeOptions())


def test_slices_that_disagree_on_the_voxel_size_are_parked():
    """Conflicts between slices or layers are not averaged."""
    one, other = (
        image_info(voxel_size_nm=PartialVoxelSize(x, x, 30.0), voxel_size_source="tags")
        for x in (4.0, 5.0)
    )
    with pytest.raises(ConflictingMetadataError):
        plan(["a/1.tif", "b/1.tif"], one, {"b/1.tif": other})


def test_notes_and_channel_names_are_kept():
    """Readers' remarks become warnings, once; channel names provenance."""
    info = image_info(
        size_c=2,
        notes=("pyramid levels left out",),
        channels=(Channel("DAPI", (0, 0, 255)), Channel("GFP")),
    )
    found = plan(SLICES[:3], info)

    assert ("“img_0000.tif” and 2 more files: pyramid levels left out",) == found.warnings
    assert {"channels": {"DAPI": "DAPI", "GFP": "GFP"}} == found.metadata
    assert [(0, 0, 255), None] == [layer.color_rgb for layer in found.layers]
