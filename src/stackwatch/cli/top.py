"""`stackwatch top`: the live status in a terminal."""

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from stackwatch.cli.answers import answering
from stackwatch.cli.live import ask_daemon
from stackwatch.cli.options import ConfigOption, SetOption
from stackwatch.cli.status import find_state_dir

if TYPE_CHECKING:
    from stackwatch.web.rates import Rate, RateMeter

_EPILOG = """\b
Keys: q or Ctrl-C ends it.
Examples:
  stackwatch top
  stackwatch top --interval 5
  stackwatch top --once | less -R
"""
_LAST_KEYS: Final = b"qQ\x03\x04"
_ESCAPE: Final = b"\x1b"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("top", epilog=_EPILOG)(answering(top))


def top(
    interval_s: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.2, help="Between two looks.")
    ] = 1.0,
    is_once: Annotated[
        bool, typer.Option("--once", help="Show it once and end; so it does without a terminal.")
    ] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Show the service live: folders, progress with speed and time left, what needs a human.

    Reads the ledger, and asks the daemon how far it is; it changes nothing. `stackwatch status` has
    the same as text and as JSON.
    """
    from rich.console import Console

    from stackwatch.cli.top_view import draw_status

    look = Look(find_state_dir(config, assignments))
    console = Console()
    if is_once or not console.is_terminal or not sys.stdin.isatty():
        console.print(draw_status(look.survey(), look.rates))
        return
    _show_live(console, look, interval_s)


class Look:
    """Looks at the service again and again, and remembers how fast its conversions are.

    Parameters
    ----------
    state_dir : Path

    Attributes
    ----------
    rates : dict of job number to Rate
        As of the last look.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._meters: dict[int, RateMeter] = {}
        self.rates: dict[int, Rate] = {}

    def survey(self) -> dict[str, Any]:
        """Return the document of `stackwatch status`."""
        from stackwatch.ledger.documents import add_live, build_status
        from stackwatch.ledger.reader import LedgerReader
        from stackwatch.web.rates import RateMeter

        with LedgerReader.open(self._state_dir) as reader:
            record = build_status(reader)
        if record["status"] == "running":
            add_live(record, ask_daemon(self._state_dir, {"command": "status"}) or {})
        now_s, running = time.monotonic(), {}
        for job in record["converting"]:
            meter = self._meters.get(job["job_id"]) or RateMeter()
            running[job["job_id"]] = meter
            self.rates[job["job_id"]] = meter.note(now_s, job["progress"])
        self._meters = running
        return record


def _show_live(console: Any, look: Look, interval_s: float) -> None:
    from rich.live import Live

    from stackwatch.cli.top_view import draw_status

    with (
        _single_keys(),
        Live(
            draw_status(look.survey(), look.rates),
            console=console,
            screen=True,
            auto_refresh=False,
            vertical_overflow="crop",
        ) as live,
        contextlib.suppress(KeyboardInterrupt),
    ):
        while not _is_ended(interval_s):
            live.update(draw_status(look.survey(), look.rates), refresh=True)


def _is_ended(timeout_s: float) -> bool:
    """Wait so long for a key; tell whether it was one that ends."""
    deadline_s = time.monotonic() + timeout_s
    while (left_s := deadline_s - time.monotonic()) > 0:
        readable: Sequence[Any] = select.select([sys.stdin.fileno()], [], [], left_s)[0]
        if not readable:
            return False
        keys = os.read(sys.stdin.fileno(), 64)
        if is_last(keys):
            return True
    return False


def is_last(keys: bytes) -> bool:
    """Tell whether what was typed ends it: an arrow or a turn of the wheel begins like Escape."""
    if keys.startswith(_ESCAPE):
        return keys == _ESCAPE
    return not keys or any(key in _LAST_KEYS for key in keys)


@contextlib.contextmanager
def _single_keys() -> Iterator[None]:
    """Let the terminal give each key at once, unseen; put it back afterwards."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin.fileno())
    tty.setcbreak(sys.stdin.fileno())
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)
