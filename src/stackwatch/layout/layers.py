"""What layers are called and what they hold: names sanitised, rules applied, words understood."""

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from stackwatch.errors import (
    AmbiguousLayoutError,
    UnknownLayoutError,
    UnsupportedVoxelTypeError,
)
from stackwatch.layout.drafts import LayerDraft
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import PixelFormat
from stackwatch.model.options import LayerRule, LayoutOptions
from stackwatch.model.voxels import Category

SEGMENTATION_WORDS: Final = frozenset(
    {
        "segmentation", "segmentations", "seg", "label", "labels", "mask", "masks",
        "instance", "instances",
    }
)  # fmt: skip

_RESERVED: Final = frozenset({"zarr.json", "datasource-properties.json", "stackwatch.json"})
_REFUSED_CHARS: Final = re.compile(r"[^A-Za-z0-9_.$@-]")
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@dataclass(frozen=True, slots=True)
class NamedLayer:
    """A layer's name, and its category as far as settings and words decide it.

    Attributes
    ----------
    name : str
    source_name : str
        What people would recognise: folder, file or channel.
    category : Category
    category_word : str
        The word in a name that says segmentation; empty where settings decide or nothing does.
    """

    name: str
    source_name: str
    category: Category
    category_word: str = ""


def sanitise(name: str) -> str:
    """Replace what WEBKNOSSOS does not take in a layer's name; strip leading dots.

    Examples
    --------
    >>> sanitise("Präparat µm"), sanitise(".hidden/layer")
    ('Pr_parat__m', 'hidden_layer')
    """
    return _REFUSED_CHARS.sub("_", name.lstrip("."))


def segmentation_word(names: Iterable[str]) -> str:
    """Return the first word that says segmentation, or an empty string.

    Words are runs of letters, the humps of camel case apart; numbers and signs divide them.

    Examples
    --------
    >>> segmentation_word(["em_raw", "cellMask-01"]), segmentation_word(["unlabelled"])
    ('Mask', '')
    """
    for name in names:
        # decided on the whole word first: “LABELS” and “Labels” are both one
        for word in re.findall(r"[A-Za-z]+", name):
            for candidate in (word, *_WORDS.findall(word)):
                if candidate.lower() in SEGMENTATION_WORDS:
                    return str(candidate)
    return ""


def name_layers(drafts: Sequence[LayerDraft], options: LayoutOptions) -> tuple[NamedLayer, ...]:
    """Name every layer of a dataset and decide its category as far as names and settings do.

    Parameters
    ----------
    drafts : sequence of LayerDraft
    options : LayoutOptions
        `layer_name`, `category` and `layer_rules`.

    Raises
    ------
    AmbiguousLayoutError
        Two layers have one name; the caller parks.
    UnknownLayoutError
        A name has no letter or digit that WEBKNOSSOS takes.
    """
    layers = tuple(_name_layer(draft, options, is_only=len(drafts) == 1) for draft in drafts)
    taken: dict[str, NamedLayer] = {}
    for layer in layers:
        if not re.search("[A-Za-z0-9]", layer.name) or layer.name in _RESERVED:
            raise UnknownLayoutError(
                f"“{show_path(layer.source_name)}” gives no layer name that WEBKNOSSOS takes "
                f"(“{layer.name}”). Rename it, or add a `[[folder.layer]]` rule with `match` and "
                "`name`.",
                hint="Rename it, or add a `[[folder.layer]]` rule with `match` and `name`.",
                source=show_path(layer.source_name),
            )
        if layer.name in taken:
            one, two = show_path(taken[layer.name].source_name), show_path(layer.source_name)
            raise AmbiguousLayoutError(
                f"“{one}” and “{two}” both give the layer name “{layer.name}”. Merged, they would "
                "be one wrong layer. Rename one, or add a `[[folder.layer]]` rule with `match` "
                "and `name`.",
                hint="Rename one, or add a `[[folder.layer]]` rule with `match` and `name`.",
                layer=layer.name,
                sources=[one, two],
            )
        taken[layer.name] = layer
    return layers


def _name_layer(draft: LayerDraft, options: LayoutOptions, *, is_only: bool) -> NamedLayer:
    stack = draft.stack
    word = segmentation_word(stack.words)
    base = draft.folder or (Category.SEGMENTATION if word else Category.COLOR).value
    own_name = "_".join(part for part in (draft.folder, stack.label) if part)
    if stack.label and not draft.folder and not stack.is_label_enough:
        own_name = f"{base}_{stack.label}"
    source_name = own_name or (stack.files[0] if len(stack.files) == 1 else base)
    name = sanitise(own_name or base)
    rule = _matching_rule(options.layer_rules, (own_name, draft.folder, stack.label, name))
    category = options.category
    if rule is not None and rule.category is not None:
        category = rule.category
    if not draft.folder and not own_name and category is not None:
        name = category.value
    if rule is not None and rule.name is not None:
        name = rule.name
    elif options.layer_name is not None:
        name = options.layer_name if is_only else f"{options.layer_name}_{name}"
    if category is not None:
        return NamedLayer(sanitise(name), source_name, category)
    return NamedLayer(
        sanitise(name), source_name, Category.SEGMENTATION if word else Category.COLOR, word
    )


def _matching_rule(rules: tuple[LayerRule, ...], names: Iterable[str]) -> LayerRule | None:
    own = [name for name in names if name]
    for rule in rules:
        if any(fnmatch.fnmatchcase(name, rule.match) for name in own):
            return rule
    return None


def ensure_labels(layer: NamedLayer, pixels: PixelFormat, options: LayoutOptions) -> None:
    """Make sure that what a name calls a segmentation can be one.

    Raises
    ------
    UnsupportedVoxelTypeError
        The name says segmentation, the pixels are colours or fractions: the caller parks.
    """
    if layer.category is not Category.SEGMENTATION:
        return
    is_coloured = pixels.kind in {"rgb", "cmyk"}
    is_integer = (options.cast or pixels.dtype_name).startswith(("int", "uint", "bool"))
    if is_integer and not is_coloured:
        return
    found = "colours" if is_coloured else f"{pixels.dtype_name} values"
    why = f"its name says “{layer.category_word}”" if layer.category_word else "the settings say so"
    raise UnsupportedVoxelTypeError(
        f"Layer “{layer.name}” (“{show_path(layer.source_name)}”) is a segmentation, for {why}, "
        f"but holds {found}; segment ids are integers. If it is an image, set "
        '`category = "color"`, for all layers or in a `[[folder.layer]]` rule.',
        hint='If it is an image, set `category = "color"`, for all layers or in a '
        "`[[folder.layer]]` rule.",
        layer=layer.name,
        dtype=pixels.dtype_name,
        kind=pixels.kind,
    )
