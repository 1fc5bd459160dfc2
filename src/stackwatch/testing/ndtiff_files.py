"""Write NDTiff: `NDTiff.index` and TIFF files, as Micro-Manager and Pycro-Manager do."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Plane = tuple[dict[str, Any], NDArray[Any]]
"""The place of a plane along its axes, and its pixels."""

SUMMARY: Final = {"PixelSize_um": 0.25, "z-step_um": -0.5}
_PLANE_TEXT: Final = b'{"Exposure": 1}'
_TAGS: Final = 10


def write_ndtiff(
    folder: Path,
    planes: Sequence[Plane],
    *,
    per_file: int = 1000,
    order: Literal["<", ">"] = "<",
    summary: dict[str, Any] | None = None,
) -> Path:
    """Write a dataset and return its index.

    Parameters
    ----------
    folder : Path
    planes : sequence of Plane
        Of shape (y, x) or (y, x, 3), uint8 or uint16, in the order in which they are written.
    per_file : int
        Planes of a file.
    order : "<" | ">"
        Of the bytes of the TIFF files.
    summary : dict or None
        Of the acquisition; None for a pixel of 250 nm and steps of 500 nm.
    """
    folder.mkdir(parents=True)
    index = b""
    for number, first in enumerate(range(0, len(planes), per_file)):
        name = f"run_NDTiffStack{f'_{number}' if number else ''}.tif"
        text = json.dumps(SUMMARY if summary is None else summary).encode()
        data = bytearray(b"II*\0" if order == "<" else b"MM\0*")
        data += struct.pack(f"{order}6I", 28 + len(text), 483729, 3, 3, 2355492, len(text)) + text
        part = planes[first : first + per_file]
        for place, (axes, plane) in enumerate(part):
            offsets = _append_page(data, plane, order, is_last=place == len(part) - 1)
            kind = 2 if plane.ndim == 3 else int(plane.dtype == np.uint16)
            where = json.dumps(axes).encode()
            index += struct.pack("<I", len(where)) + where
            index += struct.pack("<I", len(name)) + name.encode()
            numbers = (
                offsets[0],
                plane.shape[1],
                plane.shape[0],
                kind,
                0,
                offsets[1],
                len(_PLANE_TEXT),
                0,
            )
            index += struct.pack("<8I", *numbers)
        (folder / name).write_bytes(data)
    path = folder / "NDTiff.index"
    path.write_bytes(index)
    return path


def _append_page(
    data: bytearray, plane: NDArray[Any], order: Literal["<", ">"], *, is_last: bool
) -> tuple[int, int]:
    """Append a directory, its pixels and its metadata; return where the latter two lie."""
    pixels = plane.astype(plane.dtype.newbyteorder(order)).tobytes()
    samples = plane.shape[2] if plane.ndim == 3 else 1
    bits = 8 * plane.itemsize
    start = len(data)
    after = start + 2 + 12 * _TAGS + 4
    at = after + 6
    text_at = at + len(pixels)
    next_page = 0 if is_last else text_at + len(_PLANE_TEXT)
    tags = [
        (256, 4, 1, plane.shape[1]), (257, 4, 1, plane.shape[0]),
        (258, 3, samples, after if samples > 1 else bits), (259, 3, 1, 1),
        (262, 3, 1, 2 if samples > 1 else 1), (273, 4, 1, at), (277, 3, 1, samples),
        (278, 4, 1, plane.shape[0]), (279, 4, 1, len(pixels)),
        (51123, 2, len(_PLANE_TEXT), text_at),
    ]  # fmt: skip
    assert len(tags) == _TAGS
    data += struct.pack(f"{order}H", len(tags))
    for code, kind, count, value in tags:
        is_short = kind == 3 and count == 1
        data += struct.pack(f"{order}2HI", code, kind, count)
        data += struct.pack(f"{order}2H", value, 0) if is_short else struct.pack(f"{order}I", value)
    data += struct.pack(f"{order}I3H", next_page, bits, bits, bits) + pixels + _PLANE_TEXT
    return at, text_at
