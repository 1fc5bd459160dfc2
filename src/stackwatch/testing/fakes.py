"""Listings and probes without files: what lies in a folder and what its headers tell, by word."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stackwatch.errors import StackwatchError
from stackwatch.model.acquisition import FileEntry, Listing, Refusal
from stackwatch.model.image import ImageInfo, PixelFormat

ROOT = Path("/drop/run_041")


def listing_of(
    paths: Iterable[str],
    *,
    root: Path = ROOT,
    sizes: Mapping[str, int] | None = None,
    refusals: Iterable[Refusal] = (),
    ignored: Iterable[str] = (),
    is_whole_folder: bool = True,
) -> Listing:
    """Return the listing of an acquisition that holds these files, of 100 bytes each."""
    entries = (FileEntry(path, (sizes or {}).get(path, 100), 1) for path in paths)
    return Listing(
        root=root,
        entries=tuple(sorted(entries)),
        refusals=tuple(refusals),
        ignored=tuple(ignored),
        is_whole_folder=is_whole_folder,
    )


def image_info(dtype_name: str = "uint8", **facts: Any) -> ImageInfo:
    """Return what the headers of a 60 x 40 image tell, but for the given facts."""
    pixels = facts.pop("pixels", PixelFormat(dtype_name))
    return ImageInfo(**({"reader": "tiff", "size_y": 40, "size_x": 60, "pixels": pixels} | facts))


@dataclass
class FakeProbe:
    """A probe that knows its answers.

    Attributes
    ----------
    default : ImageInfo
        For every path that `special` does not name.
    special : mapping of path to ImageInfo or StackwatchError
        An error is raised.
    asked : list of str
        Every path asked for, in order.
    """

    default: ImageInfo = field(default_factory=image_info)
    special: Mapping[str, ImageInfo | StackwatchError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, path: str) -> ImageInfo:
        """Answer for one path."""
        self.asked.append(path)
        answer = self.special.get(path, self.default)
        if isinstance(answer, StackwatchError):
            raise answer
        return answer
