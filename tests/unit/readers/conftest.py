"""Ways to open an image in a test, closed again at its end."""

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
def ramp() -> np.ndarray:
    """Return planes whose values encode their coordinates, shape (6, 40, 60), uint16."""
    z, y, x = np.indices((6, 40, 60))
    values: np.ndarray = (z * 10_000 + y * 100 + x).astype(np.uint16)
    return values
