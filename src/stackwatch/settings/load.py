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
from stackwatch.settings.model import (
    LOCAL_QUIET_GAP_S,
    NETWORK_QUIET_GAP_S,
    FolderSettings,
    Settings,
)
from stackwatch.settings.places import find_clashes
from stackwatch.settings.problems import describe_problems
from stackwatch.watch.mounts import probe_mount


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


def find_warnings(settings: Settings) -> list[str]:
    """Return what a person should look at, though it is no mistake. Looks at the disk."""
    if not settings.folder:
        return ["no [[folder]] is configured: nothing will be watched"]
    return [
        f"folder[{at}] “{folder.name}”: {warning}"
        for at, folder in enumerate(settings.folder)
        for warning in _folder_warnings(folder)
    ]


def _folder_warnings(folder: FolderSettings) -> list[str]:
    found = []
    if not _is_folder(folder.path):
        found.append(
            f"path “{show_path(folder.path)}” is not there (yet): the folder starts as unavailable"
        )
    usual_s = NETWORK_QUIET_GAP_S if _is_remote(folder.path) else LOCAL_QUIET_GAP_S
    if folder.quiet_gap_s is not None and folder.quiet_gap_s < usual_s:
        found.append(
            f"quiet_gap_s = {folder.quiet_gap_s:g} is shorter than {usual_s:g}: a writer "
            "that pauses longer is taken for finished, and its later files become a new generation"
        )
    return found


def _is_there(path: Path) -> bool:
    """Tell whether a file exists; one that may not be looked at does, and reading tells why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # no permission, or a share that does not answer
        return False


def _is_remote(path: Path) -> bool:
    try:
        return probe_mount(path).is_remote
    except OSError:
        return False


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
