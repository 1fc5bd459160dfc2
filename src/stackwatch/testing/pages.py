"""Serve the page on a ledger that was made for it, in this very process and on loopback."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from stackwatch.errors import UsageError
from stackwatch.ledger.ledger import Ledger
from stackwatch.testing.page_worlds import Fill, SteppingClock, World
from stackwatch.web.live import Conversion, PageOptions, Part, Service
from stackwatch.web.server import PageServer

DEADLINE_S = 10.0
STEP_S = 30.0
WORD = "a-word-that-is-long-enough"


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

    def __init__(self, world: World, options: PageOptions) -> None:
        self.world = world
        self.asked: list[dict[str, Any]] = []
        self.parts = (Part("main loop", 0.1, is_alive=True),)
        self.refuse: UsageError | None = None
        self.service = Service(options, self._answer, lambda: self.parts)
        self.server = PageServer(self.service, options.listen)
        await_true(lambda: bool(self.server.address) or not self.server.is_alive)
        assert self.server.address, self.server.failure
        self.client = httpx.Client(base_url=self.url, timeout=DEADLINE_S)

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{self.server.address}"

    def page(self, path: str, status: int = 200) -> str:
        """Return a page's text."""
        answer = self.client.get(path)
        assert status == answer.status_code, answer.text
        return answer.text

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
def serve_page(root: Path, fill: Fill, *, has_actions: bool = False) -> Iterator[PageBench]:
    """Yield a page on a new ledger below `root`."""
    token_file = root / "token"
    token_file.write_text(f"{WORD}\n", encoding="utf-8")
    clock = SteppingClock(time.time() - 400 * STEP_S, STEP_S)
    with Ledger.open(root / "state", clock) as ledger:
        ledger.start()
        world = World(root, ledger)
        snapshot = fill(world)
        clock.at_s, clock.step_s = time.time(), 0.001
        options = PageOptions(
            root / "state", "127.0.0.1:0", has_actions=has_actions, token_file=token_file
        )
        bench = PageBench(world, options)
        bench.service.snapshot = snapshot
        try:
            yield bench
        finally:
            bench.close()


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
