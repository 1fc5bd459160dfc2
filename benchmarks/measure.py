"""Run a command and measure it: wall time, CPU time, peak memory of its whole process tree.

Memory is the proportional set size (PSS) summed over the tree, sampled while the command runs:
memory that processes share counts once. Sampling walks page tables, so it is paced to cost at
most a twentieth of one core, whatever the size of the process.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SAMPLE_INTERVAL_S = 0.05
SAMPLE_SHARE = 0.05
"""Largest share of one core that sampling may take."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a command cost.

    Attributes
    ----------
    seconds : float
        From start to end, start-up included.
    cpu_s : float
        User and system time of the command and all its descendants.
    peak_mib : float
        Largest PSS of the tree that was seen.
    largest_rss_mib : float
        Exact peak of the largest single process, as the kernel counted it.
    """

    seconds: float
    cpu_s: float
    peak_mib: float
    largest_rss_mib: float

    def as_record(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


class CommandFailedError(Exception):
    """A measured command ended with an error."""


def list_tree(pid: int) -> list[int]:
    """Return `pid` and all its living descendants."""
    found = [pid]
    for parent in found:
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
        except OSError:
            continue  # ended meanwhile
        for task in tasks:
            with contextlib.suppress(OSError):  # a thread may end on its own
                children = (task / "children").read_text()
                found.extend(map(int, children.split()))
    return found


def read_pss_kib(pid: int) -> int:
    """Return a process's proportional set size in KiB; 0 if it has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


class MemorySampler:
    """Samples the memory of a process tree in a thread until it is closed."""

    def __init__(self, pid: int) -> None:
        self.peak_kib = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory-sampler")
        self._thread.start()

    def close(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            began = time.thread_time()
            self.peak_kib = max(self.peak_kib, sum(map(read_pss_kib, list_tree(self._pid))))
            cost = time.thread_time() - began
            pause = max(SAMPLE_INTERVAL_S, cost / SAMPLE_SHARE)


def measure(command: list[str], log: Path, timeout_s: float = 1800) -> Measurement:
    """Run a command to its end and return what it cost.

    Parameters
    ----------
    command : list of str
    log : Path
        Receives what the command prints.
    timeout_s : float
        The command's process group is killed after this.

    Raises
    ------
    CommandFailedError
        It ended with an exit code other than 0; the message has the end of its output.
    """
    os.sync()  # what earlier runs wrote is not this one's burden
    with log.open("wb") as output:
        began = time.monotonic()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        sampler = MemorySampler(child.pid)
        alarm = threading.Timer(timeout_s, os.killpg, (child.pid, signal.SIGKILL))
        alarm.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        finally:
            seconds = time.monotonic() - began
            alarm.cancel()
            sampler.close()
    code = os.waitstatus_to_exitcode(status)
    child.returncode = code  # reaped above: nothing is left for Popen to wait for
    if code != 0:
        tail = log.read_text(errors="replace")[-2000:]
        raise CommandFailedError(f"exit code {code}: {' '.join(command)}\n{tail}")
    return Measurement(
        seconds, usage.ru_utime + usage.ru_stime, sampler.peak_kib / 1024, usage.ru_maxrss / 1024
    )


def count_bytes(folder: Path) -> int:
    """Return the size of all files under a folder, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
