"""C19: a ledger that is lost costs history, not conversions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from stackwatch.cli.app import app
from stackwatch.ledger.reader import LedgerReader
from stackwatch.testing.service import ServiceBench


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceBench]:
    """Return a bench with the real worker, whose daemon is killed at the end."""
    made = ServiceBench(tmp_path, worker=None)
    yield made
    made.close()


def run(service: ServiceBench, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a command and return its document."""
    result = CliRunner().invoke(app, [*arguments, "--config", str(service.config), "--json"])
    assert code == result.exit_code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def write_slice(path: Path, value: int) -> None:
    """Write a small TIFF."""
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, np.full((4, 5), value, np.uint8))


def garble(path: Path) -> None:
    """Overwrite the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\xa5" * (len(data) - len(data) // 2)
    path.write_bytes(data)


def states(service: ServiceBench) -> dict[str, tuple[str, int]]:
    """Return state and generation of each acquisition."""
    with LedgerReader.open(service.state_dir) as reader:
        return {a.key: (str(a.state), a.generation) for a in reader.list_acquisitions()}


def test_a_rebuilt_ledger_converts_nothing_twice(service):
    """C19: damage is told with the way out; after the rebuild only what is new is converted."""
    for z in range(2):
        write_slice(service.drop / "run" / f"{z}.tif", z)
        write_slice(service.drop / f"img_{z}.tif", 10 + z)
    service.start()
    service.wait_until(lambda: len(service.events("job.succeeded")) == 2)
    write_slice(service.drop / "run" / "2.tif", 2)
    service.wait_until(lambda: len(service.events("job.succeeded")) == 3)
    assert 0 == service.stop()
    expected = states(service)
    assert {"run": ("published", 2), "img_#.tif": ("published", 1)} == expected
    run(service, "ledger", "check")
    garble(service.state_dir / "ledger.db")
    assert "ledger" == run(service, "ledger", "check", code=69)["error_code"]
    service.start(is_awaited=False)
    assert 69 == service.wait()
    assert "stackwatch ledger rebuild" in service.tail()

    rebuilt = run(service, "ledger", "rebuild")

    assert (2, 3, []) == tuple(rebuilt[key] for key in ("acquisitions", "datasets", "unknown"))
    assert Path(rebuilt["aside"]).exists()
    service.start()
    service.wait_until(
        lambda: (
            len([e for e in service.events("acquisition.settled") if "same" in e["reason"]]) == 2
        )
    )
    write_slice(service.drop / "new" / "1.tif", 7)
    service.wait_until(lambda: len(service.events("job.succeeded")) == 4)
    assert expected | {"new": ("published", 1)} == states(service)
    assert ["img", "new", "run", "run-r2"] == [
        path.name for path in sorted(service.target.iterdir()) if path.name[0] != "."
    ]
    assert 4 == len(service.events("job.queued"))
    assert 0 == service.stop()


def test_the_copy_of_the_last_stop_is_restored(service):
    """C19: everything is as it was, history too; the damaged file is kept."""
    service.start()
    write_slice(service.drop / "run" / "1.tif", 1)
    service.wait_until(lambda: bool(service.events("job.succeeded")))
    assert 0 == service.stop()
    (service.state_dir / "ledger.db").unlink()
    service.start(is_awaited=False)
    assert 69 == service.wait()

    run(service, "ledger", "restore")

    assert {"run": ("published", 1)} == states(service)
    assert "job.succeeded" in [
        event["event"] for event in run(service, "jobs", "show", "1")["events"]
    ]
    service.start()
    assert (
        69
        == CliRunner().invoke(app, ["ledger", "restore", "--config", str(service.config)]).exit_code
    )
    run(service, "ledger", "backup")
    assert 0 == service.stop()
