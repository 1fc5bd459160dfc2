"""Carry out what reconciling asks for: facts and jobs into the ledger, a line into the log."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, assert_never

from stackwatch.daemon.comparisons import Comparison, Comparisons, plan_generation
from stackwatch.daemon.folders import WatchedFolder
from stackwatch.daemon.history import History
from stackwatch.daemon.naming import changed_after_publishing
from stackwatch.daemon.verdicts import (
    name_reasons,
    why_incomplete,
    why_settling,
    why_skipped,
)
from stackwatch.daemon.workers import WorkerEvent
from stackwatch.errors import StackwatchError, UnknownLayoutError
from stackwatch.failpoints import reach
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import DatasetRecord
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import AcquisitionFact, Sighting
from stackwatch.model.job import AcquisitionState, DatasetState
from stackwatch.watch.reconcile import (
    Action,
    CompareDigest,
    ParkLoose,
    QueueGeneration,
    RecordHeldBack,
    RecordIncomplete,
    RecordMoved,
    RecordSettling,
    RecordSkipped,
    RecordVanished,
    Restore,
)

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

Post = Callable[[WorkerEvent], None]
Command = Sequence[str]


class Recorder:
    """Writes the actions of `reconcile` into the ledger. Repeating one does no harm."""

    def __init__(self, ledger: Ledger, history: History, post: Post, command: Command) -> None:
        self._ledger = ledger
        self._verbs = ledger.folders
        self._history = history
        self.comparisons = Comparisons(ledger, history, self.queue, post, command)

    def carry_out(
        self, folder: WatchedFolder, action: Action, facts: Mapping[str, AcquisitionFact]
    ) -> None:
        """Record one action; `facts` are the ledger's from before."""
        name = folder.name
        match action:
            case RecordSettling(sighting):
                self._verbs.record_settling(name, sighting)
                is_new = sighting.key not in facts
                event = Event.ACQUISITION_SEEN if is_new else Event.ACQUISITION_CHANGED
                _log(name, sighting.key).info(event, files=sighting.files)
            case RecordIncomplete() | RecordHeldBack() | RecordSkipped():
                self._record_reason(folder, action, facts)
            case QueueGeneration(sighting, generation, supersedes):
                fact = self._fact(folder, sighting.key, facts)
                # other names or sizes may be those of notes that no layer is made from
                if fact is None or not self._compare(folder, sighting, fact, supersedes):
                    self.queue(folder, sighting, generation)
            case CompareDigest(sighting, generation, _):
                fact = self._fact(folder, sighting.key, facts)
                assert fact is not None
                self._compare(folder, sighting, fact, generation)
            case Restore(sighting):
                state = self._verbs.restore(name, sighting)
                _log(name, sighting.key).info(Event.ACQUISITION_SETTLED, state=str(state))
            case ParkLoose(sighting):
                self._park(name, sighting, _loose(name, sighting))
            case RecordMoved(key, sighting):
                self._verbs.record_moved(name, key, sighting)
                _log(name, sighting.key).info(
                    Event.ACQUISITION_MOVED, reason=f"it was called “{show_path(key)}”"
                )
            case RecordVanished(key):
                self._verbs.record_vanished(name, key)
                _log(name, key).info(Event.ACQUISITION_VANISHED)
            case _:
                assert_never(action)

    def _fact(
        self, folder: WatchedFolder, key: str, facts: Mapping[str, AcquisitionFact]
    ) -> AcquisitionFact | None:
        """Return what is known of an acquisition; it may have been renamed a moment ago."""
        return facts.get(key) or self._verbs.facts(folder.name).get(key)

    def _compare(
        self, folder: WatchedFolder, sighting: Sighting, fact: AcquisitionFact, generation: int
    ) -> bool:
        """Have the content compared with the published one; return False if there is none.

        If nothing came of what followed it, the published one may be back: but only a content with
        its names and sizes is worth being read for that.
        """
        published = self._history.last_published(fact.acquisition_id)
        is_newest = published is not None and published.generation == fact.generation
        if published is None or not (is_newest or published.size_mark == sighting.size_mark):
            return False
        is_asked = fact.state is AcquisitionState.PARKED and folder.settings.on_change == "park"
        if is_newest and is_asked:
            return True  # a person was asked already
        self.comparisons.ask(
            Comparison(
                folder,
                fact.acquisition_id,
                sighting,
                generation,
                published.generation,
                published.content_digest,
            )
        )
        return True

    def queue(self, folder: WatchedFolder, sighting: Sighting, generation: int) -> None:
        """Queue a new content, or park it where the settings ask for a person."""
        fact = self._verbs.facts(folder.name).get(sighting.key)
        is_first = fact is None or self._history.last_published(fact.acquisition_id) is None
        if not is_first and folder.settings.on_change == "park":
            error = changed_after_publishing(folder.settings, sighting.name)
            self._park(folder.name, sighting, error)
            return
        older = self._published_now(fact)
        with self._ledger.transaction():
            self._verbs.sight(folder.name, sighting)  # what its sidecar says, above all
            job = self._ledger.jobs.queue(plan_generation(folder.name, sighting, generation))
        _log(folder.name, sighting.key).info(
            Event.JOB_QUEUED,
            job_id=job.job_id,
            acquisition_id=job.acquisition_id,
            generation=generation,
            files=sighting.files,
            total_bytes=sighting.total_bytes,
        )
        for dataset in older:
            _log(folder.name, sighting.key).info(
                Event.DATASET_SUPERSEDED, path=show_path(dataset.path), generation=generation
            )
        reach("daemon.job_queued")

    def _published_now(self, fact: AcquisitionFact | None) -> list[DatasetRecord]:
        """Return the datasets that a new generation will supersede."""
        found = self._history.datasets_of(fact.acquisition_id) if fact is not None else ()
        return [dataset for dataset in found if dataset.state is DatasetState.PUBLISHED]

    def _record_reason(
        self,
        folder: WatchedFolder,
        action: RecordIncomplete | RecordHeldBack | RecordSkipped,
        facts: Mapping[str, AcquisitionFact],
    ) -> None:
        """Record why an acquisition is not converted."""
        seen = action.sighting
        log = _log(folder.name, seen.key)
        match action:
            case RecordIncomplete(_, vetoes):
                error = why_incomplete(folder.settings, seen, vetoes)
                self._verbs.record_incomplete(folder.name, seen, error)
                log.warning(
                    Event.ACQUISITION_INCOMPLETE,
                    reason=name_reasons(vetoes),
                    hint=error.hint,
                    files=seen.files,
                )
            case RecordHeldBack(_, vetoes):
                fact = self._fact(folder, seen.key, facts)
                is_told = fact is not None and fact.state is AcquisitionState.INCOMPLETE
                explain = why_incomplete if is_told else why_settling
                self._verbs.hold_back(folder.name, seen, explain(folder.settings, seen, vetoes))
            case RecordSkipped():
                self._verbs.skip(folder.name, seen, why_skipped(seen))
                log.info(Event.ACQUISITION_IGNORED, reason="`skip = true` in its sidecar")

    def _park(self, name: str, sighting: Sighting, error: StackwatchError) -> None:
        self._verbs.park(name, sighting, error)
        _log(name, sighting.key).error(
            Event.JOB_PARKED, error_code=error.code, message=error.message, hint=error.hint
        )


def _loose(name: str, sighting: Sighting) -> UnknownLayoutError:
    hint = f'Put them into a folder, or set `loose = "group"` for folder “{name}”.'
    return UnknownLayoutError(
        f"“{show_path(sighting.name)}” lies loose in the drop folder “{name}”, whose settings say "
        f'`loose = "park"`. {hint}',
        hint=hint,
        files=sighting.files,
    )


def _log(folder: str, key: str) -> "FilteringBoundLogger":
    return logger(folder=folder, acquisition=show_path(key))
