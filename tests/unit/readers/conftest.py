"""Ways to open an image in a test, closed again at its end."""

import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from stackwatch.readers.probe import open_image
from stackwatch.readers.protocol import SliceReader

OpenPath = Callable[..., SliceReader]
"""From a path, and the number of an image in the file, to its reader."""


@pytest.fixture
def open_path() -> Iterator[OpenPath]:
    """Return a function that opens a file as an image."""
    with ExitStack() as stack:

        def opened(path: Path, scene: int = 0) -> SliceReader:
            file = stack.enter_context(path.open("rb"))
            reader = open_image(file, path.name, scene)
            stack.callback(reader.close)
            return reader

        yield opened


@pytest.fixture
def with_little_memory() -> Iterator[None]:
    """Let this process take half a gigabyte of addresses more than it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 2**29
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def ramp() -> np.ndarray:
    """Return planes whose values encode their coordinates, shape (6, 40, 60), uint16."""
    z, y, x = np.indices((6, 40, 60))
    values: np.ndarray = (z * 10_000 + y * 100 + x).astype(np.uint16)
    return values
