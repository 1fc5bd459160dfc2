"""`run --dry-run`: everything up to the decision, and nothing written.

The drop folders are scanned and settle as in the daemon, and the same reconciling decides; but the
facts go into a copy of the ledger that is thrown away, and where a conversion would begin, a worker
process only tells what it would make.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from stackwatch.clock import Clock
from stackwatch.daemon.drain import Drain, Pending
from stackwatch.daemon.history import History
from stackwatch.daemon.orders import plan_order
from stackwatch.daemon.recorder import Recorder
from stackwatch.daemon.scanner import ScanSaid
from stackwatch.daemon.watching import Looked, Watching
from stackwatch.daemon.workers import WORKER_COMMAND, Order, Worker, WorkerEnded, WorkerEvent
from stackwatch.errors import (
    Disposition,
    SourceUnreadableError,
    StackwatchError,
    WorkerKilledError,
)
from stackwatch.ledger.ledger import LEDGER_NAME, Ledger
from stackwatch.ledger.reader import copy_ledger
from stackwatch.ledger.records import AcquisitionRecord, Job
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import AcquisitionState, JobState
from stackwatch.settings import Settings

INSPECT_TIMEOUT_S: Final = 600.0
_SLEEP_S: Final = 0.5
_ALL: Final = 1_000_000

Say = Callable[[str], None]


class Verdict(StrEnum):
    """What would become of an acquisition."""

    CONVERT = "convert"
    PARK = "park"
    COMPARE = "compare"
    """Its dates have changed: its content would be compared with the published one."""
    RETRY = "retry"
    """It cannot be read at this moment; it would be tried again."""
    NOT_READY = "not_ready"
    PUBLISHED = "published"
    PARKED = "parked"
    """It has been parked before, and nothing has changed since."""
    CONVERTING = "converting"
    IGNORE = "ignore"


_KNOWN: Final = {
    AcquisitionState.CONVERTING: (Verdict.CONVERTING, "the service has it in its hands"),
    AcquisitionState.PUBLISHED: (Verdict.PUBLISHED, "already published"),
    AcquisitionState.IGNORED: (Verdict.IGNORE, "nothing in it is to be converted"),
}


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One acquisition and what would become of it.

    Attributes
    ----------
    reason : str
        Why, for a person; empty for what would simply be converted.
    path : Path or None
        The dataset that would be written, or that is there.
    facts : dict
        The record of `InspectResult`, or an error's; empty where nothing was inspected.
    """

    folder: str
    acquisition: str
    verdict: Verdict
    generation: int = 0
    reason: str = ""
    path: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """Return JSON values, as docs/json.md has them."""
        return {
            **{key: value for key, value in self.facts.items() if key not in ("status", "values")},
            "folder": self.folder,
            "acquisition": show_path(self.acquisition),
            "verdict": str(self.verdict),
            "generation": self.generation,
            "reason": self.reason or None,
            "path": show_path(self.path) if self.path is not None else None,
        }


@dataclass(frozen=True, slots=True)
class RehearsalResult:
    """What a run would do.

    Attributes
    ----------
    acquisitions : tuple of Rehearsed
        By folder and name.
    unavailable : tuple of Pending
        Folders that cannot be looked through.
    """

    acquisitions: tuple[Rehearsed, ...]
    unavailable: tuple[Pending, ...]

    @property
    def needs_human(self) -> bool:
        """Whether something would be parked."""
        return any(found.verdict is Verdict.PARK for found in self.acquisitions)


def rehearse_run(
    settings: Settings, scratch: Path, clock: Clock, drain: Drain, say: Say
) -> RehearsalResult:
    """Tell what `run --once` would do at this moment.

    Parameters
    ----------
    settings : Settings
    scratch : Path
        An empty folder for the copy of the ledger.
    clock : Clock
    drain : Drain
        How long to wait for what has not settled.
    say : callable
        Takes a sentence about what is going on.

    Raises
    ------
    LedgerError
        The ledger cannot be copied, or a newer stackwatch wrote it.
    """
    copy_ledger(settings.daemon.state_dir, scratch / LEDGER_NAME)
    quiet = [
        folder.model_copy(update={"watch": "poll", "writable": False}) for folder in settings.folder
    ]
    with Ledger.open(scratch, clock) as ledger:
        history = History.open(scratch)
        try:
            changed = settings.model_copy(update={"folder": tuple(quiet)})
            rehearsal = _Rehearsal(changed, ledger, history, clock, say)
            try:
                return rehearsal.run(drain)
            finally:
                rehearsal.close()
        finally:
            history.close()


class _Rehearsal:
    """Scans, settles and inspects; used by the main thread alone."""

    def __init__(
        self, settings: Settings, ledger: Ledger, history: History, clock: Clock, say: Say
    ) -> None:
        self._settings = settings
        self._history = history
        self._clock = clock
        self._say = say
        self._inbox: queue.SimpleQueue[ScanSaid | WorkerEvent] = queue.SimpleQueue()
        self._recorder = Recorder(ledger, history, self._inbox.put, WORKER_COMMAND)
        self._watching = Watching(
            ledger, self._recorder, clock, self._inbox.put, threading.Event()
        )  # fmt: skip
        self._ended: list[WorkerEnded] = []

    def run(self, drain: Drain) -> RehearsalResult:
        """Return what would become of each acquisition."""
        drain.begin_at(self._clock.monotonic())
        self._watching.adopt(self._settings)
        left = self._settle(drain)
        unavailable = tuple(pending for pending in left if not pending.acquisition)
        away = {pending.folder for pending in unavailable}
        reasons = {(pending.folder, pending.acquisition): pending.reason for pending in left}
        found = [
            self._judge(acquisition, reasons)
            for folder in self._settings.folder
            if folder.name not in away
            for acquisition in sorted(
                self._history.list_acquisitions(folder.name, limit=_ALL), key=lambda one: one.key
            )
            if acquisition.vanished_at_us is None
        ]
        return RehearsalResult(tuple(found), unavailable)

    def close(self) -> None:
        """Leave no process behind."""
        self._watching.close()
        deadline_s = self._clock.monotonic() + 5.0
        while not self._watching.is_closed and self._clock.monotonic() < deadline_s:
            try:
                message = self._inbox.get(timeout=_SLEEP_S)
            except queue.Empty:
                continue
            if isinstance(message, ScanSaid):
                self._watching.discard(message)

    # ------------------------------------------------------------ scans

    def _settle(self, drain: Drain) -> tuple[Pending, ...]:
        """Wait until nothing can settle any more; return what has not, and why."""
        said = ""
        while True:
            survey = drain.survey_folders(self._watching.folders, self._clock.monotonic())
            if not survey.awaited:
                return survey.left
            now_said = ", ".join(f"{one.folder}/{one.acquisition}" for one in survey.awaited)
            if now_said != said:
                said = now_said
                self._say(f"Waiting for {len(survey.awaited)}: {survey.awaited[0]}")
            self._turn()

    def _turn(self) -> None:
        """Order the looks that are due, and take one message or wait a moment."""
        self._watching.tick()
        try:
            message = self._inbox.get(timeout=_SLEEP_S / 5)
        except queue.Empty:
            return
        if isinstance(message, ScanSaid):
            self._watching.take(message)
        elif isinstance(message, WorkerEnded):
            self._ended.append(message)

    # ------------------------------------------------------------ verdicts

    def _judge(self, found: AcquisitionRecord, reasons: dict[tuple[str, str], str]) -> Rehearsed:
        """Return what would become of one acquisition."""
        name = (found.folder, found.key)
        if any(one.key == name for one in self._recorder.comparisons.waiting):
            return self._plain(found, Verdict.COMPARE, "its dates or names have changed")
        if found.state in (AcquisitionState.QUEUED, AcquisitionState.WAITING):
            return self._inspect(found)
        if found.state is AcquisitionState.PARKED:
            return self._parked(found)
        if found.state in (AcquisitionState.SETTLING, AcquisitionState.INCOMPLETE):
            reason = reasons.get(name, "has not settled")
            return self._plain(found, Verdict.NOT_READY, reason)
        return self._plain(found, *_KNOWN.get(found.state, (Verdict.IGNORE, "")))

    def _plain(self, found: AcquisitionRecord, verdict: Verdict, reason: str) -> Rehearsed:
        datasets = self._history.datasets_of(found.acquisition_id)
        path = datasets[-1].path if datasets else None
        return Rehearsed(found.folder, found.key, verdict, found.generation, reason, path)

    def _parked(self, found: AcquisitionRecord) -> Rehearsed:
        job = self._job_of(found, JobState.PARKED)
        error = found.error or (job.error if job is not None else None) or {}
        reason = str(error.get("message", "a human is needed"))
        return Rehearsed(
            found.folder, found.key, Verdict.PARKED, found.generation, reason, facts=error
        )

    def _job_of(self, found: AcquisitionRecord, *states: JobState) -> Job | None:
        jobs = (
            job
            for state in states
            for job in self._history.list_jobs(state, found.folder, limit=_ALL)
        )
        return next((job for job in jobs if job.acquisition_id == found.acquisition_id), None)

    def _inspect(self, found: AcquisitionRecord) -> Rehearsed:
        """Have a worker tell what would be made of an acquisition."""
        job = self._job_of(found, JobState.QUEUED, JobState.WAITING)
        if job is None:
            return self._plain(found, Verdict.NOT_READY, "has no job")
        self._say(f"Looking into {found.folder}/{show_path(found.key)} …")
        path: Path | None = None
        try:
            order = self._order(job)
            path = order.request.target
            facts = self._ask_worker(order)
        except StackwatchError as error:
            facts = {**error.as_record()}
            is_parked = error.disposition is Disposition.PARK
            verdict = Verdict.PARK if is_parked else Verdict.RETRY
            return Rehearsed(
                found.folder, found.key, verdict, job.generation, error.message, path, facts
            )
        if facts.get("status") == "ready":
            return Rehearsed(
                found.folder, found.key, Verdict.CONVERT, job.generation, "", path, facts
            )
        verdict = Verdict.PARK if facts.get("status") == "parked" else Verdict.RETRY
        reason = str(facts.get("message", ""))
        return Rehearsed(found.folder, found.key, verdict, job.generation, reason, path, facts)

    def _order(self, job: Job) -> Order:
        """Return the order that a conversion would be given, for a worker that only looks."""
        looks: list[Looked] = []
        self._watching.look_at(job.folder, job.key, looks.append)
        while not looks:
            self._turn()
        sighting = looks[0].sighting
        if sighting is None:
            raise SourceUnreadableError(
                f"“{show_path(job.name)}” cannot be seen: {looks[0].reason}.",
                hint="Look at the drop folder.",
            )
        order = plan_order(self._settings, self._history, job, sighting)
        return Order(order.job_id, order.attempt, order.request, {}, {}, task="inspect")

    def _ask_worker(self, order: Order) -> dict[str, Any]:
        """Return the worker's record; kill it if it never answers."""
        try:
            worker = Worker(order, self._inbox.put)
        except OSError as error:
            raise WorkerKilledError(f"No process can be started: {error.strerror}.") from error
        deadline_s = self._clock.monotonic() + INSPECT_TIMEOUT_S
        is_killed = False
        try:
            while not self._ended:
                self._turn()
                if self._clock.monotonic() > deadline_s and not is_killed:
                    worker.kill()
                    is_killed = True
        except BaseException:
            worker.kill()
            worker.outcome()
            raise
        outcome = self._ended.pop().worker.outcome()
        if outcome.error is not None:
            raise outcome.error
        return outcome.result or {}
