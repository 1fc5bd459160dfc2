"""Plan when a drop folder is looked at next: pure, the clock and the chance passed in."""

from dataclasses import dataclass, replace
from typing import Final, Self

from stackwatch.watch.reconcile import FolderView

COST_FACTOR: Final = 10
"""A scan may take a tenth of the time at most, however large the folder grows."""

_TOGETHER_S: Final = 0.25
"""Acquisitions that fall due within this time wait for the last of them and share one scan."""

MAX_NAMES: Final = 64
"""More names than this are "everything"."""


@dataclass(frozen=True, slots=True)
class AgendaOptions:
    """How often a folder is looked at.

    Attributes
    ----------
    scan_interval_s : float
        Between scans of everything; chance moves each by up to a quarter, so that many folders do
        not fall into step.
    hint_delay_s : float
        Shortest time between a scan and one that a hint brings forward: a thousand events of one
        copy are one scan.
    all_scans_s : float
        Processor time of one scan of everything of all folders together.
    cpu_share : float
        The part of one processor that scans of everything may take: the interval grows with the
        number of files.
    names_delay_s, names_ceiling_s : float
        Acquisitions named by events are looked at when their events pause so long, and after the
        ceiling if they never do.
    """

    scan_interval_s: float = 60.0
    hint_delay_s: float = 1.0
    all_scans_s: float = 0.0
    cpu_share: float = 0.01
    names_delay_s: float = 0.5
    names_ceiling_s: float = 5.0


@dataclass(frozen=True, slots=True)
class NameHint:
    """Acquisitions that events have named since they were last looked at.

    Attributes
    ----------
    names : frozenset of str
    first_s, last_s : float
        Monotonic seconds of the first and the last event.
    not_before_s : float
        When they may be looked at again: costly looks are rare looks.
    """

    names: frozenset[str]
    first_s: float
    last_s: float
    not_before_s: float = 0.0

    def joined(self, names: frozenset[str], now_s: float) -> Self:
        """Return the hint with more names."""
        return replace(self, names=self.names | names, last_s=now_s)


@dataclass(frozen=True, slots=True)
class Look:
    """The next look at a folder.

    Attributes
    ----------
    at_s : float
        Monotonic seconds; may lie in the past, which means now.
    keys : frozenset of str or None
        What to look at; None for everything. Hand it to `scan_folder`.
    is_probing : bool
        Whether to look more closely than a listing does: only where something may settle.
    """

    at_s: float
    keys: frozenset[str] | None = None
    is_probing: bool = True


def plan_look(
    view: FolderView,
    options: AgendaOptions,
    *,
    is_hinted: bool,
    chance: float,
    hint: NameHint | None = None,
) -> Look:
    """Return when to look next, and at what.

    Parameters
    ----------
    view : FolderView
    options : AgendaOptions
    is_hinted : bool
        Since the last scan began something came that may mean anything.
    chance : float
        From 0 to 1; keep it until the next scan of everything, so that the plan stays.
    hint : NameHint or None
        What events named since then.

    Returns
    -------
    Look
        The earliest of: everything after the scan interval, everything soon because of a hint,
        the acquisitions that events named, and those settling whose quiet gap ends.
    """
    if view.scanned_s is None:
        return Look(0.0)
    least_s = view.scan_seconds * COST_FACTOR
    wanted_s = max(options.scan_interval_s, options.all_scans_s / options.cpu_share)
    interval_s = max(wanted_s * (0.75 + 0.5 * chance), least_s)
    if view.unavailable or view.full_scan_s is None:
        return Look(view.scanned_s + interval_s)
    if is_hinted:
        interval_s = min(interval_s, max(options.hint_delay_s, least_s))
    full = Look(view.full_scan_s + interval_s)
    looks = [full, *_look_at_due(view), *_look_at_named(options, hint)]
    return min(looks, key=lambda look: (look.at_s, look.keys is not None))


def _look_at_due(view: FolderView) -> list[Look]:
    """Return the look at those whose gap ends first."""
    dues = [state.due_s for state in view.states.values() if state.due_s is not None]
    if not dues:
        return []
    first_s = min(dues)
    at_s = max(due_s for due_s in dues if due_s <= first_s + _TOGETHER_S)
    return [Look(at_s, view.due_keys(at_s))]


def _look_at_named(options: AgendaOptions, hint: NameHint | None) -> list[Look]:
    """Return the look at what events named: when they pause, and rarely while they do not."""
    if hint is None:
        return []
    pause_s = min(hint.last_s + options.names_delay_s, hint.first_s + options.names_ceiling_s)
    return [Look(max(pause_s, hint.not_before_s), hint.names, is_probing=False)]
