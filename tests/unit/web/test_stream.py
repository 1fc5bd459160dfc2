"""Open pages: what has changed comes by itself, and an open page never holds up the end."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stackwatch.testing.pages import PageBench, await_true
from stackwatch.web.live import PageOptions, Service
from stackwatch.web.server import PageServer


def iter_events(answer: httpx.Response) -> Iterator[dict[str, str]]:
    """Yield the sections of each event of a stream."""
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def test_progress_comes_by_itself(own: PageBench):
    """First everything, then only the sections that have changed."""
    with own.client.stream("GET", "/live?page=/") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = iter_events(answer)
        first = next(events)
        assert {"converting", "settling", "queue", "folders", "service"} <= first.keys()
        assert "412 of 1,200 slices" in first["converting"]

        own.advance(100)
        second = next(events)

    assert "512 of 1,200 slices" in second["converting"]
    assert "folders" not in second


def test_what_is_recorded_comes_by_itself(own: PageBench):
    """A new acquisition in the ledger appears on the open page."""
    with own.client.stream("GET", "/live?page=/") as answer:
        events = iter_events(answer)
        next(events)
        own.world.settle("em1", "brand_new")
        assert any("brand_new" in event.get("settling", "") for event in events)


def test_a_page_that_is_not_live_has_no_stream(own: PageBench):
    """Only pages that change can be followed."""
    for page in ("/history", "/jobs/999", "/nothing", "", "/jobs/1/2"):
        assert 404 == own.client.get("/live", params={"page": page}).status_code


def test_the_head_of_a_stream_comes_to_an_end(own: PageBench):
    """Who asks for the head alone gets it, and no stream goes on behind it."""
    answer = own.client.head("/live?page=/")

    assert 200 == answer.status_code
    assert 200 == own.client.get("/healthz").status_code


def test_only_so_many_pages_are_followed(own: PageBench, monkeypatch: pytest.MonkeyPatch):
    """Beyond the limit one is told to come again; a page that is left makes room for another."""
    monkeypatch.setattr("stackwatch.web.app.STREAMS_MAX", 2)
    for _ in range(2):
        with (
            own.client.stream("GET", "/live?page=/jobs/1") as first,
            own.client.stream("GET", "/live?page=/") as second,
        ):
            held = [iter_events(first), iter_events(second)]
            assert all(next(events) for events in held)
            assert 503 == own.client.get("/live?page=/").status_code

        def has_room() -> bool:
            with own.client.stream("GET", "/live?page=/") as answer:
                return answer.status_code == 200

        await_true(has_room)
        await_true(has_room)


def test_an_open_page_does_not_hold_up_the_end(own: PageBench):
    """With streams and idle connections open the server ends in less than two seconds."""
    seen: list[dict[str, Any]] = []

    def follow() -> None:
        with own.client.stream("GET", "/live?page=/") as answer:
            seen.extend(iter_events(answer))

    followers = [threading.Thread(target=follow) for _ in range(3)]
    for follower in followers:
        follower.start()
    await_true(lambda: len(seen) >= 3)

    began_s = time.monotonic()
    own.server.close()
    took_s = time.monotonic() - began_s

    for follower in followers:
        follower.join(5)
    assert not any(follower.is_alive() for follower in followers)
    assert took_s < 2
    assert own.server.failure is None


def test_a_taken_address_is_a_failure_and_no_crash(own: PageBench, tmp_path: Path):
    """Who cannot have the address says so; the thread ends."""
    options = PageOptions(tmp_path / "state", own.server.address)
    second = PageServer(Service(options, lambda _: {}, tuple), own.server.address)
    await_true(lambda: not second.is_alive)

    assert isinstance(second.failure, OSError)
    assert "" == second.address
    second.close()


def test_the_server_tells_that_it_is_alive(own: PageBench):
    """Its own loop beats, so that a loop that hangs is noticed."""
    beats: list[float] = []
    own.service.beat = lambda: beats.append(time.monotonic())

    await_true(lambda: bool(beats))


def test_a_page_without_a_ledger_says_so(tmp_path: Path):
    """Before the ledger can be read the page answers 503 in words, and 200 afterwards."""
    options = PageOptions(tmp_path / "state", "127.0.0.1:0")
    server = PageServer(Service(options, lambda _: {}, tuple), options.listen)
    try:
        await_true(lambda: bool(server.address))
        answer = httpx.get(f"http://{server.address}/")
        assert 503 == answer.status_code
        assert "no ledger" in answer.text
        assert 200 == httpx.get(f"http://{server.address}/healthz").status_code
    finally:
        server.close()
