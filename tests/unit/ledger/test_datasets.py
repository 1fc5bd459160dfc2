"""Verbs about datasets, and what a start mends."""

from pathlib import Path

import pytest

from stackwatch.errors import (
    ChangedDuringConversionError,
    IllegalTransitionError,
    LedgerError,
    TargetExistsError,
)
from stackwatch.ledger.records import NewDataset
from stackwatch.model.job import DatasetState, JobState

PLACE = Path("/out/em/run")


def announced(run_id: str = "r1", path: Path = PLACE, remaining: int = 0) -> NewDataset:
    """Return a dataset that is about to be renamed."""
    return NewDataset(path, Path("/out/em/.stackwatch/1-1"), run_id, "d1", 100, remaining)


def test_record_publishing_then_published(ledger, queue):
    """The facts around a rename are kept in order, and the second may be repeated."""
    queue()
    job = ledger.jobs.claim()
    before = ledger.datasets.record_publishing(job.job_id, announced())
    after = ledger.datasets.record_published("r1", PLACE)
    again = ledger.datasets.record_published("r1", PLACE)

    assert (DatasetState.PUBLISHING, DatasetState.PUBLISHED) == (before.state, after.state)
    assert after == again
    assert ("run", 100) == (after.name, after.as_record()["bytes_written"])
    assert (after,) == ledger.datasets.was_published("d1")
    assert () == ledger.datasets.was_published("other")


def test_record_published_needs_the_announcement(ledger):
    """What was never announced cannot have been published."""
    with pytest.raises(LedgerError):
        ledger.datasets.record_published("r1", PLACE)


def test_record_publishing_again_after_an_attempt_that_failed(ledger, queue):
    """The next attempt announces the same place under its own run id."""
    queue()
    job = ledger.jobs.claim()
    ledger.datasets.record_publishing(job.job_id, announced("r1"))
    ledger.jobs.release(job.job_id)
    job = ledger.jobs.claim()
    ledger.datasets.record_publishing(job.job_id, announced("r2"))
    ledger.datasets.record_published("r2", PLACE)

    assert [("r2", DatasetState.PUBLISHED)] == [
        (dataset.run_id, dataset.state) for dataset in ledger.datasets.of_job(job.job_id)
    ]


def test_record_publishing_twice_is_refused(ledger, queue):
    """At most one dataset per generation and place: a second publication is a bug."""
    queue()
    job = ledger.jobs.claim()
    ledger.datasets.record_publishing(job.job_id, announced())
    ledger.datasets.record_published("r1", PLACE)
    with pytest.raises(IllegalTransitionError):
        ledger.datasets.record_publishing(job.job_id, announced("r2"))


def test_record_publishing_of_an_older_content_is_refused(ledger, queue):
    """While a newer content is queued the older worker may not publish any more."""
    queue()
    job = ledger.jobs.claim()
    queue(generation=2, mark="m2")
    with pytest.raises(ChangedDuringConversionError):
        ledger.datasets.record_publishing(job.job_id, announced())


def test_record_published_of_an_older_content_is_superseded(ledger, queue):
    """A rename that happened is recorded in any case; the dataset is flagged at once."""
    queue()
    job = ledger.jobs.claim()
    ledger.datasets.record_publishing(job.job_id, announced())
    queue(generation=2, mark="m2")
    done = ledger.datasets.record_published("r1", PLACE)

    assert DatasetState.SUPERSEDED is done.state


def test_record_publishing_two_acquisitions_one_name(ledger, queue):
    """Two acquisitions that meet in one name: the second is told whose it is."""
    queue("a")
    queue("b")
    first, second = ledger.jobs.claim(), ledger.jobs.claim()
    ledger.datasets.record_publishing(first.job_id, announced("r1"))
    with pytest.raises(TargetExistsError) as caught:
        ledger.datasets.record_publishing(second.job_id, announced("r2"))

    assert first.job_id == caught.value.values["job_id"]


def test_replacing_the_same_place(ledger, queue):
    """A new generation may take the place of the superseded dataset of the same acquisition."""
    queue()
    job = ledger.jobs.claim()
    ledger.datasets.record_publishing(job.job_id, announced("r1"))
    ledger.datasets.record_published("r1", PLACE)
    ledger.jobs.succeed(job.job_id)
    queue(generation=2, mark="m2")
    job = ledger.jobs.claim()
    ledger.datasets.record_publishing(job.job_id, announced("r2"))

    assert DatasetState.PUBLISHED is ledger.datasets.record_published("r2", PLACE).state


def test_abandon(ledger, queue):
    """What is not at its place is abandoned; it can be announced again, but not confirmed."""
    queue()
    job = ledger.jobs.claim()
    ledger.datasets.record_publishing(job.job_id, announced())
    ledger.datasets.abandon("r1", PLACE)
    ledger.datasets.abandon("r1", PLACE)
    with pytest.raises(IllegalTransitionError):
        ledger.datasets.record_published("r1", PLACE)

    assert () == ledger.datasets.unconfirmed()
    assert (
        DatasetState.PUBLISHING
        is ledger.datasets.record_publishing(job.job_id, announced("r1")).state
    )


def test_recover_requeues_what_was_cut_off(ledger, queue):
    """A claimed job without a worker is queued again with its attempt counted."""
    queue()
    job = ledger.jobs.claim()
    recovery = ledger.recover()
    again = ledger.jobs.claim()

    assert [job.job_id] == [one.job_id for one in recovery.requeued]
    assert again is not None
    assert 2 == again.attempt


def test_recover_leaves_living_workers_alone(ledger, queue):
    """A job whose worker still lives keeps its claim and its announcement."""
    queue()
    job = ledger.jobs.claim()
    ledger.datasets.record_publishing(job.job_id, announced())
    recovery = ledger.recover(is_running=lambda job: True)

    assert [job.job_id] == [one.job_id for one in recovery.running]
    assert 1 == len(ledger.datasets.unconfirmed())
    assert () == recovery.requeued


def test_recover_confirms_what_lies_in_its_place(ledger, queue):
    """Killed after the rename and before the ledger: recorded as done, not converted again."""
    queue()
    job = ledger.jobs.claim()
    ledger.datasets.record_publishing(job.job_id, announced())
    recovery = ledger.recover(is_in_place=lambda dataset: dataset.run_id == "r1")

    assert [JobState.SUCCEEDED] == [one.state for one in recovery.finished]
    assert [DatasetState.PUBLISHED] == [one.state for one in recovery.confirmed]
    assert ledger.jobs.claim() is None


def test_recover_abandons_what_does_not(ledger, queue):
    """Killed before the rename: abandoned, and converted again."""
    queue()
    ledger.datasets.record_publishing(ledger.jobs.claim().job_id, announced())
    recovery = ledger.recover()

    assert (1, 1, ()) == (
        len(recovery.abandoned),
        len(recovery.requeued),
        ledger.datasets.unconfirmed(),
    )


def test_recover_goes_on_with_the_datasets_that_remain(ledger, queue):
    """A job of two datasets that was cut off after the first is not done."""
    queue()
    job = ledger.jobs.claim()
    ledger.datasets.record_publishing(job.job_id, announced(remaining=1))
    recovery = ledger.recover(is_in_place=lambda dataset: True)

    assert ((), [job.job_id]) == (recovery.finished, [one.job_id for one in recovery.requeued])
