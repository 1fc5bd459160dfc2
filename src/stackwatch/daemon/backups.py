"""Keep a copy of the ledger: once a day, beside the work, and at a stop on request."""

import threading
from pathlib import Path
from typing import Final

from stackwatch.clock import Clock
from stackwatch.errors import LedgerError
from stackwatch.ledger.backup import backup_path, write_backup
from stackwatch.ledger.ledger import LEDGER_NAME
from stackwatch.logs import Event, logger

DAY_S: Final = 86_400.0
FIRST_S: Final = 300.0
"""After a start the service has other things to do first."""
DAILY_S: Final = 600.0
LAST_S: Final = 10.0
"""A copy at the daily hour, and one at the stop, takes no longer."""


class Backups:
    """When to copy the ledger. Used by the main thread alone.

    Parameters
    ----------
    state_dir : Path
    clock : Clock
    """

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self._ledger = state_dir / LEDGER_NAME
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._due_s = clock.monotonic() + self._first_s()

    def tick(self) -> None:
        """Begin a copy if it is due."""
        now_s = self._clock.monotonic()
        if now_s < self._due_s or (self._thread is not None and self._thread.is_alive()):
            return
        self._due_s = now_s + DAY_S
        self._thread = threading.Thread(
            target=self._copy, args=(DAILY_S,), name="backup", daemon=True
        )
        self._thread.start()

    def close(self, *, is_asked_for: bool) -> None:
        """Make the last copy, if the stop was asked for and the ledger is well."""
        if self._thread is not None:
            self._thread.join(LAST_S)
            if self._thread.is_alive():
                return
        if is_asked_for:
            self._copy(LAST_S)

    def _copy(self, seconds: float) -> None:
        try:
            write_backup(self._ledger, seconds)
        except LedgerError as error:
            logger().warning(
                Event.BACKUP_FAILED,
                error_code=error.code, message=error.message, hint=error.hint,
            )  # fmt: skip

    def _first_s(self) -> float:
        """Return after how many seconds the first copy is due: soon, if the last one is old."""
        try:
            age_s = self._clock.now() - backup_path(self._ledger).stat().st_mtime
        except OSError:
            return FIRST_S
        return max(FIRST_S, DAY_S - age_s)
