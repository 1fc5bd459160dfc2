"""SerialEM's series of single TIFFs: an `.idoc` names the files, in their order.

A stack with its `.mdoc` is read as any file is; what the text says is added by `companions`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from stackwatch.errors import IncompleteAcquisitionError, UnknownLayoutError
from stackwatch.layout.drafts import LayerDraft, Verdict
from stackwatch.layout.kinds import FileKind, kind_of
from stackwatch.layout.scene_drafts import (
    Folder,
    SceneDraft,
    check_absent,
    refuse_others,
    stack_of,
)
from stackwatch.layout.serialem_text import Autodoc, parse_autodoc
from stackwatch.layout.voxel_size import StatedSize
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.plan import PlaneRef
from stackwatch.readers.scale import length_nm

SERIALEM: Final = "serialem"
"""Name of this layout, as the `layout` setting takes it."""


def recognise(folder: Folder) -> tuple[SceneDraft, ...]:
    """Return the dataset of a series of TIFFs, none if there is no `.idoc` of one.

    Raises
    ------
    UnknownLayoutError
        It is a montage; the caller parks.
    IncompleteAcquisitionError, AmbiguousLayoutError
        Images are missing, or others are there; the caller parks.
    """
    texts = [e.path for e in folder.listing.entries if e.path.lower().endswith(".idoc")]
    docs = {path: parse_autodoc(folder.text_of(path)) for path in texts}
    docs = {path: doc for path, doc in docs.items() if doc.images}
    if not docs:
        return ()
    if len(docs) > 1:
        hint = "Put each series into a folder of its own."
        raise UnknownLayoutError(
            f"{folder.shown} holds {len(docs)} `.idoc` files. {hint}", hint=hint
        )
    (path, doc), *_ = docs.items()
    refuse_montage(path, doc)
    place = path.rpartition("/")[0]
    wanted = [f"{place}/{name}" if place else name for name, _ in doc.images]
    there = {entry.path for entry in folder.listing.entries}
    images = [one for one in sorted(there) if kind_of(one) in {FileKind.IMAGE, FileKind.FOREIGN}]
    strays = sorted(set(images) - set(wanted))
    if strays:
        raise refuse_others(folder, f"a series of SerialEM (“{show_path(path)}”)", strays)
    files = [one for one in wanted if one in there]
    if not files:
        hint = "Copy the images in."
        raise IncompleteAcquisitionError(
            f"None of the {len(wanted)} images that “{show_path(path)}” names is there. {hint}",
            hint=hint,
            missing_count=len(wanted),
        )
    return (SceneDraft("", partial(_verdict, folder, path, doc, wanted, files)),)


def _verdict(
    folder: Folder, path: str, doc: Autodoc, wanted: Sequence[str], files: Sequence[str]
) -> Verdict:
    warnings = folder.ensure_arrived(files)
    folder.ensure_planar(files)
    number = {file: i for i, file in enumerate(files)}
    refs = {(0, 0, z): PlaneRef(number[one]) for z, one in enumerate(wanted) if one in number}
    shown = f"“{show_path(path)}” of SerialEM"
    said = check_absent(folder, f"{shown} names", refs, (1, 1, len(wanted)))
    draft = stack_of(files, refs, (1, len(wanted)), 0, words=folder.words)
    return Verdict(
        SERIALEM,
        (f"{shown} names {len(wanted)} images, in their order",),
        (LayerDraft(draft),),
        (*warnings, *said, *tilt_remark(path, doc)),
        stated=stated_sizes(path, doc),
    )


def refuse_montage(path: str, doc: Autodoc) -> None:
    """Raise if the images are pieces of a montage: several of them make up a section."""
    pieces = doc.most_pieces
    if pieces > 1:
        hint = "Join the pieces first (IMOD's `blendmont`), and drop the result."
        raise UnknownLayoutError(
            f"“{show_path(path)}” says that its images are pieces of a montage, up to {pieces} of "
            f"one section. Pieces are not stitched; taken for slices they would give a wrong "
            f"volume. {hint}",
            hint=hint,
            path=show_path(path),
            pieces=pieces,
        )


def stated_sizes(path: str, doc: Autodoc) -> tuple[StatedSize, ...]:
    """Return what is said of the pixel, each of several sizes by itself; nothing is said of z."""
    edges = [length_nm(spacing, "Å") for spacing in doc.spacings_angstrom]
    return tuple(
        StatedSize(path, PartialVoxelSize(edge, edge), "SerialEM PixelSpacing")
        for edge in edges
        if edge is not None
    )


def tilt_remark(path: str, doc: Autodoc) -> tuple[str, ...]:
    """Say that the images are projections, if their tilts differ."""
    tilts = doc.tilts
    if not tilts or max(tilts) - min(tilts) < 1:
        return ()
    return (
        f"“{show_path(path)}”: a tilt series from {min(tilts):g}° to {max(tilts):g}°; its images "
        "are projections, not slices in space",
    )
