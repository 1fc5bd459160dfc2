"""Which voxel size is right, axis by axis: from files, sidecar, settings, or the command line.

Pure. No axis is ever invented, but for the z of a single slice, which has no extent to measure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from stackwatch.errors import ConflictingMetadataError, MissingMetadataError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize, VoxelSize
from stackwatch.model.options import VoxelSizeOptions

TOLERANCE: Final = 0.01
"""Sizes closer than this are rounded statements of one fact."""

_AXES: Final = ("x", "y", "z")
_FLAG: Final = "command line"


@dataclass(frozen=True, slots=True)
class StatedSize:
    """What one file says.

    Attributes
    ----------
    path : str
        The file, relative to the acquisition.
    size_nm : PartialVoxelSize
    source : str
        Where in the file it stands, e.g. `ImageJ spacing`.
    """

    path: str
    size_nm: PartialVoxelSize
    source: str


class ResolvedVoxelSize(NamedTuple):
    """A whole voxel size, for each axis where it comes from, and what deserves a look."""

    size_nm: VoxelSize
    sources: tuple[str, str, str]
    warnings: tuple[str, ...]


def resolve_voxel_size(
    found: Sequence[StatedSize], options: VoxelSizeOptions, depth: int
) -> ResolvedVoxelSize:
    """Decide on the voxel size of a dataset.

    The command line wins over everything. A sidecar takes the place of the settings. Otherwise
    files win over these, unless `prefer` says `settings`; either completes what the other does not
    say.

    Parameters
    ----------
    found : sequence of StatedSize
        From every file that was looked at, in order.
    options : VoxelSizeOptions
    depth : int
        Slices of the deepest layer: with one slice an unknown z is set to x.

    Raises
    ------
    MissingMetadataError
        An axis is stated nowhere; the caller parks.
    ConflictingMetadataError
        Files disagree on an axis that no setting decides; the caller parks.

    Examples
    --------
    >>> from stackwatch.model.geometry import PartialVoxelSize
    >>> stated = StatedSize("a.tif", PartialVoxelSize(4.0, 4.0, None), "resolution tags")
    >>> settings = VoxelSizeOptions(PartialVoxelSize(z=35.0))
    >>> resolve_voxel_size([stated], settings, depth=10).sources
    ('resolution tags', 'resolution tags', 'settings')
    """
    values: list[float | None] = []
    sources: list[str] = []
    warnings: list[str] = []
    for axis in _AXES:
        stated = _stated_for(axis, found)
        given, word = _given_for(axis, options)
        is_first = word == _FLAG or options.prefer == "settings"
        if given is not None and (is_first or not stated):
            warnings += _disagreements(axis, stated, given, word, chosen=word)
            values.append(given)
            sources.append(word)
        elif stated:
            _ensure_agree(axis, stated)
            path, value, source = stated[0]
            if given is not None:
                warnings += _disagreements(axis, stated[:1], given, word, chosen=show_path(path))
            values.append(value)
            sources.append(source)
        elif axis == "z" and depth == 1 and values[0] is not None:
            values.append(values[0])
            sources.append("same as x: a single slice")
        else:
            values.append(None)
            sources.append("")
    x, y, z = values
    if x is None or y is None or z is None:
        raise _missing(values, found)
    return ResolvedVoxelSize(
        VoxelSize(x, y, z), (sources[0], sources[1], sources[2]), tuple(warnings)
    )


def _given_for(axis: str, options: VoxelSizeOptions) -> tuple[float | None, str]:
    """Return what was given for an axis beside the files, and where."""
    value: float | None = getattr(options.voxel_size_nm, axis)
    if value is not None and options.is_flag:
        return value, _FLAG
    said: float | None = getattr(options.sidecar_nm, axis)
    return (value, "settings") if said is None else (said, options.sidecar)


def _stated_for(axis: str, found: Sequence[StatedSize]) -> list[tuple[str, float, str]]:
    """Return path, value and source of each usable statement on an axis."""
    stated = []
    for one in found:
        value: float | None = getattr(one.size_nm, axis)
        if value is not None and math.isfinite(value) and value > 0:
            stated.append((one.path, value, one.source))
    return stated


def _is_close(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE * max(abs(one), abs(other))


def _ensure_agree(axis: str, stated: list[tuple[str, float, str]]) -> None:
    first_path, first, first_source = stated[0]
    for path, value, source in stated[1:]:
        if _is_close(first, value):
            continue
        raise ConflictingMetadataError(
            f"“{show_path(first_path)}” says that voxels measure {first:g} nm along {axis} "
            f"({first_source}), “{show_path(path)}” says {value:g} nm ({source}). One dataset has "
            "one voxel size, so the job is parked. Say which is right with `voxel_size_nm` and "
            '`voxel_size_from = "settings"`, or with `--voxel-size-nm X,Y,Z`.',
            hint='Set `voxel_size_nm = [x, y, z]` and `voxel_size_from = "settings"` under the '
            "folder, or give `--voxel-size-nm X,Y,Z`.",
            axis=axis,
            paths=[show_path(first_path), show_path(path)],
            values_nm=[first, value],
        )


def _disagreements(
    axis: str, stated: list[tuple[str, float, str]], given: float, word: str, *, chosen: str
) -> list[str]:
    """Return one warning if files and settings differ on an axis."""
    says = {"settings": "the settings say", _FLAG: f"the {_FLAG} says"}.get(word, f"“{word}” says")
    for path, value, source in stated:
        if not _is_close(value, given):
            return [
                f"voxel size along {axis}: “{show_path(path)}” says {value:g} nm ({source}), "
                f"{says} {given:g} nm; taken from {chosen if chosen == word else f'“{chosen}”'}"
            ]
    return []


def _missing(values: list[float | None], found: Sequence[StatedSize]) -> MissingMetadataError:
    axes = [axis for axis, value in zip(_AXES, values, strict=True) if value is None]
    known = [
        f"{value:g}" if value is not None else axis
        for axis, value in zip(_AXES, values, strict=True)
    ]
    example, flag = ", ".join(known), ",".join(known).upper()
    what = "No voxel size" if len(axes) == 3 else f"No voxel size along {' and '.join(axes)}"
    where = f"“{show_path(found[0].path)}”" if found else "the files"
    more = f" and {len(found) - 1} more files" if len(found) > 1 else ""
    hint = (
        f"Add `voxel_size_nm = [{example}]` under the folder or to the acquisition's "
        f"`stackwatch.toml`, or give `--voxel-size-nm {flag}`."
    )
    return MissingMetadataError(
        f"{what} in {where}{more}, and none in the settings. Conversion would invent a scale, so "
        f"the job is parked. {hint}",
        hint=hint,
        missing_axes=axes,
    )
