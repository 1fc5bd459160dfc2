"""Where the planes of a TIFF lie among its pages, and what makes sure that no page is passed over.

Values and checks that all planners of `readers.axes` share.
"""

from dataclasses import dataclass
from itertools import product
from typing import Final, Literal

from stackwatch.errors import AmbiguousLayoutError, MixedSlicesError
from stackwatch.model.acquisition import show_path
from stackwatch.readers.pages import PageFormat, is_scaled_copy

MOST_PLANES: Final = 10_000_000
"""In one file; a header that declares more is damaged."""

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
        return self._places(is_here=True)

    @property
    def absent_tcz(self) -> tuple[tuple[int, int, int], ...]:
        """Return t, c, z of each plane that does not."""
        return self._places(is_here=False)

    def _places(self, *, is_here: bool) -> tuple[tuple[int, int, int], ...]:
        every = product(range(self.size_t), range(self.size_c), range(self.size_z))
        pairs = zip(every, self.pages, strict=True)
        return tuple(place for place, page in pairs if (page != NOT_HERE) is is_here)

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


def check_others(
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
    return left_out(len(others), "thumbnail or coarser pyramid level")


def check_alike(row: PageRow, pages: list[int]) -> None:
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


def left_out(count: int, what: str) -> tuple[str, ...]:
    """Return what is to be said of pages that are not read, if there are any."""
    return (f"{count} {what}{'s' if count > 1 else ''} left out",) if count else ()
