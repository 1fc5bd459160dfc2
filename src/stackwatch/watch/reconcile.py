"""Compare what a scan saw with what the ledger knows, and say what is to be done.

Pure, and led by states rather than by events: each call compares everything anew. An action that
was lost, because its process died before it was carried out, is told again by the next scan; one
that was carried out is not told again, because the ledger knows it then.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stackwatch.model.facts import AcquisitionFact, Sighting, Veto
from stackwatch.model.job import AcquisitionState
from stackwatch.watch.mounts import MountChange, MountIdentity, is_remote_type
from stackwatch.watch.renames import find_moves
from stackwatch.watch.scan import FolderScan, FolderUnavailable, LooseMode
from stackwatch.watch.settle import (
    Observation,
    Phase,
    SettleOptions,
    SettleState,
    interrupt,
    observe,
)

_ARRIVING = (AcquisitionState.SETTLING, AcquisitionState.INCOMPLETE)


@dataclass(frozen=True, slots=True)
class RecordSettling:
    """It is new, came back, or changed: the ledger notes that it is arriving (again)."""

    sighting: Sighting


@dataclass(frozen=True, slots=True)
class RecordIncomplete:
    """It has not settled within the ceiling: tell a person, convert nothing, go on watching."""

    sighting: Sighting
    vetoes: tuple[Veto, ...]


@dataclass(frozen=True, slots=True)
class RecordHeldBack:
    """What speaks against its being complete is of another kind than the ledger knows."""

    sighting: Sighting
    vetoes: tuple[Veto, ...]


@dataclass(frozen=True, slots=True)
class RecordSkipped:
    """Its sidecar says `skip = true`: it is ignored until something in it changes."""

    sighting: Sighting


@dataclass(frozen=True, slots=True)
class QueueGeneration:
    """It has settled with content the ledger does not know: queue its conversion.

    `supersedes` is the number of the generation it takes the place of, 0 for none.
    """

    sighting: Sighting
    generation: int
    supersedes: int


@dataclass(frozen=True, slots=True)
class CompareDigest:
    """Names and sizes are those of the known generation, but the mark is not.

    Read the files and compare their digest with `content_digest`. Equal: only the mark is to be
    updated. Different: queue `generation + 1`.
    """

    sighting: Sighting
    generation: int
    content_digest: str


@dataclass(frozen=True, slots=True)
class Restore:
    """It lies still again exactly as the known generation: put its state back."""

    sighting: Sighting


@dataclass(frozen=True, slots=True)
class ParkLoose:
    """It has settled, but loose files are to be parked (`loose = "park"`)."""

    sighting: Sighting


@dataclass(frozen=True, slots=True)
class RecordVanished:
    """It is not there any more."""

    key: str


@dataclass(frozen=True, slots=True)
class RecordMoved:
    """It was renamed: history, generation and datasets stay, only its name is another.

    `key` is the one the ledger knows it by.
    """

    key: str
    sighting: Sighting


Action = (
    RecordSettling
    | RecordIncomplete
    | RecordHeldBack
    | RecordSkipped
    | QueueGeneration
    | CompareDigest
    | Restore
    | ParkLoose
    | RecordVanished
    | RecordMoved
)


@dataclass(frozen=True, slots=True)
class FolderView:
    """What the watcher remembers of one drop folder; a new one with every scan.

    Attributes
    ----------
    states : mapping of str to SettleState
        By key; never changed in place.
    mount : MountIdentity or None
        Of the last good scan; hand it to the next scan as `expected`.
    unavailable : str
        Why the folder could not be scanned; empty while it is available.
    scanned_s, full_scan_s : float or None
        Monotonic seconds at which the last scan, and the last scan of everything, ended.
    scan_seconds : float
        How long the last scan of everything took.
    """

    states: Mapping[str, SettleState] = field(default_factory=dict)
    mount: MountIdentity | None = None
    unavailable: str = ""
    scanned_s: float | None = None
    full_scan_s: float | None = None
    scan_seconds: float = 0.0

    def due_keys(self, until_s: float) -> frozenset[str]:
        """Return the acquisitions that are to be looked at by `until_s`."""
        return frozenset(
            key
            for key, state in self.states.items()
            if state.due_s is not None and state.due_s <= until_s
        )


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """What reconciling is told of a folder."""

    settle: SettleOptions = field(default_factory=SettleOptions)
    loose: LooseMode = "group"


def reconcile(
    view: FolderView,
    scan: FolderScan | FolderUnavailable,
    facts: Mapping[str, AcquisitionFact],
    now_s: float,
    options: ReconcileOptions,
) -> tuple[FolderView, tuple[Action, ...]]:
    """Take a scan into account and return what is to be done.

    Parameters
    ----------
    view : FolderView
        From the last call; `FolderView()` at the start, with the ledger's mount if it has one.
    scan : FolderScan or FolderUnavailable
    facts : mapping of str to AcquisitionFact
        All of the folder's acquisitions in the ledger, by key, read after the actions of the last
        call were carried out.
    now_s : float
        Monotonic seconds at which the scan ended.
    options : ReconcileOptions

    Returns
    -------
    tuple of (FolderView, tuple of Action)
        Actions in the order of the keys, those of renamed acquisitions first, those of vanished
        ones last. Carry them out one after another; each may be repeated without harm.

    Invariants
    ----------
    An unavailable folder brings no action, and no acquisition changes its phase.
    """
    if isinstance(scan, FolderUnavailable):
        return _interrupted(view, scan.reason, now_s), ()
    if _is_underneath(view, scan, facts):
        return _interrupted(view, _not_mounted(view, scan), now_s), ()
    if view.unavailable:
        view = _interrupted(view, "", now_s)
    found = {sighting.key for sighting in scan.sightings}
    absent = frozenset(key for key in {*view.states, *facts} if _is_absent(key, scan, found))
    moves = find_moves(view.states, scan, facts, absent)
    states = {key: state for key, state in view.states.items() if key not in absent}
    actions: list[Action] = []
    for sighting in scan.sightings:
        if sighting.key in moves:
            known = moves[sighting.key]
            actions.append(RecordMoved(known.key, sighting))
            facts = _rename(facts, known, sighting.key)
            if known.key in view.states:
                states[sighting.key] = view.states[known.key]
    for sighting in scan.sightings:
        fact = facts.get(sighting.key)
        accepted_mark = fact.accepted_mark if fact else ""
        observation = Observation.from_sighting(
            sighting, accepted_mark, is_at_rest=_is_at_rest(sighting, fact)
        )
        state, _ = observe(
            states.get(sighting.key), observation, now_s, options.settle, scan.seconds
        )
        assert state is not None
        wanted = _actions_for(sighting, state, fact, options)
        if wanted and state.phase is Phase.SETTLED and not sighting.is_probed:
            # an action was lost, and a listing does not show what the sidecar says to it
            state, wanted = replace(state, due_s=now_s), []
        states[sighting.key] = state
        actions += wanted
    actions += [
        RecordVanished(key) for key in sorted(facts) if not facts[key].is_gone and key in absent
    ]
    return _seen(view, scan, states, now_s), tuple(actions)


def _is_underneath(
    view: FolderView, scan: FolderScan, facts: Mapping[str, AcquisitionFact]
) -> bool:
    """Tell whether the scan saw what lies below the mount point of a share that is missing.

    Whoever moves a folder to a local disk brings its acquisitions along.
    """
    if scan.mount_change is not MountChange.REPLACED or view.mount is None:
        return False
    if not view.mount.is_remote or is_remote_type(scan.mount.fstype):
        return False
    known = {key for key, fact in facts.items() if not fact.is_gone}
    return bool(known) and known.isdisjoint(sighting.key for sighting in scan.sightings)


def _not_mounted(view: FolderView, scan: FolderScan) -> str:
    assert view.mount is not None
    return (
        f"It lies on {scan.mount.fstype or 'another file system'} instead of {view.mount.fstype}, "
        "and nothing of what is known of it is there: the share is not mounted. Mount it again; "
        "if this is its new place, give the folder another `name` in the settings."
    )


def _rename(
    facts: Mapping[str, AcquisitionFact], known: AcquisitionFact, key: str
) -> Mapping[str, AcquisitionFact]:
    """Return the facts as they are after a move was recorded."""
    left = {old: fact for old, fact in facts.items() if old != known.key}
    return {**left, key: replace(known, key=key)}


def _interrupted(view: FolderView, reason: str, now_s: float) -> FolderView:
    """Return the view of a folder that stopped answering, or answers again: all gaps begin anew."""
    states = {key: interrupt(state, now_s) for key, state in view.states.items()}
    return replace(view, states=states, unavailable=reason, scanned_s=now_s)


def _seen(
    view: FolderView, scan: FolderScan, states: dict[str, SettleState], now_s: float
) -> FolderView:
    view = replace(view, states=states, mount=scan.mount, scanned_s=now_s)
    if scan.keys is None:
        view = replace(view, full_scan_s=now_s, scan_seconds=scan.seconds)
    return view


def _is_absent(key: str, scan: FolderScan, found: set[str]) -> bool:
    """Tell whether the scan looked for an acquisition and did not find it."""
    if scan.keys is not None and key not in scan.keys:
        return False
    if any(key.startswith(folder + "/") for folder in scan.hidden):
        return False
    return key not in found


def _actions_for(
    sighting: Sighting,
    state: SettleState,
    fact: AcquisitionFact | None,
    options: ReconcileOptions,
) -> list[Action]:
    match state.phase:
        case Phase.EMPTY:
            if sighting.unreadable:
                return []  # what lies in it is unknown, not gone
            # a folder whose files are all gone is as good as gone
            return [RecordVanished(fact.key)] if fact and not fact.is_gone else []
        case Phase.SETTLED:
            return _when_settled(sighting, fact, options.loose)
        case Phase.INCOMPLETE:
            return _when_incomplete(sighting, state, fact)
        case Phase.SETTLING:
            return _when_settling(sighting, state, fact)


def _is_known(sighting: Sighting, fact: AcquisitionFact | None) -> bool:
    """Tell whether it looks exactly as when the ledger last came to a verdict about it."""
    return fact is not None and fact.stat_mark == sighting.stat_mark


def _is_at_rest(sighting: Sighting, fact: AcquisitionFact | None) -> bool:
    """Tell whether the ledger came to a verdict about exactly this content, and stands by it."""
    if fact is None or fact.is_gone or fact.state is AcquisitionState.SETTLING:
        return False
    if fact.state is AcquisitionState.INCOMPLETE:
        return fact.lacks_files and _is_known(sighting, fact)
    return _is_known(sighting, fact) or fact.ignored_mark == sighting.stat_mark


def _when_settling(
    sighting: Sighting, state: SettleState, fact: AcquisitionFact | None
) -> list[Action]:
    if fact is None or fact.is_gone:
        return [RecordSettling(sighting)]
    if _is_at_rest(sighting, fact):
        return []
    if fact.state not in _ARRIVING or fact.lacks_files:
        return [RecordSettling(sighting)]
    return _when_held_back(sighting, state, fact)


def _when_incomplete(
    sighting: Sighting, state: SettleState, fact: AcquisitionFact | None
) -> list[Action]:
    is_told = fact is not None and not fact.is_gone and fact.state is AcquisitionState.INCOMPLETE
    if fact is not None and is_told and not fact.lacks_files:
        return _when_held_back(sighting, state, fact)
    if _is_known(sighting, fact) or _is_at_rest(sighting, fact):
        return []
    return [RecordIncomplete(sighting, state.vetoes)]


def _when_held_back(sighting: Sighting, state: SettleState, fact: AcquisitionFact) -> list[Action]:
    """Have the reasons kept for people who ask without a daemon: by kind, not by each number."""
    if fact.held_back == frozenset(veto.kind for veto in state.vetoes):
        return []
    return [RecordHeldBack(sighting, state.vetoes)]


def _when_settled(
    sighting: Sighting, fact: AcquisitionFact | None, loose: LooseMode
) -> list[Action]:
    if _is_at_rest(sighting, fact):
        return []
    if sighting.directives.skip:
        return [*_arrived(sighting, fact), RecordSkipped(sighting)]
    if _is_known(sighting, fact):
        return [Restore(sighting)]
    first = _arrived(sighting, fact)
    if sighting.is_loose and loose == "park":
        return [*first, ParkLoose(sighting)]
    known = fact.generation if fact else 0
    if fact is not None and fact.content_digest and fact.size_mark == sighting.size_mark:
        return [*first, CompareDigest(sighting, known, fact.content_digest)]
    return [*first, QueueGeneration(sighting, known + 1, known)]


def _arrived(sighting: Sighting, fact: AcquisitionFact | None) -> list[Action]:
    """Return what is normally noted when it appeared: a job needs a row to hang on."""
    return [RecordSettling(sighting)] if fact is None or fact.is_gone else []
