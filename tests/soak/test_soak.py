"""The soak: instruments write, everything is killed at random, and at the end nothing is lost.

`make soak` runs it for five minutes; `ARGS="--minutes 20 --seed 7"` changes that. A seed repeats
what the instruments do and when something is killed, but not the machine's timing.
"""

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from stackwatch.errors import StackwatchError
from stackwatch.failpoints import FAILPOINTS
from stackwatch.ledger.reader import LedgerReader
from stackwatch.ledger.records import AcquisitionRecord, DatasetRecord, Job
from stackwatch.model.job import AcquisitionState, DatasetState, JobState
from stackwatch.testing.service import ServiceBench
from stackwatch.testing.visitor import Visitor, open_dataset

WRITER = Path(__file__).with_name("writer.py")
GAP_S = 1.0
FOLDERS = ("em", "replaced", "marked")
"""A quiet gap and versions; a quiet gap and one dataset that is replaced; a marker that counts."""

DRAIN_S = 240.0
KILLS = ("daemon", "daemon", "worker", "worker", "both", "failpoint", "failpoint", "stop")
PRESSED = frozenset({"worker_killed"})
"""A person retries what was set aside because its workers were killed again and again."""


@dataclass
class Report:
    """What the soak came to; all lists must be empty."""

    seed: int
    seconds: int
    acquisitions: int = 0
    acts: int = 0
    generations: int = 0
    published: int = 0
    superseded: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    retried: int = 0
    visits: int = 0
    losses: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    halves: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        """Everything that may not be."""
        return self.losses + self.duplicates + self.halves + self.leftovers

    def as_text(self) -> str:
        """Return the report for a person."""
        kills = ", ".join(f"{number} {what}" for what, number in sorted(self.kills.items()))
        return (
            f"soak of {self.seconds} s with seed {self.seed}: {self.acquisitions} acquisitions, "
            f"{self.acts} acts, {self.generations} generations, {self.published} datasets "
            f"({self.superseded} superseded), {sum(self.kills.values())} kills ({kills}), "
            f"{self.retried} retried by hand, {self.visits} datasets opened when they appeared · "
            f"losses {len(self.losses)}, duplicates {len(self.duplicates)}, half datasets seen "
            f"{len(self.halves)}, leftovers {len(self.leftovers)}"
        )


@pytest.mark.timeout(0)
def test_the_smallest_soak_loses_nothing(tmp_path, request, capsys):
    """C1, I1, I3: twelve seconds of writing and killing; every final content is published once."""
    seed = request.config.getoption("--seed") or 1
    run(tmp_path, 12.0, seed, capsys)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_long_soak_loses_nothing(tmp_path, request, capsys):
    """C1, I1, I3: the same for as long as asked, from a seed of its own."""
    minutes = request.config.getoption("--minutes")
    seed = request.config.getoption("--seed") or random.SystemRandom().randrange(1, 10**6)
    run(tmp_path, minutes * 60, seed, capsys)


def run(root: Path, seconds: float, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Soak, print and write the report, then judge."""
    soak = Soak(root, seconds, seed)
    with capsys.disabled():
        print(f"\nsoak of {seconds:g} s, seed {seed}: {root}")  # noqa: T201
    try:
        report = soak.run()
    finally:
        soak.close()
    place = Path("build")
    place.mkdir(exist_ok=True)
    (place / f"soak-{seed}.json").write_text(json.dumps(asdict(report), indent=2) + "\n")
    with capsys.disabled():
        print(report.as_text())  # noqa: T201

    assert [] == report.violations


class Soak:
    """A daemon with three folders, instruments that write into them, and somebody who kills."""

    def __init__(self, root: Path, seconds: float, seed: int) -> None:
        self.root = root
        self.seconds = seconds
        self.rng = random.Random(seed)
        self.report = Report(seed, round(seconds))
        self.service = ServiceBench(root, worker=None)
        self.drops = {"em": self.service.drop}
        self.targets = {"em": self.service.target}
        self._writers: list[subprocess.Popen[bytes]] = []
        self._write_config()

    def _write_config(self) -> None:
        lines = ["reserve_gib = 0"]
        for name, more in (
            ("replaced", 'on_change = "replace"'),
            ("marked", 'marker = "*.done"'),
        ):
            self.drops[name], self.targets[name] = self.root / name, self.root / f"{name}-target"
            self.drops[name].mkdir()
            self.targets[name].mkdir()
            lines += [
                "[[folder]]", f'name = "{name}"', f'path = "{self.drops[name]}"',
                f'target = "{self.targets[name]}"', "voxel_size_nm = [1, 1, 1]",
                "reserve_gib = 0", more,
            ]  # fmt: skip
            lines += [f"quiet_gap_s = {GAP_S}", "scan_interval_s = 5"]
        self.service.write_config("\n".join(lines), "workers = 2")
        text = self.service.config.read_text().replace(
            "quiet_gap_s = 0.2", f"quiet_gap_s = {GAP_S}"
        )
        self.service.config.write_text(text)

    def run(self) -> Report:
        """Let instruments write and kill, until the time is over; then wait and count."""
        with Visitor(self.targets.values()) as visitor:
            self.service.start()
            self._start_writers()
            end_s = time.monotonic() + self.seconds
            while time.monotonic() < end_s:
                wait(self.rng.uniform(1.0, 4.0))
                self._kill(self.rng.choice(KILLS))
            self._stop_writers()
            self._restart()
            self._drain()
            assert 0 == self.service.stop()
        visitor.look()
        self.report.visits, self.report.halves = visitor.visits, visitor.halves
        self._judge()
        return self.report

    def close(self) -> None:
        """Leave no process behind."""
        for writer in self._writers:
            writer.kill()
            writer.wait()
        self.service.close()

    # ------------------------------------------------------------ what happens

    def _start_writers(self) -> None:
        (self.root / "outside").mkdir()
        for number in range(4):
            order = {
                "drops": {name: str(path) for name, path in self.drops.items()},
                "outside": str(self.root / "outside"),
                "journal": str(self.root / "journal.jsonl"),
                "stop": str(self.root / "stop"),
                "gap_s": GAP_S,
                "name": "wxyz"[number],
                "seed": self.rng.randrange(10**9),
            }
            command = [sys.executable, str(WRITER), json.dumps(order)]
            self._writers.append(subprocess.Popen(command))

    def _stop_writers(self) -> None:
        (self.root / "stop").touch()
        for writer in self._writers:
            assert 0 == writer.wait(60)

    def _kill(self, what: str) -> None:
        workers = self._workers()
        if what in ("worker", "both") and not workers:
            what = "daemon"
        self.report.kills[what] = self.report.kills.get(what, 0) + 1
        if what in ("worker", "both"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.rng.choice(workers), signal.SIGKILL)
        if what == "stop":
            # a failpoint may have ended it, and a worker may take longer than we wait
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                self.service.signal(signal.SIGTERM)
                self.service.wait(30)
        if what != "worker":
            failpoint = None
            if what == "failpoint":
                failpoint = f"{self.rng.choice(FAILPOINTS)}:{self.rng.randint(1, 3)}"
            self._restart(failpoint)

    def _restart(self, failpoint: str | None = None) -> None:
        self.service.close()
        self.service.start(failpoint, is_awaited=failpoint is None)

    def _workers(self) -> list[int]:
        with contextlib.suppress(StackwatchError):
            status = self.service.status() or {}
            return [job["pid"] for job in status.get("converting", []) if job.get("pid")]
        return []

    def _drain(self) -> None:
        """Wait until every acquisition has come to an end; retry what our kills set aside."""
        deadline_s = time.monotonic() + DRAIN_S + self.seconds
        quiet_since_s: float | None = None
        while time.monotonic() < deadline_s:
            if self._is_quiet():
                quiet_since_s = quiet_since_s or time.monotonic()
                if time.monotonic() - quiet_since_s > 4 * GAP_S:
                    return
            else:
                quiet_since_s = None
            wait(0.2)
        self.report.losses.append(f"not at rest after {DRAIN_S + self.seconds:g} s")

    def _is_quiet(self) -> bool:
        with LedgerReader.open(self.service.state_dir) as reader:
            jobs, acquisitions = (
                reader.list_jobs(limit=10**6),
                reader.list_acquisitions(limit=10**6),
            )
        for job in jobs:
            code = (job.error or {}).get("error_code")
            if job.state in (JobState.WAITING, JobState.PARKED) and code in PRESSED:
                self.report.retried += 1
                with contextlib.suppress(StackwatchError):
                    self.service.ask("retry", job=job.job_id)
        at_work = (JobState.QUEUED, JobState.CLAIMED, JobState.WAITING)
        arriving = (AcquisitionState.SETTLING, AcquisitionState.INCOMPLETE)
        is_working = any(job.state in at_work for job in jobs)
        return not is_working and not any(
            found.state in arriving and found.vanished_at_us is None for found in acquisitions
        )

    # ------------------------------------------------------------ the judgement

    def _judge(self) -> None:
        with LedgerReader.open(self.service.state_dir) as reader:
            known = {(one.folder, one.key): one for one in reader.list_acquisitions(limit=10**6)}
            jobs = reader.list_jobs(limit=10**6)
            datasets = [
                dataset
                for job in jobs
                if (details := reader.show_job(job.job_id)) is not None
                for dataset in details.datasets
            ]
        self._count(list(known.values()), datasets)
        for folder, drop in self.drops.items():
            for place in sorted(drop.iterdir()):
                self._judge_one(known.get((folder, place.name)), folder, place, datasets, jobs)
        self._judge_duplicates(datasets)
        self._judge_leftovers(datasets)
        with sqlite3.connect(self.service.state_dir / "ledger.db") as connection:
            if [("ok",)] != connection.execute("PRAGMA integrity_check").fetchall():
                self.report.leftovers.append("the ledger is damaged")
        connection.close()

    def _count(self, known: list[AcquisitionRecord], datasets: list[DatasetRecord]) -> None:
        self.report.acts = len((self.root / "journal.jsonl").read_text().splitlines())
        self.report.acquisitions = sum(len(list(drop.iterdir())) for drop in self.drops.values())
        self.report.generations = sum(one.generation for one in known)
        states = Counter(dataset.state for dataset in datasets)
        self.report.superseded = states[DatasetState.SUPERSEDED]
        self.report.published = states[DatasetState.PUBLISHED] + states[DatasetState.SUPERSEDED]

    def _judge_one(
        self,
        known: AcquisitionRecord | None,
        folder: str,
        place: Path,
        datasets: list[DatasetRecord],
        jobs: tuple[Job, ...],
    ) -> None:
        """Check that the final files of an acquisition are its one current dataset."""
        if known is None:
            self.report.losses.append(f"{folder}/{place.name}: the ledger does not know it")
            return
        mine = [one for one in datasets if (one.folder, one.key) == (folder, place.name)]
        current = [
            one
            for one in mine
            if one.state is DatasetState.PUBLISHED and one.generation == known.generation
        ]
        if known.state is not AcquisitionState.PUBLISHED or len(current) != 1:
            last = [job for job in jobs if (job.folder, job.key) == (folder, place.name)][:1]
            why = [(str(job.state), (job.error or {}).get("message")) for job in last]
            self.report.losses.append(
                f"{folder}/{place.name}: {known.state}, generation {known.generation}, "
                f"{len(current)} datasets; {why}"
            )
            return
        older = [one for one in mine if one.generation < known.generation]
        if any(one.state is DatasetState.PUBLISHED for one in older):
            self.report.duplicates.append(f"{folder}/{place.name}: an older dataset is current")
        if folder == "marked" and known.generation != 1:
            self.report.duplicates.append(
                f"{folder}/{place.name}: taken up {known.generation} times, in spite of its marker"
            )
        self._compare(place, current[0].path)

    def _compare(self, place: Path, dataset: Path) -> None:
        try:
            open_dataset(dataset)
            stored = read_voxels(dataset)
            np.testing.assert_array_equal(read_slices(place), stored)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is lost
            self.report.losses.append(f"{place} is not {dataset}: {error}")

    def _judge_duplicates(self, datasets: list[DatasetRecord]) -> None:
        done = (DatasetState.PUBLISHED, DatasetState.SUPERSEDED)
        finished = sorted(
            (one for one in datasets if one.state in done), key=lambda one: one.generation
        )
        last: dict[tuple[str, str], DatasetRecord] = {}
        for one in finished:
            before = last.get((one.folder, one.key))
            last[one.folder, one.key] = one
            if before is None:
                continue
            if before.generation == one.generation:
                self.report.duplicates.append(f"{one.key}: generation {one.generation} twice")
            elif before.content_digest == one.content_digest:
                self.report.duplicates.append(f"{one.key}: {one.generation} is its predecessor")

    def _judge_leftovers(self, datasets: list[DatasetRecord]) -> None:
        paths = {one.path for one in datasets}
        for target in self.targets.values():
            for path in target.iterdir():
                if path not in paths and path.name != ".stackwatch":
                    self.report.leftovers.append(f"{path}: nobody knows it")
            staging = target / ".stackwatch"
            if staging.exists():
                self.report.leftovers += [
                    str(path) for path in staging.iterdir() if re.fullmatch(r"\d+-\d+", path.name)
                ]


def read_slices(place: Path) -> np.ndarray:
    """Return the final files of an acquisition as zyx, in the order of their numbers."""
    slices = {int(path.stem.partition("_")[2]): path for path in place.rglob("slice_*.tif")}
    return np.stack([tifffile.imread(slices[number]) for number in sorted(slices)])


def read_voxels(dataset: Path) -> np.ndarray:
    """Return mag 1 of a dataset's only layer as zyx."""
    (layer,) = [path for path in dataset.iterdir() if path.is_dir()]
    return np.asarray(zarr.open_array(layer / "1", mode="r")[0]).transpose(2, 1, 0)


def wait(seconds: float) -> None:
    """Let the others work."""
    threading.Event().wait(seconds)
