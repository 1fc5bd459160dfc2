"""Notifications to systemd."""

import socket
from pathlib import Path

import pytest

from stackwatch.daemon.sdnotify import STATUS_BYTES_MAX, Notifier


@pytest.fixture
def listener(tmp_path: Path):
    """A bound datagram socket and its address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        address = str(tmp_path / "notify")
        sock.bind(address)
        sock.settimeout(5)
        yield sock, address


def test_ready_and_status_arrive_as_lines(listener):
    """READY and the status come in one datagram, in UTF-8."""
    sock, address = listener

    assert Notifier({"NOTIFY_SOCKET": address}).ready("2 folders, größe 日本")

    assert "READY=1\nSTATUS=2 folders, größe 日本" == sock.recv(4096).decode()


def test_a_line_break_in_a_status_starts_no_key(listener):
    """A value with line breaks stays one line."""
    sock, address = listener

    Notifier({"NOTIFY_SOCKET": address}).status("one\nREADY=1\rtwo")

    assert b"STATUS=one READY=1 two" == sock.recv(4096)


def test_reloading_carries_the_monotonic_time(listener):
    """RELOADING and MONOTONIC_USEC share a datagram."""
    sock, address = listener

    Notifier({"NOTIFY_SOCKET": address}).reloading()

    first, second = sock.recv(4096).decode().split("\n")
    assert "RELOADING=1" == first
    assert second.removeprefix("MONOTONIC_USEC=").isdigit()


def test_stopping_without_a_status_is_one_line(listener):
    """An empty status is left out: it would wipe the last one."""
    sock, address = listener

    Notifier({"NOTIFY_SOCKET": address}).stopping()

    assert b"STOPPING=1" == sock.recv(4096)


def test_abstract_sockets_are_understood():
    """A leading @ names a socket outside the file system."""
    name = f"stackwatch-test-{id(object())}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(5)

        assert Notifier({"NOTIFY_SOCKET": "@" + name}).ready()

        assert b"READY=1" == sock.recv(4096)


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/notify", "vsock:2:1234"])
def test_nobody_listening_is_no_error(address):
    """Without a usable socket every message is dropped and nothing is raised."""
    notifier = Notifier({"NOTIFY_SOCKET": address})

    assert not notifier.ready("up")


def test_undecodable_names_and_long_lines_are_sent(listener):
    """Surrogates are shown escaped, and a long status is cut between characters."""
    sock, address = listener

    assert Notifier({"NOTIFY_SOCKET": address}).status("bad\udcff" + "é" * STATUS_BYTES_MAX)

    received = sock.recv(1 << 16)
    assert received.startswith(rb"STATUS=bad\udcff")
    assert len(received) <= len("STATUS=") + STATUS_BYTES_MAX
    assert "é" == received.decode()[-1]
