"""`stackwatch formats`: what this installation reads, and what it takes to read more."""

from typing import TYPE_CHECKING

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering
from stackwatch.cli.options import JsonFlag
from stackwatch.cli.tables import format_table

if TYPE_CHECKING:
    from stackwatch.readers.inventory import FormatState


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("formats")(answering(formats))


def formats(as_json: JsonFlag = False) -> None:
    """Show which formats are read: by which suffixes, with which library, and what is missing.

    A file is told by its first bytes, and by its suffix only where a format has none.
    """
    from stackwatch.readers.inventory import list_formats

    states = list_formats()
    if as_json:
        answer_json({"status": "ok", "formats": [state.as_record() for state in states]})
        return
    rows = [(state.name, _libraries(state), _state(state), _marks(state)) for state in states]
    answer_text(format_table(("FORMAT", "LIBRARY", "STATE", "FILES"), rows))


def _marks(state: "FormatState") -> str:
    return " ".join(state.suffixes) or f"folders with {' or '.join(state.folder_files)}"


def _libraries(state: "FormatState") -> str:
    shown = [f"{name} {found}" if found else name for name, found in state.libraries.items()]
    return ", ".join(shown) or "-"


def _state(state: "FormatState") -> str:
    return "installed" if state.is_installed else f"missing: {state.install}"
