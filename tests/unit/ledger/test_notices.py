"""The outbox: what survives a restart, and what there is to tell."""

from pathlib import Path

from stackwatch.errors import MissingSlicesError
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.notice import NewNotice, NoticeState

TROUBLE = NewNotice("parked", "acquisition:1", {"name": "em/run"})
OVER = NewNotice("parked", "acquisition:1", is_recovery=True)


def test_the_outbox_outlives_a_restart(tmp_path, clock):
    """C22: what was not sent is due after a start, with who has it already."""
    with Ledger.open(tmp_path, clock) as ledger:
        first = ledger.notices.record(TROUBLE)
        ledger.notices.record_attempt(first, ["a", "b"], "webhook c: 500", 99)
    with Ledger.open(tmp_path, clock) as ledger:
        (found,) = ledger.notices.due()

    assert (1, ("a", "b"), "webhook c: 500", 99) == (
        found.attempt, found.reached, found.error, found.not_before_us,
    )  # fmt: skip
    assert {"name": "em/run"} == found.facts


def test_reached_receivers_add_up(ledger):
    """Each attempt adds those it reached."""
    ledger.notices.record_attempt(ledger.notices.record(TROUBLE), ["b"], "", 0)
    ledger.notices.record_attempt(ledger.notices.due()[0], ["a"], "", 0)

    assert ("a", "b") == ledger.notices.due()[0].reached


def test_what_is_finished_is_due_no_more(ledger, clock):
    """A sent notice leaves the outbox, and its moment is known."""
    assert 0 == ledger.notices.last_sent_us()

    ledger.notices.finish(ledger.notices.record(TROUBLE).notice_id, NoticeState.SENT)

    assert () == ledger.notices.due()
    assert round(clock.now() * 1e6) == ledger.notices.last_sent_us()


def test_trouble_is_open_until_it_is_over(ledger):
    """The newest notice of a topic decides, told or not."""
    other = NewNotice("share-down", "folder:em")
    ledger.notices.record(TROUBLE)
    ledger.notices.record(other)

    assert [TROUBLE.subject, other.subject] == [n.subject for n in ledger.notices.open_problems()]

    ledger.notices.record(OVER, NoticeState.DROPPED)

    assert [other.subject] == [n.subject for n in ledger.notices.open_problems()]


def test_what_was_told_long_ago_is_removed_and_no_trouble_begins_anew(ledger, clock):
    """A year of a share that comes and goes leaves nothing; what is open or due stays."""
    share = [NewNotice("share-down", "folder:em", is_recovery=over) for over in (False, True)]
    for new in share * 20:
        ledger.notices.finish(ledger.notices.record(new).notice_id, NoticeState.SENT)
    ledger.notices.finish(ledger.notices.record(TROUBLE).notice_id, NoticeState.SENT)
    waits = ledger.notices.record(NewNotice("disk-low", "folder:em"))
    ledger.notices.record(NewNotice("disk-low", "folder:em", is_recovery=True), NoticeState.DROPPED)
    later_us = round(clock.now() * 1e6) + 1
    removed = [ledger.notices.remove_old(later_us, limit=25) for _ in range(3)]

    assert [25, 15, 0] == removed
    assert [TROUBLE.subject] == [one.subject for one in ledger.notices.open_problems()]
    assert (waits,) == ledger.notices.due()
    assert 0 == ledger.notices.remove_old(0, limit=25)


def test_parked_acquisitions_tell_why(ledger, queue):
    """Name, job, reason and moment; one that went away is nobody's trouble."""
    queue()
    job = ledger.jobs.claim()
    ledger.jobs.park(job.job_id, MissingSlicesError("Slice 3 is missing.", hint="Copy it."))
    (row,) = ledger.notices.parked_acquisitions()

    assert ("em", b"run", job.job_id) == (row["folder"], row["key"], row["job_id"])
    assert "Slice 3 is missing." == row["error"]["message"]
    assert "parked" == ledger.notices.fate_of_acquisition(row["acquisition_id"])
    assert "" == ledger.notices.fate_of_acquisition(99)
    assert "" == ledger.notices.fate_of_delivery(99)

    ledger.folders.record_vanished("em", "run")

    assert () == ledger.notices.parked_acquisitions()
    assert "" == ledger.notices.fate_of_acquisition(row["acquisition_id"])


def test_the_reader_lists_the_newest_first(tmp_path, ledger):
    """`notices list` sees what the daemon recorded."""
    ledger.notices.record(TROUBLE)
    ledger.notices.record(OVER)
    with LedgerReader.open(Path(tmp_path / "state")) as reader:
        records = [one.as_record() for one in reader.list_notices(5)]

    assert [(2, True, "due"), (1, False, "due")] == [
        (one["notice_id"], one["is_recovery"], one["state"]) for one in records
    ]
