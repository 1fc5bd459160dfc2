"""Write LSM files as the instrument does: all channels of a slice in a page, thumbnails between.

Written from the description of the format alone, without the reader.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

_MAGIC: Final = 67127628
_INFO_BYTES: Final = 380
_SCAN_STACK, _SCAN_TIMES = 0, 6
_SHORT, _LONG, _BYTE = 3, 4, 1
_LZW: Final = 5

Colour = tuple[int, int, int]


def write_lsm(
    path: Path,
    volume: NDArray[Any],
    *,
    voxel_size_m: tuple[float, float, float] = (1e-7, 1e-7, 3e-7),
    channels: Sequence[tuple[str, Colour]] = (),
    is_lzw: bool = False,
    strip_rows: int = 0,
) -> Path:
    """Write one LSM.

    Parameters
    ----------
    path : Path
    volume : array, shape (t, z, c, y, x), or (p, t, z, c, y, x) with positions
        uint8 or uint16; any number of channels but two, whose header has a quirk of its own.
    voxel_size_m : (x, y, z)
    channels : sequence of (name, RGB)
        One for each channel, or none at all.
    is_lzw : bool
        Compress as the instrument does: the byte counts stay those of the plain strips.
    strip_rows : int
        Rows of a strip; 0 for all.
    """
    stack = volume.astype(volume.dtype.newbyteorder("<"))
    size_t, size_z, size_c, size_y, size_x = stack.shape[-5:]
    out = bytearray(b"II*\0" + bytes(4))
    info = bytearray(_INFO_BYTES)
    struct.pack_into(
        "<Iiiiiiiiii6dH", info, 0, _MAGIC, _INFO_BYTES, size_x, size_y, size_z, size_c, size_t,
        stack.dtype.itemsize, 8, 8, *voxel_size_m, 0.0, 0.0, 0.0,
        _SCAN_TIMES if size_t > 1 else _SCAN_STACK,
    )  # fmt: skip
    struct.pack_into("<i", info, 264, len(stack) if stack.ndim == 6 else 0)
    if channels:
        struct.pack_into("<I", info, 108, len(out))
        out += _channel_colours(channels)
    link = 4
    for number, page in enumerate(stack.reshape(-1, size_c, size_y, size_x)):
        link = _add_page(out, link, page, strip_rows or size_y, b"" if number else info, is_lzw)
        thumbnail = np.full((size_c, 8, 8), 77, stack.dtype)
        link = _add_page(out, link, thumbnail, 8, None, is_lzw=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out)
    return path


def _add_page(
    out: bytearray,
    link: int,
    page: NDArray[Any],
    rows: int,
    info: bytes | bytearray | None,
    is_lzw: bool,
) -> int:
    """Append strips and tags of a page; return where the place of the next is to be written.

    `info` is None for a thumbnail, and empty for all slices but the first.
    """
    count, height, width = page.shape
    offsets, byte_counts = [], []
    for channel in page:
        for first in range(0, height, rows):
            data = channel[first : first + rows].tobytes()
            offsets.append(len(out))
            byte_counts.append(len(data))
            out += imagecodecs.lzw_encode(data) if is_lzw else data
    tags = {
        254: (_LONG, [int(info is None)]),
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [page.dtype.itemsize * 8] * count),
        259: (_SHORT, [_LZW if is_lzw else 1]),
        262: (_SHORT, [1]),
        273: (_LONG, offsets),
        277: (_SHORT, [count]),
        278: (_LONG, [rows]),
        279: (_LONG, byte_counts),
        284: (_SHORT, [2]),
    }
    if info:
        tags[34412] = (_BYTE, list(info))
    entries = b""
    for code, (kind, values) in tags.items():
        value = struct.pack(f"<{len(values)}{'_BxHI'[kind]}", *values)
        if len(value) > 4:
            at = len(out)
            out += value
            value = struct.pack("<I", at)
        entries += struct.pack("<HHI4s", code, kind, len(values), value)
    struct.pack_into("<I", out, link, len(out))
    out += struct.pack("<H", len(tags)) + entries + bytes(4)
    return len(out) - 4


def _channel_colours(channels: Sequence[tuple[str, Colour]]) -> bytes:
    """Return the block of names and colours."""
    colours = b"".join(bytes((*colour, 0)) for _, colour in channels)
    names = b"".join(
        struct.pack("<I", len(name) + 1) + name.encode() + b"\0" for name, _ in channels
    )
    sizes = (24 + len(colours) + len(names), len(channels), len(channels), 24, 24 + len(colours), 0)
    return struct.pack("<6I", *sizes) + colours + names
