"""Write volume files as instruments do, from the description of each format alone.

Written without the readers and without their libraries, so that neither can hide a mistake of the
other.
"""

import struct
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

ByteOrder = Literal["<", ">"]

_MRC_MODES: Final = {"int8": 0, "uint8": 0, "int16": 1, "float32": 2, "uint16": 6, "float16": 12}
_IMOD_STAMP: Final = 1146047817


def write_mrc(
    path: Path,
    stack: NDArray[Any],
    *,
    voxel_size_nm: tuple[float, float, float] | None = (1.0, 1.0, 1.0),
    order: ByteOrder = "<",
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


_DM_TYPES: Final = {
    "int16": (1, 2), "float32": (2, 6), "uint8": (6, 10), "int32": (7, 3), "int8": (9, 9),
    "uint16": (10, 4), "uint32": (11, 5), "float64": (12, 7), "bool": (14, 8), "int64": (39, 11),
    "uint64": (40, 12), "complex64": (3, None),
}  # fmt: skip
"""By numpy type: DigitalMicrograph's number for the pixels, and the tags' number for a value."""

Calibration = tuple[float, str]
"""Scale and unit of one axis."""


def write_dm(
    path: Path,
    *stacks: NDArray[Any],
    version: Literal[3, 4] = 3,
    order: ByteOrder = "<",
    calibrations: Sequence[Calibration] = (),
    has_thumbnail: bool = True,
    data_type: int | None = None,
    names: Sequence[str] = (),
) -> Path:
    """Write one DM3 or DM4 file.

    Parameters
    ----------
    path : Path
    *stacks : arrays, shape (y, x), (z, y, x) or, of colours, (y, x, 4) of uint8 with data type 23
        The images, one after another.
    version : 3 | 4
    order : "<" | ">"
        Byte order of the values.
    calibrations : sequence of (float, str)
        Scale and unit of x, y, z of every image.
    has_thumbnail : bool
        Whether a small RGB picture comes first, as DigitalMicrograph writes one.
    data_type : int or None
        Written instead of the one that fits the array.
    names : sequence of str
        Of the images; empty leaves them without.
    """
    writer = _DmTags(version, order)
    images = [
        writer.image(stack, calibrations, data_type, name)
        for stack, name in zip_longest(stacks, names, fillvalue="")
        if not isinstance(stack, str)
    ]
    tags: list[tuple[str, bytes]] = []
    if has_thumbnail:
        thumbnail = np.zeros((3, 5, 4), np.uint8)
        images.insert(0, writer.image(thumbnail, (), 23))
        index = writer.group([("ImageIndex", writer.scalar(5, 0))])
        tags.append(("Thumbnails", writer.group([("", index)])))
    tags.insert(0, ("ImageList", writer.group([("", image) for image in images])))
    tags.insert(0, ("ApplicationBounds", writer.record((3, 3, 3, 3), (0, 0, 900, 1600))))
    tags.append(("InImageMode", writer.scalar(8, True)))
    body = writer.group(tags)[1:]
    word = "i" if version == 3 else "q"
    head = struct.pack(f">i{word}i", version, len(body) + 4, int(order == "<"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + body + bytes(8))
    return path


class _DmTags:
    """Builds tags: each is its kind (one byte) and its content; names are put before by `group`."""

    def __init__(self, version: int, order: ByteOrder) -> None:
        self._order = order
        self._word = "i" if version == 3 else "q"

    def group(self, tags: Sequence[tuple[str, bytes]]) -> bytes:
        parts = [struct.pack(f">2B{self._word}", 1, 0, len(tags))]
        for name, tag in tags:
            label = name.encode("latin-1")
            length = struct.pack(">Q", len(tag) - 1) if self._word == "q" else b""
            parts.append(tag[:1] + struct.pack(">H", len(label)) + label + length + tag[1:])
        return b"\x14" + b"".join(parts)

    def scalar(self, code: int, value: float) -> bytes:
        letter = {3: "i", 4: "H", 5: "I", 6: "f", 7: "d", 8: "?"}[code]
        return self._value((code,), struct.pack(self._order + letter, value))

    def record(self, codes: Sequence[int], values: Sequence[int]) -> bytes:
        fields = [number for code in codes for number in (0, code)]
        data = struct.pack(f"{self._order}{len(values)}i", *values)
        return self._value((15, 0, len(codes), *fields), data)

    def text(self, text: str) -> bytes:
        data = text.encode("utf-16-le" if self._order == "<" else "utf-16-be")
        return self._value((20, 4, len(text)), data)

    def image(
        self,
        stack: NDArray[Any],
        calibrations: Sequence[Calibration],
        data_type: int | None,
        name: str = "",
    ) -> bytes:
        number, code = _DM_TYPES.get(stack.dtype.name, (0, None))
        is_rgb = data_type in {8, 23}
        sizes = stack.shape[-2::-1] if is_rgb else stack.shape[::-1]
        data = stack.astype(stack.dtype.newbyteorder(self._order)).tobytes()
        described: tuple[int | None, ...] = (20, code, stack.size)
        if is_rgb:
            described = (20, 5, stack.size // 4)
        elif code is None:
            described = (20, 15, 0, 2, 0, 6, 0, 6, stack.size)
        axes = [
            self.group([
                ("Origin", self.scalar(6, 0.0)),
                ("Scale", self.scalar(6, scale)),
                ("Units", self.text(unit)),
            ])
            for scale, unit in [*calibrations, *[(1.0, "")] * 3][: len(sizes)]
        ]  # fmt: skip
        content = self.group([
            ("Calibrations", self.group([("Dimension", self.group([("", a) for a in axes]))])),
            ("Data", self._value(described, data)),
            ("DataType", self.scalar(5, number if data_type is None else data_type)),
            ("Dimensions", self.group([("", self.scalar(5, size)) for size in sizes])),
            ("PixelDepth", self.scalar(5, stack.dtype.itemsize)),
        ])  # fmt: skip
        remarks = self.group([("Session", self.text("synthetic"))])
        named = [("Name", self.text(name))] if name else []
        return self.group([("ImageData", content), ("ImageTags", remarks), *named])

    def _value(self, info: Sequence[int | None], data: bytes) -> bytes:
        count = len(info)
        return b"\x15%%%%" + struct.pack(f">{count + 1}{self._word}", count, *info) + data


_NIFTI_TYPES: Final = {
    "uint8": 2, "int16": 4, "int32": 8, "float32": 16, "complex64": 32, "float64": 64, "int8": 256,
    "uint16": 512, "uint32": 768, "int64": 1024, "uint64": 1280,
}  # fmt: skip
_NIFTI_UNITS: Final = {"": 0, "m": 1, "mm": 2, "µm": 3}


def write_nifti(
    path: Path,
    stack: NDArray[Any],
    *,
    version: Literal[1, 2] = 1,
    order: ByteOrder = "<",
    edges: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    unit: str = "mm",
    scale: tuple[float, float] = (0.0, 0.0),
    **fields: int,
) -> Path:
    """Write one NIfTI file with its header in front.

    Parameters
    ----------
    path : Path
    stack : array, shape (z, y, x), (t, z, y, x) or (c, t, z, y, x); of a record type for colours
        A type of three or four fields of uint8 is RGB or RGBA.
    version : 1 | 2
    order : "<" | ">"
        Byte order.
    edges : tuple of float
        Along x, y, z and so on, in `unit`.
    unit : "" | "m" | "mm" | "µm"
    scale : (float, float)
        Slope and intercept.
    **fields : int
        `datatype`, `offset`, `count` (of axes) as they are to be written.
    """
    sizes = [*reversed(stack.shape), *[1] * (7 - stack.ndim)]
    steps = [1.0, *edges, *[0.0] * (7 - len(edges))]
    colours = {3: 128, 4: 2304}.get(len(stack.dtype.names or ()))
    datatype = fields.get("datatype", colours or _NIFTI_TYPES.get(stack.dtype.name, 0))
    count, code = fields.get("count", stack.ndim), _NIFTI_UNITS[unit] | 8  # seconds
    least = 352 if version == 1 else 544
    head = bytearray(least)
    start = fields.get("offset", least)
    if version == 1:
        struct.pack_into(f"{order}i", head, 0, 348)
        struct.pack_into(f"{order}8h", head, 40, count, *sizes)
        struct.pack_into(f"{order}2h", head, 70, datatype, stack.dtype.itemsize * 8)
        struct.pack_into(f"{order}8f3f", head, 76, *steps, start, *scale)
        head[123] = code
        head[344:348] = b"n+1\0"
    else:
        struct.pack_into(f"{order}i8s2h", head, 0, 540, b"n+2\0\r\n\x1a\n", datatype, 8)
        struct.pack_into(f"{order}8q", head, 16, count, *sizes)
        struct.pack_into(f"{order}8dq2d", head, 104, *steps, start, *scale)
        struct.pack_into(f"{order}i", head, 500, code)
    path.parent.mkdir(parents=True, exist_ok=True)
    values = stack if colours else stack.astype(stack.dtype.newbyteorder(order))
    path.write_bytes(bytes(head) + bytes(max(0, start - least)) + values.tobytes())
    return path
