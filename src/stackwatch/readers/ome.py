"""OME-XML: the extent of each image, where its planes lie, voxel size and channels.

A small parser of our own: no schema, no entities, no file is ever opened because a description
names it. Source: the OME-TIFF specification (TiffData, UUID, BinaryOnly) and OME schema 2016-06.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from xml.etree import ElementTree as ET

from stackwatch.errors import CorruptSliceError, LimitExceededError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import Channel
from stackwatch.readers.damage import no_such_image
from stackwatch.readers.scale import length_nm, number_of

_LARGEST_PLANES = 10_000_000
_ORDERS = {"XYZCT", "XYZTC", "XYCZT", "XYCTZ", "XYTZC", "XYTCZ"}
Channels = tuple[Channel, ...]
_ASIDE = {"label", "macro", "thumbnail"}
"""How the names of pictures begin that writers of slides put beside the images."""


@dataclass(frozen=True, slots=True)
class OmePlane:
    """Where one plane lies: `file` indexes `OmeImage.files`, `page` counts its pages from 0."""

    file: int
    page: int


@dataclass(frozen=True, slots=True)
class OmeImage:
    """An image of an OME-TIFF.

    Attributes
    ----------
    size_t, size_c, size_z : int
        `size_c` counts channels that are planes of their own.
    planes : tuple of OmePlane or None
        In the order t, c, z (z fastest); None where no TiffData names a place.
    files : tuple of str
        Base names, in the order of their first plane; this file is `own`.
    own : int
        Index of this file in `files`.
    set_uuid : str
        UUID of the first file; empty for a single file.
    samples_per_channel : int
    voxel_size_nm : PartialVoxelSize
    channels : tuple of Channel
    name : str
    scenes : tuple of str
        Names of all images of this file that are worth a dataset, if there are several.
    scene : int
        Which of them it is.
    other_pages : frozenset of int
        Pages of this file that belong to its other images.
    notes : tuple of str
        What was left out.
    """

    size_t: int
    size_c: int
    size_z: int
    planes: tuple[OmePlane | None, ...]
    files: tuple[str, ...]
    own: int
    set_uuid: str
    samples_per_channel: int
    voxel_size_nm: PartialVoxelSize
    channels: tuple[Channel, ...]
    name: str = ""
    scenes: tuple[str, ...] = ()
    scene: int = 0
    other_pages: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def pages_here(self) -> frozenset[int]:
        """Pages of this file that hold a plane of the image."""
        return frozenset(
            plane.page for plane in self.planes if plane is not None and plane.file == self.own
        )


def is_ome(description: str) -> bool:
    """Tell whether a page's description is OME-XML."""
    return description.rstrip()[-4:] == "OME>" and "<" in description[:64]


def parse_ome(
    description: str,
    name: str,
    page_samples: Sequence[int],
    scene: int = 0,
    reduced_pages: frozenset[int] = frozenset(),
) -> OmeImage:
    """Read what the description of an OME-TIFF says of one image.

    Parameters
    ----------
    description : str
        OME-XML of the first page.
    name : str
        The file's path: for messages, and to find it among the files of a set.
    page_samples : sequence of int
        Colour samples per pixel of each page of this file.
    scene : int
        Which image, where there are several: an index in `OmeImage.scenes`.
    reduced_pages : frozenset of int
        Pages that say they are a smaller copy of another.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError, LimitExceededError
        The caller passes them on.
    """
    root = _parse_xml(description, name)
    binary_only = _child(root, "BinaryOnly")
    if binary_only is not None:
        master = binary_only.get("MetadataFile", "another file")
        raise _unsupported(
            name, f"whose description stands in “{master}”", "Save it as one OME-TIFF file."
        )
    found = [
        child for child in root if _tag(child) == "Image" and _child(child, "Pixels") is not None
    ]
    if not found:
        raise _unsupported(name, "that describes no image", "Save it anew.")
    files = {_file_of_block(block) for block in root.iter() if _tag(block) == "TiffData"}
    is_set = len(found) > 1 and len(files) > 1
    images = [_parse_image(root, image, name, page_samples, is_set=is_set) for image in found]
    return images[0] if len(images) == 1 else _choose(images, name, scene, reduced_pages)


def describe_images(description: str, name: str) -> list[tuple[str, PartialVoxelSize, Channels]]:
    """Return name, voxel size and channels of every image that OME-XML describes, in its order."""
    images = [image for image in _parse_xml(description, name) if _tag(image) == "Image"]
    found = []
    for image in images:
        pixels = _child(image, "Pixels")
        pixels = pixels if pixels is not None else image
        elements = [element for element in pixels if _tag(element) == "Channel"]
        size, channels = _physical_size(pixels), _channels(elements, len(elements))
        found.append((image.get("Name", ""), size, channels))
    return found


def _parse_image(
    root: ET.Element, image: ET.Element, name: str, page_samples: Sequence[int], *, is_set: bool
) -> OmeImage:
    pixels = _child(image, "Pixels")
    assert pixels is not None
    order = pixels.get("DimensionOrder", "XYCZT")
    sizes = {axis: _size(pixels, f"Size{axis}", name) for axis in "TCZ"}
    if order not in _ORDERS:
        raise _unsupported(name, f"with the dimension order {order}", "Save it anew.")
    elements = [child for child in pixels if _tag(child) == "Channel"]
    samples = _samples_per_channel(elements, sizes["C"], _samples_of(pixels, page_samples))
    sizes["C"] = max(1, sizes["C"] // samples)
    if math.prod(sizes.values()) > _LARGEST_PLANES:
        raise LimitExceededError(
            f"“{show_path(name)}” declares {math.prod(sizes.values()):,} planes: its OME-XML is "
            "damaged. Copy the file again.",
            hint="Copy the file again.",
            path=show_path(name),
        )
    mapping = _Mapping(root.get("UUID", ""), PurePosixPath(name).name, sizes, order)
    mapping.add_all(pixels, name, is_set=is_set)
    return OmeImage(
        size_t=sizes["T"],
        size_c=sizes["C"],
        size_z=sizes["Z"],
        planes=tuple(mapping.planes),
        files=tuple(mapping.files),
        own=mapping.own,
        set_uuid=mapping.uuids[0] if len(mapping.files) > 1 else "",
        samples_per_channel=samples,
        voxel_size_nm=_physical_size(pixels),
        channels=_channels(elements, sizes["C"]),
        name=image.get("Name", ""),
    )


def _choose(
    images: list[OmeImage], name: str, scene: int, reduced_pages: frozenset[int]
) -> OmeImage:
    """Return one of several images of a file, with what it has to know of the others."""
    here = [image for image in images if image.pages_here]
    pages = [page for image in here for page in image.pages_here]
    is_spread = any(len(image.files) > 1 for image in images)
    if is_spread or not here or len(set(pages)) < len(pages):
        listed = ", ".join(_extent(image) for image in images[:6])
        why = "spread over several files" if is_spread else "whose pages cannot be told apart"
        raise _unsupported(
            name,
            f"that holds {len(images)} images {why}: {listed}",
            "Save each image as a file of its own.",
        )
    pictures = [
        image
        for image in here
        if (image.name.lower().split() or [""])[0] not in _ASIDE
        and not image.pages_here <= reduced_pages
    ] or here
    if scene >= len(pictures):
        raise no_such_image(name, scene, len(pictures))
    notes = [f"“{image.name}” left out: a preview" for image in here if image not in pictures]
    if len(here) < len(images):
        notes.append(f"{len(images) - len(here)} images lie in other files")
    chosen = pictures[scene]
    return replace(
        chosen,
        scenes=tuple(image.name for image in pictures) if len(pictures) > 1 else (),
        scene=scene,
        other_pages=frozenset(pages) - chosen.pages_here,
        notes=tuple(notes),
    )


class _Mapping:
    """Collects where the planes lie, TiffData by TiffData."""

    def __init__(self, uuid: str, base_name: str, sizes: dict[str, int], order: str) -> None:
        self.planes: list[OmePlane | None] = [None] * math.prod(sizes.values())
        self.files: list[str] = []
        self.uuids: list[str] = []
        self.own = 0
        self._uuid, self._base_name = uuid, base_name
        self._sizes = sizes
        self._axes = list(order[2:])
        self._known: dict[tuple[str, str], int] = {}

    def add_all(self, pixels: ET.Element, name: str, *, is_set: bool) -> None:
        """Read every TiffData; without any, the pages follow in the dimension order."""
        blocks = [child for child in pixels if _tag(child) == "TiffData"]
        for block in blocks or [ET.Element("TiffData")]:
            self._add(block, name)
        self._find_own(is_set=is_set)

    def _add(self, block: ET.Element, name: str) -> None:
        file = self._file_of(block)
        first = {axis: _number(block, f"First{axis}", 0, name) for axis in "TCZ"}
        # Without a page the block means all planes; with one and no count, a single plane.
        default = 1 if "IFD" in block.attrib else len(self.planes)
        count = _number(block, "PlaneCount", default, name)
        page = _number(block, "IFD", 0, name)
        steps = self._iter_from(first)
        for offset, index in zip(range(count), steps, strict=False):
            self.planes[index] = OmePlane(file, page + offset)

    def _iter_from(self, first: dict[str, int]) -> Iterator[int]:
        """Yield indices into `planes`, from a first plane on in the dimension order."""
        fast, middle, slow = self._axes
        sizes = self._sizes
        position = (first[slow] * sizes[middle] + first[middle]) * sizes[fast] + first[fast]
        for step in range(position, len(self.planes)):
            at = {
                fast: step % sizes[fast],
                middle: step // sizes[fast] % sizes[middle],
                slow: step // (sizes[fast] * sizes[middle]),
            }
            yield (at["T"] * sizes["C"] + at["C"]) * sizes["Z"] + at["Z"]

    def _file_of(self, block: ET.Element) -> int:
        """Return the index of the file a TiffData points to, new ones appended."""
        uuid, base = _file_of_block(block) or (self._uuid, "")
        base = base or (self._base_name if uuid == self._uuid else uuid)
        index = self._known.setdefault((base, uuid), len(self.files))
        if index == len(self.files):
            self.files.append(base)
            self.uuids.append(uuid)
        return index

    def _find_own(self, *, is_set: bool) -> None:
        """Recognise this file: by its UUID, else by its name; a lone file may have been renamed."""
        if self._uuid in self.uuids and self._uuid:
            self.own = self.uuids.index(self._uuid)
        elif self._base_name in self.files:
            self.own = self.files.index(self._base_name)
        elif is_set or len(self.files) > 1:
            self.own = -1
        if self.own >= 0:
            self.files[self.own] = self._base_name


def _parse_xml(description: str, name: str) -> ET.Element:
    if "<!DOCTYPE" in description or "<!ENTITY" in description:
        raise _unsupported(name, "whose OME-XML defines entities", "Save it anew.")
    try:
        # No DTD, so no entity can expand; expat opens nothing by itself.
        return ET.fromstring(description.encode("utf-8"))  # noqa: S314
    except (ET.ParseError, ValueError, LookupError) as error:
        raise CorruptSliceError(
            f"The OME-XML of “{show_path(name)}” cannot be read ({error}): the file is damaged. "
            "Copy it again.",
            hint="Copy the file again.",
            path=show_path(name),
        ) from error


def _file_of_block(block: ET.Element) -> tuple[str, str] | None:
    """Return the UUID and the base name of the file a TiffData points to; None for this one."""
    element = _child(block, "UUID")
    if element is None:
        return None
    file_name = element.get("FileName", "")
    return (element.text or "").strip(), PurePosixPath(file_name.replace("\\", "/")).name


def _extent(image: OmeImage) -> str:
    return f"“{image.name}” ({image.size_z} slices, {image.size_c} channels, {image.size_t} times)"


def _samples_of(pixels: ET.Element, page_samples: Sequence[int]) -> int:
    """Return the colour samples of an image's first page."""
    block = _child(pixels, "TiffData")
    text = block.get("IFD", "") if block is not None else ""
    page = int(text) if text.isascii() and text.isdigit() else 0
    return page_samples[page if page < len(page_samples) else 0]


def _samples_per_channel(elements: list[ET.Element], size_c: int, page_samples: int) -> int:
    """Return how many samples of a pixel one channel takes: 3 for RGB pages."""
    stated = {number_of(element.get("SamplesPerPixel")) or 0 for element in elements}
    if len(stated) == 1 and (first := int(stated.pop())) > 1:
        return first
    return page_samples if page_samples > 1 and size_c % page_samples == 0 else 1


def _physical_size(pixels: ET.Element) -> PartialVoxelSize:
    # The schema's default unit is the micrometre.
    return PartialVoxelSize(
        *(
            length_nm(
                number_of(pixels.get(f"PhysicalSize{axis}")),
                pixels.get(f"PhysicalSize{axis}Unit", "µm"),
            )
            for axis in "XYZ"
        )
    )


def _channels(elements: list[ET.Element], size_c: int) -> tuple[Channel, ...]:
    if len(elements) != size_c:
        return ()
    return tuple(
        Channel(element.get("Name", ""), _color_rgb(element.get("Color"))) for element in elements
    )


def _color_rgb(text: str | None) -> tuple[int, int, int] | None:
    """Return a Color, a signed 32-bit integer of the bytes R, G, B, A."""
    try:
        value = int(text or "")
    except ValueError:
        return None
    return (value >> 24 & 255, value >> 16 & 255, value >> 8 & 255)


def _size(element: ET.Element, key: str, name: str) -> int:
    value = _number(element, key, 1, name)
    return max(value, 1)


def _number(element: ET.Element, key: str, default: int, name: str) -> int:
    text = element.get(key)
    try:
        value = default if text is None else int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise CorruptSliceError(
            f"The OME-XML of “{show_path(name)}” says {key}=“{text}”: the file is damaged. "
            "Copy it again.",
            hint="Copy the file again.",
            path=show_path(name),
        )
    return value


def _tag(element: ET.Element) -> str:
    """Return an element's name without its namespace: every schema version has another."""
    return element.tag.rpartition("}")[2]


def _child(element: ET.Element, tag: str) -> ET.Element | None:
    return next((child for child in element if _tag(child) == tag), None)


def _unsupported(name: str, what: str, hint: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"“{show_path(name)}” is an OME-TIFF {what}, which stackwatch cannot read. {hint}",
        hint=hint,
        path=show_path(name),
    )
