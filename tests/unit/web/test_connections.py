"""Connections that wait for nothing, over real sockets: none of them closes the page for others."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from stackwatch.testing.page_worlds import World
from stackwatch.testing.pages import PageBench, await_true, serve_world
from stackwatch.web.live import Snapshot
from stackwatch.web.server import CONNECTIONS_MAX

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
FORM = (
    b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n\r\nword="
)
SHORT_S = 0.4


@pytest.fixture
def brief(
    busy_world: tuple[World, Snapshot], monkeypatch: pytest.MonkeyPatch
) -> Iterator[PageBench]:
    """Serve a page that has little patience."""
    monkeypatch.setattr("stackwatch.web.connections.REQUEST_S", SHORT_S)
    monkeypatch.setattr("stackwatch.web.server.TAKE_S", 1)
    with serve_world(*busy_world) as bench:
        yield bench


def connect(bench: PageBench) -> socket.socket:
    """Open a connection."""
    host, _, port = bench.server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)


def is_ended(sock: socket.socket) -> bool:
    """Tell whether the other side has ended it; what it has said before is read away."""
    with suppress(ConnectionError):
        while sock.recv(65536):
            pass
    return True


def test_idle_connections_do_not_close_the_page(own: PageBench):
    """With more silent connections than there may be, whoever comes is answered at once."""
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(own)) for _ in range(CONNECTIONS_MAX + 50)]
        with connect(own) as asking:
            asking.sendall(HEAD + b"\r\n")
            assert asking.recv(64).startswith(b"HTTP/1.1 200 ")
        assert is_ended(idle[0])

        idle[-1].sendall(HEAD + b"\r\n")
        assert idle[-1].recv(64).startswith(b"HTTP/1.1 200 ")


def test_an_open_page_keeps_its_place(own: PageBench):
    """Nobody who is being answered gives way to silent ones."""
    with own.client.stream("GET", "/live?page=/") as answer, ExitStack() as stack:
        lines = answer.iter_lines()
        assert next(lines)
        for _ in range(CONNECTIONS_MAX + 20):
            stack.enter_context(connect(own))

        own.advance(100)
        assert any("512 of 1,200 slices" in line for line in lines)


def test_who_says_no_more_is_let_go(brief: PageBench):
    """A connection ends when no whole request comes for a while, and nothing of it is a mistake."""
    whole = HEAD + b"\r\n"
    with capture_logs() as lines, ExitStack() as stack:
        silent = [stack.enter_context(connect(brief)) for _ in range(5)]
        for sock, said in zip(silent, (b"", HEAD, FORM, whole, whole + HEAD), strict=True):
            sock.sendall(said)
        assert all(map(is_ended, silent))
        assert 200 == brief.client.get("/healthz").status_code

    assert [] == lines


def test_who_speaks_drop_by_drop_is_let_go(brief: PageBench):
    """A request that never ends does not keep its connection by going on."""
    with connect(brief) as sock:
        ended = threading.Event()

        def drip() -> None:
            with suppress(OSError):
                while not ended.wait(0.05):
                    sock.sendall(b"X")

        dripping = threading.Thread(target=drip)
        sock.sendall(HEAD)
        dripping.start()
        began_s = time.monotonic()
        assert is_ended(sock)
        took_s = time.monotonic() - began_s
        ended.set()
        dripping.join(5)

    assert took_s >= 0.8 * SHORT_S


def test_who_takes_nothing_is_let_go(brief: PageBench):
    """An answer that nobody takes ends, and its file is closed."""
    big = brief.world.root / "datasets" / "em1" / "cortex_031" / "big"
    big.parent.mkdir(parents=True, exist_ok=True)
    big.touch()
    os.truncate(big, 64 * 2**20)
    with connect(brief) as sock:
        sock.sendall(b"GET /data/1/big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(64).startswith(b"HTTP/1.1 200 ")
        assert is_open(big)
        await_true(lambda: not is_open(big))
    big.unlink()


def is_open(path: Path) -> bool:
    """Tell whether this process holds a file open."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if descriptor.readlink() == path:
                return True
    return False
