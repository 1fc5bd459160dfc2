"""TIFF and BigTIFF directories: the chain of pages, tag by tag, nothing decoded.

`tifffile` decodes the pixels. The chain is walked here, because a broken chain must be an error:
a stack that silently ends early is the worst result a conversion can have.

Source: TIFF 6.0, section 2; the BigTIFF design (offsets of 8 bytes, entries of 20).
"""

import struct
from dataclasses import dataclass, field

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path
from stackwatch.readers.positional import PositionalFile

RawTag = tuple[int, int, bytes]
"""Type, count, and the value field: the value itself if it fits, else its offset."""

_TYPES = {
    1: "B", 2: "s", 3: "H", 4: "I", 5: "2I", 6: "b", 7: "B", 8: "h", 9: "i", 10: "2i",
    11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q",
}  # fmt: skip
_TYPE_BYTES = {code: struct.calcsize("=" + letters) for code, letters in _TYPES.items()}


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """Byte order (`<` or `>`), and whether offsets have 8 bytes."""

    byte_order: str
    is_big: bool


@dataclass(slots=True)
class Ifd:
    """One page's tags; values are fetched when asked for.

    Attributes
    ----------
    index : int
        Position in the chain, from 0.
    offset : int
        Where in the file the directory begins.
    """

    index: int
    header: TiffHeader
    tags: dict[int, RawTag]
    file: PositionalFile = field(repr=False)
    offset: int = 0

    def value_bytes(self, code: int) -> bytes:
        """Return a tag's value as it lies in the file; empty if there is no such tag."""
        tag = self.tags.get(code)
        if tag is None:
            return b""
        kind, count, value = tag
        size = _TYPE_BYTES.get(kind, 1) * count
        if size <= len(value):
            return value[:size]
        return self.file.read(self.pointer(code), size)

    def pointer(self, code: int) -> int:
        """Return what a tag's value field holds, read as an offset in the file."""
        form = "Q" if self.header.is_big else "I"
        return int(struct.unpack(self.header.byte_order + form, self.tags[code][2])[0])

    def ints(self, code: int) -> tuple[int, ...]:
        """Return a tag's integers; empty if there is no such tag."""
        kind, count, value = self.tags.get(code, (0, 0, b""))
        letters = _TYPES.get(kind, "")
        if letters not in {"B", "H", "I", "Q", "b", "h", "i", "q"}:
            return ()
        if _TYPE_BYTES[kind] * count > len(value):
            value = self.value_bytes(code)
        return struct.unpack_from(f"{self.header.byte_order}{count}{letters}", value)

    def int_or(self, code: int, default: int) -> int:
        """Return a tag's first integer, or `default`."""
        found = self.ints(code)
        return found[0] if found else default

    def ratio(self, code: int) -> float | None:
        """Return a rational tag as a number; None if absent or with a zero in it."""
        tag = self.tags.get(code)
        if tag is None or tag[0] not in {5, 10}:
            return None
        numerator, denominator = struct.unpack_from(
            self.header.byte_order + _TYPES[tag[0]], self.value_bytes(code)
        )
        return numerator / denominator if numerator and denominator else None

    def text(self, code: int) -> str:
        """Return a text tag, without the final zero byte; UTF-8, else Latin-1."""
        raw = self.value_bytes(code).rstrip(b"\0")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")


def read_ifds(file: PositionalFile) -> list[Ifd]:
    """Walk the whole chain of pages.

    Returns
    -------
    list of Ifd
        At least one.

    Raises
    ------
    CorruptSliceError
        The chain leads out of the file, into itself, or is empty; the caller passes it on.
    """
    header, offset = _read_header(file)
    pages: list[Ifd] = []
    seen: set[int] = set()
    while offset:
        if offset in seen or offset >= file.size:
            raise _broken_chain(file, offset, len(pages))
        seen.add(offset)
        place = offset
        tags, offset = _read_directory(file, header, offset, len(pages))
        pages.append(Ifd(len(pages), header, tags, file, place))
    if not pages:
        raise CorruptSliceError(
            f"“{show_path(file.name)}” has a TIFF header but no page: it was not written "
            "completely. Copy the file again.",
            hint="Copy the file again.",
            path=show_path(file.name),
        )
    return pages


def has_first_tag(file: PositionalFile, code: int) -> bool:
    """Tell whether the first page has a tag."""
    header, offset = _read_header(file)
    return bool(offset) and code in _read_directory(file, header, offset, 0)[0]


def _read_header(file: PositionalFile) -> tuple[TiffHeader, int]:
    head = file.read(0, 8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        raise _no_tiff(file.name, "is not a TIFF file")
    (version,) = struct.unpack(order + "H", head[2:4])
    if version == 42:
        return TiffHeader(order, is_big=False), struct.unpack(order + "I", head[4:8])[0]
    offset_bytes, zero = struct.unpack(order + "HH", head[4:8])
    if (version, offset_bytes, zero) != (43, 8, 0):
        raise _no_tiff(file.name, f"begins like a TIFF of unknown version {version}")
    return TiffHeader(order, is_big=True), struct.unpack(order + "Q", file.read(8, 8))[0]


def _no_tiff(name: str, what: str) -> UnsupportedFormatError:
    hint = "Copy the file again, or save it as TIFF."
    return UnsupportedFormatError(
        f"“{show_path(name)}” {what}. {hint}", hint=hint, path=show_path(name)
    )


def _read_directory(
    file: PositionalFile, header: TiffHeader, offset: int, index: int
) -> tuple[dict[int, RawTag], int]:
    """Return the tags of one directory and the offset of the next."""
    order = header.byte_order
    count_form, entry_form, next_form = (
        ("Q", "HHQ8s", "Q") if header.is_big else ("H", "HHI4s", "I")
    )
    count_bytes, next_bytes = struct.calcsize("=" + count_form), struct.calcsize("=" + next_form)
    entry_bytes = struct.calcsize("=" + entry_form)
    try:
        (count,) = struct.unpack(order + count_form, file.read(offset, count_bytes))
        body = file.read(offset + count_bytes, count * entry_bytes + next_bytes)
    except CorruptSliceError as error:
        raise _broken_chain(file, offset, index) from error
    entries = list(struct.iter_unpack(order + entry_form, body[:-next_bytes]))
    # A tag may be there twice: Micro-Manager writes its OME-XML, then a description for ImageJ.
    tags = {code: (kind, number, value) for code, kind, number, value in reversed(entries)}
    return tags, struct.unpack(order + next_form, body[-next_bytes:])[0]


def _broken_chain(file: PositionalFile, offset: int, pages: int) -> CorruptSliceError:
    return CorruptSliceError(
        f"The chain of pages in “{show_path(file.name)}” breaks after page {pages}: the next one "
        f"should begin at byte {offset:,} of {file.size:,}. The file is truncated or was not "
        "written completely, and slices would be missing. Copy the file again.",
        hint="Copy the file again.",
        path=show_path(file.name),
        pages_found=pages,
        offset=offset,
        bytes_present=file.size,
    )
