"""Count directories against the inotify limits.

The observer reports nothing when the limit is reached below the folder it was given: it sees some
of the folders and keeps silent about the others. So the folders are counted beforehand.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from stackwatch.model.acquisition import show_path

LIMIT_FILES: Final = (
    Path("/proc/sys/fs/inotify/max_user_watches"),
    Path("/proc/sys/user/max_inotify_watches"),
)
"""The second is the limit of a user namespace; the smaller one counts."""

INSTANCE_LIMIT_FILES: Final = (
    Path("/proc/sys/fs/inotify/max_user_instances"),
    Path("/proc/sys/user/max_inotify_instances"),
)

_DESCRIPTORS: Final = Path("/proc/self/fdinfo")


def explain(error: OSError) -> str:
    """Return why the kernel refuses to watch: which limit it is, and its value."""
    words = error.strerror or str(error)
    if error.errno == errno.EMFILE:
        name, limit = "fs.inotify.max_user_instances", read_watch_limit(INSTANCE_LIMIT_FILES)
    elif error.errno == errno.ENOSPC:
        name, limit = "fs.inotify.max_user_watches", read_watch_limit()
    else:
        return words
    if limit is None:
        return f"{words}; raise `{name}`"
    return f"{words}; raise the limit of {limit} with `sysctl {name}={limit * 2}`"


def read_watch_limit(files: Iterable[Path] = LIMIT_FILES) -> int | None:
    """Return how many directories this user may watch, None where the kernel does not say."""
    limits = []
    for file in files:
        try:
            limits.append(int(file.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # hidden by a sandbox: then the observer has to try
    return min(limits, default=None)


def count_watches(descriptors: Path = _DESCRIPTORS) -> int:
    """Return how many inotify watches this process holds, 0 where /proc is hidden."""
    count = 0
    try:
        for entry in descriptors.iterdir():
            try:
                count += entry.read_bytes().count(b"inotify wd:")
            except OSError:
                continue  # closed since it was listed
    except OSError:
        return 0
    return count


def count_directories(folder: Path, stop_at: int) -> int:
    """Return the number of directories from `folder` downwards, `folder` included.

    Parameters
    ----------
    folder : Path
    stop_at : int
        Count no further than this.
    """
    count, pending = 0, [os.fspath(folder)]
    while pending and count < stop_at:
        path = pending.pop()
        count += 1
        try:
            with os.scandir(path) as entries:
                pending += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # unreadable or gone: the scan reports it
    return count


def find_shortage(folder: Path, limit: int | None = None) -> str:
    """Return why the inotify limit does not allow to watch `folder`, or an empty string.

    Parameters
    ----------
    folder : Path
    limit : int or None
        None asks the kernel.
    """
    limit = read_watch_limit() if limit is None else limit
    if limit is None:
        return ""
    free = limit - count_watches()
    if count_directories(folder, free + 1) <= free:
        return ""
    return (
        f"“{show_path(folder)}” holds more folders than the {max(free, 0)} inotify watches left "
        f"of {limit}: events would come from some of them only. Raise the limit with "
        f"`sysctl fs.inotify.max_user_watches={limit * 2}`."
    )
