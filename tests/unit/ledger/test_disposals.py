"""Disposals in the ledger: planned once, begun only when all is published, finished once."""

from pathlib import Path

import pytest

from stackwatch.errors import DisposalError, IllegalTransitionError, OutOfSpaceError
from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.disposal import DisposalAction, DisposalState

DELETE, ARCHIVE = DisposalAction.DELETE, DisposalAction.ARCHIVE
HOUR_US = 3_600_000_000


@pytest.fixture
def published(ledger, queue, publish):
    """Return the job of a published acquisition."""
    queue()
    job = ledger.jobs.claim()
    publish(job)
    ledger.jobs.succeed(job.job_id)
    return job


def planned(ledger, action=DELETE, retention_us=0):
    """Plan, and return what is due."""
    ledger.disposals.plan("em", action, retention_us)
    return ledger.disposals.due()


def test_what_is_published_is_planned_once(ledger, published, clock):
    """Planning again changes nothing; before the retention is over nobody is told twice."""
    assert 1 == ledger.disposals.plan("em", DELETE, HOUR_US)
    assert 0 == ledger.disposals.plan("em", DELETE, HOUR_US)
    (due,) = ledger.disposals.due()
    assert DisposalState.DUE is due.state
    ledger.disposals.remark(due.disposal_id, "It would be deleted.")
    assert () == ledger.disposals.due()
    clock.seconds += 3600

    assert [due.disposal_id] == [one.disposal_id for one in ledger.disposals.due()]


def test_other_settings_plan_anew(ledger, published):
    """Another action or a longer retention takes effect as long as nothing was begun."""
    (first,) = planned(ledger)
    ledger.disposals.remark(first.disposal_id, "told")
    assert 1 == ledger.disposals.plan("em", ARCHIVE, 0)
    (second,) = ledger.disposals.due()
    assert (ARCHIVE, None) == (second.action, second.remark)
    assert 1 == ledger.disposals.plan("em", ARCHIVE, HOUR_US)
    ledger.disposals.begin(first.disposal_id, "m1")

    assert 0 == ledger.disposals.plan("em", DELETE, 0)


def test_what_is_not_published_is_not_planned(ledger, queue):
    """I4: queued, converting or parked acquisitions keep their sources."""
    queue()
    assert 0 == ledger.disposals.plan("em", DELETE, 0)
    ledger.jobs.claim()

    assert () == planned(ledger)


def test_only_what_was_published_is_begun(ledger, published, sight):
    """I4: another stat mark, or a newer content, and the files may not be touched."""
    (due,) = planned(ledger)
    with pytest.raises(IllegalTransitionError):
        ledger.disposals.begin(due.disposal_id, "m2")
    ledger.folders.record_settling("em", sight(mark="m2"))
    with pytest.raises(IllegalTransitionError):
        ledger.disposals.begin(due.disposal_id, "m1")

    assert () == ledger.disposals.running()


def test_done_takes_the_acquisition_out(ledger, published, clock):
    """Archived: where and when is known, the acquisition is gone, and nothing can be repeated."""
    (due,) = planned(ledger, ARCHIVE)
    begun = ledger.disposals.begin(due.disposal_id, "m1")
    assert (begun,) == ledger.disposals.running()
    ledger.disposals.record_archive(due.disposal_id, Path("/archive/run"))
    assert Path("/archive/run") == ledger.disposals.find(due.disposal_id).archive_path

    done = ledger.disposals.done(due.disposal_id, Path("/archive/run"))

    assert (DisposalState.DONE, True) == (done.state, done.is_gone)
    assert round(clock.seconds * 1e6) == done.finished_at_us
    assert ledger.folders.facts("em")["run"].is_gone
    for again in (ledger.disposals.done, ledger.disposals.record_archive):
        with pytest.raises(IllegalTransitionError):
            again(due.disposal_id, Path("/archive/run"))
    assert () == planned(ledger)


def test_what_is_refused_or_failed_is_tried_again_when_asked_for(ledger, published, clock):
    """A refusal stays until the service starts or reads its settings again; so does a delay."""
    (due,) = planned(ledger)
    ledger.disposals.refuse(due.disposal_id, DisposalError("Read-only.", hint="Mend it."))
    assert () == planned(ledger)
    ledger.disposals.reconsider()
    (again,) = ledger.disposals.due()
    later_us = again.due_at_us + HOUR_US
    ledger.disposals.postpone(due.disposal_id, OutOfSpaceError("Full."), later_us)
    assert () == planned(ledger)
    ledger.disposals.reconsider()
    assert 1 == len(ledger.disposals.due())
    ledger.disposals.begin(due.disposal_id, "m1")
    ledger.disposals.interrupt(due.disposal_id, OutOfSpaceError("Full."), later_us)
    ledger.disposals.reconsider()

    (running,) = ledger.disposals.running()
    assert running.due_at_us < later_us
    assert "out_of_space" == (running.remark or {})["error_code"]


def test_a_reader_tells_of_it(ledger, published, tmp_path):
    """The job and the acquisition know what became of the source."""
    (due,) = planned(ledger)
    with LedgerReader.open(tmp_path / "state") as reader:
        details = reader.show_job(published.job_id)
        found = reader.find_disposal(published.acquisition_id)

    assert details is not None
    assert due == details.disposal == found
    assert ("delete", "due") == tuple(due.as_record()[key] for key in ("action", "state"))
