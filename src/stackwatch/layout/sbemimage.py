"""SBEMimage's folders: tiles of grids by slice, and logs that list every tile that was kept.

Tiles are not stitched: each tile of each grid becomes a dataset. The overviews are left out.

Source: the files that SBEMimage (MIT) writes: `tiles/g0000/t0000/NAME_g0000_t0000_s00000.tif`;
below `meta/logs` the lists of images (path; x; y; z in nanometres; slice), the metadata of each
session, the settings, and the log whose last word is “Stack completed.”
"""

import ast
import configparser
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from stackwatch.errors import (
    IncompleteAcquisitionError,
    MissingSlicesError,
    StackwatchError,
    UnknownLayoutError,
)
from stackwatch.layout.assembly import MOST_PADDING
from stackwatch.layout.drafts import LayerDraft, Verdict
from stackwatch.layout.kinds import FileKind, kind_of
from stackwatch.layout.names import Number
from stackwatch.layout.numbering import Numbering, read_numbering, show_number, show_ranges
from stackwatch.layout.scene_drafts import Folder, SceneDraft, refuse_others, stack_of
from stackwatch.layout.voxel_size import StatedSize
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.plan import PlaneRef

SBEMIMAGE: Final = "sbemimage"
"""Name of this layout, as the `layout` setting takes it."""

_LIST: Final = re.compile(r"(.*?/)??meta/logs/imagelist_\d+\.txt")
_TILE: Final = re.compile(r"tiles/g(\d+)/t(\d+)/[^/]*_g\1_t\2_s(\d+)\.\w+")
_DONE: Final = "Stack completed."
_ROUNDING_NM: Final = 2.0
"""Depths are listed in whole nanometres, cut off."""

_STEP_ROUNDING_NM: Final = 0.5
"""What that makes of a mean distance at most: then the stated thickness is the exact one."""

_HEAD_BYTES: Final = 2**20
_TAIL_BYTES: Final = 2**16

Tile = tuple[str, str]
"""Grid and tile, as their folders count them: `0000`, `0012`."""


@dataclass(frozen=True, slots=True)
class _Logs:
    """What the logs of all sessions say, in their order.

    Attributes
    ----------
    base : str
        Folder of the stack, with a slash; empty for the acquisition's own.
    z_nm : mapping of str to (int, float)
        Slice and depth of each listed tile, by its path below the base.
    sizes : tuple of (path, grid, pixel size, thickness)
        In nanometres, 0 where it is not told.
    is_completed : bool or None
        Whether the log ends with the word that the stack is complete; None without a log.
    slices : mapping of str to set of int
        The number of every slice that is listed of any tile of a grid, by grid.
    """

    base: str
    z_nm: Mapping[str, tuple[int, float]]
    sizes: tuple[tuple[str, str, float, float], ...]
    is_completed: bool | None
    slices: Mapping[str, set[int]]


@dataclass(slots=True)
class _TileStack:
    """The slices of one tile."""

    paths: dict[int, str] = field(default_factory=dict)
    z_nm: dict[int, float] = field(default_factory=dict)


def recognise(folder: Folder) -> tuple[SceneDraft, ...]:
    """Return a dataset for each tile of a stack, none if it is not SBEMimage's.

    Raises
    ------
    IncompleteAcquisitionError, MissingSlicesError, AmbiguousLayoutError, UnknownLayoutError
        It is, and is not whole or not clear; the caller parks.
    """
    paths = [entry.path for entry in folder.listing.entries]
    lists = [path for path in paths if _LIST.fullmatch(path)]
    if not lists:
        return ()
    bases = {path[: path.index("meta/logs/")] for path in lists}
    if len(bases) > 1:
        hint = "Raise `acquisition_depth`, or drop each of them by itself."
        raise UnknownLayoutError(
            f"{folder.shown} holds {len(bases)} stacks of SBEMimage. {hint}", hint=hint
        )
    logs = _read_logs(folder, bases.pop(), lists, paths)
    stacks = _tiles(folder, logs, paths)
    if not stacks:
        return ()
    left_out = _left_out(folder, logs, paths)
    warnings = folder.ensure_arrived(
        path for stack in stacks.values() for path in stack.paths.values()
    )
    warnings += _ending(folder, logs) + left_out
    if len(stacks) > 1:
        warnings += (f"tiles are not stitched: each of the {len(stacks)} becomes a dataset",)
    return tuple(
        SceneDraft(
            f"g{grid}_t{tile}", partial(_verdict, folder, logs, (grid, tile), stack, warnings)
        )
        for (grid, tile), stack in sorted(stacks.items())
    )


# ---------------------------------------------------------------- logs


def _read_logs(folder: Folder, base: str, lists: list[str], paths: list[str]) -> _Logs:
    z_nm: dict[str, tuple[int, float]] = {}
    for path in sorted(lists):
        z_nm |= parse_image_list(folder.text_of(path))
    logs = f"{base}meta/logs/"
    sizes: list[tuple[str, str, float, float]] = []
    for path in sorted(path for path in paths if path.startswith(f"{logs}metadata_")):
        sizes += [(path, *one) for one in parse_sessions(folder.text_of(path, head=_HEAD_BYTES))]
    if not any(size[2] for size in sizes):
        for path in sorted(path for path in paths if path.startswith(f"{logs}config_")):
            sizes += [(path, *one) for one in parse_settings(folder.text_of(path))]
    written = sorted(
        path for path in paths if re.fullmatch(rf"{re.escape(logs)}log_\d+\.txt", path)
    )
    is_completed = None
    if written:
        is_completed = _DONE in folder.text_of(written[-1], tail=_TAIL_BYTES, is_content=False)
    slices: dict[str, set[int]] = defaultdict(set)
    for path, (number, _) in z_nm.items():
        match = _TILE.fullmatch(path)
        if match is not None:
            slices[match[1]].add(number)
    return _Logs(base, z_nm, tuple(sizes), is_completed, slices)


def parse_image_list(text: str) -> dict[str, tuple[int, float]]:
    r"""Return slice and depth of each tile in a list of images, by its path; the last word counts.

    Examples
    --------
    >>> parse_image_list("tiles\\g0000\\t0001\\a_g0000_t0001_s00007.tif;-5;9;175;7\nhalf a li")
    {'tiles/g0000/t0001/a_g0000_t0001_s00007.tif': (7, 175.0)}
    """
    found = {}
    for line in text.splitlines():
        parts = line.strip().rsplit(";", 4)
        if len(parts) != 5:
            continue
        try:
            found[parts[0].replace("\\", "/")] = (int(parts[4]), float(parts[3]))
        except ValueError:
            continue
    return found


def parse_sessions(text: str) -> list[tuple[str, float, float]]:
    """Return grid, pixel size and thickness in nanometres, of each session's metadata.

    Examples
    --------
    >>> parse_sessions("SESSION: {'slice_thickness': 25, 'grids': ['0000'], 'pixel_sizes': [10]}")
    [('0000', 10.0, 25.0)]
    """
    found = []
    for line in text.splitlines():
        if not line.startswith("SESSION:"):
            continue
        try:
            told = ast.literal_eval(line.partition(":")[2].strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(told, dict):
            found += _sizes(told.get("grids"), told.get("pixel_sizes"), told.get("slice_thickness"))
    return found


def parse_settings(text: str) -> list[tuple[str, float, float]]:
    """Return grid, pixel size and thickness in nanometres, of a copy of the settings."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
        sizes = json.loads(parser.get("grids", "pixel_size", fallback="[]"))
        thickness = parser.get("acq", "slice_thickness", fallback="0")
    except (configparser.Error, ValueError):
        return []
    grids = [f"{number:04d}" for number in range(len(sizes))] if isinstance(sizes, list) else []
    return _sizes(grids, sizes, thickness)


def _sizes(grids: object, sizes: object, thickness: object) -> list[tuple[str, float, float]]:
    if not isinstance(grids, list):
        return []
    sizes = sizes if isinstance(sizes, list) and len(sizes) == len(grids) else [0] * len(grids)
    return [
        (str(grid), _length(size), _length(thickness))
        for grid, size in zip(grids, sizes, strict=True)
    ]


def _length(value: object) -> float:
    try:
        return max(0.0, float(value)) if isinstance(value, int | float | str) else 0.0
    except ValueError:
        return 0.0


# ---------------------------------------------------------------- tiles


def _tiles(folder: Folder, logs: _Logs, paths: Iterable[str]) -> dict[Tile, _TileStack]:
    stacks: dict[Tile, _TileStack] = defaultdict(_TileStack)
    unlisted = []
    there = set()
    for path in paths:
        below = path.removeprefix(logs.base)
        match = _TILE.fullmatch(below) if path.startswith(logs.base) else None
        if match is None:
            continue
        there.add(below)
        if below not in logs.z_nm:
            unlisted.append(path)
            continue
        stack, (number, depth) = stacks[match[1], match[2]], logs.z_nm[below]
        stack.paths[number], stack.z_nm[number] = path, depth
    if unlisted:
        raise refuse_others(folder, "tiles that SBEMimage lists in `meta/logs`", unlisted)
    gone = [path for path in logs.z_nm if path not in there]
    if gone and folder.options.missing_slices == "park":
        hint = 'Copy them in, or set `missing_slices = "black"`.'
        raise IncompleteAcquisitionError(
            f"SBEMimage lists {len(logs.z_nm):,} tiles in {folder.shown}, {len(gone):,} of them "
            f"are not there, such as “{show_path(gone[0])}”. {hint}",
            hint=hint,
            missing=[show_path(path) for path in gone[:100]],
            missing_count=len(gone),
        )
    return dict(stacks)


def _left_out(folder: Folder, logs: _Logs, paths: Iterable[str]) -> tuple[str, ...]:
    """Name what else SBEMimage writes, and refuse images that it does not."""
    counts: dict[str, int] = defaultdict(int)
    strays = []
    for path in paths:
        below = path.removeprefix(logs.base)
        if kind_of(path) not in {FileKind.IMAGE, FileKind.FOREIGN} or _TILE.fullmatch(below):
            continue
        top = below.partition("/")[0]
        if path.startswith(logs.base) and top in {"overviews", "workspace", "meta"}:
            counts[top] += 1
        elif below.startswith("tiles/rejected/"):
            counts["tiles/rejected"] += 1
        else:
            strays.append(path)
    if strays:
        raise refuse_others(folder, "a stack of SBEMimage", strays)
    return tuple(
        f"left out: {n} image{'' if n == 1 else 's'} in “{place}”"
        for place, n in sorted(counts.items())
    )


def _ending(folder: Folder, logs: _Logs) -> tuple[str, ...]:
    """Make sure that the stack was completed, unless the setting takes it as it is."""
    if logs.is_completed:
        return ()
    if logs.is_completed is None:
        return ("no log of SBEMimage says whether the stack was completed",)
    if folder.options.layout == SBEMIMAGE:
        return ("SBEMimage's log does not say that the stack was completed",)
    hint = f'Wait for its end; if it was stopped by hand, set `layout = "{SBEMIMAGE}"`.'
    raise IncompleteAcquisitionError(
        f"SBEMimage's last log in {folder.shown} does not say “{_DONE}”: it runs, pauses, or was "
        f"stopped by hand. {hint}",
        hint=hint,
    )


def _verdict(
    folder: Folder, logs: _Logs, tile: Tile, stack: _TileStack, warnings: tuple[str, ...]
) -> Verdict:
    numbers = sorted(stack.paths)
    files = [stack.paths[number] for number in numbers]
    folder.ensure_planar(files)
    numbering = read_numbering(logs.slices[tile[0]])
    position = dict(zip(numbering.values, numbering.positions, strict=False))
    _check_slices(folder, tile, numbering, [n for n in numbering.values if n not in stack.paths])
    places = {(0, 0, position[number]): PlaneRef(i) for i, number in enumerate(numbers)}
    depth = numbering.positions[-1] + 1
    black = depth - len(files)
    said = (f"{black} missing slices become black (`missing_slices`)",) if black else ()
    step, remark = _step(logs, tile, stack, position, float(numbering.stride))
    name = f"grid {tile[0]}, tile {tile[1]}"
    stated = tuple(
        StatedSize(path, PartialVoxelSize(size or None, size or None, step), "SBEMimage metadata")
        for path, grid, size, _ in logs.sizes
        if grid == tile[0]
    ) or (StatedSize(f"{logs.base}meta/logs", PartialVoxelSize(z=step), "SBEMimage list"),)
    evidence = (
        f"SBEMimage lists {len(files):,} slices of {name}, {numbers[0]} to {numbers[-1]}, stride "
        f"{show_number(numbering.stride)}",
    )
    draft = stack_of(files, places, (1, depth), 0, words=folder.words)
    return Verdict(
        SBEMIMAGE,
        evidence,
        (LayerDraft(draft),),
        (*warnings, *said, *remark),
        stated=stated,
        metadata={"sbemimage": {"grid": tile[0], "tile": tile[1], "first_slice": numbers[0]}},
    )


def _check_slices(folder: Folder, tile: Tile, numbering: Numbering, lacking: list[Number]) -> None:
    """Make sure that a tile has every slice of its grid, or that they may be black."""
    if not (numbering.breaks or numbering.missing or lacking):
        return
    count = numbering.missing_count + len(lacking)
    is_few = count <= MOST_PADDING * len(numbering.values)
    if not numbering.breaks and folder.options.missing_slices == "black" and is_few:
        return
    raise _gap(folder, tile, numbering, lacking)


def _gap(
    folder: Folder, tile: Tile, numbering: Numbering, lacking: list[Number]
) -> StackwatchError:
    name = f"grid {tile[0]}, tile {tile[1]} of {folder.shown}"
    if numbering.breaks:
        before, after = numbering.breaks[0]
        hint = "The interval of the grid was changed: drop the parts one by one."
        return UnknownLayoutError(
            f"The slices of {name} do not count with one stride: most go by "
            f"{show_number(numbering.stride)}, but {show_number(before)} is followed by "
            f"{show_number(after)}. {hint}",
            hint=hint,
        )
    hint = 'Copy them in, or set `missing_slices = "black"`.'
    absent = sorted([*numbering.missing, *((one, one) for one in lacking)])
    return MissingSlicesError(
        f"{name} lacks slices {show_ranges(absent)}: it was not active, or they were not copied. "
        f"{hint}",
        hint=hint,
        missing_count=numbering.missing_count + len(lacking),
        missing=[show_ranges([one]) for one in absent[:100]],
        expected=f"{show_number(numbering.values[0])}-{show_number(numbering.values[-1])}",
    )


def _step(
    logs: _Logs, tile: Tile, stack: _TileStack, position: Mapping[Number, int], stride: float
) -> tuple[float | None, tuple[str, ...]]:
    """Return the distance of slices in nanometres, if it is one, and what is to be said of it."""
    depths = sorted((position[number], depth) for number, depth in stack.z_nm.items())
    (start, first), (end, last) = depths[0], depths[-1]
    if start == end:
        return None, ()
    mean = (last - first) / (end - start)
    off = max(abs(depth - first - mean * (z - start)) for z, depth in depths)
    if mean <= 0 or off > _ROUNDING_NM:
        return None, (
            f"the depths of the slices are not evenly spaced ({off:,.0f} nm off a mean distance of "
            f"{mean:g} nm): z is left open",
        )
    for _, grid, _, thickness in logs.sizes:
        if grid == tile[0] and thickness and abs(thickness * stride - mean) <= _STEP_ROUNDING_NM:
            return thickness * stride, ()
    return mean, ()
