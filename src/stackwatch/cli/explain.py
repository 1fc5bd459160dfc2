"""Find the acquisition somebody asks about, and the reason for its state."""

from pathlib import Path
from typing import Any

from stackwatch.cli.live import ask_daemon
from stackwatch.model.wording import EVENTS_SHOWN


def explain_acquisition(state_dir: Path, what: str, limit: int = EVENTS_SHOWN) -> dict[str, Any]:
    """Return the document of `stackwatch jobs explain`.

    Parameters
    ----------
    state_dir : Path
    what : str
        A job's number, an acquisition's path, or its name.
    limit : int
        How many of the last lines of its history are told.

    Raises
    ------
    UsageError
        Nothing of that name was seen; the caller shows it.
    """
    from stackwatch.ledger.explaining import build_explanation
    from stackwatch.ledger.reader import LedgerReader

    with LedgerReader.open(state_dir) as reader:
        return build_explanation(
            reader, what, lambda command: ask_daemon(state_dir, command), limit
        )
