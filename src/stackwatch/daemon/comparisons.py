"""Compare the content of changed acquisitions with what was published, before a job is queued.

Touching, copying back or adding a note changes the stat mark, not the voxels: then only the mark
is updated. The reading happens in a worker, one at a time, beside the conversions.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from stackwatch.daemon.folders import WatchedFolder
from stackwatch.daemon.history import History
from stackwatch.daemon.stall import StallWatch
from stackwatch.daemon.workers import (
    KILL_GRACE_S,
    WORKER_COMMAND,
    Order,
    Worker,
    WorkerEnded,
    WorkerEvent,
)
from stackwatch.errors import Disposition, StackwatchError
from stackwatch.ledger.ledger import Ledger
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import Sighting
from stackwatch.model.job import AcquisitionId, AcquisitionState, JobId, NewJob
from stackwatch.pipeline.request import ConvertRequest, EarlierDataset
from stackwatch.settings import DaemonSettings

NO_JOB = JobId(0)
MAX_TRIES = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """One changed acquisition, and what was published of it.

    Attributes
    ----------
    generation : int
        The newest that the ledger knows.
    published : int
        The one that was published with `content_digest`: the newest, or, if nothing came of what
        followed, an older one that may be back.
    """

    folder: WatchedFolder
    acquisition_id: AcquisitionId
    sighting: Sighting
    generation: int
    published: int
    content_digest: str
    tries: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """Names the acquisition among all."""
        return self.folder.name, self.sighting.key


class Comparisons:
    """The queue of comparisons. Used by the main thread alone.

    Parameters
    ----------
    queue_job : callable
        Queues the next generation: the content is another one.
    post : callable
        Takes the worker's events from other threads; hand its end to `take`.
    """

    def __init__(
        self,
        ledger: Ledger,
        history: History,
        queue_job: Callable[[WatchedFolder, Sighting, int], None],
        post: Callable[[WorkerEvent], None],
        command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self._ledger = ledger
        self._history = history
        self._queue_job = queue_job
        self._post = post
        self._command = command
        self._waiting: dict[tuple[str, str], Comparison] = {}
        self._current: Comparison | None = None
        self._worker: Worker | None = None
        self._stall: StallWatch | None = None
        self._killed_s: float | None = None
        self.stall_after_s = DaemonSettings().stall_after_s
        """As set; the service keeps it so."""
        self._count = 0

    @property
    def is_busy(self) -> bool:
        """Whether a worker compares."""
        return self._worker is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is compared and nothing waits for it."""
        return self._worker is None and not self._waiting

    @property
    def waiting(self) -> tuple[Comparison, ...]:
        """Every comparison that was asked for and has not begun."""
        return tuple(self._waiting.values())

    def ask(self, comparison: Comparison) -> None:
        """Have an acquisition compared; asking again for the same look changes nothing."""
        current = self._current
        if current is not None and _is_same(current, comparison):
            return
        known = self._waiting.get(comparison.key)
        if known is None or not _is_same(known, comparison):
            self._waiting[comparison.key] = comparison

    def tick(self) -> None:
        """Start the next comparison if none runs."""
        if self._worker is not None:
            self._end_if_stalled(self._worker)
        if self._worker is not None or not self._waiting:
            return
        self._current = self._waiting.pop(next(iter(self._waiting)))
        try:
            self._worker = Worker(self._order(self._current), self._post, self._command)
        except OSError:
            self._current = None  # the next scan asks again
            return
        self._stall, self._killed_s = StallWatch(self._worker.pid, time.monotonic()), None

    def _end_if_stalled(self, worker: Worker) -> None:
        """Kill a worker that does not get on; give up one that not even SIGKILL ends."""
        now_s = time.monotonic()
        if self._killed_s is not None:
            if now_s - self._killed_s > KILL_GRACE_S:
                self._current = self._worker = None  # the next scan asks again
        elif self._stall is not None and self._stall.silent_s(None, now_s) > self.stall_after_s:
            self._killed_s = now_s
            logger().warning(Event.WORKER_STALLED, pid=worker.pid, reason="comparing contents")
            worker.kill()

    def kill(self) -> None:
        """Give up; the next scan after the next start asks again."""
        self._waiting.clear()
        if self._worker is not None:
            self._worker.kill()

    def take(self, event: WorkerEvent) -> None:
        """Act upon the end of the worker."""
        if not isinstance(event, WorkerEnded):
            return
        outcome = event.worker.outcome()
        if event.worker is not self._worker:
            return  # it was given up
        comparison, self._current, self._worker = self._current, None, None
        assert comparison is not None
        if not _is_current(comparison) or self._is_forgotten(comparison):
            return  # if it changed again meanwhile, the next scan asks when it lies still
        if outcome.error is not None:
            self._try_again(comparison, outcome.error)
        elif (outcome.result or {}).get("content_digest") == comparison.content_digest:
            self._keep(comparison)
        else:
            self._queue_job(comparison.folder, comparison.sighting, comparison.generation + 1)

    def _is_forgotten(self, comparison: Comparison) -> bool:
        """Tell whether a person wants this very content ignored since it was asked for."""
        name, sighting = comparison.folder.name, comparison.sighting
        fact = self._ledger.folders.facts(name).get(sighting.key)
        return fact is not None and fact.ignored_mark == sighting.stat_mark

    def discard(self, worker: Worker) -> None:
        """Bury a killed worker."""
        worker.outcome()
        if worker is self._worker:
            self._current = self._worker = None

    def _order(self, comparison: Comparison) -> Order:
        folder, sighting = comparison.folder, comparison.sighting
        published = [
            dataset
            for dataset in self._history.datasets_of(comparison.acquisition_id)
            if dataset.generation == comparison.published
        ]
        is_older = comparison.published != comparison.generation
        self._count += 1
        source = folder.settings.path
        request = ConvertRequest(
            source=source / sighting.source if sighting.source else source,
            target=published[-1].path if published else folder.settings.target / "unpublished",
            options=folder.settings.convert_options(),
            members=sighting.members,
            staging_name=f"{NO_JOB}-{self._count}",
            earlier=tuple(EarlierDataset(one.path, one.run_id) for one in published)
            if is_older
            else (),
        )
        return Order(NO_JOB, 0, request, {}, {}, task="digest")

    def _keep(self, comparison: Comparison) -> None:
        """Record that nothing is to be converted."""
        name, sighting = comparison.folder.name, comparison.sighting
        log = logger(folder=name, acquisition=show_path(sighting.key))
        if comparison.published == comparison.generation:
            state = self._ledger.folders.update_mark(name, sighting)
            reason = "its content is the same as before"
        else:
            new = plan_generation(name, sighting, comparison.generation + 1)
            datasets = self._ledger.generations.reinstate(new, comparison.published)
            state = AcquisitionState.PUBLISHED
            reason = f"its content is again that of “{show_path(datasets[-1].path)}”"
        log.info(Event.ACQUISITION_SETTLED, state=str(state), reason=reason)

    def _try_again(self, comparison: Comparison, error: StackwatchError) -> None:
        """Ask again after a passing error; let a conversion tell what is wrong otherwise."""
        if error.disposition is Disposition.PARK or comparison.tries + 1 >= MAX_TRIES:
            self._queue_job(comparison.folder, comparison.sighting, comparison.generation + 1)
        else:
            self.ask(replace(comparison, tries=comparison.tries + 1))


def plan_generation(folder: str, sighting: Sighting, number: int) -> NewJob:
    """Return the record of a generation that looks like this."""
    return NewJob(
        folder=folder,
        acquisition=sighting.key,
        generation=number,
        stat_mark=sighting.stat_mark,
        files=sighting.files,
        total_bytes=sighting.total_bytes,
        size_mark=sighting.size_mark,
    )


def _is_current(comparison: Comparison) -> bool:
    """Tell whether the last scan still saw what was compared."""
    state = comparison.folder.view.states.get(comparison.sighting.key)
    return state is not None and state.stat_mark == comparison.sighting.stat_mark


def _is_same(one: Comparison, other: Comparison) -> bool:
    """Tell whether two comparisons are of the same look at the same acquisition."""
    return one.key == other.key and one.sighting.stat_mark == other.sighting.stat_mark
