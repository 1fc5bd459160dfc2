"""The executor `processes`: ranges in processes of this machine, where threads stop scaling."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from stackwatch.engine.executor import RangeDone
from stackwatch.engine.stream import StreamControl
from stackwatch.errors import StackwatchError, UnexpectedError, WorkerKilledError

COMMAND = (sys.executable, "-m", "stackwatch.pipeline.range_main")
TRIES = 3
LOOK_S = 0.25

Answer = tuple[int, dict[str, Any] | StackwatchError]


class ProcessExecutor:
    """Keeps some processes and gives them ranges, one after another.

    Parameters
    ----------
    processes : int
    command : sequence of str
        What a process is.
    """

    name = "processes"

    def __init__(self, processes: int, command: Sequence[str] = COMMAND) -> None:
        self.slots = processes
        self._command = command
        self._slots = [_Slot(command) for _ in range(processes)]

    def carry_out(
        self,
        order: Path,
        numbers: Sequence[int],
        done: RangeDone,
        control: StreamControl,
        tick: Callable[[], None],
    ) -> None:
        """Return when every range was carried out, as the port says."""
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        for number in numbers:
            waiting.put(number)
        threads = [
            threading.Thread(
                target=slot.serve, args=(str(order), waiting, answers), name="range", daemon=True
            )
            for slot in self._slots[: len(numbers)]
        ]
        for thread in threads:
            thread.start()
        left = len(numbers)
        try:
            while left:
                control.check()
                tick()
                try:
                    number, answer = answers.get(timeout=LOOK_S)
                except queue.Empty:
                    continue
                if isinstance(answer, StackwatchError):
                    raise answer
                done(number, answer)
                left -= 1
        except BaseException:
            self.close()
            raise
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """End every process."""
        for slot in self._slots:
            slot.kill()


class _Slot:
    """One process at a time, started when it is needed."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def serve(
        self, order: str, waiting: "queue.SimpleQueue[int]", answers: "queue.SimpleQueue[Answer]"
    ) -> None:
        """Carry out ranges until none waits."""
        while not self._is_closed:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                answer = self._carry_out(order, number)
            except Exception as error:  # noqa: BLE001 - who waits for an answer must get one
                answer = UnexpectedError(f"{type(error).__name__}: {error}")
            answers.put((number, answer))

    def _carry_out(self, order: str, number: int) -> dict[str, Any] | StackwatchError:
        asked = json.dumps({"order": order, "number": number}).encode("ascii") + b"\n"
        for _ in range(TRIES):
            line = self._ask(asked)
            if line.endswith(b"\n"):
                answer = json.loads(line)
                if "error" in answer:
                    return StackwatchError.from_record(answer["error"])
                receipt: dict[str, Any] = answer["receipt"]
                return receipt
            self._bury()
        hint = 'Look at the machine\'s memory; lower `processes`, or use `executor = "local"`.'
        return WorkerKilledError(
            f"The process that converts a range of slices was ended {TRIES} times, or could not be "
            f"started. {hint}",
            hint=hint,
        )

    def _ask(self, asked: bytes) -> bytes:
        """Return the answer of the process; nothing, if it is gone or cannot be started."""
        try:
            process = self._running()
            if process is None:
                return b""
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(asked)
            process.stdin.flush()
            return process.stdout.readline()
        except (OSError, ValueError):
            return b""

    def _running(self) -> "subprocess.Popen[bytes] | None":
        with self._lock:
            if self._is_closed:
                return None
            if self._process is None:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            return self._process

    def _bury(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # what was not sent to it never will be
                        pipe.close()

    def kill(self) -> None:
        self._is_closed = True
        self._bury()
