"""What a JPEG XR tile of a CZI says of itself, before the library decodes it.

The decoder of libCZI (of pylibCZIrw 6.1.0) takes these fields as they are: a format or a depth that
cannot be ends the whole process with a division by zero or a fault in memory.

Source: ITU-T T.832, the image header of a codestream, which begins with `WMPHOTO`.
"""

import struct
from typing import Final

from stackwatch.model.image import PixelFormat
from stackwatch.readers.damage import damaged_header

HEAD_BYTES: Final = 4096
"""Of a tile's data, in which its image header begins."""

_SIGNATURE: Final = b"WMPHOTO\0"
_SHORT_HEADER: Final = 0x80
_FORMAT_AND_DEPTH: Final = {
    ("grey", "uint8"): (0, 1),
    ("grey", "uint16"): (0, 2),
    ("rgb", "uint8"): (7, 1),
    ("rgb", "uint16"): (7, 2),
}
"""OUTPUT_CLR_FMT and OUTPUT_BITDEPTH of the pixels that CZI has; others are left to the library."""


def check_jpegxr(data: bytes, pixels: PixelFormat, extent: tuple[int, int], name: str) -> None:
    """Make sure that the image header of a tile is that of its entry in the directory.

    Parameters
    ----------
    data : bytes
        The first `HEAD_BYTES` of a tile, or all of it.
    pixels : PixelFormat
    extent : (int, int)
        Width and height.
    name : str
        The file's path, for messages.

    Raises
    ------
    CorruptSliceError
        It is not; the caller passes it on.
    """
    place = data.find(_SIGNATURE) + len(_SIGNATURE)
    head = data[place : place + 12]
    if place < len(_SIGNATURE) or len(head) < 12:
        raise damaged_header(name, "a tile of the compression JPEG XR is no such image")
    found = (head[3] >> 4, head[3] & 15)
    wanted = _FORMAT_AND_DEPTH.get((pixels.kind, pixels.dtype_name), found)
    form = ">2H" if head[2] & _SHORT_HEADER else ">2I"
    less_1 = struct.unpack_from(form, head, 4)
    if found != wanted or (less_1[0] + 1, less_1[1] + 1) != extent:
        raise damaged_header(
            name,
            f"a tile of {extent[0]} x {extent[1]} {pixels.dtype_name} holds a JPEG XR of "
            f"{less_1[0] + 1} x {less_1[1] + 1}, colour format {found[0]}, depth {found[1]}",
        )
