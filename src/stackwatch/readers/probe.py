"""Tell what a file is and open it: by its first bytes, then by its suffix."""

from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.readers.protocol import SliceReader


class _FirstReader:
    """Grey multi-page TIFF only; replaced by the readers of each format."""

    def __init__(self, file: BinaryIO) -> None:
        self._tif = tifffile.TiffFile(file)
        page = self._tif.pages.first
        self.info = ImageInfo(
            reader="tiff",
            size_y=page.imagelength,
            size_x=page.imagewidth,
            size_z=len(self._tif.pages),
            pixels=PixelFormat(str(np.dtype(page.dtype))),
        )

    def read_plane(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return rows of one plane."""
        plane: NDArray[Any] = self._tif.pages[z].asarray()
        return plane[rows[0] : rows[1]]

    def palette_rgb(self) -> NDArray[Any] | None:
        """Return None: no palettes yet."""
        return None

    def close(self) -> None:
        """Release the file."""
        self._tif.close()


def open_image(file: BinaryIO, name: str) -> SliceReader:
    """Parse the headers of a seekable file and return its reader.

    Parameters
    ----------
    file : BinaryIO
        Seekable; stays the caller's to close.
    name : str
        Path as people know it: for the suffix and for messages.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError, LimitExceededError, MixedSlicesError
    """
    return _FirstReader(file)


def probe_image(file: BinaryIO, name: str) -> ImageInfo:
    """Return what a file's headers tell, as `open_image` with the reader closed again."""
    reader = open_image(file, name)
    try:
        return reader.info
    finally:
        reader.close()
