"""Errands: real processes that answer, fail, hang and die; a clock of our own."""

import contextlib
import queue
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackwatch.daemon.errands import IDLE_S, KILL_GRACE_S, Errands, ErrandSaid, Unanswered
from stackwatch.daemon.room import Room, probe_room

DEADLINE_S = 30

HANGING = """
import signal, sys
from stackwatch.daemon.child import connect_to_daemon
channel = connect_to_daemon(sys.argv[1:])
for message in channel.iter_messages():
    signal.pause()
"""


class FakeClock:
    """A clock that only a test moves."""

    seconds = 0.0

    def monotonic(self) -> float:
        """Return the time set."""
        return self.seconds

    def now(self) -> float:
        """Return the time set."""
        return self.seconds


class Bench:
    """Errands with their inbox and their clock."""

    def __init__(self, command: tuple[str, ...] | None = None) -> None:
        self.clock = FakeClock()
        self.inbox: queue.SimpleQueue[ErrandSaid] = queue.SimpleQueue()
        more: dict[str, Any] = {"command": command} if command is not None else {}
        self.errands = Errands(self.inbox.put, self.clock, **more)
        self.answers: list[Any] = []

    def ask(self, place: Path) -> None:
        """Have a target looked at."""
        self.errands.ask(place, probe_room, place, self.answers.append, 30.0)

    def take(self) -> None:
        """Act upon the next thing that is said."""
        self.errands.take(self.inbox.get(timeout=DEADLINE_S))

    def close(self) -> None:
        """Leave no process behind."""
        self.errands.close()
        while self.errands.has_children:
            self.take()


@pytest.fixture
def errands() -> Iterator[Bench]:
    """Errands with the real process."""
    with contextlib.closing(Bench()) as made:
        yield made


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Bench]:
    """Errands whose process takes everything and answers nothing."""
    script = tmp_path / "hanging.py"
    script.write_text(textwrap.dedent(HANGING))
    with contextlib.closing(Bench((sys.executable, str(script)))) as made:
        yield made


def test_an_errand_brings_its_answer(errands, tmp_path):
    """A function of ours is called elsewhere, and its record comes back."""
    errands.ask(tmp_path)
    errands.ask(tmp_path / "missing")
    errands.take()
    errands.take()

    first, second = errands.answers
    assert isinstance(first, Room)
    assert first.device == tmp_path.stat().st_dev
    assert "No such file" in second.obstacle


def test_an_errand_that_fails_says_why(errands, tmp_path):
    """An exception in the work is an answer too, and the process goes on."""
    errands.errands.ask(tmp_path, explode, tmp_path, errands.answers.append)
    errands.ask(tmp_path)
    errands.take()
    errands.take()

    failed, fine = errands.answers
    assert isinstance(failed, Unanswered)
    assert isinstance(fine, Room)


def explode(place: Path) -> Room:
    """Fail; this module cannot even be imported over there."""
    raise AssertionError(place)


def test_a_target_that_hangs_is_given_up(hanging, tmp_path):
    """C10: after the deadline the answer is that there is none; others are not held up."""
    hanging.ask(tmp_path)
    hanging.ask(tmp_path / "behind")
    hanging.errands.tick()
    assert [] == hanging.answers

    hanging.clock.seconds = 31.0
    hanging.errands.tick()

    (late,) = hanging.answers
    assert isinstance(late, Unanswered)
    assert "did not answer within 30 s" in late.reason


def test_a_process_that_cannot_be_killed_is_not_waited_for(hanging, tmp_path, monkeypatch):
    """C10: hung in the kernel: what waits behind it is told, and the end does not wait."""
    hanging.ask(tmp_path)
    hanging.ask(tmp_path)
    (runner,) = hanging.errands._runners.values()
    with monkeypatch.context() as patched:
        patched.setattr(runner.child, "kill", lambda: None)
        hanging.clock.seconds = 31.0
        hanging.errands.tick()
        hanging.errands.tick()
        assert 1 == len(hanging.answers)
        hanging.clock.seconds += KILL_GRACE_S
        hanging.errands.tick()

    assert 2 == len(hanging.answers)
    runner.child.kill()


def test_a_process_that_dies_is_replaced(errands, tmp_path):
    """The errand it had is unanswered; the next one is done by a new process."""
    errands.ask(tmp_path)
    errands.take()
    (runner,) = errands.errands._runners.values()
    runner.child.kill()
    errands.take()
    assert not errands.errands.has_children

    errands.ask(tmp_path)
    errands.take()

    assert 2 == len([answer for answer in errands.answers if isinstance(answer, Room)])


def test_an_idle_process_is_sent_home(errands, tmp_path):
    """A process without errands ends after a while, and one is there again when needed."""
    errands.ask(tmp_path)
    errands.take()
    errands.clock.seconds += IDLE_S
    errands.errands.tick()
    errands.ask(tmp_path)
    errands.take()
    errands.take()

    assert 2 == len(errands.answers)
