"""From slices to a small picture: contrast, colours, panels, a scale bar, and few bytes.

Nothing is read here, and nothing written. Sizes are pixels of the picture if not said otherwise.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_BYTES_MAX: Final = 60_000
SEGMENT_ALPHA: Final = 0.5
FOOTER: Final = 18
"""Below the panels, for the scale bar: it never hides data."""

PICTURE_WIDTH_LEAST: Final = 96
BACKGROUND: Final = 24
INK: Final = 225
CRISP_FROM: Final = 4
"""A voxel that many pixels large is drawn as a square, not as a blur."""

_BAR_SHARE = 0.45
_UNITS = ((1e6, "mm"), (1e3, "µm"), (1.0, "nm"))
_COLOURS_TRIED = (64, 16)


@dataclass(frozen=True, slots=True)
class Shading:
    """How the values of a layer become light.

    Attributes
    ----------
    is_segmentation : bool
        The values are ids: each gets a colour of its own, 0 none.
    low, high : float
        Shown black and white. Unused for RGB.
    color : (float, float, float)
        What white becomes, 0 to 1.
    """

    is_segmentation: bool = False
    low: float = 0.0
    high: float = 255.0
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Part:
    """What one layer shows in one panel.

    Attributes
    ----------
    values : array, shape (rows, columns), or (rows, columns, 3) for RGB
    place : (int, int, int, int)
        Left, top, right and bottom within the panel, the last two exclusive.
    """

    values: NDArray[Any]
    place: tuple[int, int, int, int]
    shading: Shading


@dataclass(frozen=True, slots=True)
class Panel:
    """One slice through all layers, and where it stands in the picture."""

    left: int
    top: int
    width: int
    height: int
    parts: tuple[Part, ...]


def compose(panels: Sequence[Panel], nm_per_pixel: float) -> "Image":
    """Return the picture: panels over a footer with the scale bar.

    Parameters
    ----------
    panels : sequence of Panel
    nm_per_pixel : float
        The same along both axes and in all panels.
    """
    from PIL import Image

    width = max(PICTURE_WIDTH_LEAST, *(panel.left + panel.width for panel in panels))
    height = max(panel.top + panel.height for panel in panels)
    canvas = np.full((height + FOOTER, width, 3), BACKGROUND, np.uint8)
    for panel in panels:
        rows = slice(panel.top, panel.top + panel.height)
        canvas[rows, panel.left : panel.left + panel.width] = _paint(panel)
    is_grey = bool((canvas[..., :1] == canvas).all())
    picture = Image.fromarray(canvas[..., 0] if is_grey else canvas)
    _draw_scale_bar(picture, height, nm_per_pixel)
    return picture


def encode_png(picture: "Image") -> bytes:
    """Return the picture as a PNG of at most `PICTURE_BYTES_MAX` bytes.

    Noise is what makes it large: colours are given up first, then pixels.
    """
    from PIL import Image

    while True:
        data = _png(picture)
        for colours in _COLOURS_TRIED:
            if len(data) <= PICTURE_BYTES_MAX:
                return data
            quick = Image.Quantize.FASTOCTREE
            data = _png(picture.convert("RGB").quantize(colours, quick))
        if len(data) <= PICTURE_BYTES_MAX:
            return data
        picture = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))


def plan_scale_bar(nm_per_pixel: float, width: int) -> tuple[int, str]:
    """Return the length of the scale bar in pixels, and its label.

    The length is 1, 2 or 5 times a power of ten, the largest that takes less than half the width.

    Examples
    --------
    >>> plan_scale_bar(nm_per_pixel=11.0, width=384)
    (91, '1 µm')
    """
    most_nm = width * _BAR_SHARE * nm_per_pixel
    power = 10.0 ** math.floor(math.log10(most_nm))
    nm = max(step * power for step in (1, 2, 5) if step * power <= most_nm * (1 + 1e-9))
    size, unit = next((one for one in _UNITS if nm >= one[0]), _UNITS[-1])
    return max(1, round(nm / nm_per_pixel)), f"{nm / size:g} {unit}"


def color_segments(ids: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a colour for every id, always the same one; neighbouring ids differ much.

    Parameters
    ----------
    ids : array of any shape, integers

    Returns
    -------
    array, the same shape and (…, 3), uint8
    """
    # multiplied by 2^64 over the golden ratio, consecutive ids spread evenly over all hues
    mixed = ids.astype(np.int64).view(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)
    hue = (mixed >> np.uint64(40)).astype(np.float32) * np.float32(6 / (1 << 24))
    shift = np.array([5, 3, 1], np.float32)
    k = (hue[..., None] + shift) % 6
    light = 1 - np.clip(np.minimum(k, 4 - k), 0, 1) * np.float32(0.85)
    colors: NDArray[np.uint8] = np.rint(light * 255).astype(np.uint8)
    return colors


# ---------------------------------------------------------------- parts


def _paint(panel: Panel) -> NDArray[np.uint8]:
    """Add the light of the colour layers, then lay the segments over it."""
    light = np.zeros((panel.height, panel.width, 3), np.float32)
    has_color = any(not part.shading.is_segmentation for part in panel.parts)
    for part in sorted(panel.parts, key=lambda part: part.shading.is_segmentation):
        left, top, right, bottom = part.place
        under = light[top:bottom, left:right]
        if not part.shading.is_segmentation:
            under += _lit(part)
            continue
        ids = part.values[_nearest(part.values.shape[0], bottom - top)]
        ids = ids[:, _nearest(part.values.shape[1], right - left)]
        alpha = np.where(ids != 0, SEGMENT_ALPHA if has_color else 1.0, 0.0)[..., None]
        np.clip(under, 0, 255, out=under)
        under += (color_segments(ids) - under) * alpha.astype(np.float32)
    return np.rint(np.clip(light, 0, 255)).astype(np.uint8)


def _lit(part: Part) -> NDArray[np.float32]:
    """Return the light of a colour layer at the size it is drawn."""
    from PIL import Image

    left, top, right, bottom = part.place
    size = (right - left, bottom - top)
    rows, columns = part.values.shape[:2]
    grey = part.values if part.values.ndim == 3 else _contrast(part.values, part.shading)
    is_coarse = min(size[0] / columns, size[1] / rows) >= CRISP_FROM
    how = Image.Resampling.NEAREST if is_coarse else Image.Resampling.BILINEAR
    drawn = np.asarray(Image.fromarray(grey).resize(size, how), np.float32)
    if drawn.ndim == 3:
        return drawn
    return drawn[..., None] * np.array(part.shading.color, np.float32)


def _contrast(values: NDArray[Any], shading: Shading) -> NDArray[np.uint8]:
    span = shading.high - shading.low
    if not span > 0:
        return (values > shading.high).astype(np.uint8) * np.uint8(255)
    with np.errstate(over="ignore", invalid="ignore"):  # infinities, and what becomes one
        shown = np.nan_to_num((values.astype(np.float64) - shading.low) / span, nan=0.0)
    return np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)


def _nearest(voxels: int, pixels: int) -> NDArray[np.intp]:
    """Return which voxel each pixel shows."""
    return ((np.arange(pixels) + 0.5) * voxels / pixels).astype(np.intp)


def _draw_scale_bar(picture: "Image", top: int, nm_per_pixel: float) -> None:
    from PIL import ImageDraw, ImageFont

    length, label = plan_scale_bar(nm_per_pixel, picture.width)
    ink = INK if picture.mode == "L" else (INK, INK, INK)
    draw = ImageDraw.Draw(picture)
    middle = top + FOOTER // 2
    draw.rectangle((2, middle - 1, 1 + length, middle + 1), fill=ink)
    font = ImageFont.load_default()  # comes with Pillow, not from the system; it has no µ
    number, _, unit = label.partition("µ")
    left, low = length + 8, middle + 4
    draw.text((left, low), number + "u" * bool(unit) + unit, fill=ink, font=font, anchor="ls")
    if unit:  # so the stem of the µ is drawn below a u
        stem = left + round(font.getlength(number)) + 1
        draw.line((stem, low, stem, low + 2), fill=ink)


def _png(picture: "Image") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
