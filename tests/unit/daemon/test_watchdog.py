"""Heartbeats of the parts, and the watchdog that is fed only while all of them beat."""

import os
import socket
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from stackwatch.daemon.control import ControlServer
from stackwatch.daemon.heartbeats import PATIENCE_S, Heartbeats
from stackwatch.daemon.sdnotify import Notifier
from stackwatch.daemon.watchdog import Watchdog, read_limit_s

LIMIT = {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}


class FakeClock:
    """A clock that only a test moves."""

    seconds = 1000.0

    def monotonic(self) -> float:
        """Return the time set."""
        return self.seconds

    def now(self) -> float:
        """Return the time set."""
        return self.seconds


class Systemd:
    """A bound socket, as systemd has one."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": str(path)}

    def said(self) -> list[bytes]:
        """Return what has come since the last time."""
        messages = []
        while True:
            try:
                messages.append(self.sock.recv(4096))
            except BlockingIOError:
                return messages


@pytest.fixture
def systemd(tmp_path: Path):
    """Somebody who listens."""
    made = Systemd(tmp_path / "notify")
    yield made
    made.sock.close()


def watch(systemd: Systemd, clock: FakeClock) -> tuple[Heartbeats, Watchdog]:
    """Return heartbeats and the watchdog that looks at them."""
    heartbeats = Heartbeats(clock)
    return heartbeats, Watchdog(heartbeats, Notifier(systemd.environment), clock, LIMIT)


def test_the_watchdog_is_fed_three_times_within_its_limit(systemd):
    """With a limit of 60 s it is told every 20 s, however often the loop turns."""
    clock = FakeClock()
    _, watchdog = watch(systemd, clock)
    for _ in range(60):
        watchdog.tick()
        clock.seconds += 1

    assert [b"WATCHDOG=1"] * 3 == systemd.said()


def test_a_part_that_stops_ends_the_feeding(systemd):
    """One silent part is enough; it is named once in the log, and again when it is back."""
    clock = FakeClock()
    heartbeats, watchdog = watch(systemd, clock)
    beat = heartbeats.expect("control socket")
    watchdog.tick()
    systemd.said()
    with capture_logs() as logs:
        clock.seconds += PATIENCE_S + 1
        watchdog.tick()
        watchdog.tick()
        silence = systemd.said()
        beat()
        watchdog.tick()

    assert [] == silence
    assert [b"WATCHDOG=1"] == systemd.said()
    assert ["part.stopped", "part.recovered"] == [line["event"] for line in logs]
    assert "nothing was heard of: control socket" == logs[0]["reason"]


def test_a_part_that_ends_on_purpose_is_not_missed(systemd):
    """A released part may be silent for ever; a late beat does not bring it back."""
    clock = FakeClock()
    heartbeats, watchdog = watch(systemd, clock)
    beat = heartbeats.expect("status page", patience_s=5)
    heartbeats.release("status page")
    beat()
    clock.seconds += 600
    watchdog.tick()

    assert () == heartbeats.silent()
    assert {"main loop": 0.0} == heartbeats.ages()
    assert [b"WATCHDOG=1"] == systemd.said()


def test_the_main_loop_is_missed_by_those_who_look_from_beside(systemd):
    """The page's thread sees that the main loop has stopped turning."""
    clock = FakeClock()
    heartbeats, watchdog = watch(systemd, clock)
    watchdog.tick()
    clock.seconds += PATIENCE_S + 1

    assert ("main loop",) == heartbeats.silent()


def test_nobody_is_fed_where_systemd_does_not_watch(systemd):
    """Without `WATCHDOG_USEC`, or with a parent's, nothing is sent."""
    clock = FakeClock()
    watchdog = Watchdog(Heartbeats(clock), Notifier(systemd.environment), clock, {})
    watchdog.tick()

    assert [] == systemd.said()
    assert 0.0 == read_limit_s({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"})
    assert 2.0 == read_limit_s({"WATCHDOG_USEC": "2000000"})
    assert 0.0 == read_limit_s({"WATCHDOG_USEC": "soon"})


def test_the_listener_of_the_control_socket_beats_until_it_is_closed(tmp_path, monkeypatch):
    """It beats while nobody calls, and not any more when its thread has ended."""
    monkeypatch.setattr("stackwatch.daemon.control.BEAT_S", 0.01)
    beats: list[None] = []
    server = ControlServer(tmp_path, lambda command: command, lambda: beats.append(None))
    server.start()
    while len(beats) < 3:
        os.sched_yield()
    server.close()

    assert "control" not in {thread.name for thread in threading.enumerate()}
