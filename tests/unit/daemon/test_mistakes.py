"""Mistakes of ours: one is survived, many are not."""

import pytest
import structlog

from stackwatch.daemon.mistakes import MAX_MISTAKES, WINDOW_S, Mistakes
from stackwatch.errors import UnexpectedError


class Standing:
    """A clock that stands still until it is moved."""

    at = 0.0

    def monotonic(self) -> float:
        """Return the seconds since the beginning."""
        return self.at

    def now(self) -> float:
        """Return the same."""
        return self.at


def broken(text: str = "x") -> Exception:
    """Return an exception that was raised."""
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_a_mistake_is_logged_whole_once():
    """The same mistake in the same folder comes with its lines only the first time."""
    mistakes = Mistakes(Standing())
    with structlog.testing.capture_logs() as lines:
        reason = mistakes.note("em", broken())
        mistakes.note("em", broken("y"))
        mistakes.note("other", broken())

    assert "ValueError: x" in reason
    assert [True, False, True] == [line["exc_info"] is not None for line in lines]
    assert {"mistake.caught"} == {line["event"] for line in lines}
    assert ["em", "em", "other"] == [line["folder"] for line in lines]


def test_many_mistakes_end_the_service():
    """The tenth within ten minutes is one too many; spread out they never are."""
    clock = Standing()
    mistakes = Mistakes(clock)
    for _ in range(MAX_MISTAKES * 2):
        mistakes.note("em", broken())
        clock.at += WINDOW_S / (MAX_MISTAKES - 2)
    clock.at += WINDOW_S
    for _ in range(MAX_MISTAKES - 1):
        mistakes.note("em", broken())

    with pytest.raises(UnexpectedError, match="10 mistakes"):
        mistakes.note("em", broken())
