"""Look for what speaks against an acquisition being complete, beyond what a listing shows.

Runs in the scan process, on acquisitions that are looked at by name: shortly before they would
settle, and before and after a conversion. Imports the standard library, `model`, `layout.ignore`
and `layout.sidecar` only.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from stackwatch.layout.sidecar import read_directives
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import Directives, Veto, VetoKind
from stackwatch.watch.marker import judge_marker
from stackwatch.watch.marks import FileFacts
from stackwatch.watch.openers import find_openers
from stackwatch.watch.readiness import (
    Markers,
    ReadinessOptions,
    content_of,
    listed_vetoes,
)
from stackwatch.watch.regular import OUR_SHORTAGE, find_hole, open_regular

__all__ = ["Probed", "ReadinessOptions", "probe_acquisition"]

_MOST_MARKERS: Final = 100
"""Markers read of one acquisition; more are refused rather than believed unread."""

_REMOTE_FILES: Final = 64
"""Files of a network mount that are opened to ask the server itself: the newest ones."""

_BLOCK: Final = 512


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe found.

    Attributes
    ----------
    vetoes : tuple of Veto
    directives : Directives
        Of the sidecar.
    """

    vetoes: tuple[Veto, ...] = ()
    directives: Directives = field(default_factory=Directives)


def probe_acquisition(
    folder: str,
    facts: list[FileFacts],
    options: ReadinessOptions,
    *,
    is_remote: bool,
    temporary: tuple[str, ...] = (),
    markers: Markers | None = None,
) -> Probed:
    """Return what speaks against an acquisition being complete.

    Parameters
    ----------
    folder : str
        Absolute path of the acquisition's folder; for loose files of the folder that holds them.
    facts : list of FileFacts
        All its files that no pattern ignores, markers parted from them; paths relative to `folder`.
    options : ReadinessOptions
    is_remote : bool
        Whether it lies on a network mount.
    temporary : tuple of str
        Names of unfinished transfers that were ignored in it (`a.tif.part`, `.a.tif.Ab12Cd`),
        paths relative to `folder`, those of folders with `/` at the end; at most a hundred.
    markers : Markers or None
        Those that are there.

    Raises
    ------
    OSError
        This process is short of descriptors or memory; the scan has failed. What cannot be read is
        a veto: whether one file or the share is at fault, the next listing tells.

    Cost
    ----
    On a local disk each file is opened until a hole is found: a second for 100,000 files. On a
    network mount, where each would be a round trip, the newest few and those with fewer blocks
    than bytes.
    """
    markers = markers or Markers()
    directives, unread = _read_sidecar(folder, facts)
    vetoes = [
        *unread,
        *listed_vetoes(facts, options, temporary, markers, directives),
        *_judge_markers(folder, facts, markers),
    ]
    if options.veto_open_files:
        vetoes += _find_open(folder, facts)
    vetoes += _look_inside(folder, facts, is_remote=is_remote)
    return Probed(tuple(vetoes), directives)


def _read_sidecar(folder: str, facts: list[FileFacts]) -> tuple[Directives, list[Veto]]:
    names = [os.fsdecode(path) for path, *_ in facts if b"/" not in path]
    try:
        return read_directives(folder, names), []
    except OSError as error:
        return Directives(), [_unreadable("its sidecar", error)]


def _unreadable(shown: str, error: OSError) -> Veto:
    if error.errno in OUR_SHORTAGE:
        raise error
    return Veto(VetoKind.UNREADABLE, f"{shown} cannot be read: {error.strerror or error}")


def _judge_markers(folder: str, facts: list[FileFacts], markers: Markers) -> Iterator[Veto]:
    """Yield what the markers say against it: all of them have to be true."""
    if len(markers.names) > _MOST_MARKERS:
        yield Veto(VetoKind.MARKER, f"there are {len(markers.names)} markers: more than are read")
        return
    if markers.names:
        content = content_of(facts)
        total_bytes = sum(size for _, size, *_ in content)
        for name in markers.names:
            veto = judge_marker(f"{folder}/{name}", len(content), total_bytes)
            if veto is not None:
                yield veto


def _find_open(folder: str, facts: list[FileFacts]) -> list[Veto]:
    paths: set[str] | None = None

    def is_content(path: str) -> bool:
        nonlocal paths
        if paths is None:  # most often nothing is open, and nobody asks
            paths = {os.fsdecode(path) for path, *_ in facts}
        return path in paths

    openers = find_openers(folder, is_content)
    if not openers:
        return []
    first, others = openers[0], len({opener.path for opener in openers}) - 1
    more = f" and {others} more" if others else ""
    reason = (
        f"“{show_path(first.path)}”{more} open for writing in “{show_path(first.program)}” "
        f"(pid {first.pid})"
    )
    return [Veto(VetoKind.OPEN, reason)]


def _look_inside(folder: str, facts: list[FileFacts], *, is_remote: bool) -> list[Veto]:
    """Open the files, and say which of them is not what the listing says, or has a hole."""
    newest_first = sorted(facts, key=lambda fact: fact[2], reverse=True)
    for number, (path, size, *_) in enumerate(newest_first):
        inside = os.fsdecode(path)
        whole = f"{folder}/{inside}"
        if not size or (is_remote and number >= _REMOTE_FILES and not _has_few_blocks(whole)):
            continue
        veto = _look_into(whole, inside, size)
        if veto is not None:
            return [veto]
    return []


def _has_few_blocks(path: str) -> bool:
    """Tell whether a file has fewer blocks than bytes, from what the listing left in the cache."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    return found.st_blocks * _BLOCK < found.st_size


def _look_into(path: str, inside: str, size: int) -> Veto | None:
    shown = f"“{show_path(inside)}”"
    try:
        descriptor = open_regular(path)
        if descriptor is None:
            return None  # something else took its place: the next mark tells
        try:
            # to open a file asks the server for its size, where a listing may show an old one
            there = os.fstat(descriptor).st_size
            hole = find_hole(descriptor)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None  # gone: the next mark tells; closed to us: it may be no image, reading tells
    except OSError as error:
        return _unreadable(shown, error)
    if there != size:
        return Veto(VetoKind.STALE, f"{shown} has {there} bytes, {size} were listed")
    if hole is None:
        return None
    return Veto(
        VetoKind.HOLE,
        f"{shown} has a hole at byte {hole} of {size}: made at its full size and not filled yet",
    )
