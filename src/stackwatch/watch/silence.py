"""Notice that events are missing: a scan finds changes that no event has told of.

Pure. Where no file may be written into a drop folder this is the only proof that its events still
arrive. An event may come a moment after the scan that sees its change, and a change may come a
moment after the scan has passed by: each change has until the next scan of everything.
"""

from collections.abc import Mapping

from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.watch.scan import FolderScan
from stackwatch.watch.settle import SettleState


class Announcements:
    """What events told of one folder, compared with what its scans found."""

    def __init__(self) -> None:
        self._before: set[str] | None = None
        self._now: set[str] | None = None
        self._suspects: set[str] = set()

    def note(self, names: frozenset[str] | None) -> None:
        """Note what events told of; None: of anything."""
        if names is None:
            self._now = None
        elif self._now is not None:
            self._now |= names

    def judge(self, states: Mapping[str, SettleState], scan: FolderScan) -> int:
        """Return how many acquisitions have changed without an event.

        Parameters
        ----------
        states : mapping of str to SettleState
            From before the scan.
        scan : FolderScan
            Of everything.
        """
        now = self._now
        silent = 0 if now is None else len(self._suspects - now)
        self._suspects = set()
        if now is not None and self._before is not None:
            changed = {seen.key for seen in scan.sightings if _is_news(seen, states)}
            self._suspects = changed - now - self._before
        self._before, self._now = now, set()
        return silent


def _is_news(sighting: Sighting, states: Mapping[str, SettleState]) -> bool:
    """Tell whether it must have caused an event that carries its name."""
    if sighting.kind is AcquisitionKind.GROUP or sighting.unreadable:
        return False
    state = states.get(sighting.key)
    return state is None or state.stat_mark != sighting.stat_mark
