"""`stackwatch top` in a real terminal: it draws, and a key ends it."""

import os
import pty
import select
import subprocess
import sys
import termios

from .conftest import History


def read_until(descriptor: int, phrase: bytes, timeout_s: float = 60) -> bytes:
    """Return what the terminal shows, up to a phrase."""
    shown = b""
    while phrase not in shown:
        ready, _, _ = select.select([descriptor], [], [], timeout_s)
        assert ready, shown
        shown += os.read(descriptor, 65536)
    return shown


def test_it_draws_the_status_and_q_ends_it(history: History):
    """On a screen of its own, again and again; the terminal is left as it was."""
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        child = subprocess.Popen(
            [sys.executable, "-m", "stackwatch", "top", "-c", str(history.config),
             "--interval", "0.2"],
            stdin=theirs, stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        )  # fmt: skip
        first = read_until(ours, b"run_2")
        read_until(ours, b"does not run")
        os.write(ours, b"xq")
        read_until(ours, b"\x1b[?1049l")

        assert 0 == child.wait(30)
        assert b"\x1b[?1049h" in first
        assert before == termios.tcgetattr(theirs)
    finally:
        os.close(ours)
        os.close(theirs)
