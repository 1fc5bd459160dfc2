"""Open an acquisition: its listing, its files, and a way to look into each of them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from stackwatch.layout.listing import list_acquisition
from stackwatch.layout.plan import plan_dataset
from stackwatch.model.acquisition import FileEntry, Listing
from stackwatch.model.image import ImageInfo
from stackwatch.model.options import ConvertOptions
from stackwatch.model.plan import DatasetPlan
from stackwatch.readers.probe import open_image, probe_image
from stackwatch.readers.source import AcquisitionFiles, FolderFiles, ZipFiles


@dataclass(frozen=True, slots=True)
class OpenAcquisition:
    """An acquisition that can be read.

    Attributes
    ----------
    listing : Listing
    files : AcquisitionFiles
    """

    listing: Listing
    files: AcquisitionFiles

    @property
    def entries(self) -> dict[str, FileEntry]:
        """Every listed file by its relative path."""
        return {entry.path: entry for entry in self.listing.entries}

    def probe(self, path: str) -> ImageInfo:
        """Return what a file's headers tell."""
        with self.files.open(path) as file:
            return probe_image(file, path)

    def palette(self, path: str) -> NDArray[Any] | None:
        """Return a file's palette as uint8 of shape (n, 3), or None."""
        with self.files.open(path) as file, closing(open_image(file, path)) as reader:
            return reader.palette_rgb()


@contextmanager
def open_acquisition(
    source: Path, members: tuple[str, ...], options: ConvertOptions, scratch: Path
) -> Iterator[OpenAcquisition]:
    """Open an acquisition for as long as the block lasts.

    Parameters
    ----------
    source, members, options
        As in `ConvertRequest`.
    scratch : Path
        A folder for large members of an archive.
    """
    layout = options.layout
    listing = list_acquisition(source, layout.ignore, members, layout)
    is_archive = listing.root == source and source.is_file()
    files: AcquisitionFiles = ZipFiles(source, scratch) if is_archive else FolderFiles(listing.root)
    try:
        yield OpenAcquisition(listing, files)
    finally:
        files.close()


def plan_acquisition(acquisition: OpenAcquisition, options: ConvertOptions) -> DatasetPlan:
    """Classify an acquisition and plan its dataset."""
    return plan_dataset(
        acquisition.listing,
        acquisition.probe,
        acquisition.palette,
        options.layout,
        options.voxel_size,
    )
