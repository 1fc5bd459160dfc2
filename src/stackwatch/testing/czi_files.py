"""Write CZI files as microscopes do, tile by tile, from the description of the format alone.

Zeiss' library writes CZI too, but no JPEG XR, no pyramids, no axes beside Z, C and T, and nothing
that is wrong.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
import zstandard
from numpy.typing import NDArray

_PIXEL_TYPES: Final = {
    ("uint8", 1): 0, ("uint16", 1): 1, ("float32", 1): 2, ("uint8", 3): 3, ("uint16", 3): 4,
    ("float32", 3): 8, ("uint32", 1): 12,
}  # fmt: skip
_JPEG_XR_GUID: Final = bytes.fromhex("24c3dd6f034efe4bb1853d77768dc9")
"""Of 8-bit colours in a JPEG XR, without its last byte."""

_FILE_BYTES: Final = 544

RAW, JPEG_XR, ZSTD0, ZSTD1 = 0, 4, 5, 6
"""Compressions as the format numbers them."""


@dataclass(frozen=True)
class CziTile:
    """One subblock.

    Attributes
    ----------
    pixels : array, shape (y, x) or (y, x, 3)
        Colours in the order red, green, blue; JPEG XR is lossless for 8 and 16 bit.
    at : (int, int)
        x and y of its corner on the stage.
    dims : mapping of str to int
        Its index along Z, C, T, S, M ...
    compression : int
    covers : (int, int) or None
        Width and height that it stands for, where it is of a coarser copy.
    metadata : bytes
        Its own XML, which stands before its pixels.
    """

    pixels: NDArray[Any]
    at: tuple[int, int] = (0, 0)
    dims: Mapping[str, int] = field(default_factory=dict)
    compression: int = RAW
    covers: tuple[int, int] | None = None
    metadata: bytes = b"<METADATA/>"


def write_czi(path: Path, tiles: Sequence[CziTile], xml: str = "", **fields: int) -> Path:
    """Write one CZI.

    Parameters
    ----------
    path : Path
    tiles : sequence of CziTile
        In the order they are to lie in the file.
    xml : str
        Metadata; empty writes none.
    **fields : int
        `part` (of a set of files), `tile_part`, `is_pending`, `directory_at` as they are to be
        written; `is_directory_first` puts the directory before the tiles, as ZEN often does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    body = bytearray(_FILE_BYTES)
    if fields.get("is_directory_first"):
        body += _directory([_entry(tile, 0, 0) for tile in tiles])
    entries = []
    for tile in tiles:
        entry = _entry(tile, len(body), fields.get("tile_part", 0))
        entries.append(entry)
        body += _subblock(tile, entry)
    metadata_at = len(body) if xml else 0
    if xml:
        text = xml.encode()
        body += _segment(b"ZISRAWMETADATA", struct.pack("<ii248x", len(text), 0) + text)
    directory = _directory(entries)
    directory_at = fields.get("directory_at", len(body))
    if fields.get("is_directory_first"):
        directory_at = _FILE_BYTES
        body[directory_at : directory_at + len(directory)] = directory
    else:
        body += directory
    head = struct.pack(
        "<iiii16s16siqqiq", 1, 0, 0, 0, b"p" * 16, b"f" * 16, fields.get("part", 0), directory_at,
        metadata_at, fields.get("is_pending", 0), 0,
    )  # fmt: skip
    body[:_FILE_BYTES] = _segment(b"ZISRAWFILE", head.ljust(512, b"\0"))
    path.write_bytes(body)
    return path


def czi_xml(
    *,
    sizes: Mapping[str, int] | None = None,
    edges_m: Mapping[str, float] | None = None,
    channels: Sequence[tuple[str, str]] = (),
    scenes: Sequence[str] = (),
) -> str:
    """Return metadata as ZEN writes them.

    Parameters
    ----------
    sizes : mapping of str to int
        Declared, by the letter of the axis.
    edges_m : mapping of str to float
        Of a voxel, in metres.
    channels : sequence of (str, str)
        Name and colour (`#AARRGGBB`, or empty) of each.
    scenes : sequence of str
        Their names.
    """
    declared = "".join(f"<Size{axis}>{size}</Size{axis}>" for axis, size in (sizes or {}).items())
    named = "".join(
        f'<Channel Id="Channel:{i}" Name="{name}"/>' for i, (name, _) in enumerate(channels)
    )
    shown = "".join(
        f'<Channel Id="Channel:{i}" Name="{name}">{f"<Color>{color}</Color>" if color else ""}'
        "</Channel>"
        for i, (name, color) in enumerate(channels)
    )
    places = "".join(f'<Scene Index="{i}" Name="{name}"/>' for i, name in enumerate(scenes))
    items = "".join(
        f'<Distance Id="{axis}"><Value>{edge!r}</Value></Distance>'
        for axis, edge in (edges_m or {}).items()
    )
    return (
        "<?xml version='1.0'?><ImageDocument><Metadata><Information><Image>"
        f"{declared}<Dimensions><Channels>{named}</Channels><S><Scenes>{places}</Scenes></S>"
        "</Dimensions></Image></Information>"
        f"<DisplaySetting><Channels>{shown}</Channels></DisplaySetting>"
        f"<Scaling><Items>{items}</Items></Scaling></Metadata></ImageDocument>"
    )


def _directory(entries: Sequence[bytes]) -> bytes:
    return _segment(b"ZISRAWDIRECTORY", struct.pack("<i124x", len(entries)) + b"".join(entries))


def _entry(tile: CziTile, position: int, part: int) -> bytes:
    height, width = tile.pixels.shape[:2]
    samples = 1 if tile.pixels.ndim == 2 else tile.pixels.shape[2]
    covered = tile.covers or (width, height)
    dims = [
        ("X", tile.at[0], covered[0], width),
        ("Y", tile.at[1], covered[1], height),
        *((name, start, 1, 1) for name, start in tile.dims.items()),
    ]
    head = struct.pack(
        "<2siqiiB5xi", b"DV", _PIXEL_TYPES[tile.pixels.dtype.name, samples], position, part,
        tile.compression, 0, len(dims),
    )  # fmt: skip
    return head + b"".join(
        struct.pack("<4siifi", name.encode(), start, size, 0.0, stored)
        for name, start, size, stored in dims
    )


def _subblock(tile: CziTile, entry: bytes) -> bytes:
    data = _encode(tile)
    head = struct.pack("<iiq", len(tile.metadata), 0, len(data)) + entry
    return _segment(b"ZISRAWSUBBLOCK", head.ljust(256, b"\0") + tile.metadata + data)


def _encode(tile: CziTile) -> bytes:
    stored = np.ascontiguousarray(tile.pixels[..., ::-1] if tile.pixels.ndim == 3 else tile.pixels)
    data = stored.tobytes()
    if tile.compression == JPEG_XR:
        encoded = imagecodecs.jpegxr_encode(np.ascontiguousarray(tile.pixels), level=1.0)
        # microscopes name the order blue, green, red; the colours of the picture stay what they are
        return bytes(encoded).replace(_JPEG_XR_GUID + b"\x0d", _JPEG_XR_GUID + b"\x0c")
    if tile.compression == ZSTD0:
        return zstandard.compress(data, 3)
    if tile.compression == ZSTD1:
        is_packed = tile.pixels.dtype.itemsize == 2
        if is_packed:  # low bytes first, then high bytes
            data = stored.reshape(-1).view(np.uint8).reshape(-1, 2).T.tobytes()
        return bytes([3, 1, is_packed]) + zstandard.compress(data, 3)
    return data


def _segment(name: bytes, data: bytes) -> bytes:
    allocated = -(-len(data) // 32) * 32
    head = struct.pack("<16sqq", name, allocated, len(data))
    return head + data.ljust(allocated, b"\0")
