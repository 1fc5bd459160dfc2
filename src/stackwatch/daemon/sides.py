"""Work that goes on beside watching and converting: putting sources away, delivering, telling.

The service knows such work as a list of sides; each keeps its own state, and none of them may hold
up the main thread. A mistake of ours in one of them is none of the others' business: it is logged,
that side rests for a while, and the rest goes on.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stackwatch.clock import Clock
from stackwatch.daemon.children import Child
from stackwatch.daemon.guard import LedgerGuard
from stackwatch.daemon.mistakes import Mistakes
from stackwatch.errors import (
    IllegalTransitionError,
    LedgerError,
    LedgerUnwritableError,
    StackwatchError,
)
from stackwatch.settings import Settings

if TYPE_CHECKING:
    from stackwatch.daemon.drain import Pending

REST_S: Final = 60.0
REST_MOST_S: Final = 600.0
"""After a mistake a side rests for a minute, after each further one for twice as long: one that
fails for ever stays below what ends the service."""


class Side:
    """One kind of work beside converting. Used by the main thread alone.

    A side overrides what it needs; the rest does nothing.
    """

    def begin(self, settings: Settings) -> None:
        """Start, before anything else happens."""

    def adopt(self, settings: Settings) -> None:
        """Take new settings over."""

    def poke(self) -> None:
        """Look at the next tick: a job has ended."""

    def tick(self) -> None:
        """Do what is due. Called after every message, at least once a second."""

    def take(self, said: "SideSaid") -> None:
        """Act upon what one of its processes says, or upon its end."""

    def pending(self) -> "tuple[Pending, ...]":
        """Return what `run --once` has to wait for."""
        return ()

    def left(self) -> "tuple[Pending, ...]":
        """Return what `run --once` does not wait for, and what is not done all the same."""
        return ()

    def stop(self) -> None:
        """End every process soon; what was begun is taken up at the next start."""

    @property
    def has_children(self) -> bool:
        """Whether a process is left."""
        return False

    def discard(self, said: "SideSaid") -> None:
        """Bury a process after `stop`."""

    def close(self) -> None:
        """Release threads, files and sockets: nothing is called any more."""


@dataclass(frozen=True, slots=True)
class SideSaid:
    """A process of a side spoke, or ended (None). Give it to that side's `take`."""

    side: Side
    child: Child
    message: dict[str, Any] | None


class Sides:
    """All sides of a service, asked together; each is shielded from the mistakes of the others.

    Parameters
    ----------
    *sides : Side
        In the order in which they are asked.
    mistakes : Mistakes
    guard : LedgerGuard
    clock : Clock
    """

    def __init__(self, *sides: Side, mistakes: Mistakes, guard: LedgerGuard, clock: Clock) -> None:
        self._sides = sides
        self._mistakes = mistakes
        self._guard = guard
        self._clock = clock
        self._rests: dict[Side, tuple[float, float]] = {}
        """Until when each side rests, and for how long; forgotten when it does its work again."""

    def begin(self, settings: Settings) -> None:
        """Start each."""
        for side in self._sides:
            side.begin(settings)

    def adopt(self, settings: Settings) -> None:
        """Give each the new settings."""
        for side in self._sides:
            side.adopt(settings)

    def poke(self) -> None:
        """Tell each that a job has ended."""
        for side in self._sides:
            side.poke()

    def tick(self) -> None:
        """Let each do what is due.

        Raises
        ------
        LedgerError
            The ledger is damaged: the service ends.
        UnexpectedError
            There were too many mistakes of late: the service ends.
        """
        now_s = self._clock.monotonic()
        for side in self._sides:
            until_s, _ = self._rests.get(side, (now_s, 0.0))
            if now_s >= until_s and self._shield(side, side.tick):
                self._rests.pop(side, None)

    def pending(self) -> "Iterator[Pending]":
        """Yield what `run --once` has to wait for."""
        for side in self._sides:
            yield from side.pending()

    def left(self) -> "Iterator[Pending]":
        """Yield what is left for another time."""
        for side in self._sides:
            yield from side.left()

    def stop(self) -> None:
        """Have each end its processes."""
        for side in self._sides:
            with contextlib.suppress(StackwatchError):  # the others have to end theirs too
                self._shield(side, side.stop)

    @property
    def has_children(self) -> bool:
        """Whether a process is left."""
        return any(side.has_children for side in self._sides)

    def close(self) -> None:
        """Have each release what it holds."""
        for side in self._sides:
            with contextlib.suppress(StackwatchError):
                self._shield(side, side.close)

    def _shield(self, side: Side, deed: Callable[[], None]) -> bool:
        """Let a side do something; tell whether it went well."""
        try:
            deed()
        except LedgerUnwritableError as error:
            self._guard.note(error)
            return True  # the disk's fault
        except Exception as error:
            if isinstance(error, LedgerError) and not isinstance(error, IllegalTransitionError):
                raise
            _, before_s = self._rests.get(side, (0.0, 0.0))
            rest_s = min(2 * before_s, REST_MOST_S) or REST_S
            self._rests[side] = (self._clock.monotonic() + rest_s, rest_s)
            self._mistakes.note("", error)
            return False
        return True
