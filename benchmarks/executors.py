"""Measure who converts: threads of one process, several processes, workers of a Dask cluster.

`python -m benchmarks.executors` converts one stack in turn with each of them, in pairs within one
run, and measures for how long a conversion holds Python's interpreter lock: from that follows how
far threads would scale on a machine with more processors than this one.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import ensure_stack
from benchmarks.measure import Measurement, measure

OURS = Path(sys.executable).with_name("stackwatch")
DASK = Path(sys.executable).with_name("dask")
CASES = {
    "local, 1 thread": ("--threads", "1"),
    "local, 2 threads": ("--threads", "2"),
    "processes, 1": ("--threads", "1", "--executor", "processes", "--processes", "1"),
    "processes, 2": ("--threads", "2", "--executor", "processes", "--processes", "2"),
    "dask, 2 workers": ("--threads", "1", "--executor", "dask"),
}
CORES = (1, 2, 4, 8, 16, 32, 64, 128)

LOCK_SHARE = """
import json, pathlib, sys, threading, time
from stackwatch.api import convert
sys.setswitchinterval(1e-5)
spins, is_over = 0, False
def spin():
    global spins
    while not is_over:
        spins += 1
def rate(work):
    global spins, is_over
    spins, is_over = 0, False
    thread = threading.Thread(target=spin); thread.start()
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    is_over = True; thread.join()
    return spins / seconds, seconds
alone, _ = rate(lambda: time.sleep(2))
busy, seconds = rate(lambda: convert(
    sys.argv[1], sys.argv[2], voxel_size_nm=(11.24, 11.24, 25), threads=1, verify="off"))
manifest = json.loads((pathlib.Path(sys.argv[2]) / "stackwatch.json").read_text())
chunks = sum(shard["chunks"] for shard in manifest["shards"])
print(json.dumps({"lock_s": max(0.0, 1 - busy / alone) * seconds, "chunks": chunks}))
"""
"""Beside a conversion a loop in pure Python counts: what it cannot count, the lock was held."""


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Run a scheduler and two workers of one thread; give the scheduler's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    worker = ("worker", address, "--nthreads", "1", "--nworkers", "1", "--no-nanny",
              "--local-directory", str(folder))  # fmt: skip
    commands = [("scheduler", "--host", "127.0.0.1", "--port", str(port)), worker, worker]
    with (folder / "dask.log").open("wb") as log:
        processes = [
            subprocess.Popen([DASK, *command, "--no-dashboard"], stdout=log, stderr=log)
            for command in commands
        ]
    try:
        time.sleep(5)
        yield address
    finally:
        for process in processes:
            process.kill()
            process.wait()


def convert(source: Path, case: str, scheduler: str, work: Path) -> Measurement:
    """Convert once and throw the dataset away."""
    target = work / "out" / "run"
    flags = list(CASES[case])
    if "dask" in flags:
        flags += ["--scheduler", scheduler]
    command = [str(OURS), "convert", str(source), str(target), "--voxel-size-nm", "11.24,11.24,25"]
    taken = measure([*command, "--memory-gib", "2", *flags], work / "convert.log")
    shutil.rmtree(target.parent)
    return taken


@dataclass(frozen=True, slots=True)
class LockShare:
    """For how long a conversion by one thread held the interpreter's lock, and its chunks."""

    lock_s: float
    chunks: int


def measure_lock(source: Path, work: Path) -> LockShare:
    """Convert while a loop in pure Python counts: true only with a second processor free."""
    answer = subprocess.run(
        [sys.executable, "-c", LOCK_SHARE, str(source), str(work / "locked")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    shutil.rmtree(work / "locked")
    return LockShare(**json.loads(answer.stdout.splitlines()[-1]))


def print_curve(source: Path, work: Path, runs: int) -> None:
    """Print how far threads and processes would scale, disk and memory apart.

    From a stack and its first half: what a chunk costs, without what a start costs.
    """
    half = work / "half"
    half.mkdir()
    slices = sorted(source.iterdir())
    for path in slices[: len(slices) // 2]:
        os.link(path, half / path.name)
    cpu_us, lock_us = [], []
    for _ in range(runs):
        cpu_s = [convert(part, "local, 1 thread", "", work).cpu_s for part in (half, source)]
        less, more = (measure_lock(part, work) for part in (half, source))
        chunks = more.chunks - less.chunks
        cpu_us.append((cpu_s[1] - cpu_s[0]) / chunks * 1e6)
        lock_us.append((more.lock_s - less.lock_s) / chunks * 1e6)
    cpu, lock = statistics.median(cpu_us), statistics.median(lock_us)
    if min(cpu, lock) <= 0:
        print(
            "\nno curve: the stack is too small, or the machine too busy, to tell the chunks apart"
        )
        return
    most = cpu / lock
    print(f"\na chunk: {cpu:.0f} µs of a processor; for {lock:.1f} µs of them the lock is held:")
    print(f"threads of one process scale to {most:.1f} processors")
    print("| processors | threads, times | processes of 8 threads, times |\n|---|---|---|")
    for cores in CORES:
        count = max(1, cores // 8)
        print(f"| {cores} | {min(cores, most):.1f} | {min(cores, most * count):.1f} |")


def main() -> int:
    """Measure, print a table and the curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", choices=("small", "full"), default="full")
    choice = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="executors-") as folder:
        work = Path(folder)
        source = ensure_stack("em", choice.size, work)
        taken: dict[str, list[Measurement]] = {case: [] for case in CASES}
        with cluster(work) as scheduler:
            for _ in range(choice.runs):
                for case in CASES:
                    taken[case].append(convert(source, case, scheduler, work))
        print("| who | wall s | CPU s | peak MiB |\n|---|---|---|---|")
        for case, runs in taken.items():
            seconds, cpu = (
                statistics.median(getattr(run, name) for run in runs)
                for name in ("seconds", "cpu_s")
            )
            peak = max(run.peak_mib for run in runs)
            print(f"| {case} | {seconds:.2f} | {cpu:.2f} | {peak:.0f} |")
        pairs = zip(taken["dask, 2 workers"], taken["processes, 2"], strict=True)
        ratio = statistics.median(dask.seconds / own.seconds for dask, own in pairs)
        print(f"\ndask against processes: {ratio:.2f} times")
        print_curve(source, work, choice.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
