"""Raw files: an array without a header, described by settings or by a small text beside it.

Nothing is guessed: without extents, type, byte order and order of axes a raw file is not read, and
its size has to match to the byte.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar
from xml.etree import ElementTree

import numpy as np

from stackwatch.errors import (
    ConflictingMetadataError,
    CorruptSliceError,
    MissingMetadataError,
    StackwatchError,
)
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.model.raw import RAW_DTYPES, RawFacts, RawOrder, is_order_of_axes
from stackwatch.readers.damage import damaged_header
from stackwatch.readers.scale import length_nm, number_of
from stackwatch.readers.volume import ArrayLayout, ByteOrder, PlainBytes, VolumeReader

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
        Where this stands, for messages.
    voxel_size_source : str
    """

    axes: str
    shape: tuple[int, ...]
    dtype_name: str
    byte_order: ByteOrder = "<"
    offset: int = 0
    voxel_size_nm: PartialVoxelSize = PartialVoxelSize()
    source: str = "the settings"
    voxel_size_source: str = ""

    @property
    def words(self) -> str:
        """For people: what the file is taken for."""
        sizes = " x ".join(f"{size:,}" for size in self.shape)
        order = {"<": ", little-endian", ">": ", big-endian"}[self.byte_order]
        known = order if np.dtype(self.dtype_name).itemsize > 1 else ""
        return f"{sizes} ({self.axes}) {self.dtype_name}{known} from byte {self.offset:,}"

    @property
    def layout(self) -> ArrayLayout:
        """Return where the values lie."""
        dtype = np.dtype(self.dtype_name).newbyteorder(self.byte_order)
        return ArrayLayout(self.offset, dtype, self.axes, self.shape)


class RawWord(NamedTuple):
    """What one place says of raw files.

    Attributes
    ----------
    facts : RawFacts
    source : str
        For messages: “the settings”, the name of a text.
    is_text : bool
        Whether it is a text beside the file, in which `shape` alone does not tell its axes.
    voxel_size_nm : PartialVoxelSize
    """

    facts: RawFacts
    source: str
    is_text: bool = False
    voxel_size_nm: PartialVoxelSize = PartialVoxelSize()


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
    if source.size != layout.offset + layout.array_bytes:
        raise _other_size(name, source.size, shape)
    info = ImageInfo(
        reader="raw",
        size_y=layout.size("y"),
        size_x=layout.size("x"),
        pixels=PixelFormat(
            shape.dtype_name, "rgb" if samples > 1 else "grey", samples, has_alpha=samples == 4
        ),
        voxel_size_nm=shape.voxel_size_nm,
        voxel_size_source=shape.voxel_size_source,
        is_z_declared=layout.size("z") > 1,
        is_time_declared=layout.size("t") > 1,
    )
    return VolumeReader(source, layout, info)


def open_undescribed(file: BinaryIO, name: str) -> VolumeReader:
    """Refuse a raw file of which nobody was asked what it is.

    Raises
    ------
    MissingMetadataError
        Always.
    """
    del file
    raise _unsaid(name, "shape", "its extents")


def _other_size(name: str, found: int, shape: RawShape) -> StackwatchError:
    layout = shape.layout
    described = layout.offset + layout.array_bytes
    hint = "Correct the extents, the type or the offset of the raw file, or copy it again."
    kind = ConflictingMetadataError if found > described else CorruptSliceError
    left = "left out" if found > described else "missing"
    return kind(
        f"“{show_path(name)}” has {found:,} bytes, but by {shape.source} it should have {described:,} "
        f"({shape.words}): {abs(found - described):,} would be {left}. {hint}",
        hint=hint,
        path=show_path(name),
        bytes_present=found,
        bytes_described=described,
    )


def complete_raw(said: Sequence[RawWord], name: str) -> RawShape:
    """Return what a raw file is, of what several places say.

    Each value is taken from the first that says it; axes never from one whose own shape was
    overruled.

    Parameters
    ----------
    said : sequence of RawWord
        The strongest first.
    name : str
        Of the raw file, for messages.

    Raises
    ------
    MissingMetadataError
        A fact is missing; the caller parks.
    ConflictingMetadataError
        There are not as many axes as extents.
    """
    at_shape = _first(said, "shape")
    if at_shape is None:
        raise _unsaid(name, "shape", "its extents")
    axes, at_axes = _axes_for(said, at_shape, name)
    at_dtype = _first(said, "dtype")
    if at_dtype is None:
        raise _unsaid(name, "dtype", "the type of its values")
    at_order = _first(said, "byte_order")
    if at_order is None and np.dtype(at_dtype.facts.dtype).itemsize > 1:
        raise _unsaid(name, "byte_order", "the order of the bytes of a value")
    at_offset = next((one for one in said if one.facts.offset is not None), None)
    sized = next((one for one in said if any(one.voxel_size_nm)), None)
    used = (at_shape, at_axes, at_dtype, at_order, at_offset)
    sources = dict.fromkeys(one.source for one in said if one in used)
    return RawShape(
        axes,
        at_shape.facts.shape,
        at_dtype.facts.dtype,
        ">" if at_order is not None and at_order.facts.byte_order == "big" else "<",
        at_offset.facts.offset or 0 if at_offset is not None else 0,
        sized.voxel_size_nm if sized is not None else PartialVoxelSize(),
        " and ".join(sources),
        sized.source if sized is not None else "",
    )


def _first(said: Sequence[RawWord], fact: str) -> RawWord | None:
    return next((one for one in said if getattr(one.facts, fact)), None)


def _axes_for(said: Sequence[RawWord], at_shape: RawWord, name: str) -> tuple[str, RawWord]:
    """Return the axes of a shape, and who says them."""
    overruled = [one for one in said if one.facts.shape and one is not at_shape]
    at_axes = _first([one for one in said if one not in overruled], "axes") or at_shape
    axes = at_axes.facts.axes or ("" if at_shape.is_text else at_shape.facts.order_of_axes)
    if not axes:
        raise _unsaid(name, "axes", "which axis each of its extents is")
    if len(axes) != len(at_shape.facts.shape):
        hint = "Name as many axes as extents."
        raise ConflictingMetadataError(
            f"“{show_path(name)}”: {at_shape.source} says {len(at_shape.facts.shape)} extents, "
            f"{at_axes.source} the axes “{axes}”. {hint}",
            hint=hint,
            path=show_path(name),
        )
    return axes, at_axes


def _unsaid(name: str, what: str, meaning: str) -> MissingMetadataError:
    text = show_path(PurePosixPath(name).with_suffix(".json").name)
    hint = (
        f"Set `{what}` in `[folder.raw]` or under `[raw]` in the sidecar "
        f"(`--raw-{what.replace('_', '-')}`), or in a text “{text}” beside it."
    )
    return MissingMetadataError(
        f"“{show_path(name)}” is raw, and nothing says {meaning}. It is never guessed. {hint}",
        hint=hint,
        path=show_path(name),
        missing=what,
    )


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
