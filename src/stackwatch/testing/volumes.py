"""Write volume files as instruments do, from the description of each format alone.

Written without the readers and without their libraries, so that neither can hide a mistake of the
other.
"""

import struct
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

_MRC_MODES: Final = {"int8": 0, "uint8": 0, "int16": 1, "float32": 2, "uint16": 6, "float16": 12}
_IMOD_STAMP: Final = 1146047817


def write_mrc(
    path: Path,
    stack: NDArray[Any],
    *,
    voxel_size_nm: tuple[float, float, float] | None = (1.0, 1.0, 1.0),
    order: Literal["<", ">"] = "<",
    axis_order: tuple[int, int, int] = (1, 2, 3),
    extended: bytes = b"",
    stamp: bytes = b"MAP ",
    **fields: float,
) -> Path:
    """Write one MRC file.

    Parameters
    ----------
    path : Path
    stack : array, shape (z, y, x) or (z, y, x, 3)
        The type gives the mode; uint8 gets IMOD's stamp and its flag for unsigned bytes.
    voxel_size_nm : (x, y, z) or None
        None leaves the cell at zero.
    order : "<" | ">"
        Byte order.
    axis_order : (int, int, int)
        Which of x (1), y (2), z (3) the stored columns, rows and sections run along.
    extended : bytes
        Of the extended header.
    stamp : bytes
        Four bytes that mark the format.
    **fields : float
        `mode`, `mz`, `ispg`, `smallest`, `largest`, `angle`, `imod_stamp`, `imod_flags` as they are
        to be written.
    """
    by_axis = {1: 2, 2: 1, 3: 0}
    stored = stack.transpose(*(by_axis[a] for a in reversed(axis_order)), *range(3, stack.ndim))
    sizes = {"x": stack.shape[2], "y": stack.shape[1], "z": int(fields.get("mz") or len(stack))}
    mode = _MRC_MODES[stack.dtype.name] if stack.ndim == 3 else 16
    edges = voxel_size_nm or (0.0, 0.0, 0.0)
    cell = [edge * 10 * size for edge, size in zip(edges, sizes.values(), strict=True)]
    head = bytearray(1024)
    struct.pack_into(
        f"{order}4i", head, 0, *reversed(stored.shape[:3]), int(fields.get("mode", mode))
    )
    struct.pack_into(f"{order}3i3f", head, 28, *sizes.values(), *cell)
    struct.pack_into(f"{order}3f3i", head, 52, *[fields.get("angle", 90.0)] * 3, *axis_order)
    struct.pack_into(
        f"{order}3f2i", head, 76,
        fields.get("smallest", 0.0), fields.get("largest", -1.0), -1.0,
        int(fields.get("ispg", 1)), len(extended),
    )  # fmt: skip
    imod_stamp = fields.get("imod_stamp", _IMOD_STAMP if stack.dtype == np.uint8 else 0)
    struct.pack_into(f"{order}2i", head, 152, int(imod_stamp), int(fields.get("imod_flags", 0)))
    head[208:212] = stamp
    head[212:216] = b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0"
    path.parent.mkdir(parents=True, exist_ok=True)
    values = stored.astype(stored.dtype.newbyteorder(order))
    path.write_bytes(bytes(head) + extended + values.tobytes())
    return path
