"""The claim on a target: a small file that tells two daemons of each other.

`<target>/.stackwatch/claim` is locked as long as its daemon lives, and rewritten every half minute
with a count that grows. Where locks work between all that see the target, the lock decides; where
they do not, as on some network shares, the count does.
"""

import contextlib
import errno
import fcntl
import json
import os
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from stackwatch.model.acquisition import show_path
from stackwatch.stores.publish import STAGING_FOLDER, sync_folder

CLAIM_NAME: Final = "claim"
_LONGEST: Final = 65536
_TRIES: Final = 5
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class Claim:
    """Who works on a target.

    Attributes
    ----------
    ledger_id : str
        Of the ledger, which stays the same for ever.
    host, boot_id : str
        The machine, and its life since it was last started.
    pid : int
    state_dir, folder, path : str
        Where the ledger is, and one of the drop folders with this target: for people.
    beat : int
        Grows while the daemon lives.
    """

    ledger_id: str
    host: str
    boot_id: str
    pid: int
    state_dir: str
    folder: str
    path: str
    beat: int = 0

    def next_beat(self) -> "Claim":
        """Return the claim as it is written next."""
        return replace(self, beat=self.beat + 1)

    @property
    def shown(self) -> str:
        """Who it is, for a person."""
        return f"pid {self.pid} on host {self.host}, state_dir “{self.state_dir}”"


UNREADABLE: Final = Claim("", "unknown", "", 0, "unknown", "", "")
"""Stands for a claim that is just being written, or damaged."""


class Verdict(StrEnum):
    """What to do about a claim that is found."""

    TAKE = "take"
    TAKE_OVER = "take_over"
    """Its daemon is gone: take it, and say so."""
    SHARE = "share"
    """It is our own, by another name of the same target."""
    WATCH = "watch"
    """It may be alive on another machine: see whether its count grows."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else decides.

    Attributes
    ----------
    is_locked : bool or None
        Whether somebody else holds the lock; None where there are no locks.
    is_local : bool
        Whether only this machine can reach the file system.
    unchanged_s : float
        For how long the claim has been seen unchanged.
    patience_s : float
        How long a living daemon may leave it unchanged.
    """

    is_locked: bool | None
    is_local: bool
    unchanged_s: float
    patience_s: float


def judge_claim(found: Claim | None, ours: Claim, around: Circumstances) -> Verdict:
    """Return what to do about what stands in the claim file. Pure."""
    if around.is_locked:
        is_mine = found is not None and _is_this_process(found, ours)
        return Verdict.SHARE if is_mine else Verdict.REFUSE
    if found is None or (found.ledger_id, found.host) == (ours.ledger_id, ours.host):
        return Verdict.TAKE  # nobody but us has this ledger open on this machine
    has_locks = around.is_locked is not None
    is_gone = has_locks and (around.is_local or found.boot_id == ours.boot_id)
    if is_gone or around.unchanged_s >= around.patience_s:
        return Verdict.TAKE_OVER
    return Verdict.WATCH


def _is_this_process(found: Claim, ours: Claim) -> bool:
    return (found.ledger_id, found.boot_id, found.pid) == (ours.ledger_id, ours.boot_id, ours.pid)


class ClaimFile:
    """The open claim file of a target. Used by one thread; any call may hang with the target."""

    def __init__(self, target: Path) -> None:
        self.path = target / STAGING_FOLDER / CLAIM_NAME
        self._descriptor = -1
        self.is_locked: bool | None = False
        """Whether somebody else holds its lock; None where there are no locks."""

    def open(self) -> Claim | None:
        """Open it, try its lock, and return what stands in it; None if nothing that can be read.

        Raises
        ------
        OSError
            The target is not there, or cannot be written.
        """
        for _ in range(_TRIES):
            self.close()
            self.path.parent.mkdir(exist_ok=True)  # no parents: the share may not be mounted
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o644)
            self.is_locked = self._try_lock()
            if self._is_at_place():
                return self.read()
            # it was released, and with it removed, in this very moment
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self.path))

    def read(self) -> Claim | None:
        """Return what stands in it, `UNREADABLE` if that is half a claim; None if it is empty."""
        return _parse(os.pread(self._descriptor, _LONGEST, 0))

    def peek(self) -> Claim | None:
        """Return what stands in a file that may not be written; None if there is none."""
        try:
            return _parse(self.path.read_bytes())
        except OSError:
            return None

    def write(self, claim: Claim) -> None:
        """Put a claim into it, whole."""
        data = json.dumps(asdict(claim)).encode("ascii")
        os.pwrite(self._descriptor, data, 0)
        os.ftruncate(self._descriptor, len(data))
        os.fsync(self._descriptor)
        with contextlib.suppress(OSError):
            sync_folder(self.path.parent)

    def is_ours(self, claim: Claim) -> bool:
        """Tell whether the file at its place is still the one that is open, and is ours."""
        found = self.read()
        return self._is_at_place() and (
            found is None or found is UNREADABLE or _is_this_process(found, claim)
        )

    def release(self) -> None:
        """Remove it and give the lock back."""
        with contextlib.suppress(OSError):
            if self._is_at_place():
                self.path.unlink()
                self.path.parent.rmdir()
        self.close()

    def close(self) -> None:
        """Give the lock back and leave the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _try_lock(self) -> bool | None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None
            raise
        return False

    def _is_at_place(self) -> bool:
        try:
            found = self.path.lstat()
        except OSError:
            return False
        own = os.fstat(self._descriptor)
        return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)


def _parse(data: bytes) -> Claim | None:
    if not data:
        return None
    try:
        return Claim(**json.loads(data))
    except (ValueError, TypeError):
        return UNREADABLE


def explain_refusal(target: Path, found: Claim | None) -> str:
    """Return why a folder is not converted, and what to do."""
    who = found.shown if found is not None else "it does not say which"
    return (
        f"Another stackwatch works on the target “{show_path(target)}” ({who}). Two would write "
        "over each other, so nothing of this folder is converted here. Stop it, or give this "
        "folder a target of its own; it goes on by itself when the other has ended."
    )
