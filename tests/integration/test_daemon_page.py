"""The page of a running daemon: it is there, it is true, and it is never in the way."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stackwatch.testing.service import ServiceBench, bench


def address_of(service: ServiceBench) -> str:
    """Return where the page is served, as the log tells."""
    service.wait_until(lambda: bool(service.events("page.started")))
    return str(service.events("page.started")[-1]["listen"])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceBench]:
    """Run a daemon with a page on a port that is free."""
    with bench(tmp_path, web='listen = "127.0.0.1:0"') as made:
        made.start()
        yield made


def test_the_page_tells_what_the_daemon_does(service: ServiceBench):
    """What is dropped appears, is published, and its story can be read; health and metrics too."""
    with httpx.Client(base_url=f"http://{address_of(service)}") as client:
        service.drop_acquisition("run_041", {"a.tif": b"a" * 1000})
        service.drop_acquisition("gap", {"missing": b"-", "1.tif": b"1"})
        service.wait_until(lambda: "Slice 4 is missing." in client.get("/").text)
        service.wait_until(lambda: "run_041" in client.get("/history?state=succeeded").text)
        health = client.get("/healthz")
        found = client.get("/api/explain?what=gap").json()

        assert 200 == health.status_code
        parts = set(health.json()["parts"])
        assert {"main loop", "control socket", "status page"} <= parts
        assert ("parked", True) == (found["acquisition"]["state"], found["watch"] is not None)
        assert "stackwatch_folder_up" in client.get("/metrics").text
        service.wait_until(lambda: str(service.target) in client.get("/").text)
    assert [] == service.events("mistake.caught")


def test_an_open_page_does_not_hold_up_the_end(service: ServiceBench):
    """A stop with a stream open takes no longer than one without, and ends with 0."""
    seen: list[str] = []
    address = address_of(service)

    def follow() -> None:
        url = f"http://{address}/live?page=/"
        with contextlib.suppress(httpx.HTTPError), httpx.stream("GET", url, timeout=30) as answer:
            seen.extend(answer.iter_lines())

    follower = threading.Thread(target=follow)
    follower.start()
    service.wait_until(lambda: len(seen) > 3)

    service.signal(signal.SIGTERM)
    began_s = time.monotonic()
    code = service.wait()
    took_s = time.monotonic() - began_s
    follower.join(5)

    assert 0 == code
    assert not follower.is_alive()
    assert took_s < 10  # of that, the page takes less than two; its own test measures them


def test_a_taken_address_is_a_warning_and_tried_again(tmp_path: Path):
    """The daemon works without its page, says so once, and serves it as soon as it can."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with bench(tmp_path, web=f'listen = "{listen}"') as service:
            service.start()
            service.wait_until(lambda: bool(service.events("page.failed")))
            service.drop_acquisition("run_1", {"a.tif": b"a"})
            service.wait_until(lambda: service.datasets() == ["run_1"])
            assert ["warning"] == [line["level"] for line in service.events("page.failed")]
            taken.close()

            assert listen == address_of(service)
            assert 200 == httpx.get(f"http://{listen}/healthz").status_code


def test_a_reload_changes_all_but_the_address(service: ServiceBench, tmp_path: Path):
    """New names are answered at once; another address is named as what needs a restart."""
    address = address_of(service)
    named = {"host": "lab-pc"}
    assert 421 == httpx.get(f"http://{address}/", headers=named).status_code
    text = service.config.read_text(encoding="utf-8")
    before, after = 'listen = "127.0.0.1:0"', 'listen = "127.0.0.1:1"\nhosts = ["lab-pc"]'
    service.config.write_text(text.replace(before, after), encoding="utf-8")

    answer: dict[str, Any] = service.ask("reload")

    assert ["web.listen"] == answer["needs_restart"]
    assert 200 == httpx.get(f"http://{address}/", headers=named).status_code


def test_what_is_asked_for_on_the_page_is_done(tmp_path: Path):
    """A parked job is retried through the page, by the same way as on the command line."""
    token = tmp_path / "token"
    token.write_text("a-long-enough-word\n", encoding="utf-8")
    web = f'listen = "127.0.0.1:0"\nactions = true\ntoken_file = "{token}"'
    with bench(tmp_path, web=web) as service:
        service.start()
        service.drop_acquisition("gap", {"missing": b"-", "1.tif": b"1"})
        service.wait_until(lambda: bool(service.events("job.parked")))
        with httpx.Client(base_url=f"http://{address_of(service)}") as client:
            client.post("/sign-in", data={"word": "a-long-enough-word"})
            page = client.get("/jobs/1").text
            word = page.partition('name="form_word" value="')[2].partition('"')[0]
            data = {"number": "1", "form_word": word, "next": "/jobs/1"}
            done = client.post("/actions/retry", data=data)

            assert (303, "/jobs/1") == (done.status_code, done.headers["location"])
            service.wait_until(lambda: len(service.events("job.parked")) == 2)
        assert "a-long-enough-word" not in (service.root / "log.jsonl").read_text(encoding="utf-8")
