"""`stackwatch run`: the daemon, once or for ever."""

import contextlib
import faulthandler
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from stackwatch.cli.answers import answer_json, answering
from stackwatch.cli.options import ConfigOption, JsonFlag, SetOption
from stackwatch.errors import UsageError

if TYPE_CHECKING:
    from stackwatch.settings import Settings

_EPILOG = """\b
Examples:
  stackwatch run --config /etc/stackwatch/config.toml
  stackwatch run --config test.toml --set logs.level=debug
  stackwatch run --once --config test.toml
  stackwatch run --dry-run --config test.toml
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", epilog=_EPILOG)(answering(run))


def run(
    is_once: Annotated[
        bool,
        typer.Option("--once", help="Convert what is there, then end. 0 done, 75 parked, 1 left."),
    ] = False,
    is_rehearsal: Annotated[
        bool,
        typer.Option("--dry-run", help="Tell what would become of what is there; write nothing."),
    ] = False,
    patience_s: Annotated[
        float | None,
        typer.Option(
            "--for",
            metavar="SECONDS",
            min=0,
            help="With --once or --dry-run: how long to wait for what goes on changing. "
            "[default: 3 quiet gaps, at least 10 s]",
        ),
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    as_json: JsonFlag = False,
) -> int:
    """Watch the drop folders and convert what settles in them.

    Logs to stdout: readable lines on a terminal, JSON elsewhere; with --json to stderr. SIGTERM
    stops at the next slab; what was under way is taken up again at the next start.
    """
    _refuse_odd(is_once, is_rehearsal, patience_s, as_json=as_json)
    if is_rehearsal:
        from stackwatch.cli.rehearse import rehearse

        return rehearse(config, assignments or (), patience_s, as_json=as_json)

    with contextlib.suppress(OSError, ValueError):  # stderr is no file
        faulthandler.enable()  # a crash, or systemd's SIGABRT, shows the stacks of all threads
    from stackwatch.daemon.drain import Drain
    from stackwatch.daemon.service import run_service
    from stackwatch.logs import Event, configure_logs, logger
    from stackwatch.settings import find_warnings, load_settings

    def read_settings() -> "Settings":
        settings = load_settings(config, assignments=assignments or ()).settings
        if is_logging:
            warn(settings)
        return settings

    def warn(settings: "Settings") -> None:
        for warning in find_warnings(settings):
            logger().warning(Event.SETTINGS_WARNED, message=warning)

    is_logging = False
    settings = read_settings()
    logs = settings.logs
    drain = Drain(patience_s) if is_once else None
    with _stdout_on_stderr() if as_json else contextlib.nullcontext():
        configure_logs(sys.stdout, logs.format, logs.level, logs.file, never_blocks=not as_json)
        is_logging = True
        warn(settings)
        code = run_service(settings, reload=read_settings, drain=drain)
    if as_json and drain is not None:
        answer_json(drain.summary or {"status": "failed"})
    return code


def _refuse_odd(
    is_once: bool, is_rehearsal: bool, patience_s: float | None, *, as_json: bool
) -> None:
    """Refuse options that make no sense together."""
    if is_once and is_rehearsal:
        raise UsageError("--once and --dry-run cannot go together.", hint="Give one of them.")
    if not (is_once or is_rehearsal) and (patience_s is not None or as_json):
        raise UsageError(
            "--for and --json go with --once or --dry-run.",
            hint="The service itself goes on until it is stopped; it logs to stdout.",
        )


@contextlib.contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """Let all that is logged, by workers too, go to stderr: stdout is kept for the document."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
