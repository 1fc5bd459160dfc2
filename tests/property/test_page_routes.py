"""Whatever is asked of the page: no mistake of ours, no way out of a dataset, nothing done."""

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackwatch.testing.page_worlds import fill_failed
from stackwatch.testing.pages import WORD, PageBench, make_world, serve_world

SECRET = "the-secret-that-lies-beside-the-datasets"
WORDS = (
    "", "jobs", "1", "2", "999999999999", "acquisitions", "history", "api", "status", "explain",
    "live", "data", "datasets", "view", "viewer", "index.html", "previews", "static", "x",
    "page.css", "metrics", "healthz", "sign-in", "sign-out", "actions", "retry", "accept",
    "forget", "..", ".", "%2e%2e", "..%2f..", "secret", "color", "%00", "%ff", "%c0%ae", "\\",
    "cortex_030", "zarr.json", "-1", "1e9", "é", "'--", "<script>", "{{7*7}}", "/etc/passwd",
)  # fmt: skip
PART = st.one_of(st.sampled_from(WORDS), st.text(max_size=12).map(lambda one: quote(one, safe="")))
PATH = st.lists(PART, max_size=6).map("/".join)
KEYS = st.sampled_from(
    ["page", "search", "state", "folder", "limit", "what", "next", "number", "form_word", "word"]
)
VALUE = st.one_of(st.sampled_from(WORDS), st.text(max_size=20))
FIELDS = st.lists(st.tuples(KEYS, VALUE), max_size=5).map(
    lambda pairs: "&".join(f"{key}={quote(value, safe='')}" for key, value in pairs)
)
HEADERS = st.dictionaries(
    st.sampled_from(["cookie", "range", "if-none-match", "origin", "accept", "content-type"]),
    st.one_of(
        st.sampled_from([
            "bytes=0-", "bytes=-1", "bytes=5-2", "bytes=0-0,2-3", "stackwatch_session=1", "null",
            "application/x-www-form-urlencoded", "a=b; c", '"', "bytes=99999999999999999999-",
        ]),
        st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=30),
    ),
    max_size=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageBench]:
    """Serve a page with everything switched on, and a secret beside its data."""
    root = tmp_path_factory.mktemp("routes")
    dataset = root / "datasets" / "em1" / "cortex_030"
    (dataset / "color").mkdir(parents=True)
    (dataset / "color" / "zarr.json").write_text("{}", encoding="utf-8")
    (dataset.parent / "secret").write_text(SECRET, encoding="utf-8")
    (dataset / "out").symlink_to("../secret")
    viewer = root / "viewer"
    viewer.mkdir()
    (viewer / "index.html").write_text("viewer", encoding="utf-8")
    (root / "secret").write_text(SECRET, encoding="utf-8")
    with (
        make_world(root, fill_failed) as made,
        serve_world(*made, root / "token") as served,
    ):
        served.set_options(viewer=viewer)
        yield served


def target(path: str, fields: str) -> str:
    """Return what stands in the first line of a request."""
    whole = f"/{path}?{fields}" if fields else f"/{path}"
    return re.sub(r"[^!-~]", lambda found: quote(found[0]), whole)


@settings(max_examples=120)
@given(path=PATH, fields=FIELDS, headers=HEADERS)
def test_nothing_that_is_asked_makes_a_mistake(
    bench: PageBench, path: str, fields: str, headers: dict[str, str]
):
    """Any address with any query and headers: an answer below 500, and no secret in it."""
    asked = target(path, fields)
    if asked.startswith("/live?") or asked == "/live":
        return  # a stream without an end; its own tests look at it
    answer = bench.ask_raw(asked, headers)

    assert answer.status < 500, answer.content
    assert SECRET.encode() not in answer.content
    assert WORD.encode() not in answer.content
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@settings(max_examples=80)
@given(path=PATH, body=FIELDS, headers=HEADERS, method=st.sampled_from(["POST", "PUT", "DELETE"]))
def test_nothing_that_is_sent_does_anything(
    bench: PageBench, path: str, body: str, headers: dict[str, str], method: str
):
    """Whatever is posted by somebody who has not signed in, no command reaches the service."""
    kind = {"content-type": "application/x-www-form-urlencoded"}
    asked_before = len(bench.asked)
    answer = bench.ask_raw(target(path, ""), {**kind, **headers}, method, body.encode())

    assert answer.status < 500, answer.content
    assert 200 != answer.status
    assert asked_before == len(bench.asked)
    assert "set-cookie" not in answer.headers


@settings(max_examples=80)
@given(inside=st.lists(PART, max_size=5).map("/".join))
def test_no_path_leads_out_of_a_dataset(bench: PageBench, inside: str):
    """Below a dataset's address lies the dataset and nothing else."""
    answer = bench.ask_raw(target(f"data/1/{inside}", ""))

    assert answer.status in (200, 404)
    assert answer.status == 404 or answer.content == b"{}"
