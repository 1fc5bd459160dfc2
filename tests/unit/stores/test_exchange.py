"""Replacing a dataset on a file system that cannot exchange two folders at once."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stackwatch.daemon.staging import is_published, read_run_id, remove_orphans
from stackwatch.errors import TargetExistsError, WriteError
from stackwatch.stores import publish
from stackwatch.stores.publish import OLDER_FOLDER, STAGING_FOLDER, staged_at
from stackwatch.stores.staging import Staging

KILLED = """
import errno, sys
from pathlib import Path
from stackwatch.stores import publish, staging

rename = publish._renameat2
publish._renameat2 = lambda one, other, flags: (
    errno.EINVAL if flags == 2 else rename(one, other, flags)
)
held = staging.Staging(Path(sys.argv[1]) / "run", "7-1")
staged = publish.staged_at(held.path, Path(sys.argv[1]) / "run")
staged.parent.mkdir()
Path(sys.argv[1], "new").rename(staged)
publish.publish(staged, Path(sys.argv[1]) / "run", replace=True)
"""


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file system know no exchange."""
    rename = publish._renameat2

    def refuse(source: Path, target: Path, flags: int) -> int:
        return errno.EINVAL if flags == 2 else rename(source, target, flags)

    monkeypatch.setattr(publish, "_renameat2", refuse)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a target with a dataset of run “old”, and a new one beside it."""
    make_dataset(tmp_path / "run", "old")
    return tmp_path


def make_dataset(path: Path, run_id: str) -> None:
    """Write what a dataset consists of for a recovery."""
    path.mkdir(parents=True)
    (path / "stackwatch.json").write_text(json.dumps({"run_id": run_id}))


def killed_between(place: Path) -> Path:
    """Kill a replacement between its two renames, and return its staging directory."""
    make_dataset(place / "new", "new")
    environment = {**os.environ, "STACKWATCH_FAILPOINT": "publish.between_renames"}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(place)], check=False, env=environment, timeout=60
    )
    assert -signal.SIGKILL == ended.returncode
    assert not (place / "run").exists()
    return place / STAGING_FOLDER / "7-1"


def test_two_renames_do_what_an_exchange_does(place: Path, no_exchange: None) -> None:
    """C17: the new dataset stands at its place, the old one goes with the staging directory."""
    staging = Staging(place / "run", "7-1")
    make_dataset(staged_at(staging.path, place / "run"), "new")
    publish.publish(staged_at(staging.path, place / "run"), place / "run", replace=True)
    kept = read_run_id(staging.path / OLDER_FOLDER / "run")
    staging.remove()

    assert ("new", "old") == (read_run_id(place / "run"), kept)
    assert ["run"] == [path.name for path in place.iterdir()]


def test_a_kill_between_the_renames_is_finished(place: Path) -> None:
    """C17: the run was allowed to publish: its dataset is put into the place it had emptied."""
    killed_between(place)

    assert is_published(place / "run", "new")
    orphans = remove_orphans(place)
    assert "new" == read_run_id(place / "run")
    assert (1, ()) == (len(orphans.removed), orphans.held)
    assert ["run"] == [path.name for path in place.iterdir()]


def test_what_no_ledger_knows_is_put_back(place: Path) -> None:
    """C17: without the intent in the ledger the old dataset comes back, and is never removed."""
    killed_between(place)

    assert not is_published(place / "run", "another run")
    remove_orphans(place)
    assert "old" == read_run_id(place / "run")
    assert ["run"] == [path.name for path in place.iterdir()]


def test_the_only_copy_is_never_removed(place: Path) -> None:
    """C17: somebody put something else into the empty place: the old dataset stays in staging."""
    staging = killed_between(place)
    (place / "run").mkdir()

    assert not is_published(place / "run", "new")
    orphans = remove_orphans(place)
    assert ((), ()) == (orphans.removed, orphans.held)
    assert "old" == read_run_id(staging / OLDER_FOLDER / "run")
    assert [] == list((place / "run").iterdir())
    with pytest.raises(WriteError, match="only copy"):
        Staging(place / "run", "7-1")


@pytest.mark.usefixtures("no_exchange")
def test_a_second_rename_that_fails_puts_the_old_one_back(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C17: the disk fails between the two: the old dataset stands where it stood."""
    staging = Staging(place / "run", "7-1")
    make_dataset(staged_at(staging.path, place / "run"), "new")
    move = publish.move_new

    def fail(source: Path, target: Path) -> None:
        if source == staged_at(staging.path, target):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        move(source, target)

    monkeypatch.setattr(publish, "move_new", fail)
    with pytest.raises(WriteError):
        publish.publish(staged_at(staging.path, place / "run"), place / "run", replace=True)
    staging.remove()

    assert "old" == read_run_id(place / "run")
    assert ["run"] == [path.name for path in place.iterdir()]


def test_the_staging_of_a_living_worker_is_not_finished_for_it(place: Path) -> None:
    """C17: as long as somebody holds the staging directory, the two renames are his."""
    staging = Staging(place / "run", "7-1")
    make_dataset(staged_at(staging.path, place / "run"), "new")
    (staging.path / OLDER_FOLDER).mkdir()
    (place / "run").rename(staging.path / OLDER_FOLDER / "run")

    assert not is_published(place / "run", "new")
    assert not (place / "run").exists()
    staging.remove()
    assert "old" == read_run_id(place / "run")


@pytest.mark.usefixtures("no_exchange")
def test_without_replace_nothing_gives_way(place: Path) -> None:
    """C17: what stands at a target is replaced only where that was asked for."""
    make_dataset(place / "new", "new")
    with pytest.raises(TargetExistsError):
        publish.publish(place / "new", place / "run")

    assert "old" == read_run_id(place / "run")
