"""Load the settings: find the file, merge the layers, report every mistake at once."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stackwatch.errors import ConfigError
from stackwatch.model.acquisition import show_path
from stackwatch.settings.layers import (
    SYSTEM_FILE,
    Layers,
    find_settings_file,
    merge_layers,
    read_toml,
)
from stackwatch.settings.model import Settings
from stackwatch.settings.places import find_clashes
from stackwatch.settings.problems import describe_problems


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings that passed, and where they come from.

    Attributes
    ----------
    settings : Settings
    path : Path or None
        The file that was read; None where none is needed and none is there.
    origins : dict
        Key path to the file, variable or flag that set it; the rest are defaults.
    """

    settings: Settings
    path: Path | None
    origins: dict[str, str]


def load_settings(
    flag: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    assignments: Sequence[str] = (),
    is_file_needed: bool = True,
) -> LoadedSettings:
    """Read the settings: command line over environment over file over default.

    Parameters
    ----------
    flag : Path or None
        `--config`.
    environ : mapping or None
        The environment; None takes the process's own.
    assignments : sequence of str
        `--set` values, `key=value`.
    is_file_needed : bool
        Whether it is a mistake if the system's file does not exist. A file that somebody named
        must exist in any case.

    Raises
    ------
    ConfigError
        With every problem found; the caller shows it and ends with exit code 78.
    """
    surroundings = os.environ if environ is None else environ
    path, named_by = find_settings_file(flag, surroundings)
    is_there = _is_there(path)
    if not is_there and (is_file_needed or path != SYSTEM_FILE):
        raise _no_file(path, named_by)
    file_values = read_toml(path) if is_there else {}
    layers = merge_layers(file_values, surroundings, assignments)
    settings = _validate(layers, show_path(path) if is_there else "the settings")
    origins = {key: show_path(path) for key in _iter_keys(file_values)} | layers.origins
    return LoadedSettings(settings, path if is_there else None, origins)


def peek_state_dir(
    flag: Path | None,
    *,
    environ: Mapping[str, str] | None = None,
    assignments: Sequence[str] = (),
) -> Path | None:
    """Return the state directory that settings with mistakes name, None if that fails too.

    To reach a daemon that runs on older settings.
    """
    surroundings = os.environ if environ is None else environ
    path, _ = find_settings_file(flag, surroundings)
    try:
        layers = merge_layers(read_toml(path), surroundings, assignments)
        place = Path(layers.values["daemon"]["state_dir"])
    except (ConfigError, KeyError, TypeError):
        return None
    return place if place.is_absolute() else None


def _is_there(path: Path) -> bool:
    """Tell whether a file exists; one that may not be looked at does, and reading tells why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _validate(layers: Layers, source: str) -> Settings:
    problems = list(layers.problems)
    settings = None
    try:
        settings = Settings(**layers.values)
    except ValidationError as error:
        problems += describe_problems(error, layers.origins)
    problems += find_clashes(layers.values)
    if problems or settings is None:
        raise ConfigError.from_problems(source, problems)
    return settings


def _no_file(path: Path, named_by: str) -> ConfigError:
    shown = show_path(path)
    return ConfigError(
        f"There is no configuration file “{shown}” ({named_by}). Name one with --config, or with "
        "STACKWATCH_CONFIG; config.example.toml shows every setting.",
        hint="Name a configuration file with --config.",
        problems=[f"“{shown}” does not exist"],
    )


def _iter_keys(values: Mapping[str, Any]) -> list[str]:
    """Return the key path of every setting that a file holds."""
    keys = []
    for section, content in values.items():
        tables = content if isinstance(content, list) else [content]
        for at, table in enumerate(tables):
            name = f"{section}[{at}]" if isinstance(content, list) else section
            keys += [f"{name}.{key}" for key in table] if isinstance(table, dict) else [section]
    return keys
