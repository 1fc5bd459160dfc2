"""Micro-Manager's folders: an image per file beside `metadata.txt`, or several image stack files.

The metadata names the place of every image, and how many there were meant to be.

Source: Micro-Manager's page on its file formats, generations 1.4 and 2.0. Its program writes the
metadata as it goes, and the closing brace at the end of the acquisition.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from stackwatch.errors import (
    AmbiguousLayoutError,
    IncompleteAcquisitionError,
    StackwatchError,
    UnknownLayoutError,
)
from stackwatch.layout.assembly import channel_labels
from stackwatch.layout.drafts import LayerDraft, StackDraft, Verdict
from stackwatch.layout.kinds import FileKind, kind_of, split_suffix
from stackwatch.layout.micro_manager_text import PlaneText, parse_metadata
from stackwatch.layout.names import natural_key
from stackwatch.layout.refusals import show_extent
from stackwatch.layout.scene_drafts import (
    Folder,
    Place,
    SceneDraft,
    check_absent,
    refuse_others,
    stack_of,
)
from stackwatch.layout.voxel_size import StatedSize
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import Channel, ImageInfo
from stackwatch.model.plan import PlaneRef
from stackwatch.readers.mmstack import (
    intended_tcz,
    summary_channels,
    summary_voxel_size,
    whole_number,
)

MICRO_MANAGER: Final = "micro-manager"
"""Name of this layout, as the `layout` setting takes it."""

_METADATA: Final = "metadata.txt"
_HEAD_BYTES: Final = 2**20
_STACK_FILE: Final = re.compile(r"_MMStack(?=[_.])")
_CONTINUED: Final = re.compile(r"_[1-9]\d*\Z")


def recognise(folder: Folder) -> tuple[SceneDraft, ...]:
    """Return a dataset for each position of an acquisition, none if it is not Micro-Manager's.

    Raises
    ------
    IncompleteAcquisitionError, AmbiguousLayoutError, UnknownLayoutError
        It is, and is not whole or not clear; the caller parks.
    """
    images = [
        entry.path
        for entry in folder.listing.entries
        if kind_of(entry.path) in {FileKind.IMAGE, FileKind.FOREIGN}
    ]
    stacks = [path for path in images if _STACK_FILE.search(path.rpartition("/")[2])]
    if len(stacks) > 1 and len(stacks) == len(images):
        return _of_stack_files(folder, stacks)
    texts = [
        entry.path for entry in folder.listing.entries if entry.path.rpartition("/")[2] == _METADATA
    ]
    return _of_image_files(folder, texts, images) if texts and images else ()


# ---------------------------------------------------------------- an image per file


def _of_image_files(
    folder: Folder, texts: Sequence[str], images: Sequence[str]
) -> tuple[SceneDraft, ...]:
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in images:
        by_folder[path.rpartition("/")[0]].append(path)
    told: dict[str, PlaneText] = {}
    for path in sorted(texts, key=natural_key):
        place = path.rpartition("/")[0]
        found = parse_metadata(folder.text_of(path)) if by_folder.get(place) else None
        if found is not None:
            told[place] = found
    if not told:
        return ()
    _ensure_one_run(folder, list(told))
    strays = [path for place, paths in by_folder.items() if place not in told for path in paths]
    summary = next(iter(told.values())).summary
    meant = _meant_positions(summary)
    if strays and len(told) < meant:
        raise _fewer_positions(folder, list(told), meant)
    if strays:
        raise refuse_others(folder, "a Micro-Manager acquisition", strays)
    warnings = folder.ensure_arrived(images)
    if len(told) < meant:
        if folder.options.missing_slices == "park":
            raise _fewer_positions(folder, list(told), meant)
        warnings += (f"{len(told)} of {meant} positions are there (`missing_slices`)",)
    return tuple(
        SceneDraft(
            place.rpartition("/")[2],
            partial(_verdict, folder, place, by_folder[place], told[place], warnings),
        )
        for place in told
    )


def _meant_positions(summary: Mapping[str, Any]) -> int:
    meant = summary.get("IntendedDimensions")
    count = meant.get("position") if isinstance(meant, dict) else None
    return max(1, whole_number(summary.get("Positions") if count is None else count))


def _verdict(
    folder: Folder, place: str, images: Sequence[str], told: PlaneText, warnings: tuple[str, ...]
) -> Verdict:
    text = f"{place}/{_METADATA}" if place else _METADATA
    by_name = {path.rpartition("/")[2]: path for path in images}
    unknown = [by_name[name] for name in by_name if name not in told.places]
    files = [by_name[name] for name in told.places if name in by_name]
    folder.ensure_planar(files)
    refs: dict[Place, PlaneRef] = {}
    for number, path in enumerate(files):
        at = told.places[path.rpartition("/")[2]]
        if at in refs:
            raise _twice(text, files[refs[at].file], path)
        refs[at] = PlaneRef(number)
    gone = [name for name in told.places if name not in by_name]
    size = _extent(intended_tcz(told.summary), told.places.values())
    absent = size[0] * size[1] * size[2] - len(refs)
    if absent and not told.is_closed:
        raise _still_running(folder, text, len(refs), len(refs) + absent)
    if unknown:
        raise refuse_others(folder, f"“{show_path(text)}” of Micro-Manager", unknown)
    shown = f"“{show_path(text)}”"
    missing = f" (no “{show_path(gone[0])}”)" if gone else ""
    said = check_absent(folder, f"{shown} of Micro-Manager announces{missing}", refs, size)
    if not told.is_closed:
        said += (f"{shown} is not closed, although every image it announces is there",)
    channels = summary_channels(told.summary, size[1])
    stacks = _stacks(folder, files, refs, size, channels)
    stated = StatedSize(
        text, summary_voxel_size(told.summary, told.plane), "Micro-Manager metadata"
    )
    evidence = (
        f"{shown} of Micro-Manager places {len(refs):,} images: {size[0]} timepoints, {size[1]} "
        f"channels, {size[2]} slices",
    )
    return Verdict(
        MICRO_MANAGER,
        evidence,
        tuple(LayerDraft(stack) for stack in stacks),
        (*warnings, *said),
        stated=(stated,),
        metadata=_provenance(told.summary),
    )


def _extent(meant: Place, places: Iterable[Place]) -> Place:
    """Return the extent that was meant, or a larger one if more was taken."""
    largest = [max(column) + 1 for column in zip(*places, strict=True)] or [1, 1, 1]
    size_t, size_c, size_z = (max(pair) for pair in zip(meant, largest, strict=True))
    return size_t, size_c, size_z


def _stacks(
    folder: Folder,
    files: Sequence[str],
    refs: dict[Place, PlaneRef],
    size: Place,
    channels: tuple[Channel, ...],
) -> list[StackDraft]:
    info = ImageInfo("", 1, 1, folder.probe(files[0]).pixels, size_c=size[1], channels=channels)
    return [
        stack_of(
            files,
            refs,
            (size[0], size[2]),
            c,
            label=label,
            channel=channel,
            words=folder.words,
        )
        for c, (label, channel) in enumerate(channel_labels(info))
    ]


def _provenance(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    kept = {
        key: summary[key]
        for key in ("MicroManagerVersion", "Prefix", "StartTime", "Time", "Interval_ms")
        if isinstance(summary.get(key), str | int | float)
    }
    return {"micro_manager": kept} if kept else None


# ---------------------------------------------------------------- image stack files


def _of_stack_files(folder: Folder, paths: Sequence[str]) -> tuple[SceneDraft, ...]:
    _ensure_one_run(folder, [path.rpartition("/")[0] or "." for path in paths], is_flat=True)
    warnings = folder.ensure_arrived(paths)
    stems = {path: split_suffix(path.rpartition("/")[2])[0] for path in paths}
    groups: dict[str, list[str]] = defaultdict(list)
    for path, stem in sorted(stems.items(), key=lambda pair: natural_key(pair[0])):
        first = _CONTINUED.sub("", stem)
        groups[first if first in stems.values() else stem].append(path)
    meant = _meant_by_texts(folder, groups)
    if len(groups) < meant:
        if folder.options.missing_slices == "park":
            raise _fewer_positions(folder, list(groups), meant)
        warnings += (f"{len(groups)} of {meant} positions are there (`missing_slices`)",)
    scenes = []
    for stem, files in groups.items():
        name = stem.partition("_MMStack")[2].strip("_")
        scenes.append(SceneDraft(name, partial(_verdict_of_stacks, folder, files, warnings)))
    return tuple(scenes)


def _meant_by_texts(folder: Folder, groups: Mapping[str, Sequence[str]]) -> int:
    """Return how many files of positions the texts beside them announce; 0 where there are none."""
    there = {entry.path for entry in folder.listing.entries}
    for stem, files in groups.items():
        path = files[0].rpartition("/")[0]
        path = f"{path}/{stem}_{_METADATA}" if path else f"{stem}_{_METADATA}"
        told = parse_metadata(folder.text_of(path, head=_HEAD_BYTES)) if path in there else None
        if told is not None and not folder.probe(files[0]).scenes:
            return _meant_positions(told.summary)
    return 0


def _verdict_of_stacks(folder: Folder, files: Sequence[str], warnings: tuple[str, ...]) -> Verdict:
    infos = [folder.probe(path) for path in files]
    several = [path for path, info in zip(files, infos, strict=True) if len(info.scenes) > 1]
    if several:
        hint = "Save each position as a file of its own in Micro-Manager."
        raise AmbiguousLayoutError(
            f"“{show_path(several[0])}” holds several positions, and there are other files beside "
            f"it: which of them go together is not clear. {hint}",
            hint=hint,
            path=show_path(several[0]),
        )
    first = infos[0]
    size = (first.size_t, first.size_c, first.size_z)
    refs: dict[Place, PlaneRef] = {}
    for number, info in enumerate(infos):
        absent = set(info.absent_tcz)
        every = info.set_planes_tcz or _places_of(size)
        for place in every:
            if place in absent:
                continue
            if place in refs:
                raise _twice("the table of planes", files[refs[place].file], files[number])
            refs[place] = PlaneRef(number, *place)
    said = check_absent(folder, f"“{show_path(files[0])}” announces", refs, size)
    stacks = [
        stack_of(
            files, refs, (size[0], size[2]), c, label=label, channel=channel, words=folder.words
        )
        for c, (label, channel) in enumerate(channel_labels(first))
    ]
    shown = " and ".join(f"“{show_path(path)}”" for path in files[:3])
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    evidence = (f"{shown}{more} of Micro-Manager: {show_extent(first)}",)
    return Verdict(
        MICRO_MANAGER, evidence, tuple(LayerDraft(stack) for stack in stacks), (*warnings, *said)
    )


def _places_of(size: Place) -> list[Place]:
    return [(t, c, z) for t in range(size[0]) for c in range(size[1]) for z in range(size[2])]


# ---------------------------------------------------------------- what parks it


def _ensure_one_run(folder: Folder, places: list[str], *, is_flat: bool = False) -> None:
    """Make sure that all positions lie side by side: others are acquisitions of their own."""
    parents = {place if is_flat else place.rpartition("/")[0] for place in places}
    if len(parents) == 1:
        return
    shown = ", ".join(f"“{show_path(one)}”" for one in sorted(parents)[:4])
    hint = "Raise `acquisition_depth`, or drop each of them by itself."
    raise UnknownLayoutError(
        f"{folder.shown} holds several Micro-Manager acquisitions ({shown}). {hint}",
        hint=hint,
        places=[show_path(one) for one in sorted(parents)[:20]],
    )


def _fewer_positions(folder: Folder, places: list[str], meant: int) -> StackwatchError:
    hint = (
        "Wait for the rest, or copy it in; if the acquisition was ended early, set "
        '`missing_slices = "black"`.'
    )
    return IncompleteAcquisitionError(
        f"Micro-Manager's metadata in {folder.shown} announces {meant} positions; the metadata of "
        f"{len(places)} is there. {hint}",
        hint=hint,
        positions_expected=meant,
        positions=[show_path(place) for place in places[:20]],
    )


def _still_running(folder: Folder, text: str, there: int, meant: int) -> StackwatchError:
    hint = (
        "Wait for the end of the acquisition; after a crash, open it in Micro-Manager and save it "
        "again."
    )
    return IncompleteAcquisitionError(
        f"“{show_path(text)}” of {folder.shown} is not closed: Micro-Manager still acquires, or "
        f"ended in a crash. {there:,} of {meant:,} images are there. {hint}",
        hint=hint,
        missing_count=meant - there,
        planes_expected=meant,
    )


def _twice(text: str, one: str, other: str) -> StackwatchError:
    return AmbiguousLayoutError(
        f"“{show_path(one)}” and “{show_path(other)}” have the same place, by “{show_path(text)}”. "
        "Remove one of them.",
        hint=f'Remove one of them, or set `ignore = ["{show_path(other)}"]`.',
        paths=[show_path(one), show_path(other)],
    )
