"""Tell what a file is and open it: by its first bytes, then by its suffix.

What is read stands in `readers.formats`; here stands what is only recognised, to be refused by
its name. The magic numbers come from each format's own specification.
"""

from pathlib import PurePosixPath
from typing import BinaryIO

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import ImageInfo
from stackwatch.readers.folder import FolderView
from stackwatch.readers.formats import (
    FORMATS,
    Format,
    folder_format_of,
    format_named,
    format_of,
    show_formats,
)
from stackwatch.readers.gunzip import GZIP_MAGIC, inflated_head
from stackwatch.readers.protocol import SliceReader

_HEAD_BYTES = 512

_KNOWN_MAGIC = (
    (344, b"ni1\0", "the header of a NIfTI pair (.hdr and .img)"),
    (4, b"ni2\0\r\n\x1a\n", "the header of a NIfTI-2 pair (.hdr and .img)"),
    (128, b"DICM", "DICOM"),
    (0, b"WKW", "WKW"),
    (0, b"\x93NUMPY", "NumPy"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"RIFF", "WebP or another RIFF file"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000 (as ND2 files of before 2010 are)"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"%PDF", "a PDF"),
)  # fmt: skip
"""What is recognised, and named in the refusal: at which byte, which bytes, what it is."""

_KNOWN_SUFFIXES = {
    ".xlef": "Leica XLEF", ".oif": "Olympus OIF",
    ".oir": "Olympus OIR", ".vsi": "Olympus VSI", ".dcm": "DICOM",
    ".gif": "GIF", ".webp": "WebP", ".jp2": "JPEG 2000", ".npy": "NumPy",
    ".stk": "MetaMorph STK",
}  # fmt: skip

NOT_READ_BECAUSE = {
    ".oir": "The only library for OIR, oirfile, needs Python 3.12: save it as OIB, or have it read "
    "with Bio-Formats (`bioformats_jar`).",
    ".oif": "An OIF is the index of a folder of TIFF files: drop both in a folder of their own, "
    "`NAME.oif` and `NAME.oif.files`.",
    ".xlef": "An XLEF is an index: drop it in a folder with the LOF files that hold its images.",
}
"""Of formats that are known and not read: why, and what instead."""

IMAGE_SUFFIXES = frozenset(suffix for form in FORMATS for suffix in form.suffixes)
"""Suffixes of the formats that are read, lower case, with their dot."""

FOREIGN_SUFFIXES = frozenset(_KNOWN_SUFFIXES)
"""Suffixes of image formats that are known but not read by this version."""


def open_image(
    file: BinaryIO, name: str, scene: int = 0, view: FolderView | None = None
) -> SliceReader:
    """Parse the headers of a seekable file and return its reader.

    Parameters
    ----------
    file : BinaryIO
        Seekable; stays the caller's to close, after the reader.
    name : str
        Path as people know it: for the suffix and for messages. The base name also tells an
        OME-TIFF which file of its set it is.
    scene : int
        Which image, where the file holds several: an index in `ImageInfo.scenes`.
    view : FolderView or None
        The files beside it, for an image that is a folder: `file` is then its anchor.

    Raises
    ------
    CorruptSliceError
        Empty, truncated or damaged; the caller passes it on.
    UnsupportedFormatError
        No image, or one that is not read; the message says what it looks like.
    LimitExceededError
        The headers declare an absurd size.
    MixedSlicesError, AmbiguousLayoutError
        The pages of the file do not form one image, or do not say which.
    """
    folder_form = folder_format_of(name)
    if view is not None and folder_form is not None:
        return folder_form.open(view, name, scene)
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    form = _format_inside(head, name) or format_of(head) or _format_by_suffix(head, name)
    if form is None:
        raise _refusal(head, name)
    return form.open(file, name, scene)


def probe_image(
    file: BinaryIO, name: str, scene: int = 0, view: FolderView | None = None
) -> ImageInfo:
    """Return what a file's headers tell, as `open_image` with the reader closed again."""
    reader = open_image(file, name, scene, view)
    try:
        return reader.info
    finally:
        reader.close()


def _format_inside(head: bytes, name: str) -> Format | None:
    """Return the format of a gzipped file that is read as it is, or None."""
    if not head.startswith(GZIP_MAGIC):
        return None
    form = format_of(inflated_head(head)) or format_named(_suffix_of(name))
    return form if form is not None and form.reads_gzip else None


def _format_by_suffix(head: bytes, name: str) -> Format | None:
    """Return the format a suffix names, where old files of it lack the first bytes."""
    form = format_named(_suffix_of(name))
    if form is None or not form.is_told_by_suffix or not head.strip(b"\0"):
        return None
    return None if _look_of(head) or _is_text(head) else form


def _suffix_of(name: str) -> str:
    """Return the last suffix of a name in lower case; `.nii.gz` counts as one."""
    path = PurePosixPath(name.lower())
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix


def _refusal(head: bytes, name: str) -> CorruptSliceError | UnsupportedFormatError:
    """Say why a file is not read, as precisely as its first bytes allow."""
    shown = show_path(name)
    suffix = _suffix_of(name)
    form = format_named(suffix)
    expected = form.name if form else ""
    if not head.strip(b"\0"):
        what = "is empty" if not head else "begins with nothing but zeros"
        return CorruptSliceError(
            f"“{shown}” {what}: it was not written completely. Copy the file again.",
            hint="Copy the file again.",
            path=shown,
        )
    found = _look_of(head)
    if found is None and _is_text(head):
        found = "text"
    if found is None and not expected:
        found = _KNOWN_SUFFIXES.get(suffix)
    if found is None and expected:
        return CorruptSliceError(
            f"“{shown}” does not begin like a {expected}: it is damaged. Copy the file again.",
            hint="Copy the file again.",
            path=shown,
        )
    looks = f"looks like {found}" if found else "is of no known image format"
    named = f" although it is named {suffix}" if expected else ""
    return UnsupportedFormatError(
        f"“{shown}” {looks}{named}; this version of stackwatch reads {show_formats()}. "
        "Convert it to TIFF, or exclude it with `ignore`.",
        hint="Convert it to TIFF, or exclude it with `ignore`.",
        path=shown,
        format=found or "",
    )


def _look_of(head: bytes) -> str | None:
    for offset, magic, what in _KNOWN_MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return what
    return None


def _is_text(head: bytes) -> bool:
    printable = sum(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
    return b"\0" not in head and printable >= len(head) * 0.95
