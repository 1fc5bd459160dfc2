"""Scan a drop folder: one pass over its entries, one sighting for each acquisition.

The scan is the truth; events only bring it forward. It follows no symlink and writes nothing. It
runs in a process that may be killed when a share hangs, and therefore imports nothing heavy. What
it returns can be pickled.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from stackwatch.model.acquisition import Refusal, show_path
from stackwatch.model.facts import Sighting
from stackwatch.watch.mounts import (
    MountChange,
    MountIdentity,
    compare_mounts,
    identify_root,
    list_mounts_below,
    read_mounts,
)
from stackwatch.watch.probe import ReadinessOptions
from stackwatch.watch.search import Search
from stackwatch.watch.walk import MAX_REFUSALS

LooseMode = Literal["group", "each", "park"]

_OPEN_ROOT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


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
        Symlinks, pipes, devices and all that is unreadable, paths relative to the drop folder,
        those outside of acquisitions first; at most `MAX_REFUSALS`, all of them counted in
        `refused`.
    files, directories, refused : int
    mount : MountIdentity
    mount_change : MountChange
        Against the identity that was expected.
    seconds : float
        How long the scan took on the monotonic clock.
    cpu_s : float
        What it cost in processor time.
    is_probing : bool
        Whether it looked for what a listing does not show.
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
    cpu_s: float = 0.0
    is_probing: bool = False


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
    *,
    is_probing: bool = True,
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
        Acquisitions to look at; None for all. Looking at a few costs a listing of these, and of
        the folder that holds them if they are loose files. The path of a loose file stands for
        the group it belongs to as well.
    is_probing : bool
        Whether to look for what a listing does not show: only then can one of them settle.

    Returns
    -------
    FolderScan or FolderUnavailable

    Cost
    ----
    One stat for each file. The facts of one acquisition's files are held at a time.
    """
    started_s, cpu_s = time.monotonic(), time.process_time()
    try:
        root = os.open(folder, _OPEN_ROOT)
        try:
            mounts = read_mounts()
            mount = identify_root(root, folder, mounts)
            search = Search(
                folder,
                root,
                options,
                is_remote=mount.is_remote,
                is_probing=is_probing and keys is not None,
            )
            search.look(keys, list_mounts_below(root, folder, mounts))
        finally:
            os.close(root)
    except OSError as error:
        return FolderUnavailable(
            f"“{show_path(folder)}” cannot be listed: {error.strerror or error}. "
            "It is looked for again at every scan; look at the mount and the permissions."
        )
    change = compare_mounts(expected, mount)
    if expected is not None and not search.found and change in _OTHER_MOUNTS:
        return FolderUnavailable(_missing(folder, expected, mount))
    return FolderScan(
        sightings=tuple(sorted(search.found, key=lambda sighting: os.fsencode(sighting.key))),
        keys=keys,
        hidden=tuple(search.hidden),
        refusals=tuple((search.outside.refusals + search.inside)[:MAX_REFUSALS]),
        files=sum(sighting.files for sighting in search.found),
        directories=search.walker.directories,
        refused=search.outside.refused + sum(sighting.refused for sighting in search.found),
        mount=mount,
        mount_change=change,
        seconds=time.monotonic() - started_s,
        cpu_s=time.process_time() - cpu_s,
        is_probing=is_probing and keys is not None,
    )


_OTHER_MOUNTS: Final = (MountChange.REPLACED, MountChange.REMOUNTED)


def _missing(folder: Path, expected: MountIdentity, mount: MountIdentity) -> str:
    shown = show_path(folder)
    if expected.fstype == mount.fstype:
        return (
            f"“{shown}” is empty and was mounted anew, or shows another {mount.fstype} than "
            "before: what lay in it does not count as deleted. Look at the mount; the scan goes "
            "on by itself as soon as something lies in it."
        )
    return (
        f"“{shown}” is empty and lies on {mount.fstype or 'another file system'} instead of "
        f"{expected.fstype or 'the one before'}: the share is not mounted. Mount it again; the "
        "scan goes on by itself."
    )
