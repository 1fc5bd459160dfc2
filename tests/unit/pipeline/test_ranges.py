"""A range and its conversion: each looks whether the other is still there."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackwatch.engine.stream import StreamControl
from stackwatch.errors import WorkerKilledError
from stackwatch.pipeline import ranges
from stackwatch.pipeline.processes import ProcessExecutor


def test_a_share_that_fails_for_a_moment_does_not_end_the_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A stale handle says nothing about the order; when the order is gone, the range stops."""
    order = tmp_path / "order"
    answers: Iterator[bool | OSError] = iter([OSError(errno.ESTALE, "stale"), True, False])

    def look(_path: Path) -> bool:
        answer = next(answers, False)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(ranges, "BEAT_S", 0.01)
    monkeypatch.setattr(Path, "exists", look)
    with ranges._beating(order, 0) as control:
        assert control.cancelled.wait(10)


def test_processes_that_cannot_be_started_are_an_error(tmp_path: Path):
    """A machine short of processes ends the conversion with words; it does not wait for ever."""
    control = StreamControl(lambda: None, threading.Event())
    patience = threading.Timer(10, control.cancelled.set)
    patience.start()
    with pytest.raises(WorkerKilledError):
        ProcessExecutor(1, (str(tmp_path / "nothing"),)).carry_out(
            tmp_path / "order", [0], lambda *_: None, control, lambda: None
        )
    patience.cancel()
