"""`stackwatch replay`: what people and programs are told of a log."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stackwatch.cli.app import app
from stackwatch.errors import ExitCode

GOLDEN = Path(__file__).parents[1] / "watch" / "service.log.jsonl"
PAGE = (Path(__file__).parents[3] / "docs" / "json.md").read_text(encoding="utf-8")


def test_a_log_is_repeated_for_people():
    """Each decision is a line; at the end stands whether all is as it was."""
    done = CliRunner().invoke(app, ["replay", str(GOLDEN)])

    assert 0 == done.exit_code, done.output
    assert "em/run_1  2 files" in done.stdout
    assert "not ready: the marker `*.done` is not there" in done.stdout
    assert "start 2 of the service" in done.stdout
    assert "all decided now as then" in done.stdout.splitlines()[-1]


def test_a_log_is_repeated_as_a_document():
    """Every key stands in docs/json.md; one acquisition alone can be asked for."""
    done = CliRunner().invoke(app, ["replay", str(GOLDEN), "--acquisition", "em/slow", "--json"])
    document = json.loads(done.stdout)
    (section,) = [part for part in PAGE.split("\n## ") if part.startswith("`replay`")]

    assert {"slow"} == {look["acquisition"] for look in document["looks"]}
    assert "same" == document["status"]
    assert all(f"`{key}`" in section for key in {*document} - {"schema", "looks"}), document.keys()
    assert all(
        f"`{key}`" in section or f"looks[].{key}`" in section for key in document["looks"][0]
    )


def test_what_differs_ends_with_1(tmp_path: Path):
    """A line that was forged is marked, with its number, and so is what must not happen."""
    log = tmp_path / "log"
    text = GOLDEN.read_text(encoding="utf-8")
    log.write_text(text.replace('"gap_s":0.2', '"gap_s":900.0'), encoding="utf-8")

    done = CliRunner().invoke(app, ["replay", str(log)])

    assert ExitCode.FAILED == done.exit_code
    assert "NOW (line " in done.stdout
    assert "IMPOSSIBLE, line " in done.stdout
    assert "decided otherwise now" in done.stdout


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("", "has 0 lines"),
        ("a\nb\n", "has 2 lines, and none tells of a look"),
        ('{"event":"acquisition.observed","loo\n', "Line 1 is damaged"),
    ],
)
def test_a_log_without_looks_is_a_usage_mistake(tmp_path: Path, text: str, phrase: str):
    """It says what is missing, names the damaged line, and where a better log comes from."""
    log = tmp_path / "log"
    log.write_text(text)

    done = CliRunner().invoke(app, ["replay", str(log)])

    assert ExitCode.USAGE == done.exit_code
    assert phrase in done.stderr
    assert "stackwatch logs --raw" in done.stderr


def test_stdin_is_read():
    """What journalctl prints can be piped in."""
    done = CliRunner().invoke(app, ["replay", "-"], input=GOLDEN.read_text(encoding="utf-8"))

    assert 0 == done.exit_code, done.output
