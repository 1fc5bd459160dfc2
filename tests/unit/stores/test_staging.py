"""Staging directories: held, cleared, taken over."""

import json
import os
import time
from pathlib import Path

import pytest

from stackwatch.errors import TargetExistsError, TargetNotWritableError
from stackwatch.stores.kept import kept_bytes
from stackwatch.stores.publish import STAGING_FOLDER
from stackwatch.stores.staging import Staging, is_held, remove_abandoned, staging_by_hand


def test_a_staging_directory_is_held_while_it_is_in_use(tmp_path: Path) -> None:
    """Its lock tells a living conversion from the remains of a dead one."""
    staging = Staging(tmp_path / "out", "7-1")
    held = is_held(staging.path)
    staging.remove()

    assert held
    assert not is_held(staging.path)
    assert [] == list(tmp_path.iterdir())


def test_the_remains_of_a_dead_attempt_are_cleared(tmp_path: Path) -> None:
    """A staging directory of the same name that nobody holds is emptied."""
    remains = tmp_path / STAGING_FOLDER / "7-1"
    (remains / "dataset").mkdir(parents=True)
    staging = Staging(tmp_path / "out", "7-1")
    found = list(staging.path.iterdir())
    staging.remove()

    assert [] == found


def test_a_living_attempt_is_left_alone(tmp_path: Path) -> None:
    """A staging directory that somebody holds is refused, and stays."""
    staging = Staging(tmp_path / "out", "7-1")
    (staging.path / "dataset").mkdir()
    with pytest.raises(TargetExistsError, match="Another conversion"):
        Staging(tmp_path / "out", "7-1")
    found = [path.name for path in staging.path.iterdir()]
    staging.remove()

    assert ["dataset"] == found


def test_what_a_killed_conversion_by_hand_left_is_removed(tmp_path: Path) -> None:
    """Only what nobody holds, of this very target, goes; a job's staging is the daemon's."""
    target = tmp_path / "12"
    staging = Staging(target, staging_by_hand(target))
    folder = staging.path.parent
    for name in ("convert-12-1", "convert-12-99999", "12-1", "convert-123-1", "convert-12-x"):
        (folder / name / "dataset").mkdir(parents=True)

    remove_abandoned(target)

    kept = {path.name for path in folder.iterdir()}
    staging.remove()
    assert {staging.path.name, "12-1", "convert-123-1", "convert-12-x"} == kept


def test_an_attempt_by_hand_has_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same process too: workers of a killed one must not find the directory of the next."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    monkeypatch.setattr(time, "time_ns", iter((1_000_000, 2_000_000)).__next__)
    names = [staging_by_hand(tmp_path / "12") for _ in range(2)]

    assert 2 == len(set(names))


def test_removing_leaves_the_staging_of_others(tmp_path: Path) -> None:
    """The folder around it goes only with the last one."""
    one, two = Staging(tmp_path / "out", "7-1"), Staging(tmp_path / "other", "8-1")
    one.remove()
    left = [path.name for path in (tmp_path / STAGING_FOLDER).iterdir()]
    two.remove()

    assert ["8-1"] == left
    assert [] == list(tmp_path.iterdir())


def test_staging_makes_no_parents(tmp_path: Path) -> None:
    """Where the target's folder is not there, nothing is made."""
    with pytest.raises(TargetNotWritableError):
        Staging(tmp_path / "mnt" / "out", "7-1")

    assert [] == list(tmp_path.iterdir())


def leave_receipts(staging: Path, count: int) -> None:
    """Write what a killed conversion leaves that was carried out range by range."""
    order = staging / "ranges" / "0123"
    order.mkdir(parents=True)
    (order / "order").touch()
    (staging / "waiting").mkdir()
    for number in range(count):
        shards = [{"path": str(number), "bytes": 5}]
        (order / f"{number}.json").write_text(json.dumps({"shards": shards}))


def test_finished_ranges_are_taken_over(tmp_path: Path) -> None:
    """The attempt with most of them gives its directory to the next; beside them nothing stays."""
    folder = tmp_path / STAGING_FOLDER
    for name, count in (("7-1", 1), ("7-2", 3), ("7-3", 0), ("17-1", 9)):
        leave_receipts(folder / name, count)
    staging = Staging(tmp_path / "out", "7-4", takes_over=True)
    names = sorted(path.name for path in folder.iterdir())
    found = sorted(path.name for path in staging.path.iterdir())
    kept, is_resumable = kept_bytes(staging.path), staging.is_resumable
    staging.remove()

    assert ["17-1", "7-1", "7-3", "7-4"] == names
    assert (["ranges"], 15, True) == (found, kept, is_resumable)


def test_what_a_living_attempt_has_finished_is_not_taken_over(tmp_path: Path) -> None:
    """A lock on the directory protects it; the new attempt begins with nothing."""
    one = Staging(tmp_path / "out", "7-1")
    leave_receipts(one.path, 2)
    two = Staging(tmp_path / "out", "7-2", takes_over=True)
    found = list(two.path.iterdir())
    two.remove()
    left = one.is_resumable
    one.remove()

    assert [] == found
    assert left


def test_what_is_left_is_not_held(tmp_path: Path) -> None:
    """An attempt that was cut off leaves its directory as it is, for the next."""
    staging = Staging(tmp_path / "out", "7-1")
    leave_receipts(staging.path, 2)
    staging.leave()
    held = is_held(staging.path)
    again = Staging(tmp_path / "out", "7-2", takes_over=True)
    kept = kept_bytes(again.path)
    again.remove()

    assert (False, 10) == (held, kept)
