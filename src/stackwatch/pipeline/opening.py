"""Open an acquisition: its listing, its files, and a way to look into each of them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from stackwatch.layout.listing import list_acquisition
from stackwatch.layout.scenes import plan_datasets
from stackwatch.layout.sidecar import Sidecar
from stackwatch.model.acquisition import FileEntry, Listing
from stackwatch.model.image import ImageInfo
from stackwatch.model.options import ConvertOptions
from stackwatch.model.plan import DatasetPlan
from stackwatch.pipeline.changes import Look, Place, blaming_changes, look_at
from stackwatch.pipeline.sidecars import (
    apply_sidecar,
    digest_meaning,
    open_raw_files,
    read_sidecar,
    tell_sidecar,
    without_sidecars,
)
from stackwatch.readers.bioformats import BioformatsOpener
from stackwatch.readers.folder import FolderView, is_anchor
from stackwatch.readers.probe import open_image
from stackwatch.readers.protocol import ImageOpener
from stackwatch.readers.raw_files import RawFiles
from stackwatch.readers.source import AcquisitionFiles, FolderFiles, ZipFiles
from stackwatch.readers.texts import TextFiles
from stackwatch.watch.mounts import probe_mount


@dataclass(frozen=True, slots=True)
class OpenAcquisition:
    """An acquisition that can be read.

    Attributes
    ----------
    listing : Listing
        As the layouts see it: without its sidecar.
    files : AcquisitionFiles
    options : ConvertOptions
        After the sidecar had its say.
    sidecar : Sidecar or None
    place : Place
    look : Look
        What it looked like before anything in it was opened.
    opener : RawFiles
        Opens its images; raw ones as they are described.
    texts : TextFiles
        What its instrument's program wrote beside them.
    """

    listing: Listing
    files: AcquisitionFiles
    options: ConvertOptions
    sidecar: Sidecar | None
    place: Place
    look: Look
    opener: RawFiles
    texts: TextFiles

    @property
    def entries(self) -> dict[str, FileEntry]:
        """Every listed file by its relative path."""
        return {entry.path: entry for entry in self.listing.entries}

    @property
    def meaning_digest(self) -> str:
        """Digest of what texts beside its images change about the dataset; empty for nothing.

        Complete once the datasets are planned.
        """
        return digest_meaning(self.sidecar, self.opener.meaning(), self.texts.meaning())

    def probe(self, path: str, scene: int = 0) -> ImageInfo:
        """Return what a file's headers tell of one image in it."""
        opener = self._opener_of(path)
        with self.files.open(path) as file, closing(opener(file, path, scene)) as reader:
            return reader.info

    def palette(self, path: str, scene: int = 0) -> NDArray[Any] | None:
        """Return an image's palette as uint8 of shape (n, 3), or None."""
        opener = self._opener_of(path)
        with self.files.open(path) as file, closing(opener(file, path, scene)) as reader:
            return reader.palette_rgb()

    def _opener_of(self, path: str) -> ImageOpener:
        """Return what opens a file; of an image that is a folder, with the files around it."""
        if is_anchor(path):
            return partial(open_image, view=FolderView(self.files, self.entries))
        return self.opener


@contextmanager
def open_acquisition(
    source: Path, members: tuple[str, ...], options: ConvertOptions, scratch: Path
) -> Iterator[OpenAcquisition]:
    """Open an acquisition for as long as the block lasts.

    What goes wrong inside is blamed on a change of the acquisition, if there was one.

    Parameters
    ----------
    source, members, options
        As in `ConvertRequest`.
    scratch : Path
        A folder for large members of an archive.

    Raises
    ------
    SidecarError
        What a person wrote about it cannot be understood; the caller parks.
    AcquisitionError, UnsupportedFormatError, LimitExceededError, CorruptSliceError
        It cannot be listed.
    """
    listing = list_acquisition(source, options.layout.ignore, members, options.layout)
    place = Place(
        source,
        members,
        options.layout,
        is_archive=listing.root == source and source.is_file(),
        is_remote=_is_remote(listing.root),
    )
    look = look_at(place, listing)
    files: AcquisitionFiles = (
        ZipFiles(source, scratch, is_remote=place.is_remote)
        if place.is_archive
        else FolderFiles(listing.root, is_remote=place.is_remote)
    )
    with closing(files), blaming_changes(place, look):
        sidecar = read_sidecar(listing, files, place.list_beside())
        if sidecar is not None:
            options = apply_sidecar(options, sidecar)
        shown = without_sidecars(listing)
        with closing(BioformatsOpener(options.layout.bioformats_jar)) as others:
            opener = open_raw_files(files, shown, options, sidecar, others)
            texts = TextFiles(files, {entry.path: entry for entry in shown.entries})
            yield OpenAcquisition(shown, files, options, sidecar, place, look, opener, texts)


def _is_remote(root: Path) -> bool:
    try:
        return probe_mount(root).is_remote
    except OSError:
        return True  # it went away: whoever opens it says so


def plan_acquisition(acquisition: OpenAcquisition) -> tuple[DatasetPlan, ...]:
    """Classify an acquisition and plan its datasets, as its options say."""
    datasets = plan_datasets(
        acquisition.listing,
        acquisition.probe,
        acquisition.palette,
        acquisition.options.layout,
        acquisition.options.voxel_size,
        acquisition.texts,
    )
    datasets = tuple(acquisition.opener.tell(dataset) for dataset in datasets)
    sidecar = acquisition.sidecar
    if sidecar is None:
        return datasets
    files = len(acquisition.listing.entries)
    return tuple(tell_sidecar(dataset, sidecar, files) for dataset in datasets)
