"""Leica LIF and LOF: images as plain arrays, each in a block of the file, described in XML.

liffile finds the blocks and the descriptions; the arrays are read by position, like those of any
volume. Nothing in these files is compressed.

Source: Leica's description of its image file formats, as liffile documents it; `BytesInc` and
`Length` of the dimensions. A step is the length divided by the elements less one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast
from xml.etree.ElementTree import Element

import liffile
import numpy as np

from stackwatch.errors import StackwatchError, UnsupportedFormatError
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import Channel, ImageInfo, PixelFormat
from stackwatch.readers.damage import damaged_header, no_such_image, unsupported
from stackwatch.readers.scale import length_nm
from stackwatch.readers.stream import ReadingStream
from stackwatch.readers.volume import ArrayLayout, PlainBytes, VolumeReader

_ERRORS: Final = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, RuntimeError,
    ArithmeticError, OSError, SyntaxError,
)  # fmt: skip
"""What liffile and the XML parser raise on damaged bytes."""

_AXES: Final = {"T": "t", "C": "c", "Z": "z", "Y": "y", "X": "x", "S": "s"}
_DIM_IDS: Final = {"1": "X", "2": "Y", "3": "Z", "4": "T"}
_RGB_TAGS: Final = ("1", "2", "3")
_AXIS_WORDS: Final = {
    "M": "tiles of a mosaic that was not merged", "λ": "wavelengths", "Λ": "wavelengths",
    "A": "angles", "N": "x-t slices", "Q": "t slices", "L": "loops",
}  # fmt: skip

_COLOURS: Final = {
    "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "cyan": (0, 255, 255),
    "magenta": (255, 0, 255), "yellow": (255, 255, 0), "gray": (255, 255, 255),
    "grey": (255, 255, 255),
}  # fmt: skip


def open_lif(file: BinaryIO, name: str, scene: int = 0) -> VolumeReader:
    """Read the descriptions of a LIF or LOF and return the reader of one of its images.

    Parameters
    ----------
    file : BinaryIO
    name : str
    scene : int
        Which image, counted from 0, those without pixels not counted.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError, LimitExceededError
        The caller passes them on.
    """
    stream = ReadingStream(file, name)
    try:
        with liffile.LifFile(cast("BinaryIO", stream), squeeze=False) as opened:
            if stream.failure is not None:  # to the library it was the end of the file
                raise stream.failure
            return _parse(file, name, opened, scene)
    except StackwatchError:
        raise
    except _ERRORS as error:
        raise damaged_header(name, f"{type(error).__name__}: {error}") from error


def _parse(file: BinaryIO, name: str, opened: liffile.LifFile, scene: int) -> VolumeReader:
    if opened.type not in {liffile.LifFileType.LIF, liffile.LifFileType.LOF}:
        raise unsupported(name, f"a Leica {opened.type.name}", "Convert the LIF or LOF beside it.")
    every = list(opened.images)
    images = [image for image in every if isinstance(image, liffile.LifImage)]
    if scene >= len(images):
        if not images:
            raise unsupported(name, "no image but lifetimes (FLIM)", "Export it from LAS X.")
        raise no_such_image(name, scene, len(images))
    image = images[scene]
    described = _Description.of(image.xml_element)
    try:
        layout = _layout_of(image, described, name)
    except UnsupportedFormatError as error:
        if len(images) == 1:
            raise
        what = f"{error.values['feature']} in its image “{image.path}”"
        raise unsupported(name, what, "Name the images to convert in `scenes`.") from error
    is_rgb = "s" in layout.axes
    left_out = len(every) - len(images)
    info = ImageInfo(
        reader="lif",
        size_y=layout.size("y"),
        size_x=layout.size("x"),
        pixels=PixelFormat(layout.dtype.name, "rgb" if is_rgb else "grey", 3 if is_rgb else 1),
        voxel_size_nm=PartialVoxelSize(*(described.step_nm(axis) for axis in "XYZ")),
        voxel_size_source="Leica dimensions",
        channels=() if is_rgb else described.channels(),
        is_time_declared=True,
        is_z_declared=True,
        notes=(f"{left_out} lifetime images (FLIM) left out",) if left_out else (),
        scenes=tuple(found.path for found in images) if len(images) > 1 else (),
        scene=scene,
    )
    return VolumeReader(PlainBytes(file, name), layout, info)


@dataclass(frozen=True, slots=True)
class _Description:
    """What the XML says of the dimensions and channels of an image.

    Attributes
    ----------
    dimensions : mapping of str to (attributes)
        By the letter of the axis.
    channel_tags : tuple of mapping
        In the order of their bytes.
    dyes : tuple of str
    """

    dimensions: Mapping[str, Mapping[str, str]]
    channel_tags: tuple[Mapping[str, str], ...]
    dyes: tuple[str, ...]

    @classmethod
    def of(cls, element: Element) -> "_Description":
        """Read the description of one image."""
        stated = "./Data/Image/ImageDescription/"
        dimensions = element.findall(f"{stated}Dimensions/DimensionDescription")
        channels = sorted(
            element.findall(f"{stated}Channels/ChannelDescription"),
            key=lambda channel: int(channel.attrib["BytesInc"]),
        )
        return cls(
            {
                _DIM_IDS[found.attrib["DimID"]]: found.attrib
                for found in dimensions
                if found.attrib["DimID"] in _DIM_IDS
            },
            tuple(channel.attrib for channel in channels),
            tuple(_dye_of(channel) for channel in channels),
        )

    def step_nm(self, axis: str) -> float | None:
        """Return the distance between two elements along an axis, if it is stated.

        A step is negative where the stage moves down.
        """
        found = self.dimensions.get(axis)
        if found is None or int(found["NumberOfElements"]) < 2:
            return None
        step = abs(float(found["Length"])) / (int(found["NumberOfElements"]) - 1)
        return length_nm(step, found["Unit"])

    def channels(self) -> tuple[Channel, ...]:
        """Return names and colours; without a dye a channel is called by its colour."""
        tables = [channel.get("LUTName", "") for channel in self.channel_tags]
        names = [dye or table for dye, table in zip(self.dyes, tables, strict=True)]
        is_clear = len(set(names)) == len(names)
        return tuple(
            Channel(name if is_clear else "", _COLOURS.get(table.strip().lower()))
            for name, table in zip(names, tables, strict=True)
        )


def _dye_of(channel: Element) -> str:
    for found in channel.findall("./ChannelProperty"):
        if found.findtext("Key") == "DyeName":
            return (found.findtext("Value") or "").strip()
    return ""


def _layout_of(image: Any, described: _Description, name: str) -> ArrayLayout:
    """Return where the array of an image lies, its axes by name, none of them invented."""
    sizes = {axis: int(size) for axis, size in image.sizes.items()}
    for axis, size in sizes.items():
        if axis not in _AXES and size > 1:
            what = _AXIS_WORDS.get(axis, f"an axis {axis}")
            raise unsupported(name, f"{what} ({size} of them)", "Export it as OME-TIFF from LAS X.")
    kept = {axis: size for axis, size in sizes.items() if axis in _AXES}
    dtype = np.dtype(image.dtype)
    picked: tuple[int, ...] = ()
    letters = "".join(_AXES[axis] for axis in kept)
    if "s" in letters:
        letters, picked = _colours_of(letters, kept["S"], described, name)
    for axis in "xy":
        if axis not in letters:  # a line, or a section along z: one row of pixels, or one column
            letters, kept = axis + letters, {axis: 1, **kept}
    layout = ArrayLayout(image.memory_block.offset, dtype, letters, tuple(kept.values()), picked)
    _check_steps(layout, described, name)
    block_bytes = int(image.memory_block.size)
    if min(layout.shape) < 1 or layout.array_bytes > block_bytes:
        shown = " x ".join(str(size) for size in layout.shape)
        why = f"{shown} values are declared, and {block_bytes:,} bytes are there"
        raise damaged_header(name, why)
    return layout


def _colours_of(
    letters: str, count: int, described: _Description, name: str
) -> tuple[str, tuple[int, ...]]:
    """Tell colours from channels that are stored pixel by pixel; return axes and samples picked."""
    tags = tuple(channel.get("ChannelTag", "") for channel in described.channel_tags)
    if sorted(tags) == list(_RGB_TAGS) and count == 3:
        picked = tuple(tags.index(tag) for tag in _RGB_TAGS)
        return letters, () if picked == (0, 1, 2) else picked
    if "c" in letters:
        raise unsupported(name, "channels on two levels", "Export it as OME-TIFF from LAS X.")
    return letters.replace("s", "c"), ()


def _check_steps(layout: ArrayLayout, described: _Description, name: str) -> None:
    """Make sure that elements lie where their order alone says: no padding between rows."""
    for axis, found in described.dimensions.items():
        stated, size = int(found["BytesInc"]), int(found["NumberOfElements"])
        if size > 1 and stated != layout.strides[_AXES[axis]]:
            what = f"rows with bytes between them ({axis} every {stated:,} bytes)"
            raise unsupported(name, what, "Export it as OME-TIFF from LAS X.")
    declared = math.prod(int(found["NumberOfElements"]) for found in described.dimensions.values())
    channels = max(1, len(described.channel_tags))
    if declared * channels != math.prod(layout.shape):
        raise unsupported(name, "axes of unknown meaning", "Export it as OME-TIFF from LAS X.")
