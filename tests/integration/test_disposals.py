"""After success: a real daemon archives and deletes what it published, and nothing else."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from stackwatch.cli.app import app
from stackwatch.ledger.reader import LedgerReader
from stackwatch.pipeline.verify import verify_dataset
from stackwatch.testing.service import ServiceBench

ARCHIVE = 'on_success = "archive"\narchive_to = "{root}/archive"\nretention_h = 0\n'
DELETE = 'on_success = "delete"\nretention_h = 0\n'
FOR_REAL = "on_success_dry_run = false\n"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceBench]:
    """Return a bench with an archive, whose daemon is killed at the end."""
    made = ServiceBench(tmp_path, worker=None)
    (tmp_path / "archive").mkdir()
    yield made
    made.close()


def configure(service: ServiceBench, folder: str) -> None:
    """Write the settings of the folder."""
    service.write_config(folder.format(root=service.root))


def drop_stack(service: ServiceBench, name: str = "run") -> None:
    """Drop a numbered sequence of TIFFs, with junk beside it."""
    built = service.root / f"building-{name}"
    built.mkdir()
    for z in range(2):
        tifffile.imwrite(built / f"slice_{z}.tif", np.full((5, 7), z, np.uint8))
    (built / "Thumbs.db").write_bytes(b"junk")
    built.rename(service.drop / name)


def await_events(service: ServiceBench, name: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait for lines of the log and return them."""
    service.wait_until(lambda: len(service.events(name)) >= count)
    return service.events(name)


def shown(service: ServiceBench, *arguments: str) -> str:
    """Return what a command says."""
    result = CliRunner().invoke(app, [*arguments, "--config", str(service.config)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_an_archived_acquisition_is_nobodys_change(service):
    """C16: verified and unchanged it moves to the archive; no alarm, no new generation."""
    configure(service, ARCHIVE + FOR_REAL)
    service.start()
    drop_stack(service)

    (line,) = await_events(service, "source.archived")

    archive = service.root / "archive" / "run"
    assert str(archive) == line["path"]
    assert {"slice_0.tif", "slice_1.tif", "Thumbs.db"} == {p.name for p in archive.iterdir()}
    assert [] == list(service.drop.iterdir())
    service.ask("rescan", folder="em")
    drop_stack(service, "other")
    await_events(service, "source.archived", 2)
    assert [] == service.events("acquisition.vanished")
    assert 2 == len(service.events("job.queued"))
    verify_dataset(service.target / "run")
    assert f"archived to {archive}" in shown(service, "jobs", "show", "1")
    assert f"archived to {archive}" in shown(service, "jobs", "explain", "em/run")
    record = json.loads(shown(service, "jobs", "show", "1", "--json"))
    assert ("archive", "done", str(archive)) == tuple(
        record["disposal"][key] for key in ("action", "state", "archive_path")
    )
    assert 0 == service.stop()


@pytest.mark.system
def test_a_dry_run_tells_once_and_a_damaged_dataset_keeps_its_source(service):
    """C16: told once per generation, over a restart too; a dataset that was damaged saves it."""
    configure(service, DELETE)
    service.start()
    drop_stack(service)
    drop_stack(service, "whole")
    lines = await_events(service, "source.kept", 2)
    assert all("on_success_dry_run = false" in line["reason"] for line in lines)
    assert 0 == service.stop()
    service.start()
    service.wait_until(lambda: service.ask("status")["is_up"])
    assert 2 == len(service.events("source.kept"))
    files = [path for path in (service.target / "run").rglob("*") if path.is_file()]
    shard = next(path for path in files if path.suffix != ".json")
    data = bytearray(shard.read_bytes())
    data[0] ^= 0xFF
    shard.write_bytes(data)
    configure(service, DELETE + FOR_REAL)
    service.signal(signal.SIGHUP)

    await_events(service, "source.deleted")
    (line,) = await_events(service, "source.kept", 3)[2:]

    assert ("run", "verification") == (line["acquisition"], line["error_code"])
    assert ["run"] == [path.name for path in service.drop.iterdir()]
    assert {"slice_0.tif", "slice_1.tif", "Thumbs.db"} == {
        path.name for path in (service.drop / "run").iterdir()
    }
    assert 0 == service.stop()


@pytest.mark.system
def test_a_change_after_publishing_keeps_the_source(service):
    """C16: what changed since becomes a new generation, and only that is put away."""
    configure(service, DELETE)
    service.start()
    drop_stack(service)
    await_events(service, "source.kept")
    tifffile.imwrite(service.drop / "run" / "slice_2.tif", np.full((5, 7), 2, np.uint8))
    configure(service, DELETE + FOR_REAL)
    service.signal(signal.SIGHUP)

    await_events(service, "source.deleted")

    assert ["run", "run-r2"] == sorted(p.name for p in service.target.iterdir() if p.name[0] != ".")
    assert 2 == len(service.events("job.succeeded"))
    with LedgerReader.open(service.state_dir) as reader:
        (acquisition,) = reader.list_acquisitions()
    assert ("published", 2) == (str(acquisition.state), acquisition.generation)
    assert acquisition.vanished_at_us is not None
