"""Decide when an acquisition has settled: a pure state machine, the clock passed in.

An acquisition has settled when two scans at least the quiet gap apart saw the same stat mark and
nothing spoke against it. All times are seconds of one monotonic clock; the times of files are
compared with each other through the mark and never with now, so that neither an old date, nor one
in the future, nor a stepped clock can settle anything.

What speaks against it is a veto. A listing shows some of them, a probe shows all: only a probed
observation settles. Where a listing brings nothing new, what the last probe found stands until the
next one. Some vetoes may be meant so (an empty file, a hole): they lapse after ten quiet gaps.

::

        ┌────── another mark, or a veto ───────┐
        ▼                                      │
    settling ── same mark for the gap ──▶ settled
        │  ▲      (probed, no veto)
        │  └─ goes on settling ─┐
        └── the ceiling ──▶ incomplete ── same mark for the gap ──▶ settled
            or: aborted
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from stackwatch.model.facts import Sighting, Veto, VetoKind

LAPSE_GAPS: Final = 10
"""Quiet gaps after which a lapsing veto is taken for meant so."""

_PROBE_GAPS: Final = 10
"""Quiet gaps between two probes of what was reported as incomplete."""

BEYOND_A_PERSON: Final = frozenset({VetoKind.UNREADABLE, VetoKind.OPEN, VetoKind.STALE})
"""Vetoes that stand although a person said that the acquisition is complete as it is."""


class Phase(StrEnum):
    """Where an acquisition stands between arriving and lying still."""

    EMPTY = "empty"
    """No file that counts: it never settles, and nothing is reported."""
    SETTLING = "settling"
    INCOMPLETE = "incomplete"
    """Has not settled within the ceiling; reported once, still watched."""
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class SettleOptions:
    """How long an acquisition must lie still.

    Attributes
    ----------
    quiet_gap_s : float
    incomplete_after_h : float
        The ceiling: hours after the first file, or after the change that ended the last rest.
    """

    quiet_gap_s: float = 60.0
    incomplete_after_h: float = 12.0


@dataclass(frozen=True, slots=True)
class Observation:
    """What one scan says of one acquisition.

    Attributes
    ----------
    stat_mark : str
    files : int
    vetoes : tuple of Veto
        Why it cannot be complete, whatever the clock says.
    is_probed : bool
        Whether `vetoes` are all there are; else they are those that a listing shows.
    """

    stat_mark: str
    files: int
    vetoes: tuple[Veto, ...] = ()
    is_probed: bool = True

    @classmethod
    def from_sighting(
        cls, sighting: Sighting, accepted_mark: str = "", *, is_at_rest: bool = False
    ) -> "Observation":
        """Return what a sighting says.

        Parameters
        ----------
        sighting : Sighting
        accepted_mark : str
            The mark at which a person said that it is complete as it is.
        is_at_rest : bool
            The ledger has come to a verdict about exactly this content: no probe is needed to tell
            that nothing is to be done.
        """
        vetoes = sighting.vetoes
        if sighting.unreadable:
            reason = f"{sighting.unreadable} of its folders cannot be listed"
            vetoes = (Veto(VetoKind.UNREADABLE, reason), *vetoes)
        if accepted_mark == sighting.stat_mark:
            vetoes = tuple(veto for veto in vetoes if veto.kind in BEYOND_A_PERSON)
        is_probed = sighting.is_probed or is_at_rest
        return cls(sighting.stat_mark, sighting.files, vetoes, is_probed)


@dataclass(frozen=True, slots=True)
class SettleState:
    """What is remembered of one acquisition between two scans.

    Attributes
    ----------
    phase : Phase
    stat_mark : str
        As last seen.
    quiet_since_s : float
        When the scan that first saw this mark without a veto, but for lapsing ones, had ended.
    restless_since_s : float
        When its present unrest began: the first file, or the change that ended the last rest.
    due_s : float or None
        When the next look at it is worth while; None leaves it to the ordinary scans.
    vetoes : tuple of Veto
        As far as they are known.
    probed_s : float or None
        When the probe that found `vetoes` had ended; None if a listing showed them.
    """

    phase: Phase
    stat_mark: str
    quiet_since_s: float
    restless_since_s: float
    due_s: float | None = None
    vetoes: tuple[Veto, ...] = ()
    probed_s: float | None = None

    @property
    def is_held_back(self) -> bool:
        """Whether a veto stands that does not lapse."""
        return _is_firm(self.vetoes)

    def ready_s(self, options: SettleOptions) -> float:
        """Return when its gap has passed, if neither its mark nor its vetoes change."""
        gaps = LAPSE_GAPS if self.vetoes else 1
        return self.quiet_since_s + gaps * options.quiet_gap_s


class SettleEvent(StrEnum):
    """What an observation changed."""

    APPEARED = "appeared"
    CHANGED = "changed"
    """Another mark than before; the quiet gap begins anew."""
    SETTLED = "settled"
    INCOMPLETE = "incomplete"
    VANISHED = "vanished"


def observe(
    state: SettleState | None,
    observation: Observation | None,
    now_s: float,
    options: SettleOptions,
    scan_seconds: float = 0.0,
) -> tuple[SettleState | None, tuple[SettleEvent, ...]]:
    """Take one observation into account.

    Parameters
    ----------
    state : SettleState or None
        None: it was not there before.
    observation : Observation or None
        None: a scan of an available folder did not find it.
    now_s : float
        Monotonic seconds at which the scan ended.
    options : SettleOptions
    scan_seconds : float
        How long the scan took. A file may have been looked at as early as the scan's beginning,
        so the gap is measured from the end of the first scan to the beginning of the last.

    Returns
    -------
    tuple of (SettleState or None, tuple of SettleEvent)

    Invariants
    ----------
    SETTLED is told only by a probed observation, and only if the same mark was seen, without a
    firm veto and with at least one file, by two scans at least the gap apart (ten gaps with a
    lapsing veto), and by all scans between them.
    """
    if observation is None:
        return None, (SettleEvent.VANISHED,) if state else ()
    moved, events = _take_mark(state, observation, now_s)
    if moved.phase is Phase.SETTLED or moved.phase is Phase.EMPTY:
        return moved, events
    # the same sum as in `_next_look`: rounding must not make a due look come a moment too early
    is_quiet = not moved.is_held_back and now_s - scan_seconds >= moved.ready_s(options)
    if observation.is_probed and is_quiet:
        settled = replace(moved, phase=Phase.SETTLED, due_s=None, vetoes=(), probed_s=None)
        return settled, (*events, SettleEvent.SETTLED)
    ceiling_s = moved.restless_since_s + options.incomplete_after_h * 3600
    is_aborted = any(veto.kind is VetoKind.ABORTED for veto in moved.vetoes)
    if moved.phase is Phase.SETTLING and (is_aborted or now_s >= ceiling_s):
        moved, events = replace(moved, phase=Phase.INCOMPLETE), (*events, SettleEvent.INCOMPLETE)
    return replace(moved, due_s=_next_look(moved, ceiling_s, options)), events


def interrupt(state: SettleState, now_s: float) -> SettleState:
    """Begin the quiet gap anew, because nobody could look.

    While a share is away its writers stand still too: the same mark before and after says nothing.
    """
    if state.phase is Phase.SETTLED or state.phase is Phase.EMPTY:
        return state
    return replace(state, quiet_since_s=now_s, due_s=None)


def _take_mark(
    state: SettleState | None, seen: Observation, now_s: float
) -> tuple[SettleState, tuple[SettleEvent, ...]]:
    """Return the state with the observed mark and vetoes, before any clock is asked."""
    probed_s = now_s if seen.is_probed else None
    phase = Phase.SETTLING if seen.files else Phase.EMPTY
    fresh = SettleState(phase, seen.stat_mark, now_s, now_s, None, seen.vetoes, probed_s)
    if state is None:
        return fresh, (SettleEvent.APPEARED,)
    if phase is Phase.EMPTY or state.phase is Phase.EMPTY:
        return fresh, (SettleEvent.CHANGED,) if seen.files else ()
    is_same = state.stat_mark == seen.stat_mark
    if state.phase is Phase.SETTLED:
        if is_same and not _is_firm(seen.vetoes):
            return replace(state, due_s=None), ()
        return fresh, () if is_same else (SettleEvent.CHANGED,)
    if not is_same:
        moved = replace(
            state,
            stat_mark=seen.stat_mark,
            quiet_since_s=now_s,
            vetoes=seen.vetoes,
            probed_s=probed_s,
        )
        return moved, (SettleEvent.CHANGED,)
    return _take_vetoes(state, seen, now_s), ()


def _take_vetoes(state: SettleState, seen: Observation, now_s: float) -> SettleState:
    """Return the state of an acquisition that looks as before, with what speaks against it now."""
    is_firm = _is_firm(seen.vetoes)
    if not seen.is_probed and state.probed_s is not None and not is_firm:
        return state  # a listing cannot lift what a probe found
    is_lifted_or_new = is_firm or state.is_held_back
    return replace(
        state,
        quiet_since_s=now_s if is_lifted_or_new else state.quiet_since_s,
        vetoes=seen.vetoes,
        probed_s=now_s if seen.is_probed else None,
    )


def _is_firm(vetoes: tuple[Veto, ...]) -> bool:
    return any(not veto.is_lapsing for veto in vetoes)


def _next_look(state: SettleState, ceiling_s: float, options: SettleOptions) -> float | None:
    looks = []
    if not state.is_held_back:
        looks.append(state.ready_s(options))
    elif state.probed_s is not None:
        gaps = _PROBE_GAPS if state.phase is Phase.INCOMPLETE else 1
        looks.append(state.probed_s + gaps * options.quiet_gap_s)
    if state.phase is Phase.SETTLING:
        looks.append(ceiling_s)
    return min(looks, default=None)
