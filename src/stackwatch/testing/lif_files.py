"""Write Leica LIF and LOF files, from the description of the format alone, without its library."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

_DIM_IDS: Final = {"x": 1, "y": 2, "z": 3, "t": 4, "λ": 5, "m": 10}
_TAGS: Final = {"Red": 1, "Green": 2, "Blue": 3}


@dataclass(frozen=True)
class LifPicture:
    """One image of a file.

    Attributes
    ----------
    name : str
    array : array
        As it is stored, one axis for each letter.
    axes : str
        Letters of t, c, z, y, x, λ and m, slowest first; c may stand anywhere.
    steps : dict of str to float
        Metres (t: seconds) from one element to the next; 0 where nothing is said.
    tables : tuple of str
        Name of the lookup table of each channel, in the order of their bytes.
    dyes : tuple of str
    is_colour : bool
        Whether the channels are the samples of a colour.
    """

    name: str
    array: NDArray[Any]
    axes: str
    steps: dict[str, float]
    tables: tuple[str, ...] = ("Gray",)
    dyes: tuple[str, ...] = ()
    is_colour: bool = False


def write_lif(path: Path, pictures: Sequence[LifPicture], row_padding: int = 0) -> Path:
    """Write a LIF.

    Parameters
    ----------
    path : Path
    pictures : sequence of LifPicture
    row_padding : int
        Bytes that the description says lie behind each row, and do not.
    """
    elements = "".join(
        f'<Element Name={quoteattr(picture.name)} UniqueID="{number}">'
        f"{_data(picture, row_padding)}"
        f'<Memory Size="{picture.array.nbytes}" MemoryBlockID="MemBlock_{number}"/></Element>'
        for number, picture in enumerate(pictures)
    )
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="project"><Children>'
        f"{elements}</Children></Element></LMSDataContainerHeader>"
    )
    out = _text_block(xml)
    for number, picture in enumerate(pictures):
        name = f"MemBlock_{number}".encode("utf-16-le")
        out += struct.pack("<IIBQBI", 0x70, 14 + len(name), 0x2A, picture.array.nbytes, 0x2A,
                           len(name) // 2)  # fmt: skip
        out += name + _stored(picture.array)
    path.write_bytes(out)
    return path


def write_lof(path: Path, picture: LifPicture) -> Path:
    """Write a LOF: one image, its description behind the pixels."""
    xml = (
        f'<LMSDataContainerHeader Version="2"><Element Name={quoteattr(picture.name)}>'
        f'{_data(picture, 0)}<Memory Size="{picture.array.nbytes}" MemoryBlockID="MemBlock_7"/>'
        "</Element></LMSDataContainerHeader>"
    )
    out = _text_block("LMS_Object_File") + struct.pack("<BIBI", 0x2A, 1, 0x2A, 1)
    out += struct.pack("<BQ", 0x2A, picture.array.nbytes) + _stored(picture.array)
    path.write_bytes(out + _text_block(xml))
    return path


def _stored(array: NDArray[Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def _text_block(text: str) -> bytes:
    stored = text.encode("utf-16-le")
    return struct.pack("<IIBI", 0x70, 5 + len(stored), 0x2A, len(text)) + stored


def _data(picture: LifPicture, row_padding: int) -> str:
    strides = dict(zip(picture.axes, np.empty_like(picture.array).strides, strict=True))
    dtype = picture.array.dtype
    dimensions = ""
    for axis, size in zip(picture.axes, picture.array.shape, strict=True):
        if axis != "c":
            length = picture.steps.get(axis, 0.0) * (size - 1)
            dimensions += (
                f'<DimensionDescription DimID="{_DIM_IDS[axis]}" NumberOfElements="{size}" '
                f'Origin="0.0" Length="{length!r}" Unit="{"s" if axis == "t" else "m"}" '
                f'BitInc="0" BytesInc="{strides[axis] + (row_padding if axis == "y" else 0)}"/>'
            )
    channels = ""
    for number, table in enumerate(picture.tables):
        tag = _TAGS[table] if picture.is_colour else 0
        dye = picture.dyes[number] if picture.dyes else ""
        channels += (
            f'<ChannelDescription DataType="{int(dtype.kind == "f")}" ChannelTag="{tag}" '
            f'Resolution="{8 * dtype.itemsize}" NameOfMeasuredQuantity="" Min="0" Max="1" '
            f'Unit="" LUTName="{table}" IsLUTInverted="0" '
            f'BytesInc="{number * strides.get("c", 0)}" BitInc="0">'
            f"<ChannelProperty><Key>DyeName</Key><Value>{dye}</Value></ChannelProperty>"
            "</ChannelDescription>"
        )
    return (
        f"<Data><Image><ImageDescription><Channels>{channels}</Channels>"
        f"<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
    )
