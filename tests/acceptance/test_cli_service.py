"""`stackwatch run` and the commands that talk with it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stackwatch.errors import ExitCode
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer

COMMAND = (sys.executable, "-m", "stackwatch")
DEADLINE_S = 90.0


class Service:
    """A running daemon and its configuration."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.toml"
        for name in ("drop", "out"):
            (root / name).mkdir()
        self.config.write_text(
            f'[daemon]\nstate_dir = "{root}/state"\n[logs]\nfile = "{root}/copy.jsonl"\n'
            f'[[folder]]\nname = "em1"\npath = "{root}/drop"\ntarget = "{root}/out"\n'
            "quiet_gap_s = 0.5\nscan_interval_s = 0.5\nvoxel_size_nm = [11, 11, 25]\n",
            encoding="utf-8",
        )
        environ = {**os.environ, "STACKWATCH_CONFIG": str(self.config)}
        with (root / "stdout").open("wb") as out, (root / "stderr").open("wb") as errors:
            self.child = subprocess.Popen(
                [*COMMAND, "run"], stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=environ
            )

    def answer(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Ask the service by command."""
        done = subprocess.run(
            [*COMMAND, *arguments, "--config", str(self.config), "--json"],
            capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
        assert code == done.returncode, done.stdout + done.stderr
        document = json.loads(done.stdout)
        assert isinstance(document, dict)
        return document

    def lines(self) -> list[dict[str, Any]]:
        """Return the log, whole lines only."""
        text = (self.root / "stdout").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]

    def wait_for(self, is_true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the log has a line like that."""
        deadline = time.monotonic() + DEADLINE_S
        pause = threading.Event()
        while time.monotonic() < deadline:
            for line in self.lines():
                if is_true(line):
                    return line
            if self.child.poll() is not None:
                break
            pause.wait(0.05)
        raise AssertionError([*self.lines(), (self.root / "stderr").read_text()])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Run a service, and stop it whatever happens."""
    made = Service(tmp_path)
    yield made
    if made.child.poll() is None:
        made.child.kill()
    made.child.wait()


@pytest.mark.slow
def test_a_parked_job_is_mended_and_retried(service: Service):
    """From a missing slice to a dataset: the log, status, jobs and retry all tell the same."""
    layer = SyntheticLayer(shape_zyx=(4, 60, 80), content="em", missing=(2,))
    SyntheticAcquisition((layer,)).write(service.root / "run_1")
    (service.root / "run_1").rename(service.root / "drop" / "run_1")
    parked = service.wait_for(lambda line: line["event"] == "job.parked")
    status = service.answer("status")

    assert ("running", service.child.pid) == (status["status"], status["daemon"]["pid"])
    assert [parked["job_id"]] == [entry["job_id"] for entry in status["parked"]]
    retried = service.answer("jobs", "retry", str(parked["job_id"]))
    assert {"schema": 1, "status": "queued", "job_id": parked["job_id"], "daemon": True} == retried
    service.wait_for(lambda line: line["event"] == "job.parked" and line["attempt"] == 2)

    drop = service.root / "drop" / "run_1"
    shutil.copy(drop / "slice_0001.tif", drop / "slice_0002.tif")
    done = service.wait_for(lambda line: line["event"] == "job.succeeded")
    shown = service.answer("jobs", "show", str(done["job_id"]))
    assert ["published"] == [dataset["state"] for dataset in shown["datasets"]]
    assert (service.root / "out" / "run_1" / "datasource-properties.json").is_file()
    explained = service.answer("jobs", "explain", str(drop))
    assert explained["acquisition"]["state"] == "published"

    service.child.send_signal(signal.SIGTERM)
    assert service.child.wait(DEADLINE_S) == ExitCode.DONE
    assert service.answer("status")["status"] == "no daemon"
    copied = (service.root / "copy.jsonl").read_text(encoding="utf-8").splitlines()
    assert {line["event"] for line in service.lines()} == {json.loads(c)["event"] for c in copied}
    assert (service.root / "stderr").read_text() == ""


def test_a_second_service_is_refused(service: Service):
    """Two daemons on one ledger: the second ends with 69 and says who is there."""
    service.wait_for(lambda line: line["event"] == "daemon.started")
    done = subprocess.run(
        [*COMMAND, "run", "--config", str(service.config)],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip

    assert done.returncode == ExitCode.UNAVAILABLE
    assert f"pid {service.child.pid}" in done.stderr
