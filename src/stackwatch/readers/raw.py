"""Raw files: an array without a header, described by settings or by a small text beside it.

Nothing is guessed: without extents, type, byte order and order of axes a raw file is not read, and
its size has to match to the byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np

from stackwatch.errors import (
    ConflictingMetadataError,
    CorruptSliceError,
    MissingMetadataError,
    StackwatchError,
)
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.model.raw import RawFacts
from stackwatch.readers.damage import damaged_header
from stackwatch.readers.volume import ArrayLayout, ByteOrder, PlainBytes, VolumeReader


@dataclass(frozen=True, slots=True)
class RawShape:
    """What a raw file does not say itself.

    Attributes
    ----------
    axes : str
        Letters of t, c, z, y, x and s (samples), slowest first; y and x are there, s is last.
    shape : tuple of int
        One extent for each axis.
    dtype_name : str
        One of `RAW_DTYPES`.
    byte_order : "<" | ">"
    offset : int
        Bytes before the first value.
    voxel_size_nm : PartialVoxelSize
    source : str
        Where this stands, for messages.
    voxel_size_source : str
    """

    axes: str
    shape: tuple[int, ...]
    dtype_name: str
    byte_order: ByteOrder = "<"
    offset: int = 0
    voxel_size_nm: PartialVoxelSize = PartialVoxelSize()
    source: str = "the settings"
    voxel_size_source: str = ""

    @property
    def words(self) -> str:
        """For people: what the file is taken for."""
        sizes = " x ".join(f"{size:,}" for size in self.shape)
        order = {"<": ", little-endian", ">": ", big-endian"}[self.byte_order]
        known = order if np.dtype(self.dtype_name).itemsize > 1 else ""
        return f"{sizes} ({self.axes}) {self.dtype_name}{known} from byte {self.offset:,}"

    @property
    def layout(self) -> ArrayLayout:
        """Return where the values lie."""
        dtype = np.dtype(self.dtype_name).newbyteorder(self.byte_order)
        return ArrayLayout(self.offset, dtype, self.axes, self.shape)


class RawWord(NamedTuple):
    """What one place says of raw files.

    Attributes
    ----------
    facts : RawFacts
    source : str
        For messages: “the settings”, the name of a text.
    is_text : bool
        Whether it is a text beside the file, in which `shape` alone does not tell its axes.
    voxel_size_nm : PartialVoxelSize
    """

    facts: RawFacts
    source: str
    is_text: bool = False
    voxel_size_nm: PartialVoxelSize = PartialVoxelSize()


def open_raw(file: BinaryIO, name: str, shape: RawShape) -> VolumeReader:
    """Return the reader of a raw file.

    Raises
    ------
    CorruptSliceError
        The file is shorter than its description says.
    ConflictingMetadataError
        It is longer: the description is not of this file.
    UnsupportedFormatError
        Two or five and more samples per pixel.
    """
    layout = shape.layout
    source = PlainBytes(file, name)
    samples = layout.size("s")
    if samples not in {1, 3, 4}:
        raise damaged_header(name, f"{shape.source} says {samples} samples per pixel, not 1, 3, 4")
    if source.size != layout.offset + layout.array_bytes:
        raise _other_size(name, source.size, shape)
    info = ImageInfo(
        reader="raw",
        size_y=layout.size("y"),
        size_x=layout.size("x"),
        pixels=PixelFormat(
            shape.dtype_name, "rgb" if samples > 1 else "grey", samples, has_alpha=samples == 4
        ),
        voxel_size_nm=shape.voxel_size_nm,
        voxel_size_source=shape.voxel_size_source,
        is_z_declared=layout.size("z") > 1,
        is_time_declared=layout.size("t") > 1,
    )
    return VolumeReader(source, layout, info)


def open_undescribed(file: BinaryIO, name: str) -> VolumeReader:
    """Refuse a raw file of which nobody was asked what it is.

    Raises
    ------
    MissingMetadataError
        Always.
    """
    del file
    raise _unsaid(name, "shape", "its extents")


def _other_size(name: str, found: int, shape: RawShape) -> StackwatchError:
    layout = shape.layout
    described = layout.offset + layout.array_bytes
    hint = "Correct the extents, the type or the offset of the raw file, or copy it again."
    kind = ConflictingMetadataError if found > described else CorruptSliceError
    left = "left out" if found > described else "missing"
    return kind(
        f"“{show_path(name)}” has {found:,} bytes, but by {shape.source} it should have "
        f"{described:,} ({shape.words}): {abs(found - described):,} would be {left}. {hint}",
        hint=hint,
        path=show_path(name),
        bytes_present=found,
        bytes_described=described,
    )


def complete_raw(said: Sequence[RawWord], name: str) -> RawShape:
    """Return what a raw file is, of what several places say.

    Each value is taken from the first that says it; axes never from one whose own shape was
    overruled.

    Parameters
    ----------
    said : sequence of RawWord
        The strongest first.
    name : str
        Of the raw file, for messages.

    Raises
    ------
    MissingMetadataError
        A fact is missing; the caller parks.
    ConflictingMetadataError
        There are not as many axes as extents.
    """
    at_shape = _first(said, "shape")
    if at_shape is None:
        raise _unsaid(name, "shape", "its extents")
    axes, at_axes = _axes_for(said, at_shape, name)
    at_dtype = _first(said, "dtype")
    if at_dtype is None:
        raise _unsaid(name, "dtype", "the type of its values")
    at_order = _first(said, "byte_order")
    if at_order is None and np.dtype(at_dtype.facts.dtype).itemsize > 1:
        raise _unsaid(name, "byte_order", "the order of the bytes of a value")
    at_offset = next((one for one in said if one.facts.offset is not None), None)
    sized = next((one for one in said if any(one.voxel_size_nm)), None)
    used = (at_shape, at_axes, at_dtype, at_order, at_offset)
    sources = dict.fromkeys(one.source for one in said if one in used)
    return RawShape(
        axes,
        at_shape.facts.shape,
        at_dtype.facts.dtype,
        ">" if at_order is not None and at_order.facts.byte_order == "big" else "<",
        at_offset.facts.offset or 0 if at_offset is not None else 0,
        sized.voxel_size_nm if sized is not None else PartialVoxelSize(),
        " and ".join(sources),
        sized.source if sized is not None else "",
    )


def _first(said: Sequence[RawWord], fact: str) -> RawWord | None:
    return next((one for one in said if getattr(one.facts, fact)), None)


def _axes_for(said: Sequence[RawWord], at_shape: RawWord, name: str) -> tuple[str, RawWord]:
    """Return the axes of a shape, and who says them."""
    overruled = [one for one in said if one.facts.shape and one is not at_shape]
    at_axes = _first([one for one in said if one not in overruled], "axes") or at_shape
    axes = at_axes.facts.axes or ("" if at_shape.is_text else at_shape.facts.order_of_axes)
    if not axes:
        raise _unsaid(name, "axes", "which axis each of its extents is")
    if len(axes) != len(at_shape.facts.shape):
        hint = "Name as many axes as extents."
        raise ConflictingMetadataError(
            f"“{show_path(name)}”: {at_shape.source} says {len(at_shape.facts.shape)} extents, "
            f"{at_axes.source} the axes “{axes}”. {hint}",
            hint=hint,
            path=show_path(name),
        )
    return axes, at_axes


def _unsaid(name: str, what: str, meaning: str) -> MissingMetadataError:
    text = show_path(PurePosixPath(name).with_suffix(".json").name)
    hint = (
        f"Set `{what}` in `[folder.raw]` or under `[raw]` in the sidecar "
        f"(`--raw-{what.replace('_', '-')}`), or in a text “{text}” beside it."
    )
    return MissingMetadataError(
        f"“{show_path(name)}” is raw, and nothing says {meaning}. It is never guessed. {hint}",
        hint=hint,
        path=show_path(name),
        missing=what,
    )
