"""The grammar of file names: numbers between words, and what the words say about the numbers.

Pure functions. Names are divided into *families* that share everything but their numbers. Numbers
are read in the plainest way that brings the most names into one family: as digits, and only where
the names demand it with a sign or with decimals (`z-2.0`, `z0.5`).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from stackwatch.layout.kinds import split_suffix

Number = int | Fraction
"""Decimals are kept exactly: 0.1 three times is 0.3."""


class Role(StrEnum):
    """What a number in a name counts."""

    Z = "z"
    C = "c"
    T = "t"
    TILE = "tile"
    PART = "part"
    UNKNOWN = "unknown"


ROLE_WORDS: Final[dict[Role, tuple[str, ...]]] = {
    Role.Z: ("z", "slice", "slices", "sl", "section", "sections", "plane", "zpos"),
    Role.C: ("c", "ch", "chan", "channel", "channels"),
    Role.T: ("t", "tp", "time", "timepoint", "timepoints"),
    Role.TILE: ("x", "y", "r", "row", "col", "column", "tile", "pos", "fov", "mosaic"),
    Role.PART: ("part", "pt"),
}
"""The word directly before a number, at most one separator between them, in any case of letters."""

_ROLE_OF: Final = {word: role for role, words in ROLE_WORDS.items() for word in words}
_ROW_WORDS: Final = frozenset({"r", "row"})
_DIGITS: Final = re.compile(r"(\d+)")
_STYLES: Final = (
    re.compile(r"\d+"),
    re.compile(r"\d+(?:\.\d+)?"),
    re.compile(r"(?:[-+](?!0+\.\d))?\d+"),  # the sign of -0.5 would be lost in its integer part
    re.compile(r"[-+]?\d+(?:\.\d+)?"),
)
_WORD_BEFORE: Final = re.compile(r"([A-Za-z]+)[ _\-=.]?\Z")
_CAMEL: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def natural_key(name: str) -> tuple[tuple[str, int], ...]:
    """Return a key that sorts digits by their value: `img_2` before `img_10`.

    Case of letters decides only between names that are otherwise equal.

    Examples
    --------
    >>> sorted(["img_10", "IMG_2", "img_1"], key=natural_key)
    ['img_1', 'IMG_2', 'img_10']
    """
    parts = _DIGITS.split(name)
    texts, digits = parts[::2], [*parts[1::2], "0"]
    key = [(text.casefold(), int(n)) for text, n in zip(texts, digits, strict=True)]
    return (*key, (name, 0))


@dataclass(frozen=True, slots=True)
class Field:
    """A number that differs between the names of a family.

    Attributes
    ----------
    word : str
        The word before it, in lower case; may be empty.
    role : Role
    values : tuple of Number
        One for each name of the family.
    """

    word: str
    role: Role
    values: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """Names that differ in nothing but numbers, and in their suffixes.

    Attributes
    ----------
    template : str
        The common name, `#` in the place of each number that differs.
    names : tuple of str
        In the order of their numbers.
    fields : tuple of Field
        The numbers that differ, from left to right; none for a single name.
    is_decimal, is_signed : bool
        How the numbers had to be read.
    """

    template: str
    names: tuple[str, ...]
    fields: tuple[Field, ...]
    is_decimal: bool = False
    is_signed: bool = False


def parse_families(names: Iterable[str]) -> tuple[Family, ...]:
    """Divide file names into families, the largest first.

    The result depends on the set of names alone, not on their order.

    Parameters
    ----------
    names : iterable of str
        File names without folders; repeated ones count once.

    Returns
    -------
    tuple of Family

    Examples
    --------
    >>> family, stray = parse_families(["img_z10_c1.tif", "img_z9_c1.tif", "preview.png"])
    >>> family.template, family.names, [(f.word, f.values) for f in family.fields]
    ('img_z#_c1.tif', ('img_z9_c1.tif', 'img_z10_c1.tif'), [('z', (9, 10))])
    >>> [field.values for field in parse_families(["z-1.5.tif", "z0.0.tif"])[0].fields]
    [(Fraction(-3, 2), Fraction(0, 1))]
    """
    unique = sorted(set(names), key=natural_key)
    best: tuple[Family, ...] = ()
    best_score = (-1, False)
    for style in range(len(_STYLES)):
        families = _parse_with(unique, style)
        if not families:
            continue
        score = (len(families[0].names), _is_explained(families[0]))
        if score > best_score:  # a plainer style wins a tie
            best, best_score = families, score
        if best_score == (len(unique), True):
            break
    return best


def _parse_with(names: Sequence[str], style: int) -> tuple[Family, ...]:
    groups: dict[tuple[str, ...], list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
    for name in names:
        texts, numbers = _tokenise(split_suffix(name)[0], _STYLES[style])
        groups[tuple(text.casefold() for text in texts)].append((name, numbers))
    families = [_build_family(texts, members, style) for texts, members in groups.items()]
    return tuple(sorted(families, key=lambda f: (-len(f.names), natural_key(f.names[0]))))


def _tokenise(stem: str, pattern: re.Pattern[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the texts around the numbers (always one more than numbers) and the numbers."""
    texts: list[str] = []
    numbers: list[str] = []
    end = 0
    for found in pattern.finditer(stem):
        texts.append(stem[end : found.start()])
        numbers.append(found.group())
        end = found.end()
    return (*texts, stem[end:]), tuple(numbers)


def _build_family(
    key: tuple[str, ...], members: list[tuple[str, tuple[str, ...]]], style: int
) -> Family:
    columns = list(zip(*(map(_parse_number, numbers) for _, numbers in members), strict=True))
    varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
    # members come in natural order, which a stable sort keeps among equals
    order = sorted(range(len(members)), key=lambda row: [columns[i][row] for i in varying])
    words = [_word_before(_original_text(members[0][0], style, i)) for i in range(len(columns))]
    roles = _roles([words[i] for i in varying])
    fields = [
        Field(words[i], role, tuple(columns[i][row] for row in order))
        for i, role in zip(varying, roles, strict=True)
    ]
    return Family(
        template=_template(members, key, varying, style),
        names=tuple(members[row][0] for row in order),
        fields=_without_repeated(fields),
        is_decimal=any("." in numbers[i] for _, numbers in members for i in varying),
        is_signed=style >= 2 and any(columns[i][row] < 0 for i in varying for row in order),
    )


def _without_repeated(fields: list[Field]) -> tuple[Field, ...]:
    """Drop a number that is written twice (`z001_slice001`), the one without a known word first."""
    kept: list[Field] = []
    for field in fields:
        same = next((i for i, other in enumerate(kept) if other.values == field.values), None)
        if same is None:
            kept.append(field)
        elif kept[same].role is Role.UNKNOWN:
            kept[same] = field
        elif field.role not in {Role.UNKNOWN, kept[same].role}:
            kept.append(field)  # the same number for two things that both have a meaning
    return tuple(kept)


def _parse_number(text: str) -> Number:
    return Fraction(text) if "." in text else int(text)


def _original_text(name: str, style: int, index: int) -> str:
    return _tokenise(split_suffix(name)[0], _STYLES[style])[0][index]


def _word_before(text: str) -> str:
    """Return the last word of a text, the last hump of camel case: `z` of `imgZ_`."""
    found = _WORD_BEFORE.search(text)
    if found is None:
        return "." if text == "." else ""
    return str(_CAMEL.findall(found[1])[-1]).lower()


def _roles(words: list[str]) -> list[Role]:
    """Return what each varying number counts; `c` beside a row is a column."""
    roles = [_ROLE_OF.get(word, Role.UNKNOWN) for word in words]
    if any(word in _ROW_WORDS for word in words):
        return [Role.TILE if word == "c" else role for word, role in zip(words, roles, strict=True)]
    return roles


def _is_explained(family: Family) -> bool:
    """Tell whether every varying number has a meaning of its own, and tells the names apart."""
    if len(set(zip(*(field.values for field in family.fields), strict=True))) < len(family.names):
        return len(family.names) == 1
    if len(family.fields) == 1:
        return True
    roles = [field.role for field in family.fields]
    if any(field.word == "." for field in family.fields):
        return False  # the decimals of the number before
    return len(set(roles)) == len(roles)


def _template(
    members: list[tuple[str, tuple[str, ...]]],
    key: tuple[str, ...],
    varying: list[int],
    style: int,
) -> str:
    name, numbers = members[0]
    texts, _ = _tokenise(split_suffix(name)[0], _STYLES[style])
    assert len(texts) == len(key)
    shown = ["#" if i in varying else number for i, number in enumerate(numbers)]
    stem = "".join(text + number for text, number in zip(texts, [*shown, ""], strict=True))
    suffixes = sorted({split_suffix(member)[1] for member, _ in members})
    return stem + (suffixes[0] if len(suffixes) == 1 else f"({'|'.join(suffixes)})")
