"""Walk a tree from an open folder downwards: each folder is opened beneath the one before.

No path is looked up twice and no symlink is followed, not even one that takes a folder's place
while the walk is under way. No file is opened.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from stackwatch.layout.ignore import compile_ignore, is_junk, is_unfinished
from stackwatch.model.acquisition import Refusal
from stackwatch.watch.marks import FileFacts
from stackwatch.watch.readiness import Markers

MAX_REFUSALS: Final = 100
"""Refusals kept of one folder or acquisition: evidence for a person, not a list of everything."""

MAX_TEMPORARY: Final = 100
"""Temporary names kept of one folder or acquisition."""

MAX_DEPTH: Final = 200
"""Folders within folders; each level holds a descriptor. Instruments need a handful."""

MAX_PATH_BYTES: Final = 4095
"""The longest path that a program can open by its name (PATH_MAX without its NUL)."""

_LONGEST_NAME: Final = 255
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""It went away, or something else took its place, since it was listed: the next scan tells."""

_OUR_SHORTAGE: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Nothing is wrong with the folder; the scan as a whole has failed."""

_PERMISSION: Final = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)
_ENCODING: Final = sys.getfilesystemencoding()


@dataclass(slots=True)
class Contents:
    """What was found below one folder, or in it.

    Attributes
    ----------
    files : list of FileFacts
        Regular files that no pattern ignores; paths relative to where the walk began.
    unseen : list of str
        Files that are there but whose facts cannot be read.
    unlisted : int
        Folders that cannot be listed, or only in part.
    refused : int
        Symlinks, pipes, sockets, devices, and all that is unseen or unlisted.
    refusals : list of Refusal
        At most `MAX_REFUSALS` of them; paths relative to the drop folder.
    temporary : list of str
        Files and folders that have the name of an unfinished transfer, relative to where the walk
        began; at most `MAX_TEMPORARY`, without those that the settings ignore.
    markers : Markers
        Set by the caller, who knows what is one acquisition.
    """

    files: list[FileFacts] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    unlisted: int = 0
    refused: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    temporary: list[str] = field(default_factory=list)
    markers: Markers = field(default_factory=Markers)

    @property
    def unreadable(self) -> int:
        """Folders and files that could not be looked at."""
        return self.unlisted + len(self.unseen)

    def refuse(self, path: str, reason: str) -> None:
        """Note that something is not read."""
        self.refused += 1
        if len(self.refusals) < MAX_REFUSALS:
            self.refusals.append(Refusal(path, reason))


class Walker:
    """Lists folders of one drop folder.

    Parameters
    ----------
    root_bytes : int
        Length of the drop folder's path: what no program could open by its name is refused.
    ignore : tuple of str
        Patterns beside the usual junk.
    mounts : frozenset of str
        Relative paths at which other file systems are mounted. They are not entered: one may hang,
        and the folder of one that is missing would look empty.

    Attributes
    ----------
    directories : int
        Folders listed so far.
    is_shaken : bool
        Whether a folder or file failed in a way that may mean the whole share does.
    """

    def __init__(
        self,
        root_bytes: int,
        ignore: tuple[str, ...] = (),
        mounts: frozenset[str] = frozenset(),
    ) -> None:
        self._root_bytes = root_bytes
        self._ignored_by = compile_ignore(ignore, with_usual=False) if ignore else None
        self._mounts = mounts
        self.directories = 0
        self.is_shaken = False

    @contextmanager
    def opened(self, parent: int, path: str, into: Contents) -> Iterator[int | None]:
        """Open a folder beneath an open one, for as long as it is walked.

        Parameters
        ----------
        parent : int
            Descriptor of the folder that holds it.
        path : str
            Relative to the drop folder; its last part is looked up.
        into : Contents
            Takes the refusal if it cannot be opened.

        Yields
        ------
        int or None
            None if it cannot be opened, or went away meanwhile.
        """
        descriptor = self._open(parent, path, into)
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _open(self, parent: int, path: str, into: Contents) -> int | None:
        if path in self._mounts:
            reason = "another file system is mounted here: make it a drop folder of its own"
            self._cannot_list(path, reason, into)
            return None
        if self._is_too_long(os.fsencode(path)):
            self._cannot_list(path, f"its path is longer than {MAX_PATH_BYTES} bytes", into)
            return None
        try:
            return os.open(path.rpartition("/")[2], _OPEN_FOLDER, dir_fd=parent)
        except OSError as error:
            self._take_error(error)
            if error.errno not in _GONE:
                self._cannot_list(path, f"cannot be listed: {error.strerror}", into)
            return None

    def list_folder(
        self, folder: int, path: str, inside: str, into: Contents, *, is_root: bool = False
    ) -> list[str] | None:
        """Add the files of an open folder to `into`, and return its sub-folders.

        Parameters
        ----------
        folder : int
            Its descriptor.
        path : str
            Relative to the drop folder.
        inside : str
            Relative to where the walk began: what ignore patterns see.
        into : Contents
        is_root : bool
            It is the drop folder itself.

        Returns
        -------
        list of str or None
            Names; None if it cannot be listed.

        Raises
        ------
        OSError
            The drop folder itself cannot be listed, or this process is short of something.
        """
        folders: list[str] = []
        prefix = inside.encode(_ENCODING, "surrogateescape") + b"/" * bool(inside)
        self.directories += 1
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if self._is_ignored(entry.name, inside, into, is_folder=is_folder):
                        continue
                    if is_folder:
                        folders.append(entry.name)
                    else:
                        self._take_file(entry, path, prefix, into)
        except OSError as error:
            if is_root:
                raise
            self._take_error(error)
            if error.errno not in _GONE:
                self._cannot_list(path, f"cannot be listed: {error.strerror}", into)
                return None
        return folders

    def walk(
        self, folder: int, path: str, into: Contents, inside: str = "", depth: int = 0
    ) -> None:
        """Add all files from an open folder downwards to `into`."""
        for name in self.list_folder(folder, path, inside, into) or ():
            below = join(path, name)
            if depth >= MAX_DEPTH:
                self._cannot_list(below, f"lies deeper than {MAX_DEPTH} folders", into)
                continue
            with self.opened(folder, below, into) as child:
                if child is not None:
                    self.walk(child, below, into, join(inside, name), depth + 1)

    def _is_ignored(self, name: str, inside: str, into: Contents, *, is_folder: bool) -> bool:
        """Tell whether a name is left out; that of the folders above it was asked before."""
        is_unwanted = (
            self._ignored_by is not None
            and self._ignored_by(join(inside, name) + "/" * is_folder) != ""
        )
        if is_unwanted or not is_junk(name):
            return is_unwanted
        if len(into.temporary) < MAX_TEMPORARY and is_unfinished(name, is_folder=is_folder):
            into.temporary.append(join(inside, name) + "/" * is_folder)
        return True

    def _take_file(self, entry: os.DirEntry[str], path: str, prefix: bytes, into: Contents) -> None:
        name = entry.name
        if not entry.is_file(follow_symlinks=False):
            kind = "a symlink" if entry.is_symlink() else "no regular file"
            into.refuse(join(path, name), f"{kind}: never followed or read")
            return
        try:
            stat = entry.stat(follow_symlinks=False)
        except OSError as error:
            self._take_error(error)
            if error.errno not in _GONE:
                self._cannot_see(name, path, prefix, f"cannot be read: {error.strerror}", into)
            return
        # numbers instead of the stat record: a third of the memory in large folders
        relative = prefix + name.encode(_ENCODING, "surrogateescape")
        if len(relative) > MAX_PATH_BYTES - self._root_bytes - _LONGEST_NAME and self._is_too_long(
            os.fsencode(join(path, name))
        ):
            reason = f"its path is longer than {MAX_PATH_BYTES} bytes"
            self._cannot_see(name, path, prefix, reason, into)
            return
        into.files.append((relative, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))

    def _is_too_long(self, path: bytes) -> bool:
        return self._root_bytes + 1 + len(path) > MAX_PATH_BYTES

    def _take_error(self, error: OSError) -> None:
        if error.errno in _OUR_SHORTAGE:
            raise error
        if error.errno not in _GONE and error.errno not in _PERMISSION:
            self.is_shaken = True

    def _cannot_list(self, path: str, reason: str, into: Contents) -> None:
        into.unlisted += 1
        into.refuse(path, reason)

    def _cannot_see(self, name: str, path: str, prefix: bytes, reason: str, into: Contents) -> None:
        into.unseen.append(join(os.fsdecode(prefix).rstrip("/"), name))
        into.refuse(join(path, name), reason)


def join(folder: str, name: str) -> str:
    """Return the path of a name in a folder; the empty folder is where paths begin."""
    return f"{folder}/{name}" if folder and name else folder or name
