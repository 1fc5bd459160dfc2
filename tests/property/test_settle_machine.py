"""Settling and reconciling under any history: what must hold whatever happens, and when.

The machine writes, touches and removes acquisitions in a pretended drop folder, lets the clock run,
scans all or some of it, takes the share away, and kills the watcher, whose memory is then lost.
Vetoes come and go: some show in a listing, some only when an acquisition is looked at by name, some
lapse; a person overrules them, and a sidecar asks to be left alone. A simple ledger of its own
carries the actions out. Content that was queued counts as converted.
"""

import itertools
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stackwatch.model.facts import (
    AcquisitionFact,
    AcquisitionKind,
    Directives,
    Sighting,
    Veto,
    VetoKind,
)
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
    RecordHeldBack,
    RecordIncomplete,
    RecordSettling,
    RecordSkipped,
    RecordVanished,
    Restore,
    reconcile,
)
from stackwatch.watch.scan import FolderScan, FolderUnavailable
from stackwatch.watch.settle import BEYOND_A_PERSON, LAPSE_GAPS, SettleOptions

GAP_S = 60.0
OPTIONS = ReconcileOptions(SettleOptions(quiet_gap_s=GAP_S, incomplete_after_h=1))
AGENDA = AgendaOptions(scan_interval_s=90, hint_delay_s=1)
MOUNT = MountIdentity(1, 2, "ext4")
KEYS = ("a", "b")
STATES = AcquisitionState
LISTED = (VetoKind.TEMPORARY, VetoKind.EMPTY_FILE)
PROBED = (VetoKind.MARKER, VetoKind.ABORTED, VetoKind.OPEN, VetoKind.HOLE)
VETOES = st.sampled_from([*LISTED, *PROBED])
ARRIVING = (STATES.SETTLING, STATES.INCOMPLETE)


@dataclass
class Files:
    """What lies in one acquisition, and since when it lies so."""

    content: int
    size: int
    touched: int
    since_s: float
    vetoes: frozenset[VetoKind] = frozenset()
    held_until_s: float = 0.0
    """When a veto that does not lapse was there for the last time."""
    is_skipped: bool = False

    @property
    def is_held(self) -> bool:
        """Whether a veto stands that does not lapse."""
        return any(not Veto(kind, "").is_lapsing for kind in self.vetoes)

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
                fact = replace(fact, state=STATES.SETTLING, ignored_mark="", held_back=frozenset())
            case RecordIncomplete(_, vetoes) | RecordHeldBack(_, vetoes):
                assert fact.held_back != kinds_of(vetoes) or isinstance(action, RecordIncomplete)
                is_told = isinstance(action, RecordIncomplete)
                state = STATES.INCOMPLETE if is_told else fact.state
                fact = replace(fact, state=state, held_back=kinds_of(vetoes))
            case RecordSkipped():
                fact = replace(fact, state=STATES.IGNORED, ignored_mark=seen.stat_mark)
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


def kinds_of(vetoes: tuple[Veto, ...]) -> frozenset[VetoKind]:
    """Return the kinds that the ledger keeps."""
    return frozenset(veto.kind for veto in vetoes)


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
        self.looks: set[float] = set()
        """When acquisitions were looked at by name."""

    def write(self, key: str, size: int) -> None:
        """Give an acquisition new content."""
        self.writes += 1
        held = self.files.get(key)
        self.files[key] = Files(self.writes, size, self.writes, self.now_s)
        if held is not None:  # an open file stays open while it is written
            self.files[key].vetoes = held.vetoes
            self.files[key].held_until_s = held.held_until_s

    def veto(self, key: str, kind: VetoKind) -> None:
        """Let something speak against an acquisition, or fall silent again."""
        files = self.files[key]
        if files.is_held:
            files.held_until_s = self.now_s
        files.vetoes ^= {kind}

    def skip(self, key: str) -> None:
        """Write or remove `skip = true` in the sidecar, which is one of the files."""
        self.touch(key)
        self.files[key].is_skipped = not self.files[key].is_skipped

    def accept(self, key: str) -> None:
        """Say that an arriving acquisition is complete as it is."""
        fact = self.ledger.facts.get(key)
        if fact is not None and not fact.is_gone and fact.state in ARRIVING:
            self.ledger.facts[key] = replace(fact, accepted_mark=self.files[key].mark)

    def touch(self, key: str) -> None:
        """Change the times of an acquisition's files and nothing else."""
        self.writes += 1
        self.files[key] = replace(self.files[key], touched=self.writes, since_s=self.now_s)

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
                sighting_of(key, files, is_probed=keys is not None)
                for key, files in sorted(self.files.items())
                if keys is None or key in keys
            ]
            seen = FolderScan(tuple(sightings), keys, (), (), 0, 0, 0, MOUNT, MountChange.SAME, 0.0)
        if keys is not None and not self.is_away:
            self.looks.add(self.now_s)
        self.view, actions = reconcile(self.view, seen, self.ledger.facts, self.now_s, OPTIONS)
        for action in actions:
            key = action.key if isinstance(action, RecordVanished) else action.sighting.key
            files = self.files.get(key)
            if isinstance(action, QueueGeneration | CompareDigest | Restore):
                # I1 and decision 7: what is taken up has lain still for the whole gap
                assert files is not None
                assert self.now_s >= files.since_s + GAP_S
                assert action.sighting.stat_mark == files.mark
                self.check_ready(key, files)
            self.ledger.carry_out(action, files.content if files else None)
        return actions

    def check_ready(self, key: str, files: Files) -> None:
        """E9: what is taken up was vouched for by every policy, or by a person."""
        fact = self.ledger.facts.get(key)
        is_accepted = fact is not None and fact.accepted_mark == files.mark
        standing = {kind for kind in files.vetoes if not is_accepted or kind in BEYOND_A_PERSON}
        lapsing = {kind for kind in standing if Veto(kind, "").is_lapsing}
        assert standing == lapsing
        assert not files.is_skipped
        if lapsing:
            assert self.now_s >= files.since_s + LAPSE_GAPS * GAP_S
        if not is_accepted and files.held_until_s > files.since_s:
            # one that came and went between two looks is seen by nobody
            assert files.held_until_s not in self.looks or (
                self.now_s >= files.held_until_s + GAP_S
            )

    def settle_everything(self) -> None:
        """Let everybody go home, and the agenda run until nothing can be due any more."""
        self.is_away = False
        for key, files in self.files.items():
            for kind in [kind for kind in files.vetoes if not Veto(kind, "").is_lapsing]:
                self.veto(key, kind)
        self.look_until(self.now_s + 4 * AGENDA.scan_interval_s + (3 + 2 * LAPSE_GAPS) * GAP_S)

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


def sighting_of(key: str, files: Files, *, is_probed: bool) -> Sighting:
    """Return what a scan sees: a listing shows neither open files nor a sidecar's words."""
    kinds = sorted(kind for kind in files.vetoes if is_probed or kind in LISTED)
    return Sighting(
        key,
        key,
        AcquisitionKind.FOLDER,
        key,
        (),
        1,
        1,
        0,
        files.mark,
        str(files.size),
        vetoes=tuple(Veto(kind, f"for {kind}") for kind in kinds),
        is_probed=is_probed,
        directives=Directives(skip=files.is_skipped and is_probed),
    )


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

    @rule(key=st.sampled_from(KEYS), kind=VETOES)
    def veto(self, key: str, kind: VetoKind) -> None:
        """Something begins or ceases to speak against an acquisition."""
        if key in self.world.files:
            self.world.veto(key, kind)

    @rule(key=st.sampled_from(KEYS))
    def skip(self, key: str) -> None:
        """A person writes or removes `skip = true`."""
        if key in self.world.files:
            self.world.skip(key)

    @rule(key=st.sampled_from(KEYS))
    def accept(self, key: str) -> None:
        """A person says that an acquisition is complete."""
        if key in self.world.files:
            self.world.accept(key)

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
        facts = self.world.ledger.facts
        wanted = {key: f.content for key, f in self.world.files.items() if not f.is_skipped}
        present = {
            key: contents[-1]
            for key, contents in self.world.ledger.queued.items()
            if not facts[key].is_gone and facts[key].state is not STATES.IGNORED
        }

        assert wanted == present
        assert {key for key, fact in facts.items() if not fact.is_gone} == {*self.world.files}
        for key, files in self.world.files.items():
            rest = STATES.IGNORED if files.is_skipped else STATES.PUBLISHED
            assert rest is facts[key].state
        assert ((), ()) == (self.world.scan(), self.world.scan(frozenset(self.world.files)))


TestSettleMachine = SettleMachine.TestCase
TestSettleMachine.settings = settings(
    stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)

STEPS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from([1.0, 59.0, 60.0, 61.0]), st.floats(0.5, 200)),
        st.sampled_from(["write", "touch", "out", "in", "restart", "away", "back", "veto", "skip"]),
        st.sampled_from(KEYS),
        st.integers(1, 2),
        VETOES,
    ),
    max_size=15,
)


def played(steps: list[tuple[float, str, str, int, VetoKind]], hinted: list[bool]) -> World:
    """Play a history; where `hinted` says so, an event brings the next scan forward."""
    world = World()
    world.scan()
    for number, (pause_s, what, key, size, kind) in enumerate(steps):
        world.look_until(world.now_s + pause_s, is_hinted=hinted[number % len(hinted)])
        _step(world, what, key, size, kind)
    world.settle_everything()
    return world


def _step(world: World, what: str, key: str, size: int, kind: VetoKind) -> None:
    match what:
        case "write":
            world.write(key, size)
        case "touch" if key in world.files:
            world.touch(key)
        case "veto" if key in world.files:
            world.veto(key, kind)
        case "skip" if key in world.files:
            world.skip(key)
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
            if fact.state is STATES.PUBLISHED and not fact.is_gone
        }
        for world in ends
    ]

    assert final[0] == final[1] == final[2]
