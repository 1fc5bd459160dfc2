"""Which preview pictures are kept, and which go."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from stackwatch.daemon.picture_taking import take_pictures
from stackwatch.daemon.pictures import FIRST_S, KEPT_US, SWEEP_S, Pictures
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import NewDataset
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.model.job import NewJob
from stackwatch.model.preview import preview_path
from stackwatch.pipeline.journal import PublishFact
from tests.unit.ledger.conftest import FakeClock

RUNS = {"kept": "1" * 32, "forgotten": "2" * 32, "old": "3" * 32}
STRANGER = "9" * 32


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock()


@pytest.fixture
def ledger(tmp_path, clock):
    """Return a ledger with three published datasets: one of a forgotten acquisition."""
    with Ledger.open(tmp_path, clock) as opened:
        opened.folders.upsert("em", Path("/drop"), Path("/out"))
        for key, run in RUNS.items():
            publish(opened, key, run)
        opened.verdicts.forget("em", "forgotten")
        yield opened


def publish(ledger: Ledger, key: str, run_id: str, generation: int = 1) -> None:
    """Let an acquisition be converted."""
    mark = f"m{generation}"
    sighting = Sighting(key, key, AcquisitionKind.FOLDER, key, (), 3, 30, 5, mark, "s1")
    ledger.folders.record_settling("em", sighting)
    ledger.jobs.queue(NewJob("em", key, generation, mark, 3, 30, "s1"))
    job = ledger.jobs.claim()
    assert job is not None
    place = Path(f"/out/{key}-{generation}")
    ledger.datasets.record_publishing(
        job.job_id, NewDataset(place, Path("/out/s"), run_id, f"{key}{generation}")
    )
    ledger.datasets.record_published(run_id, place)
    ledger.jobs.succeed(job.job_id, {})


def draw(state_dir: Path, *runs: str) -> list[Path]:
    """Leave pictures of runs."""
    paths = [path for run in runs if (path := preview_path(state_dir, run)) is not None]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"png")
    return paths


def test_pictures_of_what_is_shown_stay(tmp_path, ledger, clock):
    """What is forgotten or unknown to the ledger goes at the next sweep; the rest stays."""
    kept, forgotten, old, stranger = draw(tmp_path, *RUNS.values(), STRANGER)
    pictures = Pictures(ledger, clock, tmp_path)
    pictures.tick()

    assert stranger.exists()  # not before it is due

    clock.seconds += FIRST_S
    pictures.tick()

    assert [True, False, True, False] == [p.exists() for p in (kept, forgotten, old, stranger)]


def test_a_superseded_dataset_keeps_its_picture_for_a_while(tmp_path, ledger, clock):
    """Thirty days after something newer came, the picture of the older one goes."""
    (old,) = draw(tmp_path, RUNS["old"])
    publish(ledger, "old", "4" * 32, generation=2)
    pictures = Pictures(ledger, clock, tmp_path)
    clock.seconds += FIRST_S
    pictures.tick()

    assert old.exists()

    clock.seconds += KEPT_US / 1e6 + SWEEP_S
    pictures.tick()

    assert not old.exists()


def test_what_a_killed_worker_left_goes(tmp_path, ledger, clock):
    """A temporary file goes after an hour; one that is being written stays."""
    (kept,) = draw(tmp_path, RUNS["kept"])
    part = kept.with_name(f".{kept.name}.123")
    part.write_bytes(b"half")
    pictures = Pictures(ledger, clock, tmp_path)
    os.utime(part, (clock.seconds, clock.seconds))
    clock.seconds += FIRST_S
    pictures.tick()

    assert part.exists()

    clock.seconds += SWEEP_S + 1
    pictures.tick()

    assert not part.exists()
    assert kept.exists()


def test_a_picture_that_fails_is_a_remark(tmp_path):
    """The worker goes on; a warning names the dataset."""
    fact = PublishFact("published", tmp_path / "gone", tmp_path, "5" * 32, "d")

    with capture_logs() as logs:
        take_pictures(tmp_path, [fact, PublishFact("published", tmp_path, tmp_path, "no run", "d")])

    assert [("preview.failed", "warning")] == [(one["event"], one["log_level"]) for one in logs]
    assert str(tmp_path / "gone") == logs[0]["path"]
    assert not (tmp_path / "previews").exists()
