"""From the pixels of a file to voxels: which treatment is right, and its application. Pure.

Decisions about odd images (alpha, palettes, inverted, 1-bit, types WEBKNOSSOS does not take) are
made once for a stack, in `plan_treatment`; `apply_treatment` runs for every slice and writes
straight into the slab.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import MixedSlicesError, UnsupportedFormatError, UnsupportedVoxelTypeError
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import PixelFormat, Treatment
from stackwatch.model.options import LayoutOptions
from stackwatch.model.voxels import (
    COLOR_DTYPES,
    SEGMENTATION_DTYPES,
    Category,
    VoxelType,
)
from stackwatch.readers.palette import is_grey_palette
from stackwatch.readers.rescale import rescale_into


class TreatmentPlan(NamedTuple):
    """What becomes of the pixels of a stack.

    Attributes
    ----------
    treatment : Treatment
    voxel_type : VoxelType
        Of each layer.
    is_split : bool
        Whether each of the three samples of a pixel becomes a layer of its own.
    """

    treatment: Treatment
    voxel_type: VoxelType
    is_split: bool


def plan_treatment(
    pixels: PixelFormat,
    palette_rgb: NDArray[Any] | None,
    category: Category,
    options: LayoutOptions,
) -> TreatmentPlan:
    """Choose how the pixels of a stack become voxels of a layer of `category`.

    Parameters
    ----------
    pixels : PixelFormat
        Of every slice.
    palette_rgb : array, shape (n, 3), uint8, or None
        Of the first slice; None goes by `pixels.has_grey_palette`, which says the same.
    category : Category
    options : LayoutOptions
        Its `alpha`, `cast` and `rescale`.

    Raises
    ------
    UnsupportedVoxelTypeError
        WEBKNOSSOS has no such layer and `cast` does not help; the caller parks the job.
    UnsupportedFormatError
        The pixels have no meaning as voxels (CMYK, inverted floats); the caller parks the job.
    """
    if pixels.kind == "cmyk":
        raise UnsupportedFormatError(
            "The images are CMYK, made for printing; there is no right way to grey or RGB values. "
            "Save the images as RGB.",
            hint="Save the images as RGB.",
        )
    dtype_name, channels, palette = _before_cast(pixels, palette_rgb, category)
    if pixels.is_inverted and np.dtype(dtype_name).kind not in "iub":
        raise UnsupportedFormatError(
            f"The images are inverted (MINISWHITE) {dtype_name}: such values have no opposite. "
            "Save them with black as zero.",
            hint="Save the images with black as zero.",
        )
    is_split = channels == 3 and dtype_name != "uint8"
    voxel_type = VoxelType(dtype_name, 1 if is_split else channels)
    cast = ""
    rescale = _rescale(pixels, category, options)
    if rescale is not None:
        cast = options.cast or "uint8"
        if cast not in COLOR_DTYPES:
            cast = _needed_cast(VoxelType(cast), 1, category, options.cast)
        is_split = channels == 3 and cast != "uint8"
        voxel_type = VoxelType(cast, 1 if is_split else channels)
    elif not voxel_type.fits(category) or (channels == 3 and category is Category.SEGMENTATION):
        cast = _needed_cast(voxel_type, channels, category, options.cast)
        is_split = channels == 3 and cast != "uint8"
        voxel_type = VoxelType(cast, 1 if is_split else channels)
    treatment = Treatment(
        orientation=pixels.orientation,
        alpha=_alpha(pixels, options),
        palette=palette,
        invert=pixels.is_inverted,
        bilevel_high=1 if category is Category.SEGMENTATION else 255,
        cast=cast,
        rescale=rescale,
    )
    return TreatmentPlan(treatment, voxel_type, is_split)


def _before_cast(
    pixels: PixelFormat, palette_rgb: NDArray[Any] | None, category: Category
) -> tuple[str, int, Any]:
    """Return dtype, channels and palette step that the pixels ask for by themselves."""
    if pixels.kind == "palette":
        if category is Category.SEGMENTATION:
            return pixels.dtype_name, 1, "indices"
        is_grey = pixels.has_grey_palette if palette_rgb is None else is_grey_palette(palette_rgb)
        if is_grey:
            return "uint8", 1, "grey"
        return "uint8", 3, "rgb"
    dtype_name = "uint8" if pixels.dtype_name == "bool" else pixels.dtype_name
    return dtype_name, 3 if pixels.kind == "rgb" else 1, "none"


def _alpha(pixels: PixelFormat, options: LayoutOptions) -> Any:
    if not pixels.has_alpha:
        return "none"
    return "drop" if options.alpha == "drop" else "opaque"


def _rescale(
    pixels: PixelFormat, category: Category, options: LayoutOptions
) -> tuple[float, float] | None:
    """Return the ends of the range to be mapped: ids, indices and bits have none."""
    is_measured = pixels.kind in {"grey", "rgb"} and np.dtype(pixels.dtype_name).kind in "iuf"
    return options.rescale if is_measured and category is Category.COLOR else None


def _needed_cast(voxel_type: VoxelType, channels: int, category: Category, cast: str | None) -> str:
    """Return the dtype to cast to, where WEBKNOSSOS does not take the pixels as they are."""
    is_rgb = channels == 3
    allowed = COLOR_DTYPES if category is Category.COLOR else SEGMENTATION_DTYPES
    shown = f"RGB {voxel_type.dtype_name}" if is_rgb else voxel_type.dtype_name
    if is_rgb and category is Category.SEGMENTATION:
        raise UnsupportedVoxelTypeError(
            "The name of the layer says segmentation, but its images are RGB. Ids are integers: "
            'save them as grey images, or set `category = "color"` for the layer.',
            hint='Set `category = "color"` for the layer, or save the ids as grey images.',
            voxel_type=shown,
            category=str(category),
        )
    if cast is not None and cast in allowed:
        return cast
    hint = f"Set `cast` to one of {', '.join(allowed)}"
    if category is Category.SEGMENTATION:
        hint += ', or `category = "color"` for the layer'
    elif voxel_type.dtype_name.startswith("float"):
        hint += "; only float32 keeps fractions"
    hint += "."
    wrong = f' `cast = "{cast}"` is none of its types.' if cast else ""
    raise UnsupportedVoxelTypeError(
        f"The images are {shown}, and WEBKNOSSOS has no {category} layer of that type."
        f"{wrong} {hint}",
        hint=hint,
        voxel_type=shown,
        category=str(category),
    )


def is_identity(pixels: PixelFormat, treatment: Treatment) -> bool:
    """Tell whether the pixels of a plane are voxels as they are."""
    has_indices = treatment.palette == "indices"
    plain = replace(
        treatment, bilevel_high=255, palette="none" if has_indices else treatment.palette
    )
    return plain == Treatment() and pixels.dtype_name != "bool" and not pixels.has_alpha


def upright(plane: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a view of a plane as it is meant to be seen.

    Source: EXIF 2.3 and TIFF 6.0, Orientation: where row 0 and column 0 of the file lie.
    """
    turned = np.swapaxes(plane, 0, 1) if orientation >= 5 else plane
    vertical = slice(None, None, -1 if orientation in {3, 4, 7, 8} else 1)
    horizontal = slice(None, None, -1 if orientation in {2, 3, 6, 7} else 1)
    return turned[vertical, horizontal]


def apply_treatment(
    plane: NDArray[Any],
    treatment: Treatment,
    palette_rgb: NDArray[Any] | None,
    outs: Sequence[NDArray[Any]],
    name: str,
) -> int:
    """Write the treated pixels of a plane into `outs`.

    Parameters
    ----------
    plane : array, shape (y, x) or (y, x, samples)
        *Already upright* (`upright`) and cut to the rows wanted; read only.
    treatment : Treatment
    palette_rgb : array, shape (n, 3), uint8, or None
        Of this slice.
    outs : sequence of arrays, shape (y, x) or (y, x, 3)
        One, or three for the three samples of a pixel.
    name : str
        For messages.

    Returns
    -------
    int
        How many values were clipped.

    Raises
    ------
    MixedSlicesError
        Alpha that is not opaque, or a palette of another kind than the stack's.
    UnsupportedVoxelTypeError
        Values that do not survive the cast.
    """
    if treatment.alpha != "none":
        plane = _without_alpha(plane, treatment, name)
    if treatment.palette in {"grey", "rgb"}:
        plane = _colours_of(plane, treatment, palette_rgb, name)
    if treatment.invert:
        plane = np.invert(plane)  # for signed values too: -1 - v mirrors their range
    if plane.dtype == np.bool_:
        plane = plane.view(np.uint8) * np.uint8(treatment.bilevel_high)
    parts = [plane] if len(outs) == 1 else [plane[..., sample] for sample in range(len(outs))]
    if treatment.rescale is not None:
        return sum(
            rescale_into(out, part, treatment.rescale, name)
            for out, part in zip(outs, parts, strict=True)
        )
    if treatment.cast:
        check_cast(plane, np.dtype(treatment.cast), name)
    for out, part in zip(outs, parts, strict=True):
        np.copyto(out, part, casting="unsafe" if treatment.cast else "no")
    return 0


def _without_alpha(plane: NDArray[Any], treatment: Treatment, name: str) -> NDArray[Any]:
    alpha = plane[..., -1]
    kind = alpha.dtype.kind
    opaque = np.iinfo(alpha.dtype).max if kind in "iu" else 1
    if treatment.alpha == "opaque" and not bool((alpha == opaque).all()):
        raise MixedSlicesError(
            f"“{show_path(name)}” has an alpha channel that is not opaque everywhere; dropping it "
            'could lose what it says. If it carries no data, set `alpha = "drop"`.',
            hint='If alpha carries no data, set `alpha = "drop"`.',
            path=show_path(name),
        )
    return plane[..., 0] if plane.shape[-1] == 2 else plane[..., :-1]


def _colours_of(
    plane: NDArray[Any], treatment: Treatment, palette_rgb: NDArray[Any] | None, name: str
) -> NDArray[Any]:
    assert palette_rgb is not None, "a palette image without a palette is refused when opened"
    if treatment.palette == "rgb":
        colours: NDArray[Any] = palette_rgb[plane]
        return colours
    if not is_grey_palette(palette_rgb):
        raise MixedSlicesError(
            f"The palette of “{show_path(name)}” has colours, that of the first slice only greys: "
            "the slices do not form one stack. Save all of them as grey or all as RGB.",
            hint="Save all slices as grey or all as RGB.",
            path=show_path(name),
        )
    greys: NDArray[Any] = np.ascontiguousarray(palette_rgb[:, 0])[plane]
    return greys


def check_cast(plane: NDArray[Any], dtype: np.dtype[Any], name: str) -> None:
    """Make sure that every value keeps its meaning in `dtype`.

    Integers must fit exactly. Floats may be rounded to the nearest float of `dtype`, but neither
    overflow to infinity nor, on the way to an integer, lose a fraction.

    Raises
    ------
    UnsupportedVoxelTypeError
        The caller parks the job.
    """
    if plane.size == 0 or np.can_cast(plane.dtype, dtype, "safe"):
        return
    if plane.dtype.kind == "c":
        survives = False
    elif dtype.kind == "f" and plane.dtype.kind in "iu":
        largest = 2 ** (np.finfo(dtype).nmant + 1)  # the last integer before gaps open
        survives = bool(plane.min() >= -largest and plane.max() <= largest)
    elif dtype.kind == "f":
        finite = plane[np.isfinite(plane)]
        limit = np.finfo(dtype).max
        survives = finite.size == 0 or bool(abs(finite).max() <= limit)
    else:
        limits = np.iinfo(dtype)
        # NaN compares false, so it fails here.
        survives = bool(plane.min() >= limits.min and plane.max() < limits.max + 1)
        if survives and plane.dtype.kind == "f":
            survives = bool((plane == np.trunc(plane)).all())
    if not survives:
        raise UnsupportedVoxelTypeError(
            f"“{show_path(name)}” has {plane.dtype} values that {dtype} cannot hold; "
            f'`cast = "{dtype}"` would change them. Choose another `cast`.',
            hint="Choose another `cast`.",
            path=show_path(name),
            voxel_type=str(plane.dtype),
            cast=str(dtype),
        )
