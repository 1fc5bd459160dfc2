"""What is converted next: whose turn it is, and whether there is room for it."""

from collections import Counter
from collections.abc import Callable, Sequence

from stackwatch.clock import Clock
from stackwatch.daemon.errands import Errands
from stackwatch.daemon.history import History
from stackwatch.daemon.recovery import Recovery
from stackwatch.daemon.rooms import Rooms
from stackwatch.daemon.turns import Share, order_turns
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import Job
from stackwatch.settings import Settings


class Intake:
    """Claims jobs for free slots. Used by the main thread alone.

    Parameters
    ----------
    ledger : Ledger
    history : History
    recovery : Recovery
        Nothing begins at a target before it was surveyed.
    errands : Errands
    clock : Clock

    Attributes
    ----------
    rooms : Rooms
    """

    def __init__(
        self,
        ledger: Ledger,
        history: History,
        recovery: Recovery,
        errands: Errands,
        clock: Clock,
    ) -> None:
        self.rooms = Rooms(errands, clock)
        self._ledger = ledger
        self._history = history
        self._recovery = recovery
        self._turns: dict[str, int] = {}

    def claim_next(
        self, settings: Settings, busy: Counter[str], promised: Callable[[int], int]
    ) -> Job | None:
        """Claim the job whose turn it is; None if there is none, or its room is not known yet.

        Parameters
        ----------
        settings : Settings
        busy : Counter
            Slots in use, by folder.
        promised : callable
            Returns what running conversions are going to write on a device.

        Raises
        ------
        LedgerUnwritableError
            Nothing was claimed.
        """
        heads = self._ledger.jobs.heads()
        self._end_pauses(heads)
        shares = {
            folder.name: Share(
                folder.priority,
                folder.max_workers,
                busy[folder.name],
                self._turns.get(folder.name, 0),
            )
            for folder in settings.folder
            if self._recovery.is_done(folder.target)
        }
        for job in order_turns(heads, shares):
            folder = settings.folder_named(job.folder)
            assert folder is not None
            kept_bytes = self._recovery.kept_bytes(job.job_id)
            verdict = self.rooms.may_begin(folder, job, promised, kept_bytes)
            if verdict is None:
                return None
            if verdict:
                self._turns[job.folder] = max(self._turns.values(), default=0) + 1
                return self._ledger.jobs.claim(job_id=job.job_id)
        return None

    def _end_pauses(self, heads: Sequence[Job]) -> None:
        """Let paused folders go that have nothing left to convert."""
        waiting = {job.folder for job in heads}
        for name in tuple(self.rooms.paused):
            if name not in waiting and not self._history.has_open_jobs(name):
                self.rooms.resume(name, "nothing is left that waits")
