"""Plan when a drop folder is looked at next: pure, the clock and the chance passed in."""

from dataclasses import dataclass
from typing import Final

from stackwatch.watch.reconcile import FolderView

_COST_FACTOR: Final = 10
"""A scan may take a tenth of the time at most, however large the folder grows."""

_TOGETHER_S: Final = 1.0
"""Acquisitions that fall due within this time wait for the last of them and share one scan."""


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
    """

    scan_interval_s: float = 60.0
    hint_delay_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """The next look at a folder.

    Attributes
    ----------
    at_s : float
        Monotonic seconds; may lie in the past, which means now.
    keys : frozenset of str or None
        What to look at; None for everything. Hand it to `scan_folder`.
    """

    at_s: float
    keys: frozenset[str] | None = None


def plan_look(view: FolderView, options: AgendaOptions, *, is_hinted: bool, chance: float) -> Look:
    """Return when to look next, and at what.

    Parameters
    ----------
    view : FolderView
    options : AgendaOptions
    is_hinted : bool
        An event came since the last scan began.
    chance : float
        From 0 to 1; keep it until the next scan of everything, so that the plan stays.

    Returns
    -------
    Look
        The earliest of: everything after the scan interval, everything soon because of a hint,
        and those settling acquisitions whose quiet gap ends.
    """
    if view.scanned_s is None:
        return Look(0.0)
    least_s = view.scan_seconds * _COST_FACTOR
    interval_s = max(options.scan_interval_s * (0.75 + 0.5 * chance), least_s)
    if view.unavailable or view.full_scan_s is None:
        return Look(view.scanned_s + interval_s)
    if is_hinted:
        interval_s = min(interval_s, max(options.hint_delay_s, least_s))
    full = Look(view.full_scan_s + interval_s)
    dues = [state.due_s for state in view.states.values() if state.due_s is not None]
    first_s = min(dues, default=full.at_s)
    if first_s >= full.at_s:
        return full
    at_s = max(due_s for due_s in dues if due_s <= first_s + _TOGETHER_S)
    return Look(at_s, view.due_keys(at_s))
