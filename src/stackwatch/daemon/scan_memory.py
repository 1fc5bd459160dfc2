"""What a scan process and the daemon both remember of a folder, so that only changes are sent.

A drop folder of years holds thousands of acquisitions that lie still. To send and read them again
with every scan would cost more than the scan itself. Only the standard library is imported.
"""

import os
from dataclasses import replace
from typing import Any

from stackwatch.daemon.wire import dump_record, load_record
from stackwatch.model.facts import Sighting
from stackwatch.watch.scan import FolderScan

_Sightings = dict[str, Sighting]


class ScanTeller:
    """The scan process's end: tells what is different from the answer before."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, _Sightings]] = {}
        self._count = 0

    def tell(self, folder: str, base: str, found: FolderScan) -> dict[str, Any]:
        """Return the message that says what a scan found.

        Parameters
        ----------
        folder : str
        base : str
            Name of the answer that the daemon remembers; empty: none.
        found : FolderScan
        """
        if found.keys is not None:
            return {"kind": "scan", "folder": folder, "found": dump_record(found)}
        name, before = self._last.get(folder, ("", {}))
        if name != base:
            base, before = "", {}
        now = {sighting.key: sighting for sighting in found.sightings}
        changed = tuple(
            sighting for sighting in found.sightings if before.get(sighting.key) != sighting
        )
        self._count += 1
        name = f"{os.getpid()}-{self._count}"
        self._last[folder] = name, now
        return {
            "kind": "scan",
            "folder": folder,
            "found": dump_record(replace(found, sightings=changed)),
            "name": name,
            "base": base,
            "gone": [key for key in before if key not in now],
        }


class ScanListener:
    """The daemon's end: puts together what was told."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, _Sightings]] = {}

    def base_of(self, folder: str) -> str:
        """Return the name of the last answer about a folder; empty: none."""
        return self._last.get(folder, ("", {}))[0]

    def forget(self, folder: str) -> None:
        """Forget a folder."""
        self._last.pop(folder, None)

    def take(self, folder: str, message: dict[str, Any]) -> FolderScan:
        """Return the whole scan of which a message tells the changes.

        Raises
        ------
        TypeError, ValueError, KeyError
            It does not fit: the other side runs another version.
        """
        found = load_record(FolderScan, message["found"])
        if found.keys is not None:
            return found
        name, before = self._last.get(folder, ("", {}))
        if message["base"] != name:
            before = {}
        changed = {sighting.key: sighting for sighting in found.sightings}
        gone = frozenset(message["gone"])
        if changed.keys() - before.keys() or gone:
            now = {**{key: seen for key, seen in before.items() if key not in gone}, **changed}
            now = {key: now[key] for key in sorted(now, key=os.fsencode)}
        else:
            now = before | changed
        self._last[folder] = message["name"], now
        return replace(found, sightings=tuple(now.values()))
