"""SIGTERM at any point: the daemon ends within its stop time-out, and nothing is lost or twice."""

import os
import signal
from pathlib import Path

import pytest

from stackwatch.failpoints import FAILPOINTS
from stackwatch.model.job import JobState
from stackwatch.testing.crashes import (
    Story,
    check_nothing_is_left,
    list_jobs,
    play,
    run_to_the_end,
    until,
)
from stackwatch.testing.service import STAND_IN, ServiceBench

FILES = {f"slice_{z}.tif": bytes([z]) * 100 for z in range(3)}
IN_WORKERS = tuple(
    point for point in FAILPOINTS if point.partition(".")[0] not in ("daemon", "ledger")
)


@pytest.mark.slow
def test_sigterm_in_any_phase_finishes_or_gives_back(tmp_path):
    """C2: asked to stop at each named point, the daemon ends by itself with exit code 0."""
    stories = [stop_story(new_bench(tmp_path / point), point, goes_on=True) for point in FAILPOINTS]

    play(stories)


@pytest.mark.slow
@pytest.mark.system
def test_a_worker_that_hangs_is_killed_when_the_time_is_over(tmp_path):
    """C2, C10: a worker that hears nothing costs the stop time-out, not more; its job is kept."""
    points = ("convert.slice_read", "publish.before_rename", "publish.after_rename")
    assert set(points) <= set(IN_WORKERS)
    stories = [stop_story(new_bench(tmp_path / point), point, goes_on=False) for point in points]

    play(stories)


def stop_story(service: ServiceBench, point: str, *, goes_on: bool) -> Story:
    """Freeze daemon or worker at a point, ask the daemon to stop, let go on what was frozen."""
    try:
        service.drop_acquisition("run_041", FILES)
        service.start(f"{point}:1:freeze", is_awaited=False)
        yield from until(service, lambda: frozen(service.pid) is not None)
        held = frozen(service.pid)
        assert held is not None
        service.signal(signal.SIGTERM)
        if goes_on or held == service.pid:
            os.kill(held, signal.SIGCONT)
        yield from until(service, lambda: not service.is_running())
        assert 0 == service.wait(), service.tail()
        states = [job.state for job in list_jobs(service)]
        assert states in ([JobState.QUEUED], [JobState.SUCCEEDED]), service.tail()
        service.close()
        yield from run_to_the_end(service)
        check_nothing_is_left(service)
        assert b"".join(FILES.values()) == (service.target / "run_041" / "data").read_bytes()
    finally:
        service.close()


def frozen(daemon: int) -> int | None:
    """Return the daemon or the child of it that stands still; None if all run."""
    for pid in (daemon, *children_of(daemon)):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state == "T":
            return pid
    return None


def children_of(pid: int) -> list[int]:
    """Return the child processes of all threads of a process."""
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        return []
    return found


def new_bench(root: Path) -> ServiceBench:
    """Return a bench in a folder of its own, that does not wait long when it stops."""
    root.mkdir()
    return ServiceBench(root, worker=STAND_IN, daemon="stop_timeout_s = 3")
