"""At the start: mend what an unexpected end left behind, before anything new begins."""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from stackwatch.clock import Clock
from stackwatch.daemon.comparisons import NO_JOB
from stackwatch.daemon.errands import Errands, Unanswered
from stackwatch.daemon.guard import LedgerGuard
from stackwatch.daemon.history import History, count_cut_offs
from stackwatch.daemon.targets import Announced, Surveyed, Target, survey_target
from stackwatch.errors import WorkerKilledError
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import DatasetRecord, Job
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import JobId
from stackwatch.stores.publish import STAGING_FOLDER

MAX_CUT_OFFS = 8
"""A job in the middle of which the whole service ended this often in a row may be its cause."""

SURVEY_DEADLINE_S = 600.0
AGAIN_S = 5.0
"""How often a target is surveyed again while something is left there, or it does not answer."""


class Recovery:
    """Decides what became of claimed jobs and announced datasets, and removes old staging.

    Each target is surveyed by an errand; until its first answer nothing is begun there. A target
    that hangs holds up no other one.

    Parameters
    ----------
    ledger : Ledger
    history : History
    errands : Errands
    guard : LedgerGuard
    clock : Clock
    find_ours : callable
        Returns the jobs in the hands of this very daemon.
    """

    def __init__(
        self,
        ledger: Ledger,
        history: History,
        errands: Errands,
        guard: LedgerGuard,
        clock: Clock,
        find_ours: Callable[[], Collection[JobId]],
    ) -> None:
        self._ledger = ledger
        self._history = history
        self._errands = errands
        self._guard = guard
        self._clock = clock
        self._find_ours = find_ours
        self._done: set[Path] = set()
        self._asking: set[Path] = set()
        self._again: dict[Path, float] = {}
        self._kept: dict[Path, dict[JobId, int]] = {}
        self._looked_s = clock.monotonic()
        self.may_use: Callable[[Path], bool] = lambda _target: True
        """Whether a target is ours to write to; nothing of another daemon's is cleared up."""

    def begin(self, targets: Iterable[Path]) -> None:
        """Survey the targets that were not surveyed yet, and those of jobs that were cut off."""
        claimed = {job.target for job in self._ledger.jobs.claimed()}
        for target in sorted({*targets, *claimed} - self._done - self._asking):
            self._again.setdefault(target, self._clock.monotonic())
        self.tick()

    def again(self, target: Path | None = None) -> None:
        """Survey a target once more, soon; None: all of them."""
        at_s = self._clock.monotonic() + AGAIN_S
        for one in self._done if target is None else {target}:
            self._again.setdefault(one, at_s)

    def is_done(self, target: Path) -> bool:
        """Tell whether work may begin at a target: it was surveyed, and is not being surveyed."""
        is_surveyed = target in self._done and target not in self._asking
        return is_surveyed and self.may_use(target)

    def kept_bytes(self, job_id: JobId) -> int:
        """Return about how many bytes of a job's dataset lie in staging already."""
        return max((kept.get(job_id, 0) for kept in self._kept.values()), default=0)

    def tick(self) -> None:
        """Survey what is due, and where something is kept for a job that wants it no more."""
        now_s = self._clock.monotonic()
        if self._kept and now_s - self._looked_s > AGAIN_S:
            self._looked_s = now_s
            wanted = set(self._history.wanted_jobs())
            for target in [one for one, kept in self._kept.items() if kept.keys() - wanted]:
                del self._kept[target]
                self._again.setdefault(target, now_s)
        due = [target for target, at_s in self._again.items() if at_s <= now_s]
        for target in due:
            if target in self._asking or not self.may_use(target):
                continue
            if not self._guard.is_degraded:
                del self._again[target]
                self._survey(target)

    def _survey(self, target: Path) -> None:
        # at the first survey nothing is compared yet: what comparisons left is nobody's
        ours = {*self._find_ours(), *({NO_JOB} if target in self._done else ())}
        jobs = tuple(
            job
            for job in self._ledger.jobs.claimed()
            if job.target == target and job.job_id not in ours
        )
        cut_off = {job.job_id for job in jobs}
        datasets = tuple(
            one
            for one in self._ledger.datasets.unconfirmed()
            if one.job_id in cut_off or (one.path.parent == target and one.job_id not in ours)
        )
        question = Target(
            target,
            tuple(_staging(job) for job in jobs),
            tuple(Announced(one.path, one.run_id) for one in datasets),
            tuple(sorted(ours)),
            self._history.wanted_jobs(),
        )
        self._asking.add(target)
        self._errands.ask(
            target,
            survey_target,
            question,
            lambda answer: self._take(target, jobs, datasets, answer),
            SURVEY_DEADLINE_S,
        )

    def _take(
        self,
        target: Path,
        jobs: tuple[Job, ...],
        datasets: tuple[DatasetRecord, ...],
        answer: Surveyed | Unanswered,
    ) -> None:
        self._asking.discard(target)
        if isinstance(answer, Unanswered):
            self._again[target] = self._clock.monotonic() + AGAIN_S
            logger().warning(Event.TARGET_UNAVAILABLE, path=show_path(target), reason=answer.reason)
            return
        for path in answer.removed:
            logger().info(Event.STAGING_REMOVED, path=show_path(path))
        self._guard.record(lambda: self._mend(jobs, datasets, answer))
        self._done.add(target)
        self._kept.pop(target, None)
        if answer.kept:
            self._kept[target] = {JobId(one.job_id): one.bytes for one in answer.kept}
        if answer.is_left or answer.held:
            self.again(target)

    def _mend(
        self, jobs: tuple[Job, ...], datasets: tuple[DatasetRecord, ...], found: Surveyed
    ) -> None:
        """Record what became of the jobs and datasets that were asked about, and of no others."""
        surveyed = {job.job_id for job in jobs if _staging(job) not in found.held}
        known = {one.run_id for one in datasets}
        mended = self._ledger.recover(
            is_running=lambda job: job.job_id not in surveyed,
            is_in_place=lambda one: one.run_id in found.in_place if one.run_id in known else None,
        )
        for dataset in mended.confirmed:
            logger(job_id=dataset.job_id).info(
                Event.DATASET_PUBLISHED, path=show_path(dataset.path), reason="found at its place"
            )
        for job in mended.finished:
            _log(job, "all its datasets were published")
        for job in mended.requeued:
            _log(job, "its worker was cut off; it is converted again")
            _park_if_hopeless(self._ledger, self._history, job)


def _staging(job: Job) -> Path:
    return job.target / STAGING_FOLDER / job.staging_name


def _park_if_hopeless(ledger: Ledger, history: History, job: Job) -> None:
    cut_offs = count_cut_offs(history.events_of(job.job_id))
    if cut_offs < MAX_CUT_OFFS:
        return
    hint = f"Look at the log of the ends, then `stackwatch jobs retry {job.job_id}`."
    error = WorkerKilledError(
        f"The service ended {cut_offs} times in a row while job {job.job_id} ran. "
        f"It may be the cause, so it is parked. {hint}",
        hint=hint,
    )
    ledger.jobs.park(job.job_id, error)
    logger(job_id=job.job_id).error(
        Event.JOB_PARKED, error_code=error.code, message=error.message, hint=hint
    )


def _log(job: Job, reason: str) -> None:
    logger(job_id=job.job_id, acquisition_id=job.acquisition_id).info(
        Event.JOB_RECOVERED,
        folder=job.folder,
        acquisition=show_path(job.key),
        attempt=job.attempt,
        reason=reason,
    )
