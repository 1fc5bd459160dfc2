"""A range and its conversion: each looks whether the other is still there."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackwatch.engine.stream import StreamControl
from stackwatch.errors import StackwatchError, UnexpectedError, WorkerKilledError
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


@pytest.mark.parametrize(
    ("command", "error"),
    [(("no such program",), WorkerKilledError), (("sh", "-c", "echo ?; cat"), UnexpectedError)],
    ids=["cannot be started", "answers nonsense"],
)
def test_a_process_of_no_use_is_an_error(
    command: tuple[str, ...], error: type[StackwatchError], tmp_path: Path
):
    """The conversion ends with words; it does not wait for ever."""
    control = StreamControl(lambda: None, threading.Event())
    patience = threading.Timer(10, control.cancelled.set)
    patience.start()
    with pytest.raises(error):
        ProcessExecutor(1, command).carry_out(
            tmp_path / "order", [0], lambda *_: None, control, lambda: None
        )
    patience.cancel()


def test_a_process_that_dies_between_two_ranges_is_replaced(tmp_path: Path):
    """What it was not told any more is told to the next one; its conversion gets its receipt."""
    is_first = tmp_path / "is_first"
    is_first.touch()
    script = f'rm "{is_first}" 2> /dev/null && exec cat; while read line; do echo "$RECEIPT"; done'
    command = ("sh", "-c", f'RECEIPT=\'{{"receipt": {{"bytes": 7}}}}\'; {script}')
    executor = ProcessExecutor(1, command)
    process = executor._slots[0]._running()
    assert process is not None
    while is_first.exists():
        threading.Event().wait(0.01)
    process.kill()
    process.wait()
    control = StreamControl(lambda: None, threading.Event())
    patience = threading.Timer(10, control.cancelled.set)
    patience.start()
    told: list[tuple[int, object]] = []
    executor.carry_out(
        tmp_path / "order", [3], lambda *done: told.append(done), control, lambda: None
    )
    executor.close()
    patience.cancel()

    assert [(3, {"bytes": 7})] == told
