"""`stackwatch manual`: every command's help as one page for `man`."""

from collections.abc import Iterator
from typing import Any, Final

import typer

from stackwatch import __version__
from stackwatch.cli.answers import answer_text, answering

_EPILOG = """\b
Examples:
  stackwatch manual > /usr/local/share/man/man1/stackwatch.1
  stackwatch manual | man -l -
"""
_WIDTH: Final = 76
_ABOUT: Final = "turn microscope acquisitions into WEBKNOSSOS datasets"
_SEE: Final = "config.example.toml shows every setting with its default."


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("manual", epilog=_EPILOG)(answering(manual))


def manual(context: typer.Context) -> None:
    """Print the manual page: the help of every command."""
    program: Any = context.find_root().command  # of the library's own copy of click
    lines = [
        f'.TH STACKWATCH 1 "" "stackwatch {__version__}" "User Commands"',
        ".SH NAME",
        f"stackwatch \\- {_ABOUT}",
        ".SH SYNOPSIS",
        *_literal(_help_of(program, context.find_root())),
        ".SH COMMANDS",
        *_iter_commands(program, context.find_root()),
        ".SH FILES",
        ".TP",
        ".I /etc/stackwatch/config.toml",
        _SEE,
    ]
    answer_text("\n".join(lines))


def _iter_commands(group: Any, context: Any) -> Iterator[str]:
    """Yield the lines about the commands of a group, and about those of the groups in it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = type(context)(command, info_name=name, parent=context)
        yield f'.SS "{inner.command_path}"'
        yield from _literal(_help_of(command, inner))
        if hasattr(command, "list_commands"):
            yield from _iter_commands(command, inner)


def _help_of(command: Any, context: Any) -> str:
    """Return the help of a command, as wide as a page whatever the terminal is."""
    context.terminal_width = context.max_content_width = _WIDTH
    return str(command.get_help(context)).removeprefix("Usage: ")


def _literal(text: str) -> Iterator[str]:
    r"""Yield the lines of a text that is shown as it stands.

    Examples
    --------
    >>> list(_literal("--json\n.profile"))
    ['.nf', '\\-\\-json', '\\&.profile', '.fi']
    """
    yield ".nf"
    for line in text.splitlines():
        shown = line.replace("\\", "\\e").replace("-", "\\-").rstrip()
        yield f"\\&{shown}" if shown.startswith((".", "'")) else shown
    yield ".fi"
