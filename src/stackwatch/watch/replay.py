"""Drive the watcher's pure core from a log, and compare what it decides now with what it did then.

For bug reports: a log from a service where something was converted too early, twice, or not at
all shows on any machine what the watcher saw, and what this version would make of it. Some
sequences are impossible whatever the version; they are named too.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from stackwatch.logs import Event
from stackwatch.watch.mounts import MountChange, MountIdentity
from stackwatch.watch.observed import ABSENT, LookLine, name_action
from stackwatch.watch.reconcile import FolderView, reconcile
from stackwatch.watch.scan import FolderScan, FolderUnavailable
from stackwatch.watch.settle import Phase

_EPSILON_S: Final = 0.001
_NO_MOUNT: Final = MountIdentity(0, 0, "")


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log that can be read.

    Attributes
    ----------
    number : int
        From 1.
    event : str
    values : mapping
        All its keys.
    look : LookLine or None
        If it tells of one.
    """

    number: int
    event: str
    values: Mapping[str, Any]
    look: LookLine | None = None


@dataclass(frozen=True, slots=True)
class Flaw:
    """A line that cannot be read, or a sequence that must not happen."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """A look, and what was decided then and now.

    Attributes
    ----------
    number : int
        Of the line.
    run : int
        Which life of the daemon, from 1.
    elapsed_s : float
        Since the first look of that life.
    phase_now : str
    actions_now : tuple of str
    """

    number: int
    run: int
    elapsed_s: float
    look: LookLine
    phase_now: str
    actions_now: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether this version decides as the daemon did then."""
        return (self.phase_now, self.actions_now) == (self.look.phase, self.look.actions)


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of a replay.

    Attributes
    ----------
    steps : tuple of Step
        In the order of the looks.
    unreadable : tuple of Flaw
        Lines that are damaged; lines that are simply no log lines are only counted in `skipped`.
    impossible : tuple of Flaw
        What must not happen, whatever the version.
    lines, skipped : int
    """

    steps: tuple[Step, ...]
    unreadable: tuple[Flaw, ...]
    impossible: tuple[Flaw, ...]
    lines: int
    skipped: int

    @property
    def is_clean(self) -> bool:
        """Whether everything was decided then as now, and nothing impossible happened."""
        return not self.impossible and all(step.is_same for step in self.steps)


def parse_log_line(number: int, text: str) -> LogLine | Flaw | None:
    """Read one line of a log.

    Lines of `journalctl -o json` and lines with something before the `{` are read too.

    Returns
    -------
    LogLine, Flaw or None
        A flaw is a line that was one of ours and is damaged; None is any other.
    """
    start = text.find("{")
    if start < 0:
        return None
    try:
        values: Any = json.loads(text[start:])
        message = values.get("MESSAGE") if isinstance(values, dict) else None
        if isinstance(message, str) and message.startswith("{"):
            values = json.loads(message)
    except ValueError as error:
        return Flaw(number, f"is damaged: {error}")
    if not isinstance(values, dict) or not isinstance(values.get("event"), str):
        return None
    return _with_look(number, values)


def _with_look(number: int, values: dict[str, Any]) -> LogLine | Flaw:
    event = str(values["event"])
    if event != Event.ACQUISITION_OBSERVED:
        return LogLine(number, event, values)
    try:
        look = LookLine.from_record(
            str(values["folder"]), str(values["acquisition"]), dict(values["look"])
        )
    except (KeyError, TypeError, ValueError) as error:
        return Flaw(number, f"is the record of a look that cannot be read: {error!r}")
    return LogLine(number, event, values, look)


def replay(texts: Iterable[str]) -> Replay:
    """Repeat every decision of a log.

    Parameters
    ----------
    texts : iterable of str
        Its lines. Those of other programs, and of people, are passed over.
    """
    lines: list[LogLine] = []
    unreadable: list[Flaw] = []
    count = 0
    for count, text in enumerate(texts, start=1):
        found = parse_log_line(count, text)
        if isinstance(found, Flaw):
            unreadable.append(found)
        elif found is not None:
            lines.append(found)
    steps: list[Step] = []
    impossible: list[Flaw] = []
    lives = [life for life in _iter_lives(lines) if any(line.look for line in life)]
    for run, life in enumerate(lives, start=1):
        ordered = _in_order(life)
        steps += _repeat(ordered, run)
        impossible += _find_early(ordered)
    impossible += _find_twice(lines)
    skipped = count - len(lines) - len(unreadable)
    impossible.sort(key=lambda flaw: flaw.number)
    return Replay(tuple(steps), tuple(unreadable), tuple(impossible), count, skipped)


def _iter_lives(lines: list[LogLine]) -> Iterator[list[LogLine]]:
    """Divide a log where the daemon started anew: its clock and its memory begin there."""
    life: list[LogLine] = []
    for line in lines:
        if line.event == Event.DAEMON_STARTED and life:
            yield life
            life = []
        life.append(line)
    if life:
        yield life


def _in_order(lines: list[LogLine]) -> list[LogLine]:
    """Sort what has a time by it: a look may have been written after later ones of others."""
    timed = [line for line in lines if _time_of(line) is not None]
    return sorted(timed, key=lambda line: _time_of(line) or 0.0)


def _time_of(line: LogLine) -> float | None:
    if line.look is not None:
        return line.look.at_s
    at_s = line.values.get("at_s")
    return float(at_s) if isinstance(at_s, int | float) else None


# ---------------------------------------------------------------- then and now


def _repeat(lines: list[LogLine], run: int) -> Iterator[Step]:
    """Yield each look with what is decided now."""
    views: dict[str, FolderView] = {}
    began_s = next((line.look.at_s for line in lines if line.look is not None), 0.0)
    for (folder, at_s), scan in groupby(lines, key=_scan_of):
        view = views.get(folder, FolderView())
        looks: list[tuple[int, LookLine]] = []
        for line in scan:
            if line.look is not None:
                looks.append((line.number, line.look))
            elif line.event == Event.FOLDER_UNAVAILABLE:
                away = FolderUnavailable(str(line.values.get("reason", "")))
                view, _ = reconcile(view, away, {}, at_s, _OPTIONS)
        if looks:
            view, steps = _decide(view, looks, run, began_s)
            yield from steps
        views[folder] = view


_OPTIONS: Final = LookLine("", "", 0.0, 0.0).options


def _scan_of(line: LogLine) -> tuple[str, float]:
    return str(line.values.get("folder", "")), _time_of(line) or 0.0


def _decide(
    view: FolderView, looks: list[tuple[int, LookLine]], run: int, began_s: float
) -> tuple[FolderView, list[Step]]:
    """Take the looks of one scan into account."""
    seen = [look for _, look in looks]
    facts = {look.acquisition: look.fact for look in seen if look.fact is not None}
    before = {key: state for key, state in view.states.items() if key in facts or _in(key, seen)}
    scan = FolderScan(
        sightings=tuple(look.sighting() for look in seen if not look.is_absent),
        keys=frozenset({*(look.acquisition for look in seen), *before}),
        hidden=(),
        refusals=(),
        files=sum(look.files for look in seen),
        directories=0,
        refused=0,
        mount=_NO_MOUNT,
        mount_change=MountChange.SAME,
        seconds=seen[0].scan_s,
    )
    view, actions = reconcile(view, scan, facts, seen[0].at_s, seen[0].options)
    decided: dict[str, list[str]] = {}
    for action in actions:
        sighting = getattr(action, "sighting", None)
        key = sighting.key if sighting is not None else getattr(action, "key", "")
        decided.setdefault(str(key), []).append(name_action(action))
    steps = [
        Step(
            number=number,
            run=run,
            elapsed_s=look.at_s - began_s,
            look=look,
            phase_now=_phase(view, look.acquisition),
            actions_now=tuple(decided.get(look.acquisition, ())),
        )
        for number, look in looks
    ]
    return view, steps


def _in(key: str, looks: list[LookLine]) -> bool:
    return any(look.acquisition == key for look in looks)


def _phase(view: FolderView, key: str) -> str:
    state = view.states.get(key)
    return str(state.phase) if state is not None else ABSENT


# ---------------------------------------------------------------- what must not happen


@dataclass(slots=True)
class _Rest:
    """Since when an acquisition has had its mark, as far as the log tells."""

    mark: str
    since_s: float
    phase: str


def _find_early(lines: list[LogLine]) -> Iterator[Flaw]:
    """Yield what settled too early, and decisions about a folder that could not be seen."""
    rests: dict[tuple[str, str], _Rest] = {}
    away: set[str] = set()
    for line in lines:
        folder = str(line.values.get("folder", ""))
        if line.event == Event.FOLDER_UNAVAILABLE:
            away.add(folder)
        elif line.event == Event.FOLDER_RECOVERED:
            away.discard(folder)
        if line.look is None:
            continue
        if folder in away and line.look.actions:
            yield Flaw(line.number, f"decides about “{folder}”, which could not be seen")
        yield from _judge_rest(line.number, line.look, rests)


def _judge_rest(number: int, look: LookLine, rests: dict[tuple[str, str], _Rest]) -> Iterator[Flaw]:
    name = (look.folder, look.acquisition)
    rest = rests.get(name)
    is_first = rest is None
    if rest is None or rest.mark != look.stat_mark:
        rest = _Rest(look.stat_mark, look.at_s, "")
    has_settled = look.phase == Phase.SETTLED and rest.phase != Phase.SETTLED
    is_accepted = look.fact is not None and look.fact.accepted_mark == look.stat_mark
    rests[name] = _Rest(rest.mark, rest.since_s, look.phase)
    if not has_settled or is_accepted or is_first:
        return
    still_s = look.at_s - look.scan_s - rest.since_s
    gap_s = look.options.settle.quiet_gap_s
    if still_s < gap_s - _EPSILON_S:
        yield Flaw(
            number,
            f"“{look.acquisition}” settled after {max(still_s, 0):.3f} s with the same mark; "
            f"the quiet gap is {gap_s:g} s",
        )
    if any(not veto.is_lapsing for veto in look.vetoes):
        yield Flaw(number, f"“{look.acquisition}” settled although {look.vetoes[0].reason}")


@dataclass(slots=True)
class _Told:
    """What a log has told of jobs so far."""

    generations: dict[tuple[str, str, int], int] = field(default_factory=dict)
    newest: dict[tuple[str, str], int] = field(default_factory=dict)
    succeeded: set[int] = field(default_factory=set)


def _find_twice(lines: list[LogLine]) -> Iterator[Flaw]:
    """Yield generations that were queued twice or out of turn, and jobs that ended twice."""
    told = _Told()
    for line in lines:
        job_id = line.values.get("job_id")
        if not isinstance(job_id, int):
            continue
        generation = line.values.get("generation")
        if line.event == Event.JOB_QUEUED and isinstance(generation, int):
            yield from _judge_queued(line, job_id, generation, told)
        elif line.event == Event.JOB_SUCCEEDED:
            if job_id in told.succeeded:
                yield Flaw(line.number, f"job {job_id} succeeded twice")
            told.succeeded.add(job_id)
        elif line.event == Event.JOB_CLAIMED and job_id in told.succeeded:
            yield Flaw(line.number, f"job {job_id} was claimed after it had succeeded")


def _judge_queued(line: LogLine, job_id: int, generation: int, told: _Told) -> Iterator[Flaw]:
    name = (str(line.values.get("folder", "")), str(line.values.get("acquisition", "")))
    first = told.generations.setdefault((*name, generation), job_id)
    if first != job_id:
        yield Flaw(
            line.number,
            f"generation {generation} of “{name[1]}” was queued twice, as jobs {first} "
            f"and {job_id}",
        )
    newest = told.newest.get(name)
    if newest is not None and generation not in (newest, newest + 1):
        yield Flaw(
            line.number, f"generation {generation} of “{name[1]}” follows generation {newest}"
        )
    told.newest[name] = max(generation, newest or 0)
