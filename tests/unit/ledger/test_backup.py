"""C19: a damaged ledger is noticed, a copy is kept, and the copy takes its place."""

import errno
import os
from pathlib import Path

import pytest

from stackwatch.errors import LedgerError
from stackwatch.ledger import backup
from stackwatch.ledger.backup import backup_path, ensure_readable, restore_backup, write_backup
from stackwatch.ledger.ledger import LEDGER_NAME, Ledger
from stackwatch.ledger.reader import LedgerReader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a closed ledger with a folder and enough rows for some pages."""
    with Ledger.open(tmp_path) as ledger:
        for number in range(200):
            ledger.folders.upsert(f"folder-{number:03}", Path(f"/drop/{number}"), Path("/out"))
    return tmp_path / LEDGER_NAME


def garble_page(path: Path) -> None:
    """Overwrite a page in the middle, as a dying disk does."""
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xa5" * 4096)


def garble_header(path: Path) -> None:
    """Overwrite the first bytes."""
    with path.open("r+b") as file:
        file.write(b"not a database at all")


def truncate(path: Path) -> None:
    """Lose the second half."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    """Lose everything but the name."""
    os.truncate(path, 0)


def remove(path: Path) -> None:
    """Lose the file."""
    path.unlink()


DAMAGES = [garble_page, garble_header, truncate]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_is_refused_with_what_to_do(path, damage):
    """C19: a garbage page, a garbage header, half a file: nothing is opened or changed."""
    damage(path)
    before = path.read_bytes()

    with pytest.raises(LedgerError) as caught:
        Ledger.open(path.parent)

    assert "damaged" in caught.value.message
    assert "stackwatch ledger rebuild" in caught.value.hint
    assert "restore" not in caught.value.hint, "there is no copy"
    assert before == path.read_bytes()


@pytest.mark.parametrize("damage", [*DAMAGES, empty, remove])
def test_the_copy_takes_the_place_of_a_damaged_ledger(path, damage):
    """C19: also an empty or missing file is noticed where there is a copy, and can be restored."""
    write_backup(path, 60)
    damage(path)
    with pytest.raises(LedgerError) as caught:
        Ledger.open(path.parent)
    assert "stackwatch ledger restore" in caught.value.hint

    aside = restore_backup(path)

    with LedgerReader.open(path.parent) as reader:
        assert 200 == len(reader.list_folders())
    Ledger.open(path.parent).close()
    ensure_readable(path)
    assert aside.exists() is (damage is not remove)


def test_a_copy_is_made_beside_the_writer(path):
    """What was committed is in the copy, what was not is not; the copy is whole by itself."""
    with Ledger.open(path.parent) as ledger:
        ledger.folders.upsert("late", Path("/late"), Path("/out"))
        with ledger.transaction():
            ledger.folders.upsert("open", Path("/open"), Path("/out"))
            copy = write_backup(path, 60)
    assert copy == backup_path(path)
    copy.rename(path.parent / "elsewhere")
    (path.parent / "new").mkdir()
    (path.parent / "elsewhere").rename(path.parent / "new" / LEDGER_NAME)

    with LedgerReader.open(path.parent / "new") as reader:
        names = {folder.name for folder in reader.list_folders()}

    assert ("late" in names, "open" in names, 201) == (True, False, len(names))


@pytest.mark.parametrize("step", ["_copy", "_check", "_sync"])
def test_a_failing_copy_keeps_the_one_before(path, monkeypatch, step):
    """C19: whichever step fails, the older copy stays as it was and nothing else is left."""
    write_backup(path, 60)
    before = backup_path(path).read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(backup, step, fail)
    with pytest.raises(LedgerError):
        write_backup(path, 60)

    assert before == backup_path(path).read_bytes()
    assert [LEDGER_NAME, f"{LEDGER_NAME}.backup", "lock"] == sorted(
        entry.name for entry in path.parent.iterdir()
    )


def test_a_copy_of_a_damaged_ledger_is_no_copy(path):
    """C19: the copy of before is not replaced by one of a damaged file."""
    write_backup(path, 60)
    before = backup_path(path).read_bytes()
    garble_page(path)

    with pytest.raises(LedgerError):
        write_backup(path, 60)

    assert before == backup_path(path).read_bytes()


def test_a_copy_that_takes_too_long_is_given_up(path, monkeypatch):
    """The limit holds, and the copy of before stays."""
    monkeypatch.setattr(backup, "_STEPS", 1)

    assert write_backup(path, 0) is None
    assert not backup_path(path).exists()


def test_a_check_that_takes_too_long_finds_nothing(path, monkeypatch):
    """A start is not held up by the check of a very large ledger."""
    monkeypatch.setattr(backup, "_STEPS", 1)
    monkeypatch.setattr(backup, "CHECK_S", 0)

    Ledger.open(path.parent).close()


def test_a_damaged_copy_is_not_restored(path):
    """C19: then the present file stays where it is, and rebuilding is what is left."""
    write_backup(path, 60)
    garble_page(backup_path(path))
    before = path.read_bytes()

    with pytest.raises(LedgerError) as caught:
        restore_backup(path)

    assert "rebuild" in caught.value.hint
    assert before == path.read_bytes()


def test_identity_is_made_once(path):
    """D10: a ledger keeps its name, and no two have the same."""
    with Ledger.open(path.parent) as ledger:
        first = ledger.identity()
        assert first == ledger.identity()
    with Ledger.open(path.parent) as ledger:
        assert first == ledger.identity()
    with Ledger.open(path.parent / "other") as other:
        assert first != other.identity()
