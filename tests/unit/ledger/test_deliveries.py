"""Deliveries in the ledger: one for each dataset, legal transitions alone, nothing told twice."""

from dataclasses import replace

import pytest

from stackwatch.errors import (
    CancelledError,
    DeliveryRefusedError,
    DeliveryUnavailableError,
    IllegalTransitionError,
    UsageError,
    WorkerKilledError,
)
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.delivery import Delivered, DeliveryState, UploadRecord

SERVER = "https://wk.example.org"
RESERVED = UploadRecord("reserved", "upload", upload_id="u1", chunk_bytes=5, remote_id="6a")
DONE = Delivered("6a", f"{SERVER}/datasets/6a", "run", 100, 2.0)


def upload_all(said):
    """Upload what no sidecar forbids."""
    return None if said is False else "upload"


@pytest.fixture
def published(ledger, queue, publish):
    """Return a maker of published datasets."""

    def made(key="run", generation=1, paths=("",)):
        queue(key, generation, f"m{key}{generation}")
        job = ledger.jobs.claim()
        for number, path in enumerate(paths, 1):
            publish(job, f"d{key}{generation}", path, len(paths) - number)
        ledger.jobs.succeed(job.job_id)
        return job

    return made


def plan(ledger, server=SERVER, choose=upload_all):
    """Plan for the folder."""
    return ledger.deliveries.plan("em", server, choose)


def started(ledger, limit=9):
    """Begin what is due first."""
    return ledger.deliveries.start(ledger.deliveries.due(limit)[0].delivery_id)


def events(ledger, tmp_path):
    """Return the names of what the history tells about deliveries."""
    with LedgerReader.open(tmp_path / "state") as reader:
        told = reader.list_events()
    return [one.event for one in told if "deliver" in one.event]


def test_each_published_dataset_is_planned_once(ledger, published):
    """Also of a job with several; to plan again changes nothing."""
    published("a", paths=("/out/em/a_1", "/out/em/a_2"))
    published("b")

    assert 3 == len(plan(ledger))
    assert () == plan(ledger)
    assert ["a_1", "a_2", "b-1"] == [one.name for one in ledger.deliveries.due(9)]


def test_what_a_sidecar_says_decides(ledger, published, sight):
    """A chooser gets the sidecar's word, and nothing is planned where it says no."""
    published()
    seen = []

    def choose(said):
        seen.append(said)

    assert () == plan(ledger, choose=choose)
    assert [None] == seen


def test_a_delivery_from_its_start_to_its_end(ledger, published, tmp_path):
    """Attempt, record and link are on record; the history tells each step once."""
    job = published()
    plan(ledger)
    one = started(ledger)
    assert (DeliveryState.RUNNING, 1, None) == (one.state, one.attempt, one.record)
    one = ledger.deliveries.record(one.delivery_id, 1, RESERVED)
    assert (RESERVED, "6a") == (one.record, one.remote_id)
    ledger.deliveries.progress(one.delivery_id, {"stage": "sending", "done_bytes": 7})
    ledger.deliveries.deliver(one.delivery_id, DONE)
    ledger.deliveries.deliver(one.delivery_id, DONE)

    with LedgerReader.open(tmp_path / "state") as reader:
        (found,) = reader.list_deliveries(DeliveryState.DELIVERED)
        details = reader.show_job(job.job_id)
        counts = reader.count_deliveries()
    assert (DONE.link, "6a", None) == (found.link, found.remote_id, found.error)
    assert {"stage": "sending", "done_bytes": 7} == found.progress
    assert details is not None
    assert (found,) == details.deliveries
    assert 1 == counts["delivered"]
    assert ["delivery.queued", "delivery.started", "job.delivered"] == events(ledger, tmp_path)
    assert () == ledger.deliveries.due(9)


def test_only_the_process_of_this_attempt_may_record(ledger, published):
    """A process that was given up cannot go on, and nobody goes back from the end."""
    published()
    plan(ledger)
    one = started(ledger)
    ledger.deliveries.release(one.delivery_id)
    with pytest.raises(IllegalTransitionError):
        ledger.deliveries.record(one.delivery_id, 1, RESERVED)
    started(ledger)
    with pytest.raises(IllegalTransitionError):
        ledger.deliveries.record(one.delivery_id, 1, RESERVED)
    ledger.deliveries.record(one.delivery_id, 2, replace(RESERVED, stage="finished"))
    with pytest.raises(IllegalTransitionError):
        ledger.deliveries.record(one.delivery_id, 2, RESERVED)

    ledger.deliveries.record(one.delivery_id, 2, replace(RESERVED, upload_id="u2"))


@pytest.mark.parametrize(
    "verb",
    [
        lambda verbs, number: verbs.deliver(number, DONE),
        lambda verbs, number: verbs.park(number, DeliveryRefusedError()),
    ],
)
def test_what_is_parked_stays_parked_until_a_person_retries_it(ledger, published, verb):
    """No verb but `retry` leads out of it; what is done is not tried again."""
    published()
    plan(ledger)
    number = started(ledger).delivery_id
    ledger.deliveries.park(number, DeliveryRefusedError("No.", hint="Ask."))
    with pytest.raises(IllegalTransitionError):
        verb(ledger.deliveries, number)
    assert () == ledger.deliveries.due(9)

    again = ledger.deliveries.retry(number)

    assert (DeliveryState.QUEUED, None) == (again.state, again.error)
    with pytest.raises(UsageError):
        ledger.deliveries.retry(99)
    started(ledger)
    with pytest.raises(UsageError):
        ledger.deliveries.retry(number)


def test_a_server_that_is_down_is_told_once(ledger, published, clock, tmp_path):
    """A paused delivery is due again later; the same cause is in the history once."""
    published()
    (one,) = plan(ledger)
    for _ in range(3):
        started(ledger)
        until_us = round(clock.seconds * 1e6) + 5_000_000
        ledger.deliveries.pause(one.delivery_id, DeliveryUnavailableError("down"), until_us)
        assert () == ledger.deliveries.due(9)
        clock.seconds += 5

    assert 1 == events(ledger, tmp_path).count("delivery.paused")
    assert 1 == events(ledger, tmp_path).count("delivery.started")
    assert 0 == ledger.deliveries.failures(one)


def test_failures_are_counted_until_a_person_retries(ledger, published):
    """Stops and pauses are none; `retry` begins anew."""
    published()
    (one,) = plan(ledger)
    for _ in range(2):
        started(ledger)
        ledger.deliveries.fail(one.delivery_id, WorkerKilledError(), 0)
        ledger.deliveries.release(started(ledger).delivery_id)
    assert 2 == ledger.deliveries.failures(one)
    ledger.deliveries.retry(one.delivery_id)

    assert 0 == ledger.deliveries.failures(one)


def test_an_older_generation_is_not_delivered_any_more(ledger, published, queue):
    """Neither begun nor finished; but where the server may have it, it is followed to its end."""
    published()
    plan(ledger)
    old = started(ledger)
    ledger.deliveries.record(old.delivery_id, 1, RESERVED)
    queue("run", 2, "m2")
    with pytest.raises(CancelledError):
        ledger.deliveries.record(old.delivery_id, 1, replace(RESERVED, stage="finishing"))
    ledger.deliveries.release(old.delivery_id)
    assert ledger.deliveries.find(old.delivery_id).is_superseded
    assert () == ledger.deliveries.due(9)
    with pytest.raises(UsageError, match="a newer one replaced"):
        ledger.deliveries.retry(old.delivery_id)


def test_the_older_generation_is_finished_first_and_named(ledger, published, queue, publish):
    """A newer generation waits for an older one that is finishing, and hands its id over."""
    published()
    plan(ledger)
    old = started(ledger)
    ledger.deliveries.record(old.delivery_id, 1, replace(RESERVED, stage="finishing"))
    published("run", 2)
    plan(ledger)
    assert () == ledger.deliveries.due(9)
    ledger.deliveries.recover()
    assert [old.delivery_id] == [one.delivery_id for one in ledger.deliveries.due(9)]
    started(ledger)
    ledger.deliveries.deliver(old.delivery_id, DONE)

    (new,) = ledger.deliveries.due(9)

    assert 2 == new.generation
    assert ("6a",) == ledger.deliveries.older_ids(new)
    assert not ledger.deliveries.find(old.delivery_id).is_superseded


def test_other_settings_redirect_what_is_not_delivered(ledger, published):
    """Another server means another upload from the start; what is delivered stays."""
    published("a")
    published("b")
    plan(ledger)
    ledger.deliveries.deliver(started(ledger).delivery_id, DONE)
    one = started(ledger)
    ledger.deliveries.record(one.delivery_id, 1, RESERVED)
    other = ("em", "https://other.example.org", upload_all)
    ledger.deliveries.redirect(*other)
    assert RESERVED == ledger.deliveries.find(one.delivery_id).record, "it is under way"
    ledger.deliveries.pause(one.delivery_id, DeliveryUnavailableError(), 2**60)
    ledger.deliveries.redirect(*other)
    ledger.deliveries.redirect("em", SERVER, lambda said: None)

    found = ledger.deliveries.find(one.delivery_id)
    assert 0 == found.not_before_us, "what the old server was waited for is no reason any more"
    assert (None, "", "https://other.example.org") == (found.record, found.remote_id, found.server)
    (first,) = [one for one in ledger.deliveries._list() if one.delivery_id != found.delivery_id]
    assert SERVER == first.server


def test_a_clock_that_was_wrong_holds_nothing_up(ledger, published, clock):
    """A wait of minutes that was noted by a clock years ahead is over when the clock is right."""
    published("a")
    plan(ledger)
    minute_us = 60_000_000
    for ahead_us, expected in ((minute_us, 0), (10 * 365 * 1440 * minute_us, 1)):
        one, now_us = started(ledger), round(clock.now() * 1_000_000)
        ledger.deliveries.pause(one.delivery_id, DeliveryUnavailableError(), now_us + ahead_us)
        assert expected == len(ledger.deliveries.due(9))
        clock.seconds += 120


def test_a_record_outlives_the_daemon(ledger, published, clock, tmp_path):
    """After a kill the attempt is over, and the next one has what the server knows it by."""
    published()
    plan(ledger)
    one = started(ledger)
    ledger.deliveries.record(one.delivery_id, 1, RESERVED)
    ledger.close()
    with Ledger.open(tmp_path / "state", clock) as opened:
        (recovered,) = opened.deliveries.recover()
        assert (DeliveryState.QUEUED, RESERVED) == (recovered.state, recovered.record)
        assert () == opened.deliveries.recover()


def test_many_are_planned_and_found_in_pieces(ledger, published):
    """No look takes more than its piece, and what nobody wants hides nothing behind it."""
    for number in range(5):
        published(f"run{number}", paths=(f"/out/em/{number}_a", f"/out/em/{number}_b"))
    unwanted = iter([True] * 4 + [False] * 99)

    def choose(said):
        return None if next(unwanted) else "upload"

    assert 2 == len(ledger.deliveries.plan("em", SERVER, choose, limit=2))
    assert 4 == len(ledger.deliveries.plan("em", SERVER, upload_all, limit=4))
    assert 4 == len(ledger.deliveries.plan("em", SERVER, upload_all, limit=9))
    assert 10 == len(ledger.deliveries.due(99))
    last = ledger.deliveries.due(99)[-1]

    assert (last,) == ledger.deliveries.due(1, lambda one: one.delivery_id == last.delivery_id)
