"""Worker processes: real processes, real signals, a scripted conversion inside."""

import queue
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from stackwatch.daemon.workers import FactReported, Order, Worker, WorkerEnded, WorkerEvent
from stackwatch.errors import (
    CancelledError,
    MissingSlicesError,
    TargetExistsError,
    UnexpectedError,
    WorkerKilledError,
)
from stackwatch.model.job import JobId
from stackwatch.pipeline.convert import ConvertRequest

DEADLINE_S = 30

PREAMBLE = """
import os, signal, sys, threading, time
from pathlib import Path
from stackwatch.daemon.child import connect_to_daemon
from stackwatch.daemon.worker_main import serve
from stackwatch.errors import *
from stackwatch.model.result import ConvertResult, Progress
from stackwatch.pipeline.journal import PublishFact

def fact(request, stage="publishing"):
    return PublishFact(stage, request.target, request.target, "run-1", "digest-1")

def result():
    return ConvertResult((), "sequence", "digest-1", 10, 20, 0.5, 64.0)

"""


@pytest.fixture
def start(tmp_path: Path):
    """Start workers whose conversion is the given body; none outlives the test."""
    workers = []

    def start_worker(body: str):
        script = tmp_path / "stand_in.py"
        code = "def convert(request, journal, cancelled):\n" + textwrap.indent(
            textwrap.dedent(body), "    "
        )
        script.write_text(
            PREAMBLE + code + "\nsys.exit(serve(connect_to_daemon(sys.argv[1:]), convert, None))\n"
        )
        inbox: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
        request = ConvertRequest(tmp_path / "in", tmp_path / "out", staging_name="7-2")
        order = Order(JobId(7), 2, request, {"job_id": 7}, {})
        worker = Worker(order, inbox.put, (sys.executable, str(script)))
        workers.append(worker)
        return worker, inbox

    yield start_worker
    for worker in workers:
        worker.kill()
        worker.outcome()


def await_event(inbox, kind):
    """Return the next event, which must be of this kind."""
    event = inbox.get(timeout=DEADLINE_S)

    assert isinstance(event, kind), event
    return event


def test_a_result_comes_back_with_the_peak_memory(start):
    """The request reaches the conversion, its result and the kernel's figures come back."""
    worker, inbox = start(
        'assert request.staging_name == "7-2"; assert request.source.name == "in"\nreturn result()'
    )

    await_event(inbox, WorkerEnded)
    outcome = worker.outcome()

    assert outcome.error is None
    assert ("digest-1", 0) == (outcome.result["content_digest"], outcome.exit.code)
    assert outcome.exit.peak_mib > 1


def test_a_fact_waits_for_its_acknowledgement(start):
    """The conversion goes on only after the daemon has agreed."""
    worker, inbox = start(
        """
        journal.record(fact(request))
        request.target.write_text("published")
        return result()
        """
    )

    reported = await_event(inbox, FactReported)
    assert ("publishing", "run-1") == (reported.fact.stage, reported.fact.run_id)
    assert not reported.fact.dataset_path.exists()
    worker.acknowledge(reported)

    await_event(inbox, WorkerEnded)
    assert worker.outcome().error is None
    assert "published" == reported.fact.dataset_path.read_text()


def test_a_refused_fact_ends_the_conversion_with_the_daemons_error(start):
    """The refusal is raised at the conversion, of the same class."""
    worker, inbox = start("journal.record(fact(request)); return result()")

    worker.refuse(await_event(inbox, FactReported), TargetExistsError("taken", hint="rename"))

    await_event(inbox, WorkerEnded)
    error = worker.outcome().error
    assert isinstance(error, TargetExistsError)
    assert ("taken", "rename") == (error.message, error.hint)


def test_domain_errors_and_bugs_come_back_as_errors(start):
    """A StackwatchError keeps class and values; anything else is a bug of ours with its place."""
    worker, inbox = start('raise MissingSlicesError("4 missing", slices=[4])')
    await_event(inbox, WorkerEnded)
    error = worker.outcome().error
    assert isinstance(error, MissingSlicesError)
    assert {"slices": [4]} == error.values

    worker, inbox = start("return {}[3]")
    await_event(inbox, WorkerEnded)
    error = worker.outcome().error
    assert isinstance(error, UnexpectedError)
    assert re.search(r"KeyError in stand_in\.py, convert, line \d+: 3\.", error.message)


@pytest.mark.parametrize(
    ("death", "code", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -9, "killed by SIGKILL"),
        # as libraries end a process over damaged bytes
        ("os.kill(os.getpid(), signal.SIGFPE)", -8, "killed by SIGFPE"),
        ("os.abort()", -6, "killed by SIGABRT"),
        ("os._exit(3)", 3, "exit code 3"),
    ],
)
def test_a_worker_that_dies_is_reported_with_its_signal(start, death, code, words):
    """An end without a word is an error of its own, with how it ended."""
    worker, inbox = start(death)

    await_event(inbox, WorkerEnded)
    error = worker.outcome().error

    assert isinstance(error, WorkerKilledError)
    assert code == error.values["exit_code"]
    assert words in error.message


def test_a_worker_that_asks_for_too_much_is_refused_by_the_kernel():
    """C11, C13: far beyond its budget an allocation fails, and the machine does not notice."""
    code = (
        "from stackwatch.daemon.worker_main import limit_memory\n"
        "limit_memory(0.01)\n"
        "try:\n    bytearray(16 << 30)\nexcept MemoryError:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert "refused\n" == done.stdout


def test_a_worker_without_memory_is_tried_again_smaller(start):
    """C11: a `MemoryError` counts as a killed worker: half the memory the next time."""
    worker, inbox = start("raise MemoryError")
    await_event(inbox, WorkerEnded)

    assert isinstance(worker.outcome().error, WorkerKilledError)


def test_stop_reaches_the_conversion(start):
    """The wish to stop sets the event the engine looks at."""
    worker, inbox = start(
        """
        journal.record(fact(request))
        assert cancelled.wait(30)
        raise CancelledError()
        """
    )
    reported = await_event(inbox, FactReported)
    worker.stop()
    worker.acknowledge(reported)

    await_event(inbox, WorkerEnded)
    assert isinstance(worker.outcome().error, CancelledError)


def test_killing_ends_the_whole_group(start, tmp_path):
    """What the worker started dies with it."""
    worker, inbox = start(
        """
        import subprocess
        child = subprocess.Popen(["sleep", "1000"])
        request.target.write_text(str(child.pid))
        journal.record(fact(request))
        """
    )
    await_event(inbox, FactReported)
    grandchild = int((tmp_path / "out").read_text())

    worker.kill()
    await_event(inbox, WorkerEnded)
    worker.outcome()

    assert await_gone(grandchild)


def test_progress_is_kept_beside_the_inbox(start):
    """Only the newest progress is held, and it blocks nobody."""
    worker, inbox = start(
        """
        for done in range(100_000):
            journal.progress(Progress("converting", done=done))
        cancelled.wait(1.2)  # two rounds of the sender
        journal.record(fact(request))
        return result()
        """
    )

    worker.acknowledge(await_event(inbox, FactReported))
    await_event(inbox, WorkerEnded)
    worker.outcome()

    assert 99_999 == worker.progress["done"]


def test_the_worker_is_first_in_line_when_memory_runs_out(start):
    """C11: the kernel is told to prefer the worker to the daemon."""
    worker, inbox = start(
        """
        raise MissingSlicesError(Path("/proc/self/oom_score_adj").read_text().strip())
        """
    )
    await_event(inbox, WorkerEnded)

    assert int(worker.outcome().error.message) > int(Path("/proc/self/oom_score_adj").read_text())


ORPHAN_MAKER = """
import os, sys, signal
from pathlib import Path
from stackwatch.daemon.workers import Order, Worker
from stackwatch.pipeline.convert import ConvertRequest
from stackwatch.model.job import JobId
place = Path(sys.argv[1])
def post(event):
    Path(place / "worker.pid").write_text(str(event.worker.pid))
    os.kill(os.getpid(), signal.SIGKILL)
order = Order(JobId(1), 1, ConvertRequest(place / "in", place / "out"), {}, {})
worker = Worker(order, post, (sys.executable, str(place / "stand_in.py")))
signal.pause()
"""


def test_a_worker_whose_daemon_was_killed_never_publishes(tmp_path):
    """Kill -9 of the daemon while a worker waits: the worker dies and publishes nothing."""
    (tmp_path / "stand_in.py").write_text(
        PREAMBLE
        + textwrap.dedent(
            """
            def convert(request, journal, cancelled):
                journal.record(fact(request))
                request.target.write_text("published")
                return result()
            sys.exit(serve(connect_to_daemon(sys.argv[1:]), convert, None))
            """
        )
    )
    (tmp_path / "daemon.py").write_text(ORPHAN_MAKER)

    done = subprocess.run(
        [sys.executable, tmp_path / "daemon.py", tmp_path], timeout=DEADLINE_S, check=False
    )

    assert -signal.SIGKILL == done.returncode
    assert await_gone(int((tmp_path / "worker.pid").read_text()))
    assert not (tmp_path / "out").exists()


def test_without_the_kernels_help_the_end_of_the_socket_stops_a_worker(tmp_path):
    """A worker that outlives its daemon is refused at the next fact."""
    script = tmp_path / "stand_in.py"
    script.write_text(
        PREAMBLE
        + textwrap.dedent(
            """
            import socket
            from stackwatch.daemon.channel import Channel
            def convert(request, journal, cancelled):
                request.source.touch()
                assert cancelled.wait(30)
                try:
                    journal.record(fact(request))
                except CancelledError:
                    request.target.write_text("refused")
                    raise
            sys.exit(serve(Channel(socket.socket(fileno=int(sys.argv[1]))), convert, None))
            """
        )
    )
    inbox: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
    order = Order(JobId(1), 1, ConvertRequest(tmp_path / "in", tmp_path / "out"), {}, {})
    worker = Worker(order, inbox.put, (sys.executable, str(script)))
    until_s = time.monotonic() + DEADLINE_S
    while not order.request.source.exists():
        assert time.monotonic() < until_s
        time.sleep(0.05)

    worker._child.channel.shut_down()

    await_event(inbox, WorkerEnded)
    assert 1 == worker.outcome().exit.code
    assert "refused" == (tmp_path / "out").read_text()


def await_gone(pid: int) -> bool:
    """Wait until a process is gone (a zombie of somebody else's counts as gone)."""
    for _ in range(DEADLINE_S * 20):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        threading.Event().wait(0.05)
    return False
