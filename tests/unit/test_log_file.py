"""The log's file may be full or hang: nobody waits for it, and what is lost is counted."""

import io
import json
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackwatch.log_file import WAITING_BYTES_MAX, LogFile
from stackwatch.logs import configure_logs, flush_logs, logger

DEADLINE_S = 30


class Reader:
    """The far end of a FIFO, opened only when it is asked to read: until then a writer hangs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        os.mkfifo(path)

    def begin(self) -> None:
        """Let the writer go on."""
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDWR)

    def read_until(self, last: str) -> list[str]:
        """Return all lines up to the one that ends so."""
        self.begin()
        received = b""
        while not received.endswith(last.encode() + b"\n"):
            ready, _, _ = select.select([self._descriptor], [], [], DEADLINE_S)
            assert ready, "no more lines came"
            received += os.read(self._descriptor, 1 << 20)
        return received.decode().splitlines()

    def close(self) -> None:
        """Let go of the writer, whatever it does."""
        self.begin()
        os.close(self._descriptor)


@pytest.fixture(autouse=True)
def closed_logs() -> Iterator[None]:
    """Close the log's file after each test."""
    yield
    configure_logs(io.StringIO())


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Reader]:
    """Return a file that hangs already when it is opened."""
    reader = Reader(tmp_path / "log")
    yield reader
    reader.close()


def events_of(lines: list[str]) -> list[tuple[str, Any]]:
    """Return each event with its number."""
    found = [json.loads(line) for line in lines]
    return [(line["event"], line.get("lines") or line.get("files")) for line in found]


def test_a_log_file_on_a_full_disk_does_no_harm(tmp_path: Path):
    """C7: the copy in a file tells how many lines a full disk did not take."""
    link = tmp_path / "log"
    link.symlink_to("/dev/full")
    configure_logs(io.StringIO(), "json", file=link)
    logger().info("scan.finished", files=1)
    logger().info("scan.finished", files=2)
    flush_logs()
    link.unlink()
    logger().info("scan.finished", files=3)
    flush_logs()

    told = events_of(link.read_text().splitlines())
    assert [("log.lost", 2), ("scan.finished", 3)] == told


def test_a_log_file_that_hangs_holds_nobody_up(hung: Reader):
    """C8: more than memory holds is counted in its place; all else comes, in order."""
    stream = io.StringIO()
    configure_logs(stream, "json", file=hung.path)
    is_late = threading.Event()

    def let_go() -> None:
        is_late.set()
        hung.begin()

    timer = threading.Timer(DEADLINE_S, let_go)
    timer.start()
    count = 3 * WAITING_BYTES_MAX // 8000
    for number in range(1, count + 1):
        logger().info("scan.finished", files=number, reason="x" * 8000)
    timer.cancel()

    assert not is_late.is_set(), "logging waited"
    assert count == len(stream.getvalue().splitlines()), "the stream has every line at once"
    lines = hung.read_until("}")
    while len(lines) < 2 or '"log.lost"' not in lines[-1]:
        lines += hung.read_until("}")
    told = events_of(lines)
    kept = len(told) - 1
    assert [("scan.finished", number) for number in range(1, kept + 1)] == told[:-1]
    assert ("log.lost", count - kept) == told[-1]
    logger().info("scan.finished", files=0)
    assert "scan.finished" == json.loads(hung.read_until("}")[-1])["event"]


def test_a_file_that_hangs_is_given_up(hung: Reader):
    """A change of settings and the end wait a little while, and go on."""
    file = LogFile(hung.path, lambda lines: f"lost {lines}")
    file.write("one")

    file.flush(0.05)
    file.close()

    assert ["one"] == hung.read_until("one"), "it is written when the file answers again"
