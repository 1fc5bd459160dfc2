"""What the watching river and the ledger tell each other about acquisitions."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stackwatch.model.acquisition import show_path
from stackwatch.model.job import AcquisitionId, AcquisitionState


class AcquisitionKind(StrEnum):
    """What an acquisition is made of."""

    FOLDER = "folder"
    FILE = "file"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one scan saw of one acquisition.

    Attributes
    ----------
    key : str
        Names the acquisition within its drop folder and never changes: the relative path of a
        folder or of a single loose file; for a group of loose files the names they share, with
        `#` in the place of the number (`img_#.tif`). Undecodable bytes as surrogates.
    name : str
        What a person would call it, and what `{acquisition}` in `dataset_name` becomes: the
        folder's path, the file's name without its suffix, the group's common stem (`img`).
    kind : AcquisitionKind
    source : str
        Relative to the drop folder: what a conversion is given. The folder or the file itself;
        for a group the folder that holds its members (`""` is the drop folder).
    members : tuple of str
        Names of a group's files inside `source`, sorted by their bytes; empty for the others.
    files, total_bytes, newest_mtime_ns : int
        Of all files that no pattern ignores. `newest_mtime_ns` is shown, never compared with now.
    stat_mark : str
        Digest over path, size, mtime and, on local file systems, ctime and inode of each file in
        the order of the paths: decides settling.
    size_mark : str
        Digest over path and size alone: equal size marks under different stat marks ask for a
        comparison of the content.
    unreadable : int
        Folders inside that could not be listed: the acquisition is not known whole.
    """

    key: str
    name: str
    kind: AcquisitionKind
    source: str
    members: tuple[str, ...]
    files: int
    total_bytes: int
    newest_mtime_ns: int
    stat_mark: str
    size_mark: str
    unreadable: int = 0

    @property
    def is_loose(self) -> bool:
        """Tell whether the acquisition consists of files that lie loose in the drop folder."""
        return self.kind is not AcquisitionKind.FOLDER

    def as_record(self) -> dict[str, Any]:
        """Return the sighting as JSON values; of a group the number of members only."""
        return {
            "acquisition": show_path(self.key),
            "name": show_path(self.name),
            "kind": str(self.kind),
            "files": self.files,
            "total_bytes": self.total_bytes,
            "newest_mtime_ns": self.newest_mtime_ns,
            "stat_mark": self.stat_mark,
            "unreadable": self.unreadable,
        }


@dataclass(frozen=True, slots=True)
class AcquisitionFact:
    """What the ledger knows about one acquisition, as far as reconciling needs it.

    Attributes
    ----------
    acquisition_id : AcquisitionId
    key : str
    state : AcquisitionState
    generation : int
        Number of the newest generation, 0 before the first.
    stat_mark, size_mark : str
        Of the newest generation; before the first those it was parked with, else empty.
    content_digest : str
        Of the newest generation; empty until it was read.
    is_gone : bool
        It was not there when last looked for.
    """

    acquisition_id: AcquisitionId
    key: str
    state: AcquisitionState
    generation: int = 0
    stat_mark: str = ""
    size_mark: str = ""
    content_digest: str = ""
    is_gone: bool = False
