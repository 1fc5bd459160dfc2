"""Start child processes, listen to them, and bury them: the daemon's end.

All children are started by the daemon's main thread: the kernel ties their lives to the thread
that starts them. One listening thread per child turns what it says into calls of `tell`, and one
writes what is sent: a child that is stopped or hangs reads nothing, and the kernel keeps only some
200 kB for it. The main thread alone decides, kills and reaps, so a process id is never signalled
after it was reaped.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stackwatch.daemon.channel import encode_message, open_pair

SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""The engine has its own threads; pools of numerical libraries would only cost memory."""

SECRETS = frozenset({"STACKWATCH_WEBKNOSSOS_TOKEN", "CREDENTIALS_DIRECTORY"})
"""What only the children get that need it: a converter runs code of many libraries."""


def module_command(module: str) -> tuple[str, ...]:
    """Return the command that runs a module of ours with this interpreter."""
    return (sys.executable, "-m", module)


@dataclass(frozen=True, slots=True)
class ChildExit:
    """How a child ended.

    Attributes
    ----------
    code : int
        Exit code, or minus the number of the signal that killed it.
    peak_mib : float
        Its peak resident memory, mebibytes.
    """

    code: int
    peak_mib: float

    def __str__(self) -> str:
        """Return the end in words."""
        if self.code >= 0:
            return f"exit code {self.code}"
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-self.code).name}"
        return f"killed by signal {-self.code}"


class Child:
    """A child process with a channel to it, in a session of its own.

    Parameters
    ----------
    command : sequence of str
        Gets the socket's number and our process id as its last two arguments.
    tell : callable
        Called from the listening thread with each message, and with None at the end, when the
        process has exited and waits to be reaped.
    has_secrets : bool
        Whether it gets the variables that lead to secrets.

    Raises
    ------
    OSError
        The process cannot be started: no memory, no process slots.
    """

    def __init__(
        self,
        command: Sequence[str],
        tell: Callable[["Child", dict[str, Any] | None], None],
        *,
        has_secrets: bool = False,
    ) -> None:
        assert threading.current_thread() is threading.main_thread()
        kept = {
            name: value for name, value in os.environ.items() if has_secrets or name not in SECRETS
        }
        self.channel, theirs = open_pair()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*command, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**SINGLE_THREADED, **kept},
            )
        except OSError:
            self.channel.close()
            raise
        finally:
            theirs.close()
        self._tell = tell
        self._exit: ChildExit | None = None
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=work, name=f"child-{self._process.pid}", daemon=True)
            for work in (self._listen, self._write)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Have a message sent, without waiting until the child reads it.

        A child is sent its order and short answers to what it asks, one at a time: no more than one
        order waits in memory. If it is gone nothing arrives; its end is told anyway.
        """
        self._outgoing.put(encode_message(message))

    def kill(self) -> None:
        """Kill the child and everything it started."""
        if self._exit is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def reap(self) -> ChildExit:
        """Collect a child that has exited; whatever it started dies with it."""
        if self._exit is None:
            self.kill()
            _, status, usage = os.wait4(self._process.pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self._exit = ChildExit(self._process.returncode, usage.ru_maxrss / 1024)
            self._outgoing.put(None)
            for thread in self._threads:
                thread.join()
            self.channel.close()
        return self._exit

    def _listen(self) -> None:
        """Pass on what the child says, then that it ended."""
        try:
            for message in self.channel.iter_messages():
                self._tell(self, message)
        finally:
            self.channel.shut_down()  # a child that is not understood must not wait for an answer
            self._await_exit()

    def _write(self) -> None:
        """Send what waits, in order, until the child is gone or reaped."""
        with contextlib.suppress(OSError):
            while (line := self._outgoing.get()) is not None:
                self.channel.send_line(line)

    def _await_exit(self) -> None:
        """Tell the end once the process has exited, leaving it to be reaped."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self._tell(self, None)
