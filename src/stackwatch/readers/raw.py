"""Raw files: an array without a header, described by settings or by a small text beside it.

Nothing is guessed: without extents, type, byte order and order of axes a raw file is not read, and
its size has to match to the byte.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final
from xml.etree import ElementTree

import numpy as np

from stackwatch.errors import ConflictingMetadataError, MissingMetadataError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.readers.damage import damaged_header
from stackwatch.readers.scale import length_nm, number_of
from stackwatch.readers.volume import ArrayLayout, ByteOrder, PlainBytes, VolumeReader

DESCRIPTION_SUFFIXES: Final = (".info", ".xml", ".json")
"""Of the text beside a raw file of the same stem, in the order in which they are looked for."""

RAW_DTYPES: Final = (
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64",
)  # fmt: skip

_LARGEST_TEXT: Final = 2**20
_TYPE_WORDS: Final = {
    "u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64", "i1": "int8", "i2": "int16",
    "i4": "int32", "i8": "int64", "f4": "float32", "f8": "float64", "byte": "uint8",
    "uchar": "uint8", "unsignedchar": "uint8", "char": "int8", "ushort": "uint16",
    "unsignedshort": "uint16", "short": "int16", "uint": "uint32", "unsignedint": "uint32",
    "int": "int32", "float": "float32", "double": "float64", "8bitunsigned": "uint8",
    "16bitunsigned": "uint16", "16bitsigned": "int16", "32bitreal": "float32",
    "32bitunsigned": "uint32", "32bitsigned": "int32",
}  # fmt: skip
_ORDER_WORDS: Final[dict[str, ByteOrder]] = {
    "little": "<", "littleendian": "<", "le": "<", "intel": "<", "lsb": "<", "<": "<",
    "big": ">", "bigendian": ">", "be": ">", "motorola": ">", "msb": ">", ">": ">",
}  # fmt: skip
_KEYS: Final = {
    "shape": ("shape", "dimensions", "dims", "size"),
    "axes": ("axes", "axisorder", "order"),
    "dtype": ("dtype", "datatype", "type", "pixeltype", "voxeltype"),
    "byte_order": ("byteorder", "endian", "endianness"),
    "offset": ("offset", "headerbytes", "headersize", "skip"),
    "x": ("width", "x", "nx", "sizex", "columns"),
    "y": ("height", "y", "ny", "sizey", "rows"),
    "z": ("depth", "z", "nz", "sizez", "slices"),
    "voxel_size": ("voxelsizenm", "voxelsize", "spacing"),
    "unit": ("unit", "units", "voxelunit"),
}
"""What is meant, and the words for it: lower case, without spaces, hyphens and underlines."""


@dataclass(frozen=True, slots=True)
class RawShape:
    """What a raw file does not say itself.

    Attributes
    ----------
    axes : str
        Letters of t, c, z, y, x and s (samples), slowest first; y and x are there, s is last.
    shape : tuple of int
        One extent for each axis.
    dtype_name : str
        One of `RAW_DTYPES`.
    byte_order : "<" | ">"
    offset : int
        Bytes before the first value.
    voxel_size_nm : PartialVoxelSize
    source : str
        Where this stands, for messages: `settings`, or the text's name.
    """

    axes: str
    shape: tuple[int, ...]
    dtype_name: str
    byte_order: ByteOrder = "<"
    offset: int = 0
    voxel_size_nm: PartialVoxelSize = PartialVoxelSize()
    source: str = "settings"

    @property
    def layout(self) -> ArrayLayout:
        """Return where the values lie."""
        dtype = np.dtype(self.dtype_name).newbyteorder(self.byte_order)
        return ArrayLayout(self.offset, dtype, self.axes, self.shape)


def open_raw(file: BinaryIO, name: str, shape: RawShape) -> VolumeReader:
    """Return the reader of a raw file.

    Raises
    ------
    CorruptSliceError
        The file is shorter than its description says.
    ConflictingMetadataError
        It is longer: the description is not of this file.
    UnsupportedFormatError
        Two or five and more samples per pixel.
    """
    layout = shape.layout
    source = PlainBytes(file, name)
    samples = layout.size("s")
    if samples not in {1, 3, 4}:
        raise damaged_header(name, f"{shape.source} says {samples} samples per pixel, not 1, 3, 4")
    surplus = source.size - layout.offset - layout.array_bytes
    if surplus > 0:
        raise ConflictingMetadataError(
            f"“{show_path(name)}” has {source.size:,} bytes, but {shape.source} describes "
            f"{layout.offset + layout.array_bytes:,} ({_shown(shape)}): {surplus:,} would be left "
            "out. Correct the extents, the type or the offset.",
            hint="Correct the extents, the type or the offset of the raw file.",
            path=show_path(name),
            bytes_present=source.size,
            bytes_described=layout.offset + layout.array_bytes,
        )
    info = ImageInfo(
        reader="raw",
        size_y=layout.size("y"),
        size_x=layout.size("x"),
        pixels=PixelFormat(
            shape.dtype_name, "rgb" if samples > 1 else "grey", samples, has_alpha=samples == 4
        ),
        voxel_size_nm=shape.voxel_size_nm,
        voxel_size_source=shape.source if any(shape.voxel_size_nm) else "",
        is_z_declared=layout.size("z") > 1,
        is_time_declared=layout.size("t") > 1,
    )
    return VolumeReader(source, layout, info)


def parse_raw_description(text: str, name: str) -> RawShape:
    """Return what a text beside a raw file says.

    JSON (an object), XML (attributes and the text of elements) or lines of `key = value` or
    `key: value`. Either `shape` with `axes`, or `width`, `height` and `depth` with x fastest;
    `dtype`; `byte_order` where values have several bytes; `offset`; `voxel_size_nm`, or
    `voxel_size` with `unit`, along x, y, z.

    Parameters
    ----------
    text : str
    name : str
        Of the text, for messages.

    Raises
    ------
    MissingMetadataError
        A fact is missing, or is none; the caller parks.

    Examples
    --------
    >>> parse_raw_description("width=8, height=6, depth=4, dtype=uint8", "a.info").shape
    (4, 6, 8)
    """
    words = _words_of(text[:_LARGEST_TEXT], name)
    axes, shape = _extents(words, name)
    dtype_name = _known(words, "dtype", _TYPE_WORDS | {t: t for t in RAW_DTYPES}, name)
    byte_order: ByteOrder = "<"
    if np.dtype(dtype_name).itemsize > 1:
        byte_order = _ORDER_WORDS[_known(words, "byte_order", {o: o for o in _ORDER_WORDS}, name)]
    offset = int(_number(words.get("offset", "0"), "offset", name))
    return RawShape(
        axes, shape, dtype_name, byte_order, offset, _voxel_size(words), f"“{show_path(name)}”"
    )


def _words_of(text: str, name: str) -> dict[str, str]:
    """Return the facts of a text by what they mean."""
    stripped = text.strip()
    pairs: Iterable[Sequence[Any]]
    try:
        if stripped.startswith("{"):
            found = json.loads(stripped)
            pairs = found.items()
        elif stripped.startswith("<"):
            pairs = _xml_pairs(stripped)
        else:
            parts = re.split(r"[\n;]|,(?=\s*[A-Za-z][\w \-]*[=:])", stripped)
            pairs = [
                re.split("[=:]", part, maxsplit=1) for part in parts if re.search("[=:]", part)
            ]
    except (ValueError, RecursionError, ElementTree.ParseError) as error:
        raise MissingMetadataError(
            f"“{show_path(name)}” cannot be read ({error}); it should describe the raw file "
            "beside it. Correct it.",
            hint="Correct it, or describe the raw file in the settings.",
            path=show_path(name),
        ) from error
    meanings = {word: meaning for meaning, words in _KEYS.items() for word in words}
    words = {}
    for key, value in pairs:
        plain = re.sub(r"[\s_\-]", "", str(key)).lower()
        if plain in meanings:
            words[meanings[plain]] = _flat(value)
            if plain == "voxelsizenm":
                words["unit"] = "nm"
    return words


def _xml_pairs(text: str) -> list[tuple[str, str]]:
    if "<!" in text:
        raise ValueError("document types and entities are not read")
    root = ElementTree.fromstring(text)  # noqa: S314 - no entities: refused above
    pairs: list[tuple[str, str]] = []
    for element in root.iter():
        pairs += list(element.attrib.items())
        pairs.append((element.tag.rpartition("}")[2], (element.text or "").strip()))
    return [(key, value) for key, value in pairs if value]


def _flat(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value).strip()


def _extents(words: Mapping[str, str], name: str) -> tuple[str, tuple[int, ...]]:
    """Return axes and their extents, slowest first."""
    if "shape" in words:
        numbers = re.split(r"[\s,x×\[\]()]+", words["shape"].strip(" []()"))
        shape = tuple(int(_number(text, "shape", name)) for text in numbers)
        axes = re.sub(r"[\s,\[\]]", "", words.get("axes", "")).lower()
        if len(axes) != len(shape):
            raise _missing("axes", f"of its {len(shape)} extents, slowest first, like “zyx”", name)
    else:
        axes = "zyx" if "z" in words else "yx"
        shape = tuple(int(_number(words.get(axis, ""), axis, name)) for axis in axes)
    is_known = set("yx") <= set(axes) <= set("tczyxs") and len(set(axes)) == len(axes)
    if not is_known or "s" in axes[:-1] or min(shape) < 1 or math.prod(shape) >= 2**62:
        raise _missing("shape and axes", f"that can be (not {shape} along “{axes}”)", name)
    return axes, shape


def _number(text: str, what: str, name: str) -> float:
    found = number_of(text)
    if found is None or not math.isfinite(found) or found < 0 or found != int(found):
        raise _missing(what, f"as a whole number (not “{text}”)", name)
    return found


def _known(words: Mapping[str, str], what: str, table: Mapping[str, str], name: str) -> str:
    plain = re.sub(r"[\s_\-]", "", words.get(what, "")).lower()
    if plain not in table:
        raise _missing(what, f"(not “{words.get(what, '')}”)", name)
    return table[plain]


def _voxel_size(words: Mapping[str, str]) -> PartialVoxelSize:
    numbers = [number_of(text) for text in re.split(r"[\s,x×]+", words.get("voxel_size", ""))]
    if len(numbers) != 3:
        return PartialVoxelSize()
    return PartialVoxelSize(*(length_nm(number, words.get("unit", "")) for number in numbers))


def _missing(what: str, how: str, name: str) -> MissingMetadataError:
    return MissingMetadataError(
        f"“{show_path(name)}” does not say the {what} of the raw file {how}. Add it: nothing in a "
        "raw file tells.",
        hint=f"Add the {what} of the raw file.",
        path=show_path(name),
        missing=what,
    )


def _shown(shape: RawShape) -> str:
    sizes = " x ".join(f"{size:,}" for size in shape.shape)
    return f"{sizes} values ({shape.axes}) of {shape.dtype_name} from byte {shape.offset:,}"
