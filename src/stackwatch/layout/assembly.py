"""From numbers in names and extents in files to stacks: which plane is slice z of timepoint t.

Each of the axes c, t and z comes from the names or from inside the files. z may come from both:
files that hold several slices continue each other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Final

from stackwatch.errors import (
    AmbiguousLayoutError,
    LayoutError,
    MissingSlicesError,
    UnknownLayoutError,
)
from stackwatch.layout.drafts import NO_CHANNEL, Content, StackDraft
from stackwatch.layout.names import Family, Number, Role
from stackwatch.layout.numbering import (
    Numbering,
    read_numbering,
    show_number,
    show_ranges,
)
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import Channel, ImageInfo
from stackwatch.model.plan import BLACK, PlaneRef

MOST_PADDING: Final = 10
"""Black slices for each real one beyond which the numbers are taken for something else."""

_Place = tuple[Number, Number, Number]
"""Channel, timepoint and slice number of a file; 0 where its name does not say."""


@dataclass(frozen=True, slots=True)
class NamedAxes:
    """What the names of a family say of each of its files.

    Attributes
    ----------
    places : dict of str to (c, t, z)
        By path.
    named : frozenset of Role
        C, T and Z as far as the names hold them.
    z, t : Numbering
    """

    places: dict[str, _Place]
    named: frozenset[Role]
    z: Numbering
    t: Numbering


def axis_roles(family: Family) -> dict[int, Role] | None:
    """Return which axis each field of a family is, or None if one cannot be told.

    One number without a known word before it is z, if no other is.
    """
    roles = {i: field.role for i, field in enumerate(family.fields)}
    for i, role in roles.items():
        is_tail = family.fields[i].word == "." and len(roles) > 1  # the decimals of another number
        if role is Role.PART or (role is Role.UNKNOWN and not is_tail):
            roles[i] = Role.Z
    if len(set(roles.values())) < len(roles) or Role.UNKNOWN in roles.values():
        return None
    return roles


def name_axes(content: Content, family: Family, roles: dict[int, Role]) -> NamedAxes:
    """Return where the names place each file of a content."""
    columns = {roles[i]: field.values for i, field in enumerate(family.fields)}
    places = {
        content.by_name[name]: (
            columns[Role.C][i] if Role.C in columns else 0,
            columns[Role.T][i] if Role.T in columns else 0,
            columns[Role.Z][i] if Role.Z in columns else 0,
        )
        for i, name in enumerate(family.names)
    }
    z = read_numbering({z for _, _, z in places.values()})
    t = read_numbering({t for _, t, _ in places.values()})
    return NamedAxes(places, frozenset(columns), z, t)


def check_numbers(content: Content, axes: NamedAxes) -> LayoutError | None:
    """Return what is wrong with the numbers: repeated, out of step, missing; or None."""
    seen: dict[_Place, str] = {}
    for path, place in axes.places.items():
        if place in seen:
            return _repeated(content, seen[place], path)
        seen[place] = path
    for role, numbering in ((Role.Z, axes.z), (Role.T, axes.t)):
        if numbering.breaks:
            return _out_of_step(content, role, numbering)
    absent = _count_absent(axes)
    if not (axes.z.missing or axes.t.missing or absent):
        return None
    can_pad = content.missing_slices == "black" and content.is_planar and not axes.t.missing
    streams = len(_channels_of(axes)) * len(axes.t.values)
    padding = axes.z.missing_count * streams + absent
    if can_pad and padding <= MOST_PADDING * len(axes.places):
        return None
    return _missing(content, axes, absent)


def _channels_of(axes: NamedAxes) -> list[Number]:
    return sorted({c for c, _, _ in axes.places.values()})


def _count_absent(axes: NamedAxes) -> int:
    """Return how many files lack to have every slice in every channel and timepoint."""
    whole = len(_channels_of(axes)) * len(axes.t.values) * len(axes.z.values)
    return whole - len(axes.places)


def _iter_absent(axes: NamedAxes) -> Iterator[_Place]:
    """Yield the absent combinations one by one: where two numbers run in step they are legion."""
    there = set(axes.places.values())
    every = product(_channels_of(axes), axes.t.values, axes.z.values)
    return (place for place in every if place not in there)


def build_stacks(content: Content, axes: NamedAxes) -> tuple[StackDraft, ...]:
    """Return one stack for each channel, in the names or in the files.

    Parameters
    ----------
    content : Content
    axes : NamedAxes
        Without faults (`check_numbers`), but for gaps that are to be black.
    """
    words = content.words
    if Role.C not in axes.named:
        labels = channel_labels(content.first)
        return tuple(
            _build_stack(content, axes, 0, c, label, channel, words)
            for c, (label, channel) in enumerate(labels)
        )
    return tuple(
        _build_stack(content, axes, c, 0, f"c{show_number(c)}", NO_CHANNEL, words)
        for c in _channels_of(axes)
    )


def channel_labels(info: ImageInfo) -> list[tuple[str, Channel]]:
    """Return a label and the description of each channel of a file; no label for an only one."""
    if info.size_c == 1:
        return [("", info.channels[0] if info.channels else NO_CHANNEL)]
    names = [channel.name.strip() for channel in info.channels]
    channels = info.channels or (NO_CHANNEL,) * info.size_c
    if len(set(names)) < info.size_c or not all(names):
        names = [f"c{c}" for c in range(info.size_c)]
    return list(zip(names, channels, strict=True))


def _build_stack(
    content: Content,
    axes: NamedAxes,
    named_c: Number,
    c: int,
    label: str,
    channel: Channel,
    words: tuple[str, ...],
) -> StackDraft:
    files = tuple(path for path, place in axes.places.items() if place[0] == named_c)
    index = {axes.places[path][1:]: i for i, path in enumerate(files)}
    planes_tz: list[tuple[PlaneRef, ...]] = []
    for t_number in axes.t.values:
        by_z: list[tuple[int, ...]] = []
        for z_number, position in zip(axes.z.values, axes.z.positions, strict=True):
            by_z.extend(() for _ in range(position - len(by_z)))
            found = index.get((t_number, z_number))
            by_z.append(() if found is None else (found,))
        planes_tz += _planes_of(content, files, by_z, c)
    return StackDraft(
        files=files,
        planes_tz=tuple(planes_tz),
        label=label,
        is_label_enough=bool(channel.name) and channel.name.strip() == label,
        channel=channel,
        words=words,
    )


def _planes_of(
    content: Content, files: tuple[str, ...], by_z: Sequence[tuple[int, ...]], c: int
) -> list[tuple[PlaneRef, ...]]:
    """Return the planes of one named timepoint: one row, or one for each timepoint in the files."""
    if content.is_planar:
        return [tuple(PlaneRef(f[0], 0, c, 0) if f else PlaneRef(BLACK) for f in by_z)]
    infos = {file: content.probe(files[file]) for (file,) in by_z}
    timepoints = next(iter(infos.values())).size_t
    return [
        tuple(PlaneRef(file, t, c, z) for (file,) in by_z for z in range(infos[file].size_z))
        for t in range(timepoints)
    ]


def _repeated(content: Content, one: str, other: str) -> AmbiguousLayoutError:
    return AmbiguousLayoutError(
        f"“{show_path(one)}” and “{show_path(other)}” in {content.shown} have the same number: "
        "which of them is the slice cannot be told. Remove one, or name it under `ignore`.",
        hint=f'Remove one of them, or set `ignore = ["{show_path(other)}"]`.',
        paths=[show_path(one), show_path(other)],
    )


def _out_of_step(content: Content, role: Role, numbering: Numbering) -> UnknownLayoutError:
    before, after = numbering.breaks[0]
    what = "timepoints" if role is Role.T else "slices"
    return UnknownLayoutError(
        f"The numbers of the {what} in {content.shown} do not count with one stride: most go by "
        f"{show_number(numbering.stride)}, but {show_number(before)} is followed by "
        f"{show_number(after)}. Whether something is missing cannot be told. Rename or complete "
        "the files, or name what does not belong under `ignore`.",
        hint="Rename or complete the files, or name what does not belong under `ignore`.",
        stride=show_number(numbering.stride),
        breaks=[f"{show_number(a)} to {show_number(b)}" for a, b in numbering.breaks[:20]],
    )


def _missing(content: Content, axes: NamedAxes, absent: int) -> MissingSlicesError:
    facts: list[str] = []
    for role, numbering in ((Role.Z, axes.z), (Role.T, axes.t)):
        if numbering.missing:
            what = "timepoints" if role is Role.T else "slices"
            facts.append(
                f"{what} {show_ranges(numbering.missing)} of {show_number(numbering.values[0])}–"
                f"{show_number(numbering.values[-1])}"
                + (f" (stride {show_number(numbering.stride)})" if numbering.stride != 1 else "")
            )
    places = [_show_place(place, axes.named) for place in islice(_iter_absent(axes), 100)]
    if places:
        shown = ", ".join(places[:6])
        more = f" and {absent - 6} more" if absent > 6 else ""
        facts.append(f"the files for {shown}{more}")
    can_pad = content.is_planar and not axes.t.missing and content.missing_slices == "park"
    padding = ', or set `missing_slices = "black"`' if can_pad else ""
    count = axes.z.missing_count + axes.t.missing_count + absent
    return MissingSlicesError(
        f"{content.shown} lacks {'; '.join(facts)}. The numbers in the file names say so, and the "
        f"job is parked. Copy the missing files in{padding}.",
        hint=f"Copy the missing files in{padding}.",
        missing_count=count,
        missing=[show_ranges([one]) for one in (*axes.z.missing, *axes.t.missing)][:100] + places,
        expected=f"{show_number(axes.z.values[0])}–{show_number(axes.z.values[-1])}",
    )


def _show_place(place: _Place, named: frozenset[Role]) -> str:
    words = zip((Role.C, Role.T, Role.Z), "ctz", place, strict=True)
    return " ".join(f"{word}={show_number(n)}" for role, word, n in words if role in named)
