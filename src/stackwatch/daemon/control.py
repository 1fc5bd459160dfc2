"""The control socket: how a command line asks the running daemon to do something.

One line of JSON asks, one line answers. The socket lies in the state directory, so whoever may
write there may ask. The answer is made by the daemon's main thread; here is only the transport.
"""

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stackwatch.daemon.channel import Channel
from stackwatch.errors import (
    LedgerError,
    NoDaemonError,
    StackwatchError,
    UnexpectedError,
    UsageError,
)
from stackwatch.model.acquisition import show_path

SOCKET_NAME = "control.sock"
CALLERS_MAX = 16
ANSWER_TIMEOUT_S = 30.0
BEAT_S = 5.0

Answer = Callable[[dict[str, Any]], dict[str, Any]]
"""From a command to its answer. Called from many threads; may raise StackwatchError."""


def request(
    state_dir: Path, command: dict[str, Any], timeout_s: float = ANSWER_TIMEOUT_S
) -> dict[str, Any]:
    """Ask the daemon that owns `state_dir` and return its answer.

    Parameters
    ----------
    state_dir : Path
    command : dict
        `{"command": "status"}`; `{"command": "retry", "job": 12}`;
        `{"command": "rescan", "folder": "em2"}`; `{"command": "explain", "path": "/drop/x"}`,
        and so `accept` and `forget`;
        `{"command": "reload"}`; `{"command": "stop"}`.
    timeout_s : float
        How long the answer may take.

    Returns
    -------
    dict
        The answer's values, as JSON.

    Raises
    ------
    NoDaemonError
        Nobody listens; the caller may take the ledger's lock and do it himself.
    StackwatchError
        The daemon refused; its own error, rebuilt.
    """
    with _open_socket() as sock:
        sock.settimeout(timeout_s)
        try:
            with _short_address(state_dir) as address:
                sock.connect(address)
        except OSError as error:
            raise _no_daemon(state_dir, error) from error
        channel = Channel(sock)
        try:
            channel.send(command)
            answer = channel.receive()
        except OSError:
            answer = None
        finally:
            channel.close()
    if answer is None:
        msg = (
            f"The daemon on “{show_path(state_dir)}” took the question and gave no answer. "
            "It is stopping, was killed or is stuck; look at its log."
        )
        raise NoDaemonError(msg, hint="Look at the daemon's log.", state_dir=show_path(state_dir))
    if "error" in answer:
        raise StackwatchError.from_record(answer["error"])
    return answer


class ControlServer:
    """Listens on the control socket; each caller gets a short-lived thread.

    Parameters
    ----------
    state_dir : Path
        The caller holds the ledger's lock: a socket left by a dead daemon is replaced.
    answer : Answer
    beat : callable
        Called every few seconds, as long as callers are taken.
    """

    def __init__(
        self, state_dir: Path, answer: Answer, beat: Callable[[], None] = lambda: None
    ) -> None:
        self._state_dir = state_dir
        self._answer = answer
        self._beat = beat
        self._callers = threading.BoundedSemaphore(CALLERS_MAX)
        self._sock = _open_socket()
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)

    def start(self) -> None:
        """Bind and listen.

        Raises
        ------
        LedgerError
            The state directory does not take a socket.
        """
        path = self._state_dir / SOCKET_NAME
        try:
            path.unlink(missing_ok=True)
            with _short_address(self._state_dir) as address:
                self._sock.bind(address)
            path.chmod(0o660)
            self._sock.listen(CALLERS_MAX)
        except OSError as error:
            hint = "Let `state_dir` be a local directory that the service may write to."
            raise LedgerError(
                f"“{show_path(path)}” cannot be made: {error.strerror or error}. Commands could "
                f"not reach the daemon. {hint}",
                hint=hint,
                path=show_path(path),
            ) from error
        self._thread.start()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._sock.close()
        (self._state_dir / SOCKET_NAME).unlink(missing_ok=True)

    def _accept(self) -> None:
        """Take callers until the socket is shut down."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while True:
            self._beat()
            if not poll.poll(BEAT_S * 1000):
                continue
            try:
                sock, _ = self._sock.accept()  # without a time limit: one would hide the shutdown
            except OSError:
                return
            sock.settimeout(ANSWER_TIMEOUT_S)
            if not self._callers.acquire(blocking=False):
                sock.close()
                continue
            threading.Thread(
                target=self._converse, args=(sock,), name="control-caller", daemon=True
            ).start()

    def _converse(self, sock: socket.socket) -> None:
        """Answer one caller."""
        channel = Channel(sock)
        try:
            command = channel.receive()
            if command is not None:
                channel.send(self._answer_or_error(command))
        except OSError:
            return  # the caller went away; nobody is left to tell
        finally:
            channel.close()
            self._callers.release()

    def _answer_or_error(self, command: dict[str, Any]) -> dict[str, Any]:
        """Return the answer, or the error as a record."""
        try:
            return self._answer(command)
        except StackwatchError as error:
            return {"error": error.as_record()}
        except Exception as error:  # noqa: BLE001 - a bad command must not end the listener
            return {"error": UnexpectedError(f"{type(error).__name__}: {error}").as_record()}


def unknown_command(command: dict[str, Any]) -> UsageError:
    """Return the error for a command the daemon does not know."""
    name = command.get("command")
    return UsageError(
        f"The daemon does not know the command {name!r}. It may be older than this program.",
        hint="Restart the daemon after an upgrade.",
        command=str(name),
    )


def _open_socket() -> socket.socket:
    """Return an unconnected stream socket."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


@contextlib.contextmanager
def _short_address(state_dir: Path) -> Iterator[str]:
    """Yield an address of the control socket that fits into 107 bytes, however deep it lies."""
    descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def _no_daemon(state_dir: Path, error: OSError) -> NoDaemonError:
    """Return the error for a state directory on which nobody listens, or not to this user."""
    if isinstance(error, PermissionError):
        hint = "Ask as the user of the service: `sudo -u stackwatch stackwatch …`."
        return NoDaemonError(
            f"This user may not speak to a daemon on “{show_path(state_dir)}”. {hint}",
            hint=hint,
            state_dir=show_path(state_dir),
        )
    return NoDaemonError(
        f"No daemon listens on “{show_path(state_dir)}”. "
        "Start it with `stackwatch run --config FILE`, or with `systemctl start stackwatch`.",
        hint="Start the daemon.",
        state_dir=show_path(state_dir),
    )
