"""Measure stackwatch beside its yardsticks: the peer, the codec, the disk, a bare interpreter.

`make bench` runs it; `ARGS="--size small"` for a quick look, `ARGS="--only em"` for one case.
Every figure of a table is from the same run on the same machine, ours and the peer's in turn. This
program imports only the standard library: the kernel counts a parent's memory to a child's peak.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, VOXEL_SIZE_NM, Case, Figures, judge
from benchmarks.measure import CommandFailedError, count_bytes, measure

ROOT = Path(__file__).resolve().parents[1]
OURS = Path(sys.executable).with_name("stackwatch")
PEER = ROOT / ".venv-interop/bin/webknossos"
MB = 1e6


def parse_arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="benchmarks.bench", description=__doc__.splitlines()[0])
    names = [case.name for case in CASES]
    parser.add_argument("--only", nargs="+", choices=[*names, "start"], metavar="CASE")
    parser.add_argument("--size", choices=["full", "small"], default="full")
    parser.add_argument("--runs", type=int, default=1, help="runs of each; the median counts")
    parser.add_argument("--no-peer", action="store_true", help="leave the peer out")
    parser.add_argument("--peer", type=Path, default=PEER, help="the peer's webknossos command")
    parser.add_argument("--work", type=Path, default=ROOT / "build/bench", help="stacks, output")
    parser.add_argument("--json", type=Path, help="results; by default in the work folder")
    return parser.parse_args()


def ensure_stack(name: str, size: str, work: Path) -> Path:
    """Return the folder of a stack; write it if an earlier run has not."""
    folder = work / "stacks" / f"{name}-{size}"
    if not folder.exists():
        print(f"  writing the stack {name} ({size}) ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder.with_name(folder.name + ".partial"), ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "benchmarks.stacks", name, size, str(folder)]
        subprocess.run(command, cwd=ROOT, check=True)
    return folder


def list_contenders(
    case: Case, source: Path, choice: argparse.Namespace
) -> list[tuple[str, list[str]]]:
    """Return the name and command of everyone who converts, with `{target}` to be filled in."""
    ours = [str(OURS), "convert", str(source), "{target}", "--voxel-size-nm", VOXEL_SIZE_NM]
    found = [("ours", [*ours, *case.options, *case.ours_options])]
    if not choice.no_peer:
        for name, settings in case.peers.items():
            peer = [str(choice.peer), "convert", str(source), "{target}"]
            voxel_size = ["--voxel-size", VOXEL_SIZE_NM]
            found.append((name, [*peer, *voxel_size, *case.options, *settings]))
    return found


def run_once(name: str, command: list[str], work: Path) -> dict[str, float]:
    """Run one contender into an empty place and return its figures."""
    target = work / "out" / name.replace(", ", "-").replace(" ", "-")
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    filled = [part.format(target=target) for part in command]
    figures = measure(filled, work / "last.log").as_record()
    return {**figures, "output_mb": round(count_bytes(target) / MB, 3)}


def take_medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def measure_floors(work: Path) -> dict[str, float]:
    """Measure the floors of what our last conversion wrote."""
    command = [sys.executable, "-m", "benchmarks.floors", str(work / "out/ours")]
    command.append(str(len(os.sched_getaffinity(0))))
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    floors: dict[str, float] = json.loads(answer.stdout)
    return {
        "seconds": max(floors["codec_s"], floors["disk_s"]),
        "cpu_s": floors["codec_cpu_s"],
        **floors,
    }


def run_case(case: Case, choice: argparse.Namespace) -> Figures:
    """Measure one case, everyone in turn, as many times as asked."""
    source = ensure_stack(case.stack, choice.size, choice.work) / case.source
    contenders = list_contenders(case, source, choice)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name, _ in contenders}
    for number in range(choice.runs):
        for name, command in contenders:
            print(f"  {case.name}: {name}, run {number + 1} ...", file=sys.stderr, flush=True)
            runs[name].append(run_once(name, command, choice.work))
        if case.has_floors:
            runs.setdefault("floor", []).append(measure_floors(choice.work))
    shutil.rmtree(choice.work / "out", ignore_errors=True)
    return {name: take_medians(found) for name, found in runs.items()}


def run_start(choice: argparse.Namespace) -> Figures:
    """Measure how long a start takes, beside a bare interpreter."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import stackwatch": [sys.executable, "-c", "import stackwatch"],
        "stackwatch --help": [str(OURS), "--help"],
    }
    choice.work.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, command in commands.items():
        runs = [measure(command, choice.work / "last.log").as_record() for _ in range(7)]
        found[name] = take_medians(runs)
    return found


def iter_rows(results: dict[str, Figures]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table: figures, and how many times ours each is."""
    for case, figures in results.items():
        ours = figures.get("ours")
        for name, found in figures.items():
            row = [case, name]
            for key, form in (
                ("seconds", "{:.2f}"),
                ("cpu_s", "{:.2f}"),
                ("peak_mib", "{:.0f}"),
                ("output_mb", "{:.1f}"),
            ):
                if key not in found:
                    row.append("")
                elif ours and found is not ours and ours.get(key):
                    row.append(f"{form.format(found[key])} ({found[key] / ours[key]:.2f}x)")
                else:
                    row.append(form.format(found[key]))
            yield tuple(row)


def print_table(results: dict[str, Figures]) -> None:
    """Print the figures and the bars."""
    rows = [("case", "who", "wall s", "CPU s", "peak MiB", "output MB"), *iter_rows(results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    print()
    for bar in judge(results):
        sign = ">=" if bar.is_least else "<="
        verdict = "met   " if bar.is_met else "MISSED"
        print(f"{verdict}  {bar.text}: {bar.reached:.2f} (wanted {sign} {bar.wanted:g})")


def describe_machine(choice: argparse.Namespace) -> dict[str, Any]:
    """Return what the figures depend on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "size": choice.size,
        "runs": choice.runs,
    }


def main() -> int:
    """Run what was asked for, print the table, write the JSON."""
    choice = parse_arguments()
    choice.work = choice.work.absolute()
    if not choice.no_peer and not choice.peer.exists():
        print(f"No peer at {choice.peer}: `make bench` sets it up, --no-peer does without it.")
        return 2
    wanted = choice.only or ["start", *(case.name for case in CASES if case.is_default)]
    results: dict[str, Figures] = {}
    failures = []
    if "start" in wanted:
        results["start"] = run_start(choice)
    for case in CASES:
        if case.name not in wanted:
            continue
        try:
            results[case.name] = run_case(case, choice)
        except CommandFailedError as error:
            failures.append(f"{case.name}: {error}")
    machine = describe_machine(choice)
    print("  ".join(f"{name}: {value}" for name, value in machine.items()), end="\n\n")
    print_table(results)
    place = choice.json or choice.work / f"results-{choice.size}.json"
    place.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")
    print(f"\nFigures: {place}")
    for failure in failures:
        print(f"\nFAILED {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
