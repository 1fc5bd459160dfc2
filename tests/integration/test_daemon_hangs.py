"""Workers and targets that hang, and a ledger that refuses: real processes, a clock of our own."""

import contextlib
import queue
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stackwatch.daemon.attempts import Running
from stackwatch.daemon.children import Child
from stackwatch.daemon.conversions import Conversions
from stackwatch.daemon.errands import ErrandSaid
from stackwatch.daemon.guard import TRY_INTERVAL_S
from stackwatch.daemon.history import History
from stackwatch.daemon.watching import Looked
from stackwatch.daemon.workers import KILL_GRACE_S
from stackwatch.errors import LedgerUnwritableError
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import Job
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.model.job import NewJob
from stackwatch.settings import Settings
from stackwatch.testing.service import STAND_IN

DEADLINE_S = 30


class FakeClock:
    """A clock that only a test moves."""

    seconds = 1000.0

    def monotonic(self) -> float:
        """Return the time set."""
        return self.seconds

    def now(self) -> float:
        """Return the time set."""
        return self.seconds


class StillWatching:
    """A watching river in which nothing ever changes."""

    folders = ()

    def look_at(self, _folder: str, key: str, tell: Callable[[Looked], None]) -> None:
        """Tell at once that it is as it was."""
        tell(Looked(sighting(key)))

    def key_now(self, _folder: str, key: str) -> str:
        """Tell that nothing is renamed."""
        return key

    def rescan(self, _folder: str) -> bool:
        """Have nothing to do."""
        return True


def sighting(key: str) -> Sighting:
    """Return what is seen of an acquisition."""
    return Sighting(key, key, AcquisitionKind.FOLDER, key, (), 1, 30, 5, "m", "s")


class River:
    """Conversions with everything around them but the watching and the time."""

    def __init__(self, root: Path) -> None:
        self.drop, self.target = root / "drop", root / "target"
        for place in (self.drop, self.target):
            place.mkdir()
        folder = {"name": "em", "path": self.drop, "target": self.target}
        daemon = {"state_dir": root / "state", "stall_after_s": 60, "memory_gib": 0.5}
        settings = Settings(daemon=daemon, folder=[folder])  # type: ignore[arg-type]
        self.clock = FakeClock()
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.ledger = Ledger.open(root / "state", self.clock)
        self.ledger.folders.upsert("em", self.drop, self.target)
        self.history = History.open(root / "state")
        watching: Any = StillWatching()
        self.conversions = Conversions(
            settings,
            self.ledger,
            self.history,
            watching,
            self.clock,
            self.inbox.put,
            (sys.executable, str(STAND_IN)),
        )
        self.conversions.recovery.begin([self.target])

    def queue(self, key: str, *files: str) -> None:
        """Queue an acquisition with these files."""
        (self.drop / key).mkdir()
        for name in files:
            (self.drop / key / name).touch()
        self.ledger.folders.record_settling("em", sighting(key))
        self.ledger.jobs.queue(NewJob("em", key, 1, "m", 1, 30, "s"))

    def take(self) -> None:
        """Act upon the next message, if one comes soon."""
        with contextlib.suppress(queue.Empty):
            message = self.inbox.get(timeout=0.05)
            if isinstance(message, ErrandSaid):
                self.conversions.errands.take(message)
            else:
                self.conversions.take(message)

    def go_on_until(self, is_true: Callable[[], object]) -> None:
        """Turn the loop without moving the clock until something is true."""
        for _ in range(DEADLINE_S * 20):
            self.conversions.tick()
            if is_true():
                return
            self.take()
        raise TimeoutError("it never came true")

    def running(self, key: str) -> Running | None:
        """Return an acquisition's attempt under way."""
        return next((one for one in self.conversions.running if one.job.key == key), None)

    def works_on(self, key: str) -> bool:
        """Tell whether a worker has an acquisition, and has said that it lives."""
        running = self.running(key)
        return running is not None and running.worker is not None

    def job(self, key: str) -> Job:
        """Return the job of an acquisition."""
        return next(job for job in self.history.list_jobs() if job.key == key)

    def close(self) -> None:
        """Leave no process and no file behind."""
        self.conversions.kill()
        self.conversions.errands.close()
        for _ in range(DEADLINE_S * 20):
            if not self.conversions.running and not self.conversions.errands.has_children:
                break
            self.take()
            self.clock.seconds += 1
            self.conversions.tick()
        self.history.close()
        self.ledger.close()


@pytest.fixture
def river(tmp_path: Path) -> Iterator[River]:
    """Conversions that begin nothing before a job is queued."""
    with contextlib.closing(River(tmp_path)) as made:
        yield made


def code_of(job: Job) -> str:
    """Return the code of a job's error."""
    return str((job.error or {}).get("error_code"))


def test_a_worker_that_does_nothing_is_ended_and_tried_again(river):
    """C10: no progress for `stall_after_s`: killed, its staging removed, tried again later."""
    river.queue("stuck", "stubborn")
    river.go_on_until(lambda: river.works_on("stuck"))
    staging = river.target / ".stackwatch" / "1-1"
    river.go_on_until(staging.is_dir)
    river.clock.seconds += 1
    river.conversions.tick()
    river.clock.seconds += 61

    river.go_on_until(lambda: river.running("stuck") is None)

    assert ("waiting", "stalled") == (str(river.job("stuck").state), code_of(river.job("stuck")))
    assert not staging.exists()


def test_a_worker_that_cannot_be_killed_frees_its_slot(river, monkeypatch):
    """C10: hung in the kernel: its job is tried again, other jobs go on, the end comes."""
    river.queue("stuck", "stubborn")
    river.go_on_until(lambda: river.works_on("stuck"))
    river.go_on_until((river.target / ".stackwatch" / "1-1").is_dir)
    river.conversions.tick()
    stuck = river.running("stuck")
    assert stuck is not None
    worker = stuck.worker
    assert worker is not None
    real = Child.kill
    monkeypatch.setattr(Child, "kill", lambda self: None if self.pid == worker.pid else real(self))
    river.clock.seconds += 61
    river.conversions.tick()
    river.clock.seconds += KILL_GRACE_S + 1

    river.queue("next", "1.tif")
    river.go_on_until(lambda: str(river.job("next").state) == "succeeded")

    assert ("waiting", "stalled") == (str(river.job("stuck").state), code_of(river.job("stuck")))
    assert f"pid {worker.pid}" in (river.job("stuck").error or {})["message"]
    assert (river.target / ".stackwatch" / "1-1").is_dir(), "its lock is held: left for later"
    monkeypatch.undo()
    worker.kill()
    river.go_on_until(lambda: not Path(f"/proc/{worker.pid}").exists())


def test_a_job_that_may_have_been_renamed_is_not_decided_too_early(river, monkeypatch):
    """C10: a worker that hangs after the daemon's agreement keeps its job until it is gone."""
    river.queue("renaming", "1.tif")
    river.go_on_until(lambda: river.works_on("renaming"))
    running = river.running("renaming")
    assert running is not None
    worker = running.worker
    assert worker is not None
    monkeypatch.setattr(worker, "acknowledge", lambda _fact: None)  # it hangs where it is told
    river.go_on_until(lambda: river.history.announced_by(running.job.job_id))
    real = Child.kill
    monkeypatch.setattr(Child, "kill", lambda self: None if self.pid == worker.pid else real(self))
    river.conversions.tick()
    river.clock.seconds += 61
    river.conversions.tick()
    river.clock.seconds += KILL_GRACE_S + 1
    river.conversions.tick()

    assert running.is_ending
    assert "claimed" == str(river.job("renaming").state)
    monkeypatch.undo()
    worker.kill()
    river.go_on_until(lambda: river.running("renaming") is None)
    assert ("waiting", "stalled") == (
        str(river.job("renaming").state), code_of(river.job("renaming")),
    )  # fmt: skip


def test_nothing_is_renamed_that_the_ledger_cannot_hold(river, monkeypatch):
    """C6: without a commit no agreement; the work is kept, and published when the ledger can."""
    river.queue("run", "1.tif")
    datasets = river.ledger.datasets

    def refuse(*_: object) -> None:
        raise LedgerUnwritableError("the disk is full")

    monkeypatch.setattr(datasets, "record_publishing", refuse)
    monkeypatch.setattr(river.ledger, "beat", refuse)
    river.go_on_until(lambda: river.conversions.guard.is_degraded)
    river.queue("later", "1.tif")
    river.clock.seconds += 1000  # it waits for us: that is no stall
    for _ in range(5):
        river.clock.seconds += 100
        river.conversions.tick()
        river.take()

    assert not (river.target / "run").exists()
    assert river.works_on("run")
    assert ("claimed", "queued") == (str(river.job("run").state), str(river.job("later").state))
    monkeypatch.undo()
    river.clock.seconds += TRY_INTERVAL_S
    river.go_on_until(lambda: str(river.job("later").state) == "succeeded")
    assert "succeeded" == str(river.job("run").state)
    assert 1 == river.job("run").attempt


def test_what_came_of_a_worker_is_kept_while_the_ledger_refuses(river, monkeypatch):
    """C6: a result the ledger cannot take is recorded later; the job is not converted again."""
    river.queue("run", "1.tif")

    def refuse(*_: object) -> None:
        raise LedgerUnwritableError("the disk is full")

    monkeypatch.setattr(river.ledger.jobs, "succeed", refuse)
    monkeypatch.setattr(river.ledger, "beat", refuse)
    river.go_on_until(lambda: river.conversions.guard.is_degraded)
    assert "claimed" == str(river.job("run").state)

    monkeypatch.undo()
    river.clock.seconds += TRY_INTERVAL_S
    river.go_on_until(lambda: str(river.job("run").state) == "succeeded")

    assert not river.conversions.guard.is_behind
    assert (1, ()) == (river.job("run").attempt, river.conversions.running)


def test_a_hanging_target_is_left_to_the_next_start(river):
    """C2, C10: the end does not wait for a target that does not say what became of a dataset."""
    river.queue("stuck", "stubborn")
    river.go_on_until(lambda: river.works_on("stuck"))
    (runner,) = river.conversions.errands._runners.values()
    assert runner.child is not None
    runner.child.send = lambda _message: True  # nothing arrives
    river.conversions.stop()
    river.conversions.kill()
    for _ in range(40):
        river.take()
        river.conversions.tick()
    assert river.running("stuck") is not None

    river.clock.seconds += 2 * KILL_GRACE_S + 1
    river.conversions.tick()

    assert () == river.conversions.running
    assert "claimed" == str(river.job("stuck").state)
