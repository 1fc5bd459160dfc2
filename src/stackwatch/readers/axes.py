"""Which page of a TIFF is which plane: OME-XML, ImageJ, tifffile's shape, or pages in a row. Pure.

Whoever declares a shape is held to it: with fewer pages than declared the file is incomplete, more
are a question for people. Nothing is ever cut to the first image.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from stackwatch.errors import (
    AmbiguousLayoutError,
    IncompleteAcquisitionError,
    LimitExceededError,
    UnsupportedFormatError,
)
from stackwatch.model.acquisition import show_path
from stackwatch.readers.ome import OmeImage
from stackwatch.readers.pages import is_scaled_copy
from stackwatch.readers.plane_map import (
    MOST_PLANES,
    NOT_HERE,
    PageRow,
    PlaneMap,
    check_alike,
    check_others,
    left_out,
)

_NAME_AXES = "Save it as OME-TIFF, or as one stack for each channel."


def plan_ome_planes(row: PageRow, image: OmeImage) -> PlaneMap:
    """Place the planes of an OME-TIFF."""
    missing = sum(plane is None for plane in image.planes)
    if missing:
        raise _fewer(row.name, "OME-XML", len(image.planes), len(image.planes) - missing)
    pages = tuple(
        plane.page if plane is not None and plane.file == image.own else NOT_HERE
        for plane in image.planes
    )
    last = max(pages, default=NOT_HERE)
    if last >= len(row.formats):
        raise _fewer(row.name, "OME-XML", last + 1, len(row.formats))
    used = {page for page in pages if page != NOT_HERE}
    first = row.formats[min(used, default=0)]
    samples = first.samples if first.pixels.kind == "grey" else 1
    if samples > 1 and image.samples_per_channel == samples:
        raise UnsupportedFormatError(
            f"“{show_path(row.name)}” keeps {samples} grey samples in each pixel of an OME-TIFF, "
            "which stackwatch cannot read. Save each channel as planes of its own.",
            hint="Save each channel as planes of its own.",
            path=show_path(row.name),
        )
    notes = image.notes + check_others(row, used, "OME-XML describes", image.other_pages)
    check_alike(row, sorted(used))
    return PlaneMap(
        image.size_t,
        image.size_c,
        image.size_z,
        pages,
        is_z_declared=True,
        is_time_declared=True,
        notes=notes,
    )


def plan_placed_planes(
    row: PageRow,
    size_tcz: tuple[int, int, int],
    places: Mapping[tuple[int, int, int], int],
    other_pages: frozenset[int],
) -> PlaneMap:
    """Place planes of which a table names each: those it does not name are not here.

    Parameters
    ----------
    row : PageRow
    size_tcz : (int, int, int)
    places : mapping of (t, c, z) to int
        The page of each plane that is here.
    other_pages : frozenset of int
        Pages of other images.
    """
    if math.prod(size_tcz) > MOST_PLANES:
        raise LimitExceededError(
            f"“{show_path(row.name)}” declares {math.prod(size_tcz):,} planes: its summary is "
            "damaged. Copy the file again.",
            hint="Copy the file again.",
            path=show_path(row.name),
        )
    size_t, size_c, size_z = size_tcz
    every = product(range(size_t), range(size_c), range(size_z))
    pages = tuple(places.get(place, NOT_HERE) for place in every)
    notes = check_others(row, set(places.values()), "a table names", other_pages)
    check_alike(row, sorted(places.values()))
    return PlaneMap(*size_tcz, pages, is_z_declared=True, is_time_declared=True, notes=notes)


def parse_imagej(description: str) -> dict[str, str]:
    """Return the lines `key=value` of an ImageJ description; empty if it is none."""
    if not description.startswith("ImageJ="):
        return {}
    pairs = (line.partition("=") for line in description.splitlines())
    return {key.strip(): value.strip() for key, mark, value in pairs if mark}


def plan_imagej_planes(row: PageRow, words: Mapping[str, str], room: int) -> PlaneMap:
    """Place the planes of an ImageJ stack or hyperstack: channels fastest, then slices, frames.

    Parameters
    ----------
    room : int
        Planes that fit between the first page's pixels and the end of the file: above 4 GiB ImageJ
        writes one page and all planes behind it.
    """
    sizes = {key: _positive(words.get(key)) for key in ("channels", "slices", "frames", "images")}
    c, z, t = sizes["channels"], sizes["slices"], sizes["frames"]
    images = sizes["images"] if "images" in words else c * z * t
    if c * z * t == 1:
        z = images
    if c * z * t != images:
        raise AmbiguousLayoutError(
            f"“{show_path(row.name)}” says images={images}, but channels={c} slices={z} "
            f"frames={t}. Save it again from ImageJ with the right dimensions.",
            hint="Save it again from ImageJ with the right dimensions.",
            path=show_path(row.name),
        )
    present = row.main_pages
    is_contiguous = len(present) == 1 < images and row.formats[0].is_raw
    if is_contiguous and room < images:
        raise _fewer(row.name, "ImageJ description", images, room)
    if not is_contiguous and len(present) < images:
        raise _fewer(row.name, "ImageJ description", images, len(present))
    source = range(images) if is_contiguous else present[:images]
    pages = tuple(
        source[(at_t * z + at_z) * c + at_c]
        for at_t in range(t)
        for at_c in range(c)
        for at_z in range(z)
    )
    notes: tuple[str, ...] = ()
    if not is_contiguous:
        notes = check_others(row, set(pages), "the ImageJ description names")
        check_alike(row, sorted(pages))
    return PlaneMap(
        t,
        c,
        z,
        pages,
        form="contiguous" if is_contiguous else "pages",
        is_z_declared="slices" in words,
        is_time_declared="frames" in words,
        notes=notes,
    )


def parse_shape(description: str) -> dict[str, Any]:
    """Return the JSON a tifffile writes as description (`shape`, `axes`, `truncated`), or {}."""
    if not description.startswith("{"):
        return {}
    try:
        found = json.loads(description)
    except ValueError:
        return {}
    shape = found.get("shape") if isinstance(found, dict) else None
    is_shape = isinstance(shape, list) and all(isinstance(n, int) and n > 0 for n in shape)
    return found if is_shape else {}


def plan_shaped_planes(row: PageRow, shapes: list[dict[str, Any]], room: int) -> PlaneMap:
    """Place the planes of a file in which each appended array has its shape noted.

    Parameters
    ----------
    shapes : list of dict
        One for each array, in the order of the file (`parse_shape`).
    room : int
        As in `plan_imagej_planes`.
    """
    first = row.formats[0]
    plane_values = first.width * first.height * first.samples
    declared = sum(max(1, math.prod(shape["shape"]) // plane_values) for shape in shapes)
    present = len(row.main_pages)
    is_contiguous = len(row.formats) == 1 < declared and first.is_raw and len(shapes) == 1
    if (room if is_contiguous else present) < declared:
        raise _fewer(row.name, "shape in its description", declared, room if is_contiguous else 1)
    if is_contiguous:
        planes = PlaneMap(1, 1, declared, tuple(range(declared)), form="contiguous")
    else:
        planes = plan_page_planes(row)
    if len(shapes) > 1:
        note = f"{len(shapes)} arrays were appended one after another; they are read as one stack"
        return replace(planes, notes=(*planes.notes, note))
    return _name_axes(row, shapes[0], planes)


def _name_axes(row: PageRow, shape: dict[str, Any], planes: PlaneMap) -> PlaneMap:
    """Give the planes of one array their axes, where the description names them."""
    axes = str(shape.get("axes", "")).upper()
    sizes: list[int] = shape["shape"]
    if len(axes) != len(sizes) or planes.size_z != len(planes.pages):
        axes = ""
    outer = [(axis, size) for axis, size in zip(axes, sizes, strict=False) if axis not in "YXS"]
    if axes and math.prod(size for _, size in outer) == len(planes.pages):
        return _place_named(row, [(axis, size) for axis, size in outer if size > 1], planes)
    first = row.formats[0]
    inner = [n for n in (first.height, first.width, first.samples) if n > 1]
    unnamed = [n for n in sizes if n > 1]
    # The sizes of a page stand at the end, or its samples before them; what is left is unnamed.
    if len(unnamed) - len(inner) > 1:
        raise AmbiguousLayoutError(
            f"“{show_path(row.name)}” has the shape {sizes} and does not say which axes "
            f"are slices, channels or timepoints. {_NAME_AXES}",
            hint=_NAME_AXES,
            path=show_path(row.name),
            shape=sizes,
        )
    return planes


def _place_named(row: PageRow, outer: list[tuple[str, int]], planes: PlaneMap) -> PlaneMap:
    names = [axis for axis, _ in outer]
    unknown = [axis for axis in names if axis not in "TCZ"]
    if len(outer) == 1 and unknown:
        return planes  # a single axis of an unknown name (I, Q) is z
    if unknown or len(set(names)) < len(names):
        raise AmbiguousLayoutError(
            f"“{show_path(row.name)}” has the axes {''.join(names)}; stackwatch knows T, C and Z. "
            f"{_NAME_AXES}",
            hint=_NAME_AXES,
            path=show_path(row.name),
        )
    size = dict.fromkeys("TCZ", 1) | dict(outer)
    step = {"T": 0, "C": 0, "Z": 0}
    stride = 1
    for axis, extent in reversed(outer):
        step[axis] = stride
        stride *= extent
    pages = tuple(
        planes.pages[t * step["T"] + c * step["C"] + z * step["Z"]]
        for t in range(size["T"])
        for c in range(size["C"])
        for z in range(size["Z"])
    )
    return replace(
        planes,
        size_t=size["T"],
        size_c=size["C"],
        size_z=size["Z"],
        pages=pages,
        is_z_declared="Z" in names,
        is_time_declared="T" in names,
    )


def plan_page_planes(row: PageRow) -> PlaneMap:
    """Take the pages one after another as slices: the plain multi-page TIFF."""
    present = row.main_pages
    if not present:
        raise UnsupportedFormatError(
            f"“{show_path(row.name)}” holds only reduced copies or masks, no full image.",
            path=show_path(row.name),
        )
    levels = _flat_pyramid(row, present)
    main = present[:1] if levels else present
    notes = left_out(len(row.formats) - len(present), "thumbnail or mask")
    notes += left_out(levels, "coarser pyramid level")
    check_alike(row, main)
    first = row.formats[main[0]]
    if first.pixels.kind == "grey" and first.samples > 1 and not first.pixels.has_alpha:
        return _plan_samples(row, main, notes)
    return PlaneMap(1, 1, len(main), tuple(main), notes=notes)


def _plan_samples(row: PageRow, main: list[int], notes: tuple[str, ...]) -> PlaneMap:
    """Take the unnamed samples of a single page's pixels as slices."""
    samples = row.formats[main[0]].samples
    if len(main) > 1:
        raise AmbiguousLayoutError(
            f"“{show_path(row.name)}” has {len(main)} pages of {samples} samples per pixel and "
            f"does not say what they are. {_NAME_AXES}",
            hint=_NAME_AXES,
            path=show_path(row.name),
        )
    note = f"{samples} unnamed samples per pixel are read as slices"
    return PlaneMap(1, 1, samples, tuple(main) * samples, form="samples", notes=(*notes, note))


def _flat_pyramid(row: PageRow, present: list[int]) -> int:
    """Return how many of the pages after the first are coarser copies of it: all, or none."""
    first, rest = row.formats[present[0]], [row.formats[page] for page in present[1:]]
    finer = first
    for page in rest:
        if not is_scaled_copy(page, first) or page.width > finer.width:
            return 0
        finer = page
    return len(rest)


def _fewer(name: str, who: str, declared: int, present: int) -> IncompleteAcquisitionError:
    return IncompleteAcquisitionError(
        f"The {who} of “{show_path(name)}” declares {declared:,} planes, {present:,} are there: "
        "the file was cut off, or is not written completely. Copy the file again.",
        hint="Copy the file again.",
        path=show_path(name),
        planes_declared=declared,
        planes_present=present,
    )


def _positive(text: str | None) -> int:
    try:
        return max(1, int(text or "1"))
    except ValueError:
        return 1
