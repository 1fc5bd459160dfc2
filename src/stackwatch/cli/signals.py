"""Signals during a conversion: the first one asks to stop, the second one does it.

A terminal that is closed, or a connection that is lost, counts as one of them: SIGHUP.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from stackwatch.errors import CancelledError, ExitCode


class StopOnSignal:
    """Sets an event at SIGINT, SIGTERM or SIGHUP while it is entered.

    The conversion stops at its next slab and removes what it has staged; ranges that it has
    finished stay, unless it was a person's Ctrl+C. A second signal acts as if this class did not
    exist.

    Attributes
    ----------
    cancelled : threading.Event
    """

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # `nohup`
            self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()
        if isinstance(error, CancelledError) and self._number is not None:
            error.values["exit_code"] = self.exit_code

    @property
    def exit_code(self) -> int:
        """Exit code of a program that was stopped by the signal that came."""
        is_term = self._number == signal.SIGTERM
        return ExitCode.TERMINATED if is_term else ExitCode.INTERRUPTED

    def goes_on(self) -> bool:
        """Tell whether who stopped the program may start it again: a batch system, a reboot."""
        return self._number in (signal.SIGTERM, signal.SIGHUP)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._number = number
        self.cancelled.set()
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
