"""The tags of Gatan DigitalMicrograph files, versions 3 and 4: a tree of groups and values.

Numbers of the structure are big-endian; values are in the order a flag at the beginning names.
Lengths take 4 bytes in version 3 and 8 in version 4. Arrays are not read but passed over, with
their place remembered.

Source: descriptions of the format by G. Jefferis (DM3) and by the users of DM4; real files.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from stackwatch.errors import CorruptSliceError
from stackwatch.readers.damage import damaged_header, unsupported
from stackwatch.readers.positional import PositionalFile

_GROUP, _VALUE = 20, 21
_STRUCT, _STRING, _ARRAY = 15, 18, 20
_SCALARS: Final = {
    2: "h", 3: "i", 4: "H", 5: "I", 6: "f", 7: "d", 8: "?", 9: "b", 10: "B", 11: "q", 12: "Q",
}  # fmt: skip
_MOST_TAGS: Final = 1_000_000
_DEEPEST: Final = 64
_MOST_INFO: Final = 4096
_LONGEST_TEXT: Final = 4096
_BLOCK_BYTES: Final = 2**15

_KIND_AND_LENGTH: Final = struct.Struct(">BH").unpack


@dataclass(frozen=True, slots=True)
class TagArray:
    """An array in the file.

    Attributes
    ----------
    offset : int
        Of its first byte.
    item_bytes, count : int
    is_text : bool
        Whether its items may be the characters of a text (16 bits each).
    """

    offset: int
    item_bytes: int
    count: int
    is_text: bool

    @property
    def total_bytes(self) -> int:
        """Bytes of all items."""
        return self.item_bytes * self.count


TagValue = "int | float | bool | TagArray | TagGroup | None"


@dataclass(slots=True)
class TagGroup:
    """Named and nameless tags, in the order of the file."""

    tags: list[tuple[str, "int | float | bool | TagArray | TagGroup | None"]] = field(
        default_factory=list
    )

    def find(self, *names: str) -> "int | float | bool | TagArray | TagGroup | None":
        """Return the value at the end of a path of names, or None."""
        found: int | float | bool | TagArray | TagGroup | None = self
        for name in names:
            if not isinstance(found, TagGroup):
                return None
            found = next((value for key, value in found.tags if key == name), None)
        return found

    def group(self, *names: str) -> "TagGroup":
        """Return the group at the end of a path; an empty one where there is none."""
        found = self.find(*names)
        return found if isinstance(found, TagGroup) else TagGroup()

    def number(self, *names: str) -> float | None:
        """Return the number at the end of a path, or None."""
        found = self.find(*names)
        return found if isinstance(found, int | float) else None

    def iter_groups(self) -> Iterator["TagGroup"]:
        """Yield the groups directly in this one."""
        yield from (value for _, value in self.tags if isinstance(value, TagGroup))

    def numbers(self) -> tuple[float, ...]:
        """Return the numbers directly in this group."""
        return tuple(value for _, value in self.tags if isinstance(value, int | float))


@dataclass(frozen=True, slots=True)
class TagTree:
    """A whole file's tags.

    Attributes
    ----------
    version : int
        3 or 4.
    order : "<" | ">"
        Byte order of the values.
    root : TagGroup
    """

    version: int
    order: Literal["<", ">"]
    root: TagGroup


def read_tags(file: PositionalFile) -> TagTree:
    """Parse the whole tree.

    Raises
    ------
    CorruptSliceError
        Truncated or damaged; the caller passes it on.
    UnsupportedFormatError
        A version that nobody knows.
    """
    (version,) = struct.unpack(">i", file.read(0, 4))
    if version not in {3, 4}:
        raise unsupported(file.name, f"DM version {version}", "Save it as DM3, DM4 or TIFF.")
    width = 4 if version == 3 else 8
    (length,) = struct.unpack(">i" if version == 3 else ">q", file.read(4, width))
    if length + 12 + width > file.size:
        # The last bytes of a file are no tags: only its length tells that they are missing.
        file.read(file.size, length + 12 + width - file.size)
    (is_little,) = struct.unpack(">i", file.read(4 + width, 4))
    order: Literal["<", ">"] = "<" if is_little else ">"
    root = _Parser(file, width, order, 8 + width).parse_group(0)
    return TagTree(version, order, root)


def read_text(file: PositionalFile, tree: TagTree, value: object) -> str:
    """Return the text that an array of characters holds; empty for anything else."""
    if not isinstance(value, TagArray) or not value.is_text or value.count > _LONGEST_TEXT:
        return ""
    data = file.read(value.offset, value.total_bytes)
    codec = "utf-16-le" if tree.order == "<" else "utf-16-be"
    return data.decode(codec, errors="replace").strip("\0 ")


class _Parser:
    """Walks the tree; `_at` is the byte that comes next.

    A file has thousands of tags of a few bytes: they are taken from blocks of the file.
    """

    def __init__(
        self, file: PositionalFile, width: int, order: Literal["<", ">"], start: int
    ) -> None:
        self._file = file
        self._order = order
        self._width = width
        self._word = "i" if width == 4 else "q"
        self._at = start
        self._tags = 0
        self._block = b""
        self._block_start = 0
        self._number_of = struct.Struct(f">{self._word}").unpack_from

    def parse_group(self, depth: int) -> TagGroup:
        self._take(2)  # whether it is sorted, whether it is open
        count = self._number()
        group = TagGroup()
        self._tags += count
        if depth > _DEEPEST or count < 0 or self._tags > _MOST_TAGS:
            raise self._damaged(f"a group of {count:,} tags, {depth} groups deep")
        for _ in range(count):
            kind, length = _KIND_AND_LENGTH(self._take(3))
            name = self._take(length).decode("latin-1")
            if self._width == 8:
                self._take(8)  # bytes of the tag
            if kind == _GROUP:
                group.tags.append((name, self.parse_group(depth + 1)))
            elif kind == _VALUE:
                group.tags.append((name, self._parse_value()))
            else:
                raise self._damaged(f"a tag “{name}” of the kind {kind}")
        return group

    def _parse_value(self) -> int | float | bool | TagArray | None:
        if self._take(4) != b"%%%%":
            raise self._damaged("no mark before a value")
        count = self._number()
        if not 0 < count <= _MOST_INFO:
            raise self._damaged(f"a value described by {count:,} numbers")
        info = struct.unpack(f">{count}{self._word}", self._take(count * self._width))
        if count == 1 and info[0] in _SCALARS:
            letter = _SCALARS[info[0]]
            data = self._take(struct.calcsize(letter))
            (value,) = struct.unpack(self._order + letter, data)
            return value  # type: ignore[no-any-return]  # int, float or bool, as the letter says
        if info[0] == _STRING and count == 2:
            return self._pass_over(2, info[1], is_text=True)
        if info[0] == _STRUCT:
            self._pass_over(self._struct_bytes(info), 1)
            return None
        if info[0] == _ARRAY and count >= 3:
            item = info[1]
            size = self._struct_bytes(info[1:-1]) if item == _STRUCT else self._scalar_bytes(item)
            return self._pass_over(size, info[-1], is_text=item == 4)
        raise self._damaged(f"a value of the unknown type {info[0]}")

    def _struct_bytes(self, info: tuple[int, ...]) -> int:
        """Return the size of a struct: 15, length of its name, fields, (length of name, type)…."""
        fields = info[2] if len(info) > 2 else -1
        if fields < 0 or len(info) < 3 + 2 * fields:
            raise self._damaged(f"a record of {fields} fields in {len(info)} numbers")
        return sum(self._scalar_bytes(code) for code in info[4 : 3 + 2 * fields : 2])

    def _scalar_bytes(self, code: int) -> int:
        if code not in _SCALARS:
            raise self._damaged(f"an item of the unknown type {code}")
        return struct.calcsize(_SCALARS[code])

    def _pass_over(self, item_bytes: int, count: int, *, is_text: bool = False) -> TagArray:
        end = self._at + item_bytes * count
        if count < 0:
            raise self._damaged(f"an array of {count:,} items")
        if end > self._file.size:
            # `read` says it best: it names what is there and what is not.
            self._file.read(self._at, item_bytes * count)
        found = TagArray(self._at, item_bytes, count, is_text)
        self._at = end
        return found

    def _number(self) -> int:
        number: int = self._number_of(self._take(self._width))[0]
        return number

    def _take(self, count: int) -> bytes:
        start = self._at - self._block_start
        if start < 0 or start + count > len(self._block):
            length = max(count, min(_BLOCK_BYTES, self._file.size - self._at))
            self._block = self._file.read(self._at, length)
            self._block_start, start = self._at, 0
        self._at += count
        return self._block[start : start + count]

    def _damaged(self, what: str) -> CorruptSliceError:
        return damaged_header(self._file.name, f"byte {self._at:,} should hold a tag, not {what}")
