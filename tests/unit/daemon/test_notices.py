"""Which trouble there is, and what becomes of it: shares, room, deliveries, and the outbox."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stackwatch.daemon.guard import LedgerGuard
from stackwatch.daemon.notice_rules import BATCH_MAX, Fate, Trouble
from stackwatch.daemon.notices import LOOK_S, Notices
from stackwatch.daemon.room import Pause
from stackwatch.daemon.troubles import AWAY_S, SETTLED_S, Troubles
from stackwatch.errors import DeliveryRefusedError, LedgerUnwritableError
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import NewDataset
from stackwatch.model.delivery import Delivered
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.model.job import FolderState, NewJob
from stackwatch.settings import load_settings
from tests.unit.ledger.conftest import FakeClock

RUN = "a" * 32


class World:
    """What the daemon knows, as far as it can be trouble."""

    def __init__(self, ledger: Ledger, clock: FakeClock, state_dir: Path) -> None:
        self.ledger, self.clock, self.state_dir = ledger, clock, state_dir
        self.folders: list[Any] = [self.folder("em")]
        self.paused: dict[str, Pause] = {}
        self.troubles = Troubles(ledger, self, self, clock, state_dir)  # type: ignore[arg-type]  # stands for both

    def folder(self, name: str, reason: str = "") -> Any:
        """Return a folder as the watcher shows it."""
        state = FolderState.UNAVAILABLE if reason else FolderState.HEALTHY
        view = SimpleNamespace(scanned_s=1.0)
        return SimpleNamespace(name=name, state=state, reason=reason, view=view)

    def now(self) -> list[tuple[str, str]]:
        """Return the trouble there is."""
        return [(one.kind, one.subject) for one in self.troubles.iter_now()]


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock()


@pytest.fixture
def world(tmp_path, clock):
    """A service in which all is well."""
    with Ledger.open(tmp_path, clock) as ledger:
        ledger.folders.upsert("em", Path("/drop"), Path("/out"))
        yield World(ledger, clock, tmp_path)


@pytest.fixture
def told(world, tmp_path):
    """The side itself, with a receiver that nobody sends to."""
    config = tmp_path / "config.toml"
    config.write_text(
        '[notices]\nwebhook = ["http://127.0.0.1:9/"]\n'
        'about = ["parked", "share-down", "disk-low", "delivered"]\n'
    )
    guard = LedgerGuard(world.ledger, world.clock)
    side = Notices(world.ledger, world.troubles, world.clock, guard, lambda said: None, ("false",))
    side._send = lambda: None  # type: ignore[method-assign]  # what is sent is tested with processes
    side.begin(load_settings(config).settings)

    def look() -> list[tuple[str, str, bool]]:
        world.clock.seconds += LOOK_S
        side.tick()
        return [(one.kind, one.subject, one.is_recovery) for one in world.ledger.notices.due()]

    return look


def publish(ledger: Ledger) -> int:
    """Publish a dataset and plan its delivery; return the delivery's id."""
    sighting = Sighting("run", "run", AcquisitionKind.FOLDER, "run", (), 3, 30, 5, "m", "s")
    ledger.folders.record_settling("em", sighting)
    ledger.jobs.queue(NewJob("em", "run", 1, "m", 3, 30, "s"))
    job = ledger.jobs.claim()
    assert job is not None
    ledger.datasets.record_publishing(
        job.job_id, NewDataset(Path("/out/run"), Path("/out/.s"), RUN, "d")
    )
    ledger.datasets.record_published(RUN, Path("/out/run"))
    ledger.jobs.succeed(job.job_id, {})
    (delivery,) = ledger.deliveries.plan("em", "https://wk.example.org", lambda _upload: "upload")
    return int(delivery.delivery_id)


def test_a_share_that_blinks_is_not_away(world, clock):
    """Only what stays away for a while is told."""
    world.folders = [world.folder("em", "the share is not mounted")]

    assert [] == world.now()

    clock.seconds += AWAY_S
    assert [("share-down", "folder:em")] == world.now()

    world.folders = [world.folder("em")]
    assert [] == world.now()
    world.folders = [world.folder("em", "again")]
    assert [] == world.now()


def test_a_share_comes_back(world, told, clock):
    """Told when it is away and when it is back, each once; a folder taken out ends in silence."""
    world.folders = [world.folder("em", "the share is not mounted")]
    told()
    clock.seconds += AWAY_S
    away = ("share-down", "folder:em", False)

    assert [away] == told()
    assert [away] == told()

    world.folders[0].state, world.folders[0].reason = FolderState.HEALTHY, ""
    world.folders[0].view.scanned_s = None
    assert [away] == told()  # not looked through yet

    world.folders[0].view.scanned_s = 2.0
    assert [away, ("share-down", "folder:em", True)] == told()
    assert [away, ("share-down", "folder:em", True)] == told()


def test_room_runs_out_and_comes_again(world, told, clock):
    """After a start it is not taken for well before the targets were looked at."""
    world.paused = {"em": Pause("waits for room: needs 3 GiB, 1 GiB free", 3, 1, 1)}
    low = ("disk-low", "folder:em", False)

    assert [low] == told()

    world.paused = {}
    assert [low] == told()
    clock.seconds += SETTLED_S
    assert [low, ("disk-low", "folder:em", True)] == told()


def test_a_target_that_is_away_is_a_share(world):
    """Where nothing can be written at all, it is not room that lacks."""
    world.paused = {"em": Pause("waits for its target: “/out” is no folder", is_target_away=True)}

    assert [("share-down", "target:em")] == world.now()


def test_the_ledgers_own_disk(world, monkeypatch):
    """Little room at `state_dir` is told before the ledger takes no writes."""
    usage = SimpleNamespace(free=100 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)

    assert [("disk-low", "state_dir")] == world.now()


def test_a_folder_that_is_taken_out_ends_in_silence(world, told, clock):
    """What the settings do not name any more is nobody's trouble."""
    world.paused = {"em": Pause("waits for room")}
    told()
    world.paused, world.folders = {}, []

    assert [("disk-low", "folder:em", False)] == told()
    assert () == world.ledger.notices.open_problems()


def test_a_delivery_is_told_with_its_link(world, told):
    """Once for each, with the address under which people open it."""
    delivery = publish(world.ledger)
    assert [] == told()
    world.ledger.deliveries.start(delivery)
    world.ledger.deliveries.deliver(
        delivery, Delivered("id", "https://wk.example.org/datasets/run-1", "run")
    )

    assert [("delivered", f"delivery:{delivery}", False)] == told()
    assert [("delivered", f"delivery:{delivery}", False)] == told()
    assert "https://wk.example.org/datasets/run-1" == world.ledger.notices.due()[0].facts["link"]


def test_a_delivery_that_is_parked_is_trouble(world, told):
    """The server refused it: told with its words, and told again when it was delivered."""
    delivery = publish(world.ledger)
    world.ledger.deliveries.start(delivery)
    world.ledger.deliveries.park(delivery, DeliveryRefusedError("No team.", hint="Add one."))

    assert [("parked", f"delivery:{delivery}", False)] == told()
    assert "No team." == world.ledger.notices.due()[0].facts["message"]

    world.ledger.deliveries.retry(delivery)
    world.ledger.deliveries.start(delivery)
    assert 1 == len(told())
    world.ledger.deliveries.deliver(delivery, Delivered("id", "https://wk.example.org/1", "run"))

    assert {("parked", True), ("delivered", False)} == {
        (kind, over) for kind, _, over in told()[1:]
    }


def test_what_became_of_trouble(world):
    """Published is over; unknown is ended."""
    publish(world.ledger)
    seen = {
        subject: world.troubles.fate_of(SimpleNamespace(kind="parked", subject=subject))[0]
        for subject in ("acquisition:1", "acquisition:99", "delivery:1", "delivery:99")
    }

    assert {
        "acquisition:1": Fate.OVER, "acquisition:99": Fate.ENDED,
        "delivery:1": Fate.UNSURE, "delivery:99": Fate.ENDED,
    } == seen  # fmt: skip


def test_nobody_is_told_without_receivers(world, tmp_path):
    """With no receiver set nothing is put into the outbox."""
    guard = LedgerGuard(world.ledger, world.clock)
    side = Notices(world.ledger, world.troubles, world.clock, guard, lambda said: None, ("false",))
    config = tmp_path / "config.toml"
    config.write_text("")
    side.begin(load_settings(config).settings)
    world.paused = {"em": Pause("waits for room")}
    world.clock.seconds += LOOK_S
    side.tick()

    assert () == world.ledger.notices.due()
    assert () == side.pending()


def test_a_thousand_troubles_are_recorded_in_pieces_and_none_is_lost(world, told, monkeypatch):
    """One transaction for each piece; a piece that the disk refuses comes again, whole."""
    troubles = [Trouble("parked", f"acquisition:{n}", {"name": "x"}) for n in range(BATCH_MAX + 1)]
    monkeypatch.setattr(world.troubles, "iter_now", lambda: iter(troubles))
    monkeypatch.setattr(LedgerGuard, "note", lambda _self, _error: None)
    record, refusals = world.ledger.notices.record, ["no room"]

    def refuse_once(new, state):
        if new.subject == "acquisition:9" and refusals:
            raise LedgerUnwritableError(refusals.pop())
        return record(new, state)

    monkeypatch.setattr(world.ledger.notices, "record", refuse_once)

    assert [0, BATCH_MAX, BATCH_MAX + 1] == [len(told()) for _ in range(3)]
