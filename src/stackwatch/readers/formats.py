"""The one table of the formats that are read: how they begin, who opens them, what that takes.

The magic numbers come from each format's own specification.
"""

from collections.abc import Callable
from importlib import import_module
from typing import BinaryIO, Final, NamedTuple

from stackwatch.errors import UnsupportedFormatError
from stackwatch.model.acquisition import show_path
from stackwatch.readers.folder import (
    KNOSSOS_CONF,
    NDTIFF_INDEX,
    OIF_SUFFIX,
    WKW_HEADER,
    ZARR_METADATA,
    FolderView,
)
from stackwatch.readers.protocol import SliceReader

Magic = tuple[tuple[int, bytes], ...]
"""Bytes at offsets, all of which have to be there."""


class Format(NamedTuple):
    """A format that is read.

    Attributes
    ----------
    name : str
        For people.
    magic : tuple of Magic
        Any of them tells the format.
    module : str
        Module below `stackwatch.readers`, imported when the first such file is opened.
    opener : str
        Its function from an opened file and its name to a reader.
    suffixes : tuple of str
        Usual ones, lower case, with their dot.
    library : str
        What decodes it beside stackwatch itself; empty for nothing.
    extra : str
        The extra of the package that brings the library; empty for a default dependency.
    is_told_by_suffix : bool
        Whether a file with such a suffix may lack the first bytes: old files of the format do, and
        its opener checks the header throughout.
    reads_gzip : bool
        Whether its opener takes a gzipped file too.
    has_scenes : bool
        Whether a file may hold several images: its opener takes the index of one of them as its
        third argument, and `ImageInfo.scenes` names them all.
    """

    name: str
    magic: tuple[Magic, ...]
    module: str
    opener: str
    suffixes: tuple[str, ...]
    library: str = ""
    extra: str = ""
    is_told_by_suffix: bool = False
    reads_gzip: bool = False
    has_scenes: bool = False

    def begins(self, head: bytes) -> bool:
        """Tell whether a file that begins with `head` is of this format."""
        return any(
            all(head[offset : offset + len(part)] == part for offset, part in magic)
            for magic in self.magic
        )

    def open(self, file: BinaryIO | FolderView, name: str, scene: int = 0) -> SliceReader:
        """Parse the headers of a file, or of a folder, and return the reader of one image in it.

        Raises
        ------
        ReadError, LayoutError
            As `readers.probe.open_image` says.
        """
        try:
            # Late: numpy and the decoders take longer to load than `stackwatch --help` may.
            module = import_module(f"stackwatch.readers.{self.module}")
        except ModuleNotFoundError as error:
            if not self.extra or (error.name or "").startswith("stackwatch"):
                raise  # a broken installation, no matter of this file
            raise _not_installed(self, name, error.name or "") from error
        opener: Callable[..., SliceReader] = getattr(module, self.opener)
        return opener(file, name, scene) if self.has_scenes else opener(file, name)


FORMATS: Final = (
    # Those with their mark deep in the header come first: any two bytes may stand at their start.
    Format(
        "MRC",
        (((208, b"MAP "),), ((208, b"MAP\0"),)),
        "mrc",
        "open_mrc",
        (".mrc", ".mrcs", ".map", ".rec", ".st", ".ali", ".mrc.gz", ".map.gz", ".rec.gz"),
        is_told_by_suffix=True,
        reads_gzip=True,
    ),
    Format(
        "TIFF",
        tuple(((0, mark),) for mark in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
        "tiff",
        "open_tiff",
        (".tif", ".tiff", ".btf", ".tf8"),
        "tifffile, imagecodecs",
        has_scenes=True,
    ),
    Format(  # opened by `open_tiff`, which finds its tag
        "LSM",
        (),
        "lsm",
        "open_lsm",
        (".lsm",),
        "tifffile, imagecodecs",
        has_scenes=True,
    ),
    Format(
        "NIfTI",
        (((344, b"n+1\0"),), ((4, b"n+2\0\r\n\x1a\n"),)),
        "nifti",
        "open_nifti",
        (".nii", ".nii.gz"),
        reads_gzip=True,
    ),
    Format(
        "DM3 and DM4",
        (((0, b"\0\0\0\3"), (8, b"\0\0\0")), ((0, b"\0\0\0\4"), (12, b"\0\0\0"))),
        "dm",
        "open_dm",
        (".dm3", ".dm4"),
        has_scenes=True,
    ),
    Format(
        "CZI",
        (((0, b"ZISRAWFILE"),),),
        "czi",
        "open_czi",
        (".czi",),
        "pylibCZIrw",
        has_scenes=True,
    ),
    Format(
        "HDF5 and Imaris IMS",
        (((0, b"\x89HDF\r\n\x1a\n"),),),
        "hdf5",
        "open_hdf5",
        (".ims", ".h5", ".hdf5", ".hdf"),
        "h5py",
        has_scenes=True,
    ),
    Format(
        "LIF and LOF",
        (((0, b"\x70\0\0\0"), (8, b"\x2a")),),
        "lif",
        "open_lif",
        (".lif", ".lof"),
        "liffile",
        "leica",
        has_scenes=True,
    ),
    Format(
        "ND2",
        (((0, b"\xda\xce\xbe\x0a"),),),
        "nd2",
        "open_nd2",
        (".nd2",),
        "nd2",
        "nikon",
        has_scenes=True,
    ),
    Format(
        "OIB",
        (((0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),),),
        "oib",
        "open_oib",
        (".oib",),
        "oiffile",
        "olympus",
    ),
    Format("PNG", (((0, b"\x89PNG\r\n\x1a\n"),),), "raster", "open_png", (".png",), "Pillow"),
    Format(
        "JPEG",
        (((0, b"\xff\xd8\xff"),),),
        "raster",
        "open_jpeg",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        "Pillow",
    ),
    Format("BMP", (((0, b"BM"),),), "raster", "open_bmp", (".bmp", ".dib"), "Pillow"),
    Format("raw", (), "raw", "open_undescribed", (".raw",), is_told_by_suffix=True),
)


FOLDER_FORMATS: Final = {
    **dict.fromkeys(
        ZARR_METADATA,
        Format("Zarr and OME-Zarr", (), "ome_zarr", "open_zarr", (), "zarr", has_scenes=True),
    ),
    WKW_HEADER: Format("WKW", (), "wkw_input", "open_wkw", (), "imagecodecs"),
    KNOSSOS_CONF: Format("KNOSSOS cubes", (), "knossos", "open_knossos", ()),
    NDTIFF_INDEX: Format("NDTiff", (), "ndtiff", "open_ndtiff", (), has_scenes=True),
    f"*{OIF_SUFFIX}": Format("OIF", (), "oif", "open_oif", (OIF_SUFFIX,), "oiffile", "olympus"),
}
"""Images that are folders, by the names of the files that stand for them."""


def folder_format_of(name: str) -> Format | None:
    """Return the format of the image a file stands for, or None if it stands for itself."""
    if name.lower().endswith(OIF_SUFFIX):
        return FOLDER_FORMATS[f"*{OIF_SUFFIX}"]
    return FOLDER_FORMATS.get(name.rpartition("/")[2])


def show_formats() -> str:
    """Return the names of the formats that are read, for messages."""
    names = sorted(form.name for form in FORMATS)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def format_of(head: bytes) -> Format | None:
    """Return the format of a file by its first bytes (512 are enough), or None."""
    return next((form for form in FORMATS if form.begins(head)), None)


def format_named(suffix: str) -> Format | None:
    """Return the format that usually has a suffix (lower case, with its dot), or None."""
    return next((form for form in FORMATS if suffix in form.suffixes), None)


def _not_installed(form: Format, name: str, missing: str) -> UnsupportedFormatError:
    line = f'pip install "stackwatch[{form.extra}]"'
    return UnsupportedFormatError(
        f"“{show_path(name)}” is {form.name}, which needs the Python package {missing}, and that "
        f"is not installed. Run `{line}` and start the service again.",
        hint=f"Run `{line}` and start the service again.",
        path=show_path(name),
        format=form.name,
        package=missing,
        extra=form.extra,
    )
