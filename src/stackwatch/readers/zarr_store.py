"""Zarr arrays of an acquisition: a store that only reads, and parts of an array.

zarr-python decodes both versions of the format, sharded or not; every byte it sees comes through
`FolderView`. A chunk that is not there is filled with the array's fill value: so the format says.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from stackwatch.errors import CorruptSliceError, StackwatchError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path
from stackwatch.readers.chunked import BoxKey, select_axes
from stackwatch.readers.folder import FolderView, join


class FolderStore(Store):
    """The files below a folder of an acquisition, as zarr-python wants to see them."""

    def __init__(self, view: FolderView, folder: str) -> None:
        super().__init__(read_only=True)
        self._view = view
        self._folder = folder

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __str__(self) -> str:
        return f"acquisition://{self._folder}"

    @property
    def supports_writes(self) -> bool:
        """False: drop folders are never written to."""
        return False

    @property
    def supports_deletes(self) -> bool:
        """False, as above."""
        return False

    @property
    def supports_listing(self) -> bool:
        """True."""
        return True

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a file, or the part of it that is asked for; None if there is none."""
        data = await asyncio.to_thread(self._read, join(self._folder, key), byte_range)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def _read_parts(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of several files."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    get_partial_values = _read_parts  # the name is zarr-python's

    async def exists(self, key: str) -> bool:
        """Tell whether a file is listed."""
        return join(self._folder, key) in self._view.entries

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse."""
        self._refuse()

    async def delete(self, key: str) -> None:
        """Refuse."""
        self._refuse()

    async def list(self) -> AsyncIterator[str]:
        """Yield every file."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield every file whose path begins so."""
        below = f"{self._folder}/" if self._folder else ""
        for path in self._view.entries:
            if path.startswith(below + prefix):
                yield path[len(below) :]

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly in a folder."""
        for name in self._view.names_in(join(self._folder, prefix.rstrip("/"))):
            yield name

    def _read(self, path: str, part: ByteRequest | None) -> bytes | None:
        entry = self._view.entries.get(path)
        match part:
            case RangeByteRequest(start, end):
                return self._view.read_part(path, start, end - start)
            case OffsetByteRequest(offset):
                return self._view.read_part(path, offset, entry.size if entry else 0)
            case SuffixByteRequest(suffix):
                start = max(0, entry.size - suffix) if entry else 0
                return self._view.read_part(path, start, suffix)
        return self._view.read(path)

    def _refuse(self) -> NoReturn:
        raise PermissionError("acquisitions are never written to")


def open_array(view: FolderView, folder: str) -> zarr.Array[Any]:
    """Open the array of a folder.

    Raises
    ------
    CorruptSliceError
        Its metadata make no sense.
    UnsupportedFormatError
        A codec is not known.
    """
    try:
        return zarr.open_array(FolderStore(view, folder), mode="r")
    except StackwatchError:
        raise
    except Exception as error:  # whatever its metadata make of the library
        why = " ".join(str(error).split())[:200]
        raise UnsupportedFormatError(
            f"The Zarr array “{show_path(folder)}” cannot be opened ({why}): its metadata are "
            "damaged, or it needs a codec that is not installed. Copy it again, or save it with "
            "blosc, zstd or gzip.",
            hint="Copy it again, or save it with blosc, zstd or gzip.",
            path=show_path(folder),
        ) from error


def read_json(view: FolderView, path: str) -> dict[str, Any] | None:
    """Return a file of metadata, or None if there is none.

    Raises
    ------
    CorruptSliceError
        It is no JSON object.
    """
    data = view.read(path)
    if data is None:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        found = error
    if isinstance(found, dict):
        return found
    raise CorruptSliceError(
        f"“{show_path(path)}” is no JSON object ({found}): it is damaged or was not written "
        "completely. Copy the file again.",
        hint="Copy the file again.",
        path=show_path(path),
    )


def read_array(array: zarr.Array[Any], index: tuple[int | slice, ...], folder: str) -> NDArray[Any]:
    """Return a part of an array, native byte order.

    Raises
    ------
    CorruptSliceError
        A chunk of it is damaged.
    """
    try:
        found = np.asarray(array[index])
    except StackwatchError:
        raise
    except Exception as error:  # codecs raise what they like
        why = " ".join(str(error).split())[:200]
        shown = ", ".join(
            f"{part.start or 0}:{'' if part.stop is None else part.stop}"
            if isinstance(part, slice)
            else str(part)
            for part in index
        )
        raise CorruptSliceError(
            f"Part [{shown}] of the Zarr array “{show_path(folder)}” cannot be decoded ({why}): a "
            "chunk is truncated or damaged. Copy it again.",
            hint="Copy the array again.",
            path=show_path(folder),
        ) from error
    return found.astype(found.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class ZarrBoxes:
    """Parts of one array; shared by all threads.

    Attributes
    ----------
    array : zarr.Array
    axes : str
        Letters of t, c, z, y, x, s in the array's order.
    folder : str
        Where it lies, for messages.
    """

    array: zarr.Array[Any]
    axes: str
    folder: str

    @property
    def chunk_depth(self) -> int:
        """Slices that are decoded together."""
        return self._along("z")

    @property
    def chunk_rows(self) -> int:
        """Rows of pixels that are decoded together."""
        return self._along("y")

    def read_box(self, box: BoxKey) -> NDArray[Any]:
        """Return voxels, as `BoxSource.read_box` says."""
        width = self.array.shape[self.axes.index("x")]
        index, order = select_axes(self.axes, box, width)
        found = read_array(self.array, index, self.folder)
        turned = found.transpose(order)
        return turned if "z" in self.axes else turned[None]

    def byte_span(self, box: BoxKey) -> tuple[int, int]:
        """Return nothing: the files of the array are digested as they are read."""
        del box
        return 0, 0

    def reopened(self, file: BinaryIO) -> "ZarrBoxes":
        """Return itself: every part is opened for itself."""
        del file
        return self

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _along(self, axis: str) -> int:
        place = self.axes.find(axis)
        return 1 if place < 0 else int(self.array.chunks[place])
