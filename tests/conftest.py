"""Manners that every test keeps, whatever it is about.

The environment is free of settings, and afterwards no thread, no open file and no logging
configuration is left behind. Warnings are errors and a hanging test is stopped with all stacks
shown: both stand in `pyproject.toml`.
"""

import gc
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import structlog

SAMPLES_VARIABLE = "STACKWATCH_SAMPLES"

LASTING_THREADS = (
    "zarr_io",  # zarr-python keeps one event loop for the life of the process
    "asyncio_",  # and that loop's pool of threads
    "zarr-",
    "Dask-Callback-Thread",  # where Dask tells of finished futures
    "pytest_timeout",
)
"""Beginnings of the names of threads that libraries keep on purpose."""

THREAD_GRACE_S = 5.0
"""How long a thread that was told to stop may take to end."""

hypothesis.settings.register_profile("ci", deadline=None, max_examples=60, print_blob=True)
hypothesis.settings.register_profile("nightly", deadline=None, max_examples=2000, print_blob=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what the soak is told."""
    parser.addoption(
        "--minutes", type=float, default=5.0, help="how long the soak writes and kills"
    )
    parser.addoption("--seed", type=int, default=0, help="seed of the soak; 0: one of its own")


def pytest_configure() -> None:
    """Choose how hard hypothesis searches: `HYPOTHESIS_PROFILE=nightly` for the long search."""
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every setting of stackwatch out of the environment; the samples' place stays.

    No daemon of a test serves the status page unless its test says so: they would fight for the
    port.
    """
    for name in list(os.environ):
        if name.startswith("STACKWATCH_") and name != SAMPLES_VARIABLE:
            monkeypatch.delenv(name)
    monkeypatch.setenv("STACKWATCH_WEB__LISTEN", "")


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Put logging back as it was, so that no test writes through another's configuration."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    """Fail a test that leaves a thread running."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + THREAD_GRACE_S
    for thread in _strangers(before):
        thread.join(max(0.0, deadline - time.monotonic()))
    leaked = [thread.name for thread in _strangers(before)]

    assert not leaked, "threads left running"


@pytest.fixture(autouse=True)
def no_open_files() -> Iterator[None]:
    """Fail a test that leaves a file open."""
    before = _open_files()
    yield
    leaked = _open_files() - before
    if leaked:
        # a reference cycle holds a file until the next collection: slow, so only in doubt
        gc.collect()
        leaked = _open_files() - before

    assert not leaked, "files left open"


@pytest.fixture(scope="session")
def samples() -> Path:
    """Return the folder of real vendor files, or skip by name where it is not given."""
    place = os.environ.get(SAMPLES_VARIABLE)
    if not place:
        pytest.skip(f"{SAMPLES_VARIABLE} is not set: no real vendor files")
    path = Path(place).resolve()
    if not path.is_dir():
        pytest.fail(f"{SAMPLES_VARIABLE} is “{place}”, which is no folder")
    return path


def _strangers(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before and not thread.name.startswith(LASTING_THREADS)
    ]


def _open_files() -> set[tuple[int, str]]:
    """Return number and path of every open regular file or folder of this process."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            place = str(entry.readlink())
        except FileNotFoundError:
            continue  # the descriptor of this very listing
        if place.startswith("/") and not place.startswith(("/dev/", "/proc/")):
            found.add((int(entry.name), place))
    return found
