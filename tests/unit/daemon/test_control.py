"""The control socket: real sockets, a scripted daemon behind them."""

import json
import socket
import threading
from pathlib import Path

import pytest

from stackwatch.daemon.control import SOCKET_NAME, ControlServer, request
from stackwatch.errors import NoDaemonError, UnexpectedError, UnknownLayoutError


@pytest.fixture
def serve(tmp_path: Path):
    """Start servers that are closed after the test."""
    servers = []

    def start(answer, state_dir: Path = tmp_path) -> Path:
        server = ControlServer(state_dir, answer)
        server.start()
        servers.append(server)
        return state_dir

    yield start
    for server in servers:
        server.close()


def test_a_command_gets_its_answer(serve):
    """The answer's values arrive as they were given."""
    state_dir = serve(lambda command: {"echo": command, "name": "bad\udcff"})

    answer = request(state_dir, {"command": "retry", "job": 12})

    assert {"echo": {"command": "retry", "job": 12}, "name": "bad\udcff"} == answer


def test_nobody_listening_is_said_clearly(tmp_path):
    """Without a socket the error names the directory and what to do."""
    with pytest.raises(NoDaemonError, match="No daemon listens") as caught:
        request(tmp_path, {"command": "status"})

    assert str(tmp_path) == caught.value.values["state_dir"]
    assert 69 == caught.value.exit_code


def test_a_state_directory_that_is_not_there_has_no_daemon(tmp_path):
    """A missing directory is the same case."""
    with pytest.raises(NoDaemonError):
        request(tmp_path / "nowhere", {"command": "status"})


def test_a_socket_left_by_a_dead_daemon_is_nobody_and_is_replaced(serve, tmp_path):
    """A stale socket refuses callers, and the next daemon takes its place."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(NoDaemonError):
        request(tmp_path, {"command": "status"})

    serve(lambda _command: {"ok": True})

    assert {"ok": True} == request(tmp_path, {"command": "status"})


def test_a_refusal_is_the_same_error_at_the_caller(serve):
    """A domain error crosses the socket with its class, message and values."""

    def refuse(_command):
        raise UnknownLayoutError("No layout fits.", hint="Look.", files=3)

    state_dir = serve(refuse)

    with pytest.raises(UnknownLayoutError, match="No layout fits") as caught:
        request(state_dir, {"command": "explain"})

    assert ("Look.", {"files": 3}) == (caught.value.hint, caught.value.values)


def test_a_bug_behind_the_socket_is_told_and_does_not_end_it(serve):
    """An exception becomes an answer, and the next caller is served."""

    def stumble(command):
        return {"value": 1 // command["by"]}

    state_dir = serve(stumble)

    with pytest.raises(UnexpectedError, match="ZeroDivisionError"):
        request(state_dir, {"by": 0})
    assert {"value": 1} == request(state_dir, {"by": 1})


def test_a_very_deep_state_directory_works(serve, tmp_path):
    """The address limit of 107 bytes does not bind the state directory."""
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)

    serve(lambda _command: {"ok": True}, deep)

    assert {"ok": True} == request(deep, {"command": "status"})


def test_noise_on_the_socket_harms_nobody(serve, tmp_path):
    """A caller that sends no JSON, or nothing, is hung up on; others are served."""
    serve(lambda _command: {"ok": True})
    for noise in (b"\xff\xfe\n", b"[1,2]\n", b"half a line", b""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect(str(tmp_path / SOCKET_NAME))
            sock.sendall(noise)
            sock.shutdown(socket.SHUT_WR)

            assert b"" == sock.recv(100)

    assert {"ok": True} == request(tmp_path, {"command": "status"})


def test_a_daemon_that_dies_before_the_answer_is_told(tmp_path):
    """A connection closed without an answer is an error, not a hang."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(tmp_path / SOCKET_NAME))
        sock.listen()

        def hang_up():
            caller, _ = sock.accept()
            with caller:
                json.loads(caller.recv(1000))

        thread = threading.Thread(target=hang_up)
        thread.start()

        with pytest.raises(NoDaemonError, match="no answer"):
            request(tmp_path, {"command": "status"})
        thread.join()


def test_closing_removes_the_socket(tmp_path):
    """A clean stop leaves nothing behind."""
    server = ControlServer(tmp_path, lambda _command: {})
    server.start()

    server.close()

    assert [] == list(tmp_path.iterdir())
