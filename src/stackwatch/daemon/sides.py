"""Work that goes on beside watching and converting: putting sources away, delivering, telling.

The service knows such work as a list of sides; each keeps its own state, and none of them may hold
up the main thread.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stackwatch.daemon.children import Child
from stackwatch.settings import Settings

if TYPE_CHECKING:
    from stackwatch.daemon.drain import Pending


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
    """All sides of a service, asked together."""

    def __init__(self, *sides: Side) -> None:
        self._sides = sides

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
        """Let each do what is due."""
        for side in self._sides:
            side.tick()

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
            side.stop()

    @property
    def has_children(self) -> bool:
        """Whether a process is left."""
        return any(side.has_children for side in self._sides)

    def close(self) -> None:
        """Have each release what it holds."""
        for side in self._sides:
            side.close()
