"""Tell systemd how the service is doing: READY, STATUS, RELOADING, STOPPING, WATCHDOG.

The protocol is one datagram of `KEY=value` lines to the socket named in `NOTIFY_SOCKET`.
Nothing here ever raises: a service must not fail because nobody listens.

Source: sd_notify(3); abstract sockets are written with a leading `@`.
"""

import os
import socket
import time
from collections.abc import Mapping

STATUS_BYTES_MAX = 2000


class Notifier:
    """Sends messages to systemd, or nowhere when not started by it.

    Parameters
    ----------
    environment : Mapping
        Where `NOTIFY_SOCKET` is looked up, once.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _parse_address(environment.get("NOTIFY_SOCKET", ""))

    @property
    def is_listened_to(self) -> bool:
        """Whether somebody asked for notifications."""
        return self._address is not None

    def ready(self, status: str = "") -> bool:
        """Tell that the service is up, or that a reload is over."""
        return self._send({"READY": "1", "STATUS": status})

    def status(self, status: str) -> bool:
        """Show one line in `systemctl status`."""
        return self._send({"STATUS": status})

    def reloading(self) -> bool:
        """Tell that a reload begins.

        The monotonic time must be in the same datagram, or newer systemd waits for it.
        """
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send({"RELOADING": "1", "MONOTONIC_USEC": str(now_us)})

    def alive(self) -> bool:
        """Tell systemd's watchdog that all is well."""
        return self._send({"WATCHDOG": "1"})

    def stopping(self, status: str = "") -> bool:
        """Tell that the service is going down."""
        return self._send({"STOPPING": "1", "STATUS": status})

    def extend(self, seconds: float) -> bool:
        """Ask for so much more time before a start or a stop counts as failed."""
        return self._send({"EXTEND_TIMEOUT_USEC": str(round(seconds * 1_000_000))})

    def _send(self, values: dict[str, str]) -> bool:
        """Send one datagram; return whether it was taken."""
        if self._address is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(_encode(values), self._address)
        except OSError:
            return False
        return True


def _parse_address(text: str) -> str | None:
    """Return the socket address of `NOTIFY_SOCKET`, or None if there is none we can use."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def _encode(values: dict[str, str]) -> bytes:
    """Return `KEY=value` lines; a line break in a value would start a key of its own."""
    lines = []
    for key, value in values.items():
        if value:
            line = " ".join(value.splitlines())
            lines.append(f"{key}=".encode() + _cut_utf8(line.encode("utf-8", "backslashreplace")))
    return b"\n".join(lines)


def _cut_utf8(text: bytes) -> bytes:
    """Shorten to what fits a status line without cutting a character in two."""
    return text[:STATUS_BYTES_MAX].decode("utf-8", "ignore").encode()
