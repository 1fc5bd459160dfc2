"""Decide when an acquisition has settled: a pure state machine, the clock passed in.

An acquisition has settled when two scans at least the quiet gap apart saw the same stat mark and
nothing spoke against it. All times are seconds of one monotonic clock; the times of files are
compared with each other through the mark and never with now, so that neither an old date, nor one
in the future, nor a stepped clock can settle anything.

::

        ┌──────────── another mark ────────────┐
        ▼                                      │
    settling ── same mark for the gap ──▶ settled
        │  ▲
        │  └─ goes on settling ─┐
        └── the ceiling ──▶ incomplete ── same mark for the gap ──▶ settled
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from stackwatch.model.facts import Sighting


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
    vetoes : tuple of str
        Reasons why it cannot be complete whatever the clock says; for a person.
    """

    stat_mark: str
    files: int
    vetoes: tuple[str, ...] = ()

    @classmethod
    def from_sighting(cls, sighting: Sighting) -> "Observation":
        """Return what a sighting says."""
        vetoes: tuple[str, ...] = ()
        if sighting.unreadable:
            vetoes = (f"{sighting.unreadable} of its folders cannot be listed",)
        return cls(sighting.stat_mark, sighting.files, vetoes)


@dataclass(frozen=True, slots=True)
class SettleState:
    """What is remembered of one acquisition between two scans.

    Attributes
    ----------
    phase : Phase
    stat_mark : str
        As last seen.
    quiet_since_s : float
        When the scan that first saw this mark without a veto had ended.
    restless_since_s : float
        When its present unrest began: the first file, or the change that ended the last rest.
    due_s : float or None
        When the next look at it is worth while; None leaves it to the ordinary scans.
    vetoes : tuple of str
        Of the last observation.
    """

    phase: Phase
    stat_mark: str
    quiet_since_s: float
    restless_since_s: float
    due_s: float | None = None
    vetoes: tuple[str, ...] = ()


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
    SETTLED is told only if the same mark was seen, without a veto and with at least one file, by
    two scans at least the gap apart, and by all scans between them.
    """
    if observation is None:
        return None, (SettleEvent.VANISHED,) if state else ()
    moved, events = _take_mark(state, observation, now_s)
    if moved.phase is Phase.SETTLED or moved.phase is Phase.EMPTY:
        return moved, events
    # the same sum as in `_next_look`: rounding must not make a due look come a moment too early
    if not moved.vetoes and now_s - scan_seconds >= moved.quiet_since_s + options.quiet_gap_s:
        return replace(moved, phase=Phase.SETTLED, due_s=None), (*events, SettleEvent.SETTLED)
    ceiling_s = moved.restless_since_s + options.incomplete_after_h * 3600
    if moved.phase is Phase.SETTLING and now_s >= ceiling_s:
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
    state: SettleState | None, observation: Observation, now_s: float
) -> tuple[SettleState, tuple[SettleEvent, ...]]:
    """Return the state with the observed mark, before any clock is asked."""
    mark, vetoes = observation.stat_mark, observation.vetoes
    if not observation.files:
        events = (SettleEvent.APPEARED,) if state is None else ()
        return SettleState(Phase.EMPTY, mark, now_s, now_s, None, vetoes), events
    if state is None or state.phase is Phase.EMPTY:
        event = SettleEvent.APPEARED if state is None else SettleEvent.CHANGED
        return SettleState(Phase.SETTLING, mark, now_s, now_s, None, vetoes), (event,)
    is_same = state.stat_mark == mark
    if is_same and vetoes == state.vetoes == ():
        return state, ()
    events = () if is_same else (SettleEvent.CHANGED,)
    if state.phase is Phase.SETTLED:
        return SettleState(Phase.SETTLING, mark, now_s, now_s, None, vetoes), events
    return replace(state, stat_mark=mark, quiet_since_s=now_s, vetoes=vetoes), events


def _next_look(state: SettleState, ceiling_s: float, options: SettleOptions) -> float | None:
    looks = [] if state.vetoes else [state.quiet_since_s + options.quiet_gap_s]
    if state.phase is Phase.SETTLING:
        looks.append(ceiling_s)
    return min(looks, default=None)
