"""The ledger guard: what a refusing ledger misses is recorded later, in order, and once."""

from functools import partial

from structlog.testing import capture_logs

from stackwatch.daemon.guard import TRY_INTERVAL_S, LedgerGuard
from stackwatch.errors import LedgerUnwritableError
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
        assert guard.is_degraded
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
    assert not guard.is_degraded
    assert ["daemon.degraded", "daemon.recovered"] == [line["event"] for line in lines]
