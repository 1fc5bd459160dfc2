"""Images that are folders: what a reader sees of the files around the one it was opened by.

Such an image is opened by its *anchor*, a file that every image of its kind has: the metadata of a
Zarr array or group, `header.wkw`, `knossos.conf`, `NDTiff.index`, the settings of an OIF. All other
files are opened through the same door as any file of an acquisition: below its root, no link
followed, compared with the listing.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Final

from stackwatch.errors import CorruptSliceError
from stackwatch.model.acquisition import FileEntry, show_path
from stackwatch.readers.source import AcquisitionFiles

ZARR_METADATA: Final = frozenset({"zarr.json", ".zarray", ".zgroup", ".zattrs"})
WKW_HEADER: Final = "header.wkw"
KNOSSOS_CONF: Final = "knossos.conf"
NDTIFF_INDEX: Final = "NDTiff.index"
PROPERTIES: Final = "datasource-properties.json"
OIF_SUFFIX: Final = ".oif"
_ANCHORS: Final = ZARR_METADATA | {WKW_HEADER, KNOSSOS_CONF, NDTIFF_INDEX}

OnWhole = Callable[[str, bytes], None]
"""Hears of each file that was read from its first byte to its last."""


def is_anchor(path: str) -> bool:
    """Tell whether a file stands for the folder it lies in.

    Examples
    --------
    >>> is_anchor("run.zarr/.zattrs"), is_anchor("run/img.tif")
    (True, False)
    """
    return path.rpartition("/")[2] in _ANCHORS or path.lower().endswith(OIF_SUFFIX)


def join(folder: str, name: str) -> str:
    """Return a path below a folder; the root is the empty string."""
    return "/".join(part for part in (folder, name) if part)


@dataclass(frozen=True)
class FolderView:
    """The files of an acquisition for a reader that needs several of them. Safe in many threads.

    Attributes
    ----------
    files : AcquisitionFiles
    entries : mapping of str to FileEntry
        What is listed; nothing else is opened.
    on_whole : OnWhole or None
    """

    files: AcquisitionFiles
    entries: Mapping[str, FileEntry]
    on_whole: OnWhole | None = None

    @cached_property
    def _children(self) -> dict[str, dict[str, None]]:
        found: dict[str, dict[str, None]] = {}
        for path in sorted(self.entries):
            while path:
                parent, _, name = path.rpartition("/")
                known = found.setdefault(parent, {})
                if name in known:
                    break
                known[name] = None
                path = parent
        return found

    def names_in(self, folder: str) -> tuple[str, ...]:
        """Return the names of files and folders directly in a folder."""
        return tuple(self._children.get(folder, ()))

    def read(self, path: str) -> bytes | None:
        """Return a whole file, or None if it is not listed.

        Raises
        ------
        ChangedDuringConversionError, VanishedError, ReadError
            The caller passes them on.
        """
        entry = self.entries.get(path)
        if entry is None:
            return None
        with self.files.open(path) as file:
            self.files.check(entry, file)
            data = file.read(entry.size + 1)
        if len(data) != entry.size:
            raise self._cut_short(path, len(data))
        if self.on_whole is not None:
            self.on_whole(path, data)
        return data

    def read_part(self, path: str, start: int, count: int) -> bytes | None:
        """Return bytes of a file as far as there are any, or None if it is not listed."""
        entry = self.entries.get(path)
        if entry is None:
            return None
        with self.files.open(path) as file:
            self.files.check(entry, file)
            file.seek(start)
            return file.read(count)

    def open_descriptor(self, path: str) -> int:
        """Open a file and return its descriptor, the caller's to close.

        Raises
        ------
        FileNotFoundError
            It is not listed.
        """
        entry = self.entries.get(path)
        if entry is None:
            raise FileNotFoundError(path)
        with self.files.open(path) as file:
            self.files.check(entry, file)
            if not isinstance(file, BytesIO):
                return os.dup(file.fileno())
            descriptor = os.memfd_create("stackwatch-member", os.MFD_CLOEXEC)
            with os.fdopen(descriptor, "wb", closefd=False) as copied, file.getbuffer() as data:
                copied.write(data)
            return descriptor

    def _cut_short(self, path: str, found: int) -> CorruptSliceError:
        return CorruptSliceError(
            f"“{show_path(path)}” gave {found:,} bytes and should have "
            f"{self.entries[path].size:,}. Check the disk, then let the job be tried again.",
            hint="Check the disk or the network mount.",
            path=show_path(path),
        )
