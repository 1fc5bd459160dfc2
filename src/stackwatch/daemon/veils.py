"""Acquisitions that the watching river must not look at: their files are being put away.

While an acquisition is archived or deleted its folder shrinks or vanishes. That is our own doing:
no change, no new generation, no alarm. So its fact and its sightings are left out of the scans
from before the first file is touched until a scan that began after the last.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from stackwatch.model.facts import AcquisitionFact, AcquisitionKind, Sighting
from stackwatch.watch.scan import FolderScan, FolderUnavailable


class Veils:
    """What is hidden, by drop folder and key. Used by the main thread alone."""

    def __init__(self) -> None:
        self._keys: dict[str, set[str]] = {}

    def hide(self, folder: str, key: str) -> None:
        """Leave an acquisition out from now on."""
        self._keys.setdefault(folder, set()).add(key)

    def lift(self, folder: str, key: str) -> None:
        """See it again, if it is there."""
        self._keys.get(folder, set()).discard(key)

    def facts(
        self, folder: str, facts: Mapping[str, AcquisitionFact]
    ) -> Mapping[str, AcquisitionFact]:
        """Return the ledger's facts without those that are hidden."""
        keys = self._keys.get(folder)
        return {key: fact for key, fact in facts.items() if key not in keys} if keys else facts

    def found(
        self, folder: str, found: FolderScan | FolderUnavailable
    ) -> FolderScan | FolderUnavailable:
        """Return a scan without what is hidden."""
        keys = self._keys.get(folder)
        if not keys or isinstance(found, FolderUnavailable):
            return found
        seen = (s for s in found.sightings if not any(belongs_to(s, key) for key in keys))
        return replace(found, sightings=tuple(seen))


def belongs_to(sighting: Sighting, key: str) -> bool:
    """Tell whether a sighting is of an acquisition, or of what is left of a group of loose files.

    The last file of a group, seen alone, has a key of its own.
    """
    if sighting.key == key:
        return True
    folder, _, template = key.rpartition("/")
    if not sighting.is_loose or "#" not in template:
        return False
    names = sighting.members
    if sighting.kind is AcquisitionKind.FILE:
        names = (sighting.key.rpartition("/")[2],)
    if sighting.key.rpartition("/")[0] != folder:
        return False
    return any(
        all(re.fullmatch(pattern, name, re.DOTALL) for name in names)
        for pattern in _patterns(template)
    )


def _patterns(template: str) -> list[str]:
    """Return what the names of a group look like; a `#` may also be one of the name itself."""
    places = [at for at, char in enumerate(template) if char == "#"]
    return [f"{re.escape(template[:at])}[0-9]+{re.escape(template[at + 1 :])}" for at in places]
