"""Stat marks and size marks: what a set of files looks like from outside."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stackwatch.model.acquisition import FileEntry

FileFacts = tuple[bytes, int, int, int, int]
"""Path relative to the acquisition, size, mtime_ns, ctime_ns, inode."""

_DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Marks:
    """What a set of files looks like."""

    stat_mark: str
    size_mark: str
    files: int
    total_bytes: int
    newest_mtime_ns: int


def mark_files(facts: list[FileFacts], *, is_remote: bool) -> Marks:
    """Return stat mark, size mark and totals of the files of one acquisition.

    Parameters
    ----------
    facts : list of FileFacts
        In any order; sorted in place by the bytes of the paths.
    is_remote : bool
        Leave ctime and inode out: sshfs swaps inodes at a remount, and some servers cut or
        forget the change time.

    Returns
    -------
    Marks
        The stat mark begins with `r` or `l`, so that a remote mark never equals a local one.
    """
    facts.sort()
    stat_hash = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    size_hash = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    total_bytes = newest_mtime_ns = 0
    for path, size, mtime_ns, ctime_ns, inode in facts:
        # a path holds no NUL: no two lists give the same bytes. Decimal, because the nanoseconds
        # of a clock set beyond the year 2262 fit into no 64 bits
        size_hash.update(b"%s\0%d\0" % (path, size))
        if is_remote:
            stat_hash.update(b"%s\0%d %d\0" % (path, size, mtime_ns))
        else:
            stat_hash.update(b"%s\0%d %d %d %d\0" % (path, size, mtime_ns, ctime_ns, inode))
        total_bytes += size
        newest_mtime_ns = max(newest_mtime_ns, mtime_ns)
    prefix = "r" if is_remote else "l"
    return Marks(
        prefix + stat_hash.hexdigest(),
        size_hash.hexdigest(),
        len(facts),
        total_bytes,
        newest_mtime_ns,
    )


def mark_entries(entries: Iterable[FileEntry], *, is_remote: bool) -> Marks:
    """Return the marks of a listing's entries; equal to those of a scan that saw the same."""
    facts = [
        (os.fsencode(entry.path), entry.size, entry.mtime_ns, entry.ctime_ns, entry.inode)
        for entry in entries
    ]
    return mark_files(facts, is_remote=is_remote)
