"""The texts beside raw files: what they say of extents, types and voxel sizes, in which words."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar
from xml.etree import ElementTree

from stackwatch.errors import MissingMetadataError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.raw import RAW_DTYPES, RawFacts, RawOrder, is_order_of_axes
from stackwatch.readers.raw import RawWord
from stackwatch.readers.scale import length_nm, number_of

_Word = TypeVar("_Word", bound=str)

LARGEST_TEXT: Final = 2**20
_TYPE_WORDS: Final = {
    "u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64", "i1": "int8", "i2": "int16",
    "i4": "int32", "i8": "int64", "f4": "float32", "f8": "float64", "byte": "uint8",
    "uchar": "uint8", "unsignedchar": "uint8", "char": "int8", "ushort": "uint16",
    "unsignedshort": "uint16", "short": "int16", "uint": "uint32", "unsignedint": "uint32",
    "int": "int32", "float": "float32", "double": "float64", "8bitunsigned": "uint8",
    "16bitunsigned": "uint16", "16bitsigned": "int16", "32bitreal": "float32",
    "32bitunsigned": "uint32", "32bitsigned": "int32",
}  # fmt: skip
_ORDER_WORDS: Final[dict[str, RawOrder]] = {
    "little": "little", "littleendian": "little", "le": "little", "intel": "little",
    "lsb": "little", "<": "little",
    "big": "big", "bigendian": "big", "be": "big", "motorola": "big", "msb": "big", ">": "big",
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


def read_raw_description(text: str, name: str) -> RawWord:
    """Return what a text beside a raw file says.

    JSON (an object), XML (attributes and the text of elements) or lines of `key = value` or
    `key: value`. Either `shape` with `axes`, or `width`, `height` and `depth` with x fastest;
    `dtype`; `byte_order` where values have several bytes; `offset`; `voxel_size_nm`, or
    `voxel_size` with `unit`, along x, y, z. What it does not say may be said elsewhere.

    Parameters
    ----------
    text : str
    name : str
        Of the text, for messages.

    Raises
    ------
    MissingMetadataError
        It cannot be read, or a value is none; the caller parks.

    Examples
    --------
    >>> read_raw_description("width=8, height=6, depth=4, dtype=uint8", "a.info").facts.shape
    (4, 6, 8)
    """
    words = _words_of(text[:LARGEST_TEXT], name)
    axes, shape = _extents(words, name)
    dtypes = _TYPE_WORDS | {dtype: dtype for dtype in RAW_DTYPES}
    facts = RawFacts(
        shape,
        axes,
        _known(words, "dtype", dtypes, name) if "dtype" in words else "",
        _known(words, "byte_order", _ORDER_WORDS, name) if "byte_order" in words else "",
        int(_number(words["offset"], "offset", name)) if "offset" in words else None,
    )
    source = f"“{show_path(name)}”"
    return RawWord(facts, source, is_text=True, voxel_size_nm=_voxel_size(words))


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
    """Return axes and their extents, slowest first; nothing where none is said."""
    axes = re.sub(r"[\s,\[\]]", "", words.get("axes", "")).lower()
    if "shape" in words:
        numbers = re.split(r"[\s,x×\[\]()]+", words["shape"].strip(" []()"))
        shape = tuple(int(_number(text, "shape", name)) for text in numbers)
        if axes and len(axes) != len(shape):
            raise _missing("axes", f"of its {len(shape)} extents, slowest first, like “zyx”", name)
    elif words.keys() & set("xyz"):
        axes = "zyx" if "z" in words else "yx"
        shape = tuple(int(_number(words.get(axis, ""), axis, name)) for axis in axes)
    else:
        shape = ()
    is_known = not axes or is_order_of_axes(axes)
    if not is_known or (shape and (min(shape) < 1 or math.prod(shape) >= 2**62)):
        raise _missing("shape and axes", f"that can be (not {shape} along “{axes}”)", name)
    return axes, shape


def _number(text: str, what: str, name: str) -> float:
    found = number_of(text)
    if found is None or not math.isfinite(found) or found < 0 or found != int(found):
        raise _missing(what, f"as a whole number (not “{text}”)", name)
    return found


def _known(words: Mapping[str, str], what: str, table: Mapping[str, _Word], name: str) -> _Word:
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
