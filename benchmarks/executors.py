"""Measure who converts: threads of one process, several processes, workers of a Dask cluster.

`python -m benchmarks.executors` converts one stack in turn with each of them, in pairs within one
run, and measures for how long a conversion holds Python's interpreter lock (with `perf`, by root):
from that follows how far threads would scale on a machine with more processors than this one.
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
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
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
Held = Callable[[list[str]], float]
PROBES = "stackwatch_lock"
CORES = (1, 2, 4, 8, 16, 32, 64, 128)

CONVERT = """
import sys
from stackwatch.api import convert
convert(sys.argv[1], sys.argv[2], voxel_size_nm=(11.24, 11.24, 25), threads=1, verify="off")
"""
HAND_OVER = """
import time
for _ in range(20_000):
    time.sleep(0)
"""
"""Holds the lock for next to nothing between two calls: what is seen is the probes' own cost."""


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
    with lock_probes() as held:
        for _ in range(runs):
            cpu_s = [convert(part, "local, 1 thread", "", work).cpu_s for part in (half, source)]
            less, more = (count_chunks(part, held, work) for part in (half, source))
            chunks = more[1] - less[1]
            cpu_us.append((cpu_s[1] - cpu_s[0]) / chunks * 1e6)
            lock_us.append((more[0] - less[0]) / chunks * 1e6)
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


def count_chunks(source: Path, held: Held, work: Path) -> tuple[float, int]:
    """Return for how many seconds a conversion held the lock, and the chunks of all its mags."""
    target = work / "locked"
    seconds = held([sys.executable, "-c", CONVERT, str(source), str(target)])
    manifest = json.loads((target / "stackwatch.json").read_text())
    shutil.rmtree(target)
    return seconds, sum(shard["chunks"] for shard in manifest["shards"])


@contextlib.contextmanager
def lock_probes() -> Iterator[Held]:
    """Have the kernel note when threads take and leave the lock: with `perf`, as root.

    Yields
    ------
    callable
        Runs a command and returns for how many seconds its threads held the lock, without what
        the probes themselves took of that.
    """
    program = sysconfig.get_config_var("INSTSONAME")
    library = Path(sysconfig.get_config_var("LIBDIR"), program)
    binary = library if library.exists() else Path(sys.executable).resolve()
    add = ("probe", "-q", "-x", str(binary), "--add")
    perf(*add, f"{PROBES}:taken=PyEval_RestoreThread%return")
    try:
        perf(*add, f"{PROBES}:left=PyEval_SaveThread")

        def held(command: list[str]) -> tuple[float, int]:
            with tempfile.NamedTemporaryFile(prefix="perf-") as file:
                perf("record", "-q", "-m", "4096", "-o", file.name, "-e", f"{PROBES}:*", *command)
                lines = perf("script", "-i", file.name, "-F", "tid,time,event", "--ns")
            return sum_holds(lines.splitlines())

        seconds, times = held([sys.executable, "-c", HAND_OVER])
        probe_s = seconds / times

        def corrected(command: list[str]) -> float:
            seconds, times = held(command)
            return seconds - times * probe_s

        yield corrected
    finally:
        perf("probe", "-q", "-d", f"{PROBES}:*")


def perf(*arguments: str) -> str:
    """Run `perf`; return what it prints."""
    return subprocess.run(["perf", *arguments], check=True, capture_output=True, text=True).stdout


def sum_holds(lines: Iterable[str]) -> tuple[float, int]:
    """Return for how long the lock was held, and how often, by all threads."""
    since: dict[str, float] = {}
    seconds, times = 0.0, 0
    for line in lines:
        thread, clock, event = line.split()[:3]
        if "taken" in event:
            since[thread] = float(clock.rstrip(":"))
        elif thread in since:
            seconds += float(clock.rstrip(":")) - since.pop(thread)
            times += 1
    return seconds, times


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
        if shutil.which("perf") and os.geteuid() == 0:
            print_curve(source, work, choice.runs)
        else:
            print("\nno curve: the time the lock is held is measured with `perf`, by root")
    return 0


if __name__ == "__main__":
    sys.exit(main())
