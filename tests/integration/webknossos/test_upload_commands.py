"""`stackwatch upload`, `convert --upload` and `webknossos check`, in this very process."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stackwatch.cli.app import app
from stackwatch.testing.synthetic import SyntheticAcquisition
from stackwatch.testing.webknossos_faults import Fault
from stackwatch.testing.webknossos_server import TOKENS, WebknossosServer

JSON_PAGE = (Path(__file__).parents[3] / "docs" / "json.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: WebknossosServer) -> None:
    """Give the token by the environment, keep state below the test's folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("STACKWATCH_WEBKNOSSOS_TOKEN", server.token)


def run(*arguments: str | Path) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """Run a command with `--json` and return its document."""
    done = run(*arguments, "--json")
    assert code == done.exit_code, done.output
    document: dict[str, Any] = json.loads(done.stdout)
    assert 1 == document.pop("schema")
    return document


def documented(heading: str) -> set[str]:
    """Return the keys that docs/json.md names for a command."""
    section = JSON_PAGE[JSON_PAGE.index(f"## `{heading}`\n") :]
    section = section[: section.index("\n## ", 1)]
    columns = " ".join(re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE))
    return set(re.findall(r"`(\w+)`", columns)) | {"status"}


def test_upload_answers_with_the_link(server: WebknossosServer, dataset: Path):
    """People see the link on a line of its own; the second time that nothing was sent."""
    first = run("upload", dataset, "--url", server.url, "--folder", "em/x", "--tag", "raw")
    (found,) = server.datasets()
    second = run("upload", dataset, "--url", server.url + "/")

    assert (0, 0) == (first.exit_code, second.exit_code), first.output + second.output
    link = f"{server.url}/datasets/{found.id}"
    assert link == first.stdout.splitlines()[0] == second.stdout.splitlines()[0]
    assert "compared" in first.stdout
    assert "nothing was sent" in second.stdout
    assert ["raw"] == found.tags
    assert "sending: " in first.stderr


def test_upload_document(server: WebknossosServer, dataset: Path):
    """The document has the documented keys, and stderr is silent."""
    document = answer("upload", dataset, "--url", server.url)

    assert documented("upload") == set(document)
    assert server.datasets()[0].id == document["remote_id"]


def test_settings_complete_the_command(server: WebknossosServer, dataset: Path, tmp_path: Path):
    """Server and token file come from the settings; for another server they are left alone."""
    token = tmp_path / "token"
    token.write_text(TOKENS["manager"])
    token.chmod(0o600)
    config = tmp_path / "config.toml"
    config.write_text(f'[webknossos]\nurl = "{server.url}"\ntoken_file = "{token}"\n')
    answer("upload", dataset, "--config", config)
    assert {TOKENS["manager"]} == {one.token for one in server.requests("reserve")}

    other = server.url.replace("127.0.0.1", "localhost")
    answer("webknossos", "check", "--config", config, "--url", other)
    assert server.token == server.requests("user")[-1].token


def test_without_a_server_or_a_token(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, server: WebknossosServer
):
    """What is missing is named: exit code 2 for the address, 75 for the token."""
    monkeypatch.delenv("STACKWATCH_WEBKNOSSOS_TOKEN")
    monkeypatch.setattr("stackwatch.settings.load.SYSTEM_FILE", Path("/nowhere/config.toml"))
    monkeypatch.setattr("stackwatch.settings.layers.SYSTEM_FILE", Path("/nowhere/config.toml"))
    nowhere = run("upload", dataset)
    nobody = run("upload", dataset, "--url", server.url)

    assert (2, 75) == (nowhere.exit_code, nobody.exit_code)
    assert "--url" in nowhere.stderr
    assert "token_file" in nobody.stderr


def test_a_refusal_is_told_with_its_remedy(server: WebknossosServer, dataset: Path):
    """A parked upload ends with 75 and the server's own reason."""
    server.behaviour = replace(server.behaviour, quota_bytes=10)
    done = run("upload", dataset, "--url", server.url)

    assert 75 == done.exit_code
    assert "storage quota" in done.stderr
    assert "Traceback" not in done.stderr


def test_waiting_is_told(server: WebknossosServer, dataset: Path, monkeypatch: pytest.MonkeyPatch):
    """Why nothing goes on is said on stderr, with the time of the next try."""
    monkeypatch.setattr("stackwatch.webknossos.patience.Patience.delay_s", lambda *_: 0.01)
    server.faults.add(Fault("chunk", status=503))
    done = run("upload", dataset, "--url", server.url)

    assert 0 == done.exit_code
    assert "503 Service Unavailable" in done.stderr
    assert "Next try in" in done.stderr


def test_convert_and_upload(server: WebknossosServer, tmp_path: Path):
    """One command does both; a failed upload leaves the dataset and says how to go on."""
    SyntheticAcquisition().write(tmp_path / "run")
    size = ("--voxel-size-nm", "9,9,9")
    there = ("--upload", "--url", server.url, "--folder", "em")
    document = answer("convert", tmp_path / "run", tmp_path / "one", *size, *there)
    server.faults.add(Fault("reserve", status=400, text="No."))
    failed = run("convert", tmp_path / "run", tmp_path / "two", *size, *there)

    assert [server.datasets()[0].id] == [one["remote_id"] for one in document["deliveries"]]
    assert 75 == failed.exit_code
    assert f"stackwatch upload {tmp_path / 'two'}" in failed.stderr
    assert (tmp_path / "two" / "stackwatch.json").exists()


def test_convert_asks_for_the_token_first(
    server: WebknossosServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Without a token nothing is converted in vain."""
    monkeypatch.delenv("STACKWATCH_WEBKNOSSOS_TOKEN")
    SyntheticAcquisition().write(tmp_path / "run")
    done = run(
        "convert", tmp_path / "run", tmp_path / "one", "--voxel-size-nm", "9,9,9", "--upload",
        "--url", server.url,
    )  # fmt: skip

    assert 75 == done.exit_code
    assert not (tmp_path / "one").exists()


def test_check_tells_one_line_each(server: WebknossosServer):
    """Address, versions, token, rights, datastore and folders; nothing is changed there."""
    server.behaviour = replace(server.behaviour, datastore_newest_version=13)
    folders = len(server.world.folders)
    done = run("webknossos", "check", "--url", server.url, "--folder", "em", "--folder", "em/new")
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())

    assert 0 == done.exit_code, done.output
    assert ["url", "protocol", "token", "rights", "datastore", "folder"] == list(lines)
    assert "datastore version 13" in lines["protocol"]
    assert "administrator" in lines["rights"]
    assert "STACKWATCH_WEBKNOSSOS_TOKEN" in lines["token"]
    assert "“new” will be created" in done.stdout
    assert folders == len(server.world.folders)
    assert {"GET"} == {asked.method for asked in server.requests()}


def test_check_documents(server: WebknossosServer, monkeypatch: pytest.MonkeyPatch):
    """The documented keys; of a failure what was found until then."""
    document = answer("webknossos", "check", "--url", server.url, "--folder", "")
    monkeypatch.setenv("STACKWATCH_WEBKNOSSOS_TOKEN", TOKENS["member"])
    member = answer("webknossos", "check", "--url", server.url, code=75)
    monkeypatch.setenv("STACKWATCH_WEBKNOSSOS_TOKEN", "nobody")
    stranger = answer("webknossos", "check", "--url", server.url, code=75)

    assert documented("webknossos check") == set(document)
    assert ("delivery_unauthorized", "may not upload") == (
        member["error_code"],
        member["values"]["found"]["rights"],
    )
    assert stranger["values"]["found"]["release"]
    assert "account" not in stranger["values"]["found"]
