"""Child processes that read nothing: real processes, really stopped."""

import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackwatch.daemon.children import Child

DEADLINE_S = 30
BIG = "x" * (4 << 20)
"""Twenty times what a socket takes."""

ECHO = """
import os, signal, sys
from stackwatch.daemon.child import connect_to_daemon

channel = connect_to_daemon(sys.argv[1:])
os.kill(os.getpid(), signal.SIGSTOP)
for message in channel.iter_messages():
    channel.send({"number": message["number"], "size": len(message["text"])})
"""

Said = queue.SimpleQueue[dict[str, Any] | None]


@pytest.fixture
def stopped() -> Iterator[tuple[Child, Said]]:
    """Return a child that has stopped itself before it read anything, and what it says."""
    said: Said = queue.SimpleQueue()
    child = Child((sys.executable, "-c", ECHO), lambda _child, message: said.put(message))
    try:
        await_stop(child.pid)
        yield child, said
    finally:
        child.kill()
        child.reap()


def await_stop(pid: int) -> None:
    """Wait until a process has stopped."""
    for _ in range(DEADLINE_S * 20):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return
        threading.Event().wait(0.05)
    raise TimeoutError("it did not stop")


def send_all(child: Child, count: int) -> None:
    """Send so many big messages; whoever waits for the child waits until it is let go."""
    is_late = threading.Event()

    def let_go() -> None:
        is_late.set()
        os.kill(child.pid, signal.SIGCONT)

    timer = threading.Timer(DEADLINE_S, let_go)
    timer.start()
    for number in range(count):
        child.send({"number": number, "text": BIG[number:]})
    timer.cancel()

    assert not is_late.is_set(), "sending waited for the child"


def test_a_stopped_child_holds_nobody_up(stopped):
    """C10: megabytes for a child that reads nothing wait beside us, and arrive in order."""
    child, said = stopped
    send_all(child, 3)

    os.kill(child.pid, signal.SIGCONT)

    echo = [said.get(timeout=DEADLINE_S) for _ in range(3)]
    assert [{"number": number, "size": len(BIG) - number} for number in range(3)] == echo


def test_a_child_that_never_reads_is_buried_with_what_it_was_sent(stopped):
    """C10: killed in the middle of a message: its end is told, and no thread is left."""
    child, said = stopped
    send_all(child, 2)

    child.kill()

    assert said.get(timeout=DEADLINE_S) is None
    assert -signal.SIGKILL == child.reap().code
    names = {thread.name for thread in threading.enumerate()}
    assert f"child-{child.pid}" not in names
    child.send({"number": 0, "text": ""})  # nobody is there, and nothing is raised
