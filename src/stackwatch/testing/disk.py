"""A drop folder in memory: files with dates and inodes, and the scan that would see them.

Marks, vetoes and the names of unfinished transfers come from the real code; only the system calls
are left out.
"""

from dataclasses import dataclass, replace

from stackwatch.layout.ignore import is_junk, is_unfinished
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.watch.marks import FileFacts, mark_files
from stackwatch.watch.mounts import MountChange, MountIdentity
from stackwatch.watch.readiness import (
    ReadinessOptions,
    listed_vetoes,
    markers_of_folder,
    part_markers,
)
from stackwatch.watch.scan import FolderScan, FolderUnavailable

Content = tuple[tuple[str, int], ...]
"""Name and bytes of each file, the bytes being a number."""

LOCAL = MountIdentity(device=1, root_inode=2, fstype="ext4")
SHARE = MountIdentity(device=50, root_inode=2, fstype="nfs4")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file: its bytes are a number."""

    data: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class ModelDisk:
    """A drop folder whose acquisitions are folders with files.

    Parameters
    ----------
    readiness : ReadinessOptions
    is_remote : bool
        On a network mount inodes and ctime count for nothing, and a remount changes them.

    Attributes
    ----------
    folders : dict of str to dict of str to ModelFile
        Files by name, by acquisition.
    is_away : bool
        The share does not answer.
    """

    def __init__(self, readiness: ReadinessOptions, *, is_remote: bool = False) -> None:
        self.folders: dict[str, dict[str, ModelFile]] = {}
        self.is_away = False
        self._mount = SHARE if is_remote else LOCAL
        self._readiness = readiness
        self._roots: dict[str, int] = {}
        self._count = 1000

    def _next(self) -> int:
        """Return a number that was never used: an inode, a date, or the bytes of a file."""
        self._count += 1
        return self._count

    # ------------------------------------------------------------ what happens to files

    def write(self, acquisition: str, name: str, size: int) -> None:
        """Make a file anew, or write other bytes into it."""
        if acquisition not in self.folders:
            self.folders[acquisition], self._roots[acquisition] = {}, self._next()
        files = self.folders[acquisition]
        inode = files[name].inode if name in files else self._next()
        files[name] = ModelFile(self._next(), size, self._next(), self._count, inode)

    def touch(self, acquisition: str, name: str, shift_ns: int) -> None:
        """Give a file a date from the past or the future; nobody can choose the change time."""
        self._change(acquisition, name, mtime_ns=self._next() + shift_ns, ctime_ns=self._count)

    def copy_over(self, acquisition: str, name: str) -> None:
        """Replace a file by a copy with the same size and date."""
        self._change(acquisition, name, inode=self._next(), ctime_ns=self._next())

    def _change(self, acquisition: str, name: str, **facts: int) -> None:
        files = self.folders.get(acquisition, {})
        if name in files:
            files[name] = replace(files[name], **facts)

    def rename_file(self, acquisition: str, name: str, later: str) -> None:
        """Rename a file inside its folder, over another one if it is there."""
        files = self.folders.get(acquisition, {})
        if name in files:
            files[later] = replace(files.pop(name), ctime_ns=self._next())

    def delete_file(self, acquisition: str, name: str) -> None:
        """Delete a file."""
        self.folders.get(acquisition, {}).pop(name, None)

    def rename_folder(self, acquisition: str, later: str) -> None:
        """Give a whole folder another name: nothing in it changes."""
        if acquisition in self.folders and later not in self.folders:
            self.folders[later] = self.folders.pop(acquisition)
            self._roots[later] = self._roots.pop(acquisition)

    def delete_folder(self, acquisition: str) -> None:
        """Delete a folder with all that is in it."""
        self.folders.pop(acquisition, None)
        self._roots.pop(acquisition, None)

    def remount(self) -> None:
        """Unmount the share and mount it again: another device, and other inodes."""
        if not self._mount.is_remote:
            return
        self._mount = replace(self._mount, device=self._next())
        for acquisition, files in self.folders.items():
            self._roots[acquisition] = self._next()
            for name in files:
                files[name] = replace(files[name], inode=self._next(), ctime_ns=self._next())

    # ------------------------------------------------------------ what is seen of them

    def scan(self, keys: frozenset[str] | None = None) -> FolderScan | FolderUnavailable:
        """Return what a scan would see."""
        if self.is_away:
            return FolderUnavailable("the share does not answer")
        sightings = tuple(
            self.sighting(key, is_probed=keys is not None)
            for key in sorted(self.folders)
            if keys is None or key in keys
        )
        files = sum(sighting.files for sighting in sightings)
        return FolderScan(
            sightings, keys, (), (), files, 1, 0, self._mount, MountChange.SAME, seconds=0.0
        )

    def sighting(self, key: str, *, is_probed: bool = True) -> Sighting:
        """Return what a scan would see of one acquisition."""
        files = [_facts(name, file) for name, file in self.folders[key].items()]
        names = [name for name in self.folders[key] if is_junk(name)]
        temporary = tuple(name for name in names if is_unfinished(name, is_folder=False))
        listed = [facts for facts in files if facts[0].decode() not in names]
        content, markers = part_markers(listed, self._readiness.marker)
        marks = mark_files(content, is_remote=self._mount.is_remote)
        vetoes = listed_vetoes(
            content, self._readiness, temporary, markers_of_folder(markers, self._readiness)
        )
        return Sighting(
            key=key,
            name=key,
            kind=AcquisitionKind.FOLDER,
            source=key,
            members=(),
            files=marks.files,
            total_bytes=marks.total_bytes,
            newest_mtime_ns=marks.newest_mtime_ns,
            stat_mark=marks.stat_mark,
            size_mark=marks.size_mark,
            vetoes=vetoes,
            is_probed=is_probed,
            root_inode=0 if self._mount.is_remote else self._roots[key],
        )

    def content(self, key: str) -> Content:
        """Return the bytes that a conversion would read."""
        files = [_facts(name, file) for name, file in self.folders.get(key, {}).items()]
        content, _ = part_markers(files, self._readiness.marker)
        names = sorted(facts[0].decode() for facts in content)
        return tuple((name, self.folders[key][name].data) for name in names if not is_junk(name))


def _facts(name: str, file: ModelFile) -> FileFacts:
    return (name.encode(), file.size, file.mtime_ns, file.ctime_ns, file.inode)
