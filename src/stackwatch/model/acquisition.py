"""Acquisitions: what lies in a drop folder, and how it is recognised again."""

import re
from dataclasses import dataclass
from pathlib import Path


def show_path(path: str | Path) -> str:
    r"""Return a path for people, logs and JSON: bytes that are no UTF-8 become `\xNN`.

    Examples
    --------
    >>> show_path("bad\udcff.tif")
    'bad\\xff.tif'
    """
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def fit_dataset_name(name: str) -> str:
    """Return a name that WEBKNOSSOS takes for a dataset, and every disk for a directory.

    Characters outside of `[A-Za-z0-9_.-]` become `_`; at least three, and no dot in front.

    Examples
    --------
    >>> fit_dataset_name("run 041/tile.tif"), fit_dataset_name(".a")
    ('run_041_tile.tif', '_a_')
    """
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    if safe.startswith("."):
        safe = "_" + safe[1:]
    return safe.ljust(3, "_")


@dataclass(frozen=True, slots=True, order=True)
class FileEntry:
    """One regular file of an acquisition.

    Attributes
    ----------
    path : str
        Relative to the acquisition's root, `/` between parts, undecodable bytes as surrogates
        (`os.fsencode` gives the bytes back).
    size : int
        Bytes.
    mtime_ns, ctime_ns : int
    inode : int
    """

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int = 0
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something in the folder that is never read: a symlink, a pipe, an unreadable folder."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A typed, sorted snapshot of an acquisition's files.

    Attributes
    ----------
    root : Path
        Absolute path of the acquisition: a folder, or the drop folder itself for loose files.
    entries : tuple of FileEntry
        Sorted by path. Ignored names (junk, temporary files) are not in it.
    refusals : tuple of Refusal
        What was left out because it may not be followed or read.
    ignored : tuple of str
        Relative paths that an ignore pattern left out; for evidence only.
    is_whole_folder : bool
        Whether the root, folder or archive, belongs to this acquisition alone: only then does its
        name say something about what it holds. Loose and single files lie in somebody's folder.
    """

    root: Path
    entries: tuple[FileEntry, ...]
    refusals: tuple[Refusal, ...] = ()
    ignored: tuple[str, ...] = ()
    is_whole_folder: bool = True

    @property
    def total_bytes(self) -> int:
        """Return the size of all files together, in bytes."""
        return sum(entry.size for entry in self.entries)
