"""The voxel size that makers of microscopes write into TIFF tags of their own.

Only what a tag states as the edge of a pixel of *this* picture counts. None of these tags states
the distance between slices: z stays unknown.

Source: tifffile's parsers of the same tags (no vendor publishes them), against which the tests hold
every value; the text of `spatial-calibration-x` in MetaMorph's own files.
"""

import re
import struct
from collections.abc import Callable
from typing import Final
from xml.etree import ElementTree as ET

from stackwatch.errors import CorruptSliceError
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.readers.ifd import Ifd
from stackwatch.readers.scale import NOWHERE, length_nm, number_of

CZ_SEM: Final = 34118
FEI: Final = (34680, 34682)
OLYMPUS_SIS: Final = 33560

_SIS_BYTES: Final = 60
_SIS_GENERAL: Final = 1
_ZEISS_KEYS: Final = ("AP_IMAGE_PIXEL_SIZE", "AP_PIXEL_SIZE")
"""The picture's own pixel first; the other is that of the scan it was taken from."""

_LARGEST_XML: Final = 2**20


def vendor_voxel_size(page: Ifd) -> tuple[PartialVoxelSize, str]:
    """Return the voxel size a vendor's tag of a page states, and which tag that was.

    A tag that is there and says nothing usable gives nothing; damaged ones too, for pixels do not
    depend on them.

    Parameters
    ----------
    page : Ifd

    Returns
    -------
    (PartialVoxelSize, str)
        z is never known; an empty source where nothing is stated.
    """
    for codes, parse, source in _TAGS:
        if not page.tags.keys() & set(codes):
            continue
        try:
            edges_nm = parse(page)
        except (CorruptSliceError, struct.error, ValueError, ET.ParseError):
            continue
        if any(edges_nm):
            return PartialVoxelSize(*edges_nm), source
    return NOWHERE, ""


_Edges = tuple[float | None, float | None]


def _fei(page: Ifd) -> _Edges:
    """Read FEI's and Thermo Fisher's INI text: metres, under `[Scan]`."""
    text = next(page.text(code) for code in FEI if code in page.tags)
    section = ""
    found: dict[str, float | None] = {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]")
            continue
        key, is_pair, value = line.partition("=")
        if is_pair and section == "Scan":
            found[key.strip()] = number_of(value.strip())
    return length_nm(found.get("PixelWidth"), "m"), length_nm(found.get("PixelHeight"), "m")


def _zeiss(page: Ifd) -> _Edges:
    """Read the text of Zeiss SmartSEM: a key in capitals, below it `Words = number unit`."""
    lines = [line.strip() for line in page.text(CZ_SEM).splitlines()]
    for key in _ZEISS_KEYS:
        if key not in lines[:-1]:
            continue
        stated = re.fullmatch(r".*=\s*([-+.\deE]+)\s*(\S+)", lines[lines.index(key) + 1])
        edge = length_nm(number_of(stated[1]), stated[2]) if stated else None
        if edge is not None:
            return edge, edge
    return None, None


def _olympus_sis(page: Ifd) -> _Edges:
    """Read the binary tag of Olympus SIS: an exponent of ten, and x and y in that many metres.

    It is little endian whatever the file is.
    """
    start = page.pointer(OLYMPUS_SIS)
    head = page.file.read(start, _SIS_BYTES)
    if head[:4] != b"SIS0":
        return None, None
    (parts,) = struct.unpack_from("<H", head, _SIS_BYTES - 2)
    entries = page.file.read(start + _SIS_BYTES, 8 * parts)
    for kind, _, offset_of_part in struct.iter_unpack("<hhI", entries):
        if kind == _SIS_GENERAL:
            exponent, x, y = struct.unpack("<10xhdd", page.file.read(offset_of_part, 28))
            metres = 10.0**exponent
            return length_nm(x * metres, "m"), length_nm(y * metres, "m")
    return None, None


def _metamorph(page: Ifd) -> _Edges:
    """Read the XML of MetaMorph in the description, if its calibration is switched on."""
    text = page.text(270)
    if not text.lstrip().startswith("<MetaData>") or len(text) > _LARGEST_XML or "<!" in text:
        return None, None
    root = ET.fromstring(text)  # noqa: S314 - no entities: refused above
    stated = {found.get("id", ""): found.get("value", "") for found in root.iter("prop")}
    if stated.get("spatial-calibration-state", "").lower() != "on":
        return None, None
    unit = stated.get("spatial-calibration-units", "")
    x, y = (number_of(stated.get(f"spatial-calibration-{axis}")) for axis in "xy")
    return length_nm(x, unit), length_nm(y, unit)


_TAGS: Final[tuple[tuple[tuple[int, ...], Callable[[Ifd], _Edges], str], ...]] = (
    (FEI, _fei, "FEI tag"),
    ((CZ_SEM,), _zeiss, "Zeiss SEM tag"),
    ((OLYMPUS_SIS,), _olympus_sis, "Olympus SIS tag"),
    ((270,), _metamorph, "MetaMorph calibration"),
)
