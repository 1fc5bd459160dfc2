"""Read a gzipped file by position: decompressed once in order, with places to come back to.

The decompressor at the front is shared by all threads. On its way it leaves copies of itself
behind, a few dozen KiB each; what is asked for again is decompressed from the nearest copy before
it. Members that follow each other (pigz, bgzip) are one stream, as RFC 1952 says. Length and
checksum of each member are checked by zlib when its end is reached.
"""

import threading
import zlib
from bisect import bisect_right
from typing import Any, BinaryIO, Final, NamedTuple

from stackwatch.errors import CorruptSliceError
from stackwatch.model.acquisition import show_path
from stackwatch.readers.positional import PositionalFile

GZIP_MAGIC: Final = b"\x1f\x8b"

_GZIP_WINDOW: Final = 31
"""zlib's word for a gzip header and the largest window."""

_INPUT_BYTES: Final = 2**18
_OUTPUT_BYTES: Final = 2**20
_LEAST_SPACING: Final = 2**22
_MOST_COPIES: Final = 256
"""About 12 MiB of copies, however long the file is: then every other one is dropped."""


class _Place(NamedTuple):
    """Where a decompressor stands.

    Attributes
    ----------
    offset : int
        Of the next decompressed byte.
    file_position : int
        Of the next compressed byte.
    state : zlib decompressor
        Only ever copied, but for the one at the front.
    """

    offset: int
    file_position: int
    state: Any

    def copied(self) -> "_Place":
        return self._replace(state=self.state.copy())


class _Track:
    """The front of one file and the copies behind it, shared by all its readers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.front = _Place(0, 0, zlib.decompressobj(_GZIP_WINDOW))
        self.copies = [self.front.copied()]
        self.spacing = _LEAST_SPACING
        self.end: int | None = None

    def leave_copy(self) -> None:
        """Leave a copy at the front if the last one lies far enough behind."""
        if self.front.offset < self.copies[-1].offset + self.spacing:
            return
        self.copies.append(self.front.copied())
        if len(self.copies) > _MOST_COPIES:
            self.copies = self.copies[::2]
            self.spacing *= 2

    def copy_before(self, offset: int) -> _Place:
        """Return a decompressor that stands at or before `offset`."""
        index = bisect_right(self.copies, offset, key=lambda place: place.offset) - 1
        return self.copies[index].copied()


class GzipBytes:
    """The decompressed bytes of a gzipped file.

    Parameters
    ----------
    file : BinaryIO
        Seekable; stays the caller's to close.
    name : str
        For messages.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = PositionalFile(file, name)
        self._track = _Track()
        self._head = b""

    @property
    def size(self) -> int | None:
        """Return None: the length is known when the end was reached."""
        return None

    @property
    def file_bytes(self) -> int:
        """Bytes of the compressed file."""
        return self._file.size

    def reopened(self, file: BinaryIO) -> "GzipBytes":
        """Return a source of the same bytes for another thread; they share the decompressor."""
        other = GzipBytes(file, self.name)
        other._track = self._track
        return other

    def position_in_file(self, offset: int) -> int:
        """Return how far the file was read; the same for every `offset`."""
        del offset
        return min(self._track.front.file_position, self._file.size)

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes from `offset`.

        Raises
        ------
        CorruptSliceError
            The stream is damaged or ends before; the caller passes it on.
        """
        data = bytearray(count)
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view`, a contiguous memoryview of bytes, from `offset`."""
        with self._track.lock:
            if offset >= self._track.front.offset:
                self._advance(offset, view)
                return
            place = self._track.copy_before(offset)
        self._read_from(place, offset, view)

    def ensure_whole(self, end: int) -> None:
        """Decompress to the end of the file, and make sure that it lies at or after `end`.

        Raises
        ------
        CorruptSliceError
            Truncated, or a checksum is wrong.
        """
        with self._track.lock:
            scrap = memoryview(bytearray(_OUTPUT_BYTES))
            while self._track.end is None:
                self._step(self._track.front.offset, scrap)
        if self._track.end < end:
            raise self._ends_early(self._track.end, end)

    def _advance(self, offset: int, view: memoryview) -> None:
        """Move the front over `offset` to the end of `view`, under the lock."""
        track = self._track
        end = offset + len(view)
        while track.front.offset < end:
            if track.end is not None:
                raise self._ends_early(track.end, end)
            self._step(offset, view)

    def _step(self, offset: int, view: memoryview) -> None:
        track = self._track
        front = track.front
        limit = offset + len(view) - front.offset
        data, place = self._inflate(front, limit)
        _put(view, front.offset - offset, data)
        track.front = place
        if place.state is None:
            track.end = place.offset
        else:
            track.leave_copy()

    def _read_from(self, place: _Place, offset: int, view: memoryview) -> None:
        end = offset + len(view)
        while place.offset < end:
            data, following = self._inflate(place, end - place.offset)
            _put(view, place.offset - offset, data)
            if following.state is None and following.offset < end:
                raise self._ends_early(following.offset, end)
            place = following

    def _inflate(self, place: _Place, limit: int) -> tuple[bytes, _Place]:
        """Decompress some bytes, at most `limit`; a place without state is the end of the file."""
        state = place.state
        count = min(_INPUT_BYTES, self._file.size - place.file_position)
        packed = self._file.read(place.file_position, count)
        try:
            data = state.decompress(packed, max(1, min(limit, _OUTPUT_BYTES)))
        except zlib.error as error:
            raise CorruptSliceError(
                f"“{show_path(self.name)}” is damaged: after {place.offset:,} bytes it cannot be "
                f"decompressed ({error}). Copy the file again.",
                hint="Copy the file again.",
                path=show_path(self.name),
                bytes_decompressed=place.offset,
            ) from error
        left = len(state.unused_data) if state.eof else len(state.unconsumed_tail)
        position = place.file_position + count - left
        if state.eof:
            state = self._following_member(position)
        elif not packed and not data:
            raise self._ends_early(place.offset, None)
        return data, _Place(place.offset + len(data), position, state)

    def _following_member(self, position: int) -> Any:
        """Return a decompressor for the next member, or None after the last: padding is none."""
        count = min(2, self._file.size - position)
        if self._file.read(position, count) != GZIP_MAGIC:
            return None
        return zlib.decompressobj(_GZIP_WINDOW)

    def _ends_early(self, end: int, wanted: int | None) -> CorruptSliceError:
        should = f" instead of {wanted:,}" if wanted else ""
        return CorruptSliceError(
            f"“{show_path(self.name)}” ends after {end:,} decompressed bytes{should}: it is "
            "truncated or was not written completely. Copy the file again.",
            hint="Copy the file again.",
            path=show_path(self.name),
            bytes_decompressed=end,
        )


def inflated_head(head: bytes) -> bytes:
    """Return what the first bytes of a gzipped file decompress to, as far as they go."""
    try:
        return zlib.decompressobj(_GZIP_WINDOW).decompress(head, 512)
    except zlib.error:
        return b""


def _put(view: memoryview, start: int, data: bytes) -> None:
    """Copy what of `data`, which begins at `start` relative to `view`, lies in the view."""
    first = max(0, start)
    part = data[first - start :]
    if part:
        view[first : first + len(part)] = part
