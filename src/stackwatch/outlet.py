"""Where log lines leave the program, without ever holding it up or ending it.

The reader of a pipe may be slow or gone, a disk full. Lines then wait in memory, up to a limit;
what does not fit is counted, and the count is written when lines can be written again.
"""

import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TextIO

WAITING_BYTES_MAX: Final = 1 << 20
"""So much is kept for a reader that is slow."""


class Outlet:
    """One stream of lines to a pipe, a socket, a terminal or a file.

    Lines keep their order. May be called from any thread; no thread is needed, because whoever
    comes next takes along what still waits.

    Parameters
    ----------
    stream : text stream
        Its descriptor is used, not its buffer.
    describe_lost : callable
        Returns the line that tells how many were lost.

    Raises
    ------
    OSError, ValueError
        The stream has no descriptor.
    """

    def __init__(self, stream: TextIO, describe_lost: Callable[[int], str]) -> None:
        self._describe_lost = describe_lost
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._size = 0
        self._lost = 0
        self._is_mid_line = self._is_torn = False
        self._lock = threading.Lock()
        stream.flush()
        descriptor = stream.fileno()
        mode = os.fstat(descriptor).st_mode
        may_block = stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
        self._descriptor = _reopen(descriptor) if may_block else os.dup(descriptor)
        self._socket = socket.socket(fileno=self._descriptor) if stat.S_ISSOCK(mode) else None

    def write(self, line: str) -> None:
        """Write a line, now or as soon as somebody takes it."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if not self._waiting:
                self._report_lost()
            if self._size + len(data) > WAITING_BYTES_MAX:
                self._lost += 1
            else:
                self._push(data, 1)
            self._drain()

    def drain(self) -> None:
        """Write what waits, as far as somebody takes it."""
        with self._lock:
            self._drain()

    def flush(self, timeout_s: float) -> None:
        """Write what waits; give up when nobody takes it for so long."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            self.drain()
            left_s = deadline_s - time.monotonic()
            if not self._waiting or left_s <= 0:
                return
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll(left_s * 1000)

    def close(self) -> None:
        """Release what was opened beside the stream; the stream is left alone."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            elif self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1

    # ------------------------------------------------------------ parts, under the lock

    def _push(self, data: bytes, lines: int) -> None:
        if self._is_torn:  # half a line stands there: it must not spoil this one
            data, self._is_torn = b"\n" + data, False
        self._waiting.append((data, lines))
        self._size += len(data)

    def _report_lost(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            self._push(self._describe_lost(lost).encode() + b"\n", lost)

    def _drain(self) -> None:
        while self._waiting or self._lost:
            if not self._waiting:
                self._report_lost()
            data, lines = self._waiting[0]
            try:
                written = self._put(data)
            except BlockingIOError:
                return
            except (OSError, ValueError):  # a full disk, a reader that went away
                self._lost += sum(count for _, count in self._waiting)
                self._waiting.clear()
                self._size = 0
                self._is_torn = self._is_mid_line
                return
            self._is_mid_line = not data[:written].endswith(b"\n")
            self._size -= written
            self._waiting.popleft()
            if written < len(data):
                self._waiting.appendleft((data[written:], lines))

    def _put(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return os.write(self._descriptor, data)


def _reopen(descriptor: int) -> int:
    """Open a pipe or terminal once more: only ours must not block, the old one may be shared."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(f"/proc/self/fd/{descriptor}", flags)
    except OSError:
        return os.dup(descriptor)  # a terminal of another user: it may hold us up
