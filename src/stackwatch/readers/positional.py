"""Read a file by position: no shared file pointer, short reads noticed, small reads remembered."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, UnsupportedOperation
from typing import BinaryIO

from stackwatch.errors import CorruptSliceError, SourceUnreadableError
from stackwatch.model.acquisition import show_path

_WINDOW_BYTES = 4096


class PositionalFile:
    """A view on an open file that reads by offset.

    Headers are read in many tiny steps; the last 4 KiB window is kept, so that a whole TIFF
    directory costs one system call. Not for use by two threads at once.

    Parameters
    ----------
    file : BinaryIO
        Seekable; stays the caller's to close.
    name : str
        For messages.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.file = file
        self.name = name
        self._fd = _descriptor_of(file)
        self.size = _size_of(file, self._fd)
        self._window = b""
        self._window_start = 0

    def read(self, offset: int, count: int) -> bytes:
        """Return exactly `count` bytes from `offset`.

        Raises
        ------
        CorruptSliceError
            The file ends before; the caller passes it on.
        """
        start = offset - self._window_start
        if start >= 0 and start + count <= len(self._window):
            return self._window[start : start + count]
        if offset < 0 or offset + count > self.size:
            raise self._ends_early(offset, count)
        if count > _WINDOW_BYTES:
            return self._pread(offset, count)
        self._window = self._pread(offset, min(_WINDOW_BYTES, self.size - offset))
        self._window_start = offset
        return self._window[:count]

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view`, a contiguous memoryview of bytes, from `offset`.

        Raises
        ------
        CorruptSliceError
            The file ends before; the caller passes it on.
        """
        if self._fd < 0:
            view[:] = self._pread(offset, len(view))
            return
        done = 0
        while done < len(view):
            with self._reading():
                got = os.preadv(self._fd, [view[done:]], offset + done)
            if got == 0:
                raise self._ends_early(offset, len(view))
            done += got

    def _pread(self, offset: int, count: int) -> bytes:
        if self._fd >= 0:
            with self._reading():
                data = os.pread(self._fd, count, offset)
            while len(data) < count:  # the kernel cuts a read at 2 GiB, a network at less
                with self._reading():
                    more = os.pread(self._fd, count - len(data), offset + len(data))
                if not more:
                    raise self._ends_early(offset, count)
                data += more
            return data
        if isinstance(self.file, BytesIO):
            with self.file.getbuffer() as buffer:
                data = bytes(buffer[offset : offset + count])
        else:
            self.file.seek(offset)
            data = self.file.read(count)
        if len(data) < count:
            raise self._ends_early(offset, count)
        return data

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Say of the system's errors that they are the source's, not the target's."""
        try:
            yield
        except OSError as error:
            raise SourceUnreadableError(
                f"“{show_path(self.name)}” cannot be read ({error.strerror or error}): the disk or "
                "the share that holds it gives an error. Look at it; the job is tried again.",
                hint="Look at the disk or the share of the drop folder.",
                path=show_path(self.name),
            ) from error

    def _ends_early(self, offset: int, count: int) -> CorruptSliceError:
        return CorruptSliceError(
            f"“{show_path(self.name)}” should hold {count:,} bytes from {offset:,}, but ends at "
            f"{self.size:,}: it is truncated or was not written completely. "
            "Copy the file again.",
            hint="Copy the file again.",
            path=show_path(self.name),
            offset=offset,
            bytes_expected=count,
            bytes_present=self.size,
        )


def _descriptor_of(file: BinaryIO) -> int:
    try:
        return file.fileno()
    except (UnsupportedOperation, AttributeError):
        return -1


def _size_of(file: BinaryIO, descriptor: int) -> int:
    if descriptor >= 0:
        return os.fstat(descriptor).st_size
    return file.seek(0, os.SEEK_END)
