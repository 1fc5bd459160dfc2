"""`stackwatch demo`: the whole service once, as a newcomer sees it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stackwatch.errors import ExitCode

COMMAND = (sys.executable, "-m", "stackwatch", "demo")


@pytest.mark.slow
def test_the_demo_shows_the_whole_service(tmp_path: Path):
    """Five datasets and one parked acquisition, left in place, with documented keys."""
    root = tmp_path / "demo"
    done = subprocess.run(
        [*COMMAND, "--keep", str(root), "--json"],
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == ExitCode.DONE, done.stdout + done.stderr
    document = json.loads(done.stdout)

    assert {
        "schema", "status", "path", "log", "problems", "datasets", "parked", "seconds",
    } == set(document)  # fmt: skip
    assert ("succeeded", str(root), []) == (
        document["status"], document["path"], document["problems"],
    )  # fmt: skip
    assert {"em_sequence", "cells", "light_sheet", "with_sidecar", "waits_for_marker"} == {
        job["acquisition"] for job in document["datasets"]
    }
    assert ["missing_slices"] == [job["error_code"] for job in document["parked"]]
    assert ["cells", "em_sequence", "hippocampus_7", "light_sheet", "waits_for_marker"] == sorted(
        path.name for path in (root / "datasets").iterdir() if not path.name.startswith(".")
    )
    events = [json.loads(line)["event"] for line in Path(document["log"]).read_text().splitlines()]
    assert (events.count("job.succeeded"), events.count("job.parked")) == (5, 1)
    assert "waits_for_marker: not ready, the marker `*.done` is not there." in done.stderr
    assert events[-1] == "daemon.stopped"


@pytest.mark.system
def test_a_stopped_demo_leaves_nothing(tmp_path: Path):
    """A demo that is stopped takes its service and its folder with it."""
    child = subprocess.Popen(
        COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    with child:
        assert child.stderr is not None
        # the pipe ends if the command does, so this loop ends in every case
        began = any(line.startswith("Dropped slice_missing") for line in child.stderr)
        (root,) = tmp_path.glob("stackwatch-demo-*")
        child.send_signal(signal.SIGTERM)
        child.stderr.read()

    assert began
    assert child.wait() == ExitCode.TERMINATED
    assert not root.exists()


def test_the_demo_wants_a_folder_of_its_own(tmp_path: Path):
    """A folder in which something lies is left alone."""
    (tmp_path / "precious").touch()
    done = subprocess.run(
        [*COMMAND, "--keep", str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert done.returncode == ExitCode.USAGE
    assert ["precious"] == [path.name for path in tmp_path.iterdir()]
