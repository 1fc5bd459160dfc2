"""The program `stackwatch`: its commands, and what `--help` says first."""

import os
import sys
from typing import Annotated

import typer

from stackwatch import __version__
from stackwatch.cli import (
    completion,
    config,
    convert,
    deliveries,
    demo,
    formats,
    inspect,
    jobs,
    ledger,
    logs,
    manual,
    notices,
    preview,
    replay,
    selftest,
    service,
    status,
    top,
    upload,
    verify,
    webknossos,
)
from stackwatch.cli.answers import answer_json, answer_text, answering, refuse_answer
from stackwatch.cli.options import JsonFlag

app = typer.Typer(
    name="stackwatch",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help starts twice as fast
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Turn microscope acquisitions into WEBKNOSSOS datasets.

\b
Try it without a microscope:
  stackwatch demo
\b
Convert one acquisition:
  stackwatch convert run_041/ data/run_041 --voxel-size-nm 11,11,25
\b
Watch drop folders (config.example.toml shows every setting):
  stackwatch run --config config.toml
""",
    epilog="""\b
Exit codes:
  0 done   1 failed   2 usage   130/143 interrupted
  69 another daemon, or a newer ledger
  73 target not writable, or no space
  75 parked: a human is needed
  78 bad configuration
""",
)

service.register(app)
convert.register(app)
inspect.register(app)
verify.register(app)
upload.register(app)
webknossos.register(app)
formats.register(app)
preview.register(app)
status.register(app)
top.register(app)
jobs.register(app)
deliveries.register(app)
config.register(app)
ledger.register(app)
logs.register(app)
notices.register(app)
replay.register(app)
selftest.register(app)
demo.register(app)
completion.register(app)
manual.register(app)


def _show_version(*, is_asked: bool) -> None:
    if is_asked:
        answer_text(f"stackwatch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            help="Show the version and exit.",
            callback=lambda value: _show_version(is_asked=value),
        ),
    ] = False,
) -> None:
    """Take the options before the command."""


@app.command("version")
@answering
def show_version(as_json: JsonFlag = False) -> None:
    """Show the version."""
    if as_json:
        answer_json({"status": "ok", "version": __version__})
    else:
        answer_text(f"stackwatch {__version__}")


def main() -> None:
    """Run the program; never returns, always ends with an exit code of `ExitCode`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal in another encoding gets \\xNN
            stream.reconfigure(errors="backslashreplace")
    # numpy's linear algebra is never used, and its threads would spin beside ours; workers inherit
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app()
    except OSError as error:  # of the library's own text, such as help
        refuse_answer(error)
