"""Sides of the service: what is wrong with one is none of the others' business."""

import sqlite3

import pytest
import structlog

from stackwatch.daemon.guard import LedgerGuard
from stackwatch.daemon.mistakes import MAX_MISTAKES, Mistakes
from stackwatch.daemon.sides import REST_MOST_S, Side, Sides
from stackwatch.errors import IllegalTransitionError, LedgerError, LedgerUnwritableError
from stackwatch.ledger.ledger import Ledger
from tests.unit.ledger.conftest import FakeClock


class Bad(Side):
    """Fails at whatever it is asked, for as long as `error` is set."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.asked = 0

    def tick(self) -> None:
        """Fail."""
        self.asked += 1
        if self.error is not None:
            raise self.error

    stop = close = tick


class Good(Side):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def tick(self) -> None:
        """Count."""
        self.asked += 1

    stop = close = tick


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands still."""
    return FakeClock()


@pytest.fixture
def guard(tmp_path, clock):
    """The guard of a real ledger."""
    with Ledger.open(tmp_path, clock) as ledger:
        yield LedgerGuard(ledger, clock)


def make_sides(guard, clock, error):
    """Return a bad side, a good one after it, and both together."""
    bad, good = Bad(error), Good()
    return bad, good, Sides(bad, good, mistakes=Mistakes(clock), guard=guard, clock=clock)


@pytest.mark.parametrize("error", [KeyError("x"), IllegalTransitionError("a bug")])
def test_a_side_that_fails_for_ever_starves_nobody_and_ends_nothing(guard, clock, error):
    """The side after it, as the watchdog is one, gets every turn for a day; mistakes stay few."""
    bad, good, sides = make_sides(guard, clock, error)
    turns = 86_400 // 60
    with structlog.testing.capture_logs() as lines:
        for _ in range(turns):
            sides.tick()
            clock.seconds += 60.0

    assert turns == good.asked
    assert bad.asked == len(lines) <= 4 + 86_400 / REST_MOST_S
    assert bad.asked > MAX_MISTAKES  # it is tried again and again all the same


def test_a_side_that_works_again_is_asked_every_time(guard, clock):
    """After its rest it begins anew, and a later mistake costs a minute again."""
    bad, _, sides = make_sides(guard, clock, KeyError("x"))
    with structlog.testing.capture_logs():
        sides.tick()
        bad.error = None
        sides.tick()
        rested = bad.asked
        clock.seconds += 60.0
        sides.tick()
        sides.tick()

    assert (1, 3) == (rested, bad.asked)


def test_a_full_disk_is_no_mistake(guard, clock):
    """The guard takes notice, and the sides after it have their turn."""
    _, good, sides = make_sides(guard, clock, LedgerUnwritableError("no room"))
    with structlog.testing.capture_logs():
        sides.tick()

    assert (True, 1) == (guard.is_degraded, good.asked)


def test_a_damaged_ledger_ends_the_service(guard, clock):
    """Going on could only make it worse; the next start looks through it."""
    _, _, sides = make_sides(guard, clock, LedgerError("database disk image is malformed"))

    with pytest.raises(LedgerError, match="malformed"):
        sides.tick()


@pytest.mark.parametrize("error", [sqlite3.ProgrammingError("x"), LedgerError("x")])
def test_every_side_is_stopped_and_closed(guard, clock, error):
    """A side that cannot end must not leave processes and threads of the others behind."""
    _, good, sides = make_sides(guard, clock, error)
    with structlog.testing.capture_logs():
        sides.stop()
        sides.close()

    assert 2 == good.asked
