"""`deliveries`: what is delivered, as people and scripts see it, and how it is tried again."""

import re
from pathlib import Path

import pytest

from stackwatch.errors import DeliveryRefusedError, DeliveryUnavailableError
from stackwatch.ledger.ledger import Ledger
from stackwatch.model.delivery import Delivered, DeliveryProgress, UploadRecord
from stackwatch.model.delivery_wording import describe_progress

from .conftest import History

PAGE = Path(__file__).parents[3] / "docs" / "json.md"
SERVER = "https://wk.example.org"
KEYS = {
    "delivery_id", "job_id", "folder", "acquisition", "generation", "dataset", "path", "run_id",
    "kind", "state", "is_superseded", "server", "attempt", "stage", "remote_id", "link",
    "error_code", "message", "hint", "progress", "total_bytes", "not_before_us", "queued_at_us",
    "started_at_us", "finished_at_us",
}  # fmt: skip


@pytest.fixture
def delivering(history: History) -> History:
    """Return a service whose only published dataset is planned for delivery."""
    with Ledger.open(history.state_dir) as ledger:
        ledger.deliveries.plan("em1", SERVER, lambda said: "upload")
    return history


def begin(ledger: Ledger) -> int:
    """Begin the delivery and return its number."""
    return ledger.deliveries.start(ledger.deliveries.due(1)[0].delivery_id).delivery_id


def test_nothing_to_deliver(history: History):
    """Without deliveries there is nothing to see, and `status` says nothing of them."""
    assert "no deliveries\n" == history.run("deliveries", "list").stdout
    assert "deliveries:" not in history.run("status").stdout
    assert {"status": "ok", "deliveries": []} == history.answer("deliveries", "list")


def test_documents(delivering: History):
    """Every key is there and explained; the history is that of the delivery alone."""
    (listed,) = delivering.answer("deliveries", "list")["deliveries"]
    document = delivering.answer("deliveries", "show", "1")
    text = PAGE.read_text(encoding="utf-8")
    start = text.index("## `deliveries list`")
    explained = set(re.findall(r"`(\w+)`", text[start : text.index("\n## ", start + 1)]))

    assert KEYS == set(listed) == set(document["delivery"])
    assert explained >= KEYS
    assert set(DeliveryProgress.__slots__) <= explained
    assert ["delivery.queued"] == [event["event"] for event in document["events"]]
    assert ("queued", None, None) == (listed["state"], listed["stage"], listed["link"])
    assert [] == delivering.answer("deliveries", "list", "--state", "parked")["deliveries"]
    (of_job,) = delivering.answer("jobs", "show", "1")["deliveries"]
    assert listed == of_job


def test_a_parked_one_is_told_and_tried_again(delivering: History):
    """Message and hint are shown everywhere; `retry` queues it for the next daemon."""
    with Ledger.open(delivering.state_dir) as ledger:
        error = DeliveryRefusedError("The quota is exceeded.", hint="Make room.")
        ledger.deliveries.park(begin(ledger), error)
    shown = delivering.run("deliveries", "show", "1").stdout
    assert "delivery 1: parked: The quota is exceeded." in shown
    assert "hint         Make room." in shown
    assert "delivery_refused" in delivering.run("deliveries", "list").stdout
    told = delivering.run("status").stdout
    assert "deliveries: 1 parked" in told
    assert "delivery 1: em1/run_1: parked: The quota is exceeded." in told

    answer = delivering.answer("deliveries", "retry", "1")

    assert {"status": "queued", "delivery_id": 1, "daemon": False} == answer
    assert "deliveries: 1 queued" in delivering.run("status").stdout
    assert "queued again; no daemon runs" in delivering.run("deliveries", "retry", "1").stdout


def test_a_delivered_one_is_a_link(delivering: History):
    """The link is in every answer; there is nothing to try again."""
    with Ledger.open(delivering.state_dir) as ledger:
        link = f"{SERVER}/datasets/6a"
        ledger.deliveries.deliver(begin(ledger), Delivered("6a", link, "run_1", 9, 1.0))

    for command in (["deliveries", "list"], ["deliveries", "show", "1"], ["jobs", "show", "1"]):
        assert link in delivering.run(*command).stdout
    assert 2 == delivering.run("deliveries", "retry", "1").exit_code
    assert 2 == delivering.run("deliveries", "show", "7").exit_code
    assert 2 == delivering.run("deliveries", "retry", "7").exit_code


def test_a_paused_one_says_when_it_goes_on(delivering: History):
    """It is shown with its next try, and is no error while it runs again."""
    with Ledger.open(delivering.state_dir) as ledger:
        number = begin(ledger)
        error = DeliveryUnavailableError("The server does not answer.", hint="Nothing.")
        ledger.deliveries.pause(number, error, 1_000)
        shown = delivering.run("deliveries", "show", "1").stdout
        assert "The server does not answer." in shown
        assert "paused, again after 1970-01-01" in shown
        begin(ledger)
        record = UploadRecord("sending", "upload", upload_id="u")
        ledger.deliveries.record(number, 2, record)
        ledger.deliveries.progress(
            number, {"stage": "sending", "done_bytes": 500, "total_bytes": 2000}
        )
        running = delivering.answer("deliveries", "show", "1")["delivery"]

    assert (None, "sending", 2000) == (
        running["message"], running["stage"], running["total_bytes"],
    )  # fmt: skip


def test_progress_in_words():
    """Bytes, rate and time left, as far as they are known."""
    moving = DeliveryProgress("sending", 500_000, 2_000_000, 250_000.0, 6.0)
    values = {name: getattr(moving, name) for name in moving.__slots__}

    assert "sending, 500.0 kB of 2.0 MB at 250.0 kB/s, 6 s left" == describe_progress(
        {"progress": values, "stage": "sending"}
    )
    assert "planned" == describe_progress({"progress": None, "stage": None})
    compared = {"progress": {"stage": "finished", "compared": 12}, "stage": "finished"}
    assert "finished, 12 boxes of voxels compared" == describe_progress(compared)
