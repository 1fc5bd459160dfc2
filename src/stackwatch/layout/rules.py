"""The rules: each looks at the image files of one place and claims them, or says why not.

Ordered, named, pure but for the injected probe. To add one, write a function from `Content` to
`Claim | Misfit` and add it to `RULES`; `docs/layouts.md` has a paragraph for each.
"""

from collections.abc import Callable, Mapping
from typing import Final

from stackwatch.errors import MixedSlicesError
from stackwatch.layout.assembly import (
    MOST_PADDING,
    NamedAxes,
    axis_roles,
    build_stacks,
    channel_labels,
    check_numbers,
    name_axes,
)
from stackwatch.layout.drafts import (
    LAYER_PER_FILE,
    NAMED_AXES,
    OME_SET,
    SEQUENCE,
    SINGLE_FILE,
    Z_PARTS,
    Claim,
    Content,
    Misfit,
    StackDraft,
)
from stackwatch.layout.kinds import split_suffix
from stackwatch.layout.names import Family, Role
from stackwatch.layout.numbering import Numbering, show_number
from stackwatch.layout.refusals import (
    refuse_incomplete_set,
    refuse_many_channels,
    refuse_mixed_sets,
    refuse_stated_twice,
    refuse_tiles,
    show_extent,
)
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import ImageInfo
from stackwatch.model.plan import BLACK, PlaneRef

Rule = Callable[[Content], Claim | Misfit]


def single_file(content: Content) -> Claim | Misfit:
    """Claim one image file: its channels become layers, its z slices, its t a time axis."""
    if len(content.files) > 1:
        return Misfit(SINGLE_FILE, f"there are {len(content.files)} image files")
    if content.is_set:
        return Misfit(SINGLE_FILE, "the file belongs to an OME-TIFF set")
    path, info = content.files[0], content.first
    evidence = f"one image file, “{show_path(path)}”: {show_extent(info)}"
    return Claim(SINGLE_FILE, (evidence,), _stacks_of_file(content, path, info))


def ome_set(content: Content) -> Claim | Misfit:
    """Claim the files of one OME-TIFF set: joined once, by what their descriptions say."""
    if not content.is_set:
        return Misfit(OME_SET, "no file says that it belongs to an OME-TIFF set")
    infos = {path: content.probe(path) for path in content.files}
    uuids = {info.set_uuid for info in infos.values()}
    first = next(info for info in infos.values() if info.set_files)
    evidence = (f"OME-XML joins {len(first.set_files)} files to one image: {show_extent(first)}",)
    strangers = [path for path, info in infos.items() if not info.set_files]
    if strangers or len(uuids) > 1:
        return Claim(OME_SET, evidence, error=refuse_mixed_sets(content, strangers, len(uuids)))
    places = {
        plane: PlaneRef(i, *plane)
        for i, info in enumerate(infos.values())
        for plane in info.set_planes_tcz
    }
    wanted = [
        (t, c, z)
        for t in range(first.size_t)
        for c in range(first.size_c)
        for z in range(first.size_z)
    ]
    absent = [plane for plane in wanted if plane not in places]
    if absent and not _can_pad_set(content, first, places, len(absent)):
        return Claim(OME_SET, evidence, error=refuse_incomplete_set(content, first, len(absent)))
    stacks = tuple(
        _compact(
            StackDraft(
                files=content.files,
                planes_tz=tuple(
                    tuple(places.get((t, c, z), PlaneRef(BLACK)) for z in range(first.size_z))
                    for t in range(first.size_t)
                ),
                label=label,
                is_label_enough=bool(channel.name) and channel.name.strip() == label,
                channel=channel,
                words=content.words,
            )
        )
        for c, (label, channel) in enumerate(channel_labels(first))
    )
    return Claim(OME_SET, evidence, stacks, warnings=_warn_of_black(len(absent)))


def _can_pad_set(
    content: Content, first: ImageInfo, places: Mapping[tuple[int, int, int], PlaneRef], absent: int
) -> bool:
    """Tell whether the absent planes of a set may be black: wished for, few, and no whole layer."""
    has_all_channels = {c for _, c, _ in places} == set(range(first.size_c))
    is_wished = content.missing_slices == "black"
    return is_wished and has_all_channels and absent <= MOST_PADDING * len(places)


def sequence(content: Content) -> Claim | Misfit:
    """Claim files of one slice each, whose names differ in one number: one file per slice."""
    family = _only_family(content, SEQUENCE)
    if isinstance(family, Misfit):
        return family
    if not content.is_planar:
        return Misfit(SEQUENCE, "files hold more than one slice")
    roles = _slice_role(content, family)
    if roles is None:
        return Misfit(SEQUENCE, f"the numbers in “{family.template}” are not one slice number")
    axes = name_axes(content, family, roles)
    evidence = (
        f"{len(family.names)} files are named “{family.template}” and differ in one number "
        f"({_show_numbering(axes.z)}{_show_reading(family)}): one file per slice",
    )
    return _claim_axes(SEQUENCE, content, axes, evidence)


def named_axes(content: Content) -> Claim | Misfit:
    """Claim files whose names carry channel or time numbers, with or without a slice number."""
    family = _only_family(content, NAMED_AXES)
    if isinstance(family, Misfit):
        return family
    if any(field.role is Role.TILE for field in family.fields):
        return Claim(NAMED_AXES, _named_evidence(family), error=refuse_tiles(content, family))
    roles = axis_roles(family)
    if roles is None or not {Role.C, Role.T} & set(roles.values()):
        return Misfit(
            NAMED_AXES,
            f"the numbers in “{family.template}” are no channels, timepoints and slices"
            if roles
            else f"not every number in “{family.template}” has a known meaning",
        )
    if len(content.depths) > 1:
        return Misfit(NAMED_AXES, "files of one slice and of several are mixed")
    evidence = _named_evidence(family)
    doubt = refuse_stated_twice(content, roles) or refuse_many_channels(content, family)
    if doubt:
        return Claim(NAMED_AXES, evidence, error=doubt)
    return _claim_axes(NAMED_AXES, content, name_axes(content, family, roles), evidence)


def z_parts(content: Content) -> Claim | Misfit:
    """Claim files of several slices each that continue each other in z."""
    family = _only_family(content, Z_PARTS)
    if isinstance(family, Misfit):
        return family
    if not content.is_deep:
        return Misfit(Z_PARTS, "not every file holds several slices")
    roles = _slice_role(content, family)
    if roles is None:
        return Misfit(Z_PARTS, f"the numbers in “{family.template}” are not one part number")
    if len({(t, y, x) for t, _, y, x in content.extents}) > 1:
        return Misfit(Z_PARTS, "the files differ in width, height or timepoints")
    axes = name_axes(content, family, roles)
    evidence = (
        f"{len(family.names)} files are named “{family.template}”, hold several slices each and "
        f"differ in one number ({_show_numbering(axes.z)}): parts that continue each other in z",
    )
    is_sure = family.fields[0].role is not Role.UNKNOWN
    return _claim_axes(Z_PARTS, content, axes, evidence, is_sure=is_sure)


def layer_per_file(content: Content) -> Claim | Misfit:
    """Claim several files that are a layer each."""
    if len(content.files) < 2:
        return Misfit(LAYER_PER_FILE, "there is one file")
    if content.is_set:
        return Misfit(LAYER_PER_FILE, "the files belong to an OME-TIFF set")
    are_words = all(len(family.names) == 1 for family in content.families)
    are_numbered = len(content.families) == 1 and len(content.families[0].fields) == 1
    if are_numbered and content.families[0].fields[0].role is not Role.UNKNOWN:
        return Misfit(LAYER_PER_FILE, "the number in the names counts slices, channels or times")
    if len(content.depths) > 1:
        return Misfit(LAYER_PER_FILE, "files of one slice and of several are mixed")
    if not are_words and content.is_planar:
        return Misfit(LAYER_PER_FILE, "files of one slice each, with numbers, are no layers")
    shown = ", ".join(f"“{show_path(path)}”" for path in content.files[:4])
    alike = len(content.extents) == 1
    evidence = (
        f"{len(content.files)} files ({shown}{' …' if len(content.files) > 4 else ''}) "
        f"of {'the same extent' if alike else 'different extents'}: a layer each",
    )
    stacks = tuple(
        stack
        for path in content.files
        for stack in _stacks_of_file(content, path, content.probe(path), is_one_of_many=True)
    )
    is_sure = content.is_deep and are_words and alike
    return Claim(LAYER_PER_FILE, evidence, stacks, is_sure=is_sure)


RULES: Final[dict[str, Rule]] = {
    SINGLE_FILE: single_file,
    OME_SET: ome_set,
    SEQUENCE: sequence,
    NAMED_AXES: named_axes,
    Z_PARTS: z_parts,
    LAYER_PER_FILE: layer_per_file,
}
"""In the order in which the evidence is shown; the order decides nothing."""


def _only_family(content: Content, rule: str) -> Family | Misfit:
    """Return the one family of a content's names, or why there is none."""
    if content.is_set:
        return Misfit(rule, "the files belong to an OME-TIFF set")
    families = content.families
    if len(families) > 1:
        shown = ", ".join(f"“{show_path(family.template)}”" for family in families[:4])
        return Misfit(rule, f"the names have no common form: {shown}")
    if not families[0].fields:
        return Misfit(rule, "no number tells the files apart")
    return families[0]


def _slice_role(content: Content, family: Family) -> dict[int, Role] | None:
    """Return that the one number of a family is z, or None if it is not, or not the only one."""
    if content.is_forced and len(family.fields) == 1:
        return {0: Role.Z}
    roles = axis_roles(family)
    return roles if roles is not None and list(roles.values()) == [Role.Z] else None


def _claim_axes(
    rule: str,
    content: Content,
    axes: NamedAxes,
    evidence: tuple[str, ...],
    *,
    is_sure: bool = True,
) -> Claim:
    error = check_numbers(content, axes)
    if error is not None:
        return Claim(rule, evidence, error=error, is_sure=is_sure)
    ragged = _ragged(content, axes)
    if ragged is not None:
        return Claim(rule, evidence, error=ragged, is_sure=is_sure)
    stacks = build_stacks(content, axes)
    black = sum(plane.file == BLACK for s in stacks for row in s.planes_tz for plane in row)
    return Claim(rule, evidence, stacks, is_sure=is_sure, warnings=_warn_of_black(black))


def _warn_of_black(slices: int) -> tuple[str, ...]:
    return (f"{slices} missing slices become black (`missing_slices`)",) if slices else ()


def _ragged(content: Content, axes: NamedAxes) -> MixedSlicesError | None:
    """Return an error if files of several slices cannot be lined up: slice counts differ."""
    if content.is_planar:
        return None
    depth_of: dict[object, int] = {}
    for path, (_, _, z) in axes.places.items():
        info = content.probe(path)
        expected = depth_of.setdefault(z, info.size_z)
        if expected != info.size_z or info.size_t != content.first.size_t:
            return MixedSlicesError(
                f"“{show_path(path)}” in {content.shown} holds {show_extent(info)}, its "
                f"neighbours {expected} slices and {content.first.size_t} timepoints. Files of "
                "one series must have one extent. Complete the file, or ignore it.",
                hint=f'Complete the file, or set `ignore = ["{show_path(path)}"]`.',
                path=show_path(path),
                size_z=info.size_z,
                expected_z=expected,
            )
    return None


def _stacks_of_file(
    content: Content, path: str, info: ImageInfo, *, is_one_of_many: bool = False
) -> tuple[StackDraft, ...]:
    stem = split_suffix(path.rpartition("/")[2])[0]
    stacks = []
    for c, (label, channel) in enumerate(channel_labels(info)):
        planes_tz = tuple(
            tuple(PlaneRef(0, t, c, z) for z in range(info.size_z)) for t in range(info.size_t)
        )
        whole_label = "_".join(part for part in (stem, label) if part)
        is_named = bool(channel.name) and channel.name.strip() == label
        stacks.append(
            StackDraft(
                files=(path,),
                planes_tz=planes_tz,
                label=whole_label if is_one_of_many else label,
                is_label_enough=is_one_of_many or is_named,
                channel=channel,
                words=(stem,) if is_one_of_many else (*content.words, stem),
            )
        )
    return tuple(stacks)


def _compact(stack: StackDraft) -> StackDraft:
    """Return the stack with only the files its planes lie in."""
    used = sorted({plane.file for row in stack.planes_tz for plane in row} - {BLACK})
    renumbered = {file: i for i, file in enumerate(used)} | {BLACK: BLACK}
    return StackDraft(
        files=tuple(stack.files[file] for file in used),
        planes_tz=tuple(
            tuple(PlaneRef(renumbered[p.file], p.t, p.c, p.z) for p in row)
            for row in stack.planes_tz
        ),
        label=stack.label,
        is_label_enough=stack.is_label_enough,
        channel=stack.channel,
        words=stack.words,
    )


def _named_evidence(family: Family) -> tuple[str, ...]:
    parts = [
        f"“{field.word or '#'}” counts {_ROLE_NAMES[field.role]} ({len(set(field.values))} values)"
        for field in family.fields
    ]
    return (f"{len(family.names)} files are named “{family.template}”: {', '.join(parts)}",)


_ROLE_NAMES: Final = {
    Role.Z: "slices",
    Role.UNKNOWN: "slices",
    Role.PART: "parts",
    Role.C: "channels",
    Role.T: "timepoints",
    Role.TILE: "tiles",
}


def _show_numbering(numbering: Numbering) -> str:
    first, last = show_number(numbering.values[0]), show_number(numbering.values[-1])
    return f"{first} to {last}, stride {show_number(numbering.stride)}"


def _show_reading(family: Family) -> str:
    if family.is_signed:
        return ", read with their sign"
    return ", read with their decimals" if family.is_decimal else ""
