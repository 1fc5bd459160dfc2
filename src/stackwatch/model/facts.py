"""What the watching river and the ledger tell each other about acquisitions."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stackwatch.model.acquisition import Refusal, show_path
from stackwatch.model.job import AcquisitionId, AcquisitionState


class AcquisitionKind(StrEnum):
    """What an acquisition is made of."""

    FOLDER = "folder"
    FILE = "file"
    GROUP = "group"


class VetoKind(StrEnum):
    """What speaks against an acquisition being complete."""

    UNREADABLE = "unreadable"
    """A folder or file of it cannot be looked at."""
    TEMPORARY = "temporary"
    """A file still has the name of an unfinished transfer."""
    MARKER = "marker"
    """The marker is missing, or is not true yet."""
    ABORTED = "aborted"
    """The marker tells that the acquisition was given up: reported at once, never converted."""
    COUNT = "count"
    """Fewer or more files than are expected."""
    OPEN = "open"
    """A program has a file open for writing."""
    STALE = "stale"
    """A file has another size than the listing showed: the share's cache lags, or it grows."""
    EMPTY_FILE = "empty_file"
    HOLE = "hole"
    """A file was made at its full size and is not filled yet."""


_LAPSING = frozenset({VetoKind.EMPTY_FILE, VetoKind.HOLE})


@dataclass(frozen=True, slots=True)
class Veto:
    """One reason why an acquisition cannot be complete, whatever the clock says.

    Attributes
    ----------
    kind : VetoKind
    reason : str
        For a person, with names and numbers: “marker `*.done` is not there”.
    """

    kind: VetoKind
    reason: str

    @property
    def is_lapsing(self) -> bool:
        """Tell whether it may be meant so: it lapses after a multiple of the quiet gap."""
        return self.kind in _LAPSING


@dataclass(frozen=True, slots=True)
class Directives:
    """What an acquisition's sidecar tells the daemon; the rest of it is the conversion's matter.

    Attributes
    ----------
    name : str
        Takes the place of the acquisition's name in `dataset_name`; empty: it says none.
    skip : bool
        Never convert it.
    priority : int
        Added to the folder's.
    expected_files : int or None
        How many files it has when it is complete, the sidecar itself and markers not counted.
    upload : bool or None
        Whether its datasets are to be delivered; None leaves it to the folder.
    """

    name: str = ""
    skip: bool = False
    priority: int = 0
    expected_files: int | None = None
    upload: bool | None = None


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
    vetoes : tuple of Veto
        What speaks against its being complete, as far as this scan looked.
    is_probed : bool
        Whether the scan also looked for what costs more than a listing (holes, open files,
        marker, sidecar). Only a probed sighting can settle.
    directives : Directives
        Of its sidecar; the defaults if it has none, or was not probed.
    root_inode : int
        Inode of the acquisition's folder or single file, 0 for groups and on network mounts: tells
        a renamed acquisition from a new one.
    refused : int
        Symlinks, pipes, sockets, devices and what is unreadable inside: never followed, opened or
        converted.
    refusals : tuple of Refusal
        The first few of them, paths relative to the drop folder.
    beside : tuple of str
        Of a single loose file the names of what lies beside it and belongs to nothing else: its
        sidecar, texts that describe it. They are put away with it.
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
    vetoes: tuple[Veto, ...] = ()
    is_probed: bool = True
    directives: Directives = field(default_factory=Directives)
    root_inode: int = 0
    refused: int = 0
    refusals: tuple[Refusal, ...] = ()
    beside: tuple[str, ...] = ()

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
            "refused": self.refused,
            "refusals": [
                {"path": show_path(refusal.path), "reason": refusal.reason}
                for refusal in self.refusals
            ],
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
    root_inode : int
        As in `Sighting`, when it was last seen.
    accepted_mark : str
        The stat mark at which a person said that it is complete as it is; else empty.
    ignored_mark : str
        While it is ignored, the stat mark at which that was decided; else empty.
    lacks_files : bool
        It is `incomplete` because the conversion of its newest generation found files missing: a
        verdict about that content, not about its arrival.
    held_back : frozenset of VetoKind
        What spoke against its being complete when that was last recorded.
    """

    acquisition_id: AcquisitionId
    key: str
    state: AcquisitionState
    generation: int = 0
    stat_mark: str = ""
    size_mark: str = ""
    content_digest: str = ""
    is_gone: bool = False
    root_inode: int = 0
    accepted_mark: str = ""
    ignored_mark: str = ""
    lacks_files: bool = False
    held_back: frozenset[VetoKind] = frozenset()
