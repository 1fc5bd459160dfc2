"""`stackwatch selftest` against a real daemon with real workers."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stackwatch.cli.app import app
from stackwatch.cli.selftest_play import Play, refuse_folder
from stackwatch.errors import UsageError
from stackwatch.ledger.reader import LedgerReader
from stackwatch.settings import load_settings
from stackwatch.settings.model import FolderSettings
from stackwatch.testing.service import ServiceBench, bench


def try_it(service: ServiceBench, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command; return exit code and document."""
    done = CliRunner().invoke(
        app, ["selftest", "--config", str(service.config), "--json", *arguments]
    )
    return done.exit_code, json.loads(done.stdout)


def test_a_service_that_works_is_told_and_left_as_it_was(tmp_path):
    """Dropped with marker and sidecar, published, compared, forgotten, removed; exit code 0."""
    more = 'marker = "*.done"\nacquisition_depth = 2\nformat = "wkw"\nreserve_gib = 0'
    with bench(tmp_path, worker=None, folder=more) as service:
        service.start()
        (service.target / "stackwatch-selftest-ours").mkdir()
        code, found = try_it(service)
        left = service.datasets()
        with LedgerReader.open(service.state_dir) as reader:
            (acquisition,) = reader.list_acquisitions()

    assert (0, "succeeded", []) == (code, found["status"], found["problems"]), found
    assert {"dropped", "published"} <= set(found["steps"])
    assert found["dataset"].startswith(str(service.target / "stackwatch-selftest-"))
    assert ["stackwatch-selftest-ours"] == left
    assert [] == list(service.drop.iterdir())
    assert "ignored" == acquisition.state


@pytest.mark.system
def test_a_service_that_parks_it_says_why(tmp_path):
    """Exit code 75 with the service's own reason; nothing is left in the drop folder."""
    with bench(tmp_path, worker=None, folder="max_gib = 0.0000001\nreserve_gib = 0") as service:
        service.start()
        code, found = try_it(service)

    assert (75, "parked") == (code, found["status"])
    assert "it was parked: " in found["problems"][0]
    assert [] == list(service.drop.iterdir())


def test_stopped_in_the_middle_of_its_conversion_it_leaves_nothing_behind(tmp_path):
    """A dataset that is published a moment later would stay in the target for ever."""
    with bench(tmp_path, worker=None, folder="reserve_gib = 0") as service:
        service.start()
        settings = load_settings(service.config).settings
        play = Play(settings.folder[0], service.state_dir, lambda _text: None)
        play.drop()
        with LedgerReader.open(service.state_dir) as reader:
            service.wait_until(
                lambda: any(one.state == "converting" for one in reader.list_acquisitions())
            )
        play.clean_up()
        service.stop()

        assert ([], []) == (play.verdict.problems, play.verdict.left)
        assert ([], []) == (service.datasets(), list(service.drop.iterdir()))


def test_without_a_service_nothing_is_dropped(tmp_path):
    """Nobody would pick it up; the error says how to start one."""
    with bench(tmp_path) as service:
        code, found = try_it(service)
        assert [] == list(service.drop.iterdir())

    assert 0 != code
    assert "No daemon listens" in found["message"]


@pytest.mark.parametrize(
    "setting",
    [
        {"layout": "ome-set"},
        {"ignore": ("slice_*",)},
        {"marker": "[!a]x.done"},
        {"on_success": "delete", "on_success_dry_run": False},
        {"bucket": "s3://lab-data/em1"},
    ],
)
def test_folders_that_it_could_not_pass_are_refused(setting):
    """A made-up stack must not end in an archive, nor be parked for a setting that is right."""
    folder = FolderSettings(name="em", path=Path("/drop"), target=Path("/out"), **setting)

    with pytest.raises(UsageError, match=next(iter(setting))):
        refuse_folder(folder)
