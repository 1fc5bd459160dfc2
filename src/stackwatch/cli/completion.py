"""`stackwatch completion`: the script with which a shell completes our commands and options."""

from typing import Annotated, Literal

import typer

from stackwatch.cli.answers import answer_text, answering

PROGRAM = "stackwatch"
_VARIABLE = "_STACKWATCH_COMPLETE"
_EPILOG = """\b
Examples:
  stackwatch completion bash > /etc/bash_completion.d/stackwatch
  stackwatch completion zsh > ~/.zfunc/_stackwatch
  stackwatch completion fish > ~/.config/fish/completions/stackwatch.fish
  source <(stackwatch completion bash)          in this shell only
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("completion", epilog=_EPILOG)(answering(completion))


def completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")
    ],
) -> None:
    """Print the script with which a shell completes commands and options."""
    from typer import completion as parts

    make = parts.get_completion_script  # type: ignore[attr-defined]  # what its own option prints
    answer_text(make(prog_name=PROGRAM, complete_var=_VARIABLE, shell=shell).rstrip())
