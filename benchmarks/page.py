"""Measure the status page with a long history: time and weight of each page, memory, processor.

`python -m benchmarks.page` runs the real daemon on a ledger with 10,000 jobs and a drop folder in
which 1,000 acquisitions settle, asks for every page again and again, and looks at the daemon while
nobody looks and while a page is open. Beside it: a bare file server of the standard library that
answers with as many bytes.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.measure import list_tree, read_pss_kib
from stackwatch.testing.page_worlds import fill_long
from stackwatch.testing.pages import make_world

OURS = Path(sys.executable).with_name("stackwatch")
PATHS = (
    "/", "/history", "/history?page=200", "/history?search=run_99", "/acquisitions", "/jobs/1",
    "/api/status", "/api/jobs?limit=1000", "/api/explain?what=run_5000", "/metrics", "/healthz",
)  # fmt: skip
ASKED = 20
WATCHED_S = 20.0
START_S = 60.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.page", description=__doc__.splitlines()[0])
    parser.add_argument("--acquisitions", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="stackwatch-page-"))
    try:
        found = measure_page(root, arguments.acquisitions, arguments.jobs)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    show(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


def measure_page(root: Path, acquisitions: int, jobs: int) -> dict[str, Any]:
    """Return the figures of one run."""
    with make_world(root, lambda world: fill_long(world, acquisitions, jobs)):
        pass
    for number in range(acquisitions):
        place = root / "drop" / "em1" / f"arriving_{number:05}"
        place.mkdir(parents=True)
        (place / "slice_0.tif").write_bytes(b"")
    (root / "drop" / "archive").mkdir()
    with running(root) as (pid, port):
        found: dict[str, Any] = {"pages": {path: ask(port, path) for path in PATHS}}
        found["bare_ms"] = ask_bare(found["pages"]["/"]["bytes"])
        found["asked_mib"] = memory_mib(pid)
        time.sleep(35)  # nobody looks any more
        found["idle"] = watch(pid)
        with following(port):
            found["open"] = watch(pid)
        found["tree_mib"] = round(sum(map(read_pss_kib, list_tree(pid))) / 1024, 1)
    return found


@contextlib.contextmanager
def running(root: Path) -> Iterator[tuple[int, int]]:
    """Run the daemon, with its page on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = root / "config.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{root}/state"\n[web]\nlisten = "127.0.0.1:{port}"\n'
        + "".join(
            f'[[folder]]\nname = "{name}"\npath = "{root}/drop/{name}"\n'
            f'target = "{root}/datasets/{name}"\nquiet_gap_s = 3600\n'
            for name in ("em1", "archive")
        ),
        encoding="utf-8",
    )
    for name in ("em1", "archive"):
        (root / "datasets" / name).mkdir(parents=True)
    with (root / "log").open("wb") as log:
        daemon = subprocess.Popen([OURS, "run", "--config", str(config)], stdout=log, stderr=log)
    try:
        await_page(port)
        time.sleep(10)  # the first scans of a thousand acquisitions
        yield daemon.pid, port
    finally:
        began_s = time.monotonic()
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(START_S)
        print(f"stopped within {time.monotonic() - began_s:.1f} s")


def await_page(port: int) -> None:
    """Wait until the page answers."""
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError):
            ask(port, "/healthz", 1)
            return
        time.sleep(0.1)
    raise TimeoutError("no page")


def ask(port: int, path: str, times: int = ASKED) -> dict[str, Any]:
    """Return median and worst time of a page in milliseconds, and its weight."""
    spent, size = [], 0
    for _ in range(times):
        began_s = time.perf_counter()
        with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            size = len(answer.read())
        spent.append(1000 * (time.perf_counter() - began_s))
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
    return {
        "median_ms": round(statistics.median(spent), 1),
        "worst_ms": round(max(spent), 1),
        "bytes": size,
    }


def ask_bare(size: int) -> float:
    """Return the median time of a file of that size from a bare server, milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "page").write_bytes(b"x" * size)

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=folder)

            def log_message(self, *_arguments: Any) -> None:
                return

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            found = ask(server.server_address[1], "/page")
            server.shutdown()
    return float(found["median_ms"])


@contextlib.contextmanager
def following(port: int) -> Iterator[None]:
    """Have the overview open, as a browser has it."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/live?page=/")
    answer = connection.getresponse()

    def read() -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            while answer.read1(65536):
                continue

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield
    finally:
        connection.close()


def watch(pid: int) -> dict[str, float]:
    """Return memory, and the share of one processor over some seconds, of the daemon itself."""
    before, began_s = processor_s(pid), time.monotonic()
    time.sleep(WATCHED_S)
    share = (processor_s(pid) - before) / (time.monotonic() - began_s)
    return {"mib": memory_mib(pid), "processor_percent": round(100 * share, 2)}


def memory_mib(pid: int) -> float:
    """Return the memory of the daemon without its children."""
    return round(read_pss_kib(pid) / 1024, 1)


def processor_s(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(found: dict[str, Any]) -> None:
    """Print a table."""
    print(f"{'page':<28} {'median ms':>10} {'worst ms':>10} {'kB':>8}")
    for path, one in found["pages"].items():
        size = one["bytes"] / 1000
        print(f"{path:<28} {one['median_ms']:>10} {one['worst_ms']:>10} {size:>8.1f}")
    print(f"{'a bare file as large as /':<28} {found['bare_ms']:>10}")
    print(f"daemon: {found['asked_mib']} MiB after all that, {found['tree_mib']} MiB with children")
    for name in ("idle", "open"):
        one = found[name]
        print(f"  {name}: {one['mib']} MiB, {one['processor_percent']} % of one processor")


if __name__ == "__main__":
    main()
