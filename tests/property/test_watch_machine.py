"""The watching river and the ledger under any history: the invariants I1 to I7.

The real settling, reconciling, planning and recording work on a real ledger; the drop folder, the
conversions and the clock are models. Whatever instruments, shares, kills and people do in whatever
order, these hold:

- I1: no acquisition is converted from two fingerprints.
- I2: every stable acquisition comes to an end within a bounded number of scans.
- I3: each generation of an acquisition has at most one published result.
- I4: the source is never removed. Here nothing may touch it; with `on_success` the proof is in
  `tests/integration/test_daemon_disposals.py`.
- I5: a restart changes nothing but attempts.
- I6: an unavailable folder causes no transition but its own.
- I7: lost, doubled and reordered events change the time, and nothing else.
"""

import contextlib
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from stackwatch.daemon.comparisons import Comparison
from stackwatch.daemon.folders import WatchedFolder
from stackwatch.daemon.history import History
from stackwatch.daemon.orders import plan_order
from stackwatch.daemon.recorder import Recorder
from stackwatch.errors import (
    ChangedDuringConversionError,
    Disposition,
    MissingMetadataError,
    StackwatchError,
    StillArrivingError,
    WorkerKilledError,
)
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import DatasetRecord, Job, NewDataset
from stackwatch.model.facts import AcquisitionFact
from stackwatch.model.job import AcquisitionState, DatasetState, JobState
from stackwatch.settings import DaemonSettings, FolderSettings, Settings
from stackwatch.testing.disk import Content, ModelDisk
from stackwatch.watch.mounts import MountIdentity
from stackwatch.watch.probe import ReadinessOptions
from stackwatch.watch.reconcile import Action
from stackwatch.watch.scan import FolderScan

GAP_S = 60.0
INTERVAL_S = 90.0
MEMORY = Path("/dev/shm")
KEYS = ("aaa", "bbb")
NAMES = ("1.tif", "2.tif")
MARKER = "run.done"
STATES = AcquisitionState
EXAMPLES = settings().max_examples
REST_ROUNDS = 60
"""So many scans and claims must do to bring everything to an end, with the longest waits."""


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


class ModelComparisons:
    """Compares content at once, where the real ones ask a worker."""

    def __init__(self) -> None:
        self.asked: list[Comparison] = []

    def ask(self, comparison: Comparison) -> None:
        """Take a comparison on; the world carries it out."""
        self.asked.append(comparison)


@dataclass
class Conversion:
    """A claimed job in the hands of a model worker, which has read the first half."""

    job: Job
    target: Path
    first_half: Content


class World:
    """A drop folder, a daemon without its processes, and a target."""

    def __init__(self, *, marker: str = "", is_remote: bool = False) -> None:
        place = MEMORY if MEMORY.is_dir() else None
        self.state_dir = Path(tempfile.mkdtemp(prefix="stackwatch-watch-", dir=place))
        self.clock = FakeClock()
        self.disk = ModelDisk(ReadinessOptions(marker), is_remote=is_remote)
        self.target: dict[Path, tuple[str, Content]] = {}
        self.running: Conversion | None = None
        drop, target = self.state_dir / "drop", self.state_dir / "target"
        self.settings = Settings(
            daemon=DaemonSettings(state_dir=self.state_dir, memory_gib=1, threads=1),
            folder=(
                FolderSettings(
                    name="em", path=drop, target=target, quiet_gap_s=GAP_S, marker=marker or None,
                    scan_interval_s=INTERVAL_S, incomplete_after_h=0.1,
                ),
            ),
        )  # fmt: skip
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self._open()
        self.ledger.folders.upsert("em", drop, target)

    def _open(self) -> None:
        self.ledger = Ledger.open(self.state_dir, self.clock)
        self.history = History.open(self.state_dir)
        self.recorder = Recorder(self.ledger, self.history, lambda event: None, ())
        self.comparisons = ModelComparisons()
        self.recorder.comparisons = self.comparisons  # type: ignore[assignment] # asks no worker

    def start(self) -> None:
        """Begin with an empty memory, and with the mount that the ledger knows."""
        mount = self.ledger.folders.mount("em")
        known = MountIdentity.from_record(mount) if mount is not None else None
        self.folder = WatchedFolder(self.settings.folder[0], known, chance=lambda: 0.5)

    def close(self) -> None:
        """Leave nothing behind."""
        self.history.close()
        self.ledger.close()
        shutil.rmtree(self.state_dir)

    # ------------------------------------------------------------ looking

    @property
    def facts(self) -> Mapping[str, AcquisitionFact]:
        """What the ledger knows of all acquisitions."""
        return self.ledger.folders.facts("em")

    def look(self, keys: frozenset[str] | None = None) -> tuple[Action, ...]:
        """Scan, reconcile, record and compare, as the daemon does."""
        order = self.folder.order_scan(keys)
        found = self.disk.scan(order.keys)
        facts = self.facts
        actions = self.folder.take_scan(found, facts, self.clock.seconds)
        state, reason = self.folder.state, self.folder.view.unavailable
        self.ledger.folders.record_state("em", state, reason)
        if isinstance(found, FolderScan) and keys is None:
            mount = found.mount.as_record()
            self.ledger.folders.record_scan("em", files=found.files, seconds=0, mount=mount)
        for action in actions:
            self.recorder.carry_out(self.folder, action, facts)
        self._compare()
        return actions

    def _compare(self) -> None:
        asked, self.comparisons.asked = self.comparisons.asked, []
        for comparison in asked:
            seen = comparison.sighting
            state = self.folder.view.states.get(seen.key)
            if state is None or state.stat_mark != seen.stat_mark:
                continue
            if digest_of(self.disk.content(seen.key)) == comparison.content_digest:
                self.ledger.folders.update_mark("em", seen)
            else:
                self.recorder.queue(self.folder, seen, comparison.generation + 1)

    def look_until(self, end_s: float, *, is_hinted: bool = False, converts: bool = True) -> None:
        """Follow the agenda up to a time, and convert what is queued meanwhile."""
        self.folder.is_hinted = self.folder.is_hinted or is_hinted
        for _ in range(10_000):
            at_s = self.folder.next_look().at_s
            if at_s > end_s:
                self.clock.seconds = max(self.clock.seconds, end_s)
                return
            self.clock.seconds = max(self.clock.seconds, at_s)
            self.look(self.folder.next_look().keys)
            if converts:
                self.convert_all()
        raise AssertionError("the agenda turns on the spot")

    # ------------------------------------------------------------ converting

    def begin(self) -> None:
        """Claim a job, look once more, and read the first half."""
        job = self.ledger.jobs.claim() if self.running is None else None
        if job is None:
            return
        looked = self._look_again(job)
        try:
            if looked is None:
                raise StillArrivingError(hint="")
            if looked.stat_mark != job.stat_mark:
                raise ChangedDuringConversionError(hint="")
            order = plan_order(self.settings, self.history, job, looked)
        except StackwatchError as error:
            self._put_back(job, error)
            return
        content = self.disk.content(job.key)
        self.running = Conversion(job, order.request.target, content[: len(content) // 2 + 1])

    def finish(self, error: StackwatchError | None = None, killed_at: str = "") -> bool:
        """Read the rest and publish; return False if the daemon was killed at the point named."""
        conversion, self.running = self.running, None
        if conversion is None:
            return True
        job = conversion.job
        try:
            if error is not None:
                raise error
            if job.key not in self.disk.folders:
                raise ChangedDuringConversionError(hint="")
            content = self.disk.content(job.key)
            content = conversion.first_half + content[len(conversion.first_half) :]
            looked = self._look_again(job)
            if looked is None or looked.stat_mark != job.stat_mark:
                raise ChangedDuringConversionError(hint="")
            return self._publish(job, conversion.target, content, killed_at)
        except StackwatchError as failure:
            self._put_back(job, failure)
            return True

    def _publish(self, job: Job, target: Path, content: Content, killed_at: str) -> bool:
        # I1: what is published is what lay there at one moment, and the moment was recorded
        assert content == self.disk.content(job.key)
        run_id = f"run-{job.staging_name}"
        new = NewDataset(target, target, run_id, digest_of(content))
        self.ledger.datasets.record_publishing(job.job_id, new)
        if killed_at == "before_rename":
            return False
        # a rename onto a dataset of somebody else is refused, and the ledger knew before
        assert target not in self.target
        self.target[target] = (run_id, content)
        if killed_at == "after_rename":
            return False
        self.ledger.datasets.record_published(run_id, target)
        if killed_at == "after_commit":
            return False
        self.ledger.jobs.succeed(job.job_id)
        return True

    def _look_again(self, job: Job) -> Any:
        """Look at a job's acquisition by name; the reconciler takes the look in too."""
        found = self.disk.scan(frozenset({job.key}))
        sightings = found.sightings if isinstance(found, FolderScan) else ()
        self.look(frozenset({job.key}))
        return next((seen for seen in sightings if seen.key == job.key), None)

    def _put_back(self, job: Job, error: StackwatchError) -> None:
        if error.disposition is Disposition.PARK:
            self.ledger.jobs.park(job.job_id, error)
        else:
            self.ledger.jobs.wait(job.job_id, error, round((self.clock.seconds + 10) * 1e6))

    def convert_all(self) -> None:
        """Convert one after the other until nothing may start."""
        for _ in range(100):
            self.finish()
            self.begin()
            if self.running is None:
                return
        raise AssertionError("the queue turns on the spot")

    # ------------------------------------------------------------ the ends

    def kill(self) -> None:
        """Kill daemon and worker, and start again: the watcher's memory is lost."""
        self.running = None
        self.history.close()
        self.ledger.close()
        self._open()
        self.ledger.recover(is_in_place=self._is_in_place)
        self.start()

    def _is_in_place(self, dataset: DatasetRecord) -> bool:
        return self.target.get(dataset.path, ("", ()))[0] == dataset.run_id

    def come_to_rest(self) -> None:
        """I2: let nothing happen any more until every wait is over."""
        self.disk.is_away = False
        self.folder.is_hinted = True
        for _ in range(REST_ROUNDS):
            self.convert_all()
            self.look_until(self.clock.seconds + INTERVAL_S)
        self.convert_all()

    def datasets(self) -> list[DatasetRecord]:
        """Return every dataset that the ledger knows."""
        jobs = self.history.list_jobs()
        return [one for job in jobs for one in self.ledger.datasets.of_job(job.job_id)]

    def final_content(self) -> dict[str, Content]:
        """Return the content of the current dataset of each acquisition that is there."""
        present = {key for key, fact in self.facts.items() if not fact.is_gone}
        return {
            one.key: self.target[one.path][1]
            for one in self.datasets()
            if one.state is DatasetState.PUBLISHED and one.key in present
        }

    def expected_content(self) -> dict[str, Content]:
        """Return what lies in each acquisition that nothing speaks against."""
        return {
            key: self.disk.content(key)
            for key in self.disk.folders
            if self.disk.content(key) and not is_held_back(self.disk, key)
        }


def is_held_back(disk: ModelDisk, key: str) -> bool:
    """Tell whether a veto stands that does not lapse."""
    return any(not veto.is_lapsing for veto in disk.sighting(key).vetoes)


def digest_of(content: Content) -> str:
    """Return a digest of a content."""
    return repr(content)


# ---------------------------------------------------------------- any history


class WatchMachine(RuleBasedStateMachine):
    """Any order of writes, looks, outages, conversions and kills."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @initialize(marker=st.sampled_from(["", "*.done"]), is_remote=st.booleans())
    def begin_world(self, marker: str, is_remote: bool) -> None:
        """With or without markers, on a local disk or on a share."""
        self.world = World(marker=marker, is_remote=is_remote)
        self.world.start()

    @property
    def here(self) -> World:
        """The world."""
        assert self.world is not None
        return self.world

    # ------------------------------------------------------------ instruments and people

    @rule(
        key=st.sampled_from(KEYS), name=st.sampled_from(NAMES), size=st.sampled_from([1, 1, 2, 0])
    )
    def write(self, key: str, name: str, size: int) -> None:
        """An instrument writes, appends or truncates; it may keep the size."""
        self.here.disk.write(key, name, size)

    @rule(
        key=st.sampled_from(KEYS),
        name=st.sampled_from(NAMES),
        shift_s=st.sampled_from([-(10**9), 0, 10**9]),
    )
    def touch(self, key: str, name: str, shift_s: int) -> None:
        """E4, E5: a file gets a date of the past, of now, or of the future."""
        self.here.disk.touch(key, name, shift_s * 10**9)

    @rule(key=st.sampled_from(KEYS), name=st.sampled_from(NAMES))
    def copy_over(self, key: str, name: str) -> None:
        """D13: a file is replaced by a copy of itself."""
        self.here.disk.copy_over(key, name)

    @rule(key=st.sampled_from(KEYS), name=st.sampled_from(NAMES))
    def delete(self, key: str, name: str) -> None:
        """A file is deleted."""
        self.here.disk.delete_file(key, name)

    @rule(key=st.sampled_from(KEYS), name=st.sampled_from(NAMES), is_renamed=st.booleans())
    def transfer(self, key: str, name: str, is_renamed: bool) -> None:
        """E3: a transfer writes under a temporary name, and renames when it is done."""
        temporary = f".{name}.Ab12Cd"
        if is_renamed:
            self.here.disk.rename_file(key, temporary, name)
        else:
            self.here.disk.write(key, temporary, 1)

    @rule(key=st.sampled_from(KEYS), is_there=st.booleans())
    def mark(self, key: str, is_there: bool) -> None:
        """E10: the marker comes, or is taken away again."""
        if is_there:
            self.here.disk.write(key, MARKER, 1)
        else:
            self.here.disk.delete_file(key, MARKER)

    @rule(key=st.sampled_from(KEYS), later=st.sampled_from(["aaa", "bbb", "ccc", "ddd"]))
    def rename(self, key: str, later: str) -> None:
        """D9: a folder is given another name."""
        self.here.disk.rename_folder(key, later)

    @rule(key=st.sampled_from(KEYS))
    def delete_folder(self, key: str) -> None:
        """An acquisition is deleted."""
        self.here.disk.delete_folder(key)

    # ------------------------------------------------------------ the daemon

    @rule(seconds=st.sampled_from([1.0, 59.0, 60.0, 61.0, 600.0]))
    def pass_time(self, seconds: float) -> None:
        """The clock runs on, and nobody looks: events are lost, or the machine sleeps."""
        self.here.clock.seconds += seconds

    @rule(seconds=st.sampled_from([1.0, 61.0, 200.0]), is_hinted=st.booleans())
    def follow_the_agenda(self, seconds: float, is_hinted: bool) -> None:
        """The daemon looks as it had planned, or as an event says."""
        here = self.here
        here.look_until(here.clock.seconds + seconds, is_hinted=is_hinted, converts=False)

    @rule(keys=st.none() | st.frozensets(st.sampled_from(KEYS)))
    def look(self, keys: frozenset[str] | None) -> None:
        """I6: an event comes at any time, twice, or for something else."""
        here = self.here
        before = here.facts
        actions = here.look(keys)
        if here.disk.is_away:
            assert () == actions
            assert before == here.facts

    @rule()
    def begin(self) -> None:
        """A worker begins."""
        self.here.begin()

    @rule(what=st.sampled_from(["", "", "retry", "park"]))
    def finish(self, what: str) -> None:
        """D7: a worker ends, well or not; the source may have changed meanwhile."""
        errors = {"retry": WorkerKilledError(hint=""), "park": MissingMetadataError(hint="")}
        self.here.finish(errors.get(what))

    @rule(killed_at=st.sampled_from(["", "before_rename", "after_rename", "after_commit"]))
    def kill(self, killed_at: str) -> None:
        """I5: daemon and worker die, before, in, or after the publishing."""
        here = self.here
        if killed_at:
            here.finish(killed_at=killed_at)
        before = rows_of(here)
        here.kill()

        assert before == rows_of(here)

    @rule(is_away=st.booleans())
    def turn_share(self, is_away: bool) -> None:
        """L9: the share goes away, or answers again."""
        self.here.disk.is_away = is_away

    @rule()
    def remount(self) -> None:
        """D3: the share comes back with other inodes."""
        self.here.disk.remount()

    # ------------------------------------------------------------ what always holds

    @invariant()
    def a_generation_has_one_result(self) -> None:
        """I3: no generation has two results, and no two current datasets are of one acquisition."""
        if self.world is None:
            return
        done = [one for one in self.world.datasets() if one.state is not DatasetState.ABANDONED]
        generations = Counter((one.key, one.generation) for one in done)
        current = Counter(one.key for one in done if one.state is DatasetState.PUBLISHED)

        assert {1} >= set(generations.values()) | set(current.values())

    @invariant()
    def a_result_is_what_the_ledger_says(self) -> None:
        """I1: every dataset holds one content, and it is the one that was recorded."""
        if self.world is None:
            return
        for one in self.world.datasets():
            if one.state in (DatasetState.PUBLISHED, DatasetState.SUPERSEDED):
                run_id, content = self.world.target[one.path]
                assert (one.run_id, one.content_digest) == (run_id, digest_of(content))

    def teardown(self) -> None:
        """I2, I4: when all have gone home, everything comes to the end that its files ask for."""
        if self.world is None:
            return
        try:
            before = deepcopy(self.world.disk.folders)
            retry_parked(self.world)
            self.world.come_to_rest()
            check_ends(self.world)
            assert before == self.world.disk.folders
            self._check_that_nothing_follows()
        finally:
            self.world.close()

    def _check_that_nothing_follows(self) -> None:
        """I5: what has come to its end stays there, also after a restart."""
        before = rows_of(self.here)
        self.here.kill()
        self.here.come_to_rest()

        assert before == rows_of(self.here)


def rows_of(world: World) -> dict[str, Any]:
    """Return generations, datasets and states: what a restart may not change."""
    at_work = {STATES.CONVERTING: STATES.QUEUED}
    published = {
        (one.key, one.generation): one.run_id
        for one in world.datasets()
        if one.state is not DatasetState.ABANDONED
        and world.target.get(one.path, ("",))[0] == one.run_id
    }
    done = set(published)
    return {
        "states": {
            key: "done" if (key, fact.generation) in done else at_work.get(fact.state, fact.state)
            for key, fact in world.facts.items()
        },
        "generations": {key: fact.generation for key, fact in world.facts.items()},
        "published": published,
    }


def retry_parked(world: World) -> None:
    """A person retries what was parked for a reason of the model's own."""
    for job in world.history.list_jobs(state=JobState.PARKED):
        with contextlib.suppress(StackwatchError):
            if (job.error or {}).get("error_code") == MissingMetadataError.code:
                world.ledger.jobs.retry(job.job_id)


def check_ends(world: World) -> None:
    """I2: the newest content is the current dataset, or the ledger says why it is not."""
    facts = world.facts
    final, expected = world.final_content(), world.expected_content()
    for key in world.disk.folders:
        if not world.disk.content(key):
            continue
        state = facts[key].state
        if key in expected and state is not STATES.PARKED:
            assert (STATES.PUBLISHED, expected[key]) == (state, final.get(key))
        elif key not in expected:
            is_known = final.get(key) == world.disk.content(key)
            assert state is STATES.INCOMPLETE or is_known, state
        else:
            errors = [job.error or {} for job in world.history.list_jobs() if job.key == key]
            assert "target_exists" == errors[0].get("error_code")


def test_no_history_breaks_an_invariant() -> None:
    """I1, I2, I3, I4, I5, I6: whatever happens in whatever order, these hold."""
    run_state_machine_as_test(
        WatchMachine,
        settings=settings(
            max_examples=max(30, EXAMPLES // 2),
            stateful_step_count=30,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


# ---------------------------------------------------------------- with and without events

ACTS = st.tuples(
    st.sampled_from([1.0, 30.0, 59.0, 61.0, 130.0]),
    st.sampled_from(
        ["write", "write", "write", "touch", "copy", "delete", "rename", "drop", "kill", "away",
         "back", "mark", "remount"]
    ),
    st.sampled_from(KEYS),
    st.sampled_from(NAMES),
)  # fmt: skip


@contextlib.contextmanager
def played(
    acts: list[tuple[float, str, str, str]], hinted: list[bool], *, is_remote: bool, marker: str
) -> Iterator[World]:
    """Play a history; where `hinted` says so, events bring the next scan forward."""
    world = World(marker=marker, is_remote=is_remote)
    try:
        world.start()
        world.look()
        for number, (pause_s, what, key, name) in enumerate(acts):
            is_hinted = hinted[number % len(hinted)]
            world.look_until(world.clock.seconds + pause_s, is_hinted=is_hinted)
            act(world, number, what, key, name)
        world.come_to_rest()
        yield world
    finally:
        world.close()


def act(world: World, number: int, what: str, key: str, name: str) -> None:
    """Do one act of a history."""
    disk = world.disk
    later = "abcdefghijklmnopqrstuvwxyz"[number] * 3 + "_later"
    acts: dict[str, Callable[[], object]] = {
        "write": lambda: disk.write(key, name, 1 + number % 2),
        "touch": lambda: disk.touch(key, name, 10**18),
        "copy": lambda: disk.copy_over(key, name),
        "delete": lambda: disk.delete_file(key, name),
        "rename": lambda: disk.rename_folder(key, later),
        "drop": lambda: disk.delete_folder(key),
        "mark": lambda: disk.write(key, MARKER, 1),
        "remount": disk.remount,
        "kill": world.kill,
        "away": lambda: setattr(disk, "is_away", True),
        "back": lambda: setattr(disk, "is_away", False),
    }
    acts[what]()


@pytest.mark.parametrize("marker", ["", "*.done"])
@settings(max_examples=max(15, EXAMPLES // 4))
@given(
    acts=st.lists(ACTS, max_size=12),
    hinted=st.lists(st.booleans(), min_size=1, max_size=5),
    is_remote=st.booleans(),
)
@example(
    acts=[(1.0, "write", "aaa", "1.tif"), (1.0, "rename", "aaa", "")],
    hinted=[False],
    is_remote=False,
)
def test_events_change_the_time_and_nothing_else(marker, acts, hinted, is_remote):
    """I7: with events, without, or with some of them, the same final content is published.

    But for names: a folder made where another was renamed away may meet that one's dataset, if the
    renaming was seen at all. Then it is parked, and says so.
    """
    ends: list[dict[str, Content | None]] = []
    parked: set[str] = set()
    for pattern in ([False], [True], hinted):
        with played(acts, pattern, is_remote=is_remote, marker=marker) as world:
            check_ends(world)
            parked |= {key for key, fact in world.facts.items() if fact.state is STATES.PARKED}
            ends.append({key: world.final_content().get(key) for key in world.expected_content()})
    first, second, third = ({k: c for k, c in end.items() if k not in parked} for end in ends)

    assert first == second == third
