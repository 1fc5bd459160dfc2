"""Pictures that nobody asks for any more are removed: the preview folder does not grow for ever."""

import contextlib
from pathlib import Path
from typing import Final

from stackwatch.clock import Clock
from stackwatch.daemon.sides import Side
from stackwatch.errors import LedgerError
from stackwatch.ledger.ledger import Ledger
from stackwatch.model.preview import PREVIEWS_FOLDER

SWEEP_S: Final = 3600.0
FIRST_S: Final = 60.0
KEPT_US: Final = 30 * 86_400 * 1_000_000
"""So long the picture of a superseded dataset is kept."""

PART_S: Final = 3600.0
"""A file under a temporary name is older than this only if its writer was killed."""


class Pictures(Side):
    """Removes pictures of datasets that are forgotten, or superseded for long.

    Workers write the pictures; nothing else is done about them here.

    Parameters
    ----------
    ledger : Ledger
    clock : Clock
    state_dir : Path
    """

    def __init__(self, ledger: Ledger, clock: Clock, state_dir: Path) -> None:
        self._ledger = ledger
        self._clock = clock
        self._folder = state_dir / PREVIEWS_FOLDER
        self._next_s = clock.monotonic() + FIRST_S

    def tick(self) -> None:
        """Sweep once an hour."""
        now_s = self._clock.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + SWEEP_S
        with contextlib.suppress(OSError, LedgerError):  # a picture too many harms nobody
            self._sweep()

    def _sweep(self) -> None:
        found = list(self._folder.iterdir()) if self._folder.is_dir() else []
        if not found:
            return
        now_s = self._clock.now()
        shown = self._ledger.datasets.shown_runs(round(now_s * 1_000_000) - KEPT_US)
        for path in found:
            if path.name.startswith("."):
                is_left = path.stat().st_mtime < now_s - PART_S
            else:
                is_left = path.suffix == ".png" and path.stem not in shown
            if is_left:
                path.unlink(missing_ok=True)
