"""The rename that makes a dataset visible: the only place that renames one.

A dataset grows under `<target's parent>/.stackwatch/<job>/` on the same file system. When it is
whole and flushed, one rename puts it in its place; a reader sees all of it or nothing.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stackwatch import failpoints
from stackwatch.errors import (
    OutOfSpaceError,
    StackwatchError,
    TargetExistsError,
    TargetNotWritableError,
    WriteError,
)
from stackwatch.model.acquisition import show_path

STAGING_FOLDER = ".stackwatch"
STAGED_NAME = "dataset"
"""In a staging directory: where new datasets grow, each under the name it will have."""
OLDER_FOLDER = "older"
"""In a staging directory: where a dataset lies that is being replaced, under its own name."""

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_NO_FLAGS = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What file systems answer that know no flags of a rename: NFS and others."""


def staged_at(staging: Path, target: Path) -> Path:
    """Return where in a staging directory the dataset grows that will stand at `target`."""
    return staging / STAGED_NAME / target.name


def ensure_absent(target: Path) -> None:
    """Refuse a target that exists.

    Raises
    ------
    TargetExistsError
        The caller parks the job; nothing was touched.
    """
    if os.path.lexists(target):
        raise _exists(target)


def _exists(target: Path) -> TargetExistsError:
    return TargetExistsError(
        f"“{show_path(target)}” exists and was not written by this job. Nothing was touched. "
        "Remove or rename it, or choose another `dataset_name`.",
        hint="Remove or rename it, or choose another `dataset_name`.",
        path=show_path(target),
    )


def ensure_room(folder: Path, needed_bytes: int) -> None:
    """Refuse to begin what will not fit.

    Raises
    ------
    OutOfSpaceError
        The caller waits until there is room.
    """
    with write_errors(folder):
        found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    no_inodes = found.f_files > 0 and found.f_favail < 16
    if free >= needed_bytes and not no_inodes:
        return
    what = "no free inodes" if no_inodes else f"{free / 2**30:.1f} GiB free"
    raise OutOfSpaceError(
        f"{what} on “{show_path(folder)}”, about {needed_bytes / 2**30:.1f} GiB needed. Nothing "
        "was written. Make room there; under the daemon the conversion then starts by itself.",
        hint="Make room on the target's disk.",
        path=show_path(folder),
        free_bytes=free,
        needed_bytes=needed_bytes,
    )


def sync_tree(root: Path, on_step: Callable[[], None] = lambda: None) -> None:
    """Flush the metadata files and every directory below `root`, deepest first, then `root`.

    The shards have been flushed as they were finished. `on_step` is called after each one: on a
    slow share a large tree takes long.
    """
    failpoints.reach("publish.before_fsync")
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            if name.endswith(".json"):
                _sync_file(Path(folder, name))
        sync_folder(Path(folder))
        on_step()


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush one directory, so that the names in it last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have no flush for directories
            raise
    finally:
        os.close(descriptor)


def publish(staged: Path, target: Path, *, replace: bool = False) -> None:
    """Put a flushed dataset into its place.

    Parameters
    ----------
    staged : Path
        The dataset in its staging directory.
    target : Path
        Its place.
    replace : bool
        Exchange it with the dataset that stands there: afterwards the older one lies in staging.

    Raises
    ------
    TargetExistsError
        Something stands there and `replace` is not set.
    """
    failpoints.reach("publish.before_rename")
    with write_errors(target.parent):
        if replace and target.exists():
            _exchange(staged, target)
        else:
            move_new(staged, target)
        failpoints.reach("publish.after_rename")
        sync_folder(target.parent)
    failpoints.reach("publish.after_parent_fsync")


def move_new(source: Path, target: Path) -> None:
    """Rename something to a name that is free, never over what stands there.

    Raises
    ------
    TargetExistsError
        Something stands there; nothing was touched.
    OSError
        As the system says; `EXDEV` if it is another file system.
    """
    number = _renameat2(source, target, _RENAME_NOREPLACE)
    if number == errno.EEXIST:
        raise _exists(target)
    if number in _NO_FLAGS:
        # look first, then rename: one onto a directory that is not empty fails there too, so
        # nothing can be lost in between
        ensure_absent(target)
        source.rename(target)
    elif number:
        raise OSError(number, os.strerror(number), str(target))


def exchange_names(one: Path, other: Path) -> bool:
    """Let what stands under two names change places at once; False: the file system cannot.

    Raises
    ------
    OSError
        As the system says; `EXDEV` if they are on two file systems.
    """
    number = _renameat2(one, other, _RENAME_EXCHANGE)
    if number and number not in _NO_FLAGS:
        raise OSError(number, os.strerror(number), str(other))
    return not number


def _exchange(staged: Path, target: Path) -> None:
    """Let two datasets change places: at once, or, where the file system cannot, in two steps.

    A kill between the two leaves the target empty and both datasets in staging: `restore_older`
    and the daemon's recovery know what to do.
    """
    if exchange_names(staged, target):
        return
    staging = staged.parent.parent
    older = staging / OLDER_FOLDER / target.name
    older.parent.mkdir(exist_ok=True)
    sync_folder(staging)  # the folder has to last before the dataset lies in it
    target.rename(older)
    sync_folder(older.parent)
    failpoints.reach("publish.between_renames")
    move_new(staged, target)


def restore_older(staging: Path) -> bool:
    """Put a dataset back whose replacement did not come to its end.

    Parameters
    ----------
    staging : Path
        A staging directory that nobody works in any more.

    Returns
    -------
    bool
        Whether the staging directory may be removed: False if it holds the only copy of a dataset,
        because something else stands in its place, or because it cannot be put back now.
    """
    try:
        found = sorted((staging / OLDER_FOLDER).iterdir())
    except OSError:
        return True  # nothing was being replaced
    for older in found:
        target = staging.parent.parent / older.name
        try:
            if not os.path.lexists(target):
                move_new(older, target)
                sync_folder(target.parent)
            elif os.path.lexists(staged_at(staging, target)):
                return False  # the new dataset never came there, but something did
        except (OSError, StackwatchError):
            return False
    return True


def finish_exchange(staging: Path, target: Path) -> None:
    """Put a dataset into the place of an older one that was moved away before a kill.

    Parameters
    ----------
    staging : Path
        A staging directory that nobody works in any more, with the whole dataset in it.
    target : Path

    Raises
    ------
    TargetExistsError, OSError
        Its place is not empty, or the disk fails: nothing was touched.
    """
    move_new(staged_at(staging, target), target)
    sync_folder(target.parent)


def _renameat2(source: Path, target: Path, flags: int) -> int:
    """Rename with flags, and return the number of the error, 0 for none."""
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags)
    return ctypes.get_errno() if failed else 0


@contextmanager
def write_errors(folder: Path) -> Iterator[None]:
    """Turn the system's errors of writing below `folder` into ours, once."""
    try:
        yield
    except StackwatchError:
        raise
    except OSError as error:
        raise as_write_error(error, folder) from error


def as_write_error(error: OSError, folder: Path) -> WriteError:
    """Return our error for a system error of writing below `folder`."""
    shown = show_path(folder)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpaceError(
            f"The disk of “{shown}” is full ({error.strerror}). What was written has been removed. "
            "Make room there; under the daemon the conversion then starts by itself.",
            hint="Make room on the target's disk.",
            path=shown,
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR):
        return TargetNotWritableError(
            f"“{shown}” cannot be written to ({error.strerror}). Create the folder, or give the "
            "account that runs stackwatch the right to write there.",
            hint="Create the target folder, or give stackwatch the right to write there.",
            path=shown,
        )
    return WriteError(
        f"Writing below “{shown}” failed: {error.strerror or error}. It is tried again.",
        hint="Look at the target's disk; the job is retried by itself.",
        path=shown,
    )
