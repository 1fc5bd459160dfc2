"""Pages on ledgers made for them; one server for all tests that leave it in peace."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stackwatch.testing.page_worlds import World, fill_busy, fill_failed
from stackwatch.testing.pages import PageBench, make_world, serve_world
from stackwatch.web.live import Snapshot

Made = tuple[World, Snapshot]


@pytest.fixture(scope="package")
def busy_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Make the ledger of a busy service."""
    with make_world(tmp_path_factory.mktemp("busy"), fill_busy) as made:
        yield made


@pytest.fixture(scope="package")
def failed_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Make the ledger of a service with every kind of failure."""
    with make_world(tmp_path_factory.mktemp("failed"), fill_failed) as made:
        yield made


@pytest.fixture(scope="package")
def busy(busy_world: Made) -> Iterator[PageBench]:
    """Serve a busy service, for looking at."""
    with serve_world(*busy_world) as bench:
        yield bench


@pytest.fixture(scope="package")
def failed(failed_world: Made) -> Iterator[PageBench]:
    """Serve a service with every kind of failure, for looking at."""
    with serve_world(*failed_world) as bench:
        yield bench


@pytest.fixture
def own(busy_world: Made) -> Iterator[PageBench]:
    """Serve a page of the busy service that the test may change and end."""
    with serve_world(*busy_world) as bench:
        yield bench


@pytest.fixture
def acting(failed_world: Made, tmp_path: Path) -> Iterator[PageBench]:
    """Serve a page on which people may act."""
    with serve_world(*failed_world, tmp_path / "token") as bench:
        yield bench
