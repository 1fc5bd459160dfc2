"""Run the daemon as a process of its own, for tests: start, ask, wait, stop, kill.

`python -m stackwatch.testing.service CONFIG [WORKER_SCRIPT]` is `stackwatch run` with a worker of
the test's choice.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stackwatch.daemon.control import request
from stackwatch.errors import ExitCode, NoDaemonError, StackwatchError

STAND_IN = Path(__file__).with_name("stand_in_worker.py")
DEADLINE_S = 30.0


class ServiceBench:
    """A state directory, a drop folder, a target, and the daemon that works on them.

    Parameters
    ----------
    root : Path
        An empty folder of the test's own.
    worker : Path or None
        Script to run in the place of the worker; None takes the real one.
    folder : str
        More lines for `[[folder]]`.
    daemon : str
        More lines for `[daemon]`.
    """

    def __init__(
        self, root: Path, worker: Path | None = STAND_IN, folder: str = "", daemon: str = ""
    ) -> None:
        self.root = root
        self.drop = root / "drop"
        self.target = root / "target"
        self.state_dir = root / "state"
        self.config = root / "config.toml"
        self._worker = worker
        self._process: subprocess.Popen[bytes] | None = None
        for path in (self.drop, self.target, self.state_dir):
            path.mkdir()
        self.write_config(folder, daemon)

    def write_config(self, folder: str = "", daemon: str = "") -> None:
        """Write the configuration anew."""
        self.config.write_text(
            f'[daemon]\nstate_dir = "{self.state_dir}"\nthreads = 1\nmemory_gib = 0.5\n{daemon}\n'
            f'[[folder]]\nname = "em"\npath = "{self.drop}"\ntarget = "{self.target}"\n'
            f"quiet_gap_s = 0.2\nvoxel_size_nm = [1, 1, 1]\n{folder}\n",
            encoding="utf-8",
        )

    def start(self, failpoint: str | None = None, *, is_awaited: bool = True) -> None:
        """Start the daemon and wait until it answers, or until it has died."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("STACKWATCH_")}
        if failpoint is not None:
            environment["STACKWATCH_FAILPOINT"] = failpoint
        command = [sys.executable, "-m", "stackwatch.testing.service", str(self.config)]
        if self._worker is not None:
            command.append(str(self._worker))
        with (self.root / "log.jsonl").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        if is_awaited:
            self.wait_until(lambda: not self.is_running() or self.status() is not None)

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the daemon lives."""
        return self._process is not None and self._process.poll() is None

    def ask(self, command: str, **values: Any) -> dict[str, Any]:
        """Send a command to the daemon and return its answer."""
        return request(self.state_dir, {"command": command, **values})

    def status(self) -> dict[str, Any] | None:
        """Return the daemon's status; None if nobody answers."""
        try:
            return self.ask("status")
        except NoDaemonError:
            return None

    def signal(self, number: int) -> None:
        """Send the daemon a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Wait for the daemon's end and return its exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self) -> int:
        """Stop the daemon with SIGTERM and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """Kill the daemon if it still lives."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(DEADLINE_S)

    def wait_until(self, is_true: Callable[[], bool], timeout_s: float = DEADLINE_S) -> None:
        """Ask again and again until something is true; show the log if it never is."""
        deadline = time.monotonic() + timeout_s
        pause = threading.Event()
        while not is_true():
            if time.monotonic() > deadline:
                log = (self.root / "log.jsonl").read_text(encoding="utf-8", errors="replace")
                raise TimeoutError(f"not true within {timeout_s:g} s; the log says:\n{log[-6000:]}")
            pause.wait(0.02)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the lines of the log, all or those of one event."""
        lines = []
        for text in (self.root / "log.jsonl").read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(text))
        return [line for line in lines if name is None or line.get("event") == name]

    def datasets(self) -> list[str]:
        """Return the names in the target; hidden ones too."""
        return sorted(path.name for path in self.target.iterdir())

    def drop_acquisition(self, name: str, files: dict[str, bytes]) -> Path:
        """Put an acquisition into the drop folder in one go."""
        built = self.root / f"building-{name}"
        built.mkdir(parents=True)
        for file, data in files.items():
            (built / file).write_bytes(data)
        return built.rename(self.drop / name)


@contextlib.contextmanager
def bench(root: Path, **options: Any) -> Iterator[ServiceBench]:
    """Yield a bench whose daemon is killed at the end."""
    made = ServiceBench(root, **options)
    try:
        yield made
    finally:
        made.close()


def main(arguments: list[str]) -> int:
    """Run the daemon with a worker of the caller's choice."""
    from stackwatch.daemon.service import run_service
    from stackwatch.daemon.workers import WORKER_COMMAND
    from stackwatch.logs import configure_logs
    from stackwatch.settings import load_settings

    config = Path(arguments[0])
    worker = (sys.executable, arguments[1]) if len(arguments) > 1 else WORKER_COMMAND
    configure_logs(sys.stdout, "json", "debug")
    try:
        return run_service(
            load_settings(config).settings,
            reload=lambda: load_settings(config).settings,
            worker_command=worker,
        )
    except StackwatchError as error:
        sys.stderr.write(f"{error.message}\n")
        return int(error.exit_code or ExitCode.FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
