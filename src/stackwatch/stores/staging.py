"""Staging directories: where conversions write, each held by the one that writes there."""

import fcntl
import os
import re
import shutil
import time
from pathlib import Path

from stackwatch.errors import TargetExistsError, WriteError
from stackwatch.model.acquisition import show_path
from stackwatch.stores.kept import RANGES_FOLDER, earlier_attempts, empty_folder, holds_receipts
from stackwatch.stores.publish import (
    OLDER_FOLDER,
    STAGED_NAME,
    STAGING_FOLDER,
    restore_older,
    write_errors,
)


class Staging:
    """A staging directory, held by a lock as long as this process lives.

    Parameters
    ----------
    target : Path
        Where a dataset will stand; the staging directory lies beside it.
    name : str
        `<job>-<attempt>`, unique among all that stage here.
    takes_over : bool
        Whether to go on in the staging directory of an earlier attempt that is over, where one
        holds receipts: it is renamed. The caller decides which of them are still worth something.
    """

    def __init__(self, target: Path, name: str, *, takes_over: bool = False) -> None:
        self.path = target.parent / STAGING_FOLDER / name
        with write_errors(target.parent):
            self.path.parent.mkdir(exist_ok=True)  # no parents: the share may not be mounted
            descriptor = self._take_over() if takes_over else None
            if descriptor is None:
                if self.path.exists():
                    self._clear()
                self.path.mkdir()
                descriptor = _hold(self.path)
            self._descriptor = descriptor

    def _take_over(self) -> int | None:
        """Make the staging directory of an earlier attempt our own; return its lock.

        Under its new name nobody finds it who still works for the earlier attempt.
        """
        for earlier in earlier_attempts(self.path):
            try:
                descriptor = _hold(earlier)
            except OSError:
                continue  # it is not over, or not ours
            try:
                if self._rename_here(earlier):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        return None

    def _rename_here(self, earlier: Path) -> bool:
        """Rename a staging directory that we hold; False where it has to stay, or is gone."""
        if not restore_older(earlier):
            return False
        if earlier != self.path:
            if self.path.exists():
                self._clear()
            try:
                earlier.rename(self.path)
            except OSError:
                return False
        empty_folder(self.path, but=frozenset({RANGES_FOLDER, STAGED_NAME}))
        return True

    def _clear(self) -> None:
        if is_held(self.path):
            raise TargetExistsError(
                f"Another conversion is writing to “{show_path(self.path)}”. Nothing was touched. "
                "Wait for it to end.",
                hint="Wait for the other conversion to end.",
                path=show_path(self.path),
            )
        if not restore_older(self.path):
            raise WriteError(
                f"“{show_path(self.path)}” holds the only copy of a dataset whose place is taken. "
                "Nothing was touched. Move it out of there.",
                hint=f"Move what lies in “{show_path(self.path / OLDER_FOLDER)}” elsewhere.",
                path=show_path(self.path),
            )
        shutil.rmtree(self.path)

    def remove(self) -> None:
        """Delete the staging directory with everything in it, and the folder around it if empty.

        A dataset that was being replaced, and whose place is empty, is put back before.
        """
        if restore_older(self.path):
            # receipts first: what is half removed is not to be taken over
            shutil.rmtree(self.path / RANGES_FOLDER, ignore_errors=True)
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)
        try:
            self.path.parent.rmdir()
        except OSError:
            return  # other conversions stage there

    @property
    def is_resumable(self) -> bool:
        """Whether a later attempt could take something over."""
        return holds_receipts(self.path)

    def leave(self) -> None:
        """Leave it to a later attempt; a dataset that was being replaced is put back."""
        restore_older(self.path)
        os.close(self._descriptor)


def _hold(staging: Path) -> int:
    """Lock a staging directory and return what holds the lock as long as it is open."""
    descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def staging_by_hand(target: Path) -> str:
    """Return the name of the staging directory of a conversion that no daemon knows of.

    Another one each time. A process id would not do: in a container it is always the same, and
    workers of a cluster that are left of a killed attempt would find the next one's directory.
    """
    return f"convert-{target.name}-{time.time_ns() // 1_000_000}"


def remove_abandoned(target: Path) -> None:
    """Remove what conversions to `target` by hand left in staging when they were killed."""
    own_name = re.compile(re.escape(f"convert-{target.name}-") + "[0-9]+")
    try:
        found = list((target.parent / STAGING_FOLDER).iterdir())
    except OSError:
        return
    for path in found:
        if not own_name.fullmatch(path.name) or path.is_symlink():
            continue
        try:
            descriptor = _hold(path)
        except OSError:
            continue  # somebody works there
        shutil.rmtree(path, ignore_errors=True)  # a command replaces nothing: no older one
        os.close(descriptor)


def is_held(staging: Path) -> bool:
    """Tell whether a living process holds this staging directory."""
    try:
        descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
