"""PNG, JPEG and BMP: one file, one plane, decoded by Pillow.

Pillow's decoders are called directly, not through `Image.open`: its limit on pixels is global to
the process (`Image.MAX_IMAGE_PIXELS`, 89 million, less than a usual EM tile) and not ours to
change; `limits.check_declared_size` stands in its place. Pillow is also the only decoder that
refuses a truncated JPEG. 16-bit PNGs go to imagecodecs, because Pillow would cut their colours to
8 bits.
"""

import struct
from dataclasses import replace
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin

from stackwatch.errors import CorruptSliceError, StackwatchError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.readers.limits import check_declared_size
from stackwatch.readers.palette import is_grey_palette

_ORIENTATION_TAG = 274
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PIXELS_OF_MODE = {
    "1": PixelFormat("bool", "bilevel"),
    "L": PixelFormat("uint8"),
    "P": PixelFormat("uint8", "palette"),
    "LA": PixelFormat("uint8", samples=2, has_alpha=True),
    "RGB": PixelFormat("uint8", "rgb", 3),
    "RGBA": PixelFormat("uint8", "rgb", 4, has_alpha=True),
    "CMYK": PixelFormat("uint8", "cmyk", 4),
}
_PIXELS_OF_PNG16 = {
    0: PixelFormat("uint16"),
    2: PixelFormat("uint16", "rgb", 3),
    4: PixelFormat("uint16", samples=2, has_alpha=True),
    6: PixelFormat("uint16", "rgb", 4, has_alpha=True),
}
"""By the colour type of the PNG header."""

RASTER_ERRORS = (OSError, ValueError, SyntaxError, RuntimeError, TypeError, IndexError, KeyError,
                 AttributeError, EOFError, ArithmeticError, struct.error)  # fmt: skip
"""What Pillow and imagecodecs raise on damaged bytes; Pillow's parsers raise SyntaxError."""


def open_png(file: BinaryIO, name: str) -> "RasterReader":
    """Parse the headers of a PNG."""
    return _open(file, name, "png")


def open_jpeg(file: BinaryIO, name: str) -> "RasterReader":
    """Parse the headers of a JPEG."""
    return _open(file, name, "jpeg")


def open_bmp(file: BinaryIO, name: str) -> "RasterReader":
    """Parse the headers of a BMP."""
    return _open(file, name, "bmp")


def _open(file: BinaryIO, name: str, reader: str) -> "RasterReader":
    try:
        return RasterReader(file, name, reader)
    except StackwatchError:
        raise
    except RASTER_ERRORS as error:
        raise _damaged(name, error) from error


class RasterReader:
    """One opened PNG, JPEG or BMP."""

    def __init__(self, file: BinaryIO, name: str, reader: str) -> None:
        self._name = name
        self._file = file
        file_bytes = file.seek(0, 2)
        file.seek(0)
        self._image = _open_pillow(file, reader)
        width, height = self._image.size
        notes: tuple[str, ...] = ()
        if getattr(self._image, "n_frames", 1) > 1 and reader == "png":
            raise _unsupported(name, "an animated PNG", "Save its frames as files of their own.")
        if getattr(self._image, "n_frames", 1) > 1:
            notes = ("further pictures in the JPEG (MPO) left out",)
        if reader == "png" and _png_header(file)[24:26] in {b"\2\0", b"\4\0"}:
            notes = (f"grey values of {_png_bits(file)} bits are scaled to 0..255",)
        self._is_png16 = reader == "png" and _png_bits(file) == 16
        self._mode = _mode_of(self._image)
        pixels = self._pixels()
        check_declared_size(name, width, height, pixels.samples * 2, file_bytes)
        orientation = _orientation_of(self._image)
        self._palette = self._palette_of(pixels)
        pixels = replace(
            pixels,
            orientation=orientation if 1 <= orientation <= 8 else 1,
            has_grey_palette=self._palette is not None and is_grey_palette(self._palette),
        )
        is_turned = pixels.orientation >= 5
        self.info = ImageInfo(
            reader=reader,
            size_y=width if is_turned else height,
            size_x=height if is_turned else width,
            pixels=pixels,
            notes=notes,
        )

    def read_plane(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return rows of the plane, as `SliceReader.read_plane` says."""
        try:
            plane = self._decode_png16() if self._is_png16 else self._decode()
        except RASTER_ERRORS as error:
            raise _damaged(self._name, error) from error
        return plane[rows[0] : rows[1]]

    def palette_rgb(self) -> NDArray[Any] | None:
        """Return the palette as uint8 of shape (n, 3), or None."""
        return self._palette

    def close(self) -> None:
        """Release the decoder; the file itself is the opener's."""
        # `ImageFile.close` would close the file as well; the base class only frees the pixels.
        Image.Image.close(self._image)

    def _pixels(self) -> PixelFormat:
        if self._is_png16:
            colour_type = _png_header(self._file)[25]
            if "transparency" in self._image.info:
                raise _unsupported(
                    self._name, "a 16-bit PNG with a transparent colour", "Save it without."
                )
            return _PIXELS_OF_PNG16[colour_type]
        found = _PIXELS_OF_MODE.get(self._mode)
        if found is None:
            raise _unsupported(
                self._name,
                f"a picture of the mode {self._mode}",
                "Save it as a grey or RGB picture.",
            )
        return found

    def _palette_of(self, pixels: PixelFormat) -> NDArray[Any] | None:
        if pixels.kind != "palette":
            return None
        palette = np.array(self._image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        # An index beyond the palette would be black; a full table makes every index valid.
        return np.concatenate([palette, np.zeros((256 - len(palette), 3), np.uint8)])

    def _decode(self) -> NDArray[Any]:
        self._image.load()
        if self._image.mode != self._mode:
            return np.asarray(self._image.convert(self._mode))
        return np.asarray(self._image)

    def _decode_png16(self) -> NDArray[Any]:
        self._file.seek(0)
        data = self._file.read()
        _check_png_complete(data)
        plane: NDArray[Any] = imagecodecs.png_decode(data)
        return plane


def _open_pillow(file: BinaryIO, reader: str) -> ImageFile.ImageFile:
    if reader == "png":
        return PngImagePlugin.PngImageFile(file)
    if reader == "bmp":
        return BmpImagePlugin.BmpImageFile(file)
    return JpegImagePlugin.jpeg_factory(file)


def _mode_of(image: Image.Image) -> str:
    """Return the mode to decode to: a transparent colour becomes an alpha channel."""
    if "transparency" not in image.info:
        return image.mode
    opaque = image.info["transparency"]
    if image.mode == "P" and isinstance(opaque, bytes) and not opaque.strip(b"\xff"):
        return "P"
    return {"P": "RGBA", "RGB": "RGBA", "L": "LA", "1": "LA"}.get(image.mode, image.mode)


def _orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation; `getexif` of a PNG would decode the whole picture for it."""
    raw = image.info.get("exif")
    if not raw:
        return 1
    exif = Image.Exif()
    exif.load(raw)
    return int(exif.get(_ORIENTATION_TAG, 1))


def _png_header(file: BinaryIO) -> bytes:
    position = file.tell()
    file.seek(0)
    head = file.read(33)
    file.seek(position)
    return head


def _png_bits(file: BinaryIO) -> int:
    """Return the bit depth of a PNG; its header is always the first chunk."""
    return _png_header(file)[24]


def _check_png_complete(data: bytes) -> None:
    """Walk the chunks of a PNG to its end: a decoder may stop earlier and be content.

    Source: PNG specification, 5.3: length, type, data, CRC; IEND is last.
    """
    position = len(_PNG_MAGIC)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        if data[position + 4 : position + 8] == b"IEND":
            return
        position += 12 + length
    raise ValueError("the picture ends before its last chunk")


def _damaged(name: str, error: Exception) -> CorruptSliceError:
    return CorruptSliceError(
        f"“{show_path(name)}” cannot be decoded ({error}): it is damaged or was not written "
        "completely. Copy the file again.",
        hint="Copy the file again.",
        path=show_path(name),
    )


def _unsupported(name: str, what: str, hint: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"“{show_path(name)}” is {what}, which stackwatch does not read. {hint}",
        hint=hint,
        path=show_path(name),
        feature=what,
    )
