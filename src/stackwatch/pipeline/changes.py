"""Tell whether an acquisition is still what it was when it was listed.

The readers compare every file they read with the listing. Here the acquisition as a whole is looked
at once more: a slice that came late was never opened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from stackwatch.errors import (
    CancelledError,
    ChangedDuringConversionError,
    StackwatchError,
    VanishedError,
    VerificationError,
    WriteError,
)
from stackwatch.layout.ignore import finished_name
from stackwatch.layout.instruments import texts_that_count
from stackwatch.layout.kinds import DOUBTFUL_SUFFIXES, FileKind, kind_of, split_suffix
from stackwatch.layout.listing import list_acquisition, list_beside, list_file
from stackwatch.layout.sidecar import is_sidecar
from stackwatch.model.acquisition import FileEntry, Listing, show_path
from stackwatch.model.options import LayoutOptions
from stackwatch.model.raw import find_descriptions


@dataclass(frozen=True, slots=True)
class Place:
    """Where an acquisition lies, and how it is listed.

    Attributes
    ----------
    source, members
        As in `ConvertRequest`.
    layout : LayoutOptions
    is_archive : bool
    is_remote : bool
        Whether it lies on a network mount: inodes and times of change prove nothing there.
    """

    source: Path
    members: tuple[str, ...]
    layout: LayoutOptions
    is_archive: bool = False
    is_remote: bool = False

    def list_inside(self) -> Listing:
        """List the acquisition itself."""
        return list_acquisition(self.source, self.layout.ignore, self.members, self.layout)

    def list_beside(self) -> Listing:
        """List the sidecars beside an archive; those of other acquisitions are listed inside."""
        return list_beside(self.source) if self.is_archive else Listing(self.source, ())


@dataclass(frozen=True, slots=True)
class Look:
    """What a conversion depends on, as it was at one moment.

    Attributes
    ----------
    files : dict of str to FileEntry
        Images, sidecars, texts that tell about images, and whatever a layout refuses or may take;
        notes and logs are not in it.
        Of an archive the archive itself.
    pending : frozenset of str
        Images that are under way under a temporary name.
    refused : frozenset of str
        Links, pipes, and what cannot be read.
    """

    files: dict[str, FileEntry]
    pending: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


def look_at(place: Place, listing: Listing | None = None) -> Look:
    """Look at an acquisition.

    Parameters
    ----------
    place : Place
    listing : Listing or None
        What `list_inside` has just returned; None lists it now. Of an archive none is needed.

    Raises
    ------
    VanishedError
        It is not there; of loose files: one of them is not.
    AcquisitionError
        It cannot be listed.
    """
    if place.is_archive:
        beside = place.list_beside()
        entries = (*list_file(place.source).entries, *beside.entries)
        return Look(_by_path(entries, place), refused=_paths_of(beside))
    listing = listing if listing is not None else place.list_inside()
    pending = frozenset(path for path in listing.ignored if _is_pending(path))
    return Look(_by_path(listing.entries, place), pending, _paths_of(listing))


def find_change(before: Look, now: Look) -> str:
    """Return in a few words what changed between two looks; empty if nothing did."""
    for path in sorted(before.files.keys() | now.files.keys()):
        was, became = before.files.get(path), now.files.get(path)
        if was != became:
            what = "is new" if was is None else "is gone" if became is None else "changed"
            return f"“{show_path(path)}” {what}"
    for path in sorted(now.pending - before.pending):
        return f"“{show_path(path)}” is on its way"
    for path in sorted(before.refused ^ now.refused):
        return f"“{show_path(path)}” {'is new' if path in now.refused else 'is gone'}"
    return ""


def ensure_unchanged(place: Place, before: Look) -> None:
    """Make sure that an acquisition is still what it was.

    Raises
    ------
    ChangedDuringConversionError
        The caller publishes nothing, and starts from the beginning later.
    VanishedError
        It is not there any more.
    """
    try:
        change = find_change(before, look_at(place))
    except VanishedError as error:
        if not place.members:
            raise
        change = error.message  # one of several files: the others are still an acquisition
    if change:
        hint = "Wait until nothing writes to it; under the daemon it starts anew by itself."
        raise ChangedDuringConversionError(
            f"“{show_path(place.source)}” changed while it was read: {change}. Nothing was "
            f"published. {hint}",
            hint=hint,
            path=show_path(place.source),
            change=change,
        )


@contextmanager
def blaming_changes(place: Place, before: Look) -> Iterator[None]:
    """Say of an error while reading that the acquisition changed, if it did.

    A slice that is cut off or removed in mid reading would otherwise be called damaged.
    """
    try:
        yield
    except Exception as error:
        if not _may_be_blamed(error):
            raise
        try:
            ensure_unchanged(place, before)
        except (ChangedDuringConversionError, VanishedError) as change:
            raise change from error
        except (StackwatchError, OSError):  # then the first error says more
            pass
        raise


def _may_be_blamed(error: Exception) -> bool:
    if isinstance(error, CancelledError | ChangedDuringConversionError):
        return False
    return isinstance(error, VerificationError) or not isinstance(error, WriteError)


def _by_path(entries: tuple[FileEntry, ...], place: Place) -> dict[str, FileEntry]:
    texts = {
        text for beside in find_descriptions(e.path for e in entries).values() for text in beside
    } | texts_that_count(entry.path for entry in entries)
    kept = (entry for entry in entries if _matters(entry.path) or entry.path in texts)
    if place.is_remote:
        kept = (replace(entry, ctime_ns=0, inode=0) for entry in kept)
    return {entry.path: entry for entry in kept}


def _matters(path: str) -> bool:
    """Tell whether a layout might look at a file, now or if others were not there."""
    name = path.rpartition("/")[2]
    is_side = kind_of(path) is FileKind.SIDE and split_suffix(name)[1] not in DOUBTFUL_SUFFIXES
    return not is_side or is_sidecar(name)


def _is_pending(path: str) -> bool:
    whole = finished_name(path.rpartition("/")[2])
    return bool(whole) and kind_of(whole) is FileKind.IMAGE


def _paths_of(listing: Listing) -> frozenset[str]:
    return frozenset(refusal.path for refusal in listing.refusals)
