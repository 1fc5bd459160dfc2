"""Where values come from: file, environment and command line, merged into one mapping.

Later layers win: file, then environment, then command line. Each value's origin is kept by its
key path (`folder[0].quiet_gap_s`), so that a mistake names the place where it was made.
"""

import copy
import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stackwatch.errors import ConfigError
from stackwatch.model.acquisition import show_path
from stackwatch.model.toml_text import describe_syntax, describe_undecodable
from stackwatch.settings.catalogue import SERVICE_SECTIONS, field_names

SYSTEM_FILE: Final = Path("/etc/stackwatch/config.toml")
FILE_VARIABLE: Final = "STACKWATCH_CONFIG"
PREFIX: Final = "STACKWATCH_"
OTHER_VARIABLES: Final = frozenset({
    FILE_VARIABLE, "STACKWATCH_SAMPLES", "STACKWATCH_FAILPOINT", "STACKWATCH_WEBKNOSSOS_TOKEN",
})  # fmt: skip
"""Variables of ours that are no settings."""


@dataclass(slots=True)
class Layers:
    """Merged values, where each came from, and what was wrong on the way.

    Attributes
    ----------
    values : dict
        As the configuration file would hold them.
    origins : dict
        Key path to origin, for values that did not come from the file.
    problems : list of str
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def find_settings_file(flag: Path | None, environ: Mapping[str, str]) -> tuple[Path, str]:
    """Return which configuration file counts, and who says so.

    Parameters
    ----------
    flag : Path or None
        `--config`; it wins over `STACKWATCH_CONFIG`, which wins over the system's file.
    environ : mapping
        The environment.
    """
    if flag is not None:
        return flag, "--config"
    if environ.get(FILE_VARIABLE):
        return Path(environ[FILE_VARIABLE]), FILE_VARIABLE
    return SYSTEM_FILE, "the system's file"


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a configuration file.

    Raises
    ------
    ConfigError
        It cannot be read, or is no TOML: the message names line and column.
    """
    shown = show_path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError.from_problems(
            shown, [f"the file cannot be read: {error.strerror}"]
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError.from_problems(shown, [describe_undecodable(error)]) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError.from_problems(shown, [describe_syntax(error, text)]) from error


def add_environment(layers: Layers, environ: Mapping[str, str]) -> None:
    """Merge `STACKWATCH_SECTION__FIELD` and `STACKWATCH_FOLDER__<name>__FIELD`.

    Names that are no settings are problems: a misspelt variable would be silently without effect.
    """
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in OTHER_VARIABLES:
            parts = variable.removeprefix(PREFIX).split("__")
            _merge_text(layers, parts, environ[variable], variable)


def add_command_line(layers: Layers, assignments: Sequence[str]) -> None:
    """Merge `section.field=value` and `folder.<name>.field=value`, as `--set` takes them."""
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            layers.problems.append(f"--set {assignment}: expected KEY=VALUE")
            continue
        _merge_text(layers, key.strip().split("."), text.strip(), f"--set {key.strip()}")


def _merge_text(layers: Layers, parts: list[str], text: str, origin: str) -> None:
    section = parts[0].lower()
    if section not in field_names(""):
        layers.problems.append(_unknown(layers, parts, origin))
        return
    if section == "folder":
        at = _folder_at(layers, parts, origin)
        if at is None:
            return
        table, key, name = layers.values["folder"][at], f"folder[{at}]", parts[2].lower()
    elif len(parts) == 2:
        table, key, name = layers.values.setdefault(section, {}), section, parts[1].lower()
    else:
        layers.problems.append(_unknown(layers, parts, origin))
        return
    if name not in field_names(section):
        layers.problems.append(_unknown(layers, parts, origin))
        return
    try:
        value = _parse_text(text)
    except tomllib.TOMLDecodeError:
        layers.problems.append(f"{key}.{name} is no TOML value (is {text!r}, from {origin})")
        return
    if isinstance(table, dict):  # anything else is reported with the rest of the file
        table[name] = value
        layers.origins[f"{key}.{name}"] = origin


def _parse_text(text: str) -> Any:
    """Read lists and tables as TOML; leave the rest to the field's own type."""
    if text[:1] in {"[", "{"}:
        return tomllib.loads(f"value = {text}")["value"]
    return text


def _folder_at(layers: Layers, parts: list[str], origin: str) -> int | None:
    """Return the index of the folder that a variable means; note a problem if there is none."""
    names = _folder_names(layers)
    if len(parts) != 3:
        layers.problems.append(_unknown(layers, parts, origin))
        return None
    found = [at for at, name in enumerate(names) if _env_name(name) == _env_name(parts[1])]
    if len(found) == 1:
        return found[0]
    known = ", ".join(name for name in names if name) or "none"
    layers.problems.append(
        f"{origin}: no folder is named {parts[1]} (there are: {known})"
        if not found
        else f"{origin}: {parts[1]} could be any of the folders {known}"
    )
    return None


def _env_name(name: str) -> str:
    """Return how a folder's name looks in a variable, which can hold no `-`."""
    return re.sub(r"[^A-Za-z0-9]", "_", name).lower()


def _unknown(layers: Layers, parts: list[str], origin: str) -> str:
    is_variable = origin.startswith(PREFIX)
    known = _known_variables(layers) if is_variable else _known_keys(layers)
    given = origin if is_variable else ".".join(parts)
    close = difflib.get_close_matches(given, known, n=1)
    return f"{origin} is not a setting" + (f"; did you mean {close[0]}?" if close else "")


def _known_keys(layers: Layers) -> list[str]:
    folders = [f"folder.{name}" for name in _folder_names(layers) if name]
    return [
        *(f"{section}.{name}" for section in SERVICE_SECTIONS for name in field_names(section)),
        *(f"{folder}.{name}" for folder in folders for name in field_names("folder")),
    ]


def _known_variables(layers: Layers) -> list[str]:
    """Return the names of all variables; a folder's own name keeps its case."""
    known = list(OTHER_VARIABLES)
    for key in _known_keys(layers):
        section, *folder, name = key.split(".")
        middle = [re.sub(r"[^A-Za-z0-9]", "_", part) for part in folder]
        known.append(PREFIX + "__".join([section.upper(), *middle, name.upper()]))
    return known


def _folder_names(layers: Layers) -> list[str]:
    """Return each folder's name, as far as it has one: the list keeps their places."""
    folders = layers.values.get("folder")
    tables = folders if isinstance(folders, list) else []
    return [str(table.get("name", "")) if isinstance(table, dict) else "" for table in tables]


def merge_layers(
    file_values: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    assignments: Sequence[str] = (),
) -> Layers:
    """Merge all layers; `environ` defaults to the process's environment."""
    layers = Layers(values=copy.deepcopy(dict(file_values)))
    add_environment(layers, os.environ if environ is None else environ)
    add_command_line(layers, assignments)
    return layers
