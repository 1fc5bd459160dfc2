"""A dataset, a stand-in for WEBKNOSSOS, and a delivery whose waits take no time."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import stackwatch
from stackwatch.model.delivery import (
    Delivered,
    DeliveryProgress,
    DeliveryRequest,
    ServerOptions,
    UploadRecord,
)
from stackwatch.pipeline.deliver import deliver
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer
from stackwatch.testing.webknossos_server import WebknossosServer
from stackwatch.webknossos.patience import Patience, Waiting
from stackwatch.webknossos.token import Token

SENT_MIB = 2000
"""What stands for a mebibyte: small files get several chunks."""
REAL_WAIT_S = 0.01


class SteppedClock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def monotonic(self) -> float:
        """Return seconds."""
        return self.at

    def now(self) -> float:
        """Return seconds."""
        return self.at


@dataclass
class Notebook:
    """A journal that keeps what it hears; `on_record` may end the delivery."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    records: list[UploadRecord] = field(default_factory=list)
    shown: list[DeliveryProgress] = field(default_factory=list)
    on_record: Callable[[UploadRecord], None] = lambda _record: None

    def progress(self, progress: DeliveryProgress) -> None:
        """Keep it."""
        self.shown.append(progress)

    def record(self, record: UploadRecord) -> None:
        """Keep it."""
        self.records.append(record)
        self.on_record(record)

    @property
    def stages(self) -> list[str]:
        """Return the stages in their order."""
        return [record.stage for record in self.records]


@dataclass
class Courier:
    """Delivers one dataset to one server, again and again if need be."""

    server: WebknossosServer
    request: DeliveryRequest
    patience: Patience = Patience()  # noqa: RUF009 - frozen
    slept: list[float] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    def waiting(self, cancelled: threading.Event) -> Waiting:
        """Return waits that move both clocks and take no time."""
        clock = SteppedClock()

        def sleep(seconds: float) -> bool:
            self.slept.append(seconds)
            clock.at += seconds
            self.server.clock.advance(seconds)
            return cancelled.wait(REAL_WAIT_S)

        return Waiting(
            cancelled,
            self.patience,
            clock=clock,
            sleep=sleep,
            draw=lambda: 1.0,
            on_wait=lambda error, _seconds: self.warned.append(error.message),
        )

    def bring(self, notebook: Notebook | None = None, token: str = "", **changes: Any) -> Delivered:
        """Deliver, with the request changed."""
        book = notebook or Notebook()
        return deliver(
            replace(self.request, **changes),
            book,
            token=Token(token or self.server.token),
            waiting=self.waiting(book.cancelled),
        )


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a published dataset: grey values, three mags."""
    folder = tmp_path_factory.mktemp("published")
    layer = SyntheticLayer(shape_zyx=(5, 60, 70), content="em")
    SyntheticAcquisition((layer,)).write(folder / "run_041")
    stackwatch.convert(folder / "run_041", folder / "cells_1", voxel_size_nm=(11, 11, 25))
    return folder / "cells_1"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebknossosServer]:
    """Yield a running server, and see to it that it made no mistake of its own."""
    with WebknossosServer(tmp_path / "wk") as running:
        yield running
        assert [] == running.mishaps


@pytest.fixture
def courier(server: WebknossosServer, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Courier:
    """Return what delivers the dataset in chunks of 2000 bytes."""
    monkeypatch.setattr("stackwatch.webknossos.upload._MIB", SENT_MIB)
    options = ServerOptions(server.url, chunk_mib=1, parallel=3)
    return Courier(server, DeliveryRequest("upload", dataset, "", options))


def sent_tree(root: Path) -> dict[str, bytes]:
    """Return every file below the mags of a dataset, by its path."""
    mags = [path for layer in root.iterdir() if layer.is_dir() for path in layer.iterdir()]
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for mag in mags
        if mag.is_dir()
        for file in sorted(mag.rglob("*"))
        if file.is_file()
    }
