"""Group loose files whose names differ in one number."""

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

ARCHIVE_SUFFIXES: Final = (".zip",)
"""Each archive is an acquisition by itself, whatever its number."""

_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class LooseGroup:
    """Files that differ in one number.

    Attributes
    ----------
    key : str
        The name they share, `#` in the place of the number.
    stem : str
        The name for people: without the number, the separators beside it, and the suffix.
    members : tuple of str
    """

    key: str
    stem: str
    members: tuple[str, ...]


def group_loose(names: list[str]) -> tuple[list[LooseGroup], list[str]]:
    """Divide file names into groups that differ in one number, and single files.

    A name with several numbers joins the number that most names share; of equals the rightmost.
    A group has at least two members. The result depends on the set of names alone.

    Parameters
    ----------
    names : list of str
        Names without folders; undecodable bytes as surrogates.

    Returns
    -------
    tuple of (list of LooseGroup, list of str)
        Groups sorted by key, single names sorted.

    Examples
    --------
    >>> groups, single = group_loose(["img_2.tif", "img_10.tif", "notes.txt"])
    >>> groups[0].key, groups[0].stem, groups[0].members, single
    ('img_#.tif', 'img', ('img_10.tif', 'img_2.tif'), ['notes.txt'])
    """
    candidates: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name in sorted(names):
        for prefix, suffix in _splits(name):
            candidates[prefix + "#" + suffix, len(prefix)].append(name)
    # two templates may look alike where a name holds a “#” itself: the place tells them apart
    order = sorted(candidates, key=lambda found: (-len(candidates[found]), -found[1], found[0]))
    taken: set[str] = set()
    groups: dict[str, LooseGroup] = {}
    for template, place in order:
        members = tuple(name for name in candidates[template, place] if name not in taken)
        if len(members) < 2 or template in groups:
            continue
        taken.update(members)
        groups[template] = LooseGroup(template, _stem(template, place), members)
    single = sorted(set(names) - taken)
    return [groups[key] for key in sorted(groups)], single


def _splits(name: str) -> list[tuple[str, str]]:
    """Return what stands before and after each number that may vary."""
    if name.lower().endswith(ARCHIVE_SUFFIXES):
        return []
    stem = name[: len(name) - len(_suffix(name))]
    return [(name[: found.start()], name[found.end() :]) for found in _NUMBER.finditer(stem)]


def _stem(template: str, place: int) -> str:
    before, after = template[:place], template[place + 1 :]
    after = after[: len(after) - len(_suffix(after))]
    left, right = before.rstrip("_-. "), after.strip("_-. ")
    return "_".join(part for part in (left, right) if part) or "stack"


def _suffix(name: str) -> str:
    """Return the suffix, both parts of `.ome.tif`."""
    lower = name.lower()
    for double in (".ome.tiff", ".ome.tif"):
        if lower.endswith(double):
            return name[-len(double) :]
    dot = name.rfind(".")
    return name[dot:] if dot >= 0 and not name[dot + 1 :].isdigit() else ""
