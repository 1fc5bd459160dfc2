"""The file: made, recognised, migrated after a copy, refused when it is newer."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stackwatch.errors import LedgerError, LedgerTooNewError
from stackwatch.ledger import book, ledger, reader
from stackwatch.ledger.ledger import LEDGER_NAME, Ledger
from stackwatch.ledger.schema import APPLICATION_ID, SCHEMA_VERSION, Migration, ensure_schema
from stackwatch.ledger.statements import load_schema, load_statements
from stackwatch.model.facts import AcquisitionKind
from stackwatch.model.job import AcquisitionState, DatasetState, FolderState, JobState

NEXT = SCHEMA_VERSION + 1


def made(path: Path) -> sqlite3.Connection:
    """Return a connection to a fresh ledger file."""
    connection = book.connect_writer(path)
    ensure_schema(connection, path)
    return connection


def add_column(name: str):
    """Return a migration's work that adds a column."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute(f"ALTER TABLE daemon ADD COLUMN {name} TEXT")

    return work


def test_open_makes_a_ledger(tmp_path):
    """An empty directory gets a WAL ledger of the present schema that is flushed in full."""
    Ledger.open(tmp_path / "deep/state").close()
    with closing(book.connect_writer(tmp_path / "deep/state" / LEDGER_NAME)) as connection:
        facts = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("user_version", "journal_mode", "synchronous", "foreign_keys")
        ]

    assert [SCHEMA_VERSION, "wal", 2, 1] == facts


def test_open_twice_changes_nothing(tmp_path):
    """A ledger of the present schema is opened as it is, without a copy."""
    Ledger.open(tmp_path).close()
    with Ledger.open(tmp_path) as again:
        migrated_from = again.migrated_from

    assert migrated_from is None


def test_open_refuses_a_newer_one(tmp_path):
    """A ledger of a newer stackwatch is refused, unchanged, and the lock is given back."""
    Ledger.open(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / LEDGER_NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(LedgerTooNewError) as caught:
        Ledger.open(tmp_path)
    with pytest.raises(LedgerTooNewError):
        reader.LedgerReader.open(tmp_path)

    assert (SCHEMA_VERSION + 1, SCHEMA_VERSION) == (
        caught.value.values["schema"],
        caught.value.values["known_schema"],
    )
    with pytest.raises(LedgerTooNewError):
        Ledger.open(tmp_path)


def test_open_refuses_a_stranger(tmp_path):
    """Another program's database is never written to."""
    with closing(sqlite3.connect(tmp_path / LEDGER_NAME)) as connection:
        connection.execute("CREATE TABLE cats (name TEXT)")
    with pytest.raises(LedgerError) as caught:
        Ledger.open(tmp_path)

    assert "another program" in str(caught.value)


def test_open_refuses_garbage(tmp_path):
    """A file that is no database is an error that names it."""
    (tmp_path / LEDGER_NAME).write_bytes(b"no database at all" * 100)
    with pytest.raises(LedgerError) as caught:
        Ledger.open(tmp_path)

    assert LEDGER_NAME in str(caught.value)


def test_open_where_the_file_is_a_folder(tmp_path):
    """A ledger that cannot be opened at all is an error that names it, and frees the lock."""
    (tmp_path / LEDGER_NAME).mkdir()
    for _ in range(2):
        with pytest.raises(LedgerError) as caught:
            Ledger.open(tmp_path)

        assert LEDGER_NAME in str(caught.value)


def test_a_change_that_sqlite_refuses(tmp_path):
    """A full or read-only disk is an error of ours, nothing is recorded, and a later try works."""
    with Ledger.open(tmp_path) as opened:
        opened.start()
        connection = opened._book._connection
        connection.execute("PRAGMA query_only = ON")
        with pytest.raises(LedgerError) as caught:
            opened.stop()
        connection.execute("PRAGMA query_only = OFF")
        opened.stop()
        with reader.LedgerReader.open(tmp_path) as looking:
            events = [event.event for event in looking.list_events()]

    assert "state_dir" in caught.value.hint
    assert ["daemon.started", "daemon.stopped"] == events


def test_ensure_schema_migrates_after_a_copy(tmp_path):
    """Each step is applied in order, and the copy holds the ledger as it was."""
    path = tmp_path / LEDGER_NAME
    steps = [Migration(NEXT, add_column("a")), Migration(NEXT + 1, add_column("b"))]
    with closing(made(path)) as connection:
        copy = ensure_schema(connection, path, steps, wanted=NEXT + 1)
        columns = {row["name"] for row in connection.execute("PRAGMA table_info(daemon)")}
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    assert copy is not None
    with closing(sqlite3.connect(copy)) as old:
        old_columns = {row[1] for row in old.execute("PRAGMA table_info(daemon)")}
        old_version = old.execute("PRAGMA user_version").fetchone()[0]

    assert ({"a", "b"}, NEXT + 1) == (columns - old_columns, version)
    assert SCHEMA_VERSION == old_version


def test_a_ledger_of_the_first_schema_becomes_a_present_one(tmp_path):
    """Migrated and made anew, a ledger has the same tables with the same columns and views."""
    first = Path(__file__).with_name("schema_1.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(tmp_path / LEDGER_NAME, isolation_level=None)) as connection:
        connection.executescript(first)
        connection.execute("INSERT INTO folders (id, name, path, target, state, recorded_at_us) "
                           "VALUES (1, 'em', x'2f', x'2f', 'healthy', 1)")  # fmt: skip
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        ensure_schema(connection, tmp_path / LEDGER_NAME)
        migrated = columns_of(connection)
        kept = connection.execute("SELECT name FROM folders").fetchall()
    (tmp_path / "new").mkdir()
    with closing(made(tmp_path / "new" / LEDGER_NAME)) as connection:
        new = columns_of(connection)

    assert new == migrated
    assert [("em",)] == kept


def columns_of(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """Return the columns of each table and view."""
    names = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
    return {
        row[0]: {column[1] for column in connection.execute(f"PRAGMA table_info({row[0]})")}
        for row in names.fetchall()
    }


def test_ensure_schema_failed_step_leaves_the_older_schema(tmp_path):
    """A migration that fails half way is undone, and a later start tries it again."""
    path = tmp_path / LEDGER_NAME

    def broken(connection: sqlite3.Connection) -> None:
        add_column("a")(connection)
        connection.execute("nonsense")

    with closing(made(path)) as connection:
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError):
                ensure_schema(connection, path, [Migration(NEXT, broken)], wanted=NEXT)
        columns = {row["name"] for row in connection.execute("PRAGMA table_info(daemon)")}
        version = connection.execute("PRAGMA user_version").fetchone()[0]

    assert (False, SCHEMA_VERSION) == ("a" in columns, version)


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("folders", "state", FolderState),
        ("acquisitions", "state", AcquisitionState),
        ("acquisitions", "kind", AcquisitionKind),
        ("jobs", "state", JobState),
        ("datasets", "state", DatasetState),
    ],
)
def test_schema_uses_the_words_of_the_model(table, column, words):
    """SQL and Python name the same states, no more and no fewer."""
    body = re.search(rf"CREATE TABLE {table} \((.*?)\) STRICT", load_schema(), re.DOTALL)
    assert body is not None
    check = re.search(rf"CHECK \({column} IN \((.*?)\)\)", body[1], re.DOTALL)
    assert check is not None

    assert {str(word) for word in words} == set(re.findall(r"'(\w+)'", check[1]))


def test_schema_is_strict_and_events_are_append_only(tmp_path):
    """A wrong type is refused, and no line of the history is changed or removed."""
    with closing(made(tmp_path / LEDGER_NAME)) as connection:
        connection.execute("INSERT INTO events (at_us, event) VALUES (1, 'x')")
        for statement in (
            "INSERT INTO events (at_us, event) VALUES ('soon', 'x')",
            "UPDATE events SET event = 'y'",
            "DELETE FROM events",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(statement)
        rows = connection.execute("SELECT event FROM events").fetchall()

    assert ["x"] == [row["event"] for row in rows]


def test_statements_are_all_used_and_all_there():
    """Every statement of queries.sql is used by a verb, and every verb finds its statement."""
    used = set()
    for module in Path(ledger.__file__).parent.glob("*.py"):
        text = module.read_text(encoding="utf-8")
        used |= set(re.findall(r"""_?rows?\(\s*"([a-z_]+)\"""", text))

    assert set(load_statements()) == used
