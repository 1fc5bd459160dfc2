"""Tell systemd that the service is alive, as long as every part of it is.

The main thread tells it, at the end of its turn, and only after it has looked at the heartbeats of
all others: a thread of its own would go on smiling over a dead service. When one part has stopped,
nothing is told any more, systemd ends the service with SIGABRT, the stacks of all threads go to the
log, and a new one starts.
"""

import os
from collections.abc import Mapping
from typing import Final

from stackwatch.clock import Clock
from stackwatch.daemon.heartbeats import CONTROL, MAIN_LOOP, Heartbeats
from stackwatch.daemon.sdnotify import Notifier
from stackwatch.daemon.sides import Side
from stackwatch.logs import Event, logger
from stackwatch.settings import Settings

SHARE_OF_LIMIT: Final = 1 / 3
"""Told three times within what systemd allows: one late turn must not matter."""


class Watchdog(Side):
    """Feeds systemd's watchdog, and tells once which part has stopped. The last of the sides.

    Parameters
    ----------
    heartbeats : Heartbeats
    notifier : Notifier
    clock : Clock
    environment : Mapping
        Where `WATCHDOG_USEC` and `WATCHDOG_PID` are looked up, once.
    """

    def __init__(
        self,
        heartbeats: Heartbeats,
        notifier: Notifier,
        clock: Clock,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._heartbeats = heartbeats
        self._notifier = notifier
        self._clock = clock
        self._interval_s = read_limit_s(environment) * SHARE_OF_LIMIT
        self._fed_s: float | None = None
        self._told: tuple[str, ...] = ()
        self._beat = heartbeats.expect(MAIN_LOOP)

    def begin(self, settings: Settings) -> None:
        """Count from now: opening the ledger may have taken long."""
        self._beat()

    def tick(self) -> None:
        """Feed the watchdog if it is due and all parts are alive."""
        self._beat()
        silent = self._heartbeats.silent()
        if silent != self._told:
            self._tell(silent)
        if silent or not self._interval_s:
            return
        now_s = self._clock.monotonic()
        if self._fed_s is None or now_s - self._fed_s >= self._interval_s:
            self._fed_s = now_s
            self._notifier.alive()

    def stop(self) -> None:
        """Expect nothing of the parts that end now; systemd has a limit of its own for a stop."""
        self._heartbeats.release(CONTROL)

    def _tell(self, silent: tuple[str, ...]) -> None:
        log, self._told = logger(), silent
        if not silent:
            log.info(Event.PART_RECOVERED)
            return
        log.error(
            Event.PART_STOPPED,
            reason=f"nothing was heard of: {', '.join(silent)}",
            hint="systemd ends the service and starts it afresh. Report it with the stacks that "
            "follow in the log.",
        )


def read_limit_s(environment: Mapping[str, str]) -> float:
    """Return after how many seconds without a word systemd ends the service; 0: it does not watch.

    Source: sd_watchdog_enabled(3): `WATCHDOG_USEC` counts only where `WATCHDOG_PID` is absent or
    our own, because children inherit both.
    """
    whose = environment.get("WATCHDOG_PID", "")
    if whose and whose != str(os.getpid()):
        return 0.0
    limit_us = environment.get("WATCHDOG_USEC", "")
    return int(limit_us) / 1_000_000 if limit_us.isdecimal() else 0.0
