"""`run --once`: tell when all that can be done now is done, and what was left and why.

Nothing here decides about an acquisition. The daemon works as ever; it is looked at after each
turn of its loop, and asked to stop once nothing is left to wait for.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from stackwatch.clock import Clock
from stackwatch.daemon.folders import WatchedFolder
from stackwatch.daemon.history import History
from stackwatch.errors import Disposition, ExitCode, error_by_code
from stackwatch.ledger.records import AcquisitionRecord
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import JobState
from stackwatch.watch.settle import LAPSE_GAPS, Phase, SettleState

PATIENCE_GAPS: Final = 3
"""Something that goes on changing is waited for this many quiet gaps, unless told otherwise; what
may be meant as it is (an empty file) until that is taken for granted."""

LEAST_PATIENCE_S: Final = 10.0
"""However short the gap: on a busy machine a look may take as long."""

RETRY_S: Final = 60.0
"""A job that is tried again within this time is waited for; so is one that could begin and has not,
for as long as nothing else is under way."""

SURE_S: Final = 1.0
"""Nothing must have been left to wait for this long: a look or an answer may be on its way."""

SAY_INTERVAL_S: Final = 30.0
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Pending:
    """Something that is not done.

    Attributes
    ----------
    folder : str
    acquisition : str
        Empty for the folder itself.
    reason : str
        What it waits for, for a person.
    """

    folder: str
    acquisition: str
    reason: str

    def __str__(self) -> str:
        """Return it as one phrase."""
        place = "/".join(part for part in (self.folder, show_path(self.acquisition)) if part)
        return f"{place}: {self.reason}"

    def as_record(self) -> dict[str, Any]:
        """Return JSON values."""
        name = show_path(self.acquisition) if self.acquisition else None
        return {"folder": self.folder, "acquisition": name, "reason": show_path(self.reason)}


@dataclass(frozen=True, slots=True)
class Survey:
    """What is not done: what is worth waiting for, and what has to be left for another time."""

    awaited: tuple[Pending, ...] = ()
    left: tuple[Pending, ...] = ()


class Drain:
    """Looks after each turn of the daemon's loop whether there is something left to wait for.

    Parameters
    ----------
    patience_s : float or None
        How long to wait for what goes on changing, once its folder was looked through; None
        takes three quiet gaps of the folder.

    Attributes
    ----------
    summary : dict
        The document of `stackwatch run --once --json`, once it is over.
    """

    def __init__(self, patience_s: float | None = None) -> None:
        self.summary: dict[str, Any] = {}
        self._patience_s = patience_s
        self._marks: dict[tuple[str, str], tuple[str, float]] = {}
        self._looked_s: dict[str, float] = {}
        self._began_s = self._said_s = self._idle_since_s = 0.0
        self._sure_since_s: float | None = None
        self._said = ""
        self._event_id = 0

    def begin(self, clock: Clock, history: History) -> None:
        """Note where this run begins."""
        self.begin_at(clock.monotonic())
        self._event_id = history.last_event_id()

    def begin_at(self, now_s: float) -> None:
        """Count all patience from this moment."""
        self._began_s = self._idle_since_s = now_s

    def is_over(self, survey: Survey, now_s: float) -> bool:
        """Tell whether nothing has been left to wait for, for long enough to be sure."""
        if survey.awaited:
            self._sure_since_s = None
            self._say(survey, now_s)
            return False
        if self._sure_since_s is None:
            self._sure_since_s = now_s
        return now_s - self._sure_since_s >= SURE_S

    # ------------------------------------------------------------ what is not done

    def survey(
        self,
        folders: Iterable[WatchedFolder],
        history: History,
        clock: Clock,
        working: Iterable[Pending] = (),
        hindered: Mapping[str, str] = MappingProxyType({}),
    ) -> Survey:
        """Return what is not done at this moment.

        Parameters
        ----------
        folders : iterable of WatchedFolder
        history : History
        clock : Clock
        working : iterable of Pending
            What is under way: jobs with workers, comparisons.
        hindered : mapping of str to str
            Folders of which no job may start now, by name, and why.
        """
        known, working = list(folders), tuple(working)
        found = self.survey_folders(known, clock.monotonic())
        away = {folder.name: folder.reason for folder in known if folder.reason}
        jobs = _split(
            self._pending_jobs(history, clock, {**hindered, **away}, is_busy=bool(working))
        )
        return Survey((*working, *found.awaited, *jobs.awaited), (*found.left, *jobs.left))

    def survey_folders(self, folders: Iterable[WatchedFolder], now_s: float) -> Survey:
        """Return what has not settled at this moment, and folders that cannot be seen."""
        return _split(pair for folder in folders for pair in self._pending_in(folder, now_s))

    def _pending_in(self, folder: WatchedFolder, now_s: float) -> Iterator[tuple[Pending, bool]]:
        """Yield what is not done in a folder, and whether to wait for it."""
        if folder.reason:
            yield Pending(folder.name, "", f"unavailable: {folder.reason}"), False
            return
        if folder.view.full_scan_s is None:
            yield Pending(folder.name, "", "is looked through"), True
            return
        for key, state in folder.view.states.items():
            if state.phase in (Phase.SETTLING, Phase.INCOMPLETE):
                reason, is_worth_it = self._judge(folder, key, state, now_s)
                yield Pending(folder.name, key, reason), is_worth_it

    def _judge(
        self, folder: WatchedFolder, key: str, state: SettleState, now_s: float
    ) -> tuple[str, bool]:
        """Return what an arriving acquisition waits for, and whether to wait too."""
        mark, since_s = self._marks.get((folder.name, key), ("", now_s))
        if mark != state.stat_mark:
            mark, since_s = state.stat_mark, now_s
        self._marks[folder.name, key] = (mark, since_s)
        gap_s, still_s = folder.quiet_gap_s, now_s - since_s
        gaps = LAPSE_GAPS + 1 if state.vetoes else PATIENCE_GAPS
        usual_s = max(gaps * gap_s, LEAST_PATIENCE_S)
        looked_s = self._looked_s.setdefault(folder.name, now_s)
        is_patient = now_s - looked_s < (usual_s if self._patience_s is None else self._patience_s)
        if state.vetoes:
            # most of them need a person or an instrument; the gap lets late files come to rest
            reasons = "; ".join(veto.reason for veto in state.vetoes)
            is_worth_it = not state.is_held_back or still_s < gap_s
            return f"not ready: {reasons}", is_patient and is_worth_it
        if is_patient:
            return f"settles, unchanged for {still_s:.0f} of {gap_s:g} s", True
        return "it goes on changing, or has not been quiet for long enough", False

    def _pending_jobs(
        self, history: History, clock: Clock, hindered: Mapping[str, str], *, is_busy: bool
    ) -> Iterator[tuple[Pending, bool]]:
        """Yield jobs that nobody works on, and whether they are worth waiting for."""
        configured = {folder.name for folder in history.list_folders() if folder.is_configured}
        for job in history.list_jobs(JobState.WAITING):
            if job.folder in configured:
                error = job.error or {}
                due_s = job.not_before_us / 1e6 - clock.now()
                is_near = due_s <= RETRY_S and _is_retried(str(error.get("error_code")))
                reason = str(error.get("message", "waits"))
                yield Pending(job.folder, job.key, reason), is_near and job.folder not in hindered
        queued = [job for job in history.list_jobs(JobState.QUEUED) if job.folder in configured]
        now_s = clock.monotonic()
        if is_busy or not queued:
            self._idle_since_s = now_s
        for job in queued:
            reason = hindered.get(job.folder, "queued, and not begun")
            # its target may have to be looked at before it can begin
            may_begin = job.folder not in hindered and now_s - self._idle_since_s < RETRY_S
            yield Pending(job.folder, job.key, reason), may_begin

    # ------------------------------------------------------------ progress and summary

    def _say(self, survey: Survey, now_s: float) -> None:
        """Log what is waited for: when it changes, and now and then."""
        names = "; ".join(f"{p.folder}/{p.acquisition}" for p in survey.awaited)
        since_s = now_s - self._said_s
        if since_s < SURE_S or (names == self._said and since_s < SAY_INTERVAL_S):
            return
        self._said, self._said_s = names, now_s
        logger().info(
            Event.DAEMON_WAITING,
            reason=_shorten(survey.awaited),
            seconds=round(now_s - self._began_s, 1),
        )

    def conclude(self, history: History, survey: Survey, clock: Clock) -> int:
        """Log the summary, keep its document, and return the exit code."""
        ended = history.ended_since(self._event_id)
        seconds = round(clock.monotonic() - self._began_s, 3)
        self.summary = {
            "status": "succeeded",
            "succeeded": [job.as_record() for job in ended.succeeded],
            "parked": [_parked_record(acquisition, history) for acquisition in ended.parked],
            "left": [pending.as_record() for pending in survey.left],
            "seconds": seconds,
        }
        code = ExitCode.DONE
        if ended.parked:
            self.summary["status"], code = "parked", ExitCode.PARKED
        elif survey.left:
            self.summary["status"], code = "failed", ExitCode.FAILED
        log = logger().info if code == ExitCode.DONE else logger().warning
        log(
            Event.DAEMON_DRAINED,
            message=f"{len(ended.succeeded)} converted, {len(ended.parked)} parked, "
            f"{len(survey.left)} left for another time",
            parked=[f"{a.folder}/{show_path(a.key)}" for a in ended.parked],
            left=[str(pending) for pending in survey.left],
            seconds=seconds,
        )
        return code


def _split(pending: Iterable[tuple[Pending, bool]]) -> Survey:
    """Divide what is pending by whether it is worth waiting for."""
    pairs = list(pending)
    return Survey(
        tuple(one for one, is_worth_it in pairs if is_worth_it),
        tuple(one for one, is_worth_it in pairs if not is_worth_it),
    )


def _parked_record(acquisition: AcquisitionRecord, history: History) -> dict[str, Any]:
    """Return a parked acquisition; the reason is its job's, where it has one."""
    record = acquisition.as_record()
    jobs = history.list_jobs(JobState.PARKED, acquisition.folder)
    job = next((j for j in jobs if j.acquisition_id == acquisition.acquisition_id), None)
    told = job.as_record() if job is not None and record["error_code"] is None else record
    return {
        "folder": acquisition.folder,
        "acquisition": record["acquisition"],
        "job_id": job.job_id if job is not None else None,
        **{key: told[key] for key in ("error_code", "message", "hint")},
    }


def _is_retried(code: str) -> bool:
    """Tell whether an error passes by itself, rather than by something that somebody does."""
    kind = error_by_code().get(code)
    return kind is not None and kind.disposition is Disposition.RETRY


def _shorten(pending: tuple[Pending, ...]) -> str:
    more = f"; and {len(pending) - _SHOWN} more" if len(pending) > _SHOWN else ""
    return "; ".join(map(str, pending[:_SHOWN])) + more
