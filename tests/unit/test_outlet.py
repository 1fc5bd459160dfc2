"""Log lines leave without holding anybody up, and what is lost is counted."""

import contextlib
import io
import json
import os
import socket
from collections.abc import Iterator

import pytest

from stackwatch.logs import configure_logs, drain_logs, flush_logs, logger
from stackwatch.outlet import WAITING_BYTES_MAX, Outlet


def open_outlet(descriptor: int) -> Outlet:
    """Return an outlet to a descriptor; a lost line is told as `lost N`."""
    with os.fdopen(descriptor, "w", encoding="utf-8", closefd=False) as stream:
        return Outlet(stream, lambda lines: f"lost {lines}")


@pytest.fixture
def pipe() -> Iterator[tuple[int, Outlet]]:
    """Return the reading end of a pipe and an outlet to it."""
    reading, writing = os.pipe()
    outlet = open_outlet(writing)
    yield reading, outlet
    outlet.close()
    os.close(writing)
    with contextlib.suppress(OSError):
        os.close(reading)


def test_a_pipe_that_nobody_reads_never_blocks(pipe):
    """C8: more than the pipe and the memory hold is counted; then the rest comes in order."""
    reading, outlet = pipe
    os.set_blocking(reading, False)
    written = 0
    while written * 100 < 2 * WAITING_BYTES_MAX:
        outlet.write(f"{written:099}")
        written += 1

    received = b""
    while True:
        try:
            received += os.read(reading, 1 << 20)
        except BlockingIOError:
            before = len(received)
            outlet.drain()
            with contextlib.suppress(BlockingIOError):
                received += os.read(reading, 1 << 20)
            if len(received) == before:
                break
    lines = received.decode().splitlines()

    assert [f"{number:099}" for number in range(len(lines) - 1)] == lines[:-1]
    assert f"lost {written - len(lines) + 1}" == lines[-1]
    outlet.write("after")
    assert b"after\n" == os.read(reading, 100)


def test_a_reader_that_went_away_is_counted(pipe):
    """C8: a closed pipe does no harm, whoever writes and however often."""
    reading, outlet = pipe
    os.close(reading)

    for number in range(3):
        outlet.write(str(number))
    outlet.flush(0.0)


def test_a_full_disk_is_counted_and_told_when_there_is_room(tmp_path):
    """C7: what `/dev/full` refuses is lost, and the next file that takes lines says how much."""
    full = os.open("/dev/full", os.O_WRONLY)
    outlet = open_outlet(full)
    outlet.write("one")
    outlet.write("two")
    path = tmp_path / "log"
    place = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(place, outlet._descriptor)  # the disk has room again
    outlet.write("three")
    outlet.close()
    os.close(full)
    os.close(place)

    assert "lost 2\nthree\n" == path.read_text()


def test_half_a_line_does_not_spoil_the_next_one(tmp_path, monkeypatch):
    """C7: a disk that fills up in the middle of a line leaves it alone on its own line."""
    path = tmp_path / "log"
    place = os.open(path, os.O_WRONLY | os.O_CREAT)
    outlet = open_outlet(place)
    write, is_full = os.write, iter([False, True])

    def fill_up(descriptor: int, data: bytes) -> int:
        is_now_full = next(is_full, None)
        if is_now_full:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:3] if is_now_full is False else data)

    monkeypatch.setattr(os, "write", fill_up)
    outlet.write("torn line")
    outlet.write("whole")
    monkeypatch.undo()
    outlet.close()
    os.close(place)

    assert ["tor", "lost 1", "whole"] == path.read_text().splitlines()


def test_a_socket_that_nobody_reads_never_blocks():
    """C8: the journal's socket is written without waiting, and stays blocking for others."""
    ours, theirs = socket.socketpair()
    outlet = open_outlet(ours.fileno())
    for _ in range(3000):
        outlet.write("x" * 1000)

    assert os.get_blocking(ours.fileno())
    assert b"x" * 100 == theirs.recv(100)
    outlet.close()
    ours.close()
    theirs.close()


def test_the_service_logs_through_an_outlet(tmp_path):
    """C8: with a pipe that is full, logging goes on; the lines come when the pipe is read."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        configure_logs(stream, "json", never_blocks=True)
        for number in range(2000):
            logger().info("scan.finished", files=number, reason="x" * 100)
        os.set_blocking(reading, False)
        received = b""
        for _ in range(100):
            with contextlib.suppress(BlockingIOError):
                received += os.read(reading, 1 << 20)
            drain_logs()
        flush_logs(0.0)
        configure_logs(io.StringIO(), never_blocks=True)
    os.close(reading)

    files = [json.loads(line)["files"] for line in received.splitlines()]
    assert list(range(2000)) == files
