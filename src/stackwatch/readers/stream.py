"""An opened file as a stream, for libraries that want one: read by position, never mapped.

A library that gets a real file takes its path or its descriptor, maps it into memory, or closes it.
This one it can only read. What it reads goes through `PositionalFile`, so an error of the disk is
the source's, and a file that is cut meanwhile gives an error where a map would kill the process.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from stackwatch.errors import StackwatchError
from stackwatch.readers.positional import PositionalFile


class ReadingStream(io.RawIOBase):
    """A file without a descriptor and without a name. For one thread.

    Parameters
    ----------
    file : BinaryIO
        Stays the caller's to close.
    name : str
        For messages.

    Attributes
    ----------
    reads : int
        How often something was read.
    is_short : bool
        Whether a read reached beyond the end of the file.
    failure : StackwatchError or None
        What reading failed with last: a library may have passed over it.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__()
        self.reads = 0
        self.is_short = False
        self.failure: StackwatchError | None = None
        self._source = PositionalFile(file, name)
        self._position = 0

    def forget_reads(self) -> None:
        """Count from here."""
        self.reads, self.is_short = 0, False

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; beyond the end is allowed, as with any file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._source.size}
        if start[whence] + offset < 0:
            raise OSError("a position before the start of the file")
        self._position = start[whence] + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer only at the end of the file."""
        left = max(0, self._source.size - self._position)
        count = left if size < 0 else min(size, left)
        self.reads += 1
        self.is_short |= size > left
        try:
            data = self._source.read(self._position, count) if count else b""
        except StackwatchError as error:
            self.failure = error
            raise
        self._position += count
        return data

    def readall(self) -> bytes:
        """Return all that is left."""
        return self.read()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as the file reaches."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def path_of(file: BinaryIO) -> Iterator[str]:
    """Lend a path of an opened file, for a library that opens paths only.

    It leads to the very file that is open, whatever its name has become. A file in memory is
    copied into one that has no name on any disk, which lives as long as the library keeps it open.
    """
    if not isinstance(file, io.BytesIO):
        yield f"/proc/self/fd/{file.fileno()}"
        return
    descriptor = os.memfd_create("stackwatch", os.MFD_CLOEXEC)
    try:
        with file.getbuffer() as data, os.fdopen(descriptor, "wb", closefd=False) as copied:
            copied.write(data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
