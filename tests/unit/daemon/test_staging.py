"""What dead workers left in a target."""

import fcntl
import json
import os
from pathlib import Path

from stackwatch.daemon.staging import Kept, Orphans, is_published, read_run_id, remove_orphans


def make_staging(target: Path, name: str) -> Path:
    """Write a staging directory with a shard in it."""
    path = target / ".stackwatch" / name
    (path / "color" / "1" / "c").mkdir(parents=True)
    (path / "color" / "1" / "c" / "0").write_bytes(b"shard")
    return path


def test_staging_without_a_worker_is_removed(tmp_path):
    """Directories of jobs go, and the folder that held them with the last one."""
    paths = [make_staging(tmp_path, f"{job}-1") for job in (7, 12)]

    assert sorted(paths) == sorted(remove_orphans(tmp_path).removed)

    assert [] == list(tmp_path.iterdir())


def test_staging_of_a_living_worker_is_left(tmp_path):
    """A lock on the directory protects it; its neighbour goes."""
    held, orphan = make_staging(tmp_path, "7-1"), make_staging(tmp_path, "8-1")
    descriptor = os.open(held, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

        found = remove_orphans(tmp_path)

        assert ((orphan,), (held,)) == (found.removed, found.held)

        assert (held / "color" / "1" / "c" / "0").exists()
    finally:
        os.close(descriptor)


def test_our_own_jobs_are_no_orphans(tmp_path):
    """Staging of a job that this daemon works on is left, held or not."""
    make_staging(tmp_path, "7-1")

    assert Orphans() == remove_orphans(tmp_path, ours={7})


def test_finished_ranges_stay_as_long_as_their_job_is_wanted(tmp_path):
    """What will be taken over is counted and left; without a receipt, or a job, it goes."""
    for job in (7, 8):
        order = make_staging(tmp_path, f"{job}-1") / "ranges" / "0123"
        order.mkdir(parents=True)
        (order / "0.json").write_text(json.dumps({"shards": [{"path": "0", "bytes": 5}]}))
    bare = make_staging(tmp_path, "9-1")

    found = remove_orphans(tmp_path, wanted={7, 9})

    assert ((tmp_path / ".stackwatch" / "8-1", bare), (Kept(7, 5),)) == (found.removed, found.kept)
    assert ["7-1"] == [path.name for path in (tmp_path / ".stackwatch").iterdir()]


def test_what_no_job_wrote_is_left(tmp_path):
    """Staging of the convert command, and anything else, stays."""
    make_staging(tmp_path, "convert-run_041-2211")
    (tmp_path / "run_040").mkdir()

    assert Orphans() == remove_orphans(tmp_path)

    assert ["convert-run_041-2211"] == [p.name for p in (tmp_path / ".stackwatch").iterdir()]


def test_a_target_that_is_not_there_holds_no_orphans(tmp_path):
    """A missing target is no error."""
    assert Orphans() == remove_orphans(tmp_path / "nowhere")


def test_a_symlink_in_the_place_of_staging_is_not_followed(tmp_path):
    """Nothing outside the target is ever removed."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (tmp_path / "target" / ".stackwatch").mkdir(parents=True)
    (tmp_path / "target" / ".stackwatch" / "3-1").symlink_to(precious)

    remove_orphans(tmp_path / "target")

    assert (precious / "file").exists()


def test_the_run_that_wrote_a_dataset_is_read_back(tmp_path):
    """The manifest names the run; without a readable one nobody's dataset it is."""
    (tmp_path / "stackwatch.json").write_text(json.dumps({"run_id": "abc", "schema": 1}))
    assert "abc" == read_run_id(tmp_path)

    for damage in ("{", "[]", '{"run_id": 3}'):
        (tmp_path / "stackwatch.json").write_text(damage)
        assert read_run_id(tmp_path) is None
    assert read_run_id(tmp_path / "nowhere") is None


def test_only_the_dataset_of_this_very_run_counts_as_published(tmp_path):
    """The path alone proves nothing: the run id must be the same."""
    (tmp_path / "run_041").mkdir()
    (tmp_path / "run_041" / "stackwatch.json").write_text(json.dumps({"run_id": "abc"}))

    assert is_published(tmp_path / "run_041", "abc")
    assert not is_published(tmp_path / "run_041", "other")
    assert not is_published(tmp_path / "run_042", "abc")
