"""Nikon ND2: positions, times and slices in the order of the experiment's loops, read by nd2.

A frame holds all channels of a slice. The library reads through a stream of ours: it maps nothing
into memory, and what it fills with zeros (a frame that is not in the file, one that is cut) is
noticed and refused.
"""

import math
import struct
import zlib
from copy import copy
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

import nd2
import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError, StackwatchError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import Channel, ImageInfo, PixelFormat
from stackwatch.readers.damage import damaged_header, no_such_image, unsupported
from stackwatch.readers.limits import check_declared_size
from stackwatch.readers.protocol import RawPlane
from stackwatch.readers.scale import length_nm
from stackwatch.readers.stream import ReadingStream

_ERRORS: Final = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, RuntimeError,
    ArithmeticError, OSError, EOFError, MemoryError, RecursionError, SyntaxError, struct.error,
    zlib.error,
)  # fmt: skip
"""What the library raises on damaged bytes."""

_DTYPES: Final = frozenset({"uint8", "uint16", "uint32", "int16", "int32", "float32"})
_LOOPS: Final = {"TimeLoop": "T", "NETimeLoop": "T", "XYPosLoop": "P", "ZStackLoop": "Z"}


@dataclass(frozen=True)
class _Frames:
    """Which frame of the file is which plane, and how its pixels lie.

    Attributes
    ----------
    numbers : array of int64, shape (t, z)
        Of one position.
    count : int
        Of all positions.
    shape_cyx : (int, int, int)
        Of a frame.
    """

    numbers: NDArray[np.int64]
    count: int
    shape_cyx: tuple[int, int, int]


def open_nd2(file: BinaryIO, name: str, scene: int = 0) -> "Nd2Reader":
    """Read the metadata of an ND2 and return the reader of one of its positions.

    Parameters
    ----------
    file : BinaryIO
    name : str
    scene : int
        Which position of the stage, counted from 0.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError, LimitExceededError
        The caller passes them on.
    """
    try:
        with _opened(ReadingStream(file, name)) as library:
            frames, info = _parse(library, name, scene)
    except StackwatchError:
        raise
    except _ERRORS as error:
        raise damaged_header(name, f"{type(error).__name__}: {error}") from error
    pixel_bytes = frames.shape_cyx[0] * np.dtype(info.pixels.dtype_name).itemsize
    file_bytes = file.seek(0, 2)
    check_declared_size(name, info.size_x, info.size_y, pixel_bytes, file_bytes)
    return Nd2Reader(file, name, frames, info, file_bytes)


class Nd2Reader:
    """One position of an ND2; `readers.probe.open_image` is the way in.

    Cost: a frame is read anew for each of its channels. The digest follows the frames through the
    file in the order of their numbers, as they are written.
    """

    def __init__(
        self, file: BinaryIO, name: str, frames: _Frames, info: ImageInfo, file_bytes: int
    ) -> None:
        self.info = info
        self._file = file
        self._name = name
        self._frames = frames
        self._file_bytes = file_bytes
        self._stream: ReadingStream | None = None
        self._library: nd2.ND2File | None = None

    @property
    def decode_bytes(self) -> int:
        """Memory that reading one plane takes at most: the frame as stored, twice unpacked."""
        values = math.prod(self._frames.shape_cyx)
        return 3 * values * np.dtype(self.info.pixels.dtype_name).itemsize

    def reopened(self, file: BinaryIO) -> "Nd2Reader":
        """Return a reader of the same position for another thread."""
        other = copy(self)
        other._file = file
        other._stream = other._library = None
        return other

    def read_plane(self, t: int, c: int, z: int, rows: tuple[int, int]) -> NDArray[Any]:
        """Return rows of one plane, as `SliceReader.read_plane` says."""
        number = int(self._frames.numbers[t, z])
        try:
            stream, library = self._handle()
            stream.forget_reads()
            frame: NDArray[Any] = library.read_frame(number)
            if stream.is_short or not stream.reads:
                raise ValueError("the frame is not in the file")
            frame = frame.reshape(self._frames.shape_cyx)
        except StackwatchError:
            raise
        except _ERRORS as error:
            raise self._damaged(t, c, z, error) from error
        return frame[c, rows[0] : rows[1]]

    def raw_plane(self, t: int, c: int, z: int) -> RawPlane | None:
        """Return None: channels lie pixel by pixel."""
        del t, c, z
        return None

    def byte_span(self, t: int, c: int, z: int) -> tuple[int, int]:
        """Return about where a frame lies: frames follow each other in the file."""
        del c
        number = int(self._frames.numbers[t, z])
        start, end = (self._file_bytes * at // self._frames.count for at in (number, number + 1))
        return start, end

    def palette_rgb(self) -> NDArray[Any] | None:
        """Return None: an ND2 has no palettes."""
        return None

    def close(self) -> None:
        """Release the library's handle; the file itself is the opener's."""
        if self._library is not None:
            self._library.close()
            self._stream = self._library = None

    def _handle(self) -> tuple[ReadingStream, nd2.ND2File]:
        if self._library is None or self._stream is None:
            self._stream = ReadingStream(self._file, self._name)
            self._library = _opened(self._stream)
            _ = self._library.attributes, self._library.metadata  # all that a frame's shape needs
        return self._stream, self._library

    def _damaged(self, t: int, c: int, z: int, error: Exception) -> CorruptSliceError:
        return CorruptSliceError(
            f"Plane z={z} c={c} t={t} of “{show_path(self._name)}” cannot be read ({error}): the "
            "file is damaged, or was not written completely. Copy the file again.",
            hint="Copy the file again.",
            path=show_path(self._name),
            z=z,
            c=c,
            t=t,
        )


def _opened(stream: ReadingStream) -> nd2.ND2File:
    return nd2.ND2File(cast("Any", stream))


def _parse(library: nd2.ND2File, name: str, scene: int) -> tuple[_Frames, ImageInfo]:
    stated = library.attributes
    if not stated.widthPx or min(stated.widthPx, stated.heightPx, stated.componentCount) < 1:
        raise damaged_header(name, f"{stated.widthPx} x {stated.heightPx} pixels are declared")
    if library.is_rgb:  # no real file has taught in which order its colours lie
        raise unsupported(name, "colours (RGB)", "Export it as TIFF from NIS-Elements.")
    shape_cyx = (stated.componentCount, stated.heightPx, stated.widthPx)
    sizes = _loop_sizes(library, name)
    positions = sizes.get("P", 1)
    if scene >= positions:
        raise no_such_image(name, scene, positions)
    numbers = _numbers_ptz(sizes)[scene]
    absent = [(int(t), int(z)) for t, z in np.argwhere(numbers >= stated.sequenceCount)]
    dtype_name = library.dtype.name
    if dtype_name not in _DTYPES:
        raise unsupported(name, f"values of the type {dtype_name}", "Save it as TIFF.")
    size, source = _voxel_size(library, has_z="Z" in sizes)
    info = ImageInfo(
        reader="nd2",
        size_y=stated.heightPx,
        size_x=stated.widthPx,
        pixels=PixelFormat(dtype_name),
        size_z=sizes.get("Z", 1),
        size_c=shape_cyx[0],
        size_t=sizes.get("T", 1),
        voxel_size_nm=size,
        voxel_size_source=source,
        channels=_channels(library, shape_cyx[0]),
        is_time_declared=True,
        is_z_declared=True,
        scenes=_position_names(library, positions) if positions > 1 else (),
        scene=scene,
        absent_tcz=tuple((t, c, z) for t, z in absent for c in range(shape_cyx[0])),
    )
    return _Frames(numbers, max(stated.sequenceCount, 1), shape_cyx), info


def _loop_sizes(library: nd2.ND2File, name: str) -> dict[str, int]:
    """Return the sizes of the experiment's loops, slowest first; make sure of what they mean."""
    sizes: dict[str, int] = {}
    for loop in library.experiment:
        if loop.count == 1:
            continue
        axis = _LOOPS.get(loop.type, "")
        if not axis or axis in sizes:
            shown = ", ".join(f"{found.type} of {found.count}" for found in library.experiment)
            hint = "Export it as OME-TIFF from NIS-Elements."
            raise unsupported(name, f"loops of no certain meaning ({shown})", hint)
        sizes[axis] = int(loop.count)
    frames, declared = library.attributes.sequenceCount, math.prod(sizes.values())
    if frames > declared:
        what = f"{frames} frames where its experiment declares {declared}"
        raise unsupported(name, what, "Save it again from NIS-Elements.")
    return sizes


def _numbers_ptz(sizes: dict[str, int]) -> NDArray[np.int64]:
    """Return the number of each frame, axes p, t, z, from loops in any order."""
    numbers = np.arange(math.prod(sizes.values()), dtype=np.int64).reshape(tuple(sizes.values()))
    missing = [axis for axis in "PTZ" if axis not in sizes]
    order = [*missing, *sizes]
    return numbers[(None,) * len(missing)].transpose([order.index(axis) for axis in "PTZ"])


def _voxel_size(library: nd2.ND2File, *, has_z: bool) -> tuple[PartialVoxelSize, str]:
    """Return what is calibrated; one slice has no distance to another."""
    metadata = library.metadata
    channels = getattr(metadata, "channels", None)
    if not channels:
        return PartialVoxelSize(), ""
    volume = channels[0].volume
    edges = [
        length_nm(abs(edge), "µm") if is_measured else None
        for edge, is_measured in zip(volume.axesCalibration, volume.axesCalibrated, strict=True)
    ]
    x, y, z = edges
    return PartialVoxelSize(x, y, z if has_z else None), "ND2 calibration"


def _channels(library: nd2.ND2File, count: int) -> tuple[Channel, ...]:
    found = getattr(library.metadata, "channels", None) or []
    if len(found) != count:
        return ()
    return tuple(
        Channel(
            str(one.channel.name).strip(),
            (int(one.channel.color.r), int(one.channel.color.g), int(one.channel.color.b)),
        )
        for one in found
    )


def _position_names(library: nd2.ND2File, count: int) -> tuple[str, ...]:
    for loop in library.experiment:
        if loop.type == "XYPosLoop":
            points = loop.parameters.points
            if len(points) == count:
                return tuple(point.name or "" for point in points)
    return ("",) * count
