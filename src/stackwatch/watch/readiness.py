"""What a listing alone tells against an acquisition being complete: names, sizes, counts. Pure."""

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stackwatch.layout.ignore import finished_name
from stackwatch.layout.sidecar import find_sidecars
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import Directives, Veto, VetoKind
from stackwatch.watch.loose import group_loose
from stackwatch.watch.marks import FileFacts


@dataclass(frozen=True, slots=True)
class ReadinessOptions:
    """What an acquisition has to show, beside a quiet gap, to count as complete.

    Attributes
    ----------
    marker : str
        Pattern of the marker's name; empty: none is waited for.
    expected_files : int or None
    veto_open_files : bool
        Whether files that are open for writing hold it back.
    """

    marker: str = ""
    expected_files: int | None = None
    veto_open_files: bool = True


@dataclass(frozen=True, slots=True)
class Markers:
    """The markers of one acquisition.

    Attributes
    ----------
    names : tuple of str
        Those that are there, in the folder that is probed.
    awaited : str
        What a person would call the one that is waited for: `*.done`, `run.done`.
    """

    names: tuple[str, ...] = ()
    awaited: str = ""


def markers_of_folder(paths: Iterable[str], options: ReadinessOptions) -> Markers:
    """Return the markers of an acquisition that is a folder.

    One counts in its top folder only: one deeper down tells of a part.

    Parameters
    ----------
    paths : iterable of str
        As `part_markers` found them in the acquisition.
    options : ReadinessOptions
    """
    return Markers(tuple(sorted(path for path in paths if "/" not in path)), options.marker)


def markers_of_loose(
    members: Iterable[str], stem: str, found: Iterable[str], options: ReadinessOptions
) -> Markers:
    """Return the markers of a loose file, or of a group of them.

    Parameters
    ----------
    members : iterable of str
        Names of the files; the marker of a single one may bear its whole name.
    stem : str
        Their name without number and suffix, without the folder.
    found : iterable of str
        Names of all markers in the folder that holds them.
    options : ReadinessOptions

    Examples
    --------
    >>> found = ["run.done", "run.tif.done", "other.done"]
    >>> markers_of_loose(["run.tif"], "run", found, ReadinessOptions("*.done")).names
    ('run.done', 'run.tif.done')
    """
    if not options.marker:
        return Markers()
    members = list(members)
    wanted = [
        _marker_of(name, options.marker) for name in (stem, *(members if len(members) == 1 else ()))
    ]
    names = sorted(name for name in found if any(fnmatch.fnmatchcase(name, w) for w in wanted))
    return Markers(tuple(names), re.sub(r"\[([*?\[])\]", r"\1", wanted[0]))


def part_markers(files: list[FileFacts], pattern: str) -> tuple[list[FileFacts], list[str]]:
    """Part the markers from the files of a listing: they are no content, wherever they lie.

    Parameters
    ----------
    files : list of FileFacts
    pattern : str
        The setting `marker`; empty leaves everything as it is.

    Returns
    -------
    tuple of (list of FileFacts, list of str)
        The content, and the relative paths of the markers.
    """
    if not pattern:
        return files, []
    is_marker = re.compile(os.fsencode(fnmatch.translate(pattern))).match
    content, markers = [], []
    for facts in files:
        if is_marker(facts[0].rpartition(b"/")[2]):
            markers.append(os.fsdecode(facts[0]))
        else:
            content.append(facts)
    return content, markers


def share_unfinished(
    unfinished: Iterable[str], names: Iterable[str], *, is_grouped: bool
) -> Mapping[str, list[str]]:
    """Say which loose files an unfinished transfer beside them concerns.

    Parameters
    ----------
    unfinished : iterable of str
        Names beside the files; folders are left out, they may concern anything.
    names : iterable of str
        The loose files.
    is_grouped : bool
        Whether files that differ in one number are one acquisition.

    Returns
    -------
    mapping of str to list of str
        From a loose file to the unfinished names that will join its acquisition, or replace it.

    Examples
    --------
    >>> shared = share_unfinished(["i_3.tif.part"], ["i_1.tif", "i_2.tif", "b"], is_grouped=True)
    >>> sorted(shared)
    ['i_1.tif', 'i_2.tif']
    """
    names = set(names)
    whole = {name: finished_name(name) for name in unfinished if not name.endswith("/")}
    whole = {name: later for name, later in whole.items() if later}
    if not whole:
        return {}
    groups = group_loose([*names | set(whole.values())])[0] if is_grouped else []
    together = {member: group.members for group in groups for member in group.members}
    shared: dict[str, list[str]] = {}
    for name, later in sorted(whole.items()):
        for member in names.intersection(together.get(later, (later,))):
            shared.setdefault(member, []).append(name)
    return shared


def listed_vetoes(
    facts: list[FileFacts],
    options: ReadinessOptions,
    temporary: tuple[str, ...] = (),
    markers: Markers | None = None,
    directives: Directives | None = None,
) -> tuple[Veto, ...]:
    """Return what names, sizes and counts say against an acquisition being complete.

    Parameters
    ----------
    facts : list of FileFacts
        Its files, markers parted from them.
    options : ReadinessOptions
    temporary : tuple of str
        Paths that are named as transfers are that have not finished.
    markers : Markers or None
        None: there is none.
    directives : Directives or None
        What its sidecar says, which wins over the settings; None: it was not read.
    """
    vetoes = []
    if temporary:
        reason = f"{name_some(temporary)}: named as a transfer that has not finished"
        vetoes.append(Veto(VetoKind.TEMPORARY, reason))
    if options.marker and not (markers and markers.names):
        awaited = (markers and markers.awaited) or options.marker
        vetoes.append(Veto(VetoKind.MARKER, f"the marker `{show_path(awaited)}` is not there"))
    expected = directives.expected_files if directives is not None else None
    expected = options.expected_files if expected is None else expected
    if expected is not None:
        content = content_of(facts)
        may_say_otherwise = directives is None and len(content) < len(facts)
        if len(content) != expected and not may_say_otherwise:
            vetoes.append(Veto(VetoKind.COUNT, _miscount(len(content), expected)))
    empty = content_of([fact for fact in facts if not fact[1]])
    if empty:
        shown = [os.fsdecode(fact[0]) for fact in empty]
        is_are = "is empty" if len(empty) == 1 else "are empty"
        vetoes.append(Veto(VetoKind.EMPTY_FILE, f"{name_some(shown)} {is_are}"))
    return tuple(vetoes)


def content_of(facts: list[FileFacts]) -> list[FileFacts]:
    """Return the files without the sidecar: what counts and markers speak of."""
    sidecars = set(find_sidecars(os.fsdecode(fact[0]) for fact in facts if b"/" not in fact[0]))
    if not sidecars:
        return facts
    return [fact for fact in facts if os.fsdecode(fact[0]) not in sidecars]


def _miscount(files: int, expected: int) -> str:
    if files < expected:
        return f"{files} of {expected} expected files are there"
    return f"{files} files are there, only {expected} are expected"


def name_some(paths: Iterable[str]) -> str:
    """Return the first path, and how many more there are."""
    ordered = sorted(paths)
    more = f" and {len(ordered) - 1} more" if len(ordered) > 1 else ""
    return f"“{show_path(ordered[0])}”{more}"


def _marker_of(name: str, pattern: str) -> str:
    """Return the pattern of the marker beside a loose file: `*` stands for the file's name.

    A pattern without `*` follows the name after a dot.
    """
    escaped = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
    return pattern.replace("*", escaped, 1) if "*" in pattern else f"{escaped}.{pattern}"
