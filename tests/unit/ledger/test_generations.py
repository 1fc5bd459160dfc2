"""A content that was published before and is back."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from stackwatch.errors import (
    IllegalTransitionError,
    LedgerError,
    MissingSlicesError,
    VanishedError,
)
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import Job
from stackwatch.model.facts import Directives, Sighting
from stackwatch.model.job import AcquisitionState, DatasetState, JobState, NewJob

AGAIN = NewJob("em", "run", 3, "m3", 3, 30, "s1")


@pytest.fixture
def after_b(ledger: Ledger, queue: Callable[..., Job], publish: Callable[..., None]) -> Ledger:
    """Return a ledger in which A was published and B, which came after it, is parked."""
    queue("run", 1, "m1")
    first = ledger.jobs.claim()
    assert first is not None
    publish(first, "digest of A")
    ledger.jobs.succeed(first.job_id)
    queue("run", 2, "m2")
    second = ledger.jobs.claim()
    assert second is not None
    ledger.jobs.park(second.job_id, MissingSlicesError("Slice 4 is missing."))
    return ledger


def states_of(ledger: Ledger) -> dict[str, str]:
    """Return the states of the datasets published from A, by name."""
    return {one.name: one.state for one in ledger.datasets.was_published("digest of A")}


def test_an_older_dataset_is_published_again(
    after_b: Ledger, sight: Callable[..., Sighting]
) -> None:
    """D3: A is back: its dataset is the newest generation's, nothing is queued."""
    assert {"run-1": DatasetState.SUPERSEDED} == states_of(after_b)
    after_b.folders.record_settling("em", sight("run", "m3"))

    (dataset,) = after_b.generations.reinstate(AGAIN, 1)

    fact = after_b.folders.facts("em")["run"]
    assert (AcquisitionState.PUBLISHED, 3, "m3", "digest of A") == (
        fact.state,
        fact.generation,
        fact.stat_mark,
        fact.content_digest,
    )
    assert (3, None) == (dataset.generation, dataset.superseded_at_us)
    assert {"run-1": DatasetState.PUBLISHED} == states_of(after_b)
    assert after_b.jobs.claim() is None
    assert after_b.generations.reinstate(AGAIN, 1) == (dataset,)


def test_what_came_between_is_over(after_b: Ledger, sight: Callable[..., Sighting]) -> None:
    """The parked job of B can be tried no more."""
    after_b.folders.record_settling("em", sight("run", "m3"))
    after_b.generations.reinstate(AGAIN, 1)

    with pytest.raises(Exception, match="older content"):
        after_b.jobs.retry(after_b.datasets.was_published("digest of A")[0].job_id)


def test_the_next_change_supersedes_it_again(
    after_b: Ledger, queue: Callable[..., Job], sight: Callable[..., Sighting]
) -> None:
    """E1, D6: a later content is a generation of its own, and flags the older dataset."""
    after_b.folders.record_settling("em", sight("run", "m3"))
    after_b.generations.reinstate(AGAIN, 1)
    job = queue("run", 4, "m4")

    assert JobState.QUEUED is job.state
    assert {"run-1": DatasetState.SUPERSEDED} == states_of(after_b)


def test_touched_and_restored_it_stays_published(
    after_b: Ledger, sight: Callable[..., Sighting]
) -> None:
    """A generation without a job of its own is published all the same."""
    after_b.folders.record_settling("em", sight("run", "m3"))
    after_b.generations.reinstate(AGAIN, 1)
    after_b.folders.record_settling("em", sight("run", "m5"))

    assert AcquisitionState.PUBLISHED is after_b.folders.update_mark("em", sight("run", "m5"))


@pytest.mark.parametrize(
    ("new", "published", "error"),
    [
        (replace(AGAIN, generation=5), 1, IllegalTransitionError),
        (AGAIN, 2, LedgerError),
        (AGAIN, 9, LedgerError),
        (replace(AGAIN, acquisition="other"), 1, LedgerError),
        (replace(AGAIN, folder="other"), 1, LedgerError),
    ],
)
def test_what_was_never_published_cannot_come_back(
    after_b: Ledger, new: NewJob, published: int, error: type[Exception]
) -> None:
    """Nothing is recorded of a mistake."""
    before = after_b.folders.facts("em")
    with pytest.raises(error):
        after_b.generations.reinstate(new, published)

    assert before == after_b.folders.facts("em")
    assert {"run-1": DatasetState.SUPERSEDED} == states_of(after_b)


def test_a_job_parked_while_its_acquisition_was_away_goes_on(
    ledger: Ledger, queue: Callable[..., Job], sight: Callable[..., Sighting]
) -> None:
    """L13: moved out in mid conversion and put back as it was: it is queued again."""
    queue()
    job = ledger.jobs.claim()
    assert job is not None
    ledger.jobs.park(job.job_id, VanishedError("It is not there."))
    ledger.folders.record_vanished("em", "run")

    assert AcquisitionState.QUEUED is ledger.folders.restore("em", sight())
    assert ledger.jobs.claim() is not None


def test_what_a_sidecar_said_holds_until_it_is_read_again(
    ledger: Ledger, queue: Callable[..., Job], sight: Callable[..., Sighting]
) -> None:
    """A look that does not open the sidecar leaves name and priority as they are."""
    said = Directives(name="cortex", priority=7)
    queue()
    ledger.folders.sight("em", replace(sight(), directives=said))
    ledger.folders.record_settling("em", replace(sight(), is_probed=False))
    ledger.folders.restore("em", replace(sight(), is_probed=False))
    job = ledger.jobs.claim()
    assert job is not None

    assert ("run", "cortex") == (job.key, job.name)
    ledger.folders.sight("em", sight())
    assert "run" == ledger.jobs.claimed()[0].name


def test_a_renamed_acquisition_keeps_the_name_that_its_sidecar_says(
    ledger: Ledger, queue: Callable[..., Job], sight: Callable[..., Sighting]
) -> None:
    """D9: renamed while it is queued: the dataset is still called what the sidecar says."""
    queue()
    ledger.folders.sight("em", replace(sight(), directives=Directives(name="cortex")))
    ledger.folders.record_moved("em", "run", replace(sight("run_b"), is_probed=False))
    queue("plain")
    ledger.folders.record_moved("em", "plain", replace(sight("plain_b"), is_probed=False))

    names = {job.key: job.name for job in (ledger.jobs.claim(), ledger.jobs.claim()) if job}
    assert {"run_b": "cortex", "plain_b": "plain_b"} == names
