"""Real files, from the disk to the plan: the odd inputs that concern the layout.

Rows are those of the comparison table in `docs/layouts.md`: what other converters get wrong
without a word is right here, or refused with a reason.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stackwatch.errors import (
    AcquisitionError,
    AmbiguousLayoutError,
    CorruptSliceError,
    IncompleteAcquisitionError,
    MissingMetadataError,
    MissingSlicesError,
    MixedSlicesError,
    StackwatchError,
    StillArrivingError,
    UnknownLayoutError,
    UnsupportedFormatError,
    UnsupportedVoxelTypeError,
)
from stackwatch.model.geometry import Vec3, VoxelSize
from stackwatch.model.options import VoxelSizeOptions
from stackwatch.model.plan import DatasetPlan
from stackwatch.model.voxels import Category
from stackwatch.testing.synthetic import (
    SyntheticAcquisition,
    SyntheticLayer,
    coordinate_slice,
    coordinate_stack,
    coordinate_tczyx,
    write_image,
    write_multipage,
    write_ome_set,
    write_ome_tiff,
    write_sequence,
)

NOTHING_KNOWN = VoxelSizeOptions()
SHAPE = (4, 40, 60)


def facts(plan: DatasetPlan) -> list[tuple[str, str, Vec3, int]]:
    """Return name, voxel type, extent and timepoints of each layer."""
    return [(layer.name, str(layer.voxel_type), layer.size, layer.size_t) for layer in plan.layers]


def acquisition(root: Path, *layers: SyntheticLayer, **parts: Any) -> Path:
    """Write an acquisition and return its folder."""
    SyntheticAcquisition(layers, **parts).write(root)
    return root


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (SyntheticLayer(), "uint8"),
        (SyntheticLayer(pattern="img_{z}.png", dtype="uint16"), "uint16"),
        (SyntheticLayer(pattern="img_{z}.bmp"), "uint8"),
        (SyntheticLayer(pattern="img_{z}.jpg"), "uint8"),
        (SyntheticLayer(pattern="IMG_{z}.TIF", dtype="float32"), "float32"),
        (SyntheticLayer(samples=3), "uint24"),
        (SyntheticLayer(dtype="bool"), "uint8"),
        (SyntheticLayer(dtype="int16", compression="zlib"), "int16"),
        (SyntheticLayer(kind="multipage", pattern="stack.tif"), "uint8"),
        (SyntheticLayer(kind="multipage", pattern="stack.tif", samples=3), "uint24"),
        (SyntheticLayer(kind="ome-tiff", pattern="stack.ome.tif"), "uint8"),
        (SyntheticLayer(kind="imagej", pattern="stack.tif", dtype="uint16"), "uint16"),
    ],
)
def test_one_layer_of_four_slices(tmp_path, plan_source, layer, expected):
    """Rows 07, 12k, 12n, 15g: each way to write a stack gives the same extent."""
    plan = plan_source(acquisition(tmp_path / "run", layer))

    assert [("color", expected, Vec3(60, 40, 4), 1)] == facts(plan)


def test_layer_folders(tmp_path, plan_source):
    """Row 16: names and categories by folder, each of its own type."""
    run = acquisition(
        tmp_path / "run",
        SyntheticLayer("color"),
        SyntheticLayer("segmentation", dtype="uint32", content="labels"),
        extra={"notes.txt": b"hello"},
    )
    plan = plan_source(run)

    assert ["color", "segmentation"] == [str(layer.category) for layer in plan.layers]
    assert ["uint8", "uint32"] == [str(layer.voxel_type) for layer in plan.layers]


def test_noise_in_a_folder_called_segmentation_and_labels_in_raw(tmp_path, plan_source):
    """Rows 16k and 16l: words decide, data never does."""
    run = acquisition(
        tmp_path / "run",
        SyntheticLayer("raw", dtype="uint16", content="labels"),
        SyntheticLayer("segmentation", content="em"),
    )

    assert ["color", "segmentation"] == [str(layer.category) for layer in plan_source(run).layers]


def test_an_ome_tiff_has_channels_slices_and_times(tmp_path, plan_source):
    """Rows 12 and 12b: sizes and names from the file."""
    path = write_ome_tiff(
        tmp_path / "a.ome.tif",
        coordinate_tczyx(3, 2, SHAPE, "uint16"),
        voxel_size_nm=(100.0, 110.0, 300.0),
        channel_names=["DAPI", "GFP"],
    )
    plan = plan_source(path, voxel_size=NOTHING_KNOWN)

    assert [(name, "uint16", Vec3(60, 40, 4), 3) for name in ("DAPI", "GFP")] == facts(plan)
    assert (100.0, 110.0, 300.0) == pytest.approx(tuple(plan.voxel_size_nm))


def test_an_ome_tiff_of_time_alone(tmp_path, plan_source):
    """Row 12f: t stays t."""
    path = write_ome_tiff(tmp_path / "a.ome.tif", coordinate_tczyx(5, 1, (1, 40, 60), "uint8"))

    assert [("color", "uint8", Vec3(60, 40, 1), 5)] == facts(plan_source(path))


def test_a_folder_of_two_channel_ome_tiffs(tmp_path, plan_source):
    """Row 21h: two layers of as many slices as files."""
    for z in range(5):
        stack = coordinate_tczyx(1, 2, (1, 40, 60), "uint8")
        write_ome_tiff(tmp_path / "run" / f"z{z:02d}.ome.tif", stack)

    assert [("color_c0", 5), ("color_c1", 5)] == [
        (name, size.z) for name, _, size, _ in facts(plan_source(tmp_path / "run"))
    ]


@pytest.mark.parametrize("source", ["folder", "single"])
def test_an_ome_set_of_several_files(tmp_path, plan_source, source):
    """Row 21k: joined once; one file of a set alone is an incomplete set."""
    run = tmp_path / "run"
    write_ome_set(run, coordinate_tczyx(1, 2, SHAPE, "uint16")[0], voxel_size_nm=(4.0, 4.0, 40.0))
    if source == "single":
        with pytest.raises(IncompleteAcquisitionError, match="OME-TIFF set"):
            plan_source(run / "img_c0_z000.ome.tif")
        return
    plan = plan_source(run, voxel_size=NOTHING_KNOWN)

    assert "ome-set" == plan.layout
    assert [(f"color_c{c}", "uint16", Vec3(60, 40, 4), 1) for c in (0, 1)] == facts(plan)
    assert tuple(f"img_c1_z{z:03d}.ome.tif" for z in range(4)) == plan.stacks[1].files


def test_an_ome_set_with_a_file_missing(tmp_path, plan_source):
    """The descriptions name the file."""
    run = tmp_path / "run"
    write_ome_set(run, coordinate_tczyx(1, 1, SHAPE, "uint8")[0], missing=(2,))
    with pytest.raises(IncompleteAcquisitionError) as caught:
        plan_source(run)

    assert ["img_c0_z002.ome.tif"] == caught.value.values["missing"]


@pytest.mark.parametrize("fraction", [0.3, 0.6, 0.95])
def test_a_truncated_ome_tiff(tmp_path, plan_source, fraction):
    """Row 20g: declared six slices, fewer are there: damage, not a smaller dataset."""
    path = write_ome_tiff(tmp_path / "a.ome.tif", coordinate_tczyx(1, 1, (6, 40, 60), "uint8"))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    with pytest.raises(StackwatchError) as caught:
        plan_source(path)

    assert caught.value.code in {"corrupt_slice", "unsupported_format"}


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(3, ["color_red", "color_green", "color_blue"]), (1, ["color"])],
)
@pytest.mark.parametrize("kind", ["sequence", "multipage"])
def test_sixteen_bit_colours_are_layers(tmp_path, plan_source, samples, kind, expected):
    """Rows 12h and 12m: never three slices, in one file or in a folder of files."""
    layer = SyntheticLayer(
        kind=kind,
        pattern="s_{z}.tif" if kind == "sequence" else "s.tif",
        samples=samples,
        dtype="uint16",
    )
    plan = plan_source(acquisition(tmp_path / "run", layer))

    assert [(name, "uint16", Vec3(60, 40, 4), 1) for name in expected] == facts(plan)


def test_rgb_with_alpha(tmp_path, plan_source):
    """Rows 12j and 12l: one RGB layer; the alpha is checked while it is read."""
    slices = [coordinate_slice((40, 60), z, samples=4) for z in range(3)]
    write_sequence(tmp_path / "run", slices, extrasamples=["unassalpha"])
    plan = plan_source(tmp_path / "run")

    assert [("color", "uint24", Vec3(60, 40, 3), 1)] == facts(plan)
    assert "opaque" == plan.stacks[0].treatment.alpha


def test_cmyk_is_parked(tmp_path, plan_source):
    """Rows 12o and 21e: never four slices."""
    slices = [coordinate_slice((40, 60), z, samples=4) for z in range(3)]
    write_sequence(tmp_path / "run", slices, photometric="separated")
    with pytest.raises(UnsupportedFormatError, match="CMYK"):
        plan_source(tmp_path / "run")


def test_inverted_grey_is_turned(tmp_path, plan_source):
    """Rows 12q and 21c: MINISWHITE."""
    slices = [coordinate_slice((40, 60), z) for z in range(3)]
    write_sequence(tmp_path / "run", slices, photometric="miniswhite")

    assert plan_source(tmp_path / "run").stacks[0].treatment.invert


def test_a_rotated_jpeg_is_upright(tmp_path, plan_source):
    """Rows 12r and 21d: EXIF orientation gives the extent too."""
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(coordinate_slice((40, 60), 0)).save(tmp_path / "a.jpg", exif=exif)
    plan = plan_source(tmp_path / "a.jpg")

    assert (Vec3(40, 60, 1), 6) == (plan.layers[0].size, plan.stacks[0].treatment.orientation)


def write_palette_png(path: Path, colors: list[int]) -> None:
    """Write an indexed picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(coordinate_slice((40, 60), 0) % 3, mode=None).convert("P")
    picture.putpalette(colors)
    picture.save(path)


def test_palettes(tmp_path, plan_source):
    """Rows 08 and 21a: grey ramps are grey, colours RGB, labels keep their indices."""
    for n in (1, 2):
        write_palette_png(tmp_path / "run" / "grey" / f"{n}.png", [0, 0, 0, 9, 9, 9, 20, 20, 20])
        write_palette_png(tmp_path / "run" / "raw" / f"{n}.png", [0, 0, 0, 255, 0, 0, 0, 9, 0])
        write_palette_png(tmp_path / "run" / "labels" / f"{n}.png", [0, 0, 0, 255, 0, 0, 0, 9, 0])
    plan = plan_source(tmp_path / "run")

    assert {"grey": "grey", "raw": "rgb", "labels": "indices"} == {
        stack.layers[0].name: stack.treatment.palette for stack in plan.stacks
    }
    assert {"grey": "uint8", "raw": "uint24", "labels": "uint8"} == {
        layer.name: str(layer.voxel_type) for layer in plan.layers
    }


@pytest.mark.parametrize("kind", ["float32", "rgb"])
def test_a_segmentation_of_fractions_or_colours(tmp_path, plan_source, kind):
    """Row 10c: parked by the layer's name, and `category = "color"` is the way out."""
    layer = (
        SyntheticLayer("labels", samples=3)
        if kind == "rgb"
        else SyntheticLayer("labels", dtype="float32")
    )
    run = acquisition(tmp_path / "run", SyntheticLayer("raw"), layer)
    with pytest.raises(UnsupportedVoxelTypeError, match="labels"):
        plan_source(run)

    assert 2 == len(plan_source(run, category=Category.COLOR).layers)


def test_a_missing_slice(tmp_path, plan_source):
    """Row 01: parked; with `missing_slices = "black"` every slice stays at its z."""
    run = acquisition(tmp_path / "run", SyntheticLayer(missing=(2,)))
    with pytest.raises(MissingSlicesError):
        plan_source(run)
    plan = plan_source(run, missing_slices="black")

    assert (Vec3(60, 40, 4), 3) == (plan.layers[0].size, len(plan.stacks[0].files))


@pytest.mark.parametrize(
    ("odd", "word"),
    [
        ({"dtype": "uint16"}, "uint16"),
        ({"dtype": "float32"}, "float32"),
        ({"shape_zyx": (1, 30, 50)}, "50 x 30"),
        ({"samples": 3}, "rgb"),
    ],
)
def test_slices_of_another_kind(tmp_path, plan_source, odd, word):
    """Rows 02, 03, 03e and 03c: the first that differs is named, nothing is cast or padded."""
    odd_layer = SyntheticLayer(**({"shape_zyx": (1, 40, 60), "pattern": "slice_0004.tif"} | odd))
    run = acquisition(tmp_path / "run", SyntheticLayer(), odd_layer)
    with pytest.raises(MixedSlicesError) as caught:
        plan_source(run)

    assert ("slice_0004.tif", 4) == (caught.value.values["path"], caught.value.values["majority"])
    assert word in caught.value.values["found"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_damaged_slices(tmp_path, plan_source, damage):
    """Rows 04b, 05b and the text file named .tif: the file is named."""
    run = acquisition(tmp_path / "run", SyntheticLayer(), damaged={"slice_0002.tif": damage})
    with pytest.raises((CorruptSliceError, UnsupportedFormatError), match=r"slice_0002\.tif"):
        plan_source(run)


def test_a_preview_beside_the_slices(tmp_path, plan_source):
    """Rows 15c and 21g: parked; the hint's pattern makes it right."""
    run = acquisition(tmp_path / "run", SyntheticLayer())
    write_image(run / "preview.png", coordinate_slice((20, 30), 0))
    with pytest.raises(AmbiguousLayoutError, match=r"preview\.png"):
        plan_source(run)

    assert 4 == plan_source(run, ignore=("preview.png",)).layers[0].size.z


def test_a_previews_folder_beside_the_slices(tmp_path, plan_source):
    """Row 16c: parked; the hint's pattern makes it right."""
    run = acquisition(
        tmp_path / "run", SyntheticLayer(), SyntheticLayer("previews", pattern="p{z}.png")
    )
    with pytest.raises(AmbiguousLayoutError):
        plan_source(run)

    assert ["color"] == [layer.name for layer in plan_source(run, ignore=("previews/",)).layers]


def test_junk_beside_the_slices(tmp_path, plan_source):
    """Rows 15, 15b, 15d, mac and hidden: left out, and nothing else is."""
    junk = ("Thumbs.db", ".DS_Store", "._slice_0001.tif", "__MACOSX/._a.tif", ".Trash/old.tif",
            ".hidden.tif", "@eaDir/slice_0000.tif", "metadata.xml")  # fmt: skip
    run = acquisition(tmp_path / "run", SyntheticLayer(), extra=dict.fromkeys(junk, b"junk"))

    assert [("color", "uint8", Vec3(60, 40, 4), 1)] == facts(plan_source(run))


def test_a_slice_still_being_copied(tmp_path, plan_source):
    """Row 15e: a `.part` is a slice to come."""
    run = acquisition(tmp_path / "run", SyntheticLayer(), extra={"slice_0004.tif.part": b"II*"})
    with pytest.raises(StillArrivingError):
        plan_source(run)

    assert 4 == plan_source(run, ignore=("*.part",)).layers[0].size.z


def test_two_samples_of_the_same_day(tmp_path, plan_source):
    """Row 16b: never one layer `day1`."""
    run = acquisition(
        tmp_path / "run",
        *(SyntheticLayer(f) for f in ("s1/day1", "s1/day2", "s2/day1")),
    )
    with pytest.raises(UnknownLayoutError, match="acquisition_depth"):
        plan_source(run)


def test_a_volume_and_pictures(tmp_path, plan_source):
    """Rows 16e and 16f: never a layer for each slice, never a crash."""
    run = acquisition(
        tmp_path / "run",
        SyntheticLayer(kind="multipage", pattern="a_0.tif"),
        SyntheticLayer(pattern="a_{z}.tif", numbers=(1, 2, 3, 4)),
    )
    with pytest.raises(MixedSlicesError):
        plan_source(run)


def test_folders_that_would_be_one_layer(tmp_path, plan_source):
    """Row 16g: `lay er` and `lay_er`."""
    run = acquisition(tmp_path / "run", SyntheticLayer("lay er"), SyntheticLayer("lay_er"))
    with pytest.raises(AmbiguousLayoutError, match="lay_er"):
        plan_source(run)


def test_tiles_are_no_slices(tmp_path, plan_source):
    """Row 16h."""
    run = acquisition(
        tmp_path / "run", *(SyntheticLayer(pattern=f"r{r}-c{{z}}.tif") for r in range(2))
    )
    with pytest.raises(UnknownLayoutError, match="tiles"):
        plan_source(run)


def test_channels_in_names_are_no_slices(tmp_path, plan_source):
    """Row 16i."""
    run = acquisition(
        tmp_path / "run", *(SyntheticLayer(pattern=f"z{{z:03d}}_c{c}.tif") for c in range(2))
    )

    assert [(f"color_c{c}", "uint8", Vec3(60, 40, 4), 1) for c in range(2)] == facts(
        plan_source(run)
    )


def test_a_volume_per_timepoint(tmp_path, plan_source):
    """Rows 16d and 21i: joined along t."""
    for t in range(3):
        write_multipage(tmp_path / "run" / f"em_t{t:02d}.tif", coordinate_stack(SHAPE, t=t))

    assert [("color", "uint8", Vec3(60, 40, 4), 3)] == facts(plan_source(tmp_path / "run"))


def test_parts_of_a_volume(tmp_path, plan_source):
    """Row 20h: parts of different length, one after another."""
    for part, depth in ((1, 4), (2, 4), (3, 2)):
        write_multipage(tmp_path / "run" / f"em_part{part}.tif", coordinate_stack((depth, 40, 60)))

    assert [("color", "uint8", Vec3(60, 40, 10), 1)] == facts(plan_source(tmp_path / "run"))


def test_stage_positions(tmp_path, plan_source):
    """Row 17b: negative positions come first."""
    positions = ("-2.0", "-1.0", "0.0", "1.0", "2.0")
    slices = [coordinate_slice((40, 60), z) for z in range(5)]
    write_sequence(tmp_path / "run", slices, "z{z}.tif", numbers=positions)

    assert tuple(f"z{p}.tif" for p in positions) == plan_source(tmp_path / "run").stacks[0].files


def test_unpadded_numbers(tmp_path, plan_source):
    """Row 17: `img_2` before `img_10`."""
    run = acquisition(tmp_path / "run", SyntheticLayer(shape_zyx=(12, 8, 9), pattern="img_{z}.tif"))

    assert tuple(f"img_{z}.tif" for z in range(12)) == plan_source(run).stacks[0].files


def test_links_out_of_the_folder(tmp_path, plan_source):
    """Row 19e: neither followed nor passed over."""
    run = acquisition(tmp_path / "run", SyntheticLayer())
    outside = acquisition(tmp_path / "outside", SyntheticLayer())
    (run / "slice_0004.tif").symlink_to(outside / "slice_0000.tif")
    with pytest.raises(AcquisitionError, match="leaves the acquisition"):
        plan_source(run)


def test_several_images_in_one_file(tmp_path, plan_source):
    """Rows 20i and 11d: pages of different size are never cut to the first."""
    pages = [coordinate_slice(shape, 0) for shape in ((40, 60), (40, 60), (50, 70))]
    path = write_multipage(tmp_path / "a.tif", pages)
    with pytest.raises(StackwatchError) as caught:
        plan_source(path)

    assert "park" == caught.value.disposition


def test_a_gif_is_parked(tmp_path, plan_source):
    """Row 12s: not its first frame."""
    Image.fromarray(coordinate_slice((40, 60), 0)).save(tmp_path / "a.gif")
    with pytest.raises(UnsupportedFormatError, match="gif"):
        plan_source(tmp_path / "a.gif")


def test_names_without_a_latin_letter(tmp_path, plan_source):
    """Rows 18 and 21j: a flat folder needs no name of its own; two folders do."""
    run = acquisition(tmp_path / "画像", SyntheticLayer(pattern="画像 {z}.tif"))
    two = acquisition(tmp_path / "two", SyntheticLayer("画像"), SyntheticLayer("em"))
    with pytest.raises(UnknownLayoutError, match="layer name"):
        plan_source(two)

    assert ["color"] == [layer.name for layer in plan_source(run).layers]


def test_brackets_in_names(tmp_path, plan_source):
    """Rows 18c and 18d: `[1]` is no pattern here."""
    run = acquisition(tmp_path / "run[1]", SyntheticLayer(pattern="img [{z}].tif"))

    assert 4 == plan_source(run).layers[0].size.z


def test_loose_files(tmp_path, plan_source):
    """A group of files in the drop folder is a sequence; its neighbours are not seen."""
    write_sequence(tmp_path, [coordinate_slice((40, 60), z) for z in range(3)], "a_{z}.tif")
    write_sequence(tmp_path, [coordinate_slice((8, 9), z) for z in range(3)], "b_{z}.tif")
    plan = plan_source(tmp_path, members=tuple(f"a_{z}.tif" for z in range(3)))

    assert [("color", "uint8", Vec3(60, 40, 3), 1)] == facts(plan)


@pytest.mark.parametrize("has_top_folder", [True, False])
def test_an_archive_is_the_folder_it_contains(tmp_path, plan_source, has_top_folder):
    """A top folder inside of it is transparent: the same layers from folder and archive."""
    run = acquisition(
        tmp_path / "run", SyntheticLayer("color"), SyntheticLayer("labels", dtype="uint16")
    )
    base = tmp_path if has_top_folder else run
    archive = shutil.make_archive(
        str(tmp_path / "packed"), "zip", base, "run" if has_top_folder else "."
    )

    assert facts(plan_source(run)) == facts(plan_source(Path(archive)))


def test_an_archives_own_name_counts_like_a_folders(tmp_path, plan_source):
    """`run_labels.zip` holds labels as `run_labels/` does."""
    run = acquisition(tmp_path / "run_labels", SyntheticLayer(dtype="uint16"))
    archive = shutil.make_archive(str(tmp_path / "run_labels"), "zip", run, ".")

    assert "segmentation" == facts(plan_source(Path(archive)))[0][0]
    assert facts(plan_source(run)) == facts(plan_source(Path(archive)))


def test_without_a_voxel_size_nothing_is_planned(tmp_path, plan_source):
    """Never 1, 1, 1."""
    run = acquisition(tmp_path / "run", SyntheticLayer())
    with pytest.raises(MissingMetadataError) as caught:
        plan_source(run, voxel_size=NOTHING_KNOWN)

    assert "--voxel-size-nm" in caught.value.hint


def test_resolution_tags_give_x_and_y(tmp_path, plan_source):
    """A single slice takes z from x; the source says so."""
    per_cm = 1e7 / 5  # a pixel of 5 nm
    write_image(
        tmp_path / "a.tif",
        np.zeros((8, 9), np.uint8),
        resolution=(per_cm, per_cm),
        resolutionunit="CENTIMETER",
    )
    plan = plan_source(tmp_path / "a.tif", voxel_size=NOTHING_KNOWN)

    assert VoxelSize(5.0, 5.0, 5.0) == plan.voxel_size_nm
    assert "single slice" in plan.voxel_size_source[2]
