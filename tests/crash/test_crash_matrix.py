"""Kill -9 is a supported way to stop: at every named point, alone and in pairs.

Afterwards: the ledger is consistent, exactly one dataset is published, with the right content and
known to the ledger, and neither half a dataset nor staging is left.
"""

import contextlib
import itertools
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from stackwatch.daemon.staging import read_run_id
from stackwatch.errors import StackwatchError
from stackwatch.failpoints import FAILPOINTS
from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.job import JobState
from stackwatch.pipeline.verify import verify_dataset
from stackwatch.testing.service import STAND_IN, ServiceBench

DEADLINE_S = 90.0
AT_ONCE = 4
"""Stories played side by side: most of a story is waiting."""

PAIRS = random.Random(20).sample(list(itertools.product(FAILPOINTS, repeat=2)), 30)
FILES = {f"slice_{z}.tif": bytes([z]) * 100 for z in range(3)}

_OVER = object()

Story = Generator[None, None, None]


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_a_kill_at_any_point_costs_nothing_but_time(tmp_path, failpoint):
    """The real conversion, killed once at a named point, then started again."""
    service = ServiceBench(tmp_path, worker=None)
    stack_zyx = np.arange(3 * 9 * 7, dtype=np.uint8).reshape(3, 9, 7)
    play([crash_story(service, [failpoint], lambda: drop_stack(service, stack_zyx))])

    verify_dataset(service.target / "run_041")
    stored = zarr.open_array(service.target / "run_041" / "color" / "1", mode="r")
    np.testing.assert_array_equal(stack_zyx.transpose(2, 1, 0), np.asarray(stored[0]))


@pytest.mark.slow
def test_two_kills_one_after_the_other_cost_nothing_but_time(tmp_path):
    """Thirty seeded pairs of points: killed at the first, started, killed at the second."""
    stories = []
    for number, pair in enumerate(PAIRS):
        (tmp_path / str(number)).mkdir()
        service = ServiceBench(tmp_path / str(number), worker=STAND_IN)
        drop = lambda service=service: service.drop_acquisition("run_041", FILES)  # noqa: E731
        stories.append(crash_story(service, list(pair), drop))

    play(stories)

    for number in range(len(PAIRS)):
        data = (tmp_path / str(number) / "target" / "run_041" / "data").read_bytes()
        assert b"".join(FILES.values()) == data


def test_killing_worker_and_daemon_together_costs_nothing_but_time(tmp_path):
    """Both die in the middle of the publishing; the next start finds out what happened."""
    service = ServiceBench(tmp_path, worker=STAND_IN)
    points = ["publish.before_rename", "publish.after_rename"]

    play([crash_story(service, points, lambda: service.drop_acquisition("run_041", FILES))])

    assert b"".join(FILES.values()) == (service.target / "run_041" / "data").read_bytes()


# ---------------------------------------------------------------- the story of a crash


def crash_story(service: ServiceBench, failpoints: list[str], drop: Callable[[], object]) -> Story:
    """Kill at each point in turn, then run to the end and check what is left.

    A step of the story that is not over yet yields.
    """
    try:
        drop()
        for number, failpoint in enumerate(failpoints):
            yield from run_into(service, failpoint, is_sure=number == 0)
        service.start(is_awaited=False)
        yield from until(service, lambda: service.status() is not None)
        yield from until(service, lambda: has_succeeded(service, is_pressed=True))
        assert 0 == service.stop()
        check_aftermath(service)
    finally:
        service.close()


def run_into(service: ServiceBench, failpoint: str, *, is_sure: bool) -> Story:
    """Run the daemon until a kill at this point; then the daemon is dead in any case."""
    kills = count_killed_workers(service)
    service.start(failpoint, is_awaited=False)

    def is_over() -> bool:
        if not service.is_running() or count_killed_workers(service) > kills:
            return True
        return has_succeeded(service, is_pressed=True)

    yield from until(service, is_over)
    if is_sure:
        was_reached = not service.is_running() or count_killed_workers(service) > kills
        assert was_reached, f"{failpoint} was never reached"
    service.close()


def has_succeeded(service: ServiceBench, *, is_pressed: bool) -> bool:
    """Tell whether the job is done; if pressed, a job that waits after a kill is retried now."""
    try:
        with LedgerReader.open(service.state_dir) as reader:
            jobs = reader.list_jobs()
    except (StackwatchError, sqlite3.Error):  # the daemon is just making the ledger
        return False
    if jobs and jobs[0].state is JobState.WAITING and is_pressed and service.status():
        with contextlib.suppress(StackwatchError):  # it may die of this, or have begun already
            service.ask("retry", job=jobs[0].job_id)
    return bool(jobs) and jobs[0].state is JobState.SUCCEEDED


def count_killed_workers(service: ServiceBench) -> int:
    """Return how often the daemon has noticed that a worker was killed."""
    lines = service.events("worker.stopped")
    return sum(1 for line in lines if line["reason"].startswith("killed by"))


def until(service: ServiceBench, is_true: Callable[[], bool]) -> Story:
    """Yield until something is true; show the log if it never is."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, service.tail()
        yield


def play(stories: list[Story]) -> None:
    """Play stories side by side, a few at a time, in this one thread."""
    waiting = iter(stories)
    playing = list(itertools.islice(waiting, AT_ONCE))
    pause = threading.Event()
    try:
        while playing:
            for story in list(playing):
                if next(story, _OVER) is _OVER:
                    playing.remove(story)
                    playing += itertools.islice(waiting, 1)
            pause.wait(0.02)
    finally:
        for story in playing:
            story.close()


# ---------------------------------------------------------------- the aftermath


def check_aftermath(service: ServiceBench) -> None:
    """Check that one dataset is there, that the ledger knows it, and that nothing else is left."""
    assert ["run_041"] == service.datasets(), service.tail()
    with LedgerReader.open(service.state_dir) as reader:
        (job,) = reader.list_jobs()
        (acquisition,) = reader.list_acquisitions()
        details = reader.show_job(job.job_id)
    assert details is not None
    assert ("succeeded", "published") == (str(job.state), str(acquisition.state))
    states = sorted(str(dataset.state) for dataset in details.datasets)
    assert ["published"] == [state for state in states if state != "abandoned"]
    (dataset,) = [dataset for dataset in details.datasets if str(dataset.state) == "published"]
    assert read_run_id(service.target / "run_041") == dataset.run_id
    check_ledger(service.state_dir / "ledger.db")


def check_ledger(path: Path) -> None:
    """Let SQLite look at the whole file."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
        assert [] == connection.execute("PRAGMA foreign_key_check").fetchall()
    connection.close()


def drop_stack(service: ServiceBench, stack_zyx: np.ndarray) -> None:
    """Drop a numbered sequence of TIFFs."""
    built = service.root / "building"
    built.mkdir()
    for z, slice_yx in enumerate(stack_zyx):
        tifffile.imwrite(built / f"slice_{z}.tif", slice_yx)
    built.rename(service.drop / "run_041")
