"""The ledger under any order of verbs: rules that no history breaks.

The machine calls every verb at any time, also those that make no sense then; such a call must be
refused and change nothing. Now and then the process is pretended to die: the file is opened anew
and mended, with the datasets in place that were renamed before.
"""

import itertools
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stackwatch.errors import (
    CorruptSliceError,
    LedgerError,
    MissingMetadataError,
    OutOfSpaceError,
    StackwatchError,
)
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.reader import LedgerReader
from stackwatch.ledger.records import DatasetRecord, Job, NewDataset
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.model.job import (
    ACQUISITION_TRANSITIONS,
    DATASET_TRANSITIONS,
    JOB_TRANSITIONS,
    AcquisitionState,
    DatasetState,
    JobId,
    JobState,
    NewJob,
)

KEYS = st.sampled_from(["a", "b"])
JOBS = st.integers(1, 4).map(JobId)
MEMORY = Path("/dev/shm")
"""Where it is there the many small flushes cost nothing; the claims do not depend on it."""


class FakeClock:
    """A clock that the machine moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        """Return the time set."""
        return self.seconds

    def now(self) -> float:
        """Return the time set."""
        return self.seconds


def sighting(key: str, mark: int) -> Sighting:
    """Return a sighting of a folder."""
    return Sighting(key, key, AcquisitionKind.FOLDER, key, (), 1, 1, 0, f"m{mark}", f"s{mark}")


class LedgerMachine(RuleBasedStateMachine):
    """Any order of verbs, kills included."""

    def __init__(self) -> None:
        super().__init__()
        place = MEMORY if MEMORY.is_dir() else None
        self.state_dir = Path(tempfile.mkdtemp(prefix="stackwatch-ledger-", dir=place))
        self.clock = FakeClock()
        self.renamed: set[tuple[str, Path]] = set()
        self.claims: Counter[int] = Counter()
        self.open()

    def open(self) -> None:
        """Open the ledger and a reader beside it."""
        self.ledger = Ledger.open(self.state_dir, self.clock)
        self.ledger.folders.upsert("em", Path("/drop"), Path("/out"))
        self.reader = LedgerReader.open(self.state_dir)

    def attempt(self, verb: Callable[[], object]) -> object:
        """Call a verb; a refusal must leave the history as it was."""
        before = self.reader.list_events(limit=10_000)
        try:
            return verb()
        except StackwatchError:
            assert before == self.reader.list_events(limit=10_000)
            return None

    # ------------------------------------------------------------ the watching river

    @rule(key=KEYS, mark=st.integers(1, 3))
    def settle(self, key: str, mark: int) -> None:
        """An acquisition arrives or changes."""
        self.attempt(lambda: self.ledger.folders.record_settling("em", sighting(key, mark)))

    @rule(key=KEYS, mark=st.integers(1, 3), number=st.integers(1, 3))
    def queue(self, key: str, mark: int, number: int) -> None:
        """A generation is queued, perhaps with a wrong number."""
        new = NewJob("em", key, number, f"m{mark}", 1, 1, f"s{mark}")
        self.attempt(lambda: self.ledger.jobs.queue(new))

    @rule(key=KEYS)
    def queue_next(self, key: str) -> None:
        """The next generation is queued."""
        fact = self.ledger.folders.facts("em").get(key)
        if fact is not None:
            number = fact.generation + 1
            new = NewJob("em", key, number, f"m{number + 10}", 1, 1, f"s{number}")
            self.attempt(lambda: self.ledger.jobs.queue(new))

    @rule(key=KEYS)
    def vanish(self, key: str) -> None:
        """An acquisition goes away."""
        self.attempt(lambda: self.ledger.folders.record_vanished("em", key))

    @rule(key=KEYS)
    def restore(self, key: str) -> None:
        """An acquisition lies still again as it was known."""
        fact = self.ledger.folders.facts("em").get(key)
        if fact is not None and fact.generation:
            seen = Sighting(
                key, key, AcquisitionKind.FOLDER, key, (), 1, 1, 0, fact.stat_mark, fact.size_mark
            )
            self.attempt(lambda: self.ledger.folders.restore("em", seen))

    @rule(key=KEYS, is_parked=st.booleans())
    def judge(self, key: str, is_parked: bool) -> None:
        """An acquisition is incomplete, or parked without a job."""
        verb = self.ledger.folders.park if is_parked else self.ledger.folders.record_incomplete
        self.attempt(lambda: verb("em", sighting(key, 9), MissingMetadataError()))

    # ------------------------------------------------------------ the converting river

    @rule()
    def claim(self) -> None:
        """A worker is free."""
        job = self.ledger.jobs.claim()
        if job is not None:
            self.claims[job.job_id] += 1

    @rule(job_id=JOBS, is_renamed=st.booleans(), is_confirmed=st.booleans())
    def publish(self, job_id: JobId, is_renamed: bool, is_confirmed: bool) -> None:
        """A worker publishes, and may be stopped before the rename or after it."""
        details = self.reader.show_job(job_id)
        if details is None:
            return
        job = details.job
        run_id = f"run-{job.staging_name}"
        new = NewDataset(Path(f"/out/{job.key}-{job.generation}"), Path("/out/x"), run_id, "d")
        fact = self.attempt(lambda: self.ledger.datasets.record_publishing(job_id, new))
        if fact is not None and is_renamed:
            self.renamed.add((run_id, new.path))
            if is_confirmed:
                self.ledger.datasets.record_published(run_id, new.path)

    @rule(job_id=JOBS)
    def succeed(self, job_id: JobId) -> None:
        """A worker says that it is done."""
        self.attempt(lambda: self.ledger.jobs.succeed(job_id))

    @rule(job_id=JOBS, later_s=st.sampled_from([0, 60]))
    def give_back(self, job_id: JobId, later_s: int) -> None:
        """A try failed; it is made again."""
        at_us = round((self.clock.seconds + later_s) * 1e6)
        self.attempt(lambda: self.ledger.jobs.requeue(job_id, CorruptSliceError(), at_us))

    @rule(job_id=JOBS, later_s=st.sampled_from([0, 60]))
    def wait(self, job_id: JobId, later_s: int) -> None:
        """The disk is full."""
        at_us = round((self.clock.seconds + later_s) * 1e6)
        self.attempt(lambda: self.ledger.jobs.wait(job_id, OutOfSpaceError(), at_us))

    @rule(job_id=JOBS, verb=st.sampled_from(["park", "fail", "retry", "release"]))
    def change(self, job_id: JobId, verb: str) -> None:
        """A person, or the daemon, changes a job's state."""
        jobs = self.ledger.jobs
        calls: dict[str, Callable[[], Job]] = {
            "park": lambda: jobs.park(job_id, MissingMetadataError()),
            "fail": lambda: jobs.fail(job_id, CorruptSliceError()),
            "retry": lambda: jobs.retry(job_id),
            "release": lambda: jobs.release(job_id),
        }
        self.attempt(calls[verb])

    @rule(seconds=st.sampled_from([1, 60]))
    def pass_time(self, seconds: int) -> None:
        """The clock runs on."""
        self.clock.seconds += seconds

    @rule()
    def die_and_start_again(self) -> None:
        """The daemon is killed, and mends at its next start what it left behind."""
        self.reader.close()
        self.ledger.close()
        self.open()

        def is_in_place(dataset: DatasetRecord) -> bool:
            return (dataset.run_id, dataset.path) in self.renamed

        recovery = self.ledger.recover(is_in_place=is_in_place)

        assert () == self.ledger.jobs.claimed()
        assert () == self.ledger.datasets.unconfirmed()
        assert all(is_in_place(dataset) for dataset in recovery.confirmed)

    # ------------------------------------------------------------ what always holds

    @invariant()
    def every_change_is_in_the_table(self) -> None:
        """Each line of the history is a legal step, and the steps join without a gap."""
        for job in self.reader.list_jobs():
            details = self.reader.show_job(job.job_id)
            assert details is not None
            moves = [
                (event.state_from, event.state_to)
                for event in details.events
                if event.event.startswith("job.") and event.state_to
            ]
            assert moves[0] == ("", "queued")
            for (_, before), (came_from, to) in itertools.pairwise(moves):
                assert before == came_from
                assert JobState(to) in JOB_TRANSITIONS[JobState(came_from)]
            assert job.state == moves[-1][1]

    @invariant()
    def acquisitions_and_datasets_move_by_their_tables(self) -> None:
        """The same for acquisitions and datasets."""
        for event in self.reader.list_events(limit=10_000):
            if event.event.startswith("acquisition.") and event.state_from:
                table = ACQUISITION_TRANSITIONS[AcquisitionState(event.state_from)]
                assert AcquisitionState(event.state_to) in table
            if event.event.startswith("dataset.") and event.state_from:
                steps = DATASET_TRANSITIONS[DatasetState(event.state_from)]
                assert DatasetState(event.state_to) in steps

    @invariant()
    def one_published_dataset_per_generation(self) -> None:
        """I3: no generation has two published datasets, and only the newest has a current one."""
        newest = {key: fact.generation for key, fact in self.ledger.folders.facts("em").items()}
        current: Counter[str] = Counter()
        for job in self.reader.list_jobs():
            for dataset in self.ledger.datasets.of_job(job.job_id):
                if dataset.state is DatasetState.PUBLISHED:
                    current[dataset.key] += 1
                    assert newest[dataset.key] == dataset.generation
        assert all(number == 1 for number in current.values())

    @invariant()
    def what_succeeded_was_published(self) -> None:
        """A job that succeeded has a dataset, and its attempts are the claims that were made."""
        for job in self.reader.list_jobs():
            assert self.claims[job.job_id] == job.attempt
            if job.state is JobState.SUCCEEDED:
                states = {one.state for one in self.ledger.datasets.of_job(job.job_id)}
                assert states & {DatasetState.PUBLISHED, DatasetState.SUPERSEDED}

    @invariant()
    def one_worker_per_acquisition(self) -> None:
        """No acquisition is converted by two workers at once."""
        counts = Counter(job.key for job in self.ledger.jobs.claimed())

        assert all(number == 1 for number in counts.values())

    def teardown(self) -> None:
        """Whatever happened, everything that is left can be driven to an end."""
        try:
            self.die_and_start_again()
            for job in self.reader.list_jobs(state=JobState.WAITING):
                self.ledger.jobs.retry(job.job_id)
            self.clock.seconds += 3600
            while (claimed := self.ledger.jobs.claim()) is not None:
                self.claims[claimed.job_id] += 1
                self.ledger.jobs.park(claimed.job_id, MissingMetadataError())
            self.every_change_is_in_the_table()
            self.what_succeeded_was_published()
        except LedgerError as error:
            raise AssertionError(error.message) from error
        finally:
            self.reader.close()
            self.ledger.close()
            shutil.rmtree(self.state_dir)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=40, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
)
