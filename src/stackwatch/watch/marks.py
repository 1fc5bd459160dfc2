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
_SIZE_LINE: Final = b"%s\0%d\0"
_REMOTE_LINE: Final = b"%s\0%d %d\0"
_LOCAL_LINE: Final = b"%s\0%d %d %d %d\0"
_AT_ONCE: Final = 4096
"""Files whose lines are put together: one call for many, and little memory."""


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
    # a path holds no NUL: no two lists give the same bytes. Decimal, because the nanoseconds of a
    # clock set beyond the year 2262 fit into no 64 bits
    stat_line = (_REMOTE_LINE if is_remote else _LOCAL_LINE).__mod__
    for start in range(0, len(facts), _AT_ONCE):
        part = facts[start : start + _AT_ONCE]
        looked_at = [fact[:3] for fact in part] if is_remote else part
        stat_hash.update(b"".join(map(stat_line, looked_at)))
        size_hash.update(b"".join(map(_SIZE_LINE.__mod__, [fact[:2] for fact in part])))
    total_bytes = sum(fact[1] for fact in facts)
    newest_mtime_ns = max(0, max((fact[2] for fact in facts), default=0))
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
