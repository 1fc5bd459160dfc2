"""The ledger guard: what a refusing ledger misses is recorded later, in order, and once."""

from functools import partial

import pytest
from structlog.testing import capture_logs

from stackwatch.daemon.guard import TRY_INTERVAL_S, LedgerGuard
from stackwatch.errors import IllegalTransitionError, LedgerUnwritableError
from stackwatch.ledger.ledger import Ledger


class FakeClock:
    """A clock that only a test moves."""

    seconds = 0.0

    def monotonic(self) -> float:
        """Return the time set."""
        return self.seconds

    def now(self) -> float:
        """Return the time set."""
        return self.seconds


def test_deeds_wait_for_the_ledger_and_keep_their_order(tmp_path):
    """C6: one line says that the ledger refuses, one that it is back; no deed is lost or moved."""
    clock = FakeClock()
    done: list[str] = []
    refusals = ["disk full"]

    def deed(name: str) -> None:
        if refusals:
            raise LedgerUnwritableError(refusals[0])
        done.append(name)

    with Ledger.open(tmp_path, clock) as ledger, capture_logs() as lines:
        guard = LedgerGuard(ledger, clock)
        for name in "abc":
            guard.record(partial(deed, name))
        guard.note(LedgerUnwritableError("again"))
        assert "disk full" == guard.reason
        clock.seconds += TRY_INTERVAL_S
        assert not guard.tick()
        assert [] == done
        refusals.clear()
        assert not guard.tick()  # too soon after the last try
        clock.seconds += TRY_INTERVAL_S
        assert guard.tick()
        assert not guard.tick()
        guard.record(lambda: deed("d"))

    assert ["a", "b", "c", "d"] == done
    assert ("", False) == (guard.reason, guard.is_behind)
    assert ["daemon.degraded", "daemon.recovered"] == [line["event"] for line in lines]


def test_a_deed_that_fails_otherwise_does_not_block_the_others(tmp_path):
    """A mistake in one deed is raised once, and what comes after it is done."""
    clock, done = FakeClock(), list[str]()
    refusals = ["disk full"]

    def deed(name: str) -> None:
        if refusals:
            raise LedgerUnwritableError(refusals[0])
        if name == "bad":
            raise IllegalTransitionError("not so")
        done.append(name)

    with Ledger.open(tmp_path, clock) as ledger:
        guard = LedgerGuard(ledger, clock)
        for name in ("bad", "good"):
            guard.record(partial(deed, name))
        refusals.clear()
        clock.seconds += TRY_INTERVAL_S
        with pytest.raises(IllegalTransitionError):
            guard.tick()
        clock.seconds += TRY_INTERVAL_S
        assert guard.tick()

    assert ["good"] == done
