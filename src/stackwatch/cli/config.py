"""`stackwatch config`: check the settings, and show where each comes from."""

import os
from typing import TYPE_CHECKING, Any

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering, say
from stackwatch.cli.options import ConfigOption, JsonFlag, SetOption
from stackwatch.model.acquisition import show_path

if TYPE_CHECKING:
    from stackwatch.settings import LoadedSettings

_MASK = "********"
_SECRET_WORDS = ("token", "secret", "password")


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Check and show the settings."
    )
    group.command("check", epilog="Example: stackwatch config check --config test.toml")(
        answering(check)
    )
    group.command("show", epilog="Example: stackwatch config show --json")(answering(show))
    app.add_typer(group, name="config")


def check(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonFlag = False
) -> None:
    """Check the configuration without changing anything.

    Reports every mistake at once, each with its key path, and ends with 78 if there is one.
    A drop folder that is not there is only a warning: it may be a share that is mounted later.
    """
    from stackwatch.settings import find_warnings, load_settings

    loaded = load_settings(config, assignments=assignments or ())
    warnings = find_warnings(loaded.settings)
    shown = show_path(loaded.path) if loaded.path is not None else None
    if as_json:
        folders = [folder.name for folder in loaded.settings.folder]
        answer_json({"status": "ok", "path": shown, "folders": folders, "warnings": warnings})
        return
    for warning in warnings:
        say(f"Warning: {warning}")
    count = len(loaded.settings.folder)
    answer_text(f"{shown}: no mistakes, {count} drop folder{'' if count == 1 else 's'}")


def show(
    config: ConfigOption = None, assignments: SetOption = None, as_json: JsonFlag = False
) -> None:
    """Show every setting's value and where it comes from; secrets are masked."""
    from stackwatch.settings import load_settings

    loaded = load_settings(config, assignments=assignments or ())
    values = _list_values(loaded)
    if as_json:
        shown = show_path(loaded.path) if loaded.path is not None else None
        answer_json({"status": "ok", "path": shown, "settings": values})
        return
    widest = max(len(entry["key"]) + len(_as_toml(entry["value"])) for entry in values)
    for entry in values:
        text = f"{entry['key']} = {_as_toml(entry['value'])}"
        answer_text(f"{text:<{min(widest + 3, 60)}}  # {entry['origin']}")


def _list_values(loaded: "LoadedSettings") -> list[dict[str, Any]]:
    from stackwatch.settings.catalogue import iter_values

    entries = [
        {"key": key, "value": _masked(key, value), "origin": loaded.origins.get(key, "default")}
        for key, value in iter_values(loaded.settings)
    ]
    token = "STACKWATCH_WEBKNOSSOS_TOKEN"  # noqa: S105 - the variable's name
    if token in os.environ:
        entries.append({"key": token, "value": _MASK, "origin": "environment"})
    return entries


def _masked(key: str, value: Any) -> Any:
    is_secret = any(word in key.lower() for word in _SECRET_WORDS)
    return _MASK if is_secret and value is not None else value


def _as_toml(value: Any) -> str:
    """Return a value as it would stand in the file; `unset` where nothing stands."""
    match value:
        case None | bool():
            return "unset" if value is None else str(value).lower()
        case str():
            return '"' + show_path(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
        case dict():
            pairs = [
                f"{key} = {_as_toml(entry)}" for key, entry in value.items() if entry is not None
            ]
            return "{ " + ", ".join(pairs) + " }"
        case list() | tuple():
            return "[" + ", ".join(_as_toml(entry) for entry in value) + "]"
        case _:
            return str(value)
