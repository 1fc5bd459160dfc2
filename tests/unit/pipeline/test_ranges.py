"""A range looks now and then whether its conversion still wants it."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackwatch.pipeline import ranges


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
