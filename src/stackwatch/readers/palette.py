"""Palettes: tables of colours that the pixels of an image point into."""

from typing import Any

from numpy.typing import NDArray


def is_grey_palette(palette_rgb: NDArray[Any]) -> bool:
    """Tell whether every colour of a palette is a grey."""
    return bool((palette_rgb == palette_rgb[:, :1]).all())
