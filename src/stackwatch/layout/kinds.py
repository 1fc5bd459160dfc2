"""What a file is likely to be, by its suffix: an image, a foreign format, an archive, or beside it.

Only a first guess that spares opening every text file; the readers look at the content.
"""

from enum import StrEnum
from typing import Final

from stackwatch.readers.probe import IMAGE_SUFFIXES


class FileKind(StrEnum):
    """What a suffix promises."""

    IMAGE = "image"
    FOREIGN = "foreign"
    ARCHIVE = "archive"
    SIDE = "side"


FOREIGN_SUFFIXES: Final = frozenset(
    """.gif .webp .ico .jp2 .j2k .jpx .pgm .ppm .pbm .pnm .tga
    .dm2 .ser .emi .emd .zvi .xlef .oif .oir .vsi
    .nrrd .dcm .dicom .stk .dv .r3d .ics .ids .svs .ndpi .scn
    .n5 .npy .npz .wkw .ozx .sld .lei .gwy .spe .fli .flex .btr""".split()  # noqa: SIM905 - a table of words reads better than 60 lines
)
"""Image formats that are not read (yet): beside a stack they are reported, not passed over."""

DOUBTFUL_SUFFIXES: Final = frozenset({".map"})
"""Text as often as an image: a stage map beside a stack must not stop it. Images where no other
file is one."""

ARCHIVE_SUFFIXES: Final = frozenset(
    {".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar", ".tar.gz", ".tar.bz2", ".tar.xz"}
)

_DOUBLE: Final = frozenset(
    {".ome.tif", ".ome.tiff", ".ome.btf", ".tar.gz", ".tar.bz2", ".tar.xz"}
) | {suffix for suffix in IMAGE_SUFFIXES if suffix.count(".") > 1}


def split_suffix(name: str) -> tuple[str, str]:
    """Return a file name's stem and its suffix in lower case; `.ome.tif` is one suffix.

    Examples
    --------
    >>> split_suffix("run.v2.OME.TIF"), split_suffix("img_1.0.tif"), split_suffix("notes")
    (('run.v2', '.ome.tif'), ('img_1.0', '.tif'), ('notes', ''))
    """
    dot = name.rfind(".")
    if dot <= 0:
        return name, ""
    before = name.rfind(".", 1, dot)
    if before > 0 and name[before:].lower() in _DOUBLE:
        dot = before
    return name[:dot], name[dot:].lower()


def kind_of(name: str) -> FileKind:
    """Return what a file is by the suffix of its name.

    Examples
    --------
    >>> str(kind_of("a.ome.tif")), str(kind_of("a.nrrd")), str(kind_of("a.xml"))
    ('image', 'foreign', 'side')
    """
    suffix = split_suffix(name)[1]
    if suffix in ARCHIVE_SUFFIXES:
        return FileKind.ARCHIVE
    last = "." + suffix.rpartition(".")[2]
    if suffix in DOUBTFUL_SUFFIXES:
        return FileKind.SIDE
    if last in IMAGE_SUFFIXES or suffix in IMAGE_SUFFIXES:
        return FileKind.IMAGE
    if last in FOREIGN_SUFFIXES:
        return FileKind.FOREIGN
    return FileKind.SIDE
