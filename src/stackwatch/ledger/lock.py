"""One stackwatch to a state directory: an advisory lock that a kill releases."""

import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from stackwatch.errors import LedgerError, LedgerInUseError
from stackwatch.model.acquisition import show_path

LOCK_NAME: Final = "lock"

_TRIES: Final = 10
_PAUSE_S: Final = 0.02  # `is_locked` holds the lock for an instant: that is nobody's daemon


class StateLock:
    """The lock of a state directory, held from `take` until `release` or the process's end.

    The file tells who holds it; the lock itself is the kernel's, so that a file left behind by a
    killed process means nothing.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, state_dir: Path) -> "StateLock":
        """Take the lock.

        Raises
        ------
        LedgerInUseError
            Another process holds it; the caller gives up (exit 69).
        LedgerError
            The file cannot be opened.
        """
        path = state_dir / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise LedgerError(
                f"“{show_path(path)}” cannot be opened: {error.strerror}. The ledger needs a "
                "directory it may write to. Check `state_dir` and its permissions.",
                hint="Check `state_dir` and its permissions.",
                path=show_path(path),
            ) from error
        if not _try_lock(descriptor):
            holder = _read_holder(descriptor)
            os.close(descriptor)
            raise _in_use(state_dir, holder)
        _write_holder(descriptor)
        return cls(descriptor)

    def release(self) -> None:
        """Give the lock back; a second time does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def is_locked(state_dir: Path) -> bool:
    """Tell whether a living process holds the lock of a state directory."""
    try:
        descriptor = os.open(state_dir / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def ensure_allowed(ledger: Path) -> None:
    """Refuse where this user may not look at a ledger, before anything is said about it.

    The file is not opened: closing it would take away the locks of this process.

    Raises
    ------
    LedgerError
        The caller ends with 69.
    """
    try:
        ledger.stat()
        if os.access(ledger, os.R_OK, effective_ids=True):
            return
        reason = os.strerror(errno.EACCES)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        reason = error.strerror or str(error)
    hint = (
        "Ask as the user of the service (`sudo -u stackwatch stackwatch …`), or become a member of "
        "the group that may read `state_dir`."
    )
    raise LedgerError(
        f"“{show_path(ledger)}” cannot be looked at: {reason}. {hint}",
        hint=hint,
        path=show_path(ledger),
    )


def _try_lock(descriptor: int) -> bool:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        else:
            return True
    return False


def _write_holder(descriptor: int) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since_s": int(time.time())}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _read_holder(descriptor: int) -> dict[str, Any]:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _in_use(state_dir: Path, holder: dict[str, Any]) -> LedgerInUseError:
    pid, host = holder.get("pid", "unknown"), holder.get("host", "unknown")
    hint = "Stop it, or point `state_dir` elsewhere."
    return LedgerInUseError(
        f"Another stackwatch (pid {pid}, host {host}) holds “{show_path(state_dir)}”. "
        f"Two daemons on one ledger would convert everything twice. {hint}",
        hint=hint,
        path=show_path(state_dir),
        pid=pid,
        host=host,
    )
