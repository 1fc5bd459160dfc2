"""A ledger with a little history, and the program in this very process."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from stackwatch.cli.app import app
from stackwatch.errors import MissingSlicesError, OutOfSpaceError
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import NewDataset
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.model.job import FolderState, JobId, NewJob


class Manual:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.at = 1_700_000_000.0

    def monotonic(self) -> float:
        """Return the same as `now`."""
        return self.at

    def now(self) -> float:
        """Return a second more at every look."""
        self.at += 1
        return self.at


def sighting(key: str, kind: AcquisitionKind = AcquisitionKind.FOLDER) -> Sighting:
    """Return a scan's view of an acquisition."""
    members = ("img_1.tif", "img_2.tif") if kind is AcquisitionKind.GROUP else ()
    source = "" if kind is AcquisitionKind.GROUP else key
    return Sighting(key, key.split("_#")[0], kind, source, members, 2, 2048, 0, "mark", "size")


@dataclass
class History:
    """A service's state, and the program that looks at it."""

    state_dir: Path
    config: Path
    drop: Path

    def run(self, *arguments: str) -> Result:
        """Run a command on this state."""
        return CliRunner().invoke(app, [*arguments, "--config", str(self.config)])

    def answer(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run a command with `--json` and return its document."""
        result = self.run(*arguments, "--json")
        assert code == result.exit_code, result.output
        document = json.loads(result.stdout)
        assert document.pop("schema") == 1
        assert isinstance(document, dict)
        return document


@pytest.fixture
def empty(tmp_path: Path) -> History:
    """Return a state directory in which no daemon has run."""
    state_dir, drop = tmp_path / "state", tmp_path / "drop"
    drop.mkdir()
    config = tmp_path / "config.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{state_dir}"\n[[folder]]\nname = "em1"\npath = "{drop}"\n'
        f'target = "{tmp_path}/out"\n',
        encoding="utf-8",
    )
    return History(state_dir, config, drop)


@pytest.fixture
def history(empty: History) -> History:
    """Return a service that published, parked and waits: jobs 1, 2 and 3; nothing runs now."""
    with Ledger.open(empty.state_dir, Manual()) as ledger:
        ledger.start()
        ledger.folders.upsert("em1", empty.drop, empty.drop.parent / "out")
        ledger.folders.record_state("em1", FolderState.POLLING, "the mount has no events")
        ledger.folders.record_settling("em1", sighting("run_9"))
        for key, kind in (
            ("run_1", AcquisitionKind.FOLDER),
            ("run_2", AcquisitionKind.FOLDER),
            ("img_#.tif", AcquisitionKind.GROUP),
        ):
            ledger.folders.record_settling("em1", sighting(key, kind))
            ledger.jobs.queue(NewJob("em1", key, 1, "mark", 2, 2048, "size"))
            job = ledger.jobs.claim(4711)
            assert job is not None
            _END[key](ledger, job.job_id, empty.drop.parent / "out" / key)
        ledger.stop()
    return empty


def _succeed(ledger: Ledger, job_id: JobId, path: Path) -> None:
    ledger.datasets.record_publishing(job_id, NewDataset(path, path, "run", "digest", 4096))
    ledger.datasets.record_published("run", path)
    ledger.jobs.succeed(job_id, {"status": "succeeded", "datasets": []})


def _park(ledger: Ledger, job_id: JobId, _path: Path) -> None:
    ledger.jobs.record_progress(
        job_id, {"phase": "converting", "done": 3, "total": 9, "bytes_read": 1, "bytes_written": 1}
    )
    error = MissingSlicesError("Slice 4 is missing.", hint="Copy it in.", slices=[4])
    ledger.jobs.park(job_id, error)


def _wait(ledger: Ledger, job_id: JobId, _path: Path) -> None:
    error = OutOfSpaceError("1 GiB free, 2 GiB needed.", hint="Make room.")
    ledger.jobs.wait(job_id, error, 2_000_000_000_000_000)


_END: dict[str, Callable[[Ledger, JobId, Path], None]] = {
    "run_1": _succeed,
    "run_2": _park,
    "img_#.tif": _wait,
}
