"""The port between a conversion and whoever carries out its ranges: processes, or a cluster."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from stackwatch.engine.stream import StreamControl

RangeDone = Callable[[int, dict[str, Any]], None]
"""Told the number of a range and its receipt, in the thread that called `carry_out`."""


class RangeExecutor(Protocol):
    """Carries out the ranges of one stack, several at a time, somewhere."""

    @property
    def name(self) -> str:
        """What people call it: `processes`, `dask`."""
        ...

    @property
    def slots(self) -> int:
        """How many ranges run at the same time, about."""
        ...

    def carry_out(
        self,
        order: Path,
        numbers: Sequence[int],
        done: RangeDone,
        control: StreamControl,
        tick: Callable[[], None],
    ) -> None:
        """Return when every range was carried out; one whose process was lost is done again.

        Parameters
        ----------
        order : Path
            What `pipeline.ranges.run_range` is given, with a number.
        numbers : sequence of int
        done : callable
        control : StreamControl
        tick : callable
            Called about once a second, in the thread of the caller.

        Raises
        ------
        CancelledError
            On request.
        StackwatchError
            What a range raised first, or that its processes were lost again and again. The rest
            was called off.
        """
        ...

    def close(self) -> None:
        """End the processes it started; workers of somebody else's cluster stay."""
        ...
