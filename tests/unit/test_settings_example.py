"""`config.example.toml` holds every setting with its default, and passes its own check."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stackwatch.cli.app import app
from stackwatch.layout.classify import LAYOUTS
from stackwatch.settings import FolderSettings, LayerSettings, Settings, load_settings
from stackwatch.settings.catalogue import SECTIONS

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
OWN_VALUES = {"name", "path", "target"}
"""Settings without a default: the example has to invent them."""

DEFAULTS: dict[str, dict[str, Any]] = {
    name: {key: field.default for key, field in SECTIONS[name].model_fields.items()}
    for name in ("daemon", "logs", "folder")
}


def sections() -> dict[str, dict[str, Any]]:
    """Return what the example sets, by section."""
    values = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    return {"daemon": values["daemon"], "logs": values["logs"], "folder": values["folder"][0]}


def uncommented() -> str:
    """Return the example with every commented setting switched on."""
    text = EXAMPLE.read_text(encoding="utf-8")
    return re.sub(r"^# (\w+ = .+)$", r"\1", text, flags=re.MULTILINE)


@pytest.mark.parametrize("section", ["daemon", "logs", "folder"])
def test_every_setting_stands_in_the_example(section: str):
    """No setting is missing and none is obsolete; those without a default are commented."""
    switched_on = tomllib.loads(uncommented())[section]
    table = switched_on[0] if section == "folder" else switched_on

    assert set(DEFAULTS[section]) == set(table)


@pytest.mark.parametrize("section", ["daemon", "logs", "folder"])
def test_the_example_shows_the_defaults(section: str):
    """What stands there uncommented is what happens without it; the rest has no default."""
    help_text = CliRunner().invoke(app, ["convert", "--help"]).stdout
    shown = "".join(help_text.split())  # lines break at hyphens too

    assert all(f'"{name}"' in text for name in LAYOUTS)
    assert all(name in shown for name in LAYOUTS)
