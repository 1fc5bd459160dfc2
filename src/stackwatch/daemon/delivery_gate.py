"""One server for all: when it does not answer, or does not take the token, nothing is begun.

A server that is down is asked ever more rarely, by one delivery at a time. A token that was refused
is not tried again before its file changes, or a quarter of an hour has passed: the account may have
been given the right meanwhile.
"""

import threading
from pathlib import Path
from typing import Any, Final

from stackwatch.daemon.delivery_rules import PAUSES
from stackwatch.errors import DeliveryUnauthorizedError, StackwatchError
from stackwatch.pipeline.retry import plan_delay

TOKEN_RETRY_S: Final = 900.0
LOOK_S: Final = 1.0
"""How long the main thread waits for a look at the token's file, once."""

TokenMark = tuple[int, int, int] | None
"""Inode, size and time of the token's file; None where there is none."""


class TokenFile:
    """Looks at the token's file, in a thread: it may lie on a share that hangs."""

    def __init__(self) -> None:
        self._mark: TokenMark = None
        self._thread: threading.Thread | None = None

    def mark(self, file: Path | None) -> TokenMark:
        """Return what tells one content from another; while a look hangs, that of the last one."""
        if file is None:
            return None
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=self._look, args=(file,), name="token", daemon=True
            )
            self._thread.start()
            self._thread.join(LOOK_S)
        return self._mark

    def _look(self, file: Path) -> None:
        try:
            facts = file.stat()
        except OSError:
            self._mark = None
        else:
            self._mark = facts.st_ino, facts.st_size, facts.st_mtime_ns


class DeliveryGate:
    """Whether deliveries may begin. Used by the main thread alone. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.error: StackwatchError | None = None
        self._count = 0
        self._closed_s = self._try_s = 0.0
        self._mark: TokenMark = None

    @property
    def is_closed(self) -> bool:
        """Whether the server, or the token, is waited for."""
        return self.error is not None

    def close(self, error: StackwatchError, now_s: float, mark: TokenMark) -> bool:
        """Wait for the server or the token; return whether this cause is news."""
        is_news = self.error is None or self.error.code != error.code
        if is_news:
            self._count, self._closed_s = 0, now_s
        self._count += 1
        is_token = isinstance(error, DeliveryUnauthorizedError)
        delay_s = TOKEN_RETRY_S if is_token else plan_delay(self._count, PAUSES)
        self.error, self._mark, self._try_s = error, mark, now_s + delay_s
        return is_news

    def open(self) -> bool:
        """Let deliveries begin again: the server has answered; return whether that is news."""
        was_closed = self.is_closed
        self.error, self._count = None, 0
        return was_closed

    def may_try(self, now_s: float, mark: TokenMark) -> bool:
        """Tell whether one delivery may find out how things are."""
        if self.error is None:
            return True
        is_token = isinstance(self.error, DeliveryUnauthorizedError)
        return now_s >= self._try_s or (is_token and mark != self._mark)

    def as_record(self, now_s: float) -> dict[str, Any] | None:
        """Return JSON values for `status`, None while it is open."""
        if self.error is None:
            return None
        return {
            "error_code": self.error.code,
            "message": self.error.message,
            "hint": self.error.hint,
            "since_s": round(now_s - self._closed_s, 1),
            "retry_in_s": round(max(0.0, self._try_s - now_s), 1),
        }
