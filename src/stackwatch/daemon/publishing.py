"""Facts of workers: looked into, committed, then acknowledged; only then does a worker go on."""

from collections.abc import Callable, Iterable

from stackwatch.daemon.attempts import Running, ensure_same_content, stopped
from stackwatch.daemon.guard import LedgerGuard
from stackwatch.daemon.watching import Looked, Watching
from stackwatch.daemon.workers import FactReported
from stackwatch.errors import LedgerUnwritableError, StackwatchError
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import NewDataset
from stackwatch.logs import Event, logger
from stackwatch.model.acquisition import show_path


class Publishing:
    """Answers the facts that workers report. Used by the main thread alone.

    A fact the ledger cannot commit at present is neither acknowledged nor refused: the worker
    waits, its work is not lost, and nothing is renamed that the ledger does not know of.
    """

    def __init__(self, ledger: Ledger, watching: Watching, guard: LedgerGuard) -> None:
        self._ledger = ledger
        self._watching = watching
        self._guard = guard

    def take(self, running: Running, reported: FactReported, *, is_stopping: bool) -> None:
        """Commit a fact, then acknowledge it; refuse what may not be."""
        running.asking = reported
        if reported.fact.stage != "publishing":
            self._answer(running, reported, lambda: self._record_published(running, reported))
        elif is_stopping:
            self.refuse(running)
        else:
            self._look(running, reported)

    def refuse(self, running: Running) -> None:
        """Tell a worker that waits to give up: the daemon stops."""
        if running.asking is not None:
            running.asking.worker.refuse(running.asking, stopped())
            running.asking = None

    def ask_again(self, attempts: Iterable[Running]) -> None:
        """Look anew at what waited for the ledger: it may have changed meanwhile."""
        for running in attempts:
            reported = running.asking
            if reported is not None and reported.fact.stage == "publishing":
                self._look(running, reported)

    def _look(self, running: Running, reported: FactReported) -> None:
        job = running.job
        key = self._watching.key_now(job.folder, job.key)
        self._watching.look_at(
            job.folder, key, lambda looked: self._agree(running, reported, looked)
        )

    def _agree(self, running: Running, reported: FactReported, looked: Looked) -> None:
        """Allow a rename if the acquisition is still what it was."""

        def commit() -> None:
            ensure_same_content(running.job, looked)
            fact = reported.fact
            self._ledger.datasets.record_publishing(
                running.job.job_id,
                NewDataset(
                    fact.dataset_path,
                    fact.staging_path,
                    fact.run_id,
                    fact.content_digest,
                    remaining=fact.remaining,
                ),
            )

        try:
            self._answer_now(running, reported, commit)
        except LedgerUnwritableError as error:
            self._guard.note(error)  # `ask_again` comes back to it

    def _record_published(self, running: Running, reported: FactReported) -> None:
        fact, job = reported.fact, running.job
        dataset = self._ledger.datasets.record_published(fact.run_id, fact.dataset_path)
        twins = self._ledger.datasets.twins_of(dataset)[:1]
        twin = f"its content is that of “{show_path(twins[0].path)}” too" if twins else None
        logger(job_id=job.job_id).info(
            Event.DATASET_PUBLISHED,
            folder=job.folder,
            acquisition=show_path(job.key),
            path=show_path(fact.dataset_path),
            **({"reason": twin} if twin else {}),
        )

    def _answer(self, running: Running, reported: FactReported, commit: Callable[[], None]) -> None:
        """Answer now, or when the ledger takes writes again."""
        self._guard.record(lambda: self._answer_now(running, reported, commit))

    def _answer_now(
        self, running: Running, reported: FactReported, commit: Callable[[], None]
    ) -> None:
        """Acknowledge what was committed; refuse with the error of what was not."""
        if running.asking is not reported:
            return  # the worker died meanwhile, or was told to stop
        try:
            commit()
        except LedgerUnwritableError:
            raise
        except StackwatchError as error:
            reported.worker.refuse(reported, error)
        else:
            reported.worker.acknowledge(reported)
        running.asking = None
