"""From a listing to the plan of a dataset: what will be written, or why it cannot be."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import (
    AmbiguousLayoutError,
    LimitExceededError,
    StackwatchError,
    UnsupportedFormatError,
    UnsupportedVoxelTypeError,
)
from stackwatch.layout.absent import complete_stack
from stackwatch.layout.classify import classify
from stackwatch.layout.companions import with_companions
from stackwatch.layout.drafts import Probe, StackDraft, Verdict, spread_sample
from stackwatch.layout.layers import NamedLayer, ensure_labels, name_layers
from stackwatch.layout.scene_drafts import TextOf
from stackwatch.layout.uniform import explain_mixed, find_mixed
from stackwatch.layout.voxel_size import StatedSize, resolve_voxel_size
from stackwatch.model.acquisition import Listing, show_path
from stackwatch.model.geometry import PartialVoxelSize, Vec3
from stackwatch.model.image import ImageInfo
from stackwatch.model.options import LayoutOptions, VoxelSizeOptions
from stackwatch.model.plan import DatasetPlan, LayerPlan, StackPlan
from stackwatch.readers.pixels import TreatmentPlan, plan_treatment
from stackwatch.readers.scale import RESOLUTION_TAGS

__all__ = ["explain_mixed", "plan_dataset"]

Palette = Callable[[str], NDArray[Any] | None]
"""From a path to the palette of its first plane: uint8 of shape (n, 3), or None."""

MOST_PLANES: Final = 10_000_000
"""In one file; the list of them is what has to fit into the memory."""

_SPLIT: Final = (("red", (255, 0, 0)), ("green", (0, 255, 0)), ("blue", (0, 0, 255)))


@dataclass(frozen=True, slots=True)
class Told:
    """What an acquisition tells beside its images: its texts, and a verdict that comes from them.

    Attributes
    ----------
    text_of : TextOf
    verdict : Verdict or None
        None: the images are classified.
    """

    text_of: TextOf
    verdict: Verdict | None = None


def plan_dataset(
    listing: Listing,
    probe: Probe,
    palette: Palette,
    options: LayoutOptions,
    voxel_size: VoxelSizeOptions,
    told: Told | None = None,
) -> DatasetPlan:
    """Classify an acquisition and plan its dataset.

    Of each stack all files are looked at if there are no more than 64, else 64 spread over it;
    every slice is compared with the plan again while it is read.

    Parameters
    ----------
    listing : Listing
    probe : Probe
        Opens a file's headers; results are remembered here.
    palette : Palette
        Asked for palette images only.
    options : LayoutOptions
    voxel_size : VoxelSizeOptions
    told : Told or None
        The texts of the acquisition, and the verdict on it where one of them gave it.

    Returns
    -------
    DatasetPlan

    Raises
    ------
    LayoutError, AcquisitionError, ReadError, PlanError, LimitExceededError
        Why the acquisition cannot be converted as it is; the caller obeys the disposition.
    """
    known = _Remembering(probe, options.max_gib)
    verdict = (told and told.verdict) or classify(listing, known, options)
    if told is not None:
        verdict = with_companions(verdict, listing, told.text_of, known)
    named = name_layers(verdict.layers, options)
    stacks: list[StackPlan] = []
    looked_at: dict[str, ImageInfo] = {}
    absences: list[str] = []
    for draft, layer in zip(verdict.layers, named, strict=True):
        infos = {path: known(path) for path in _worth_a_look(draft.stack.files, known)}
        _ensure_alike(listing, draft.stack, layer, infos, known)
        stack, said = complete_stack(draft.stack, infos, options.missing_slices)
        stacks.append(_plan_stack(stack, layer, infos, palette, options))
        absences += said
        looked_at |= infos
    _ensure_unique(stacks)
    depth = max(layer.size.z for stack in stacks for layer in stack.layers)
    stated = [*verdict.stated, *_stated_by_files(looked_at, verdict.stated)]
    resolved = resolve_voxel_size(stated, voxel_size, depth)
    return DatasetPlan(
        layout=verdict.layout,
        evidence=verdict.evidence,
        stacks=tuple(stacks),
        voxel_size_nm=resolved.size_nm,
        voxel_size_source=resolved.sources,
        warnings=(*verdict.warnings, *absences, *resolved.warnings, *_notes(looked_at)),
        metadata=_metadata(stacks, [draft.stack for draft in verdict.layers], verdict.metadata),
    )


def _stated_by_files(
    infos: dict[str, ImageInfo], by_texts: tuple[StatedSize, ...]
) -> list[StatedSize]:
    """Return what the files say, but for resolution tags where the instrument's text says it."""
    said = [any(getattr(one.size_nm, axis) for one in by_texts) for axis in "xyz"]
    stated = []
    for path, info in infos.items():
        size, source = info.voxel_size_nm, info.voxel_size_source
        if source == RESOLUTION_TAGS:
            size = PartialVoxelSize(
                *(None if by_text else edge for by_text, edge in zip(said, size, strict=True))
            )
        if source:
            stated.append(StatedSize(path, size, source))
    return stated


def _worth_a_look(files: tuple[str, ...], known: Probe) -> tuple[str, ...]:
    """Return a sample of files of one slice; all files of several: their depths make up z."""
    first = known(files[0])
    is_planar = first.size_z == first.size_t == 1 and not first.set_files
    return spread_sample(files) if is_planar else files


class _Remembering:
    """A probe that opens each file once, and believes no header beyond the limits."""

    def __init__(self, probe: Probe, max_gib: float) -> None:
        self._probe = probe
        self._max_gib = max_gib
        self._known: dict[str, ImageInfo] = {}

    def __call__(self, path: str) -> ImageInfo:
        found = self._known.get(path)
        if found is None:
            found = self._probe(path)
            _ensure_believable(path, found, self._max_gib)
            self._known[path] = found
        return found


def _ensure_believable(path: str, info: ImageInfo, max_gib: float) -> None:
    """Refuse a header before its planes are listed: the list alone could fill the memory."""
    planes = info.size_t * info.size_c * info.size_z
    item_bytes = np.dtype(info.pixels.dtype_name).itemsize
    total = planes * info.size_x * info.size_y * info.pixels.samples * item_bytes
    if planes > MOST_PLANES or total > max_gib * 2**30:
        raise _too_large(f"“{show_path(path)}” declares", planes, info, total, max_gib)


def _too_large(
    what: str, planes: int, info: ImageInfo, total: int, max_gib: float
) -> LimitExceededError:
    return LimitExceededError(
        f"{what} {planes:,} planes of {info.size_x:,} x {info.size_y:,}, "
        f"{total / 2**30:,.1f} GiB; the limits are {MOST_PLANES:,} planes and `max_gib` = "
        f"{max_gib:,g}. A damaged header looks like this. If it is right, raise `max_gib`.",
        hint="Copy the files again, or raise `max_gib`.",
        planes=planes,
        total_bytes=total,
    )


def _ensure_alike(
    listing: Listing,
    draft: StackDraft,
    layer: NamedLayer,
    infos: dict[str, ImageInfo],
    probe: Probe,
) -> None:
    shown = f"layer “{layer.name}” of “{show_path(listing.root)}”"
    if find_mixed(shown, infos) is None:
        return
    # the sample proves that something differs; only all files tell which is the first
    mixed = find_mixed(shown, {path: probe(path) for path in draft.files})
    assert mixed is not None
    raise mixed


def _plan_stack(
    draft: StackDraft,
    layer: NamedLayer,
    infos: dict[str, ImageInfo],
    palette: Palette,
    options: LayoutOptions,
) -> StackPlan:
    path, info = next(iter(infos.items()))
    info = replace(info, pixels=info.pixels_of(draft.channel_index), channel_pixels=())
    size = Vec3(info.size_x, info.size_y, len(draft.planes_tz[0]))
    ensure_labels(layer, info.pixels, options)
    treated = _treat(path, info, layer, palette, options)
    planes = size.z * len(draft.planes_tz)
    layers_of_stack = len(_SPLIT) if treated.is_split else 1
    total = planes * size.x * size.y * treated.voxel_type.bytes_per_voxel * layers_of_stack
    if total > options.max_gib * 2**30:
        raise _too_large(f"Layer “{layer.name}” would hold", planes, info, total, options.max_gib)
    plan = LayerPlan(
        name=layer.name,
        category=layer.category,
        voxel_type=treated.voxel_type,
        size=size,
        size_t=len(draft.planes_tz),
        source_name=layer.source_name,
        color_rgb=draft.channel.color_rgb,
    )
    depths = {one.size_z for one in infos.values()}
    layers: tuple[LayerPlan, ...] = (plan,)
    if treated.is_split:
        layers = tuple(
            replace(plan, name=f"{plan.name}_{word}", color_rgb=color) for word, color in _SPLIT
        )
    return StackPlan(
        files=draft.files,
        planes_tz=draft.planes_tz,
        pixels=info.pixels,
        treatment=treated.treatment,
        layers=layers,
        can_read_rows=all(one.can_read_rows for one in infos.values()),
        file_extent_tcz=(info.size_t, info.size_c, depths.pop() if len(depths) == 1 else 0),
        scene=info.scene,
    )


def _treat(
    path: str, info: ImageInfo, layer: NamedLayer, palette: Palette, options: LayoutOptions
) -> TreatmentPlan:
    colors = palette(path) if info.pixels.kind == "palette" else None
    try:
        return plan_treatment(info.pixels, colors, layer.category, options)
    except (UnsupportedVoxelTypeError, UnsupportedFormatError) as error:
        # the planner of pixels knows neither layer nor file: people need both
        raise _with_place(error, path, layer) from error


def _with_place(error: StackwatchError, path: str, layer: NamedLayer) -> StackwatchError:
    return type(error)(
        f"Layer “{layer.name}” (“{show_path(path)}”): {error.message}",
        hint=error.hint,
        **{"layer": layer.name, "path": show_path(path), **error.values},
    )


def _ensure_unique(stacks: Iterable[StackPlan]) -> None:
    """Make sure that splitting colours gave no name that another layer has."""
    taken: set[str] = set()
    for stack in stacks:
        for layer in stack.layers:
            if layer.name in taken:
                raise AmbiguousLayoutError(
                    f"Two layers would be called “{layer.name}”. Rename one, or add a "
                    "`[[folder.layer]]` rule with `match` and `name`.",
                    hint="Rename one, or add a `[[folder.layer]]` rule with `match` and `name`.",
                    layer=layer.name,
                )
            taken.add(layer.name)


def _notes(infos: dict[str, ImageInfo]) -> list[str]:
    """Return each remark of the readers once, with the first file it is about."""
    first: dict[str, str] = {}
    count: dict[str, int] = {}
    for path, info in infos.items():
        for note in info.notes:
            first.setdefault(note, path)
            count[note] = count.get(note, 0) + 1
    return [
        f"“{show_path(path)}”{f' and {count[note] - 1} more files' if count[note] > 1 else ''}: "
        f"{note}"
        for note, path in first.items()
    ]


def _metadata(
    stacks: list[StackPlan], drafts: list[StackDraft], told: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return, by layer, the channels' own names, what values stand for, and what they were."""
    names = {
        layer.name: draft.channel.name
        for stack, draft in zip(stacks, drafts, strict=True)
        for layer in stack.layers
        if draft.channel.name
    }
    scales = {
        layer.name: {"slope": stack.pixels.value_scale[0], "intercept": stack.pixels.value_scale[1]}
        for stack in stacks
        for layer in stack.layers
        if stack.pixels.scale_words
    }
    rescales = {
        layer.name: list(stack.treatment.rescale)
        for stack in stacks
        for layer in stack.layers
        if stack.treatment.rescale is not None
    }
    found = {"channels": names, "value_scales": scales, "rescaled_from": rescales, **(told or {})}
    return {key: value for key, value in found.items() if value} or None
