"""One attempt at a job, from its claim until what came of it is recorded."""

from dataclasses import dataclass

from stackwatch.daemon.stall import StallWatch
from stackwatch.daemon.watching import Looked
from stackwatch.daemon.workers import FactReported, Outcome, Worker
from stackwatch.errors import (
    CancelledError,
    ChangedDuringConversionError,
    StackwatchError,
    StillArrivingError,
    UnexpectedError,
)
from stackwatch.ledger.records import Job
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import Sighting


@dataclass(eq=False, slots=True)
class Running:
    """A claimed job: it is looked at once more, a worker has it, then it is cleared up after.

    Attributes
    ----------
    job : Job
        As it was claimed.
    started_s : float
        Monotonic seconds.
    needed_bytes : int
        What it is going to write, about.
    device : int
        The file system of its target.
    worker : Worker or None
    stall : StallWatch or None
    spoken_s, killed_s : float or None
        When it said its last word; when it was killed.
    verdict : StackwatchError or None
        Why we killed it.
    asking : FactReported or None
        A fact whose answer waits for another look, or for the ledger.
    outcome : Outcome or None
        What came of it, while its leftovers are cleared up.
    seconds : float
        How long it took.
    is_ending : bool
        Its worker is gone, or given up: it takes no slot any more.
    ask_again_s : float or None
        When to ask its target again what became of its datasets.
    """

    job: Job
    started_s: float
    needed_bytes: int = 0
    device: int = 0
    worker: Worker | None = None
    stall: StallWatch | None = None
    spoken_s: float | None = None
    killed_s: float | None = None
    verdict: StackwatchError | None = None
    asking: FactReported | None = None
    outcome: Outcome | None = None
    seconds: float = 0.0
    is_ending: bool = False
    ask_again_s: float | None = None

    @property
    def left_bytes(self) -> int:
        """What it is still going to write, about."""
        progress = self.worker.progress if self.worker is not None else None
        written = int((progress or {}).get("bytes_written", 0))
        return 0 if self.is_ending else max(0, self.needed_bytes - written)


def stopped() -> CancelledError:
    """Return the error for a job that is given back because the daemon stops."""
    return CancelledError(
        "The daemon stops. The job stays in the queue; the next start takes it up.",
        hint="Start the daemon again.",
    )


def unexpected(error: Exception) -> UnexpectedError:
    """Return the error for a job whose attempt could not begin because of a mistake of ours."""
    return UnexpectedError(
        f"{type(error).__name__}: {error}. This is a mistake in stackwatch; the job is tried "
        "again. Please report it with the lines of the log around it.",
        hint="Report it with the log.",
        exception=type(error).__name__,
    )


def ensure_same_content(job: Job, looked: Looked) -> Sighting:
    """Return the sighting if it shows the content that had settled.

    Raises
    ------
    StillArrivingError
        It cannot be seen now.
    ChangedDuringConversionError
        It has changed.
    """
    if looked.sighting is None:
        raise StillArrivingError(
            f"“{show_path(job.name)}” cannot be seen: {looked.reason}.",
            hint="It goes on by itself when the acquisition is back.",
        )
    if looked.sighting.stat_mark != job.stat_mark:
        raise ChangedDuringConversionError(
            f"“{show_path(job.name)}” changed after it had settled. It settles anew and is "
            "converted then.",
            hint="Nothing to do: it goes on by itself.",
        )
    return looked.sighting
