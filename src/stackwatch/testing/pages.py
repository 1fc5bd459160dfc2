"""Serve the page on a ledger that was made for it, in this very process and on loopback."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx

from stackwatch.errors import UsageError
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.reader import LedgerReader
from stackwatch.testing.page_worlds import Fill, SteppingClock, World
from stackwatch.web.live import Conversion, PageOptions, Part, Service, Snapshot
from stackwatch.web.server import PageServer

DEADLINE_S = 10.0
STEP_S = 30.0
READERS = 6
WORD = "a-word-that-is-long-enough"


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What came back, header names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class PageBench:
    """A page that is served, and the parts a test takes hold of.

    Attributes
    ----------
    world : World
    service : Service
        Its snapshot and options may be replaced while the page is served.
    asked : list of dict
        Every command that reached the main thread.
    parts : tuple of Part
        What `/healthz` is told.
    """

    def __init__(self, world: World, options: PageOptions, snapshot: Snapshot) -> None:
        self.world = world
        self.asked: list[dict[str, Any]] = []
        self.parts: tuple[Part, ...] = (Part("main loop", 0.1, is_alive=True),)
        self.refuse: UsageError | None = None
        self.service = Service(options, self._answer, lambda: self.parts)
        self.service.snapshot = snapshot
        self.server = PageServer(self.service, options.listen)
        await_true(lambda: bool(self.server.address) or not self.server.is_alive)
        assert self.server.address, self.server.failure
        self.client = httpx.Client(base_url=self.url, timeout=DEADLINE_S)
        self.page("/metrics")  # the ledger is open from now on, and all is imported

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{self.server.address}"

    def page(self, path: str, status: int = 200) -> str:
        """Return a page's text."""
        answer = self.client.get(path)
        assert status == answer.status_code, answer.text
        return answer.text

    def ask_raw(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        body: bytes | None = None,
    ) -> RawAnswer:
        """Ask for a path exactly as it stands, which no browser and no library would do."""
        with closing(HTTPConnection(self.server.address, timeout=DEADLINE_S)) as connection:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return RawAnswer(answer.status, found, answer.read())

    def document(self, path: str, status: int = 200) -> dict[str, Any]:
        """Return a JSON document."""
        answer = self.client.get(path)
        assert status == answer.status_code, answer.text
        found = answer.json()
        assert isinstance(found, dict)
        return found

    def set_options(self, **values: Any) -> None:
        """Have other settings in force."""
        self.service.options = replace(self.service.options, **values)

    def set_snapshot(self, **values: Any) -> None:
        """Have the main thread tell something else."""
        self.service.snapshot = replace(self.service.snapshot, **values)

    def advance(self, slices: int) -> None:
        """Let each running conversion read so many slices more."""
        self.set_snapshot(
            conversions=tuple(_advanced(one, slices) for one in self.service.snapshot.conversions)
        )

    def sign_in(self, word: str = WORD) -> httpx.Response:
        """Type the word in."""
        return self.client.post("/sign-in", data={"word": word, "next": "/history"})

    def close(self) -> None:
        """End the server."""
        self.client.close()
        self.server.close()
        assert not self.server.is_alive

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(command)
        if self.refuse is not None:
            raise self.refuse
        return {"status": "ok", "acquisition": None}


@contextmanager
def make_world(
    root: Path, fill: Fill, base: Path | None = None
) -> Iterator[tuple[World, Snapshot]]:
    """Yield a new ledger below `root` that is filled, and what the main thread tells of it.

    Its folders are said to lie below `base`, or below `root` too.
    """
    clock = SteppingClock(time.time() - 400 * STEP_S, STEP_S)
    with Ledger.open(root / "state", clock) as ledger:
        ledger.start()
        world = World(root, ledger, base)
        snapshot = fill(world)
        clock.at_s, clock.step_s = time.time(), 0.001
        _warm_up(root / "state")
        yield world, snapshot


def _warm_up(state_dir: Path) -> None:
    """Have SQLite hold the descriptors that the readers of this process are going to need.

    It closes none of a file that another connection of the same process has locked, and takes it
    for the next one: tests would find it left open.
    """
    with ExitStack() as readers:
        for _ in range(READERS):
            readers.enter_context(LedgerReader.open(state_dir))


@contextmanager
def serve_world(
    world: World, snapshot: Snapshot, token_file: Path | None = None
) -> Iterator[PageBench]:
    """Yield a page on a ledger; people may act on it if there is a file for the word."""
    if token_file is not None:
        token_file.write_text(f"{WORD}\n", encoding="utf-8")
    options = PageOptions(
        world.root / "state",
        "127.0.0.1:0",
        has_actions=token_file is not None,
        token_file=token_file,
    )
    bench = PageBench(world, options, snapshot)
    try:
        yield bench
    finally:
        bench.close()


@contextmanager
def serve_page(root: Path, fill: Fill, token_file: Path | None = None) -> Iterator[PageBench]:
    """Yield a page on a new ledger below `root`."""
    with make_world(root, fill) as made, serve_world(*made, token_file) as bench:
        yield bench


def await_true(is_true: Callable[[], bool], timeout_s: float = DEADLINE_S) -> None:
    """Ask again and again until something is true."""
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, f"not true within {timeout_s:g} s"
        time.sleep(0.01)


def _advanced(one: Conversion, slices: int) -> Conversion:
    progress = dict(one.record["progress"])
    progress["done"] = min(progress["total"], progress["done"] + slices)
    return replace(one, record={**one.record, "progress": progress}, seconds=one.seconds + 1)
