"""The watchdog's word from a real daemon, at a bound socket."""

import socket
from pathlib import Path

from stackwatch.testing.service import bench


def test_a_living_daemon_says_so_again_and_again(tmp_path: Path):
    """While nothing happens, and after a reload, WATCHDOG=1 goes on coming, in messages of its own.

    With a limit of 1 s each turn of the loop is due; without `WATCHDOG_USEC` none would come.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, bench(tmp_path) as service:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        service.start(environment=environment)
        while not systemd.recv(4096).startswith(b"READY=1"):
            continue
        service.ask("reload")
        said: list[bytes] = []
        while said.count(b"WATCHDOG=1") < 4:
            said.append(systemd.recv(4096))

        assert 0 == service.stop()

    assert any(b"settings reloaded" in message for message in said)
