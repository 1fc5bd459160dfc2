"""How the processes that convert and deliver speak: the daemon's logs, and surprises as errors."""

import sys
from pathlib import Path
from typing import Any

from stackwatch.errors import UnexpectedError


def log_like_the_daemon(logs: dict[str, Any], bound: dict[str, Any]) -> None:
    """Log as the daemon does, with some keys in every line; not at all if `logs` is empty."""
    if not logs:
        return
    import structlog

    from stackwatch.logs import configure_logs

    file = logs.get("file")
    place = Path(file) if file is not None else None
    configure_logs(sys.stdout, logs["format"], logs["level"], place, never_blocks=True)
    structlog.contextvars.bind_contextvars(**bound)


def describe_unexpected(error: Exception, *, may_hold_secrets: bool = False) -> UnexpectedError:
    """Wrap an exception we have no name for, with the place it comes from.

    Parameters
    ----------
    error : Exception
    may_hold_secrets : bool
        Whether its own text is left out.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = ""
    if trace is not None:
        code = trace.tb_frame.f_code
        place = f" in {Path(code.co_filename).name}, {code.co_name}, line {trace.tb_lineno}"
    text = "" if may_hold_secrets else f": {error}"
    return UnexpectedError(
        f"{type(error).__name__}{place}{text}. This is a mistake in stackwatch. "
        "Please report it with the lines of the log around it.",
        hint="Report it with the log.",
        exception=type(error).__name__,
    )
