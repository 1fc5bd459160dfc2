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
from stackwatch.settings.catalogue import SECTIONS, SERVICE_SECTIONS

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
OWN_VALUES = {"name", "path", "target"}
"""Settings without a default: the example has to invent them."""

DEFAULTS: dict[str, dict[str, Any]] = {
    name: {key: field.default for key, field in SECTIONS[name].model_fields.items()}
    for name in (*SERVICE_SECTIONS, "folder")
}


def sections() -> dict[str, dict[str, Any]]:
    """Return what the example sets, by section."""
    values = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    return {name: values[name] for name in SERVICE_SECTIONS} | {"folder": values["folder"][0]}


def uncommented() -> str:
    """Return the example with every commented setting switched on."""
    text = EXAMPLE.read_text(encoding="utf-8")
    return re.sub(r"^# (\w+ = .+)$", r"\1", text, flags=re.MULTILINE)


@pytest.mark.parametrize("section", [*SERVICE_SECTIONS, "folder"])
def test_every_setting_stands_in_the_example(section: str):
    """No setting is missing and none is obsolete; those without a default are commented."""
    switched_on = tomllib.loads(uncommented())[section]
    table = switched_on[0] if section == "folder" else switched_on

    assert set(DEFAULTS[section]) == set(table)


@pytest.mark.parametrize("section", [*SERVICE_SECTIONS, "folder"])
def test_the_example_shows_the_defaults(section: str):
    """What stands there uncommented is what happens without it; the rest has no default."""
    shown = sections()[section]
    kind = SECTIONS[section]
    filled = {
        key: value for key, value in shown.items() if section != "folder" or key not in OWN_VALUES
    }
    required = {"name": "x", "path": "/x", "target": "/y"} if section == "folder" else {}
    validated = kind.model_validate({**required, **filled})

    assert {key: DEFAULTS[section][key] for key in filled} == {
        key: getattr(validated, key) for key in filled
    }
    without_default = {
        key
        for key, default in DEFAULTS[section].items()
        if default is None and key not in OWN_VALUES
    }
    assert without_default == set(DEFAULTS[section]) - set(shown)


def test_the_example_passes_its_own_check():
    """The example is a configuration that works as it stands."""
    loaded = load_settings(EXAMPLE, environ={})

    assert [folder.name for folder in loaded.settings.folder] == ["em1"]


def test_commented_examples_are_valid(tmp_path: Path):
    """Each example behind a `#` is accepted when it is switched on."""
    path = tmp_path / "all.toml"
    path.write_text(uncommented(), encoding="utf-8")

    folder = load_settings(path, environ={}).settings.folder[0]

    assert folder.shard_vx == (1024, 1024, 32)
    assert folder.cast == "float32"


def test_every_setting_has_a_sentence():
    """Each setting follows a comment that explains it."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    settings = [at for at, line in enumerate(lines) if re.match(r"(# )?\w+ = ", line)]

    bare = [
        lines[at]
        for at in settings
        if not lines[at - 1].startswith("# ") or re.match(r"# \w+ = ", lines[at - 1])
    ]
    assert not bare


def test_layer_rules_are_explained():
    """The names a layer rule takes are shown."""
    text = EXAMPLE.read_text(encoding="utf-8")

    assert all(name in text for name in LayerSettings.model_fields)
    assert "layer" in FolderSettings.model_fields
    assert {*SERVICE_SECTIONS, "folder"} == set(Settings.model_fields)


def test_every_layout_is_named():
    """The example and the help of `--layout` name each layout that can be chosen."""
    text = EXAMPLE.read_text(encoding="utf-8")
    help_text = CliRunner().invoke(app, ["convert", "--help"]).stdout
    shown = "".join(help_text.split())  # lines break at hyphens too

    assert all(f'"{name}"' in text for name in LAYOUTS)
    assert all(name in shown for name in LAYOUTS)
