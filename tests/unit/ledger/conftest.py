"""A ledger on the disk, a clock that stands still, and the shortest way to a job."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import Job, NewDataset
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.model.job import NewJob


class FakeClock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        """Return the time set."""
        return self.seconds

    def now(self) -> float:
        """Return the time set."""
        return self.seconds


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: FakeClock) -> Iterator[Ledger]:
    """Return an open ledger with one drop folder, “em”."""
    with Ledger.open(tmp_path / "state", clock) as opened:
        opened.folders.upsert("em", Path("/drop/em"), Path("/out/em"))
        yield opened


@pytest.fixture
def sight() -> Callable[..., Sighting]:
    """Return a maker of sightings."""

    def made(key: str = "run", mark: str = "m1", size: str = "s1") -> Sighting:
        return Sighting(key, key, AcquisitionKind.FOLDER, key, (), 3, 30, 5, mark, size)

    return made


@pytest.fixture
def queue(ledger: Ledger, sight: Callable[..., Sighting]) -> Callable[..., Job]:
    """Return a maker of queued jobs."""

    def made(key: str = "run", generation: int = 1, mark: str = "m1") -> Job:
        ledger.folders.record_settling("em", sight(key, mark))
        return ledger.jobs.queue(NewJob("em", key, generation, mark, 3, 30, "s1"))

    return made


@pytest.fixture
def publish(ledger: Ledger) -> Callable[..., None]:
    """Return what publishes one dataset of a claimed job."""

    def made(job: Job, digest: str = "d1", path: str = "", remaining: int = 0) -> None:
        place = Path(path or f"/out/em/{job.key}-{job.generation}")
        run_id = f"run-{job.staging_name}"
        staging = Path("/out/em/.stackwatch") / job.staging_name
        new = NewDataset(place, staging, run_id, digest, 100, remaining)
        ledger.datasets.record_publishing(job.job_id, new)
        ledger.datasets.record_published(run_id, place)

    return made
