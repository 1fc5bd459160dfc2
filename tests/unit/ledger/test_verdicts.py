"""Verdicts: what a person or a conversion says about an acquisition as a whole."""

from pathlib import Path

import pytest

from stackwatch.errors import (
    AcquisitionError,
    IncompleteAcquisitionError,
    StillArrivingError,
    UsageError,
)
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.facts import AcquisitionFact, VetoKind
from stackwatch.model.job import AcquisitionState, JobId, JobState

LACKING = IncompleteAcquisitionError("2 planes are missing.", hint="Copy them in.")
STATES = AcquisitionState


def fact(ledger: Ledger, key: str = "run") -> AcquisitionFact:
    """Return what reconciling is told of an acquisition."""
    return ledger.folders.facts("em")[key]


def lack(ledger: Ledger, queue) -> JobId:
    """Let a conversion find that files are missing; return its job."""
    queue()
    job = ledger.jobs.claim()
    assert job is not None
    ledger.jobs.park(job.job_id, LACKING)
    ledger.verdicts.record_lacking(job.acquisition_id, LACKING)
    return job.job_id


def state_of(tmp_path: Path, job_id: JobId) -> JobState:
    """Return a job's state, as others read it."""
    with LedgerReader.open(tmp_path / "state") as reader:
        details = reader.show_job(job_id)
    assert details is not None
    return details.job.state


def test_accept_notes_the_mark(ledger, sight):
    """What is arriving is accepted with the mark it has now, or had when it was recorded."""
    ledger.folders.record_settling("em", sight())

    assert "m1" == ledger.verdicts.accept("em", "run")
    assert "m1" == fact(ledger).accepted_mark
    assert "m7" == ledger.verdicts.accept("em", "run", "m7")
    assert "m7" == fact(ledger).accepted_mark
    assert STATES.SETTLING is fact(ledger).state


def test_accept_wants_something_that_arrives(ledger, queue, sight):
    """What is queued, gone or unknown cannot be accepted."""
    queue()
    ledger.folders.record_settling("em", sight("gone"))
    ledger.folders.record_vanished("em", "gone")

    for key, phrase in (("run", "is queued"), ("gone", "is not in"), ("none", "is not in")):
        with pytest.raises(UsageError, match=phrase):
            ledger.verdicts.accept("em", key)


def test_a_conversion_that_lacks_files(ledger, queue, sight, tmp_path):
    """L16: the acquisition is incomplete, a verdict that outlives being looked at again."""
    job_id = lack(ledger, queue)

    assert (STATES.INCOMPLETE, True) == (fact(ledger).state, fact(ledger).lacks_files)
    assert JobState.PARKED is state_of(tmp_path, job_id)
    ledger.folders.record_settling("em", sight(mark="m2"))
    assert (STATES.SETTLING, False) == (fact(ledger).state, fact(ledger).lacks_files)
    assert STATES.INCOMPLETE is ledger.folders.restore("em", sight())
    assert fact(ledger).lacks_files


def test_accept_brings_no_missing_file(ledger, queue):
    """L16: what the metadata name is not there for all that a person says."""
    lack(ledger, queue)

    with pytest.raises(UsageError) as caught:
        ledger.verdicts.accept("em", "run")

    assert 'missing_slices = "black"' in caught.value.hint


def test_lacking_is_no_verdict_about_what_arrives_anew(ledger, queue, sight):
    """A conversion that was overtaken by new files does not speak for them."""
    queue()
    job = ledger.jobs.claim()
    ledger.folders.record_settling("em", sight(mark="m2"))
    ledger.jobs.park(job.job_id, LACKING)
    ledger.verdicts.record_lacking(job.acquisition_id, LACKING)

    assert STATES.SETTLING is fact(ledger).state


def test_retry_lifts_the_verdict(ledger, queue):
    """A person who changed the settings has the job tried again."""
    job_id = lack(ledger, queue)
    ledger.jobs.retry(job_id)

    assert (STATES.QUEUED, False) == (fact(ledger).state, fact(ledger).lacks_files)
    assert ledger.jobs.claim() is not None


def test_forget_ends_jobs_and_keeps_the_rest(ledger, queue, publish, tmp_path):
    """Open jobs fail with the reason; what was published stays published."""
    queue()
    job = ledger.jobs.claim()
    publish(job)
    ledger.jobs.succeed(job.job_id)
    second = queue(generation=2, mark="m2")

    assert 1 == ledger.verdicts.forget("em", "run", "m2")
    assert (STATES.IGNORED, "m2") == (fact(ledger).state, fact(ledger).ignored_mark)
    assert JobState.FAILED is state_of(tmp_path, second.job_id)
    assert ["superseded"] == [str(d.state) for d in ledger.datasets.of_job(job.job_id)]
    assert ledger.jobs.claim() is None


def test_forget_of_a_published_one(ledger, queue, publish):
    """There is nothing to end; it is ignored, and its dataset is left alone."""
    queue()
    job = ledger.jobs.claim()
    publish(job)
    ledger.jobs.succeed(job.job_id)

    assert 0 == ledger.verdicts.forget("em", "run")
    assert STATES.IGNORED is fact(ledger).state
    assert ["published"] == [str(d.state) for d in ledger.datasets.of_job(job.job_id)]


def test_forget_waits_for_a_conversion(ledger, queue):
    """What a worker has in its hands is not taken away."""
    queue()
    ledger.jobs.claim()

    with pytest.raises(UsageError, match="is being converted"):
        ledger.verdicts.forget("em", "run")


def test_retry_takes_up_what_was_forgotten(ledger, queue):
    """A job that forgetting ended can be asked for again."""
    job = queue()
    ledger.verdicts.forget("em", "run")
    ledger.jobs.retry(job.job_id)

    assert STATES.QUEUED is fact(ledger).state
    assert ledger.jobs.claim() is not None


def test_what_holds_back_is_kept(ledger, sight):
    """The kinds of vetoes come back from the ledger; those of a later version are left out."""
    error = StillArrivingError("Not ready.", veto_kinds=["count", "hole", "of 2031"])
    ledger.folders.record_settling("em", sight())
    ledger.folders.hold_back("em", sight(), error)

    assert frozenset({VetoKind.COUNT, VetoKind.HOLE}) == fact(ledger).held_back
    assert STATES.SETTLING is fact(ledger).state
    ledger.folders.hold_back("em", sight(), None)
    assert frozenset() == fact(ledger).held_back


def test_an_abort_is_no_lack_of_files(ledger, sight):
    """An aborted acquisition is incomplete by its arrival, not by a conversion."""
    aborted = IncompleteAcquisitionError("Aborted.", aborted=True, veto_kinds=["aborted"])
    ledger.folders.record_settling("em", sight())
    ledger.folders.record_incomplete("em", sight(), aborted)

    assert (False, frozenset({VetoKind.ABORTED})) == (
        fact(ledger).lacks_files, fact(ledger).held_back,
    )  # fmt: skip
    assert "m1" == ledger.verdicts.accept("em", "run")


def test_skip_ignores(ledger, sight):
    """An acquisition whose sidecar says so is ignored at this mark."""
    ledger.folders.record_settling("em", sight())
    ledger.folders.skip("em", sight(), AcquisitionError("`skip = true`."))

    assert (STATES.IGNORED, "m1") == (fact(ledger).state, fact(ledger).ignored_mark)
    ledger.folders.record_settling("em", sight(mark="m2"))
    assert (STATES.SETTLING, "") == (fact(ledger).state, fact(ledger).ignored_mark)
