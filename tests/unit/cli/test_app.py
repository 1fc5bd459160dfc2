"""Commands in this very process: mistakes, settings, versions."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stackwatch.cli.app import app
from stackwatch.errors import ExitCode


def run(*arguments: str | Path) -> Result:
    """Run the command and return what it wrote."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """Run the command with `--json` and return its document."""
    done = run(*arguments, "--json")
    assert code == done.exit_code, done.output
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert"],
        ["convert", "a", "b", "--no-such-option"],
        ["convert", "/nowhere", "out"],
        ["convert", "/tmp", "/tmp/out"],
        ["convert", "/tmp", "out", "--voxel-size-nm", "11"],
        ["convert", "/tmp", "out", "--category", "colour"],
        ["inspect", "/nowhere"],
        ["jobs", "show", "x"],
        ["run", "--once", "--dry-run"],
        ["run", "--for", "5"],
        ["replay", "/nowhere"],
        ["nonsense"],
    ],
)
def test_usage_mistakes_end_with_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What cannot be meant ends with 2, told on stderr without a traceback."""
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)

    assert done.exit_code == ExitCode.USAGE
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_configuration_mistakes_end_with_78(tmp_path: Path):
    """All mistakes of a configuration are told at once, by every command that reads it."""
    config = tmp_path / "config.toml"
    config.write_text("[daemon]\nworkers = 0\nthreads = 0\n", encoding="utf-8")
    for command in (["config", "check"], ["config", "show"], ["run"], ["status"], ["jobs", "list"]):
        done = run(*command, "--config", config)

        assert done.exit_code == ExitCode.CONFIG, command
        assert "daemon.workers must be >= 1 (is 0)" in done.stderr
        assert "daemon.threads must be >= 1 (is 0)" in done.stderr
    problems = answer("config", "check", "--config", config, code=ExitCode.CONFIG)["values"]
    assert len(problems["problems"]) == 2


def test_config_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`config check` and `config show` have the documented keys; secrets are masked."""
    config = tmp_path / "config.toml"
    config.write_text(
        f'[[folder]]\nname = "em1"\npath = "{tmp_path}/drop"\ntarget = "{tmp_path}/out"\n',
        encoding="utf-8",
    )
    checked = answer("config", "check", "--config", config)
    monkeypatch.setenv("STACKWATCH_WEBKNOSSOS_TOKEN", "top-secret")
    shown = run("config", "show", "--config", config, "--json")
    settings = {entry["key"]: entry for entry in json.loads(shown.stdout)["settings"]}

    assert {"schema", "status", "path", "folders", "checks", "warnings", "sample"} == set(checked)
    assert (["em1"], 1) == (checked["folders"], len(checked["warnings"]))
    assert {"schema", "status", "path", "settings"} == set(json.loads(shown.stdout))
    assert str(config) == settings["folder[0].name"]["origin"]
    assert {"key": "daemon.workers", "value": 1, "origin": "default"} == settings["daemon.workers"]
    assert "top-secret" not in shown.stdout + shown.stderr
    assert settings["STACKWATCH_WEBKNOSSOS_TOKEN"]["value"] == "********"


def test_version_document():
    """The version is told as text and as a document."""
    document = answer("version")

    assert {"schema", "status", "version"} == set(document)
    assert f"stackwatch {document['version']}\n" == run("--version").stdout
    assert run("--version").stdout == run("version").stdout


def test_config_for_people(tmp_path: Path):
    """People see each setting as it would stand in the file, and where it comes from."""
    config = tmp_path / "config.toml"
    config.write_text(
        f'[[folder]]\nname = "em1"\npath = "{tmp_path}/a\\"b"\ntarget = "{tmp_path}/out"\n'
        "voxel_size_nm = [11, 12.5, 25]\nignore = ['x', 'y']\ndownsample = false\n",
        encoding="utf-8",
    )
    checked = run("config", "check", "--config", config)
    shown = run("config", "show", "--config", config, "--set", "daemon.workers=3").stdout

    assert checked.stdout.startswith(f"{config}: no mistakes, 1 drop folder\n")
    assert "Warning: folder[0]" in checked.stderr
    values = dict(line.split("  # ")[0].split(" = ", 1) for line in shown.splitlines())
    assert values["daemon.workers"].strip() == "3"
    assert values["daemon.threads"].strip() == "unset"
    assert values["folder[0].path"].strip() == f'"{tmp_path}/a\\"b"'
    assert values["folder[0].voxel_size_nm"].strip() == "{ x = 11.0, y = 12.5, z = 25.0 }"
    assert values["folder[0].ignore"].strip() == '["x", "y"]'
    assert values["folder[0].downsample"].strip() == "false"
    assert "# --set daemon.workers" in shown


def test_help_names_every_command():
    """The first help lists all commands and the exit codes."""
    text = run("--help").stdout

    for command in (
        "run", "convert", "inspect", "verify", "status", "jobs", "config", "ledger", "replay",
        "demo", "version",
    ):  # fmt: skip
        assert f"\n  {command} " in text
    assert "75 parked: a human is needed" in text


@pytest.mark.parametrize(
    "command",
    [
        ["run"], ["convert"], ["inspect"], ["verify"], ["status"], ["demo"], ["jobs", "list"],
        ["jobs", "show"], ["jobs", "retry"], ["jobs", "explain"], ["config", "check"],
        ["config", "reload"], ["config", "show"], ["ledger", "check"], ["ledger", "backup"],
        ["ledger", "restore"], ["ledger", "rebuild"], ["replay"],
    ],
)  # fmt: skip
def test_help_shows_an_example(command: list[str]):
    """The help of each command ends with a line that can be typed."""
    text = run(*command, "--help").stdout
    example = text[text.rindex("Example") :]

    assert f"stackwatch {' '.join(command)}" in " ".join(example.split())
