"""Make a ledger, or bring an older one up to date after a copy of it was made."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stackwatch.errors import LedgerError, LedgerTooNewError
from stackwatch.ledger.statements import load_migration, load_schema
from stackwatch.model.acquisition import show_path

SCHEMA_VERSION: Final = 3
APPLICATION_ID: Final = 0x5357_4C47
"""Stands in the file's header and tells a ledger from any other SQLite file."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from a schema to the next.

    `apply` runs inside a transaction and may neither commit nor roll back.
    """

    version: int
    apply: Callable[[sqlite3.Connection], None]


def _run_script(connection: sqlite3.Connection, script: str) -> None:
    for statement in _split(script):
        connection.execute(statement)


MIGRATIONS: Final[tuple[Migration, ...]] = (
    Migration(2, lambda connection: _run_script(connection, load_migration(2))),
    Migration(3, lambda connection: _run_script(connection, load_migration(3))),
)
"""In order; the version is the one reached."""


def ensure_schema(
    connection: sqlite3.Connection,
    path: Path,
    migrations: Sequence[Migration] = MIGRATIONS,
    wanted: int = SCHEMA_VERSION,
) -> Path | None:
    """Make the tables of an empty file, or migrate an older ledger.

    Parameters
    ----------
    connection : sqlite3.Connection
        In autocommit mode.
    path : Path
        The ledger's file.
    migrations : sequence of Migration
    wanted : int

    Returns
    -------
    Path or None
        The copy that was made before migrating.

    Raises
    ------
    LedgerTooNewError
        A newer stackwatch wrote it; nothing was changed.
    LedgerError
        The file is some other program's database.
    """
    version = check_version(connection, path, wanted)
    if version == wanted:
        return None
    if version == 0:
        _in_transaction(connection, lambda: _run_script(connection, load_schema()), wanted)
        return None
    steps = [step for step in migrations if version < step.version <= wanted]
    copy = path.with_name(f"{path.name}.before-{wanted}")
    copy.unlink(missing_ok=True)
    connection.execute("VACUUM INTO ?", (str(copy),))
    for step in steps:
        _in_transaction(connection, lambda step=step: step.apply(connection), step.version)  # type: ignore[misc]  # a default argument binds the loop's variable
    return copy


def check_version(connection: sqlite3.Connection, path: Path, wanted: int = SCHEMA_VERSION) -> int:
    """Return the schema version of a file, 0 for an empty one; raise as `ensure_schema` does."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if owner != APPLICATION_ID and not is_empty:
        hint = "Move the file away, or point `state_dir` elsewhere."
        raise LedgerError(
            f"“{show_path(path)}” is a database of another program. Nothing was changed. {hint}",
            hint=hint,
            path=show_path(path),
        )
    if version > wanted:
        hint = "Install the newer stackwatch again, or restore the copy made before the migration."
        raise LedgerTooNewError(
            f"“{show_path(path)}” has schema {version}; this stackwatch knows {wanted} and older. "
            f"Going on could lose what the newer one recorded, so nothing was changed. {hint}",
            hint=hint,
            path=show_path(path),
            schema=version,
            known_schema=wanted,
        )
    return version


def _split(script: str) -> list[str]:
    """Return the statements of a script one by one; `executescript` would commit before each."""
    found, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    return found


def _in_transaction(connection: sqlite3.Connection, work: Callable[[], None], version: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        work()
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
