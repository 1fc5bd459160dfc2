"""What the metadata of a CZI say: extents, voxel size, channels, names of the scenes. Pure.

Source: the XML that ZEN and libCZI write (`ImageDocument/Metadata`: `Information/Image`,
`DisplaySetting`, `Scaling/Items/Distance` in metres). Nothing in it is certain to be there; old
files number their channels by long identifiers that only the order explains.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import Channel
from stackwatch.readers.damage import damaged_header
from stackwatch.readers.scale import length_nm, number_of

_DIGITS: Final = 15
"""Significant ones kept of a length: what follows comes from turning metres into nanometres."""


_BULKY: Final = (b"Experiment", b"HardwareSetting")
"""How the microscope was set, some hundred kilobytes; a sequence is opened file by file."""


@dataclass(frozen=True, slots=True)
class CziMetadata:
    """What the XML says.

    Attributes
    ----------
    sizes : dict of str to int
        `SizeZ`, `SizeC`, `SizeT` as declared, by their last letter.
    voxel_size_nm : PartialVoxelSize
    channels : tuple of Channel
        By their index.
    scenes : dict of int to str
        Names by the index of the scene, those that have one.
    """

    sizes: dict[str, int]
    voxel_size_nm: PartialVoxelSize
    channels: tuple[Channel, ...]
    scenes: dict[int, str]


def parse_metadata(xml: bytes, name: str) -> CziMetadata:
    """Read the XML of a CZI.

    Parameters
    ----------
    xml : bytes
        Empty where the file has none.
    name : str
        The file's path, for messages.

    Raises
    ------
    CorruptSliceError
        It is no XML; the caller passes it on.
    """
    root = _parse_xml(xml, name)
    image = root.find("Metadata/Information/Image")
    if image is None:
        image = ET.Element("Image")
    return CziMetadata(
        sizes=_sizes(image),
        voxel_size_nm=_voxel_size(root),
        channels=_channels(root, image),
        scenes=dict(_iter_scenes(image)),
    )


def _parse_xml(xml: bytes, name: str) -> ET.Element:
    text = xml.strip(b"\0 \r\n\t\xef\xbb\xbf")
    if not text:
        return ET.Element("ImageDocument")
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise damaged_header(name, "its XML defines entities, which no microscope writes")
    for element in _BULKY:
        text = _without(text, element)
    try:
        # No DTD, so no entity can expand; expat opens nothing by itself.
        return ET.fromstring(text)  # noqa: S314
    except (ET.ParseError, ValueError, LookupError) as error:
        raise damaged_header(name, f"its XML cannot be read ({error})") from error


def _without(text: bytes, element: bytes) -> bytes:
    """Return the text without an element that occurs once; whole where it does not."""
    opened = re.findall(rb"<%s[\s>]" % element, text)
    begin, end = text.find(b"<" + element), text.find(b"</%s>" % element)
    if (
        len(opened) != 1
        or text.count(b"</%s>" % element) != 1
        or not text.startswith(opened[0], begin)
    ):
        return text
    return text[:begin] + text[end + len(element) + 3 :] if begin < end else text


def _sizes(image: ET.Element) -> dict[str, int]:
    stated = {axis: number_of(image.findtext(f"Size{axis}")) for axis in "ZCT"}
    return {axis: int(size) for axis, size in stated.items() if size and size >= 1}


def _voxel_size(root: ET.Element) -> PartialVoxelSize:
    """Return the edges; 0 stands for unknown."""
    edges = {
        item.get("Id", ""): number_of(item.findtext("Value"))
        for item in root.iterfind("Metadata/Scaling/Items/Distance")
    }
    found = (length_nm(edges.get(axis), "m") for axis in "XYZ")
    return PartialVoxelSize(
        *(None if edge is None else float(f"{edge:.{_DIGITS}g}") for edge in found)
    )


def _channels(root: ET.Element, image: ET.Element) -> tuple[Channel, ...]:
    described = image.findall("Dimensions/Channels/Channel")
    shown = root.findall("Metadata/DisplaySetting/Channels/Channel")
    by_id = {element.get("Id"): element for element in shown if element.get("Id")}
    found: dict[int, Channel] = {}
    for place, element in enumerate(described or shown):
        identity = element.get("Id", "")
        beside = by_id.get(identity)
        if beside is None and len(shown) == len(described):
            beside = shown[place]
        number = identity.removeprefix("Channel:")
        is_numbered = identity.startswith("Channel:") and number.isdecimal() and len(number) < 6
        found[int(number) if is_numbered else place] = _channel(element, beside)
    count = max(found, default=-1) + 1
    return tuple(found.get(index, Channel()) for index in range(min(count, 10_000)))


def _channel(described: ET.Element, shown: ET.Element | None) -> Channel:
    both = [described] if shown is None else [described, shown]
    names = [name for element in both if (name := (element.get("Name") or "").strip())]
    # What people chose for the display comes before what the microscope noted.
    colors = [color for element in reversed(both) if (color := _color_rgb(element))]
    return Channel(names[0] if names else "", colors[0] if colors else None)


def _color_rgb(element: ET.Element) -> tuple[int, int, int] | None:
    """Return a colour written `#AARRGGBB` or `#RRGGBB`."""
    text = (element.findtext("Color") or "").strip()
    digits = text.removeprefix("#")
    if not text.startswith("#") or len(digits) not in {6, 8}:
        return None
    try:
        value = int(digits, 16)
    except ValueError:
        return None
    return (value >> 16 & 255, value >> 8 & 255, value & 255)


def _iter_scenes(image: ET.Element) -> Iterator[tuple[int, str]]:
    for element in image.iterfind("Dimensions/S/Scenes/Scene"):
        index = number_of(element.get("Index"))
        name = (element.get("Name") or "").strip()
        if index is not None and name:
            yield int(index), name
