"""What programs ask: the documents of the command line, health, metrics."""

import json
import os
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from stackwatch.cli.app import app
from stackwatch.errors import CorruptSliceError
from stackwatch.ledger.ledger import LEDGER_NAME
from stackwatch.ledger.reader import copy_ledger
from stackwatch.testing.page_worlds import World, fill_empty
from stackwatch.testing.pages import PageBench, serve_page
from stackwatch.web.live import Part, Snapshot


@pytest.fixture(scope="module")
def config(failed: PageBench) -> Path:
    """Return the settings of a service with a copy of the ledger: its own is in use."""
    root = failed.world.root
    (root / "copy").mkdir()
    assert copy_ledger(root / "state", root / "copy" / LEDGER_NAME)
    config = root / "config.toml"
    config.write_text(f'[daemon]\nstate_dir = "{root}/copy"\n', encoding="utf-8")
    return config


def answer_of_command(config: Path, *arguments: str) -> dict[str, object]:
    """Return what the command line says about the same ledger."""
    result = CliRunner().invoke(app, [*arguments, "--config", str(config), "--json"])
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("/api/jobs", ["jobs", "list"]),
        ("/api/jobs?state=parked", ["jobs", "list", "--state", "parked"]),
        ("/api/jobs?folder=em2&limit=1", ["jobs", "list", "--folder", "em2", "--limit", "1"]),
        ("/api/deliveries", ["deliveries", "list"]),
        ("/api/deliveries?state=parked", ["deliveries", "list", "--state", "parked"]),
        ("/api/jobs/1", ["jobs", "show", "1"]),
        ("/api/jobs/2", ["jobs", "show", "2"]),
        ("/api/jobs/2?limit=1", ["jobs", "show", "2", "--limit", "1"]),
        ("/api/explain?what=cortex_041", ["jobs", "explain", "cortex_041"]),
        ("/api/explain?what=3", ["jobs", "explain", "3"]),
    ],
)
def test_documents_are_those_of_the_command_line(
    failed: PageBench, config: Path, path: str, arguments: list[str]
):
    """Page and command line answer with the same document."""
    assert answer_of_command(config, *arguments) == failed.document(path)


def test_the_status_is_that_of_the_command_line(failed: PageBench, config: Path):
    """Status is the same, but for what only the daemon of this moment knows."""
    live = {"status", "paused", "converting", "degraded"}
    said, shown = answer_of_command(config, "status"), failed.document("/api/status")

    assert said.keys() == shown.keys()
    assert {key: said[key] for key in said.keys() - live} == {
        key: shown[key] for key in shown.keys() - live
    }
    assert ["em2"] == list(shown["paused"])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/jobs/999", 404), ("/api/jobs/x", 404), ("/api/jobs?state=odd", 400),
        ("/api/deliveries?state=claimed", 400), ("/api/deliveries?limit=1001", 400),
        ("/api/jobs?limit=0", 400), ("/api/jobs?limit=x", 400), ("/api/explain?what=none", 404),
        ("/api/explain", 404), ("/api/jobs/1?limit=1001", 400),
        ("/api/explain?what=1&limit=0", 400),
    ],
)  # fmt: skip
def test_an_odd_question_is_refused(failed: PageBench, path: str, status: int):
    """What is not there, or makes no sense, is refused with a sentence."""
    answer = failed.client.get(path)

    assert status == answer.status_code
    assert answer.text.strip()


def test_health_is_good_only_while_every_part_is_alive(busy: PageBench):
    """One part that is silent, or a ledger that takes no writes, makes the answer 503."""
    assert "ok" == busy.document("/healthz")["status"]
    parts, snapshot = busy.parts, busy.service.snapshot
    try:
        busy.parts = (*parts, Part("control socket", 88.0, is_alive=False))
        found = busy.document("/healthz", status=503)
        assert ("failing", False) == (
            found["status"], found["parts"]["control socket"]["is_alive"],
        )  # fmt: skip
        busy.parts = parts
        busy.set_snapshot(degraded="the disk is full")
        assert "the disk is full" == busy.document("/healthz", status=503)["degraded"]
        assert "degraded" in busy.page("/")
    finally:
        busy.parts, busy.service.snapshot = parts, snapshot


def test_metrics_can_be_read_and_carry_their_units(failed: PageBench):
    """Every metric is ours, has a meaning, and says its unit where it has one."""
    families = {one.name: one for one in text_string_to_metric_families(failed.page("/metrics"))}

    assert all(name.startswith("stackwatch_") for name in families)
    assert all(one.documentation for one in families.values())
    for name in (
        "info", "part_alive", "folder_up", "scan_seconds", "scan_files", "acquisitions", "jobs",
        "deliveries", "oldest_settling_seconds", "oldest_queued_seconds", "read_bytes",
        "written_bytes", "events", "parked", "retries", "source_changed", "disk_free_bytes",
        "watch_overflows", "watch_restarts", "last_success_timestamp_seconds", "notices",
        "process_resident_memory_bytes",
    ):  # fmt: skip
        assert f"stackwatch_{name}" in families

    def value(name: str, **labels: str) -> float:
        (found,) = [
            one.value for one in families[f"stackwatch_{name}"].samples if labels == one.labels
        ]
        return found

    assert 0 == value("folder_up", folder="scope")
    assert 1 == value("folder_up", folder="em1")
    assert 3 == value("acquisitions", folder="em1", state="parked")
    assert 1 == value("parked", error_code="missing_slices")
    assert 12e9 == value("disk_free_bytes", role="target", path="/data/datasets")
    assert 41e9 == value("read_bytes")


def test_totals_are_counted_once(failed: PageBench):
    """A second scrape tells the same totals: what was counted is not counted again."""
    pattern = re.compile(r"^stackwatch_events_total.*$", re.MULTILINE)

    assert pattern.findall(failed.page("/metrics")) == pattern.findall(failed.page("/metrics"))


def test_names_that_are_no_text_come_in_documents(tmp_path: Path):
    """A message that names a file as the system gave it, with bytes that are no UTF-8, is sent."""
    odd = os.fsdecode(b"bad\xff.tif")

    def fill(world: World) -> Snapshot:
        snapshot = fill_empty(world)
        world.add_folder("em1")
        world.park("em1", odd, CorruptSliceError(f"{odd} is damaged"))
        return snapshot

    with serve_page(tmp_path, fill) as bench:
        assert f"{odd} is damaged" == bench.document("/api/jobs/1")["job"]["message"]
        assert "bad" in bench.page("/jobs/1")


def test_nobody_is_needed_for_what_is_gone(tmp_path: Path):
    """An acquisition that was set aside and taken away is no longer counted or shown."""

    def fill(world: World) -> Snapshot:
        snapshot = fill_empty(world)
        world.add_folder("em1")
        world.succeed("em1", "odd_one")
        world.ledger.folders.park(
            "em1", world.settle("em1", "odd_one", 3, 30), CorruptSliceError("It is damaged.")
        )
        return snapshot

    with serve_page(tmp_path, fill) as bench:
        assert "It is damaged." in bench.page("/")
        bench.world.ledger.folders.record_vanished("em1", "odd_one")
        status = bench.document("/api/status")
        page = bench.page("/")

    assert [] == status["parked"]
    assert [{}] == [folder["acquisitions"] for folder in status["folders"]]
    assert "It is damaged." not in page
