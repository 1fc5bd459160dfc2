"""Which layout an acquisition has: each shape with a verdict, each doubt with an error.

Headers are faked here; `test_plan_real.py` goes through real files.
"""

from typing import Any

import pytest

from stackwatch.errors import (
    AcquisitionError,
    AmbiguousLayoutError,
    CorruptSliceError,
    IncompleteAcquisitionError,
    MissingSlicesError,
    MixedSlicesError,
    StackwatchError,
    StillArrivingError,
    UnknownLayoutError,
    UnsupportedFormatError,
    UsageError,
)
from stackwatch.layout.classify import LAYOUTS, classify
from stackwatch.layout.drafts import Verdict
from stackwatch.model.acquisition import Refusal
from stackwatch.model.image import Channel, ImageInfo
from stackwatch.model.options import LayoutOptions
from stackwatch.model.plan import BLACK, PlaneRef
from stackwatch.testing.fakes import FakeProbe, image_info, listing_of

DEEP = image_info(size_z=5)


def numbered(pattern: str, *numbers: int) -> list[str]:
    """Return names with a number each."""
    return [pattern.format(n) for n in numbers]


def verdict_of(
    paths: list[str],
    default: ImageInfo | None = None,
    special: dict[str, ImageInfo | StackwatchError] | None = None,
    **options: Any,
) -> Verdict:
    """Classify files whose headers are made up."""
    probe = FakeProbe(default or image_info(), special or {})
    return classify(listing_of(paths), probe, LayoutOptions(**options))


def files_by_z(verdict: Verdict, layer: int = 0, t: int = 0) -> list[str]:
    """Return the file of each slice, `black` for none."""
    stack = verdict.layers[layer].stack
    return [
        "black" if plane.file == BLACK else stack.files[plane.file] for plane in stack.planes_tz[t]
    ]


def test_a_numbered_folder_is_a_sequence():
    """One file per slice, in the order of the numbers."""
    verdict = verdict_of(["img_10.tif", "img_9.tif", "img_8.tif", "notes.txt"])

    assert ("sequence", ["img_8.tif", "img_9.tif", "img_10.tif"]) == (
        verdict.layout,
        files_by_z(verdict),
    )
    assert any("stride 1" in sentence for sentence in verdict.evidence)
    assert any("1 file is no image" in sentence for sentence in verdict.evidence)


def test_suffixes_may_differ_within_a_sequence():
    """Row 15f: tif, png and bmp with one run of numbers are one stack."""
    verdict = verdict_of(["s_2.png", "s_1.tif", "s_3.bmp"])

    assert ["s_1.tif", "s_2.png", "s_3.bmp"] == files_by_z(verdict)


def test_folders_are_layers():
    """Two folders, two layers, side files and an image-free folder do not count."""
    verdict = verdict_of(
        [*numbered("color/{}.tif", 1, 2), *numbered("segmentation/{}.tif", 1, 2), "logs/a.txt"]
    )

    assert ("layer-folders", ["color", "segmentation"]) == (
        verdict.layout,
        [layer.folder for layer in verdict.layers],
    )


def test_a_layer_folder_may_hold_one_deep_file():
    """As the documentation says: a sequence, or one 3-D file."""
    verdict = verdict_of(
        ["raw/stack.tif", *numbered("seg/{}.tif", 1, 2)], special={"raw/stack.tif": DEEP}
    )

    assert [5, 2] == [len(layer.stack.planes_tz[0]) for layer in verdict.layers]


def test_a_folder_around_the_slices_is_transparent():
    """`acquisition/one_folder/slices`: an archive with a top folder looks like this too."""
    verdict = verdict_of(numbered("run/tiffs/img_{}.tif", 1, 2, 3))

    assert ("sequence", "") == (verdict.layout, verdict.layers[0].folder)
    assert any("run/tiffs" in sentence for sentence in verdict.evidence)


def test_layer_folders_may_lie_in_a_folder():
    """`run/color`, `run/labels`: the common folder is no layer."""
    verdict = verdict_of(
        [*numbered("run/color/{}.tif", 1, 2), *numbered("run/labels/a/{}.tif", 1, 2)]
    )

    assert ["color", "labels"] == [layer.folder for layer in verdict.layers]


def test_one_big_file_beside_notes():
    """Notes and metadata are left out, and named as evidence."""
    verdict = verdict_of(["stack.tif", "readme.txt", "meta.xml", "stage.map"], DEEP)

    assert ("single-file", 5) == (verdict.layout, len(verdict.layers[0].stack.planes_tz[0]))


def test_a_map_alone_is_an_image():
    """Where nothing else is an image, a `.map` is taken for one; its reader tells if it is text."""
    verdict = verdict_of(["emd_3001.map", "readme.txt"], DEEP)

    assert ("single-file", ("emd_3001.map",)) == (verdict.layout, verdict.layers[0].stack.files)


def test_channels_and_times_of_a_file_are_layers_and_a_time_axis():
    """C becomes layers, Z slices, T the time axis."""
    info = image_info(size_t=3, size_c=2, size_z=4, channels=(Channel("DAPI"), Channel("GFP")))
    verdict = verdict_of(["a.ome.tif"], info)

    assert ["DAPI", "GFP"] == [layer.stack.label for layer in verdict.layers]
    assert PlaneRef(0, t=2, c=1, z=3) == verdict.layers[1].stack.planes_tz[2][3]


@pytest.mark.parametrize("names", [("", ""), ("A", "A"), ("A", "")])
def test_channels_without_distinct_names_are_counted(names):
    """Two channels of one name would be one layer."""
    info = image_info(size_c=2, channels=tuple(Channel(name) for name in names))
    verdict = verdict_of(["a.ome.tif"], info)

    assert ["c0", "c1"] == [layer.stack.label for layer in verdict.layers]


def test_only_time_is_a_time_axis():
    """Row 12f: t never becomes z."""
    verdict = verdict_of(["a.ome.tif"], image_info(size_t=7))

    assert [1] * 7 == [len(row) for row in verdict.layers[0].stack.planes_tz]


def test_channels_in_names_are_layers():
    """Row 16i: img_z000_c0, _c1 are not interleaved."""
    paths = [f"img_z{z:03d}_c{c}.tif" for z in range(3) for c in (0, 2)]
    verdict = verdict_of(paths)

    assert ("named-axes", ["c0", "c2"]) == (
        verdict.layout,
        [layer.stack.label for layer in verdict.layers],
    )
    assert ["img_z000_c2.tif", "img_z001_c2.tif", "img_z002_c2.tif"] == files_by_z(verdict, 1)


def test_times_in_names_are_a_time_axis():
    """A file for each slice and timepoint."""
    verdict = verdict_of([f"t{t}_{z:02d}.tif" for t in (1, 2) for z in (5, 6, 7)])

    assert ["t2_05.tif", "t2_06.tif", "t2_07.tif"] == files_by_z(verdict, t=1)


def test_a_stack_per_timepoint_is_joined_along_t():
    """Row 21i: files of several slices, one for each t."""
    verdict = verdict_of(numbered("run_t{:03d}.tif", 0, 1, 2), DEEP)
    stack = verdict.layers[0].stack

    assert (3, 5, PlaneRef(2, z=4)) == (
        len(stack.planes_tz),
        len(stack.planes_tz[0]),
        stack.planes_tz[2][4],
    )


def test_a_stack_per_channel_is_a_layer_each():
    """Files of several slices, one for each channel."""
    verdict = verdict_of(numbered("run_ch{}.tif", 0, 1), DEEP)

    assert [("c0", 5), ("c1", 5)] == [
        (layer.stack.label, len(layer.stack.planes_tz[0])) for layer in verdict.layers
    ]


def test_a_folder_of_two_channel_files_is_two_layers():
    """Row 21h: C=2 OME-TIFFs, one for each z."""
    verdict = verdict_of(numbered("z_{}.ome.tif", 9, 10, 11), image_info(size_c=2))

    assert ("sequence", 2) == (verdict.layout, len(verdict.layers))
    assert (PlaneRef(0, c=1), PlaneRef(1, c=1), PlaneRef(2, c=1)) == (
        verdict.layers[1].stack.planes_tz[0]
    )


def test_parts_continue_each_other_in_z():
    """Multi-page parts of different length, in the order of their numbers."""
    verdict = verdict_of(
        numbered("run_part{}.tif", 1, 2, 10, 9, 3, 4, 5, 6, 7, 8),
        DEEP,
        {"run_part10.tif": image_info(size_z=2)},
    )

    assert ("z-parts", 47) == (verdict.layout, len(verdict.layers[0].stack.planes_tz[0]))
    assert ["run_part9.tif"] * 5 + ["run_part10.tif"] * 2 == files_by_z(verdict)[-7:]


def test_files_called_by_words_are_layers():
    """Row 16d: several 3-D files of one extent whose names are words."""
    verdict = verdict_of(["raw.tif", "labels.tif", "membranes.tif"], DEEP)

    assert ("layer-per-file", ["labels", "membranes", "raw"]) == (
        verdict.layout,
        [layer.stack.label for layer in verdict.layers],
    )


@pytest.mark.parametrize(("layout", "expected"), [("z-parts", [10]), ("layer-per-file", [5, 5])])
def test_numbered_deep_files_are_parts_or_layers(layout, expected):
    """Nothing proves either: parked with both, and the setting decides."""
    paths = ["stack_1.tif", "stack_2.tif"]
    with pytest.raises(AmbiguousLayoutError) as caught:
        verdict_of(paths, DEEP)
    verdict = verdict_of(paths, DEEP, layout=layout)

    assert ["z-parts", "layer-per-file"] == caught.value.values["layouts"]
    assert f'layout = "{layout}"' in caught.value.hint
    assert expected == [len(layer.stack.planes_tz[0]) for layer in verdict.layers]


def test_words_of_different_extent_are_parked():
    """They may be different samples."""
    with pytest.raises(AmbiguousLayoutError, match="nothing in the names proves it"):
        verdict_of(["raw.tif", "labels.tif"], DEEP, {"raw.tif": image_info(size_z=6)})


def test_two_pictures_called_by_words_are_parked():
    """Slices without an order, or two layers: only the setting can say."""
    with pytest.raises(AmbiguousLayoutError):
        verdict_of(["raw.tif", "mask.tif"])
    verdict = verdict_of(["raw.tif", "mask.tif"], layout="layer-per-file")

    assert ["mask", "raw"] == [layer.stack.label for layer in verdict.layers]


def test_images_beside_folders_are_parked():
    """A `previews/` folder, or a layer beside others: the hint shows both ways out."""
    paths = [*numbered("img_{}.tif", 1, 2), "previews/p.png"]
    with pytest.raises(AmbiguousLayoutError) as caught:
        verdict_of(paths)

    assert 'ignore = ["previews/"]' in caught.value.hint
    assert ["sequence", "layer-folders"] == caught.value.values["layouts"]


@pytest.mark.parametrize(
    ("layout", "files"),
    [("sequence", ["img_1.tif", "img_2.tif"]), ("layer-folders", ["previews/p.png"])],
)
def test_the_setting_decides_between_images_and_folders(layout, files):
    """What is left out is a warning, never silence."""
    verdict = verdict_of([*numbered("img_{}.tif", 1, 2), "previews/p.png"], layout=layout)

    assert files == files_by_z(verdict)
    assert any("left out" in warning for warning in verdict.warnings)


def test_a_stray_picture_is_parked_with_the_hint():
    """Rows 15c and 21g: a preview never becomes a slice."""
    with pytest.raises(AmbiguousLayoutError) as caught:
        verdict_of([*numbered("img_{}.tif", 1, 2, 3), "preview.png"])

    assert ["preview.png"] == caught.value.values["strays"]
    assert 'ignore = ["preview.png"]' in caught.value.hint


def test_the_hint_of_a_stray_is_a_pattern_that_matches_it():
    """Brackets in a name are quoted, or the hint would not work."""
    with pytest.raises(AmbiguousLayoutError) as caught:
        verdict_of([*numbered("img_{}.tif", 1, 2, 3), "preview[x].png"])

    assert "preview[[]x].png" in caught.value.hint


def test_slices_beside_a_deep_file_are_parked():
    """Rows 16e and 16f: whichever the directory lists first."""
    for pattern in ("img_{}.tif", "img_c{}.tif"):
        paths = numbered(pattern, 1, 2, 3)
        for deep in paths[:2]:
            with pytest.raises(MixedSlicesError) as caught:
                verdict_of(paths, special={deep: DEEP})

            assert [deep] == caught.value.values["several"]


def test_a_preview_beside_one_big_file_is_parked():
    """A volume and a picture, both called by words: the picture is named in the hint."""
    with pytest.raises(MixedSlicesError) as caught:
        verdict_of(["stack.tif", "preview.png"], special={"stack.tif": DEEP})

    assert 'ignore = ["preview.png"]' in caught.value.hint


@pytest.mark.parametrize(
    "paths",
    [
        [f"r{r}-c{c}.tif" for r in (0, 1) for c in (0, 1)],
        [f"z{z}_tile{n}.tif" for z in (0, 1) for n in (0, 1)],
        [f"x{x}_y{y}.tif" for x in (0, 1) for y in (0, 1)],
    ],
)
def test_tiles_are_parked(paths):
    """Row 16h: tiles never become slices."""
    with pytest.raises(UnknownLayoutError, match="tiles"):
        verdict_of(paths)


@pytest.mark.parametrize("word", ["x", "t", "c"])
def test_a_lone_number_counts_slices_where_the_setting_says_so(word):
    """The word before it may mean something else in this laboratory."""
    paths = numbered(word + "{:02d}.tif", *range(20))
    verdict = verdict_of(paths, layout="sequence")

    assert paths == files_by_z(verdict)


@pytest.mark.parametrize("word", ["x", "c"])
def test_a_refused_word_names_the_way_out(word):
    """Tiles and too many channels: the hint has the setting."""
    with pytest.raises(StackwatchError) as caught:
        verdict_of(numbered(word + "{:02d}.tif", *range(20)))

    assert 'layout = "sequence"' in caught.value.hint


def test_two_hundred_channels_are_parked():
    """A layer each would be absurd: `c` may count cuts. Sixteen are believed."""
    many = numbered("c{:03d}.tif", *range(200))
    with pytest.raises(AmbiguousLayoutError, match="too many for channels"):
        verdict_of(many)

    assert 200 == len(verdict_of(many, layout="named-axes").layers)
    assert 16 == len(verdict_of(many[:16]).layers)


def test_two_unknown_numbers_are_parked():
    """Decision 17: the grammar does not know what varies."""
    with pytest.raises(UnknownLayoutError, match="No layout fits"):
        verdict_of([f"a_{i}_{j}.tif" for i in (1, 2) for j in (5, 6)])


def test_pictures_without_numbers_have_no_order():
    """Alphabetical is not an order of slices; two series in one folder are two folders."""
    with pytest.raises(StackwatchError) as caught:
        verdict_of(["a_1.tif", "a_2.tif", "b_1.tif", "b_2.tif"])

    assert isinstance(caught.value, UnknownLayoutError)
    assert ["a_#.tif", "b_#.tif"] == caught.value.values["templates"]


def test_a_gap_is_parked_and_named():
    """Row 01: the numbers say what is missing."""
    with pytest.raises(MissingSlicesError) as caught:
        verdict_of(numbered("img_{:04d}.tif", 1, 2, 4, 7))

    assert (["3", "5–6"], 3, "1–7") == (
        caught.value.values["missing"],
        caught.value.values["missing_count"],
        caught.value.values["expected"],
    )
    assert "missing_slices" in caught.value.hint


def test_a_gap_may_be_black():
    """`missing_slices = "black"` pads, keeps every z, and warns."""
    verdict = verdict_of(numbered("img_{}.tif", 1, 2, 4), missing_slices="black")

    assert ["img_1.tif", "img_2.tif", "black", "img_4.tif"] == files_by_z(verdict)
    assert any("1 missing slices" in warning for warning in verdict.warnings)


def test_a_missing_file_of_a_grid_is_named():
    """A slice of one channel only: the other channel's z stays where it is."""
    paths = [f"z{z}_c{c}.tif" for z in range(3) for c in range(2)]
    paths.remove("z1_c1.tif")
    with pytest.raises(MissingSlicesError) as caught:
        verdict_of(paths)
    verdict = verdict_of(paths, missing_slices="black")

    assert ["c=1 z=1"] == caught.value.values["missing"]
    assert ["z0_c1.tif", "black", "z2_c1.tif"] == files_by_z(verdict, 1)


def test_two_numbers_that_run_in_step_are_no_grid():
    """A slice and a time that count together: absent files are counted, not listed."""
    with pytest.raises(MissingSlicesError) as caught:
        verdict_of([f"z{n}_t{2 * n}.tif" for n in range(5000)], missing_slices="black")

    assert 4999 * 5000 == caught.value.values["missing_count"]
    assert 100 == len(caught.value.values["missing"])


def test_a_missing_timepoint_is_never_padded():
    """Padding is for slices."""
    paths = [f"t{t}_z{z}.tif" for t in (1, 2, 4) for z in range(2)]
    with pytest.raises(MissingSlicesError, match="timepoints 3"):
        verdict_of(paths, missing_slices="black")


def test_a_missing_part_is_never_padded():
    """How many slices a missing part had nobody knows."""
    with pytest.raises(MissingSlicesError) as caught:
        verdict_of(numbered("part_{}.tif", 1, 2, 4), DEEP, missing_slices="black")

    assert "black" not in caught.value.hint


def test_absurd_gaps_are_not_padded():
    """A timestamp among the numbers does not make a dataset of a million black slices."""
    with pytest.raises(MissingSlicesError):
        verdict_of(numbered("img_{}.tif", 1, 2, 3, 10**9), missing_slices="black")


@pytest.mark.parametrize("policy", ["park", "black"])
def test_numbers_out_of_step_are_parked(policy):
    """Decision 17: a break in the stride is no gap."""
    with pytest.raises(UnknownLayoutError, match="stride") as caught:
        verdict_of(numbered("img_{}.tif", 0, 10, 20, 25, 30, 40), missing_slices=policy)

    assert ["20 to 25", "25 to 30"] == caught.value.values["breaks"]


@pytest.mark.parametrize("twin", ["img_01.tif", "img_1.png", "IMG_1.tif"])
def test_one_number_twice_is_parked(twin):
    """`1` and `01`, or one name with two suffixes."""
    with pytest.raises(AmbiguousLayoutError, match="same number"):
        verdict_of([*numbered("img_{}.tif", 1, 2, 3), twin])


def test_any_stride_and_first_number_are_evidence():
    """Tens, from 50 on, are a sequence; the evidence says so."""
    verdict = verdict_of(numbered("img_{}.tif", 50, 60, 70, 80))

    assert any("50 to 80, stride 10" in sentence for sentence in verdict.evidence)


def test_nested_samples_are_parked():
    """Row 16b: `s1/day1` and `s2/day1` are not one layer `day1`."""
    paths = [f"{s}/{d}/{n}.tif" for s in ("s1", "s2") for d in ("day1", "day2") for n in (1, 2)]
    with pytest.raises(UnknownLayoutError) as caught:
        verdict_of(paths)

    assert "acquisition_depth" in caught.value.hint


@pytest.mark.parametrize("pattern", ["t{}", "z_{}", "tile{}", "{}"])
def test_folders_that_count_are_parked(pattern):
    """Timepoints, slices, tiles, or bare numbers: perhaps layers, perhaps not."""
    paths = [f"{pattern.format(n)}/{z}.tif" for n in (60, 61) for z in (1, 2)]
    with pytest.raises(AmbiguousLayoutError):
        verdict_of(paths)
    verdict = verdict_of(paths, layout="layer-folders")

    assert [pattern.format(60), pattern.format(61)] == [layer.folder for layer in verdict.layers]


def test_channel_folders_are_layers():
    """`ch0`, `ch1` mean what layers mean."""
    verdict = verdict_of([f"ch{c}/{z}.tif" for c in (0, 1) for z in (1, 2)])

    assert ["ch0", "ch1"] == [layer.folder for layer in verdict.layers]


@pytest.mark.parametrize("layout", ["z-parts", "single-file", "layer-per-file"])
def test_a_setting_that_does_not_fit_is_parked(layout):
    """A forced layout is still checked."""
    with pytest.raises(UnknownLayoutError, match="does not fit"):
        verdict_of(numbered("img_{}.tif", 1, 2, 3), layout=layout)


def test_an_unknown_layout_setting_is_a_mistake_of_usage():
    """All names are listed."""
    with pytest.raises(UsageError) as caught:
        verdict_of(["a.tif"], layout="sequnce")

    assert all(name in str(caught.value) for name in LAYOUTS)


@pytest.mark.parametrize(
    ("paths", "error", "phrase"),
    [
        ([], UnknownLayoutError, "found nothing"),
        (["notes.txt", "a.xml", "b.xml"], UnknownLayoutError, "2 x .xml"),
        (["run.zip"], UnknownLayoutError, "Unpack"),
        (["a.zvi"], UnsupportedFormatError, "does not read"),
        (["img_1.tif", "img_2.tif", "a.nrrd"], UnsupportedFormatError, "beside 2 images"),
        (["a.gif"], UnsupportedFormatError, "does not read"),
    ],
)
def test_what_holds_no_readable_images_says_what_was_found(paths, error, phrase):
    """Rows 05d, 14 and 12s: the suffixes are named, nothing is passed over."""
    with pytest.raises(error, match=phrase):
        verdict_of(paths)


def test_empty_images_are_damage():
    """Rows 05: found in the listing, before any file is opened; all of them named."""
    listing = listing_of(numbered("img_{}.tif", 1, 2, 3), sizes={"img_2.tif": 0, "img_3.tif": 0})
    probe = FakeProbe()
    with pytest.raises(CorruptSliceError) as caught:
        classify(listing, probe, LayoutOptions())

    assert (["img_2.tif", "img_3.tif"], []) == (caught.value.values["empty"], probe.asked)


@pytest.mark.parametrize("pending", ["img_3.tif.part", ".img_3.tif.x7Hs2q", "sub/a.png.filepart"])
def test_a_copy_under_way_is_waited_for(pending):
    """Row 15e: a temporary file that will be an image means that the acquisition is not whole."""
    listing = listing_of(numbered("img_{}.tif", 1, 2), ignored=[pending])
    with pytest.raises(StillArrivingError) as caught:
        classify(listing, FakeProbe(), LayoutOptions())

    assert [pending] == caught.value.values["pending"]


@pytest.mark.parametrize(
    ("ignored", "ignore"),
    [
        ("img_2.tif.part", ()),
        ("img_3.tif.part", ("*.part",)),
        ("notes.txt.part", ()),
        (".Trash/img_3.tif.part", ()),
        (".DS_Store", ()),
    ],
)
def test_other_temporary_files_are_not_waited_for(ignored, ignore):
    """Left over beside the whole file, ignored on purpose, no image, or in the bin."""
    listing = listing_of(numbered("img_{}.tif", 1, 2), ignored=[ignored])
    verdict = classify(listing, FakeProbe(), LayoutOptions(ignore=ignore))

    assert "sequence" == verdict.layout


@pytest.mark.parametrize("path", ["img_3.tif", "folder", "locked/"])
def test_links_that_may_hide_slices_are_parked(path):
    """Row 19e: a link is neither followed nor passed over."""
    listing = listing_of(
        numbered("img_{}.tif", 1, 2), refusals=[Refusal(path, "a symbolic link to “/x”")]
    )
    with pytest.raises(AcquisitionError, match="never followed") as caught:
        classify(listing, FakeProbe(), LayoutOptions())

    assert (path, "acquisition") == (caught.value.values["path"], caught.value.code)


def test_a_link_to_notes_is_a_warning():
    """It cannot hide a slice."""
    listing = listing_of(
        numbered("img_{}.tif", 1, 2), refusals=[Refusal("notes.txt", "a symbolic link")]
    )
    verdict = classify(listing, FakeProbe(), LayoutOptions())

    assert any("notes.txt" in warning for warning in verdict.warnings)


def ome_set_infos(
    size_c: int, size_z: int, uuid: str = "u"
) -> dict[str, ImageInfo | StackwatchError]:
    """Return the headers of a set of one plane per file, in file names that tell nothing."""
    names = [f"f{i}.ome.tif" for i in range(size_c * size_z)]
    return {
        name: image_info(
            size_c=size_c,
            size_z=size_z,
            set_files=tuple(names),
            set_uuid=uuid,
            set_planes_tcz=((0, i % size_c, i // size_c),),
        )
        for i, name in enumerate(names)
    }


def test_an_ome_set_is_joined_once():
    """Row 21k: what the descriptions say, not the names, gives each plane its place."""
    infos = ome_set_infos(size_c=2, size_z=3)
    verdict = verdict_of(list(infos), special=infos)

    assert ("ome-set", 2) == (verdict.layout, len(verdict.layers))
    assert ["f1.ome.tif", "f3.ome.tif", "f5.ome.tif"] == files_by_z(verdict, 1)
    assert PlaneRef(2, c=1, z=2) == verdict.layers[1].stack.planes_tz[0][2]


@pytest.mark.parametrize("left", [1, 5])
def test_an_incomplete_ome_set_is_parked(left):
    """Even one file of a set says how many there should be."""
    infos = ome_set_infos(size_c=2, size_z=3)
    paths = list(infos)[:left]
    with pytest.raises(IncompleteAcquisitionError) as caught:
        verdict_of(paths, special=infos)

    assert 6 - left == caught.value.values["missing_count"]
    assert f"f{left}.ome.tif" == caught.value.values["missing"][0]
    assert 'missing_slices = "black"' in caught.value.hint


def test_an_incomplete_ome_set_can_be_padded():
    """With `missing_slices = "black"` absent planes keep their places, and a person is warned."""
    infos = ome_set_infos(size_c=2, size_z=3)
    paths = [path for number, path in enumerate(infos) if number != 1]
    verdict = verdict_of(paths, special=infos, missing_slices="black")

    assert ("1 missing slices become black (`missing_slices`)",) == verdict.warnings
    assert ["f0.ome.tif", "f2.ome.tif", "f4.ome.tif"] == files_by_z(verdict, 0)
    assert ["black", "f3.ome.tif", "f5.ome.tif"] == files_by_z(verdict, 1)


def test_an_ome_set_without_a_channel_is_never_padded():
    """A layer of nothing but black is no layer."""
    infos = ome_set_infos(size_c=2, size_z=3)
    paths = [
        path
        for path, info in infos.items()
        if isinstance(info, ImageInfo) and info.set_planes_tcz[0][1] == 0
    ]
    with pytest.raises(IncompleteAcquisitionError):
        verdict_of(paths, special=infos, missing_slices="black")


def test_an_ome_set_with_a_stranger_is_parked():
    """A picture beside the set, or a second set, is not taken in."""
    infos = ome_set_infos(size_c=1, size_z=3)
    with pytest.raises(AmbiguousLayoutError) as caught:
        verdict_of([*infos, "f9.ome.tif"], special=infos)
    other = {f"g{name}": info for name, info in ome_set_infos(1, 3, "v").items()}
    with pytest.raises(AmbiguousLayoutError, match="2 OME-TIFF sets"):
        verdict_of([*infos, *other], special=infos | other)

    assert ["f9.ome.tif"] == caught.value.values["strangers"]


def test_channels_in_names_and_in_files_are_parked():
    """Which of them are the channels cannot be told."""
    paths = [f"z{z}_c{c}.tif" for z in range(2) for c in range(2)]
    with pytest.raises(AmbiguousLayoutError, match="channels"):
        verdict_of(paths, image_info(size_c=3))


def test_timepoints_of_different_depth_are_parked():
    """A file of one timepoint that lacks slices."""
    with pytest.raises(MixedSlicesError) as caught:
        verdict_of(numbered("t{}.tif", 1, 2, 3), DEEP, {"t2.tif": image_info(size_z=4)})

    assert ("t2.tif", 4, 5) == (
        caught.value.values["path"],
        caught.value.values["size_z"],
        caught.value.values["expected_z"],
    )


def test_parts_of_different_width_do_not_continue_each_other():
    """No rule fits, and the reason is said."""
    with pytest.raises(StackwatchError, match="differ in width"):
        verdict_of(
            numbered("part_{}.tif", 1, 2), DEEP, {"part_2.tif": image_info(size_z=5, size_x=9)}
        )


def test_a_long_sequence_is_sampled():
    """64 files of 1,000 are opened, the first and the last among them."""
    paths = numbered("img_{:04d}.tif", *range(1000))
    probe = FakeProbe()
    classify(listing_of(paths), probe, LayoutOptions())

    assert 64 == len(set(probe.asked))
    assert {paths[0], paths[-1]} <= set(probe.asked)


def test_errors_of_readers_pass_through():
    """A text file named .tif is what the reader says it is."""
    error = UnsupportedFormatError("looks like text")
    with pytest.raises(UnsupportedFormatError, match="looks like text"):
        verdict_of(numbered("img_{}.tif", 1, 2, 3), special={"img_2.tif": error})
