"""What people say of raw files, which say nothing themselves. Standard library only."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

RAW_SUFFIX: Final = ".raw"
DESCRIPTION_SUFFIXES: Final = (".info", ".xml", ".json")
"""Of the text beside a raw file of the same stem, in the order in which they are looked for."""

RAW_DTYPES: Final = (
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64",
)  # fmt: skip
RAW_ORDERS: Final = ("little", "big")
RAW_AXES: Final = "tczyxs"
"""Time, channel, z, y, x, and the samples of a pixel."""

_USUAL_AXES: Final = {2: "yx", 3: "zyx"}
_TOP_VALUES: Final = 2**62

RawOrder = Literal["", "little", "big"]


@dataclass(frozen=True, slots=True)
class RawFacts:
    """What one place says of raw files, as far as it does.

    Attributes
    ----------
    shape : tuple of int
        Extents, slowest axis first; empty: not said.
    axes : str
        A letter of `RAW_AXES` for each extent; y and x are there, s is last. Empty: not said,
        and with two or three extents yx or zyx.
    dtype : str
        One of `RAW_DTYPES`; empty: not said.
    byte_order : RawOrder
    offset : int or None
        Bytes before the first value.
    """

    shape: tuple[int, ...] = ()
    axes: str = ""
    dtype: str = ""
    byte_order: RawOrder = ""
    offset: int | None = None

    @property
    def mistake(self) -> str:
        """What cannot be meant, going on from the name of their section; else empty."""
        shape, axes = self.shape, self.axes
        usual = not shape or bool(axes) or len(shape) in _USUAL_AXES
        checks = (
            (not shape or (min(shape) >= 1 and math.prod(shape) < _TOP_VALUES),
             "shape must be whole numbers of at least 1, slowest axis first"),
            (not axes or is_order_of_axes(axes),
             f"axes must be some of the letters {RAW_AXES}, each once, x and y among them"),
            (usual, "axes must be given with such a shape: a letter for each extent, like tzyx"),
            (not (shape and axes) or len(shape) == len(axes),
             f"axes must have a letter for each of the {len(shape)} extents of shape"),
            (not self.dtype or self.dtype in RAW_DTYPES,
             f"dtype must be one of {', '.join(RAW_DTYPES)}"),
            (not self.byte_order or self.byte_order in RAW_ORDERS,
             "byte_order must be little or big"),
            (self.offset is None or self.offset >= 0, "offset must be at least 0"),
        )  # fmt: skip
        return next((what for is_right, what in checks if not is_right), "")

    @property
    def order_of_axes(self) -> str:
        """The axes of the shape: as said, else the usual ones; empty without a shape."""
        return (self.axes or _USUAL_AXES.get(len(self.shape), "")) if self.shape else ""


def is_order_of_axes(axes: str) -> bool:
    """Tell whether these letters can be the axes of a raw file.

    Examples
    --------
    >>> is_order_of_axes("zyx"), is_order_of_axes("zyq"), is_order_of_axes("zsyx")
    (True, False, False)
    """
    is_known = set("yx") <= set(axes) <= set(RAW_AXES) and len(set(axes)) == len(axes)
    return is_known and "s" not in axes[:-1]


def is_raw(path: str) -> bool:
    """Tell whether a file is raw, by its name: nothing else tells."""
    return path.lower().endswith(RAW_SUFFIX)


def find_descriptions(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the texts beside each raw file that have its stem, in the order they count.

    Examples
    --------
    >>> find_descriptions(["a/v.raw", "a/v.json", "a/v.info", "v.json", "b.RAW"])
    {'a/v.raw': ('a/v.info', 'a/v.json'), 'b.RAW': ()}
    """
    texts: dict[str, dict[str, str]] = {}
    raws = []
    for path in paths:
        stem, dot, suffix = path.rpartition(".")
        if is_raw(path):
            raws.append((path, stem))
        elif dot + suffix.lower() in DESCRIPTION_SUFFIXES:
            texts.setdefault(stem, {}).setdefault(dot + suffix.lower(), path)
    return {
        path: tuple(
            texts[stem][suffix] for suffix in DESCRIPTION_SUFFIXES if suffix in texts.get(stem, {})
        )
        for path, stem in raws
    }


def names_of_descriptions(name: str) -> tuple[str, ...]:
    """Return what a text beside a raw file may be called; nothing for any other file.

    Examples
    --------
    >>> names_of_descriptions("v.raw"), names_of_descriptions("v.tif")
    (('v.info', 'v.xml', 'v.json'), ())
    """
    stem = name.rpartition(".")[0]
    return tuple(stem + suffix for suffix in DESCRIPTION_SUFFIXES) if is_raw(name) else ()
