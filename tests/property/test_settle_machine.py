"""Settling and reconciling under any history: what must hold whatever happens, and when.

The machine writes, touches and removes acquisitions in a pretended drop folder, lets the clock run,
scans all or some of it, takes the share away, and kills the watcher, whose memory is then lost. A
simple ledger of its own carries the actions out. Content that was queued counts as converted.
"""

import itertools
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stackwatch.model.facts import AcquisitionFact, AcquisitionKind, Sighting
from stackwatch.model.job import AcquisitionId, AcquisitionState
from stackwatch.watch.agenda import AgendaOptions, plan_look
from stackwatch.watch.mounts import MountChange, MountIdentity
from stackwatch.watch.reconcile import (
    Action,
    CompareDigest,
    FolderView,
    ParkLoose,
    QueueGeneration,
    ReconcileOptions,
    RecordIncomplete,
    RecordSettling,
    RecordVanished,
    Restore,
    reconcile,
)
from stackwatch.watch.scan import FolderScan, FolderUnavailable
from stackwatch.watch.settle import SettleOptions

GAP_S = 60.0
OPTIONS = ReconcileOptions(SettleOptions(quiet_gap_s=GAP_S, incomplete_after_h=1))
AGENDA = AgendaOptions(scan_interval_s=90, hint_delay_s=1)
MOUNT = MountIdentity(1, 2, "ext4")
KEYS = ("a", "b")
STATES = AcquisitionState


@dataclass
class Files:
    """What lies in one acquisition, and since when it lies so."""

    content: int
    size: int
    touched: int
    since_s: float

    @property
    def mark(self) -> str:
        """Return the stat mark: any write or touch changes it."""
        return f"{self.content}/{self.touched}"


@dataclass
class PlainLedger:
    """The shortest ledger that carries out what reconciling says."""

    facts: dict[str, AcquisitionFact] = field(default_factory=dict)
    queued: dict[str, list[int]] = field(default_factory=dict)
    """The contents that were queued for each acquisition, in the order of their generations."""

    def carry_out(self, action: Action, content: int | None) -> None:
        """Do one action; `content` is what really lies there at this moment."""
        if isinstance(action, RecordVanished):
            self.facts[action.key] = replace(self.facts[action.key], is_gone=True)
            return
        seen = action.sighting
        fact = self.facts.get(
            seen.key, AcquisitionFact(AcquisitionId(1), seen.key, STATES.SETTLING)
        )
        fact = replace(fact, is_gone=False)
        match action:
            case RecordSettling():
                fact = replace(fact, state=STATES.SETTLING)
            case RecordIncomplete():
                fact = replace(fact, state=STATES.INCOMPLETE)
            case Restore():
                fact = replace(fact, state=STATES.PUBLISHED)
            case CompareDigest():
                if str(content) == action.content_digest:
                    fact = replace(fact, state=STATES.PUBLISHED, stat_mark=seen.stat_mark)
                else:
                    fact = self._queue(fact, seen, content)
            case QueueGeneration():
                assert action.generation == fact.generation + 1
                fact = self._queue(fact, seen, content)
            case ParkLoose():
                raise AssertionError("no loose files here")
        self.facts[seen.key] = fact

    def _queue(self, fact: AcquisitionFact, seen: Sighting, content: int | None) -> AcquisitionFact:
        assert content is not None
        self.queued.setdefault(seen.key, []).append(content)
        return replace(
            fact,
            state=STATES.PUBLISHED,
            generation=fact.generation + 1,
            stat_mark=seen.stat_mark,
            size_mark=seen.size_mark,
            content_digest=str(content),
        )


class World:
    """A drop folder, a clock, a watcher and its ledger."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.files: dict[str, Files] = {}
        self.elsewhere: dict[str, Files] = {}
        self.is_away = False
        self.view = FolderView()
        self.ledger = PlainLedger()
        self.writes = 0

    def write(self, key: str, size: int) -> None:
        """Give an acquisition new content."""
        self.writes += 1
        self.files[key] = Files(self.writes, size, self.writes, self.now_s)

    def touch(self, key: str) -> None:
        """Change the times of an acquisition's files and nothing else."""
        self.writes += 1
        old = self.files[key]
        self.files[key] = Files(old.content, old.size, self.writes, self.now_s)

    def move_out(self, key: str) -> None:
        """Move an acquisition out of the drop folder."""
        if key in self.files:
            self.elsewhere[key] = self.files.pop(key)

    def move_in(self, key: str) -> None:
        """Move it back: a rename leaves all times as they were, and nobody writes elsewhere."""
        if key in self.elsewhere and key not in self.files:
            self.files[key] = self.elsewhere.pop(key)

    def scan(self, keys: frozenset[str] | None = None) -> tuple[Action, ...]:
        """Scan, reconcile and carry out; return the actions."""
        seen: FolderScan | FolderUnavailable
        if self.is_away:
            seen = FolderUnavailable("away")
        else:
            sightings = [
                Sighting(
                    key, key, AcquisitionKind.FOLDER, key, (), 1, 1, 0, files.mark, str(files.size)
                )
                for key, files in sorted(self.files.items())
                if keys is None or key in keys
            ]
            seen = FolderScan(tuple(sightings), keys, (), (), 0, 0, 0, MOUNT, MountChange.SAME, 0.0)
        self.view, actions = reconcile(self.view, seen, self.ledger.facts, self.now_s, OPTIONS)
        for action in actions:
            key = action.key if isinstance(action, RecordVanished) else action.sighting.key
            files = self.files.get(key)
            if isinstance(action, QueueGeneration | CompareDigest | Restore):
                # I1 and decision 7: what is taken up has lain still for the whole gap
                assert files is not None
                assert self.now_s >= files.since_s + GAP_S
                assert action.sighting.stat_mark == files.mark
            self.ledger.carry_out(action, files.content if files else None)
        return actions

    def settle_everything(self) -> None:
        """Let the agenda run until nothing can be due any more."""
        self.is_away = False
        self.look_until(self.now_s + 4 * AGENDA.scan_interval_s + 2 * GAP_S)

    def look_until(self, end_s: float, *, is_hinted: bool = False) -> None:
        """Follow the agenda up to a time; a look that is due for ever would never end."""
        for _ in range(10_000):
            look = plan_look(self.view, AGENDA, is_hinted=is_hinted, chance=0.5)
            if look.at_s > end_s:
                self.now_s = end_s
                return
            self.now_s = max(self.now_s, look.at_s)
            self.scan(look.keys)
            is_hinted = False
        raise AssertionError("the agenda turns on the spot")


class SettleMachine(RuleBasedStateMachine):
    """Any order of writes, looks, outages and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(key=st.sampled_from(KEYS), size=st.integers(1, 2))
    def write(self, key: str, size: int) -> None:
        """An instrument writes; it may keep the size."""
        self.world.write(key, size)

    @rule(key=st.sampled_from(KEYS))
    def touch(self, key: str) -> None:
        """A virus scanner changes times."""
        if key in self.world.files:
            self.world.touch(key)

    @rule(key=st.sampled_from(KEYS))
    def move_out(self, key: str) -> None:
        """An acquisition is taken away."""
        self.world.move_out(key)

    @rule(key=st.sampled_from(KEYS))
    def move_in(self, key: str) -> None:
        """It is brought back as it was."""
        self.world.move_in(key)

    @rule(seconds=st.sampled_from([1.0, 29.0, 59.0, 60.0, 61.0, 600.0, 4000.0]))
    def look_after(self, seconds: float) -> None:
        """The monotonic clock runs on, then an ordinary scan."""
        self.world.now_s += seconds
        self.scan_all()

    @rule()
    def scan_all(self) -> None:
        """An ordinary scan."""
        before = dict(self.world.ledger.facts)
        actions = self.world.scan()
        if self.world.is_away:
            assert () == actions
            assert before == self.world.ledger.facts

    @rule(keys=st.frozensets(st.sampled_from(KEYS)))
    def scan_some(self, keys: frozenset[str]) -> None:
        """A look at some acquisitions only."""
        known = {key for key in KEYS if key not in keys}
        before = {key: self.world.ledger.facts.get(key) for key in known}
        self.world.scan(keys)

        assert before == {key: self.world.ledger.facts.get(key) for key in known}

    @rule()
    def follow_agenda(self) -> None:
        """The next look that the agenda plans."""
        look = plan_look(self.world.view, AGENDA, is_hinted=False, chance=0.5)
        self.world.now_s = max(self.world.now_s, look.at_s)
        self.world.scan(look.keys)

    @precondition(lambda self: not self.world.is_away)
    @rule()
    def take_share_away(self) -> None:
        """The share goes away."""
        self.world.is_away = True

    @precondition(lambda self: self.world.is_away)
    @rule()
    def bring_share_back(self) -> None:
        """The share answers again."""
        self.world.is_away = False

    @rule()
    def restart(self) -> None:
        """The daemon is killed: the watcher's memory is lost, the ledger is not."""
        self.world.view = FolderView()

    @invariant()
    def no_content_follows_itself(self) -> None:
        """I3: no two generations in a row hold the same content."""
        for contents in self.world.ledger.queued.values():
            assert all(first != second for first, second in itertools.pairwise(contents))

    def teardown(self) -> None:
        """I2: when everybody has gone home, every acquisition's newest content is the ledger's."""
        self.world.settle_everything()
        present = {
            key: contents[-1]
            for key, contents in self.world.ledger.queued.items()
            if not self.world.ledger.facts[key].is_gone
        }

        assert {key: files.content for key, files in self.world.files.items()} == present
        assert all(
            fact.is_gone or fact.state is STATES.PUBLISHED
            for fact in self.world.ledger.facts.values()
        )


TestSettleMachine = SettleMachine.TestCase
TestSettleMachine.settings = settings(
    stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)

STEPS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([1.0, 59.0, 60.0, 61.0]), st.floats(0.5, 200)),
        st.sampled_from(["write", "touch", "out", "in", "restart", "away", "back"]),
        st.sampled_from(KEYS),
        st.integers(1, 2),
    ),
    max_size=15,
)


def played(steps: list[tuple[float, str, str, int]], hinted: list[bool]) -> World:
    """Play a history; where `hinted` says so, an event brings the next scan forward."""
    world = World()
    world.scan()
    for number, (pause_s, what, key, size) in enumerate(steps):
        world.look_until(world.now_s + pause_s, is_hinted=hinted[number % len(hinted)])
        _step(world, what, key, size)
    world.settle_everything()
    return world


def _step(world: World, what: str, key: str, size: int) -> None:
    match what:
        case "write":
            world.write(key, size)
        case "touch" if key in world.files:
            world.touch(key)
        case "out":
            world.move_out(key)
        case "in":
            world.move_in(key)
        case "restart":
            world.view = FolderView()
        case "away" | "back":
            world.is_away = what == "away"


@given(STEPS, st.lists(st.booleans(), min_size=1, max_size=5))
def test_hints_change_nothing_but_the_time(steps, hinted):
    """I7: with events, without, or with some of them lost, the same final content is taken up."""
    ends = [played(steps, pattern) for pattern in ([False], [True], hinted)]
    final = [
        {
            key: world.ledger.queued[key][-1]
            for key, fact in world.ledger.facts.items()
            if not fact.is_gone
        }
        for world in ends
    ]

    assert final[0] == final[1] == final[2]
