"""The reader of the crash tests sees what it is there to see."""

import json
from pathlib import Path

from stackwatch.testing.visitor import Visitor, open_stand_in


def publish(target: Path, name: str, data: bytes, told: int) -> Path:
    """Put a dataset of the stand-in into a target, whose manifest tells of so many bytes."""
    (target / name).mkdir()
    (target / name / "data").write_bytes(data)
    (target / name / "stackwatch.json").write_text(json.dumps({"bytes": told}))
    return target / name


def test_a_half_dataset_is_found_once_and_a_whole_one_is_counted(tmp_path):
    """What is short, or has no manifest, is told with its path; staging is not looked at."""
    publish(tmp_path, "whole", b"1234", 4)
    publish(tmp_path, "short", b"123", 4)
    (tmp_path / "empty").mkdir()
    (tmp_path / ".stackwatch").mkdir()
    visitor = Visitor([tmp_path], open_stand_in)

    visitor.look()
    visitor.look()

    assert 1 == visitor.visits
    assert ["empty", "short"] == sorted(
        Path(half.partition(":")[0]).name for half in visitor.halves
    )


def test_a_dataset_that_was_exchanged_is_opened_again(tmp_path):
    """Another inode under the same name is another dataset."""
    first = publish(tmp_path, "run", b"1234", 4)
    visitor = Visitor([tmp_path], open_stand_in)
    visitor.look()
    first.rename(tmp_path / ".old")
    publish(tmp_path, "run", b"12345", 5)

    visitor.look()

    assert (2, []) == (visitor.visits, visitor.halves)
