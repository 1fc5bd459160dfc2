"""Open files that anybody may have put there, and find the holes in them."""

import errno
import os
import stat
from typing import Final

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A symlink is refused; a pipe that took the file's place does not hang us."""

OUR_SHORTAGE: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Nothing is wrong with the file; this process is short of something."""

_CANNOT_TELL: Final = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY)


def open_regular(path: str) -> int | None:
    """Open a regular file for reading; return its descriptor, None for anything else.

    Raises
    ------
    OSError
        It is not there, may not be read, or the share failed.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
            return None  # a symlink, a socket, a device without a driver
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def find_hole(descriptor: int) -> int | None:
    """Return the offset of the first hole in an open file, None if it has none.

    A hole is a stretch to which nothing was ever written: room that `ftruncate` or `fallocate`
    made, or that a program jumped over. The number of blocks alone does not tell: `fallocate` gives
    them all at once.

    Source
    ------
    lseek(2): ENXIO from SEEK_DATA means that no data follow; the end of a file counts as a hole. A
    file system that knows no holes answers that all is data.
    """
    size = os.fstat(descriptor).st_size
    try:
        data = os.lseek(descriptor, 0, os.SEEK_DATA)
        if data > 0:
            return 0
        hole = os.lseek(descriptor, 0, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return 0 if size else None
        if error.errno in _CANNOT_TELL:
            return None
        raise
    return hole if hole < size else None
