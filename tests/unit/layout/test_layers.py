"""Names and categories of layers."""

import pytest

from stackwatch.errors import (
    AmbiguousLayoutError,
    UnknownLayoutError,
    UnsupportedVoxelTypeError,
)
from stackwatch.layout.drafts import LayerDraft, StackDraft
from stackwatch.layout.layers import ensure_labels, name_layers, sanitise, segmentation_word
from stackwatch.model.image import PixelFormat
from stackwatch.model.options import LayerRule, LayoutOptions
from stackwatch.model.plan import PlaneRef
from stackwatch.model.voxels import Category

COLOR, SEGMENTATION = Category.COLOR, Category.SEGMENTATION


def draft(
    folder: str = "", label: str = "", *words: str, is_label_enough: bool = False
) -> LayerDraft:
    """Return a stack of one slice with a place and words."""
    stack = StackDraft(
        ("a.tif",), ((PlaneRef(0),),), label, is_label_enough, words=(*words, folder)
    )
    return LayerDraft(stack, folder)


def named(*drafts: LayerDraft, options: LayoutOptions | None = None) -> list[tuple[str, Category]]:
    """Return name and category of each layer."""
    return [
        (layer.name, layer.category) for layer in name_layers(drafts, options or LayoutOptions())
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("color", "color"),
        ("lay er", "lay_er"),
        ("Präparat µm", "Pr_parat__m"),
        ("..hidden", "hidden"),
        ("a/b", "a_b"),
        ("$@.-_", "$@.-_"),
        ("b\udcff", "b_"),
    ],
)
def test_what_webknossos_refuses_is_replaced(name, expected):
    """Replaced, never removed: the length tells what was there."""
    assert expected == sanitise(name)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("segmentation", "segmentation"), ("Labels", "Labels"), ("LABELS_01", "LABELS"),
        ("run_seg3", "seg"), ("cellMask", "Mask"), ("mito-instances", "instances"),
        ("unlabelled", ""), ("segment", ""), ("raw", ""), ("masked", ""), ("", ""),
    ],
)  # fmt: skip
def test_words_that_say_segmentation(name, word):
    """Whole words, in any case of letters, between signs and numbers or in camel case."""
    assert word == segmentation_word([name])


def test_the_layer_of_a_flat_acquisition_is_its_category():
    """Decision 9: `color`, or `segmentation` if the names say so."""
    assert [("color", COLOR)] == named(draft("", "", "run_041"))
    assert [("segmentation", SEGMENTATION)] == named(draft("", "", "run_041_labels"))


def test_the_layers_of_folders_are_named_after_them():
    """Category by the folder's own words."""
    assert [("raw", COLOR), ("cell_masks", SEGMENTATION)] == named(
        draft("raw"), draft("cell masks")
    )


def test_channels_are_named_by_themselves_or_after_the_layer():
    """A channel's own name is enough in a flat acquisition; a number is not."""
    assert [("DAPI", COLOR), ("color_c1", COLOR)] == named(
        draft("", "DAPI", is_label_enough=True), draft("", "c1")
    )
    assert [("em_DAPI", COLOR), ("em_c1", COLOR)] == named(
        draft("em", "DAPI", is_label_enough=True), draft("em", "c1")
    )


@pytest.mark.parametrize(
    ("drafts", "options", "expected"),
    [
        ([draft()], LayoutOptions(layer_name="em"), [("em", COLOR)]),
        (
            [draft("a"), draft("b")],
            LayoutOptions(layer_name="em"),
            [("em_a", COLOR), ("em_b", COLOR)],
        ),
        ([draft()], LayoutOptions(category=SEGMENTATION), [("segmentation", SEGMENTATION)]),
        ([draft("labels")], LayoutOptions(category=COLOR), [("labels", COLOR)]),
        ([draft("", "", "labels")], LayoutOptions(category=COLOR), [("color", COLOR)]),
        (
            [draft("a"), draft("b")],
            LayoutOptions(layer_rules=(LayerRule("a", "em", SEGMENTATION), LayerRule("*", None))),
            [("em", SEGMENTATION), ("b", COLOR)],
        ),
        (
            [draft("a"), draft("b")],
            LayoutOptions(category=COLOR, layer_rules=(LayerRule("b", None, SEGMENTATION),)),
            [("a", COLOR), ("b", SEGMENTATION)],
        ),
        (
            [draft("", "c0"), draft("", "c1")],
            LayoutOptions(layer_rules=(LayerRule("c1", "GFP"),)),
            [("color_c0", COLOR), ("GFP", COLOR)],
        ),
    ],
)
def test_settings_overrule_words(drafts, options, expected):
    """A rule names the first layer it matches, `category` those no rule decides."""
    assert expected == named(*drafts, options=options)


def test_a_rule_matches_the_name_as_it_is_on_the_disk():
    """Folder names are matched before they are sanitised."""
    options = LayoutOptions(layer_rules=(LayerRule("画像", "em"),))

    assert [("em", COLOR)] == named(draft("画像"), options=options)


def test_two_layers_of_one_name_are_parked():
    """Row 16g: `lay er` and `lay_er` are not merged."""
    with pytest.raises(AmbiguousLayoutError) as caught:
        named(draft("lay er"), draft("lay_er"))

    assert ("lay_er", ["lay er", "lay_er"]) == (
        caught.value.values["layer"],
        caught.value.values["sources"],
    )


@pytest.mark.parametrize("folder", ["画像", "___", "zarr.json"])
def test_names_without_a_letter_are_parked(folder):
    """Row 21j: underscores alone, or the name of a file of ours, are no layer name."""
    with pytest.raises(UnknownLayoutError, match="layer name"):
        named(draft(folder))


@pytest.mark.parametrize(
    ("pixels", "cast", "fits"),
    [
        (PixelFormat("uint32"), None, True),
        (PixelFormat("int64"), None, True),
        (PixelFormat("bool", "bilevel"), None, True),
        (PixelFormat("uint8", "palette"), None, True),
        (PixelFormat("float32"), None, False),
        (PixelFormat("float32"), "uint32", True),
        (PixelFormat("uint8", "rgb", 3), None, False),
        (PixelFormat("uint8", "rgb", 3), "uint32", False),
    ],
)
def test_a_segmentation_holds_integers(pixels, cast, fits):
    """Decision 15: the name says segmentation, the pixels are colours or fractions: parked."""
    (layer,) = name_layers([draft("labels")], LayoutOptions())
    options = LayoutOptions(cast=cast)
    if fits:
        ensure_labels(layer, pixels, options)
        return
    with pytest.raises(UnsupportedVoxelTypeError) as caught:
        ensure_labels(layer, pixels, options)

    assert "labels" == caught.value.values["layer"]
    assert 'category = "color"' in caught.value.hint


def test_a_color_layer_may_hold_anything_here():
    """Whether WEBKNOSSOS takes the type is asked elsewhere."""
    (layer,) = name_layers([draft("raw")], LayoutOptions())

    ensure_labels(layer, PixelFormat("float64", "rgb", 3), LayoutOptions())

    assert layer.category is COLOR
