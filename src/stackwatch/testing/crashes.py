"""Stories of crashes: a daemon is killed at named points, started again, and has to cope.

A story is a generator that yields while it waits, so that a test plays several side by side in one
thread: most of a story is waiting.
"""

import contextlib
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path

from stackwatch.daemon.staging import read_run_id
from stackwatch.errors import StackwatchError
from stackwatch.ledger.reader import LedgerReader
from stackwatch.ledger.records import DatasetRecord, Job
from stackwatch.model.job import AcquisitionState, DatasetState, JobState
from stackwatch.testing.service import ServiceBench

Story = Generator[None, None, None]
Contents = Mapping[Path, tuple[bytes, int, int]]

DEADLINE_S = 90.0
AT_ONCE = 6

_OVER = object()
_AT_WORK = (JobState.QUEUED, JobState.CLAIMED, JobState.WAITING)


def crash_story(
    service: ServiceBench,
    failpoints: Iterable[str],
    drop: Callable[[], object],
    *,
    publishes: int = 1,
) -> Story:
    """Kill at each point in turn, then run to the end and check what is left.

    Parameters
    ----------
    service : ServiceBench
        Not running; its source lies in `drop` when `drop` was called.
    failpoints : iterable of str
        The first must be reached; the others may not be, where the first was late.
    drop : callable
        Puts an acquisition into the drop folder, or changes one.
    publishes : int
        How many jobs succeed until the story is over.
    """
    try:
        drop()
        source = read_tree(service.drop)
        for number, failpoint in enumerate(failpoints):
            yield from run_into(service, failpoint, publishes, is_sure=number == 0)
        yield from run_to_the_end(service, publishes)
        check_nothing_is_left(service)
        assert source == read_tree(service.drop), "the source was touched"
    finally:
        service.close()


def run_into(service: ServiceBench, failpoint: str, publishes: int, *, is_sure: bool) -> Story:
    """Run the daemon until a kill at this point; then the daemon is dead in any case."""
    kills = count_killed_workers(service)
    service.start(failpoint, is_awaited=False)

    def is_over() -> bool:
        if not service.is_running() or count_killed_workers(service) > kills:
            return True
        return has_succeeded(service, publishes)

    yield from until(service, is_over)
    if is_sure:
        was_reached = not service.is_running() or count_killed_workers(service) > kills
        assert was_reached, f"{failpoint} was never reached; {service.tail()}"
    service.close()


def run_to_the_end(service: ServiceBench, publishes: int = 1) -> Story:
    """Run the daemon until so many jobs have succeeded, then stop it."""
    service.start(is_awaited=False)
    yield from until(service, lambda: service.status() is not None)
    yield from until(service, lambda: has_succeeded(service, publishes))
    assert service.stop() == 0, service.tail()


def has_succeeded(service: ServiceBench, publishes: int = 1) -> bool:
    """Tell whether all is done; a job that waits after a kill is retried at once."""
    jobs = list_jobs(service)
    for job in jobs:
        if job.state is JobState.WAITING:
            with contextlib.suppress(StackwatchError):  # it may die of this, or have begun already
                service.ask("retry", job=job.job_id)
    is_working = any(job.state in _AT_WORK for job in jobs)
    return not is_working and publishes <= sum(job.state is JobState.SUCCEEDED for job in jobs)


def list_jobs(service: ServiceBench) -> tuple[Job, ...]:
    """Return all jobs, the newest first; none while the daemon is just making the ledger."""
    try:
        with LedgerReader.open(service.state_dir) as reader:
            return reader.list_jobs()
    except (StackwatchError, sqlite3.Error):
        return ()


def list_datasets(service: ServiceBench) -> list[DatasetRecord]:
    """Return every dataset that the ledger knows, the oldest first."""
    with LedgerReader.open(service.state_dir) as reader:
        details = [reader.show_job(job.job_id) for job in reversed(reader.list_jobs())]
    return [dataset for one in details if one is not None for dataset in one.datasets]


def count_killed_workers(service: ServiceBench) -> int:
    """Return how often the daemon has noticed that a worker was killed."""
    lines = service.events("worker.stopped")
    return sum(1 for line in lines if str(line["reason"]).startswith("killed by"))


def until(service: ServiceBench, is_true: Callable[[], bool]) -> Story:
    """Yield until something is true; show the log if it never is."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, service.tail()
        yield


def play(stories: Iterable[Story], at_once: int = AT_ONCE) -> None:
    """Play stories side by side, a few at a time, in this one thread."""
    waiting = iter(stories)
    playing = list(itertools.islice(waiting, at_once))
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


def check_nothing_is_left(service: ServiceBench) -> None:
    """Check what holds after every story, whatever happened in it.

    Each acquisition has its current datasets, those that the ledger names stand at their places,
    no generation has one of them twice, nobody has a claim, and staging is empty.
    """
    check_ledger(service.state_dir / "ledger.db")
    assert not any(job.state is JobState.CLAIMED for job in list_jobs(service)), service.tail()
    with LedgerReader.open(service.state_dir) as reader:
        acquisitions = reader.list_acquisitions()
    datasets = list_datasets(service)
    done = [one for one in datasets if one.state is not DatasetState.ABANDONED]
    assert len({(one.key, one.generation, one.path) for one in done}) == len(done), service.tail()
    current = [one for one in done if one.state is DatasetState.PUBLISHED]
    published = [one.key for one in acquisitions if one.state is AcquisitionState.PUBLISHED]
    assert sorted(published) == sorted({one.key for one in current}), service.tail()
    for one in current:
        assert read_run_id(one.path) == one.run_id, service.tail()
    assert sorted({one.path.name for one in done}) == service.datasets(), service.tail()


def check_ledger(path: Path) -> None:
    """Let SQLite look at the whole file."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


def read_tree(folder: Path) -> Contents:
    """Return the bytes, the date and the inode of every file below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            facts = path.stat()
            found[path] = (path.read_bytes(), facts.st_mtime_ns, facts.st_ino)
    return found
