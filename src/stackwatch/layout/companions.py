"""Texts beside single images: what they say of the voxel size, of completeness, and of montages.

They decide on no layout. Which image a text belongs to is told by its name.

Source: SerialEM's help on `.mdoc`; BigDataViewer's XML; the text that Hitachi's SEM programs write
(`PixelSize` in nanometres).
"""

import re
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final
from xml.etree import ElementTree as ET

from stackwatch.errors import IncompleteAcquisitionError
from stackwatch.layout.drafts import Probe, Verdict, spread_sample
from stackwatch.layout.kinds import FileKind, kind_of
from stackwatch.layout.scene_drafts import TextOf
from stackwatch.layout.serialem import refuse_montage, stated_sizes, tilt_remark
from stackwatch.layout.serialem_text import parse_autodoc
from stackwatch.layout.voxel_size import StatedSize
from stackwatch.model.acquisition import Listing, show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import ImageInfo
from stackwatch.readers.scale import length_nm, number_of

_BDV_SUFFIXES: Final = (".h5", ".hdf5")
_HITACHI: Final = "[SemImageFile]"
_HEAD_BYTES: Final = 2**16

Told = tuple[tuple[StatedSize, ...], tuple[str, ...]]
"""What a text says of the voxel size, and what is to be said of it."""

_Read = Callable[[str, str, TextOf, Probe], Told]


def with_companions(verdict: Verdict, listing: Listing, text_of: TextOf, probe: Probe) -> Verdict:
    """Return a verdict with what the texts beside its images say.

    Parameters
    ----------
    verdict : Verdict
    listing : Listing
    text_of : TextOf
    probe : Probe
        Of the image the verdict is about, where files hold several.

    Raises
    ------
    UnknownLayoutError
        An image is a montage; the caller parks.
    IncompleteAcquisitionError
        An image holds less than its text says, or more; the caller parks.
    """
    there = {entry.path for entry in listing.entries}
    stated: list[StatedSize] = []
    remarks: list[str] = []
    files = dict.fromkeys(path for draft in verdict.layers for path in draft.stack.files)
    for path in spread_sample(tuple(files)):
        for text, read in _texts_of(path, there):
            sizes, said = read(text, path, text_of, probe)
            stated += sizes
            remarks += said
    if not (stated or remarks):
        return verdict
    return Verdict(
        verdict.layout,
        verdict.evidence,
        verdict.layers,
        (*verdict.warnings, *remarks),
        (*verdict.stated, *stated),
        verdict.metadata,
    )


def is_companion(path: str, there: AbstractSet[str]) -> bool:
    """Tell whether a text belongs to an image, by its name."""
    stem, _, suffix = path.rpartition(".")
    match suffix.lower():
        case "mdoc":
            return stem in there
        case "xml":
            return any(stem + one in there for one in _BDV_SUFFIXES)
        case "txt":
            return any(stem + one in there for one in _PICTURES)
    return False


_PICTURES: Final = (".tif", ".TIF", ".tiff", ".bmp", ".BMP", ".jpg", ".JPG")


def _texts_of(path: str, there: AbstractSet[str]) -> list[tuple[str, _Read]]:
    stem, _, suffix = path.rpartition(".")
    found: list[tuple[str, _Read]] = []
    if f"{path}.mdoc" in there:
        found.append((f"{path}.mdoc", _mdoc))
    if f".{suffix.lower()}" in _BDV_SUFFIXES and f"{stem}.xml" in there:
        found.append((f"{stem}.xml", _bdv))
    if f".{suffix}" in _PICTURES and kind_of(path) is FileKind.IMAGE and f"{stem}.txt" in there:
        found.append((f"{stem}.txt", _hitachi))
    return found


def _mdoc(text: str, path: str, text_of: TextOf, probe: Probe) -> Told:
    doc = parse_autodoc(text_of(text))
    info = probe(path)
    sections = doc.images
    if not sections:
        return (), ()
    refuse_montage(text, doc)
    held = info.size_z * info.size_t
    if len(sections) != held:
        hint = 'Copy both again, or, if the text is of another image, set `ignore = ["*.mdoc"]`.'
        raise IncompleteAcquisitionError(
            f"“{show_path(text)}” tells of {len(sections)} sections, “{show_path(path)}” holds "
            f"{held}: one of them is not written completely. {hint}",
            hint=hint,
            path=show_path(path),
            sections_told=len(sections),
            sections_held=held,
        )
    if doc.size_xy not in (None, (info.size_x, info.size_y)):
        return (), (f"“{show_path(text)}” is of images of another size, and was not used",)
    return stated_sizes(text, doc), tilt_remark(text, doc)


def _bdv(text: str, path: str, text_of: TextOf, probe: Probe) -> Told:
    content = text_of(text)
    info = probe(path)
    if "<SpimData" not in content[:2048] or "<!DOCTYPE" in content or "<!ENTITY" in content:
        return (), ()
    try:
        root = ET.fromstring(content)  # noqa: S314 - no entities: refused above
    except (ET.ParseError, ValueError):
        return (), (f"“{show_path(text)}” cannot be read as BigDataViewer's XML, and was not used",)
    setups = {
        (setup.findtext("id") or "").strip(): setup.find("voxelSize")
        for setup in root.iter("ViewSetup")
    }
    voxel = setups.get(_setup_number(info))
    if voxel is None:
        return (), ()
    unit = (voxel.findtext("unit") or "").strip()
    parts = [number_of(part) for part in (voxel.findtext("size") or "").split()]
    if len(parts) != 3:
        return (), ()
    size = PartialVoxelSize(*(length_nm(part, unit) for part in parts))
    return (StatedSize(text, size, "BigDataViewer XML"),), ()


def _setup_number(info: ImageInfo) -> str:
    name = info.scenes[info.scene] if info.scenes else "0"
    digits = re.search(r"\d+", name)
    return str(int(digits[0])) if digits else "0"


def _hitachi(text: str, path: str, text_of: TextOf, probe: Probe) -> Told:
    if not text_of(text, head=_HEAD_BYTES, is_content=False).lstrip().startswith(_HITACHI):
        return (), ()  # somebody's notes: no part of the content
    content = text_of(text, head=_HEAD_BYTES)
    words = {
        key.strip(): value.strip()
        for key, is_pair, value in (line.partition("=") for line in content.splitlines())
        if is_pair
    }
    info = probe(path)
    if words.get("DataSize", "").lower() != f"{info.size_x}x{info.size_y}":
        return (), (f"“{show_path(text)}” is of an image of another size, and was not used",)
    edge = length_nm(number_of(words.get("PixelSize")), "nm")
    return (StatedSize(text, PartialVoxelSize(edge, edge), "Hitachi PixelSize"),), ()
