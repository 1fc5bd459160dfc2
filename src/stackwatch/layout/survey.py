"""What lies in an acquisition before any file is opened: images by folder, and what is beside them.

Pure functions of a listing.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

from stackwatch.errors import (
    AcquisitionError,
    CorruptSliceError,
    StillArrivingError,
    UnknownLayoutError,
    UnsupportedFormatError,
)
from stackwatch.layout.ignore import compile_ignore, finished_name, is_junk
from stackwatch.layout.kinds import DOUBTFUL_SUFFIXES, FileKind, kind_of, split_suffix
from stackwatch.layout.names import natural_key
from stackwatch.model.acquisition import Listing, show_path
from stackwatch.model.raw import find_descriptions
from stackwatch.readers.bioformats import is_for_bioformats
from stackwatch.readers.formats import show_formats
from stackwatch.readers.probe import NOT_READ_BECAUSE


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """A folder that directly contains images.

    Attributes
    ----------
    path : str
        Relative to the acquisition's root; empty for the root itself.
    files : tuple of str
        Relative to the acquisition's root, in natural order.
    """

    path: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """The images of an acquisition.

    Attributes
    ----------
    folders : tuple of ImageFolder
        In natural order of their paths.
    base : str
        The deepest folder that contains all images; empty for the root.
    side_files : int
        Files that are no images, and that do not describe one: notes, metadata.
    warnings : tuple of str
    """

    folders: tuple[ImageFolder, ...]
    base: str
    side_files: int
    warnings: tuple[str, ...]


def survey_listing(
    listing: Listing, ignore: tuple[str, ...] = (), *, has_bioformats: bool = False
) -> Survey:
    """Sort the files of an acquisition by folder, and refuse what cannot be known whole.

    Parameters
    ----------
    listing : Listing
    ignore : tuple of str
        The patterns the listing was made with: what they name is not waited for.
    has_bioformats : bool
        Whether foreign images are read with Bio-Formats.

    Raises
    ------
    StillArrivingError
        A temporary file will become an image: the caller waits.
    AcquisitionError
        A link or an unreadable folder may hide slices: the caller parks.
    CorruptSliceError
        An image is empty.
    UnsupportedFormatError
        Image formats that are not read.
    UnknownLayoutError
        No image at all.
    """
    warnings = [*_check_temporary(listing, ignore), *_check_refusals(listing)]
    by_kind: dict[FileKind, list[str]] = {kind: [] for kind in FileKind}
    for entry in sorted(listing.entries, key=lambda entry: natural_key(entry.path)):
        kind = kind_of(entry.path)
        if kind is FileKind.FOREIGN and has_bioformats and is_for_bioformats(entry.path):
            kind = FileKind.IMAGE
        by_kind[kind].append(entry.path)
    if not by_kind[FileKind.IMAGE]:
        _take_doubtful(by_kind)
    images = by_kind[FileKind.IMAGE]
    _ensure_images(listing, by_kind)
    known = set(images)
    empty = [e.path for e in listing.entries if e.size == 0 and e.path in known]
    if empty:
        raise CorruptSliceError(
            f"{_name_some(empty)} of “{show_path(listing.root)}” {_are(empty)} empty: not written "
            "completely, or damaged. Copy again, or remove what does not belong.",
            hint="Copy the empty files again, or remove them.",
            path=show_path(empty[0]),
            empty=[show_path(path) for path in empty[:20]],
        )
    folders: dict[str, list[str]] = {}
    for path in images:
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    ordered = sorted(folders, key=natural_key)
    return Survey(
        folders=tuple(ImageFolder(path, tuple(folders[path])) for path in ordered),
        base=_common_folder(ordered),
        side_files=len(_undescribing(by_kind[FileKind.SIDE], images)),
        warnings=tuple(warnings),
    )


def _undescribing(side_files: list[str], images: list[str]) -> list[str]:
    """Return those files that do not say what a raw file beside them is."""
    described = find_descriptions([*side_files, *images])
    texts = {text for beside in described.values() for text in beside}
    return [path for path in side_files if path not in texts]


def _take_doubtful(by_kind: dict[FileKind, list[str]]) -> None:
    """Count as images what may be one, where nothing else is."""
    for path in list(by_kind[FileKind.SIDE]):
        if split_suffix(path)[1] in DOUBTFUL_SUFFIXES:
            by_kind[FileKind.SIDE].remove(path)
            by_kind[FileKind.IMAGE].append(path)


def _common_folder(paths: list[str]) -> str:
    parts = [path.split("/") if path else [] for path in paths]
    common = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        common.append(column[0])
    return "/".join(common)


def _check_temporary(listing: Listing, ignore: tuple[str, ...]) -> list[str]:
    is_wanted_away = compile_ignore(ignore, with_usual=False)
    present = {entry.path for entry in listing.entries}
    pending: list[str] = []
    leftovers: list[str] = []
    for path in listing.ignored:
        folder, _, name = path.rpartition("/")
        whole = finished_name(name)
        if not whole or kind_of(whole) is not FileKind.IMAGE or is_wanted_away(path):
            continue
        if any(is_junk(part) for part in folder.split("/")):
            continue
        is_leftover = (f"{folder}/{whole}" if folder else whole) in present
        (leftovers if is_leftover else pending).append(path)
    if pending:
        raise StillArrivingError(
            f"{_name_some(pending)} of “{show_path(listing.root)}” {_are(pending)} still being "
            "written, or the copy was given up. The acquisition is not complete. Finish the copy, "
            f'or remove what was given up, or set `ignore = ["{_pattern(pending[0])}"]`.',
            hint="Finish the copy, or remove the temporary files.",
            pending=[show_path(path) for path in pending[:20]],
        )
    return [f"left over from a copy, not read: {_name_some(leftovers)}"] if leftovers else []


def _pattern(path: str) -> str:
    return "*" + PurePosixPath(path).suffix


def _check_refusals(listing: Listing) -> list[str]:
    """Raise for what may hide slices; return warnings for the rest."""
    warnings = []
    for refusal in listing.refusals:
        is_folder_like = not split_suffix(refusal.path.rpartition("/")[2])[1]
        if not (is_folder_like or kind_of(refusal.path) is not FileKind.SIDE):
            warnings.append(f"not read: “{show_path(refusal.path)}” is {refusal.reason}")
            continue
        shown = show_path(refusal.path)
        raise AcquisitionError(
            f"“{shown}” in “{show_path(listing.root)}” is {refusal.reason}. Links, pipes and "
            "unreadable folders are never followed or opened, and it may stand for slices. Put "
            f'the files themselves in its place, or set `ignore = ["{shown}"]`.',
            hint=f'Put the files themselves in its place, or set `ignore = ["{shown}"]`.',
            path=shown,
            reason=refusal.reason,
        )
    return warnings


def _ensure_images(listing: Listing, by_kind: dict[FileKind, list[str]]) -> None:
    images, foreign = by_kind[FileKind.IMAGE], by_kind[FileKind.FOREIGN]
    if foreign:
        beside = f" beside {len(images)} images that can be read" if images else ""
        suffix = split_suffix(foreign[0])[1]
        pattern, why = f"*{suffix}", NOT_READ_BECAUSE.get(suffix, "")
        raise UnsupportedFormatError(
            f"{_name_some(foreign)} of “{show_path(listing.root)}” {_are(foreign)} in a format "
            f"that stackwatch does not read{beside}. {why}{' ' if why else ''}Export as TIFF or "
            f'PNG, or, if it does not belong to the acquisition, set `ignore = ["{pattern}"]`.',
            hint=f'Export as TIFF or PNG, or set `ignore = ["{pattern}"]`.',
            path=show_path(foreign[0]),
            suffixes=sorted({split_suffix(path)[1] for path in foreign}),
        )
    if images:
        return
    archives, side = by_kind[FileKind.ARCHIVE], by_kind[FileKind.SIDE]
    found = Counter(split_suffix(path)[1] or "no suffix" for path in side + archives)
    shown = ", ".join(f"{count} x {suffix}" for suffix, count in found.most_common(8))
    hint = "Unpack the archive, or drop it by itself." if archives else "Add the images."
    raise UnknownLayoutError(
        f"No image in “{show_path(listing.root)}”: found {shown or 'nothing'}. "
        f"{show_formats()} are read. {hint}",
        hint=hint,
        path=show_path(listing.root),
        found=dict(found) and [f"{suffix}: {count}" for suffix, count in found.items()],
    )


def _name_some(paths: list[str], limit: int = 3) -> str:
    shown = ", ".join(f"“{show_path(path)}”" for path in paths[:limit])
    return shown + (f" and {len(paths) - limit} more" if len(paths) > limit else "")


def _are(paths: list[str]) -> str:
    return "are" if len(paths) > 1 else "is"
