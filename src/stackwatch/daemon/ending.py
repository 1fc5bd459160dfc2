"""Whether the service has come to an end by itself, as with `run --once`, and how it ends."""

import signal
from dataclasses import replace

from stackwatch.clock import Clock
from stackwatch.daemon.comparisons import Comparisons
from stackwatch.daemon.conversions import Conversions
from stackwatch.daemon.drain import Drain, Survey
from stackwatch.daemon.history import History
from stackwatch.daemon.sides import Sides
from stackwatch.daemon.standing import find_hindrances, iter_work
from stackwatch.daemon.watching import Watching
from stackwatch.errors import ExitCode

SURVEY_INTERVAL_S = 0.25


class Ending:
    """Looks now and then whether anything is left to wait for. Used by the main thread alone.

    Parameters
    ----------
    drain : Drain or None
        None: the service goes on until a stop is asked for.
    clock : Clock
    history : History
    """

    def __init__(self, drain: Drain | None, clock: Clock, history: History) -> None:
        self._drain = drain
        self._clock = clock
        self._history = history
        self._surveyed_s = 0.0
        self._survey: Survey | None = None

    def begin(self) -> None:
        """Note what there was before."""
        if self._drain is not None:
            self._drain.begin(self._clock, self._history)

    def has_come(
        self, watching: Watching, conversions: Conversions, comparisons: Comparisons, sides: Sides
    ) -> bool:
        """Tell whether all that can be done is done; looked at now and then, not every time."""
        now_s = self._clock.monotonic()
        if self._drain is None or now_s - self._surveyed_s < SURVEY_INTERVAL_S:
            return False
        self._surveyed_s = now_s
        survey = self._drain.survey(
            watching.folders,
            self._history,
            self._clock,
            iter_work(conversions, comparisons, sides),
            find_hindrances(watching, conversions),
        )
        if not self._drain.is_over(survey, now_s):
            return False
        self._survey = replace(survey, left=(*survey.left, *sides.left()))
        return True

    def conclude(self, stopped_by: int) -> int:
        """Return the exit code of an end that was asked for by a signal, or came by itself."""
        if self._drain is None:
            return ExitCode.DONE
        if self._survey is None:  # a signal came first
            is_term = stopped_by == signal.SIGTERM
            return ExitCode.TERMINATED if is_term else ExitCode.INTERRUPTED
        return self._drain.conclude(self._history, self._survey, self._clock)
