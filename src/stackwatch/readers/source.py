"""Where the bytes of an acquisition come from: a folder, or a zip archive."""

import errno
import os
import stat
import threading
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol

from stackwatch.errors import (
    ChangedDuringConversionError,
    CorruptSliceError,
    ReadError,
    UnsupportedFormatError,
    VanishedError,
)
from stackwatch.model.acquisition import FileEntry, show_path

_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BUFFER_BYTES = 4096
_COPY_BYTES = 2**20


class AcquisitionFiles(Protocol):
    """An acquisition's files by their path relative to its root. Safe in many threads."""

    def open(self, rel: str) -> BinaryIO:
        """Open one file for reading, seekable; the caller closes it.

        Raises
        ------
        VanishedError, CorruptSliceError, ReadError
            The caller passes them on.
        """
        ...

    def size(self, rel: str) -> int:
        """Return a file's size in bytes."""
        ...

    def check(self, entry: FileEntry, file: BinaryIO | None = None) -> None:
        """Make sure that a file is still what the listing says: its size and time of change.

        Parameters
        ----------
        entry : FileEntry
        file : BinaryIO or None
            The file as `open` returned it, to look at what was really read; None looks at what
            the path leads to now.

        Raises
        ------
        ChangedDuringConversionError
            The caller starts from the beginning, later.
        VanishedError
        """
        ...

    def held_bytes(self, rel: str) -> int:
        """Return the memory that an opened file takes by itself: 0 for one on a disk."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class FolderFiles:
    """The files below a folder; no symbolic link is followed on the way, anywhere below the root.

    Parameters
    ----------
    root : Path
        Absolute; itself may be a symbolic link.
    is_remote : bool
        Whether it lies on a network mount: inodes and times of change prove nothing there.
    """

    def __init__(self, root: Path, *, is_remote: bool = False) -> None:
        self._root = root
        self._is_remote = is_remote
        try:
            self._root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            _raise_for(error, root)

    def open(self, rel: str) -> BinaryIO:
        """Open one regular file, as `AcquisitionFiles.open` says."""
        descriptor = self._open_descriptor(rel)
        try:
            return os.fdopen(descriptor, "rb", buffering=_BUFFER_BYTES)
        except BaseException:
            os.close(descriptor)
            raise

    def size(self, rel: str) -> int:
        """Return a file's size in bytes."""
        with self.open(rel) as file:
            return os.fstat(file.fileno()).st_size

    def check(self, entry: FileEntry, file: BinaryIO | None = None) -> None:
        """Make sure that a file is still what the listing says."""
        if file is None:
            with self.open(entry.path) as again:
                found = os.fstat(again.fileno())
        else:
            found = os.fstat(file.fileno())
        if not is_same_file(entry, found, is_remote=self._is_remote):
            raise _changed(self._root / entry.path, entry.size, found.st_size)

    def held_bytes(self, rel: str) -> int:
        """Return 0: the files lie on a disk."""
        del rel
        return 0

    def close(self) -> None:
        """Release the root folder."""
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    def _open_descriptor(self, rel: str) -> int:
        """Walk from the root, folder by folder, so that no link can lead out of it."""
        *folders, base = rel.split("/")
        if base in {"", ".", ".."} or any(part in {"", ".", ".."} for part in folders):
            raise ReadError(f"“{show_path(rel)}” is no path inside the acquisition.")
        at = root = self._root_fd  # a thread that comes late must not close what it never opened
        try:
            for folder in folders:
                below = os.open(folder, _OPEN_FLAGS | os.O_DIRECTORY, dir_fd=at)
                if at != root:
                    os.close(at)
                at = below
            descriptor = os.open(base, _OPEN_FLAGS, dir_fd=at)
        except OSError as error:
            _raise_for(error, self._root / rel)
        finally:
            if at != root:
                os.close(at)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _not_regular(self._root / rel, "no regular file")
        return descriptor


def is_same_file(entry: FileEntry, found: os.stat_result, *, is_remote: bool) -> bool:
    """Tell whether a file is still what a listing says.

    Parameters
    ----------
    entry : FileEntry
        With inode 0 nobody knows its inode and time of change, and they are not compared.
    found : os.stat_result
    is_remote : bool
        Compare size and modification time alone: sshfs swaps inodes at a remount.
    """
    if (found.st_size, found.st_mtime_ns) != (entry.size, entry.mtime_ns):
        return False
    if is_remote or not entry.inode:
        return True
    return (found.st_ctime_ns, found.st_ino) == (entry.ctime_ns, entry.inode)


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """How a zip archive is read.

    Attributes
    ----------
    memory_bytes : int
        Members up to this size are decompressed in memory, larger ones into the scratch folder.
    """

    memory_bytes: int = 64 * 2**20


class ZipFiles:
    """The members of a zip archive.

    The listing of the archive was checked before (names, ratio, encryption); here it is held to
    what it said: a member that unpacks to more than it declares is damage.

    Parameters
    ----------
    path : Path
        Absolute path of the archive.
    scratch : Path
        Existing folder for members too large for memory; what lies there is removed by `close`.
    limits : ZipLimits
    is_remote : bool
        As for `FolderFiles`, of the archive itself.
    """

    def __init__(
        self,
        path: Path,
        scratch: Path,
        limits: ZipLimits = ZipLimits(),
        *,
        is_remote: bool = False,
    ) -> None:
        self._path = path
        self._is_remote = is_remote
        self._scratch = scratch
        self._limits = limits
        self._lock = threading.Lock()
        self._unpacked: dict[str, Path] = {}
        try:
            self._file = os.fdopen(os.open(path, _OPEN_FLAGS), "rb")
        except OSError as error:
            _raise_for(error, path)
        try:
            self._opened = self._entry()
            self._zip = zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            self._file.close()
            raise _damaged_zip(path, "", error) from error

    def open(self, rel: str) -> BinaryIO:
        """Open one member, decompressed, as `AcquisitionFiles.open` says."""
        info = self._member(rel)
        if info.file_size <= self._limits.memory_bytes:
            return BytesIO(self._unpack_to_memory(info))
        with self._lock:
            if rel not in self._unpacked:
                self._unpacked[rel] = self._unpack_to_disk(info)
        return self._unpacked[rel].open("rb", buffering=_BUFFER_BYTES)

    def size(self, rel: str) -> int:
        """Return a member's declared size in bytes."""
        return self._member(rel).file_size

    def check(self, entry: FileEntry, file: BinaryIO | None = None) -> None:
        """Make sure that the archive is still the one that was opened, and the member as listed."""
        del file
        declared = self.size(entry.path)
        if declared != entry.size:
            raise _changed(self._path, entry.size, declared)
        try:
            there = self._path.stat()
        except OSError as error:
            _raise_for(error, self._path)
        for found in (os.fstat(self._file.fileno()), there):
            if not is_same_file(self._opened, found, is_remote=self._is_remote):
                raise _changed(self._path, self._opened.size, found.st_size)

    def held_bytes(self, rel: str) -> int:
        """Return the memory that the opened member takes."""
        size = self.size(rel)
        return size if size <= self._limits.memory_bytes else 0

    def close(self) -> None:
        """Close the archive and remove what was unpacked."""
        self._zip.close()
        self._file.close()
        for path in self._unpacked.values():
            path.unlink(missing_ok=True)
        self._unpacked.clear()

    def _entry(self) -> FileEntry:
        """Return the archive as it was opened."""
        found = os.fstat(self._file.fileno())
        return FileEntry(
            self._path.name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
        )

    def _member(self, rel: str) -> zipfile.ZipInfo:
        try:
            return self._zip.getinfo(rel)
        except KeyError:
            raise VanishedError(
                f"“{show_path(rel)}” is not in the archive “{show_path(self._path)}”.",
                path=show_path(self._path),
                member=show_path(rel),
            ) from None

    def _unpack_to_memory(self, info: zipfile.ZipInfo) -> bytes:
        with self._reading(info) as member:
            # One byte more than declared, to notice a member that holds more.
            data = member.read(info.file_size + 1)
        self._check_size(info, len(data))
        return data

    def _unpack_to_disk(self, info: zipfile.ZipInfo) -> Path:
        path = self._scratch / f"member-{len(self._unpacked):06d}"
        done = 0
        with self._reading(info) as member, path.open("xb") as out:
            self._unpacked[info.filename] = path  # known from now on, so that close removes it
            while done <= info.file_size and (data := member.read(_COPY_BYTES)):
                out.write(data)
                done += len(data)
        self._check_size(info, done)
        return path

    def _reading(self, info: zipfile.ZipInfo) -> "_Member":
        return _Member(self._zip, info, self._path)

    def _check_size(self, info: zipfile.ZipInfo, found: int) -> None:
        if found != info.file_size:
            more = "more" if found > info.file_size else f"only {found:,} of them"
            raise _damaged_zip(
                self._path, info.filename, f"it declares {info.file_size:,} bytes and holds {more}"
            )


class _Member:
    """An open member; whatever goes wrong in it becomes an error that names it."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
        self._archive, self._info, self._path = archive, info, path

    def __enter__(self) -> "_Member":
        try:
            self._member = self._archive.open(self._info)
        except NotImplementedError as error:
            raise UnsupportedFormatError(
                f"“{show_path(self._info.filename)}” in “{show_path(self._path)}” is packed in a "
                f"way that Python does not know ({error}). Pack the archive again with deflate.",
                hint="Pack the archive again with deflate.",
                path=show_path(self._path),
            ) from error
        except (zipfile.BadZipFile, RuntimeError, OSError, ValueError) as error:
            raise _damaged_zip(self._path, self._info.filename, error) from error
        return self

    def __exit__(self, *exc: object) -> None:
        self._member.close()

    def read(self, count: int) -> bytes:
        try:
            return self._member.read(count)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            raise _damaged_zip(self._path, self._info.filename, error) from error


def _raise_for(error: OSError, path: Path) -> NoReturn:
    """Raise the error of ours that says what an OSError while opening means."""
    shown = show_path(path)
    match error.errno:
        case errno.ENOENT:
            raise VanishedError(
                f"“{shown}” is not there any more.",
                hint="Copy it again, or remove the acquisition.",
                path=shown,
            ) from error
        case errno.ELOOP | errno.ENOTDIR:
            raise _not_regular(path, "reached through a symbolic link") from error
        case errno.EACCES | errno.EPERM:
            raise ReadError(
                f"“{shown}” may not be read by this user. Give it read permission.",
                hint="Give the service's user permission to read it.",
                path=shown,
            ) from error
    raise CorruptSliceError(
        f"“{shown}” cannot be opened: {os.strerror(error.errno or 0)}. Check the disk or the "
        "network mount.",
        hint="Check the disk or the network mount.",
        path=shown,
    ) from error


def _not_regular(path: Path, what: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"“{show_path(path)}” is {what}; only regular files inside the acquisition are read. "
        "Copy the file itself into the folder.",
        hint="Copy the file itself into the folder.",
        path=show_path(path),
    )


def _changed(path: Path, listed: int, found: int) -> ChangedDuringConversionError:
    what = f"from {listed:,} to {found:,} bytes" if listed != found else "in its time of change"
    return ChangedDuringConversionError(
        f"“{show_path(path)}” changed {what} while it was read. The conversion starts anew when it "
        "has settled.",
        hint="Wait until nothing writes to it; the conversion starts anew by itself.",
        path=show_path(path),
        bytes_listed=listed,
        bytes_found=found,
    )


def _damaged_zip(path: Path, member: str, why: Exception | str) -> CorruptSliceError:
    where = f"“{show_path(member)}” in the archive" if member else "The archive"
    return CorruptSliceError(
        f"{where} “{show_path(path)}” is damaged ({why}). Copy or pack it again.",
        hint="Copy or pack the archive again.",
        path=show_path(path),
        member=show_path(member),
    )
