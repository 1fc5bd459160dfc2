"""`stackwatch top` in a real terminal: it draws, and a key ends it."""

import io
import os
import pty
import select
import subprocess
import sys
import termios
from typing import Any

import pytest
from rich.console import Console

from stackwatch.cli.top import is_last
from stackwatch.cli.top_view import draw_status

from .conftest import History


def read_until(descriptor: int, phrase: bytes, timeout_s: float = 60) -> bytes:
    """Return what the terminal shows, up to a phrase."""
    shown = b""
    while phrase not in shown:
        ready, _, _ = select.select([descriptor], [], [], timeout_s)
        assert ready, shown
        shown += os.read(descriptor, 65536)
    return shown


@pytest.mark.parametrize(
    ("keys", "expected"),
    [(b"q", True), (b"xQ", True), (b"", True), (b"\x1b", True), (b"x", False),
     (b"\x1b[A", False), (b"\x1bOQ", False)],
)  # fmt: skip
def test_arrows_and_the_wheel_do_not_end_it(keys, expected):
    """They begin with the byte of Escape; F2 even holds a Q."""
    assert expected == is_last(keys)


@pytest.mark.parametrize("width", [20, 60])
def test_a_narrow_terminal_cuts_and_breaks_nothing(width):
    """No line is longer than the terminal, and what needs a human still has its reason."""
    screen = io.StringIO()
    console = Console(width=width, file=screen, force_terminal=True, color_system=None)
    parked = {"folder": "em", "acquisition": "run_" + "x" * 80, "job_id": 7, "message": "Voxel?"}
    record: dict[str, Any] = {
        "status": "idle", "daemon": None, "degraded": "", "jobs": {"parked": 1}, "folders": [],
        "converting": [], "parked": [parked], "waiting": [], "arriving": [], "paused": {},
        "deliveries": {"open": []},
    }  # fmt: skip
    console.print(draw_status(record, {}))
    shown = screen.getvalue()

    assert width >= max(map(len, shown.splitlines()))
    assert "Voxel?" in shown
    assert "em/run_" in shown


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
