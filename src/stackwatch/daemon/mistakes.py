"""Mistakes of ours in the running daemon: one is survived, many are not.

An exception nobody expected, while one folder or one message was dealt with, must not end the
conversions and the watching of all others. If they do not stop, a fresh start is the better
answer, and systemd gives it.
"""

import traceback
from collections import deque
from typing import Final

from stackwatch.clock import Clock
from stackwatch.errors import UnexpectedError
from stackwatch.logs import Event, logger

MAX_MISTAKES: Final = 10
WINDOW_S: Final = 600.0


class Mistakes:
    """Counts exceptions nobody expected; each is logged whole the first time it is met.

    Parameters
    ----------
    clock : Clock
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: deque[float] = deque()
        self._known: set[tuple[str, str]] = set()

    def note(self, where: str, error: Exception) -> str:
        """Log a mistake and return it as a sentence.

        Parameters
        ----------
        where : str
            Name of the folder, or what else was dealt with.
        error : Exception

        Raises
        ------
        UnexpectedError
            There were too many of late: the caller lets the daemon end, to be started again.
        """
        now_s = self._clock.monotonic()
        self._times.append(now_s)
        while now_s - self._times[0] > WINDOW_S:
            self._times.popleft()
        told = f"{type(error).__name__}: {error}"
        place = traceback.extract_tb(error.__traceback__)[-1:]
        kind = (where, f"{type(error).__name__} {place}")
        logger().error(
            Event.MISTAKE_CAUGHT,
            **({"folder": where} if where else {}),
            message=told,
            hint="This is a mistake in stackwatch. Please report it with these lines.",
            exc_info=None if kind in self._known else error,
        )
        self._known.add(kind)
        if len(self._times) >= MAX_MISTAKES:
            raise UnexpectedError(
                f"{len(self._times)} mistakes within {WINDOW_S / 60:.0f} minutes, the last one: "
                f"{told}. The service ends, to be started afresh. Please report it with the log.",
                hint="Start the service again, and report it with the log.",
            ) from error
        return f"a mistake in stackwatch, see the log ({told}); it is tried again at the next scan"
