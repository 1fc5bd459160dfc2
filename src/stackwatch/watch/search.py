"""Find the acquisitions of an open drop folder: which folders and loose files are one each."""

import os
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from stackwatch.layout.ignore import compile_ignore
from stackwatch.layout.sidecar import is_sidecar, plain_name, sidecars_beside
from stackwatch.model.acquisition import Refusal
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.model.raw import find_descriptions
from stackwatch.watch.loose import group_loose
from stackwatch.watch.marks import FileFacts, mark_files
from stackwatch.watch.probe import Probed, probe_acquisition
from stackwatch.watch.readiness import (
    listed_vetoes,
    markers_of_folder,
    markers_of_loose,
    part_markers,
    share_unfinished,
)
from stackwatch.watch.walk import MAX_REFUSALS, Contents, Walker, join

if TYPE_CHECKING:
    from pathlib import Path

    from stackwatch.watch.scan import ScanOptions

SHOWN_REFUSALS: Final = 5
"""Refusals that a sighting carries."""

_INODE_BITS: Final = (1 << 63) - 1
"""SQLite's integers have a sign; a few file systems use the highest bit of an inode."""


class Search:
    """One pass over an open drop folder.

    Parameters
    ----------
    folder : Path
        The path it was opened by.
    root : int
        Its descriptor.
    options : ScanOptions
    is_remote : bool
        Whether it lies on a network mount.
    is_probing : bool
        Whether to look for what a listing does not show.

    Attributes
    ----------
    found : list of Sighting
    hidden : list of str
        Folders above the acquisitions that cannot be listed.
    outside : Contents
        What was refused outside of acquisitions.
    inside : list of Refusal
        What was refused inside of acquisitions, at most `MAX_REFUSALS`.
    """

    def __init__(
        self,
        folder: "Path",
        root: int,
        options: "ScanOptions",
        *,
        is_remote: bool,
        is_probing: bool,
    ) -> None:
        self._folder = str(folder)
        self._root = root
        self._options = options
        self._readiness = options.readiness
        self._is_remote = is_remote
        self._is_probing = is_probing
        self._keys: frozenset[str] | None = None
        self.walker = Walker(0)
        self.found: list[Sighting] = []
        self.hidden: list[str] = []
        self.outside = Contents()
        self.inside: list[Refusal] = []

    def look(self, keys: frozenset[str] | None, mounts: frozenset[str]) -> None:
        """Find all acquisitions, or those named.

        Raises
        ------
        OSError
            The drop folder itself fails.
        """
        self._keys = keys
        self.walker = Walker(
            len(os.fsencode(self._folder)),
            self._options.ignore,
            mounts,
        )
        if keys is None:
            self._look_below(self._root, "", 1)
        else:
            for holder in sorted({_holder(key) for key in keys if not self._is_folder(key)}):
                self._look_in(holder)
        if self.walker.is_shaken:
            os.scandir(self._folder).close()  # one bad folder, or the whole share?

    # ------------------------------------------------------------ everything

    def _look_below(self, folder: int, path: str, depth: int) -> None:
        """Take in an open folder above the acquisitions, and what lies below it."""
        for name in self._look_at_loose(folder, path) or ():
            below = join(path, name)
            if depth == self._options.acquisition_depth:
                self._look_at_folder(folder, below)
                continue
            with self.walker.opened(folder, below, self.outside) as child:
                if child is not None:
                    self._look_below(child, below, depth + 1)
                else:
                    self.hidden.append(below)

    def _look_at_loose(self, folder: int, path: str) -> list[str] | None:
        """Take in the loose files of an open folder and return its sub-folders."""
        contents = Contents()
        subfolders = self.walker.list_folder(
            folder, path, path, contents, is_root=folder == self._root
        )
        if subfolders is None:
            self.hidden.append(path)
        self.outside.refused += contents.refused
        self.outside.refusals += contents.refusals[: MAX_REFUSALS - len(self.outside.refusals)]
        self._take_loose(path, contents)
        return subfolders

    # ------------------------------------------------------------ a few

    def _is_folder(self, key: str) -> bool:
        """Take an acquisition in if it is a folder; return False if it is none."""
        parts = key.split("/")
        if len(parts) != self._options.acquisition_depth:
            return False
        with ExitStack() as stack:
            holder = self._open_holder(key, stack)
            if holder is None or self._is_ignored(parts):
                return False
            return self._look_at_folder(holder, key)

    def _is_ignored(self, parts: list[str]) -> bool:
        ignored_by = compile_ignore(self._options.ignore)
        return any(ignored_by("/".join(parts[: number + 1]) + "/") for number in range(len(parts)))

    def _look_in(self, holder: str) -> None:
        """Take in the loose files of a folder above the acquisitions, as far as they are wanted."""
        with ExitStack() as stack:
            folder = self._open_holder(join(holder, "x"), stack)
            if folder is not None:
                self._look_at_loose(folder, holder)

    def _open_holder(self, path: str, stack: ExitStack) -> int | None:
        """Open the folder that holds a path; closed with the stack."""
        folder, parts = self._root, path.split("/")[:-1]
        for number in range(len(parts)):
            below = "/".join(parts[: number + 1])
            refused = self.outside.unlisted
            child = stack.enter_context(self.walker.opened(folder, below, self.outside))
            if child is None:
                if self.outside.unlisted > refused:
                    self.hidden.append(below)
                return None
            folder = child
        return folder

    # ------------------------------------------------------------ sightings

    def _look_at_folder(self, holder: int, key: str) -> bool:
        """Take in the folder of an acquisition; return False if it is not there."""
        contents, inode = Contents(), 0
        with self.walker.opened(holder, key, contents) as folder:
            if folder is not None:
                inode = os.fstat(folder).st_ino
                self.walker.walk(folder, key, contents)
                contents.files, found = part_markers(contents.files, self._readiness.marker)
                contents.markers = markers_of_folder(found, self._readiness)
            elif not contents.unlisted:
                return False
        self._add(key, key, AcquisitionKind.FOLDER, contents, inode=inode)
        return True

    def _take_loose(self, path: str, contents: Contents) -> None:
        """Take in the loose files of a folder, grouped as the settings say."""
        base = len(os.fsencode(path)) + 1 if path else 0
        files, markers = part_markers(contents.files, self._readiness.marker)
        markers = [marker[base:] for marker in markers]
        facts = {os.fsdecode(fact[0][base:]): fact for fact in files}
        unseen = {name[len(path) + 1 if path else 0 :] for name in contents.unseen}
        names = [name for name in (*facts, *unseen) if not is_sidecar(name)]
        sidecars = {name for name in (*facts, *unseen) if is_sidecar(name)}
        texts = find_descriptions(sorted(names))
        described = {text for beside in texts.values() for text in beside}
        names = [name for name in names if name not in described]
        groups, single = (
            ([], sorted(names)) if self._options.loose == "each" else group_loose(names)
        )
        unfinished = share_unfinished(
            [name[base:] for name in contents.temporary],
            names,
            is_grouped=self._options.loose != "each",
        )
        taken = {
            group.key: (
                *sidecars_beside(sidecars, group.stem),
                *(text for member in group.members for text in texts.get(member, ())),
            )
            for group in groups
        }
        alone = {
            name: (*sidecars_beside(sidecars, name, _plain_name(name)), *texts.get(name, ()))
            for name in single
        }
        owners = Counter(name for beside in (*taken.values(), *alone.values()) for name in beside)
        for group in groups:
            key, stem = join(path, group.key), join(path, group.stem)
            beside = taken[group.key]
            if self._is_wanted(key, *(join(path, name) for name in group.members)):
                members = (*group.members, *beside)
                part = _pick(facts, unseen, members, base)
                part.temporary = sorted(
                    {name for member in group.members for name in unfinished.get(member, ())}
                )
                part.markers = markers_of_loose(group.members, group.stem, markers, self._readiness)
                self._add(key, stem, AcquisitionKind.GROUP, part, path, members)
        for name, beside in alone.items():
            key = join(path, name)
            if name in taken:
                self.outside.refuse(
                    key, "its name is that of a group of files that differ in one number"
                )
            elif self._is_wanted(key):
                part = _pick(facts, unseen, (name, *beside), base)
                part.temporary = unfinished.get(name, [])
                part.markers = markers_of_loose(
                    (name,), _plain_name(name), markers, self._readiness
                )
                inode = part.files[0][4] if part.files else 0
                own = tuple(one for one in beside if one in facts and owners[one] == 1)
                self._add(
                    key, _plain_name(key), AcquisitionKind.FILE, part, inode=inode, beside=own
                )
        for name in sorted(sidecars - owners.keys()):
            self.outside.refuse(join(path, name), "a sidecar, but nothing lies beside it")

    def _is_wanted(self, *names: str) -> bool:
        """Tell whether an acquisition is looked for, by its key or by the name of a file of it."""
        return self._keys is None or any(name in self._keys for name in names)

    def _add(
        self,
        key: str,
        name: str,
        kind: AcquisitionKind,
        contents: Contents,
        source: str | None = None,
        members: tuple[str, ...] = (),
        inode: int = 0,
        beside: tuple[str, ...] = (),
    ) -> None:
        marks = mark_files(contents.files, is_remote=self._is_remote)
        temporary = tuple(contents.temporary)
        if not self._is_probing:
            probed = Probed(
                listed_vetoes(contents.files, self._readiness, temporary, contents.markers)
            )
        else:
            inside = key if kind is AcquisitionKind.FOLDER else _holder(key)
            probed = probe_acquisition(
                join(self._folder, inside),
                contents.files,
                self._readiness,
                is_remote=self._is_remote,
                temporary=temporary,
                markers=contents.markers,
            )
        self.inside += contents.refusals[: MAX_REFUSALS - len(self.inside)]
        self.found.append(
            Sighting(
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
                unreadable=contents.unreadable,
                vetoes=probed.vetoes,
                is_probed=self._is_probing,
                directives=probed.directives,
                root_inode=0 if self._is_remote else inode & _INODE_BITS,
                refused=contents.refused,
                refusals=tuple(contents.refusals[:SHOWN_REFUSALS]),
                beside=beside,
            )
        )


def _pick(
    facts: dict[str, FileFacts], unseen: set[str], members: tuple[str, ...], base: int
) -> Contents:
    """Return the contents of an acquisition of loose files, paths relative to their folder."""
    files = [(facts[name][0][base:], *facts[name][1:]) for name in members if name in facts]
    return Contents(files, [name for name in members if name in unseen])


def _holder(key: str) -> str:
    """Return the path of the folder that holds an acquisition."""
    return key.rpartition("/")[0]


def _plain_name(key: str) -> str:
    """Return a path without the suffix of its last part."""
    folder, _, name = key.rpartition("/")
    return join(folder, plain_name(name))
