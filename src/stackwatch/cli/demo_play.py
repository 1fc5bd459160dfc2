"""The demo's play: acquisitions that are made up, a daemon of its own, and what must come out."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stackwatch.cli.answers import say
from stackwatch.cli.signals import StopOnSignal
from stackwatch.errors import CancelledError, StackwatchError, UnexpectedError
from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import JobState
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer

_POLL_S: Final = 0.2
_STOP_S: Final = 60.0

_CONFIG: Final = """# So short a quiet gap would be too short for a microscope.
[daemon]
state_dir = "{root}/state"

[[folder]]
name = "demo"
path = "{root}/drop"
target = "{root}/datasets"
voxel_size_nm = [11, 11, 25]
quiet_gap_s = 1
scan_interval_s = 1
reserve_gib = 0

[[folder]]
name = "signalled"
path = "{root}/signalled"
target = "{root}/datasets"
voxel_size_nm = [11, 11, 25]
quiet_gap_s = 1
scan_interval_s = 1
reserve_gib = 0
marker = "*.done"
"""

_SIDECAR: Final = b"""name = "hippocampus_7"
voxel_size_nm = [4, 4, 40]
"""

_EM = SyntheticLayer(shape_zyx=(48, 500, 600), content="em")
ACQUISITIONS: Final = {
    "em_sequence": SyntheticAcquisition((_EM,)),
    "cells": SyntheticAcquisition((
        SyntheticLayer("color", shape_zyx=(32, 300, 400), content="em"),
        SyntheticLayer("segmentation", shape_zyx=(32, 300, 400), dtype="uint32", content="labels"),
    )),
    "light_sheet": SyntheticAcquisition((
        SyntheticLayer(
            shape_zyx=(16, 256, 320), dtype="uint16", kind="ome-tiff", channels=2,
            pattern="light_sheet.ome.tif", voxel_size_nm=(400.0, 400.0, 1000.0),
        ),
    )),
    "slice_missing": SyntheticAcquisition((
        SyntheticLayer(shape_zyx=(24, 200, 200), content="em", missing=(17,)),
    )),
    "with_sidecar": SyntheticAcquisition(
        (SyntheticLayer(shape_zyx=(8, 120, 160), content="em"),),
        extra={"stackwatch.toml": _SIDECAR},
    ),
    "waits_for_marker": SyntheticAcquisition((
        SyntheticLayer(shape_zyx=(8, 120, 160), content="em"),
    )),
}  # fmt: skip
"""What is dropped, by the name of its folder."""

SIGNALLED: Final = "waits_for_marker"
"""Lies in a drop folder whose acquisitions are complete when a marker says so."""
LAYERS: Final = {
    "em_sequence": 1, "cells": 2, "light_sheet": 2, "with_sidecar": 1, SIGNALLED: 1,
}  # fmt: skip
"""How many layers each dataset must have."""
NAMES: Final = {"with_sidecar": "hippocampus_7"}
"""What a dataset must be called, where its acquisition's name is not it."""
PARKED: Final = {"slice_missing": "missing_slices"}
"""Which acquisitions must be parked, and why."""


@dataclass(frozen=True, slots=True)
class DemoOutcome:
    """What came of the demo.

    Attributes
    ----------
    jobs : tuple of dict
        As `stackwatch jobs list --json` shows them.
    problems : tuple of str
        What is not as it should be.
    log : Path
    seconds : float
    """

    jobs: tuple[dict[str, Any], ...]
    problems: tuple[str, ...]
    log: Path
    seconds: float

    @property
    def is_as_expected(self) -> bool:
        """Whether everything came out as it should."""
        return not self.problems

    def as_record(self, path: str | None) -> dict[str, Any]:
        """Return the document of docs/json.md."""
        return {
            "status": "succeeded" if self.is_as_expected else "failed",
            "path": path,
            "log": show_path(self.log) if path is not None else None,
            "problems": list(self.problems),
            "datasets": [job for job in self.jobs if job["state"] == JobState.SUCCEEDED],
            "parked": [job for job in self.jobs if job["state"] == JobState.PARKED],
            "seconds": round(self.seconds, 3),
        }

    def describe(self) -> str:
        """Return the outcome for people."""
        lines: list[str] = []
        for job in sorted(self.jobs, key=lambda job: str(job["acquisition"])):
            if job["state"] == JobState.SUCCEEDED:
                lines += _describe_published(job)
            elif job["state"] == JobState.PARKED:
                lines.append(f"{job['acquisition']} was parked, as it should be:")
                lines.append(f"  {job['message']}")
        lines += [f"NOT AS IT SHOULD BE: {problem}" for problem in self.problems]
        verdict = "All is as it should be" if self.is_as_expected else "Something went wrong"
        return "\n".join([*lines, "", f"{verdict} ({self.seconds:.1f} s)."])


def run_demo(root: Path, timeout_s: float) -> DemoOutcome:
    """Play the demo in an empty folder.

    Parameters
    ----------
    root : Path
    timeout_s : float
        How long all conversions together may take.

    Raises
    ------
    CancelledError
        A signal came; the service has been stopped.
    """
    began = time.monotonic()
    for name in ("drop", "signalled", "datasets", "building"):
        (root / name).mkdir()
    config, log = root / "config.toml", root / "stackwatch.log"
    config.write_text(_CONFIG.format(root=root), encoding="utf-8")
    say("Starting the service …")
    with StopOnSignal() as stop, _service(config, log) as service:
        for name, acquisition in ACQUISITIONS.items():
            acquisition.write(root / "building" / name)
            folder = "signalled" if name == SIGNALLED else "drop"
            (root / "building" / name).rename(root / folder / name)
            say(f"Dropped {name}.")
        jobs = _wait(root, service, stop.cancelled, began + timeout_s)
        if stop.cancelled.is_set():
            raise CancelledError("The demo was stopped.")
    (root / "building").rmdir()
    problems = tuple(_find_problems(jobs, service.returncode))
    return DemoOutcome(tuple(jobs.values()), problems, log, time.monotonic() - began)


@contextlib.contextmanager
def _service(config: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the daemon as a child; stop it at the end, whatever happened.

    A session of its own keeps Ctrl-C away from it: it is told once, by us.
    """
    environ = {key: value for key, value in os.environ.items() if not key.startswith("STACKWATCH_")}
    command = [sys.executable, "-m", "stackwatch", "run", "--config", str(config)]
    with log.open("wb") as stream:
        service = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=environ,
            start_new_session=True,
        )
    try:
        yield service
    finally:
        service.send_signal(signal.SIGTERM)
        try:
            service.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()


def _wait(
    root: Path,
    service: "subprocess.Popen[bytes]",
    cancelled: threading.Event,
    deadline: float,
) -> dict[str, dict[str, Any]]:
    """Wait until every acquisition has come to an end; return the newest job of each.

    The marker is written when all that does not wait for it is done.
    """
    said: dict[str, str] = {}
    jobs: dict[str, dict[str, Any]] = {}
    ends = {JobState.SUCCEEDED, JobState.PARKED, JobState.FAILED}
    while len(jobs) < len(ACQUISITIONS) or not all(job["state"] in ends for job in jobs.values()):
        if service.poll() is not None or time.monotonic() > deadline:
            break
        if cancelled.wait(_POLL_S):
            break
        jobs = _read_jobs(root / "state")
        ended = {name for name, job in jobs.items() if job["state"] in ends}
        marker = root / "signalled" / SIGNALLED / "run.done"
        if ended >= {*ACQUISITIONS} - {SIGNALLED} and not marker.exists():
            say(f"{SIGNALLED}: not ready, {_why_not_ready(root / 'state')}. Writing it now.")
            marker.touch()
        for name, job in jobs.items():
            if said.get(name) != job["state"]:
                said[name] = job["state"]
                say(f"{name}: {_WORDS.get(job['state'], job['state'])}")
    return jobs


def _why_not_ready(state_dir: Path) -> str:
    """Return what speaks against the acquisition that waits for its marker."""
    from stackwatch.ledger.explaining import list_reasons

    with LedgerReader.open(state_dir) as reader:
        found = [one for one in reader.list_acquisitions("signalled") if one.key == SIGNALLED]
    return "; ".join(list_reasons(found[0], None) if found else ()) or "its marker is not there"


_WORDS: Final = {
    JobState.QUEUED: "settled, waits for a worker",
    JobState.CLAIMED: "converting …",
    JobState.SUCCEEDED: "published",
    JobState.PARKED: "parked",
}


def _read_jobs(state_dir: Path) -> dict[str, dict[str, Any]]:
    try:
        with LedgerReader.open(state_dir) as reader:
            return {job.key: job.as_record() for job in reversed(reader.list_jobs())}
    except StackwatchError:  # the daemon has not made its ledger yet
        return {}


def _find_problems(jobs: Mapping[str, dict[str, Any]], returncode: int | None) -> Iterator[str]:
    if returncode != 0:
        yield f"the service ended with exit code {returncode}"
    for name in ACQUISITIONS:
        job = jobs.get(name)
        if job is None:
            yield f"{name} was not queued in time"
        elif name in PARKED:
            if (job["state"], job["error_code"]) != (JobState.PARKED, PARKED[name]):
                yield f"{name} is {job['state']} and should be parked ({PARKED[name]})"
        elif job["state"] != JobState.SUCCEEDED:
            yield f"{name} is {job['state']}: {job['message'] or 'no reason given'}"
        else:
            yield from _find_flaws(name, job)


def _find_flaws(name: str, job: Mapping[str, Any]) -> Iterator[str]:
    """Look at the datasets themselves: whether they are whole, with all their layers."""
    from stackwatch.pipeline.verify import verify_dataset

    layers = 0
    wanted = NAMES.get(name, name)
    for dataset in job["result"]["datasets"]:
        if dataset["name"] != wanted:
            yield f"{name} became {dataset['name']} and should be {wanted}"
        layers += len(dataset["layers"])
        try:
            verify_dataset(Path(dataset["path"]))
        except StackwatchError as error:
            yield f"{name}: {error.message}"
    if layers != LAYERS[name]:
        yield f"{name} has {layers} layers and should have {LAYERS[name]}"


def _describe_published(job: Mapping[str, Any]) -> Iterator[str]:
    if job["result"] is None:
        raise UnexpectedError(f"Job {job['job_id']} succeeded without a result.")
    for dataset in job["result"]["datasets"]:
        size = " × ".join(f"{edge:g}" for edge in dataset["voxel_size_nm"])
        yield f"{job['acquisition']} became {dataset['path']} ({size} nm)"
        for layer in dataset["layers"]:
            extent = " × ".join(str(edge) for edge in layer["bounding_box"]["size"])
            yield (
                f"  {layer['name']}: {layer['category']}, {layer['voxel_type']}, {extent}, "
                f"mags {' '.join(layer['mags'])}"
            )
