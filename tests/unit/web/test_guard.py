"""Requests that are refused: foreign names, foreign sites, odd methods; and the headers of all."""

from pathlib import Path

import pytest

from stackwatch.testing.pages import PageBench
from stackwatch.web.guard import is_our_name, is_own_site
from stackwatch.web.live import PageOptions


def options(listen: str, *hosts: str) -> PageOptions:
    """Return options that say where the page listens."""
    return PageOptions(Path("/state"), listen, hosts)


@pytest.mark.parametrize(
    ("listen", "host", "is_ours"),
    [
        ("127.0.0.1:8087", "127.0.0.1:8087", True),
        ("127.0.0.1:8087", "localhost", True),
        ("127.0.0.1:8087", "evil.example:8087", False),
        ("127.0.0.1:8087", "10.0.0.7:8087", False),
        ("127.0.0.1:8087", "", False),
        ("127.0.0.1:8087", "localhost.evil.example", False),
        ("127.0.0.1:8087", "localhost@evil.example", False),
        ("127.0.0.1:8087", "[::1", False),
        ("127.0.0.1:8087", "evil@localhost", False),
        ("127.0.0.1:8087", "localhost/evil", False),
        ("127.0.0.1:8087", "localhost#evil", False),
        ("127.0.0.1:8087", "local\thost", False),
        ("127.0.0.1:8087", "localhost:x", False),
        (":::8087", "10.0.0.7:8087", True),
        ("[fe80::1%eth0]:8087", "[fe80::1%eth0]:8087", True),
        ("0.0.0.0:8087", "10.0.0.7:8087", True),
        ("0.0.0.0:8087", "lab-pc", False),
        ("[::]:8087", "[fe80::1]:8087", True),
        ("lab-pc:8087", "LAB-PC:9", True),
    ],
)
def test_only_our_own_names_are_answered(listen: str, host: str, is_ours: bool):
    """A name that somebody else points at us is none of ours, whatever the port."""
    assert is_ours == is_our_name(host, options(listen))


def test_further_names_can_be_set():
    """`[web] hosts` adds names."""
    assert is_our_name("Status.Lab.Example:443", options("127.0.0.1:8087", "status.lab.example"))


def test_a_foreign_name_gets_no_page(busy: PageBench):
    """A page asked for under another name is refused, and says which setting would allow it."""
    answer = busy.client.get("/", headers={"host": "evil.example"})

    assert 421 == answer.status_code
    assert "`hosts` under `[web]`" in answer.text
    assert "cortex" not in answer.text
    for path in ("/metrics", "/healthz", "/api/status", "/data/1/x", "/live"):
        assert 421 == busy.client.get(path, headers={"host": "evil.example"}).status_code


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(busy: PageBench, method: str):
    """The page is read and posted to, nothing else."""
    assert 405 == busy.client.request(method, "/").status_code


def test_a_page_is_not_posted_to(busy: PageBench):
    """POST belongs to forms alone."""
    assert 405 == busy.client.post("/history").status_code


@pytest.mark.parametrize(
    "path", ["/", "/history", "/api/status", "/metrics", "/nothing", "/healthz", "/data/1/x"]
)
def test_every_answer_has_the_headers(busy: PageBench, path: str):
    """Nothing is loaded from elsewhere, framed elsewhere, guessed, or kept by a proxy."""
    headers = busy.client.get(path).headers
    policy = headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "nosniff" == headers["x-content-type-options"]
    assert "DENY" == headers["x-frame-options"]
    assert "no-store" == headers["cache-control"]
    assert "server" not in headers


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({}, True),
        ({b"origin": b"http://localhost:1"}, True),
        ({b"origin": b"http://evil.example"}, False),
        ({b"origin": b"null"}, False),
        ({b"origin": b"http://[::1"}, False),
        ({b"sec-fetch-site": b"cross-site"}, False),
        ({b"sec-fetch-site": b"same-site"}, False),
        ({b"sec-fetch-site": b"same-origin", b"origin": b"http://localhost:1"}, True),
    ],
)
def test_a_form_of_another_site_is_refused(headers: dict[bytes, bytes], is_own: bool):
    """Where the browser says which site a form comes from, it must be ours."""
    assert is_own == is_own_site(headers.items(), b"localhost:1")
