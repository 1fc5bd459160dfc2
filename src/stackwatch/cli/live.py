"""What only the running daemon knows: progress of this moment, how long it has been quiet."""

from pathlib import Path
from typing import Any, Final

from stackwatch.errors import StackwatchError

_PATIENCE_S: Final = 3.0


def ask_daemon(state_dir: Path, command: dict[str, Any]) -> dict[str, Any] | None:
    """Return the daemon's answer, None if there is no daemon or it is busy.

    The ledger tells the facts; this only adds to them, so that nothing depends on it.
    """
    from stackwatch.daemon.control import request

    try:
        return request(state_dir, command, _PATIENCE_S)
    except (StackwatchError, OSError):
        return None
