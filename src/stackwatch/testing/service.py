"""Run the daemon as a process of its own, for tests: start, ask, wait, stop, kill.

The daemon is forked from a process that has imported it before: that saves the second which each
start would take, and is otherwise the real thing. Workers and scan processes are exec'ed as ever.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from stackwatch.daemon import deliveries
from stackwatch.daemon.control import request
from stackwatch.daemon.service import run_service
from stackwatch.daemon.workers import WORKER_COMMAND
from stackwatch.errors import NoDaemonError, StackwatchError
from stackwatch.logs import configure_logs, flush_logs
from stackwatch.settings import Settings, load_settings

STAND_IN = Path(__file__).with_name("stand_in_worker.py")
DEADLINE_S = 60.0
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, "structlog", "watchdog.observers"])


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
    web : str
        The lines of `[web]`; without them no page is served.
    delivery : Path or None
        Script to run in the place of the delivery process; None takes the real one.
    """

    def __init__(
        self,
        root: Path,
        worker: Path | None = STAND_IN,
        folder: str = "",
        daemon: str = "",
        delivery: Path | None = None,
        web: str = 'listen = ""',
    ) -> None:
        self.root = root
        self.drop = root / "drop"
        self.target = root / "target"
        self.state_dir = root / "state"
        self.config = root / "config.toml"
        self._scripts = (worker, delivery)
        self._web = web
        self._process: BaseProcess | None = None
        for path in (self.drop, self.target, self.state_dir):
            path.mkdir()
        (root / "log.jsonl").touch()
        self.write_config(folder, daemon)

    def write_config(self, folder: str = "", daemon: str = "") -> None:
        """Write the configuration anew."""
        self.config.write_text(
            f'[daemon]\nstate_dir = "{self.state_dir}"\nmemory_gib = 0.5\n{daemon}\n'
            f"[web]\n{self._web}\n"
            f'[[folder]]\nname = "em"\npath = "{self.drop}"\ntarget = "{self.target}"\n'
            f"quiet_gap_s = 0.2\nvoxel_size_nm = [1, 1, 1]\n{folder}\n",
            encoding="utf-8",
        )

    def start(
        self,
        failpoint: str | None = None,
        *,
        is_awaited: bool = True,
        environment: dict[str, str] | None = None,
    ) -> None:
        """Start the daemon and wait until it answers, or until it has died."""
        log = self.root / "log.jsonl"
        self._process = _FORKS.Process(
            target=serve, args=(self.config, self._scripts, log, failpoint, environment or {})
        )
        self._process.start()
        if is_awaited:
            self.wait_until(lambda: not self.is_running() or self.status() is not None)

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the daemon lives."""
        return self._process is not None and self._process.is_alive()

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
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Wait for the daemon's end and return its exit code."""
        assert self._process is not None
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            raise TimeoutError(f"the daemon still lives after {timeout_s:g} s; {self.tail()}")
        return self._process.exitcode

    def stop(self) -> int:
        """Stop the daemon with SIGTERM and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """Kill the daemon if it still lives."""
        if self._process is not None:
            self._process.kill()
            self._process.join(DEADLINE_S)
            self._process.close()
            self._process = None

    def wait_until(self, is_true: Callable[[], bool], timeout_s: float = DEADLINE_S) -> None:
        """Ask again and again until something is true; show the log if it never is."""
        deadline = time.monotonic() + timeout_s
        pause = threading.Event()
        while not is_true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not true within {timeout_s:g} s; {self.tail()}")
            pause.wait(0.02)

    def tail(self) -> str:
        """Return the end of the log, for the message of a test that failed."""
        log = (self.root / "log.jsonl").read_text(encoding="utf-8", errors="replace")
        return f"the log says:\n{log[-6000:]}"

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the lines of the log, all or those of one event."""
        lines = []
        for text in (self.root / "log.jsonl").read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(text))
        return [line for line in lines if name is None or line.get("event") == name]

    def datasets(self) -> list[str]:
        """Return the names in the target; hidden ones too, but the claim of a living daemon."""
        claim = self.target / ".stackwatch" / "claim"
        has_claim_alone = list(claim.parent.glob("*")) == [claim]
        own = {".stackwatch"} if has_claim_alone else set()
        return sorted({path.name for path in self.target.iterdir()} - own)

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


def serve(
    config: Path,
    scripts: tuple[Path | None, Path | None],
    log: Path,
    failpoint: str | None,
    environment: dict[str, str],
) -> None:
    """Be the daemon: the whole life of a process that was forked for it."""
    for name in [name for name in os.environ if name.startswith("STACKWATCH_")]:
        del os.environ[name]
    if failpoint is not None:
        os.environ["STACKWATCH_FAILPOINT"] = failpoint
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    stream = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    configure_logs(stream, "json", "debug", never_blocks=True)
    worker, delivery = scripts
    command = (sys.executable, str(worker)) if worker is not None else WORKER_COMMAND
    if delivery is not None:  # this process is the daemon, and ends with it
        deliveries.DELIVERY_COMMAND = (sys.executable, str(delivery))

    def reload() -> Settings:
        return load_settings(config).settings

    try:
        code = run_service(reload(), reload, command)
    except StackwatchError as error:
        stream.write(f"{error.message}\n")
        code = error.exit_code
    flush_logs()
    stream.flush()
    os._exit(code)
