"""Micro-Manager's image stack files (MMStack): a table in front of the pages says which is which.

Each file has the summary of the whole acquisition and a table of its own planes. Only the first
file of an acquisition has the OME-XML; the table tells the planes of every one.

Source: Micro-Manager's page on its file formats; tifffile, which judges in the tests.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stackwatch.errors import CorruptSliceError, IncompleteAcquisitionError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import Channel
from stackwatch.readers.damage import damaged_header, no_such_image
from stackwatch.readers.ifd import Ifd, TiffHeader
from stackwatch.readers.positional import PositionalFile
from stackwatch.readers.scale import length_nm

_STACK: Final = 54773648
NDTIFF: Final = 483729
SUMMARY: Final = 2355492
_TABLE: Final = 3453623
_SUMMARY_START: Final = 40
_ENTRY: Final = "5I"
_PAGE_TAG: Final = 51123
_LARGEST_SUMMARY: Final = 2**26

Place = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class MmStack:
    """One position of a file.

    Attributes
    ----------
    size_tcz : (int, int, int)
        As the acquisition was meant to be, or larger if more was taken.
    pages : mapping of (t, c, z) to int
        Pages of this file by their place.
    voxel_size_nm : PartialVoxelSize
    channels : tuple of Channel
    positions : tuple of str
        Names of all positions of this file, if there are several.
    other_pages : frozenset of int
        Pages of the other positions.
    """

    size_tcz: Place
    pages: Mapping[Place, int]
    voxel_size_nm: PartialVoxelSize
    channels: tuple[Channel, ...]
    positions: tuple[str, ...]
    other_pages: frozenset[int]


def read_mmstack(file: PositionalFile, pages: Sequence[Ifd], scene: int = 0) -> MmStack | None:
    """Return what Micro-Manager's table says of a file, or None if it has none.

    Parameters
    ----------
    file : PositionalFile
    pages : sequence of Ifd
        The whole chain.
    scene : int
        Which position, where the file holds several.

    Raises
    ------
    IncompleteAcquisitionError
        The table is not written: the acquisition runs, or ended in a crash.
    UnsupportedFormatError
        It is a file of an NDTiff dataset, whose table is another file.
    CorruptSliceError
        The table does not fit the pages.
    """
    header = pages[0].header
    if header.is_big or file.size < _SUMMARY_START:
        return None
    numbers = struct.unpack(f"{header.byte_order}8I", file.read(8, 32))
    if numbers[0] == NDTIFF and SUMMARY in numbers:
        raise _is_ndtiff(file.name)
    if numbers[0] != _STACK or numbers[6] != SUMMARY:
        return None
    summary = _read_summary(file, numbers[7])
    table = _read_table(file, header, numbers[1])
    by_offset = {page.offset: page.index for page in pages}
    strays = [entry for entry in table if entry[4] not in by_offset]
    if strays or len(table) != len(pages):
        raise damaged_header(
            file.name,
            f"Micro-Manager's table names {len(table)} planes, the file has {len(pages)} pages"
            + (f", none at byte {strays[0][4]:,}" if strays else ""),
        )
    positions = sorted({entry[3] for entry in table})
    if scene >= len(positions):
        raise no_such_image(file.name, scene, len(positions))
    mine = [entry for entry in table if entry[3] == positions[scene]]
    places = {(t, c, z): by_offset[offset] for c, z, t, _, offset in mine}
    if len(places) < len(mine):
        raise damaged_header(file.name, "Micro-Manager's table names a plane twice")
    size = intended_tcz(summary)
    largest = [max(place[axis] for place in places) + 1 for axis in range(3)]
    size_t, size_c, size_z = (max(pair) for pair in zip(size, largest, strict=True))
    names = position_names(summary, max(positions) + 1)
    return MmStack(
        (size_t, size_c, size_z),
        places,
        summary_voxel_size(summary, _json_of(pages[0].text(_PAGE_TAG))),
        summary_channels(summary, size_c),
        tuple(names[one] for one in positions) if len(positions) > 1 else (),
        frozenset(by_offset.values()) - frozenset(places.values()),
    )


def _read_summary(file: PositionalFile, count: int) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read(_SUMMARY_START, min(count, _LARGEST_SUMMARY)).rstrip(b"\0"))
    except (ValueError, CorruptSliceError) as error:
        raise damaged_header(file.name, f"Micro-Manager's summary: {error}") from error
    return found if isinstance(found, dict) else {}


def _read_table(
    file: PositionalFile, header: TiffHeader, offset: int
) -> list[tuple[int, int, int, int, int]]:
    """Return channel, slice, frame, position and the offset of its page for each plane."""
    order = header.byte_order
    try:
        kind, count = struct.unpack(f"{order}2I", file.read(offset, 8)) if offset else (0, 0)
        data = file.read(offset + 8, 20 * count) if kind == _TABLE else b""
    except CorruptSliceError:
        kind, data = 0, b""
    if kind != _TABLE or not data:
        hint = "Wait for the end of the acquisition; after a crash, open it in Micro-Manager once."
        raise IncompleteAcquisitionError(
            f"Micro-Manager has not written the table of planes of “{show_path(file.name)}”: the "
            f"acquisition is not finished, or ended in a crash. {hint}",
            hint=hint,
            path=show_path(file.name),
        )
    return list(struct.iter_unpack(order + _ENTRY, data))


def _is_ndtiff(name: str) -> UnsupportedFormatError:
    """Return the refusal of one file of NDTiff: its pages lie as they were taken."""
    hint = "Drop its whole folder, with `NDTiff.index`."
    return UnsupportedFormatError(
        f"“{show_path(name)}” is a part of an NDTiff dataset, whose planes only `NDTiff.index` "
        f"tells apart. {hint}",
        hint=hint,
        path=show_path(name),
        format="NDTiff",
    )


# ------------------------------------------------------------ what a summary says


def intended_tcz(summary: Mapping[str, Any]) -> Place:
    """Return how many timepoints, channels and slices an acquisition was meant to have.

    Both generations write it: `IntendedDimensions` (2.0), `Frames`, `Channels`, `Slices` (1.4).

    Examples
    --------
    >>> intended_tcz({"Frames": 2, "Channels": 3, "Slices": 0})
    (2, 3, 1)
    >>> intended_tcz({"IntendedDimensions": {"time": 4, "z": 5, "position": 2}})
    (4, 1, 5)
    """
    meant = summary.get("IntendedDimensions")
    meant = meant if isinstance(meant, dict) else {}
    pairs = (("time", "Frames"), ("channel", "Channels"), ("z", "Slices"))
    t, c, z = (max(1, whole_number(meant.get(new, summary.get(old)))) for new, old in pairs)
    return t, c, z


def whole_number(value: object) -> int:
    """Return a number of a summary, 0 where there is none."""
    try:
        return int(value) if isinstance(value, int | float | str) else 0
    except (ValueError, OverflowError):
        return 0


def position_names(summary: Mapping[str, Any], count: int) -> tuple[str, ...]:
    """Return the names of the first positions, `Pos0` and so on where there are none."""
    listed = summary.get("StagePositions") or summary.get("InitialPositionList")
    listed = listed if isinstance(listed, list) else []
    names = []
    for one in listed[:count]:
        label = one.get("Label") or one.get("LABEL") if isinstance(one, dict) else ""
        names.append(label if isinstance(label, str) else "")
    names += [""] * (count - len(names))
    return tuple(name or f"Pos{number}" for number, name in enumerate(names))


def summary_channels(summary: Mapping[str, Any], count: int) -> tuple[Channel, ...]:
    """Return names and colours of the channels, or nothing where they do not fit.

    White is what Micro-Manager writes for a colour nobody chose.
    """
    names, colors = summary.get("ChNames"), summary.get("ChColors")
    if not isinstance(names, list) or len(names) < count:
        return ()
    colors = colors if isinstance(colors, list) and len(colors) >= count else [-1] * count
    return tuple(
        Channel(str(name), _rgb(color))
        for name, color in zip(names[:count], colors[:count], strict=True)
    )


def _rgb(color: object) -> tuple[int, int, int] | None:
    if not isinstance(color, int) or color & 0xFFFFFF == 0xFFFFFF:
        return None
    return color >> 16 & 255, color >> 8 & 255, color & 255


def summary_voxel_size(
    summary: Mapping[str, Any],
    plane: Mapping[str, Any] | None = None,
    has_slices: bool | None = None,
) -> PartialVoxelSize:
    """Return the voxel size: of the summary, the pixel else of a plane's own metadata.

    The step is negative where the stage moves down; 0 means that there is no stack. Whether there
    is one the summary says, unless the caller knows.
    """
    if has_slices is None:
        has_slices = intended_tcz(summary)[2] > 1
    pixel = _positive(summary.get("PixelSize_um")) or _positive((plane or {}).get("PixelSizeUm"))
    step = _positive(summary.get("z-step_um"))
    edge = length_nm(pixel, "µm")
    return PartialVoxelSize(edge, edge, length_nm(step, "µm") if has_slices else None)


def _positive(value: object) -> float | None:
    try:
        found = abs(float(value)) if isinstance(value, int | float | str) else 0.0
    except ValueError:
        return None
    return found or None


def _json_of(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
