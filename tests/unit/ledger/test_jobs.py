"""Verbs about jobs."""

from collections.abc import Callable

import pytest

from stackwatch.errors import (
    CorruptSliceError,
    IllegalTransitionError,
    LedgerError,
    MissingMetadataError,
    OutOfSpaceError,
    UsageError,
)
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.job import (
    AcquisitionState,
    DatasetState,
    FolderState,
    JobId,
    JobState,
    NewJob,
)

STATES = AcquisitionState


def acquisition_state(ledger: Ledger, key: str = "run") -> AcquisitionState:
    """Return the state of an acquisition."""
    return ledger.folders.facts("em")[key].state


def test_queue_repeated_changes_nothing(ledger, queue):
    """The same generation queued twice is one job: an action may be repeated."""
    first = queue()
    again = ledger.jobs.queue(NewJob("em", "run", 1, "m1", 3, 30, "s1"))

    assert first == again


@pytest.mark.parametrize("number", [1, 3, 0])
def test_queue_refuses_a_gap_in_the_numbers(ledger, queue, number):
    """Generations follow each other without gap and without going back."""
    queue()
    with pytest.raises(IllegalTransitionError):
        ledger.jobs.queue(NewJob("em", "run", number, "m2", 3, 30, "s2"))


@pytest.mark.parametrize(("folder", "key"), [("lm", "run"), ("em", "other")])
def test_queue_refuses_the_unknown(ledger, queue, folder, key):
    """A job needs an acquisition that was recorded."""
    queue()
    with pytest.raises(LedgerError):
        ledger.jobs.queue(NewJob(folder, key, 1, "m1", 3, 30))


def test_queue_supersedes_the_older(ledger, queue, publish, tmp_path):
    """A newer content flags the older dataset and ends the older job that nobody works on."""
    queue()
    first = ledger.jobs.claim()
    publish(first)
    ledger.jobs.succeed(first.job_id)
    second = queue(generation=2, mark="m2")
    third = queue(generation=3, mark="m3")
    (dataset,) = ledger.datasets.of_job(first.job_id)
    with LedgerReader.open(tmp_path / "state") as reader:
        states = {job.generation: job.state for job in reader.list_jobs()}

    assert (DatasetState.SUPERSEDED, True) == (
        dataset.state,
        dataset.superseded_at_us is not None,
    )
    assert {1: JobState.SUCCEEDED, 2: JobState.FAILED, 3: JobState.QUEUED} == states
    assert (2, 3) == (second.generation, third.generation)


def test_claim_counts_the_attempt_before_it_begins(ledger, queue):
    """A claimed job has its attempt counted and its acquisition converting; then there is none."""
    queued = queue()
    claimed = ledger.jobs.claim(worker_pid=42)

    assert claimed is not None
    assert (0, 1, 1, 42) == (queued.attempt, claimed.attempt, claimed.tries, claimed.worker_pid)
    assert (JobState.CLAIMED, f"{claimed.job_id}-1") == (claimed.state, claimed.staging_name)
    assert STATES.CONVERTING is acquisition_state(ledger)
    assert ledger.jobs.claim() is None


def test_claim_takes_the_oldest(ledger, queue, clock):
    """Jobs are taken in the order in which they were queued."""
    queue("b")
    clock.seconds += 1
    queue("a")

    assert ["b", "a"] == [job.key for job in (ledger.jobs.claim(), ledger.jobs.claim()) if job]


def test_claim_leaves_an_unavailable_folder_alone(ledger, queue):
    """While a share is away its jobs wait without a failure."""
    queue()
    ledger.folders.record_state("em", FolderState.UNAVAILABLE, "away")
    away = ledger.jobs.claim()
    ledger.folders.record_state("em", FolderState.POLLING)

    assert away is None
    assert ledger.jobs.claim() is not None


def test_claim_one_generation_at_a_time(ledger, queue):
    """A newer generation waits until the older one's worker has let go."""
    queue()
    first = ledger.jobs.claim()
    queue(generation=2, mark="m2")
    meanwhile = ledger.jobs.claim()
    ledger.jobs.fail(first.job_id, CorruptSliceError())
    then = ledger.jobs.claim()

    assert meanwhile is None
    assert then is not None
    assert 2 == then.generation


def test_requeue_waits_for_its_time(ledger, queue, clock):
    """A failed try is not repeated before its time, and keeps its error until the next."""
    queue()
    job = ledger.jobs.claim()
    later_us = round((clock.seconds + 30) * 1e6)
    back = ledger.jobs.requeue(job.job_id, CorruptSliceError("bad", slice=7), later_us)
    early = ledger.jobs.claim()
    due_us = ledger.jobs.next_due_us()
    clock.seconds += 30
    again = ledger.jobs.claim()

    assert back.error is not None
    assert ({"slice": 7}, None, later_us) == (back.error["values"], early, due_us)
    assert again is not None
    assert (2, 2, None, f"{job.job_id}-2") == (
        again.attempt,
        again.tries,
        again.error,
        again.staging_name,
    )


def test_wait_wakes_by_itself(ledger, queue, clock):
    """A waiting job is queued and claimed when its time has come."""
    queue()
    job = ledger.jobs.claim()
    ledger.jobs.wait(job.job_id, OutOfSpaceError(), round((clock.seconds + 60) * 1e6))
    waiting = (acquisition_state(ledger), ledger.jobs.claim())
    clock.seconds += 60
    again = ledger.jobs.claim()

    assert (STATES.WAITING, None) == waiting
    assert again is not None
    assert (job.job_id, 2) == (again.job_id, again.attempt)


def test_park_and_retry(ledger, queue):
    """A parked job waits for a person; retry gives it a fresh budget under a new staging name."""
    queue()
    job = ledger.jobs.claim()
    parked = ledger.jobs.park(job.job_id, MissingMetadataError("no scale", hint="set it"))
    nothing = ledger.jobs.claim()
    ledger.jobs.retry(job.job_id)
    again = ledger.jobs.claim()

    assert ("set it", None) == (parked.as_record()["hint"], nothing)
    assert again is not None
    assert (2, 1) == (again.attempt, again.tries)


def test_retry_of_a_queued_job_ends_its_back_off(ledger, queue):
    """A person who retries does not wait for the back-off."""
    queue()
    job = ledger.jobs.claim()
    ledger.jobs.requeue(job.job_id, CorruptSliceError(), 10**16)
    ledger.jobs.retry(job.job_id)

    assert ledger.jobs.claim() is not None


def test_retry_refusals(ledger, queue, publish):
    """Running, done, replaced and unknown jobs cannot be retried, and the message says which."""
    queue("a")
    running = ledger.jobs.claim()
    queue("b")
    done = ledger.jobs.claim()
    publish(done)
    ledger.jobs.succeed(done.job_id)
    old = queue("c")
    queue("c", 2, "m2")
    told = []
    for job_id in (running.job_id, done.job_id, old.job_id, JobId(99)):
        with pytest.raises(UsageError) as caught:
            ledger.jobs.retry(job_id)
        told.append(caught.value.message)

    assert all(
        word in message
        for word, message in zip(["claimed", "succeeded", "older", "not in"], told, strict=True)
    )


def test_succeed_needs_published_datasets(ledger, queue, publish):
    """A job without a dataset has not succeeded, whatever its worker says."""
    queue()
    job = ledger.jobs.claim()
    with pytest.raises(IllegalTransitionError):
        ledger.jobs.succeed(job.job_id)
    publish(job)
    done = ledger.jobs.succeed(job.job_id, {"seconds": 1.5})

    assert (JobState.SUCCEEDED, {"seconds": 1.5}) == (done.state, done.result)
    assert STATES.PUBLISHED is acquisition_state(ledger)


def test_a_job_that_ended_cannot_be_recorded_on(ledger, queue, publish):
    """A worker that lost its job can record nothing more."""
    queue()
    job = ledger.jobs.claim()
    ledger.jobs.release(job.job_id)
    verbs: list[Callable[[], object]] = [
        lambda: ledger.jobs.record_progress(job.job_id, {"done": 1}),
        lambda: ledger.jobs.record_worker(job.job_id, 7),
        lambda: ledger.jobs.succeed(job.job_id),
        lambda: ledger.jobs.wait(job.job_id, OutOfSpaceError(), 0),
        lambda: publish(job),
    ]
    for verb in verbs:
        with pytest.raises(IllegalTransitionError):
            verb()


def test_record_progress_is_a_sign_of_life(ledger, queue, clock, tmp_path):
    """Progress is kept with the time at which it came."""
    queue()
    job = ledger.jobs.claim()
    clock.seconds += 5
    ledger.jobs.record_worker(job.job_id, 77)
    ledger.jobs.record_progress(job.job_id, {"phase": "converting", "done": 3})
    (now,) = ledger.jobs.claimed()

    assert (77, {"phase": "converting", "done": 3}) == (now.worker_pid, now.progress)
    assert now.alive_at_us == round(clock.seconds * 1e6)


def test_changed_while_converting(ledger, queue, sight):
    """A job given back while its acquisition is arriving does not disturb that, nor is it taken."""
    queue()
    job = ledger.jobs.claim()
    ledger.folders.record_settling("em", sight(mark="m2"))
    ledger.jobs.requeue(job.job_id, CorruptSliceError())

    assert STATES.SETTLING is acquisition_state(ledger)
    assert ledger.jobs.claim() is None


def test_a_verdict_of_its_own_outlives_the_older_job(ledger, queue, publish, sight):
    """An acquisition that was parked while a worker was busy stays parked when that is done."""
    queue()
    job = ledger.jobs.claim()
    ledger.folders.record_settling("em", sight(mark="m2"))
    ledger.folders.park("em", sight(mark="m2"), MissingMetadataError())
    publish(job)
    done = ledger.jobs.succeed(job.job_id)

    assert (JobState.SUCCEEDED, STATES.PARKED) == (done.state, acquisition_state(ledger))


@pytest.mark.parametrize("end", ["requeue", "park", "release"])
def test_an_older_generation_is_never_put_back(ledger, queue, end):
    """A worker of an older content that gives up ends its job: the newer one is claimed next."""
    queue()
    job = ledger.jobs.claim()
    newer = queue(generation=2, mark="m2")
    error = () if end == "release" else (CorruptSliceError(),)
    ended = getattr(ledger.jobs, end)(job.job_id, *error)
    then = ledger.jobs.claim()

    assert JobState.FAILED is ended.state
    assert then is not None
    assert newer.job_id == then.job_id


def test_unknown_job(ledger):
    """A job that is not there is an error of its own."""
    with pytest.raises(LedgerError):
        ledger.jobs.fail(JobId(5), CorruptSliceError())


def test_next_due_of_nothing(ledger):
    """Without jobs there is no next time."""
    assert ledger.jobs.next_due_us() is None
