"""SerialEM's texts beside images, `.mdoc` and `.idoc`: what is told of all, and of each section.

Source: SerialEM's help on its file formats (autodoc: `key = value`, `[kind = name]`). Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stackwatch.readers.scale import number_of

_HEAD: Final = re.compile(r"\[\s*(\w+)\s*=\s*(.*?)\s*\]")
_PAIR: Final = re.compile(r"(\w+)\s*=\s*(.*?)\s*")
_IMAGES: Final = frozenset({"ZValue", "Image"})

Words = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Autodoc:
    """An autodoc.

    Attributes
    ----------
    told : mapping
        What is said before any section.
    images : tuple of (str, mapping)
        Of each image its name or number, and what is said of it.
    """

    told: Words
    images: tuple[tuple[str, Words], ...]

    def value(self, key: str, words: Words) -> str:
        """Return what is said of an image, else of all."""
        return words.get(key, self.told.get(key, ""))

    @property
    def spacings_angstrom(self) -> tuple[float, ...]:
        """Every pixel spacing that is stated, the first first."""
        texts = [self.told.get("PixelSpacing")]
        texts += [words.get("PixelSpacing") for _, words in self.images]
        found = [number_of(text) for text in texts]
        return tuple(dict.fromkeys(one for one in found if one is not None and one > 0))

    @property
    def size_xy(self) -> tuple[int, int] | None:
        """The size that is stated for all images."""
        parts = self.told.get("ImageSize", "").split()
        if len(parts) != 2 or not all(part.isdigit() for part in parts):
            return None
        return int(parts[0]), int(parts[1])

    @property
    def most_pieces(self) -> int:
        """How many pieces of a montage share a section, 1 where there is no montage."""
        pieces: dict[str, int] = {}
        for name, words in self.images:
            parts = words.get("PieceCoordinates", "").split()
            section = parts[2] if len(parts) == 3 else name
            pieces[section] = pieces.get(section, 0) + 1
        return max(pieces.values(), default=1)

    @property
    def tilts(self) -> tuple[float, ...]:
        """The tilt of each image that states one, in degrees."""
        found = [number_of(words.get("TiltAngle")) for _, words in self.images]
        return tuple(one for one in found if one is not None)


def parse_autodoc(text: str) -> Autodoc:
    r"""Read an autodoc; lines that are none of it are passed over.

    Examples
    --------
    >>> doc = parse_autodoc("PixelSpacing = 5\n[T = a title]\n[ZValue = 0]\nTiltAngle = -60\n")
    >>> doc.told, doc.images
    ({'PixelSpacing': '5'}, (('0', {'TiltAngle': '-60'}),))
    """
    told: dict[str, str] = {}
    images: list[tuple[str, dict[str, str]]] = []
    words = told
    for line in text.splitlines():
        head = _HEAD.fullmatch(line.strip())
        if head is not None and head[1] == "T":
            continue  # a title
        if head is not None:
            words = {}
            if head[1] in _IMAGES:
                images.append((head[2], words))
            continue
        pair = _PAIR.fullmatch(line.strip())
        if pair is not None:
            words.setdefault(pair[1], pair[2])
    return Autodoc(told, tuple(images))
