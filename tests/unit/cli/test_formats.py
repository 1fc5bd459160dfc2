"""`stackwatch formats`: the whole table, what is installed, and the line that adds the rest."""

import json
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stackwatch.cli.app import app
from stackwatch.readers import inventory
from stackwatch.readers.formats import FOLDER_FORMATS, FORMATS
from stackwatch.readers.inventory import FormatState, list_formats

PAGE = (Path(__file__).parents[3] / "docs" / "json.md").read_text(encoding="utf-8")


def answer() -> list[dict[str, object]]:
    """Return the formats that the command answers."""
    result = CliRunner().invoke(app, ["formats", "--json"])
    assert 0 == result.exit_code
    document = json.loads(result.stdout)
    assert (1, "ok") == (document["schema"], document["status"])
    return list(document["formats"])


@pytest.fixture
def without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package Pillow be missing."""

    def look(package: str) -> str:
        if package == "Pillow":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(inventory, "version", look)


def test_every_format_is_listed():
    """Each format of the table stands there once, sorted, and its suffixes with it."""
    states = list_formats()
    names = [state.name for state in states]

    own = {form.name for form in (*FORMATS, *FOLDER_FORMATS.values())}
    assert own | {"Bio-Formats (`bioformats_jar`)"} == set(names)
    assert sorted(names, key=str.lower) == names
    assert len(set(names)) == len(names)
    suffixes = [suffix for state in states for suffix in state.suffixes]
    assert {s for form in FORMATS for s in form.suffixes} <= set(suffixes)
    assert len(set(suffixes)) == len(suffixes)


def test_a_format_in_json():
    """Golden: the record of a format, with every key."""
    (raw,) = [one for one in answer() if one["name"] == "raw"]

    assert {
        "name": "raw", "suffixes": [".raw"], "folder_files": [], "libraries": {},
        "installed": True, "extra": None, "install": None,
    } == raw  # fmt: skip


def test_every_key_is_explained():
    """Each key stands in docs/json.md."""
    section = PAGE[PAGE.index("## `formats`") : PAGE.index("## `version`")]

    assert set(answer()[0]) <= set(re.findall(r"`(\w+)`", section))


@pytest.mark.usefixtures("without_pillow")
def test_what_is_missing():
    """A library that is not there is null, and the line that brings it is shown to people too."""
    (png,) = [one for one in answer() if one["name"] == "PNG"]
    lines = CliRunner().invoke(app, ["formats"]).stdout.splitlines()

    assert ({"Pillow": None}, False) == (png["libraries"], png["installed"])
    assert any(re.match(r"PNG +Pillow +missing: pip install stackwatch +\.png$", s) for s in lines)
    assert any(re.match(r"raw +- +installed +\.raw$", line) for line in lines)


def test_extras_are_installed_by_their_name():
    """A format of an extra is added with that extra."""
    state = FormatState("ND2", (".nd2",), (), {"nd2": None}, "nikon")

    assert 'pip install "stackwatch[nikon]"' == state.install
    assert "" == FormatState("ND2", (".nd2",), (), {"nd2": "0.12"}, "nikon").install
