"""The copy of the log in a file: appended to by a thread of its own, for a share may hang.

Whoever logs never waits for the file. Lines that it does not take, because it hangs for long or its
disk is full, are counted, and the count is written in their place when it takes lines again.
"""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

WAITING_BYTES_MAX: Final = 1 << 20
"""So much is kept for a file that hangs."""


class LogFile:
    """Lines on their way to a file. May be called from any thread.

    Parameters
    ----------
    path : Path
        Opened anew for every line, so that rotation just works.
    describe_lost : callable
        Returns the line that tells how many were lost.
    """

    def __init__(self, path: Path, describe_lost: Callable[[int], str]) -> None:
        self._path = path
        self._describe_lost = describe_lost
        self._waiting: deque[bytes | int] = deque()
        """Lines, and in the place of those that found no room their number."""
        self._size = 0
        self._is_busy = self._is_closed = False
        self._changed = threading.Condition()
        self._lost = 0
        self._is_torn = False
        threading.Thread(target=self._serve, name="log-file", daemon=True).start()

    def write(self, line: str) -> None:
        """Have a line written, or count it where too much waits already."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._changed:
            if self._size + len(data) <= WAITING_BYTES_MAX:
                self._waiting.append(data)
                self._size += len(data)
            elif self._waiting and isinstance(self._waiting[-1], int):
                self._waiting[-1] += 1
            else:
                self._waiting.append(1)
            self._changed.notify_all()

    def drain(self) -> None:
        """Have nothing to do: the thread writes as soon as the file takes lines."""

    def flush(self, timeout_s: float) -> None:
        """Wait until all is written; give up on a file that takes nothing for so long."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._waiting or self._is_busy), timeout_s)

    def close(self) -> None:
        """Have the thread end once all is written. One whose file hangs is not waited for."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    # ------------------------------------------------------------ the thread

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return
                self._is_busy = True
                next_one = self._waiting.popleft()
                if isinstance(next_one, bytes):
                    self._size -= len(next_one)
            if isinstance(next_one, int):
                self._lost += next_one
                self._tell_lost()
            elif not self._tell_lost() or not self._append(next_one):
                self._lost += 1  # the log on the stream is the one that counts

    def _tell_lost(self) -> bool:
        """Write how many lines were lost; return False if the file does not take even that."""
        if self._lost and self._append(self._describe_lost(self._lost).encode() + b"\n"):
            self._lost = 0
        return not self._lost

    def _append(self, line: bytes) -> bool:
        """Write a line; return False if the disk does not take it whole."""
        data = b"\n" + line if self._is_torn else line
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        written = 0
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, flags, 0o666)  # less what the umask takes
            try:
                written = os.write(descriptor, data)
            finally:
                os.close(descriptor)
        if 0 < written < len(data):
            self._is_torn = True
        elif written:
            self._is_torn = False
        return written == len(data)
