"""Recognise an acquisition's folder that was given another name. Pure."""

from collections import defaultdict
from collections.abc import Mapping

from stackwatch.model.facts import AcquisitionFact, AcquisitionKind, Sighting
from stackwatch.watch.scan import FolderScan
from stackwatch.watch.settle import SettleState


def find_moves(
    states: Mapping[str, SettleState],
    scan: FolderScan,
    facts: Mapping[str, AcquisitionFact],
    absent: frozenset[str],
) -> dict[str, AcquisitionFact]:
    """Return what the ledger knows of acquisitions that appeared under another name.

    A renamed folder keeps its inode, and every file in it keeps path, size, times and inode. Equal
    inode and equal stat mark say that it is the same folder; an inode alone is used again. Not
    known on network mounts, where inodes mean nothing, nor for loose files, whose names are what
    they are known by. Of two that could be meant neither is.

    Parameters
    ----------
    states : mapping of str to SettleState
        From before the scan.
    scan : FolderScan
    facts : mapping of str to AcquisitionFact
    absent : frozenset of str
        Keys that the scan looked for and did not find.

    Returns
    -------
    dict of str to AcquisitionFact
        By the new key.
    """
    gone: dict[tuple[int, str], list[AcquisitionFact]] = defaultdict(list)
    for key, fact in facts.items():
        state = states.get(key)
        mark = state.stat_mark if state is not None else fact.stat_mark
        if fact.root_inode and mark and (fact.is_gone or key in absent):
            gone[fact.root_inode, mark].append(fact)
    came: dict[tuple[int, str], list[Sighting]] = defaultdict(list)
    for sighting in scan.sightings if gone else ():
        if sighting.key not in facts and _is_recognisable(sighting):
            came[sighting.root_inode, sighting.stat_mark].append(sighting)
    return {
        sightings[0].key: gone[what][0]
        for what, sightings in came.items()
        if len(sightings) == 1 == len(gone.get(what, ()))
    }


def _is_recognisable(sighting: Sighting) -> bool:
    is_whole = sighting.files > 0 and not sighting.unreadable
    return sighting.kind is AcquisitionKind.FOLDER and sighting.root_inode != 0 and is_whole
