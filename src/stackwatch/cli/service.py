"""`stackwatch run`: the daemon."""

from typing import TYPE_CHECKING

import typer

from stackwatch.cli.answers import answering
from stackwatch.cli.options import ConfigOption, SetOption

if TYPE_CHECKING:
    from stackwatch.settings import Settings

_EPILOG = """\b
Examples:
  stackwatch run --config /etc/stackwatch/config.toml
  stackwatch run --config test.toml --set logs.level=debug
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", epilog=_EPILOG)(answering(run))


def run(config: ConfigOption = None, assignments: SetOption = None) -> int:
    """Watch the drop folders and convert what settles in them.

    Logs to stdout: readable lines on a terminal, JSON elsewhere. SIGTERM stops at the next slab;
    what was under way is taken up again at the next start.
    """
    import sys

    from stackwatch.daemon.service import run_service
    from stackwatch.logs import Event, configure_logs, logger
    from stackwatch.settings import find_warnings, load_settings

    def read_settings() -> "Settings":
        return load_settings(config, assignments=assignments or ()).settings

    settings = read_settings()
    logs = settings.logs
    configure_logs(sys.stdout, logs.format, logs.level, logs.file)
    for warning in find_warnings(settings):
        logger().warning(Event.SETTINGS_WARNED, message=warning)
    return run_service(settings, reload=read_settings)
