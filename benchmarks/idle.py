"""Measure the daemon while nothing happens: processor time, memory, and how soon it notices.

`python -m benchmarks.idle` makes ten drop folders with 100,000 files of acquisitions that were
published long ago, runs the real daemon on them with the default intervals, with events and
without, and then lets a new acquisition arrive. Files are empty: nothing here reads them.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import list_tree, read_pss_kib

ROOT = Path(__file__).resolve().parents[1]
OURS = Path(sys.executable).with_name("stackwatch")
FOLDERS = 10
QUIET_GAP_S = 5.0
"""Of the folder in which something arrives; the others have the default."""

SCAN = """
import json, resource, sys, time
from pathlib import Path
from stackwatch.watch.scan import ScanOptions, scan_folder
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
found = scan_folder(Path(sys.argv[1]), ScanOptions())
seconds = time.perf_counter() - began
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"files": found.files, "seconds": seconds, "growth_mib": (after - before) / 1024}))
"""
YARDSTICK = """
import json, os, sys, time
began, pending, files = time.perf_counter(), [sys.argv[1]], 0
while pending:
    with os.scandir(pending.pop()) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            else:
                entry.stat(follow_symlinks=False)
                files += 1
print(json.dumps({"files": files, "seconds": time.perf_counter() - began}))
"""


@dataclass(frozen=True, slots=True)
class Idle:
    """What a daemon with nothing to do cost.

    Attributes
    ----------
    mode : str
        `auto` (events) or `poll`.
    seconds : float
        How long it was measured.
    cpu_percent : float
        Of one core, all processes together.
    pss_mib : float
        Of all processes together, at the end.
    latency_s : float
        From the last write to the queued job, less the quiet gap.
    """

    mode: str
    seconds: float
    cpu_percent: float
    pss_mib: float
    latency_s: float


def make_folders(work: Path, files: int) -> list[Path]:
    """Return the drop folders, with as many files in all, a hundred in each acquisition."""
    folders = [work / f"drop/em{number}" for number in range(FOLDERS)]
    for folder in folders:
        for run in range(files // FOLDERS // 100):
            raw = folder / f"run_{run:04d}/raw"
            raw.mkdir(parents=True)
            for number in range(100):
                (raw / f"slice_{number:05d}.tif").touch()
    return folders


def write_config(work: Path, folders: list[Path], mode: str) -> Path:
    """Write the daemon's settings."""
    lines = [f'[daemon]\nstate_dir = "{work}/state"\n[logs]\nformat = "json"']
    for number, folder in enumerate(folders):
        gap = f"quiet_gap_s = {QUIET_GAP_S}" if number == 0 else ""
        lines.append(
            f'[[folder]]\nname = "{folder.name}"\npath = "{folder}"\ntarget = "{work}/target"\n'
            f'watch = "{mode}"\n{gap}'
        )
    path = work / "config.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def publish_all(work: Path, folders: list[Path]) -> None:
    """Record every acquisition as published: what a daemon of some months finds at its start."""
    from stackwatch.ledger.ledger import Ledger
    from stackwatch.ledger.records import NewDataset
    from stackwatch.model.job import NewJob
    from stackwatch.watch.scan import FolderScan, ScanOptions, scan_folder

    with Ledger.open(work / "state") as ledger:
        for folder in folders:
            ledger.folders.upsert(folder.name, folder, work / "target")
            found = scan_folder(folder, ScanOptions())
            assert isinstance(found, FolderScan)
            with ledger.transaction():
                for seen in found.sightings:
                    ledger.folders.record_settling(folder.name, seen)
                    ledger.jobs.queue(
                        NewJob(
                            folder.name,
                            seen.key,
                            1,
                            seen.stat_mark,
                            seen.files,
                            seen.total_bytes,
                            seen.size_mark,
                        )
                    )
                while (job := ledger.jobs.claim()) is not None:
                    place = work / "target" / f"{folder.name}_{job.name}"
                    new = NewDataset(place, place, f"r{job.job_id}", f"d{job.job_id}")
                    ledger.datasets.record_publishing(job.job_id, new)
                    ledger.datasets.record_published(new.run_id, place)
                    ledger.jobs.succeed(job.job_id)


def read_cpu_s(pid: int) -> float:
    """Return the processor time of a process tree so far, seconds; the dead children's too."""
    ticks = 0
    for process in list_tree(pid):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(config: Path, log: Path) -> Iterator[int]:
    """Run the daemon and give its process id."""
    with log.open("wb") as output:
        command = [str(OURS), "run", "--config", str(config)]
        daemon = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield daemon.pid
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)


def wait_for(log: Path, event: str, deadline_s: float) -> float:
    """Return when an event appeared in the log, monotonic seconds."""
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s:
        if f'"{event}"' in log.read_text(encoding="utf-8"):
            return time.monotonic()
        time.sleep(0.05)
    raise TimeoutError(f"no {event} within {deadline_s:g} s; see {log}")


def let_arrive(folder: Path) -> float:
    """Write an acquisition over two seconds; return when its last byte was written."""
    for number in range(20):
        path = folder / "new_run/raw" / f"slice_{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        time.sleep(0.1)
    return time.monotonic()


def measure_idle(work: Path, folders: list[Path], mode: str, seconds: float) -> Idle:
    """Run the daemon, wait until it has come to rest, and measure it."""
    log = work / f"daemon-{mode}.log"
    shutil.rmtree(folders[0] / "new_run", ignore_errors=True)
    with running(write_config(work, folders, mode), log) as pid:
        time.sleep(90)  # beyond the first scans, the default quiet gap and the looks at its end
        began_s, cpu_s = time.monotonic(), read_cpu_s(pid)
        time.sleep(seconds)
        took_s, cpu_s = time.monotonic() - began_s, read_cpu_s(pid) - cpu_s
        pss_mib = sum(map(read_pss_kib, list_tree(pid))) / 1024
        written_s = let_arrive(folders[0])
        latency_s = wait_for(log, "job.queued", 300) - written_s - QUIET_GAP_S
    return Idle(mode, took_s, 100 * cpu_s / took_s, pss_mib, latency_s)


def run_json(program: str, folder: Path) -> dict[str, Any]:
    """Return what a small program prints, from a process of its own."""
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure, and print one line of JSON for each figure."""
    parser = argparse.ArgumentParser(prog="benchmarks.idle", description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=120, help="how long each mode is measured")
    parser.add_argument("--modes", nargs="+", default=["auto", "poll"], choices=["auto", "poll"])
    parser.add_argument("--work", type=Path, default=ROOT / "build/idle")
    choice = parser.parse_args()
    shutil.rmtree(choice.work, ignore_errors=True)
    (choice.work / "target").mkdir(parents=True)
    (choice.work / "state").mkdir()
    folders = make_folders(choice.work, choice.files)
    for name, program in (("scan", SCAN), ("os.scandir and stat alone", YARDSTICK)):
        print(json.dumps({"what": name, **run_json(program, choice.work / "drop")}), flush=True)
    publish_all(choice.work, folders)
    for mode in choice.modes:
        found = measure_idle(choice.work, folders, mode, choice.seconds)
        print(json.dumps({"what": "idle", **asdict(found)}), flush=True)
    shutil.rmtree(choice.work / "drop")


if __name__ == "__main__":
    main()
