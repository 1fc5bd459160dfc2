"""What a look at an acquisition said, as one line of the log that can be read back.

A decision of the watcher can be repeated from these lines alone (`watch.replay`): each carries the
observation, the options in force, what the ledger knew, and what was decided then. They are chosen
so that a log stays readable: nothing is said of a look that found everything as before, of what
has come to rest, nor of a change that the very next look found overtaken by another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import (
    AcquisitionFact,
    AcquisitionKind,
    Directives,
    Sighting,
    Veto,
    VetoKind,
)
from stackwatch.model.job import AcquisitionId, AcquisitionState
from stackwatch.watch.reconcile import Action, FolderView, ReconcileOptions
from stackwatch.watch.scan import FolderScan
from stackwatch.watch.settle import Phase, SettleOptions

MARK_CHARACTERS: Final = 12
"""So much of a digest is enough to tell two looks apart, and to read it aloud."""

MAX_VETOES: Final = 5
ABSENT: Final = "absent"


@dataclass(frozen=True, slots=True)
class LookLine:
    """One acquisition at one look.

    Attributes
    ----------
    folder, acquisition : str
        The acquisition's key as the log shows it.
    at_s : float
        Monotonic seconds at which the scan ended.
    scan_s : float
        How long it took.
    kind : AcquisitionKind
    files, total_bytes : int
    stat_mark, size_mark : str
        The beginnings of the digests; empty where it was not there.
    vetoes : tuple of Veto
    is_probed : bool
    unreadable : int
        Folders inside that could not be listed.
    is_skipped : bool
        Whether its sidecar says that it is not to be converted.
    root_inode : int
    phase : str
        After the look, or `absent`.
    actions : tuple of str
        What was decided: `queue_generation:2`, `record_settling` …
    fact : AcquisitionFact or None
        What the ledger knew before, with shortened digests.
    options : ReconcileOptions
        In force at this look.
    """

    folder: str
    acquisition: str
    at_s: float
    scan_s: float
    kind: AcquisitionKind = AcquisitionKind.FOLDER
    files: int = 0
    total_bytes: int = 0
    stat_mark: str = ""
    size_mark: str = ""
    vetoes: tuple[Veto, ...] = ()
    is_probed: bool = True
    unreadable: int = 0
    is_skipped: bool = False
    root_inode: int = 0
    phase: str = ABSENT
    actions: tuple[str, ...] = ()
    fact: AcquisitionFact | None = None
    options: ReconcileOptions = field(default_factory=ReconcileOptions)

    @property
    def is_absent(self) -> bool:
        """Whether the look did not find it."""
        return self.phase == ABSENT

    def sighting(self) -> Sighting:
        """Return what the scan saw, as far as a decision depends on it."""
        return Sighting(
            key=self.acquisition,
            name=self.acquisition,
            kind=self.kind,
            source=self.acquisition,
            members=(),
            files=self.files,
            total_bytes=self.total_bytes,
            newest_mtime_ns=0,
            stat_mark=self.stat_mark,
            size_mark=self.size_mark,
            vetoes=self.vetoes,
            is_probed=self.is_probed,
            unreadable=self.unreadable,
            directives=Directives(skip=self.is_skipped),
            root_inode=self.root_inode,
        )

    def as_record(self) -> dict[str, Any]:
        """Return the value of the key `look`."""
        record: dict[str, Any] = {
            "at_s": round(self.at_s, 6),
            "scan_s": round(self.scan_s, 6),
            "kind": str(self.kind),
            "files": self.files,
            "bytes": self.total_bytes,
            "mark": self.stat_mark,
            "size": self.size_mark,
            "probed": self.is_probed,
            "inode": self.root_inode,
            "phase": self.phase,
            "gap_s": self.options.settle.quiet_gap_s,
            "ceiling_h": self.options.settle.incomplete_after_h,
            "loose": self.options.loose,
        }
        if self.unreadable:
            record["unreadable"] = self.unreadable
        if self.is_skipped:
            record["skip"] = True
        if self.vetoes:
            record["vetoes"] = [[str(veto.kind), veto.reason] for veto in self.vetoes]
        if self.actions:
            record["actions"] = list(self.actions)
        if self.fact is not None:
            record["known"] = _dump_fact(self.fact)
        return record

    @classmethod
    def from_record(cls, folder: str, acquisition: str, record: Mapping[str, Any]) -> "LookLine":
        """Read back what `as_record` wrote; keys of a later version are left out.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is not the record of a look.
        """
        settle = SettleOptions(float(record["gap_s"]), float(record["ceiling_h"]))
        loose = record.get("loose", "group")
        known = record.get("known")
        return cls(
            folder=folder,
            acquisition=acquisition,
            at_s=float(record["at_s"]),
            scan_s=float(record.get("scan_s", 0.0)),
            kind=AcquisitionKind(record.get("kind", "folder")),
            files=int(record["files"]),
            total_bytes=int(record["bytes"]),
            stat_mark=str(record["mark"]),
            size_mark=str(record["size"]),
            vetoes=tuple(Veto(VetoKind(kind), why) for kind, why in record.get("vetoes", ())),
            is_probed=bool(record.get("probed", True)),
            unreadable=int(record.get("unreadable", 0)),
            is_skipped=bool(record.get("skip", False)),
            root_inode=int(record.get("inode", 0)),
            phase=str(record["phase"]),
            actions=tuple(map(str, record.get("actions", ()))),
            fact=_load_fact(acquisition, known) if known is not None else None,
            options=ReconcileOptions(settle=settle, loose=loose),
        )


def name_action(action: Action) -> str:
    """Return an action's name as the log has it.

    Examples
    --------
    >>> from stackwatch.watch.reconcile import RecordVanished
    >>> name_action(RecordVanished("run_1"))
    'record_vanished'
    """
    words = type(action).__name__
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in words)[1:]
    generation = getattr(action, "generation", None)
    return name if generation is None else f"{name}:{generation}"


class LookBook:
    """Remembers the last look at each acquisition of a folder, and tells which looks are news."""

    def __init__(self) -> None:
        self._last: dict[str, LookLine] = {}
        self._held: dict[str, LookLine] = {}

    def forget(self) -> None:
        """Begin anew, because the folder could not be seen: all of it is news then."""
        self._last.clear()
        self._held.clear()

    def note(
        self,
        folder: str,
        scan: FolderScan,
        view: FolderView,
        facts: Mapping[str, AcquisitionFact],
        actions: Iterable[Action],
        options: ReconcileOptions,
    ) -> list[LookLine]:
        """Return the lines that a scan is worth.

        Parameters
        ----------
        folder : str
        scan : FolderScan
        view : FolderView
            After the scan was taken into account.
        facts : mapping of str to AcquisitionFact
            The ledger's, from before.
        actions : iterable of Action
            What was decided.
        options : ReconcileOptions
        """
        decided: dict[str, list[str]] = {}
        for action in actions:
            decided.setdefault(_key_of(action), []).append(name_action(action))
        lines: list[LookLine] = []
        base = LookLine(folder, "", view.scanned_s or 0.0, scan.seconds, options=options)
        for sighting in scan.sightings:
            state, key = view.states.get(sighting.key), sighting.key
            if state is None:
                continue
            line = _line(base, sighting, str(state.phase), decided.get(key), facts.get(key))
            lines += self._news(key, line, is_at_rest=_is_at_rest(line))
        for key in [key for key in self._last if key not in view.states]:
            del self._last[key]
            self._held.pop(key, None)
            lines.append(_absent(base, key, decided.get(key), facts.get(key)))
        return lines

    def _news(self, key: str, line: LookLine, *, is_at_rest: bool) -> list[LookLine]:
        last = self._last.get(key)
        if last is not None and not line.is_probed and not line.actions:
            # what a quick look could not see is as it was
            line = replace(line, vetoes=last.vetoes)
        self._last[key] = line
        if is_at_rest and (last is None or last.phase != Phase.SETTLED):
            # since the start of the daemon nothing has happened to it
            is_news = last is not None and not _is_at_rest(last)
            return [*self._release(key), line] if is_news else []
        if last is not None and _essence(last) == _essence(line):
            # what takes long to carry out is decided again by every look that goes deep
            is_news = bool(line.actions) and (line.actions, line.fact) != (last.actions, last.fact)
            self._last[key] = line if is_news else last
            return [*self._release(key), line] if is_news else self._release(key)
        if last is not None and _is_overtaken(last, line):
            self._held[key] = line
            return []
        return [*self._release(key), line]

    def _release(self, key: str) -> list[LookLine]:
        """Return the change that was held back: it was not overtaken."""
        held = self._held.pop(key, None)
        return [held] if held is not None else []


def _line(
    base: LookLine,
    sighting: Sighting,
    phase: str,
    actions: list[str] | None,
    fact: AcquisitionFact | None,
) -> LookLine:
    return replace(
        base,
        acquisition=show_path(sighting.key),
        kind=sighting.kind,
        files=sighting.files,
        total_bytes=sighting.total_bytes,
        stat_mark=sighting.stat_mark[:MARK_CHARACTERS],
        size_mark=sighting.size_mark[:MARK_CHARACTERS],
        vetoes=sighting.vetoes[:MAX_VETOES],
        is_probed=sighting.is_probed,
        unreadable=sighting.unreadable,
        is_skipped=sighting.directives.skip,
        root_inode=sighting.root_inode,
        phase=phase,
        actions=tuple(actions or ()),
        fact=_shorten(fact),
    )


def _absent(
    base: LookLine, key: str, actions: list[str] | None, fact: AcquisitionFact | None
) -> LookLine:
    return replace(
        base, acquisition=show_path(key), actions=tuple(actions or ()), fact=_shorten(fact)
    )


def _essence(line: LookLine) -> tuple[Any, ...]:
    """Return what makes two looks the same."""
    return line.stat_mark, line.size_mark, line.vetoes, line.phase


def _is_at_rest(line: LookLine) -> bool:
    """Tell whether it is just as the ledger knows it, with nothing to do."""
    is_known = line.fact is not None and line.fact.stat_mark == line.stat_mark
    return is_known and not line.actions


def _is_overtaken(last: LookLine, line: LookLine) -> bool:
    """Tell whether only the mark went on changing: the next look may find yet another one."""
    return (
        last.phase == line.phase == Phase.SETTLING
        and last.vetoes == line.vetoes
        and last.stat_mark != line.stat_mark
        and not line.actions
    )


def _key_of(action: Action) -> str:
    sighting = getattr(action, "sighting", None)
    return str(sighting.key if sighting is not None else getattr(action, "key", ""))


def _shorten(fact: AcquisitionFact | None) -> AcquisitionFact | None:
    if fact is None:
        return None
    return replace(
        fact,
        key=show_path(fact.key),
        stat_mark=fact.stat_mark[:MARK_CHARACTERS],
        size_mark=fact.size_mark[:MARK_CHARACTERS],
        content_digest=fact.content_digest[:MARK_CHARACTERS],
        accepted_mark=fact.accepted_mark[:MARK_CHARACTERS],
        ignored_mark=fact.ignored_mark[:MARK_CHARACTERS],
    )


def _dump_fact(fact: AcquisitionFact) -> dict[str, Any]:
    """Return a fact; what is empty, as it is most often, is left out."""
    record: dict[str, Any] = {
        "mark": fact.stat_mark,
        "size": fact.size_mark,
        "digest": fact.content_digest,
        "gone": fact.is_gone,
        "inode": fact.root_inode,
        "accepted": fact.accepted_mark,
        "ignored": fact.ignored_mark,
        "lacks_files": fact.lacks_files,
        "held_back": sorted(map(str, fact.held_back)),
    }
    told = {key: value for key, value in record.items() if value}
    return {
        "id": fact.acquisition_id,
        "state": str(fact.state),
        "generation": fact.generation,
        **told,
    }


def _load_fact(key: str, record: Mapping[str, Any]) -> AcquisitionFact:
    return AcquisitionFact(
        acquisition_id=AcquisitionId(int(record.get("id", 0))),
        key=key,
        state=AcquisitionState(record["state"]),
        generation=int(record["generation"]),
        stat_mark=str(record.get("mark", "")),
        size_mark=str(record.get("size", "")),
        content_digest=str(record.get("digest", "")),
        is_gone=bool(record.get("gone", False)),
        root_inode=int(record.get("inode", 0)),
        accepted_mark=str(record.get("accepted", "")),
        ignored_mark=str(record.get("ignored", "")),
        lacks_files=bool(record.get("lacks_files", False)),
        held_back=frozenset(map(VetoKind, record.get("held_back", ()))),
    )
