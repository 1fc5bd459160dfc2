"""Scan a drop folder: one pass over its entries, one sighting for each acquisition.

The scan is the truth; events only bring it forward. It follows no symlink, opens no file and
writes nothing. It runs in a process that may be killed when a share hangs, and therefore imports
nothing heavy. What it returns can be pickled.
"""

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from stackwatch.layout.ignore import compile_ignore
from stackwatch.model.acquisition import Refusal, show_path
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.watch.loose import group_loose
from stackwatch.watch.marks import FileFacts, mark_files
from stackwatch.watch.mounts import MountChange, MountIdentity, compare_mounts, probe_mount
from stackwatch.watch.probe import Probed, ReadinessOptions, probe_acquisition

MAX_REFUSALS: Final = 100
"""Refusals kept of one scan: evidence for a person, not a list of everything."""

LooseMode = Literal["group", "each", "park"]

_Facts = tuple[int, int, int, int]
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How a drop folder divides into acquisitions.

    Attributes
    ----------
    acquisition_depth : int
        Depth of the folders that are acquisitions, at least 1: 1 for those directly in the drop
        folder. Files above that depth are loose.
    loose : LooseMode
        `each` makes every loose file an acquisition; `group` and `park` group them.
    ignore : tuple of str
        Patterns beside the usual junk.
    readiness : ReadinessOptions
    """

    acquisition_depth: int = 1
    loose: LooseMode = "group"
    ignore: tuple[str, ...] = ()
    readiness: ReadinessOptions = field(default_factory=ReadinessOptions)


@dataclass(frozen=True, slots=True)
class FolderScan:
    """What a scan of an available drop folder saw.

    Attributes
    ----------
    sightings : tuple of Sighting
        Sorted by key.
    keys : frozenset of str or None
        What was looked for; None for everything. Only then does an absent key mean "not there".
    hidden : tuple of str
        Relative paths of folders above the acquisitions that could not be listed: what is below
        them is unknown, not gone.
    refusals : tuple of Refusal
        Symlinks, pipes, devices and unreadable folders, paths relative to the drop folder; at
        most `MAX_REFUSALS`, all of them counted in `refused`.
    files, directories, refused : int
    mount : MountIdentity
    mount_change : MountChange
        Against the identity that was expected.
    seconds : float
        How long the scan took on the monotonic clock.
    """

    sightings: tuple[Sighting, ...]
    keys: frozenset[str] | None
    hidden: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    files: int
    directories: int
    refused: int
    mount: MountIdentity
    mount_change: MountChange
    seconds: float


@dataclass(frozen=True, slots=True)
class FolderUnavailable:
    """The drop folder could not be scanned: nothing at all is known about what lies in it.

    Attributes
    ----------
    reason : str
        For a person: what happened and what to look at.
    """

    reason: str


def scan_folder(
    folder: Path,
    options: ScanOptions,
    expected: MountIdentity | None = None,
    keys: frozenset[str] | None = None,
) -> FolderScan | FolderUnavailable:
    """Scan a drop folder.

    Parameters
    ----------
    folder : Path
        Absolute. May itself be a symlink; nothing inside is followed.
    options : ScanOptions
    expected : MountIdentity or None
        Of the last good scan. An empty folder on another mount is a share that is missing, not a
        folder whose files were deleted.
    keys : frozenset of str or None
        Acquisitions to look at; None for all. Looking at a few costs a listing of the drop folder
        and of these.

    Returns
    -------
    FolderScan or FolderUnavailable

    Cost
    ----
    One lstat for each file. The facts of one acquisition's files are held at a time.
    """
    started_s = time.monotonic()
    try:
        mount = probe_mount(folder)
        change = compare_mounts(expected, mount)
        walk = _Walk(folder, options, mount.is_remote, keys)
        sightings = walk.sightings()
    except OSError as error:
        return FolderUnavailable(
            f"“{show_path(folder)}” cannot be listed: {error.strerror or error}. "
            "It is looked for again at every scan; look at the mount and the permissions."
        )
    if change is MountChange.REPLACED and not sightings:
        assert expected is not None
        return FolderUnavailable(
            f"“{show_path(folder)}” is empty and lies on {mount.fstype or 'another file system'} "
            f"instead of {expected.fstype or 'the one before'}: the share is not mounted. "
            "Mount it again; the scan goes on by itself."
        )
    return FolderScan(
        sightings=tuple(sorted(sightings, key=lambda sighting: os.fsencode(sighting.key))),
        keys=keys,
        hidden=tuple(walk.hidden),
        refusals=tuple(walk.refusals),
        files=sum(sighting.files for sighting in sightings),
        directories=walk.directories,
        refused=walk.refused,
        mount=mount,
        mount_change=change,
        seconds=time.monotonic() - started_s,
    )


class _Walk:
    """One pass over a drop folder; counts and refusals gather on the way."""

    def __init__(
        self, folder: Path, options: ScanOptions, is_remote: bool, keys: frozenset[str] | None
    ) -> None:
        self.root = str(folder)
        self.ignored_by = compile_ignore(options.ignore)
        self.options = options
        self.is_remote = is_remote
        self.keys = keys
        self.directories = 0
        self.refused = 0
        self.refusals: list[Refusal] = []
        self.hidden: list[str] = []

    def sightings(self) -> list[Sighting]:
        """Return a sighting for each acquisition; raise OSError if the root cannot be listed."""
        found: list[Sighting] = []
        pending = [("", 1)]
        while pending:
            folder, depth = pending.pop()
            listed = self._list(folder, folder, is_root=not folder)
            if listed is None:
                self.hidden.append(folder)
                continue
            names, subfolders = listed
            found += self._loose(folder, names)
            for name in subfolders:
                path = _join(folder, name)
                if depth < self.options.acquisition_depth:
                    pending.append((path, depth + 1))
                elif self._is_wanted(path):
                    found.append(self._folder(path))
        return found

    def _is_wanted(self, key: str) -> bool:
        return self.keys is None or key in self.keys

    def _list(
        self, path: str, shown: str, *, is_root: bool = False
    ) -> tuple[dict[str, _Facts], list[str]] | None:
        """Return files and sub-folders that are not ignored; None if the folder is unreadable.

        `shown` is the path that ignore patterns see: relative to the acquisition, or to the drop
        folder above it.
        """
        files: dict[str, _Facts] = {}
        folders: list[str] = []
        try:
            with os.scandir(_join(self.root, path)) as entries:
                self.directories += 1
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if self.ignored_by(_join(shown, entry.name) + "/" * is_folder):
                        continue
                    if is_folder:
                        folders.append(entry.name)
                    else:
                        self._take(entry, path, files)
        except (FileNotFoundError, NotADirectoryError):
            if is_root:
                raise
            return files, folders  # it went away meanwhile; the next scan tells
        except OSError as error:
            if is_root or error.errno not in _UNREADABLE:
                raise
            self._refuse(path, f"cannot be listed: {error.strerror}")
            return None
        return files, folders

    def _take(self, entry: os.DirEntry[str], path: str, files: dict[str, _Facts]) -> None:
        if not entry.is_file(follow_symlinks=False):
            kind = "a symlink" if entry.is_symlink() else "no regular file"
            self._refuse(_join(path, entry.name), f"{kind}: never followed or read")
            return
        try:
            stat = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return  # it went away meanwhile; the next scan tells
        # four numbers instead of the stat record: a third of the memory in large folders
        files[entry.name] = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)

    def _refuse(self, path: str, reason: str) -> None:
        self.refused += 1
        if len(self.refusals) < MAX_REFUSALS:
            self.refusals.append(Refusal(path, reason))

    def _folder(self, key: str) -> Sighting:
        facts: list[FileFacts] = []
        unreadable = 0
        pending = [""]
        while pending:
            inside = pending.pop()
            listed = self._list(_join(key, inside), inside)
            if listed is None:
                unreadable += 1
                continue
            files, folders = listed
            facts += _iter_facts(inside, files)
            pending += [_join(inside, name) for name in folders]
        return self._sighting(key, key, AcquisitionKind.FOLDER, facts, unreadable=unreadable)

    def _loose(self, folder: str, files: dict[str, _Facts]) -> list[Sighting]:
        found = []
        groups, single = (
            ([], sorted(files)) if self.options.loose == "each" else group_loose([*files])
        )
        for group in groups:
            key = _join(folder, group.key)
            if self._is_wanted(key):
                facts = list(_iter_facts("", {name: files[name] for name in group.members}))
                name = _join(folder, group.stem)
                found.append(
                    self._sighting(key, name, AcquisitionKind.GROUP, facts, folder, group.members)
                )
        taken = {group.key for group in groups}
        for name in single:
            key = _join(folder, name)
            if name in taken:
                self._refuse(key, "its name is that of a group of files that differ in one number")
            elif self._is_wanted(key):
                facts = list(_iter_facts("", {name: files[name]}))
                found.append(self._sighting(key, _plain_name(key), AcquisitionKind.FILE, facts))
        return found

    def _sighting(
        self,
        key: str,
        name: str,
        kind: AcquisitionKind,
        facts: list[FileFacts],
        source: str | None = None,
        members: tuple[str, ...] = (),
        unreadable: int = 0,
    ) -> Sighting:
        marks = mark_files(facts, is_remote=self.is_remote)
        is_probed = self.keys is not None
        probed = Probed()
        if is_probed:
            inside = key if source is None and kind is AcquisitionKind.FOLDER else source or ""
            probed = probe_acquisition(
                _join(self.root, inside), facts, self.options.readiness, is_remote=self.is_remote
            )
        return Sighting(
            key=key,
            name=name,
            kind=kind,
            source=key if source is None else source,
            members=members,
            files=marks.files,
            total_bytes=marks.total_bytes,
            newest_mtime_ns=marks.newest_mtime_ns,
            stat_mark=marks.stat_mark,
            size_mark=marks.size_mark,
            unreadable=unreadable,
            vetoes=probed.vetoes,
            is_probed=is_probed,
            directives=probed.directives,
        )


def _iter_facts(folder: str, files: dict[str, _Facts]) -> Iterator[FileFacts]:
    for name, facts in files.items():
        yield os.fsencode(_join(folder, name)), *facts


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _plain_name(key: str) -> str:
    """Return the name without its suffix, and without both parts of `.ome.tif`."""
    folder, _, name = key.rpartition("/")
    stem = name.rpartition(".")[0] or name
    return _join(folder, stem[:-4] if stem.lower().endswith(".ome") and stem[:-4] else stem)
