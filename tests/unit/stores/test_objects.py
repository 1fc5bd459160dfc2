"""Object storage that refuses, fails and is away: what a person is told, and what is waited for."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stackwatch.errors import TargetNotWritableError, WriteError
from stackwatch.stores.objects import Objects, address_mistake

pytest.importorskip("obstore")


class Store(ThreadingHTTPServer):
    """Answers every request with the same refusal, until `away_until_s` is over."""

    daemon_threads = True
    status, code = 200, ""
    away_until_s = 0.0


class Answering(BaseHTTPRequestHandler):
    """One request."""

    server: Store

    def answer(self) -> None:
        """Refuse, or say that it is done."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_away = time.monotonic() < self.server.away_until_s
        code = self.server.code
        body = f"<Error><Code>{code}</Code><Message>So it is.</Message></Error>" if code else ""
        self.send_response(503 if is_away else self.server.status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - names of the library

    def log_message(self, *arguments: object) -> None:
        """Keep quiet."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Run an object store that is told what to say."""
    with Store(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "key")
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "code", "kind", "advice"),
    [
        (403, "AccessDenied", TargetNotWritableError, "list, read, write and delete"),
        (403, "InvalidAccessKeyId", TargetNotWritableError, "`AWS_ACCESS_KEY_ID`"),
        (404, "NoSuchBucket", TargetNotWritableError, "Check the bucket's name"),
        (400, "ExpiredToken", TargetNotWritableError, "Renew the credentials"),
        (400, "AuthorizationHeaderMalformed", TargetNotWritableError, "Set `AWS_REGION`"),
        (301, "PermanentRedirect", TargetNotWritableError, "Set `AWS_REGION`"),
        (403, "QuotaExceeded", TargetNotWritableError, "Make room in the bucket"),
        (403, "RequestTimeTooSkewed", WriteError, "Set the clock"),
        (503, "SlowDown", WriteError, "it is tried again"),
    ],
)
def test_a_refusal_says_what_to_do(
    store: Store, status: int, code: str, kind: type[WriteError], advice: str
):
    """To list is refused in the same words as to put, and what time does not mend is told apart."""
    store.status, store.code = status, code
    objects = Objects("s3://lab-data/em", answer_s=5)
    with pytest.raises(WriteError) as put:
        objects.put("key", b"1")
    with pytest.raises(WriteError) as listed:
        objects.sizes()

    assert (kind, kind) == (put.type, listed.type)
    assert advice in put.value.message
    assert put.value.message == listed.value.message or status == 301
    assert "Debug source" not in put.value.message


@pytest.mark.system
def test_a_store_that_is_away_is_waited_for(store: Store):
    """Ten seconds without the store cost a pause, not the conversion."""
    store.away_until_s = time.monotonic() + 10
    Objects("s3://lab-data/em").put("key", b"1")

    assert time.monotonic() >= store.away_until_s


@pytest.mark.parametrize(
    "url",
    [
        "s3://lab-data/em/../other", "s3://lab-data//em", "s3://lab-data/.", "s3://Lab/em", "s3://",
        "s3://lab-data/a\nb", "s3://lab-data/bad\udcff", "https://lab-data/em",
    ],
)  # fmt: skip
def test_an_address_that_would_lead_elsewhere_is_refused(url: str):
    """Dots would be taken for a way up, and control characters for nothing."""
    with pytest.raises(TargetNotWritableError, match="the address must"):
        Objects(url)


def test_an_address_is_meant_as_it_stands():
    """Whatever an object's name can hold may be in it."""
    assert "" == address_mistake("s3://lab-data/a#b/c?d/50%25/ü +~*:&='/日本")


@pytest.mark.parametrize("endpoint", ["", "localhost:9000"])
def test_an_endpoint_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, endpoint: str):
    """The library would panic over it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(TargetNotWritableError, match="`AWS_ENDPOINT_URL` must begin with"):
        Objects("s3://lab-data/em")
