"""Where the bytes of an acquisition come from: a folder, or a zip archive."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from stackwatch.model.acquisition import FileEntry


class AcquisitionFiles(Protocol):
    """An acquisition's files by their path relative to its root. Safe in many threads."""

    def open(self, rel: str) -> BinaryIO:
        """Open one file for reading, seekable; the caller closes it."""
        ...

    def size(self, rel: str) -> int:
        """Return a file's size in bytes."""
        ...

    def check(self, entry: FileEntry) -> None:
        """Make sure that a file is still what the listing says.

        Raises
        ------
        ChangedDuringConversionError, VanishedError
        """
        ...

    def close(self) -> None:
        """Release everything."""
        ...


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """How a zip archive is read.

    Attributes
    ----------
    memory_bytes : int
        Members up to this size are decompressed in memory, larger ones into the scratch folder.
    """

    memory_bytes: int = 64 * 2**20


class FolderFiles:
    """The files below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, rel: str) -> BinaryIO:
        """Open one file."""
        return (self._root / rel).open("rb")

    def size(self, rel: str) -> int:
        """Return a file's size in bytes."""
        return (self._root / rel).stat().st_size

    def check(self, entry: FileEntry) -> None:
        """Make sure that a file is still what the listing says."""
        os.stat(self._root / entry.path)  # noqa: PTH116 - replaced by the real check

    def close(self) -> None:
        """Release everything."""


class ZipFiles(FolderFiles):
    """The members of a zip archive."""

    def __init__(self, path: Path, scratch: Path, limits: ZipLimits = ZipLimits()) -> None:
        super().__init__(path)
