"""Lines of JSON over a socket: how the daemon speaks with its child processes.

Only the standard library is imported: the scan process must stay small.
"""

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

LINE_BYTES_MAX = 256 << 20
"""Longest line taken: far above any listing's summary, far below what would hurt."""


class Channel:
    """One end of a stream socket that carries one JSON object per line.

    `send` may be called from any thread; one thread reads. Undecodable file names survive: their
    surrogates travel as JSON escapes.

    Parameters
    ----------
    sock : socket.socket
        Connected; owned by the channel from now on.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._file = sock.makefile("rb")
        self._send_lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message; return when the kernel has it.

        Raises
        ------
        OSError
            The other end is gone.
        """
        self.send_line(encode_message(message))

    def send_line(self, line: bytes) -> None:
        """Send a message that `encode_message` made; as `send`."""
        with self._send_lock:
            self._sock.sendall(line)

    def receive(self) -> dict[str, Any] | None:
        """Wait for one message; None at the end.

        A reset, half a line and a line that is no JSON object end the conversation too: what
        follows them cannot be trusted.
        """
        try:
            line = self._file.readline(LINE_BYTES_MAX)
            message = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    def iter_messages(self) -> Iterator[dict[str, Any]]:
        """Yield messages until the end."""
        while (message := self.receive()) is not None:
            yield message

    def shut_down(self) -> None:
        """End the conversation: a `receive` that waits in another thread returns None."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        """Release the socket. Call it when no thread reads any more."""
        self._file.close()
        self._sock.close()


def encode_message(message: dict[str, Any]) -> bytes:
    """Return a message as its line."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def open_pair() -> tuple[Channel, socket.socket]:
    """Return a channel for us and the bare socket for a child process to inherit."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(ours), theirs
