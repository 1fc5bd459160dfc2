"""Which page of a TIFF is which plane: OME-XML, ImageJ, tifffile's shape, or pages in a row. Pure.

Whoever declares a shape is held to it: with fewer pages than declared the file is incomplete, more
are a question for people. Nothing is ever cut to the first image.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from stackwatch.errors import (
    AmbiguousLayoutError,
    IncompleteAcquisitionError,
    MixedSlicesError,
    UnsupportedFormatError,
)
from stackwatch.model.acquisition import show_path
from stackwatch.readers.ome import OmeImage
from stackwatch.readers.pages import PageFormat, is_scaled_copy

_NAME_AXES = "Save it as OME-TIFF, or as one stack for each channel."

NOT_HERE = -1
"""A plane that lies in another file of the set."""


@dataclass(frozen=True, slots=True)
class PlaneMap:
    """Where each plane of an image lies.

    Attributes
    ----------
    size_t, size_c, size_z : int
    pages : tuple of int
        Page of each plane, in the order t, c, z (z fastest); NOT_HERE for other files' planes.
    form : "pages" | "contiguous" | "samples"
        Whether a plane is a page of its own, the n-th part of the one page's long data, or the
        n-th sample of the one page's pixels; n is the plane's number in `pages`' order for
        samples, and its entry in `pages` for contiguous data.
    is_z_declared, is_time_declared : bool
    notes : tuple of str
    """

    size_t: int
    size_c: int
    size_z: int
    pages: tuple[int, ...]
    form: Literal["pages", "contiguous", "samples"] = "pages"
    is_z_declared: bool = False
    is_time_declared: bool = False
    notes: tuple[str, ...] = ()

    @property
    def planes_here_tcz(self) -> tuple[tuple[int, int, int], ...]:
        """Return t, c, z of each plane that lies in this file."""
        return tuple(
            (index // (self.size_c * self.size_z), index // self.size_z % self.size_c,
             index % self.size_z)
            for index, page in enumerate(self.pages)
            if page != NOT_HERE
        )  # fmt: skip

    def page_of(self, t: int, c: int, z: int) -> int:
        """Return the entry of one plane."""
        return self.pages[(t * self.size_c + c) * self.size_z + z]


@dataclass(frozen=True, slots=True)
class PageRow:
    """A file's pages as the planners see them.

    Attributes
    ----------
    name : str
        For messages.
    formats : tuple of PageFormat
        One per page.
    subfile_types : tuple of int
        NewSubfileType per page: bit 0 marks a reduced copy, bit 2 a mask.
    """

    name: str
    formats: tuple[PageFormat, ...]
    subfile_types: tuple[int, ...]

    @property
    def main_pages(self) -> list[int]:
        """Pages that are neither reduced copies nor masks."""
        return [page for page, kind in enumerate(self.subfile_types) if not kind & 5]


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
    notes = image.notes + _check_others(row, used, "OME-XML describes", image.other_pages)
    _check_alike(row, sorted(used))
    return PlaneMap(
        image.size_t,
        image.size_c,
        image.size_z,
        pages,
        is_z_declared=True,
        is_time_declared=True,
        notes=notes,
    )


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
        notes = _check_others(row, set(pages), "the ImageJ description names")
        _check_alike(row, sorted(pages))
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
    notes = _left_out(len(row.formats) - len(present), "thumbnail or mask")
    notes += _left_out(levels, "coarser pyramid level")
    _check_alike(row, main)
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


def _check_others(
    row: PageRow, used: set[int], who: str, of_others: frozenset[int] = frozenset()
) -> tuple[str, ...]:
    """Make sure that every page beside the `used` ones is a smaller copy, and note them."""
    others = [page for page in range(len(row.formats)) if page not in used | of_others]
    first = row.formats[min(used, default=0)]
    strays = [
        page
        for page in others
        if not row.subfile_types[page] & 5 and not is_scaled_copy(row.formats[page], first)
    ]
    if strays:
        raise AmbiguousLayoutError(
            f"“{show_path(row.name)}” has {len(row.formats)} pages, but {who} {len(used)} of them; "
            f"page {strays[0] + 1} would be left out. Save the file again.",
            hint="Save the file again.",
            path=show_path(row.name),
            pages=len(row.formats),
            pages_described=len(used),
        )
    return _left_out(len(others), "thumbnail or coarser pyramid level")


def _check_alike(row: PageRow, pages: list[int]) -> None:
    """Make sure that all pages have the extent and pixels of the first."""
    first = row.formats[pages[0]] if pages else None
    for page in pages:
        other = row.formats[page]
        if other is first or first is None:
            continue
        if (other.width, other.height, other.pixels) != (first.width, first.height, first.pixels):
            raise MixedSlicesError(
                f"Page {page + 1} of “{show_path(row.name)}” is {describe(other)}, page "
                f"{pages[0] + 1} is {describe(first)}: the pages do not form one stack. "
                "Save them as files of their own.",
                hint="Save the pages as files of their own.",
                path=show_path(row.name),
                page=page + 1,
                found=describe(other),
                expected=describe(first),
            )


def describe(page: PageFormat) -> str:
    """Return a page's extent and pixels for people."""
    return f"{page.width} x {page.height} {page.pixels.dtype_name} {page.pixels.kind}"


def _left_out(count: int, what: str) -> tuple[str, ...]:
    return (f"{count} {what}{'s' if count > 1 else ''} left out",) if count else ()


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
