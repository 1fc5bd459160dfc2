"""Stat marks: what changes them and what does not."""

import pytest

from stackwatch.model.acquisition import FileEntry
from stackwatch.watch.marks import mark_entries, mark_files

FACTS = [(b"b.tif", 5, 20, 21, 7), (b"a.tif", 3, 10, 11, 6)]
FIELDS = {"path": 0, "size": 1, "mtime": 2, "ctime": 3, "inode": 4}


def changed(field: str) -> list[tuple[bytes, int, int, int, int]]:
    """Return the facts with one field of one file changed."""
    first = list(FACTS[0])
    first[FIELDS[field]] = b"c.tif" if field == "path" else first[FIELDS[field]] + 1  # type: ignore[operator]
    return [tuple(first), FACTS[1]]  # type: ignore[list-item]


@pytest.mark.parametrize("field", list(FIELDS))
def test_mark_files_local_sees_every_field(field):
    """On a local file system path, size, mtime, ctime and inode each change the mark."""
    before, after = (
        mark_files([*FACTS], is_remote=False),
        mark_files(changed(field), is_remote=False),
    )

    assert before.stat_mark != after.stat_mark


@pytest.mark.parametrize("field", list(FIELDS))
def test_mark_files_remote_leaves_ctime_and_inode_out(field):
    """On a network mount a new ctime or inode is no change: sshfs swaps inodes at a remount."""
    before, after = mark_files([*FACTS], is_remote=True), mark_files(changed(field), is_remote=True)

    assert (field in ("ctime", "inode")) == (before.stat_mark == after.stat_mark)


@pytest.mark.parametrize("field", list(FIELDS))
def test_mark_files_size_mark_sees_names_and_sizes_only(field):
    """The size mark changes with a path or a size and with nothing else."""
    before, after = (
        mark_files([*FACTS], is_remote=False),
        mark_files(changed(field), is_remote=False),
    )

    assert (field in ("path", "size")) == (before.size_mark != after.size_mark)


def test_mark_files_does_not_depend_on_order():
    """The order in which a folder lists its files is no part of the mark."""
    assert mark_files([*FACTS], is_remote=False) == mark_files(FACTS[::-1], is_remote=False)


def test_mark_files_counts():
    """Number, bytes and newest mtime are those of all files."""
    marks = mark_files([*FACTS], is_remote=False)

    assert (2, 8, 20) == (marks.files, marks.total_bytes, marks.newest_mtime_ns)


def test_mark_files_local_and_remote_never_meet():
    """A folder that moves to a share is marked anew, even if it is empty."""
    assert mark_files([], is_remote=True).stat_mark != mark_files([], is_remote=False).stat_mark


def test_mark_files_takes_times_beyond_64_bits():
    """A clock set to the year 2400, or to 1946 as macOS does while it copies, breaks nothing."""
    late = mark_files([(b"a", 1, 2**64, 2**64, 1)], is_remote=False)
    early = mark_files([(b"a", 1, -(10**18), 1, 1)], is_remote=False)

    assert late.stat_mark != early.stat_mark
    assert early.newest_mtime_ns == 0


def test_mark_entries_equals_mark_files():
    """A listing's entries give the marks of the scan that saw the same files."""
    entries = [FileEntry(path.decode(), *numbers) for path, *numbers in FACTS]

    assert mark_files([*FACTS], is_remote=False) == mark_entries(entries, is_remote=False)
