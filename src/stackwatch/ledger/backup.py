"""Notice a damaged ledger, keep a copy of a whole one, and put the copy into its place."""

import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Final

from stackwatch.errors import LedgerError
from stackwatch.ledger.lock import ensure_allowed, is_locked
from stackwatch.model.acquisition import show_path

BACKUP_SUFFIX: Final = ".backup"
CHECK_S: Final = 10.0
"""A start waits no longer for the check of a very large ledger."""

_STEPS: Final = 10_000
"""Steps of SQLite's machine between two looks at the clock."""
_SIDES: Final = ("", "-wal", "-shm")


def backup_path(ledger: Path) -> Path:
    """Return where the copy of a ledger lies."""
    return ledger.with_name(ledger.name + BACKUP_SUFFIX)


def find_damage(connection: sqlite3.Connection, seconds: float = CHECK_S) -> str:
    """Return what is wrong with a ledger's file, empty if nothing is found in so many seconds."""
    deadline_s = time.monotonic() + seconds
    connection.set_progress_handler(lambda: int(time.monotonic() > deadline_s), _STEPS)
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    except sqlite3.OperationalError as error:
        return "" if "interrupted" in str(error) else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    finally:
        connection.set_progress_handler(None, 0)
    return "" if found == ["ok"] else "; ".join(found)


def ensure_not_lost(ledger: Path) -> None:
    """Refuse to begin a new ledger where one was: its copy is there, but the file is not.

    Raises
    ------
    LedgerError
        The caller ends with 69.
    """
    is_there = ledger.exists() and ledger.stat().st_size > 0
    if not is_there and backup_path(ledger).exists():
        raise damaged(ledger, "it is empty" if ledger.exists() else "it is not there any more")


def damaged(ledger: Path, what: str) -> LedgerError:
    """Return the error for a ledger that cannot be trusted, and how to go on."""
    copy = backup_path(ledger)
    hint = "`stackwatch ledger rebuild` makes a new one from the published datasets."
    if copy.exists():
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(copy.stat().st_mtime))
        hint = f"`stackwatch ledger restore` takes the copy of {made}. {hint}"
    return LedgerError(
        f"The ledger “{show_path(ledger)}” is damaged: {what}. Nothing was changed, and nothing "
        f"is converted, because what was done before could be done again. {hint}",
        hint=hint,
        path=show_path(ledger),
    )


def ensure_readable(ledger: Path) -> None:
    """Look through a whole ledger, however long it takes.

    Raises
    ------
    LedgerError
        There is none, it is damaged, or this user may not read it.
    """
    ensure_allowed(ledger)
    ensure_not_lost(ledger)
    if not ledger.exists():
        hint = "Start `stackwatch run` once, or check `state_dir`."
        raise LedgerError(
            f"There is no ledger “{show_path(ledger)}”. {hint}", hint=hint, path=show_path(ledger)
        )
    try:
        connection = _connect(ledger)
        try:
            damage = find_damage(connection, float("inf"))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise damaged(ledger, str(error)) from error
    if damage:
        raise damaged(ledger, damage)


def write_backup(ledger: Path, seconds: float) -> Path | None:
    """Copy a ledger; the copy of before stays until the new one is whole and on the disk.

    Works beside the connection that writes, without holding it up.

    Parameters
    ----------
    ledger : Path
    seconds : float
        Longer it does not take.

    Returns
    -------
    Path or None
        None if the time was too short.

    Raises
    ------
    LedgerError
        The ledger is damaged, or there is no room; the copy of before is untouched.
    """
    copy = backup_path(ledger)
    new = copy.with_name(f"{copy.name}.new")
    deadline_s = time.monotonic() + seconds
    try:
        new.unlink(missing_ok=True)
        _copy(ledger, new, deadline_s)
        _check(new)
        _sync(new)
        new.replace(copy)
        _sync(copy.parent)
    except (OSError, sqlite3.Error) as error:
        new.unlink(missing_ok=True)
        if "interrupted" in str(error):
            return None
        raise LedgerError(
            f"The ledger “{show_path(ledger)}” could not be copied: {error}. The copy of before "
            "is kept. Look at the disk of `state_dir`.",
            hint="Look at the disk of `state_dir`.",
            path=show_path(ledger),
        ) from error
    return copy


def restore_backup(ledger: Path) -> Path:
    """Put the copy into the ledger's place; the damaged file is kept beside it.

    For the caller who holds the lock of the state directory.

    Returns
    -------
    Path
        Where the damaged file is now.

    Raises
    ------
    LedgerError
        There is no copy, or it is damaged too.
    """
    copy = backup_path(ledger)
    hint = "`stackwatch ledger rebuild` makes a new ledger from the published datasets."
    try:
        _check(copy)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(
            f"“{show_path(copy)}” cannot be restored: {error}. Nothing was changed. {hint}",
            hint=hint,
            path=show_path(copy),
        ) from error
    new = ledger.with_name(f"{ledger.name}.restored")
    shutil.copyfile(copy, new)
    _sync(new)
    aside = set_aside(ledger)
    new.replace(ledger)
    _sync(ledger.parent)
    return aside


def set_aside(ledger: Path) -> Path:
    """Rename a ledger with all that belongs to it to a free name, and return that."""
    number = 1
    while (aside := ledger.with_name(f"{ledger.name}.damaged-{number}")).exists():
        number += 1
    for side in _SIDES:
        part = ledger.with_name(ledger.name + side)
        if part.exists():
            part.replace(aside.with_name(aside.name + side))
    _sync(ledger.parent)
    return aside


def move_backup_aside(ledger: Path, aside: Path) -> None:
    """Keep the copy of a ledger that is given up beside it, so that it is not restored later."""
    copy = backup_path(ledger)
    if copy.exists():
        copy.replace(backup_path(aside))


def _copy(ledger: Path, new: Path, deadline_s: float) -> None:
    source = _connect(ledger)
    try:
        source.set_progress_handler(lambda: int(time.monotonic() > deadline_s), _STEPS)
        source.execute("VACUUM INTO ?", (str(new),))
    finally:
        source.close()


def _connect(path: Path, *, is_at_rest: bool | None = None) -> sqlite3.Connection:
    """Open a connection that only reads, and makes no files of its own beside one at rest."""
    if is_at_rest is None:
        has_log = path.with_name(f"{path.name}-wal").exists()
        is_at_rest = not has_log and not is_locked(path.parent)
    options = "mode=ro&immutable=1" if is_at_rest else "mode=ro"
    return sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True)


def _check(path: Path) -> None:
    """Raise sqlite3.DatabaseError unless a file is a whole ledger."""
    connection = _connect(path, is_at_rest=True)
    try:
        damage = find_damage(connection)
        if damage:
            raise sqlite3.DatabaseError(damage)
        connection.execute("SELECT count(*) FROM jobs")
    finally:
        connection.close()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
