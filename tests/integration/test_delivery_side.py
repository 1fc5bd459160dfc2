"""The daemon's end of delivering, with real processes and a real ledger; the server is made up."""

import queue
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from stackwatch import testing
from stackwatch.daemon.deliveries import NOTE_INTERVAL_S, Deliveries
from stackwatch.daemon.guard import LedgerGuard
from stackwatch.daemon.sides import SideSaid
from stackwatch.daemon.workers import KILL_GRACE_S
from stackwatch.errors import LedgerUnwritableError, UsageError
from stackwatch.ledger.delivery_records import DeliveryRecord
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.reader import LedgerReader
from stackwatch.ledger.records import NewDataset
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.model.job import NewJob
from stackwatch.settings import FolderSettings, Settings
from stackwatch.settings.model import DaemonSettings
from stackwatch.settings.outside import WebknossosSettings

DEADLINE_S = 30.0
STAND_IN = Path(testing.__file__).with_name("stand_in_delivery.py")
URL = "https://wk.example.org"


class ShiftedClock:
    """The machine's clock, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic() + self.ahead_s

    def now(self) -> float:
        """Return seconds since 1970."""
        return time.time() + self.ahead_s


class Bench:
    """A ledger with published datasets, and the side that delivers them."""

    def __init__(self, root: Path, workers: int = 1) -> None:
        self.root = root
        self.clock = ShiftedClock()
        self.ledger = Ledger.open(root / "state", self.clock)
        self.ledger.folders.upsert("em", root / "drop", root)
        self.token = root / "token"
        self.token.write_text("bad")
        self.settings = Settings(
            daemon=DaemonSettings(state_dir=root / "state", delivery_workers=workers),
            webknossos=WebknossosSettings(url=URL, token_file=self.token),
            folder=(FolderSettings(name="em", path=root / "drop", target=root, delivery="upload"),),
        )
        self.inbox: queue.SimpleQueue[SideSaid] = queue.SimpleQueue()
        self.guard = LedgerGuard(self.ledger, self.clock)
        command = (sys.executable, str(STAND_IN))
        self.side = Deliveries(self.ledger, self.clock, self.guard, self.inbox.put, command)

    def publish(self, *names: str, generation: int = 1) -> None:
        """Publish a dataset from an acquisition of the same name."""
        for name in names:
            mark = f"m{generation}"
            key = name.removesuffix("-r2")
            sighting = Sighting(key, key, AcquisitionKind.FOLDER, key, (), 1, 1, 0, mark, mark)
            self.ledger.folders.record_settling("em", sighting)
            job = self.ledger.jobs.queue(NewJob("em", key, generation, mark, 1, 1, mark))
            self.ledger.jobs.claim(job_id=job.job_id)
            path = self.root / name
            new = NewDataset(path, path, f"run-{name}", f"digest-{name}", 100)
            self.ledger.datasets.record_publishing(job.job_id, new)
            self.ledger.datasets.record_published(new.run_id, path)
            self.ledger.jobs.succeed(job.job_id)

    def begin(self) -> None:
        """Start to deliver."""
        self.side.begin(self.settings)

    def until(self, is_true: Callable[[], bool]) -> None:
        """Turn the loop until something is true."""
        deadline = time.monotonic() + DEADLINE_S
        while not is_true():
            assert time.monotonic() < deadline, self.states()
            self.turn()

    def turn(self, seconds: float = 0.05) -> None:
        """Take what has happened, then do what is due."""
        try:
            said = self.inbox.get(timeout=seconds)
            while True:
                said.side.take(said)
                said = self.inbox.get_nowait()
        except queue.Empty:
            self.side.tick()

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.ahead_s += seconds
        self.side.poke()

    def find(self, name: str) -> DeliveryRecord:
        """Return the delivery of a dataset."""
        with LedgerReader.open(self.root / "state") as reader:
            (found,) = [one for one in reader.list_deliveries() if one.name == name]
        return found

    def states(self) -> dict[str, str]:
        """Return how each dataset's delivery stands."""
        with LedgerReader.open(self.root / "state") as reader:
            return {one.name: str(one.state) for one in reader.list_deliveries()}

    def delivered(self) -> list[str]:
        """Return what the server was given, in that order."""
        file = self.root / "delivered"
        return file.read_text().splitlines() if file.exists() else []

    def close(self) -> None:
        """End as the service does."""
        self.side.stop()
        while self.side.has_children:
            self.side.discard(self.inbox.get(timeout=DEADLINE_S))
        self.side.close()
        self.ledger.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Return a bench with one slot."""
    made = Bench(tmp_path)
    yield made
    made.close()


def test_all_that_is_published_is_delivered_in_its_slots(bench):
    """One after the other, each once; a later generation hands the older one's id over."""
    bench.publish("a", "b")
    bench.begin()
    most = 0
    while set(bench.states().values()) != {"delivered"}:
        bench.turn()
        most = max(most, len(bench.side.describe()["running"]))
        assert bench.side.pending() or set(bench.states().values()) == {"delivered"}
    bench.publish("a-r2", generation=2)
    bench.pass_time(0)
    bench.until(lambda: bench.states().get("a-r2") == "delivered")

    assert 1 == most
    assert ["a run-a", "b run-b", "a-r2 run-a-r2 a"] == bench.delivered()
    assert (f"{URL}/datasets/a", "a") == (bench.find("a").link, bench.find("a").remote_id)
    assert () == bench.side.pending() == bench.side.left()


def test_a_server_that_is_down_parks_nothing_and_is_asked_by_one(bench):
    """C21, C22: told once, asked ever more rarely, and all are delivered when it is back."""
    (bench.root / "down").touch()
    bench.publish("a", "b")
    with capture_logs() as logs:
        bench.begin()
        bench.until(lambda: bench.states().get("a") == "paused")
        bench.turn()
        assert ({"a": "paused", "b": "queued"}, []) == (
            bench.states(),
            bench.side.describe()["running"],
        )
        assert () == bench.side.pending()
        assert ["a", "b"] == sorted(one.acquisition for one in bench.side.left())
        bench.pass_time(16)
        bench.until(lambda: bench.states().get("b") == "paused")
        (bench.root / "down").unlink()
        assert "The server does not answer." == bench.side.describe()["paused"]["message"]
        bench.pass_time(31)
        bench.until(lambda: set(bench.states().values()) == {"delivered"})

    events = [line["event"] for line in logs]
    assert (1, 1) == (events.count("delivery.paused"), events.count("delivery.resumed"))
    assert 2 == events.count("job.delivered")
    assert bench.side.describe()["paused"] is None


def test_a_refusal_of_the_server_itself_parks_nothing(bench):
    """An expired certificate is no dataset's fault: all wait, told once, and go on alone."""
    (bench.root / "expired").touch()
    bench.publish("a", "b")
    with capture_logs() as logs:
        bench.begin()
        bench.until(lambda: bench.states().get("a") == "paused")
        bench.pass_time(16)
        bench.until(lambda: bench.states().get("b") == "paused")
        (bench.root / "expired").unlink()
        bench.pass_time(31)
        bench.until(lambda: set(bench.states().values()) == {"delivered"})

    (paused,) = [line for line in logs if line["event"] == "delivery.paused"]
    assert ("error", "The certificate expired.") == (paused["log_level"], paused["message"])


def test_a_refused_token_stops_all_until_its_file_changes(bench):
    """C21: said once, as an error; nothing is begun before, and nothing has to be retried."""
    bench.publish("token_a", "token_b")
    with capture_logs() as logs:
        bench.begin()
        bench.until(lambda: bench.states().get("token_a") == "paused")
        bench.pass_time(600)
        bench.turn()
        assert {"token_a": "paused", "token_b": "queued"} == bench.states()
        bench.token.write_text("good")
        bench.pass_time(1)
        bench.until(lambda: set(bench.states().values()) == {"delivered"})

    (paused,) = [line for line in logs if line["event"] == "delivery.paused"]
    assert ("error", "delivery_unauthorized") == (paused["log_level"], paused["error_code"])


def test_what_is_refused_parks_alone_and_a_person_retries_it(bench):
    """C21: the others go on; retried it is refused again, and a wrong number is told."""
    bench.publish("refused", "a")
    bench.begin()
    bench.until(lambda: bench.states() == {"refused": "parked", "a": "delivered"})
    (left,) = bench.side.left()
    assert "quota" in left.reason
    assert "Make room." == (bench.find("refused").error or {})["hint"]
    bench.side.retry(bench.find("refused").delivery_id)
    assert ["not delivered: it waits"] == [one.reason for one in bench.side.left()]
    bench.until(lambda: bench.states().get("refused") == "parked")

    with pytest.raises(UsageError):
        bench.side.retry(bench.find("a").delivery_id)


def test_a_process_that_is_killed_again_and_again_parks(bench):
    """C11: what ends without a word is tried three times, each from the record of the last."""
    bench.publish("crash")
    bench.begin()
    bench.until(lambda: "crash" in bench.states())
    for attempt in range(1, 4):
        bench.until(lambda attempt=attempt: bench.find("crash").finished_at_us is not None)
        assert "sending" == bench.find("crash").as_record()["stage"]
        assert attempt == bench.find("crash").attempt
        bench.pass_time(3600)
        if attempt < 3:
            bench.until(lambda: bench.find("crash").finished_at_us is None)

    assert {"crash": "parked"} == bench.states()
    assert "worker_killed" == (bench.find("crash").error or {})["error_code"]


def test_a_newer_content_ends_the_delivery_of_the_older(bench):
    """It is stopped where it stands, never taken up again, and hidden from those who look."""
    bench.publish("hang")
    bench.begin()
    bench.until(lambda: "sending" in [r["stage"] for r in bench.side.describe()["running"]])
    bench.publish("hang-r2", generation=2)
    bench.pass_time(NOTE_INTERVAL_S)
    bench.until(lambda: "hang-r2" in bench.states())
    bench.until(lambda: bench.find("hang").state == "queued")

    assert bench.find("hang").is_superseded
    bench.until(lambda: bench.find("hang-r2").state == "running")
    assert "queued" == bench.find("hang").state


def test_a_delivery_that_does_not_get_on_is_ended(bench):
    """C10: killed after `stall_after_s`, tried again later, never parked."""
    bench.publish("hang")
    bench.begin()
    bench.until(lambda: bench.side.describe()["running"] != [])
    bench.until(lambda: (bench.side.describe()["running"][0]["progress"]) is not None)
    bench.pass_time(bench.settings.daemon.stall_after_s + 1)
    bench.until(lambda: bench.find("hang").state == "paused")

    assert "stalled" == (bench.find("hang").error or {})["error_code"]


def test_a_process_that_cannot_be_killed_frees_its_slot(bench, monkeypatch):
    """C10: hung in the kernel: others are delivered, its own delivery is in nobody else's hands."""
    bench.publish("hang")
    bench.begin()
    bench.until(lambda: "sending" in [r["stage"] for r in bench.side.describe()["running"]])
    (stuck,) = [one.child for one in bench.side._running.values()]
    monkeypatch.setattr(stuck, "kill", lambda: None)
    bench.publish("next")
    bench.pass_time(bench.settings.daemon.stall_after_s + 1)
    bench.turn()
    with capture_logs() as lines:
        bench.pass_time(KILL_GRACE_S + 1)
        bench.until(lambda: bench.states().get("next") == "delivered")
        bench.turn()

    assert ("running", 1) == (bench.states()["hang"], bench.find("hang").attempt)
    told = [line for line in lines if line["event"] == "worker.stalled"]
    assert [stuck.pid] == [line["pid"] for line in told]
    bench.until(lambda: bench.side.pending() == ())
    assert ["hang"] == [one.acquisition for one in bench.side.left()]
    monkeypatch.undo()
    stuck.kill()
    bench.until(lambda: bench.find("hang").state == "paused")
    assert "stalled" == (bench.find("hang").error or {})["error_code"]


def test_a_stop_gives_all_back_and_the_next_start_goes_on(tmp_path):
    """C2: processes are killed at once; what they had recorded is handed to the next."""
    first = Bench(tmp_path)
    first.publish("hang")
    first.begin()
    first.until(lambda: "sending" in [r["stage"] for r in first.side.describe()["running"]])
    first.close()

    second = Bench(tmp_path)
    found = second.find("hang")
    assert found.record is not None
    assert ("queued", "sending") == (str(found.state), found.record.stage)
    second.begin()
    second.until(lambda: second.find("hang").attempt == 2)
    second.close()


def test_no_step_is_taken_before_it_is_committed(bench, monkeypatch):
    """C6: while the ledger takes no writes the process waits, and is no stalled one."""
    real = bench.ledger.deliveries.record
    is_full = [True]

    def record(*arguments):
        if is_full[0]:
            raise LedgerUnwritableError("The disk is full.")
        return real(*arguments)

    monkeypatch.setattr(bench.ledger.deliveries, "record", record)
    bench.publish("a")
    bench.begin()
    bench.until(lambda: bench.guard.is_degraded)
    bench.pass_time(bench.settings.daemon.stall_after_s + 1)
    for _ in range(3):
        bench.turn()
    assert [] == bench.delivered()
    is_full[0] = False
    bench.pass_time(3)
    assert bench.guard.tick()
    bench.until(lambda: bench.states() == {"a": "delivered"})

    assert 1 == bench.find("a").attempt
