"""What stands on the pages: all that the ledger and the snapshot tell, and nothing foreign."""

import re
import sqlite3
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackwatch.ledger.reader import LedgerReader
from stackwatch.testing.page_worlds import PARKED, SERVER, fill_failed
from stackwatch.testing.pages import PageBench, serve_page
from stackwatch.web.markup import Markup, markup, tag
from stackwatch.web.parts import prose

ADDRESSES = {"href", "src", "action", "data-live"}


class Outline(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append(name)
        for key, value in attributes:
            self.attributes.append((key, value or ""))
            if key in ADDRESSES:
                self.addresses.append(value or "")

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def test_the_overview_tells_what_is_going_on(busy: PageBench):
    """Conversions with figures, what settles and why, queue, deliveries, disks: all is there."""
    text = Outline(busy.page("/")).text

    for said in (
        "412 of 1,200 slices", "183.4 MB/s read", "about 2 min left", "layer color",
        "the marker “done.txt” is not there", "quiet for 41 s, settles in 20 s",
        "slice_0412.tif is open for writing", "Again at ", "about 120 GB are needed",
        "45 %", "the mount (nfs4) tells no events", "9.4 TB", "running for 3 d",
    ):  # fmt: skip
        assert said in text
    assert "Needs a person" not in text


def test_the_overview_puts_first_what_needs_a_person(failed: PageBench):
    """What is parked, unavailable or paused comes first, with message, hint and code."""
    page = Outline(failed.page("/"))

    assert page.text.index("Needs a person") < page.text.index("Drop folders")
    for code in ("missing_slices", "missing_metadata", "unknown_layout", "delivery_refused"):
        assert code in page.text
    assert "Slices 412 and 977–980 are missing" in page.text
    assert "waits for room" in page.text
    assert "is not the share" in page.text
    assert "below the reserve of 21.0 GB" in page.text


def test_foreign_names_are_text(failed: PageBench):
    """A name with markup in it is shown as it is, and makes no element."""
    page = Outline(failed.page("/"))

    assert any("<b>" in name for name in PARKED)
    assert "em1 / stack <b>&" in page.text
    assert page.tags.count("b") == page.text.count("What to do: ")


def test_a_job_tells_its_whole_story(busy: PageBench):
    """A job's page shows source, dataset, picture, delivery and every event in order."""
    page = Outline(busy.page("/jobs/1"))
    story = re.findall(r"(?:job|dataset|delivery)\.[a-z]+", page.text)

    assert ["job.queued", "job.claimed", "dataset.publishing", "dataset.published"] == story[:4]
    assert "11.24 × 11.24 × 25 nm" in page.text
    assert "file-per-slice" in page.text
    assert f"/previews/{1:032x}.png" in page.addresses
    assert f"{SERVER}/datasets/cortex_031-1" in page.addresses


def test_a_failed_job_tells_error_and_hint(failed: PageBench):
    """The page of a parked job shows what happened, what to do, and its code."""
    text = Outline(failed.page("/jobs/2")).text

    assert "Slices 412" in text
    assert "What to do: Copy them in; it goes on by itself." in text
    assert "Once that is mended: Files that are changed or added are noticed by themselves" in text
    assert "stackwatch jobs retry 2" in text
    assert "job.parked claimed → parked missing_slices" in text


def test_an_acquisition_tells_why_it_is_not_ready(busy: PageBench):
    """The page of what settles says what speaks against it at this moment."""
    listed = Outline(busy.page("/acquisitions?search=cortex_043"))
    (path,) = {one for one in listed.addresses if re.fullmatch(r"/acquisitions/\d+", one)}

    assert "Now: the marker “done.txt” is not there" in Outline(busy.page(path)).text


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 14), ("?search=cortex_03", 9), ("?state=queued", 3), ("?folder=lightsheet", 2),
        ("?search=%25", 0), ("?search=cortex&state=succeeded&folder=em1", 8), ("?page=9", 14),
        ("?search=CORTEX_040", 1), ("?state=nonsense", 0), ("?page=-1&search=%00", 14),
    ],
)  # fmt: skip
def test_the_history_is_searched(busy: PageBench, query: str, count: int):
    """Search looks for text as it stands; state and folder narrow it; odd values harm nothing."""
    text = Outline(busy.page(f"/history{query}")).text
    found = re.search(r"Jobs (\d+)", text)

    assert found is not None
    assert count == int(found[1])


def test_no_address_leads_elsewhere_but_to_the_server(busy: PageBench, failed: PageBench):
    """Pages load nothing from other hosts; the one link outside is the delivered dataset's."""
    for bench in (busy, failed):
        for path in ("/", "/history", "/acquisitions", "/jobs/1"):
            page = Outline(bench.page(path))
            outside = {one for one in page.addresses if not one.startswith(("/", "#"))}
            assert all(one.startswith(f"{SERVER}/datasets/") for one in outside)


def test_pages_are_light_and_have_no_inline_code(busy: PageBench):
    """Page, style, script and icon together stay below 100 kB; nothing needs `unsafe-inline`."""
    page = busy.page("/")
    outline = Outline(page)
    parts = {one for one in outline.addresses if one.startswith("/static/")}

    assert 3 == len(parts)
    assert len(page) + sum(len(busy.page(one)) for one in parts) < 100_000
    assert "style" not in {name for name, _ in outline.attributes}
    assert not {name for name, _ in outline.attributes if name.startswith("on")}
    assert "style" not in outline.tags
    assert 1 == outline.tags.count("script")


def test_a_page_without_script_loads_itself_anew(busy: PageBench):
    """Who has no JavaScript gets a live page anew every half minute, and no list under his eyes."""
    assert '<noscript><meta http-equiv="refresh"' in busy.page("/")
    assert "refresh" not in busy.page("/history")


@pytest.mark.parametrize(
    "path", ["/jobs/999", "/jobs/x", "/jobs/1/", "/acquisitions/0", "/nothing", "/jobs/" + "9" * 40]
)
def test_what_there_is_not_is_said_so(busy: PageBench, path: str):
    """Unknown addresses are answered with 404."""
    busy.page(path, status=404)


# ---------------------------------------------------------------- markup


@given(text=st.text(), key=st.sampled_from(["title", "href", "class_"]))
def test_text_never_becomes_markup(text: str, key: str):
    """Whatever the text, as content or as an attribute, it makes no element and no attribute."""
    outline = Outline(str(tag("i", text, prose(text), **{key: text})))

    assert set(outline.tags) <= {"i", "code"}
    assert {name for name, _ in outline.attributes} <= {key.rstrip("_")}


@given(text=st.text(alphabet="<>&\"'ab`"))
def test_markup_is_taken_as_it_is(text: str):
    """What is markup already is not escaped twice."""
    once = markup(text)

    assert isinstance(once, Markup)
    assert once == markup(once)
    assert Outline(str(once)).text == text or "&" in text


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "//evil.example/x", "/\\evil.example", " https://x", "data:text/html,x",
     "https://x/\n", "JaVaScRiPt:x", ""],
)  # fmt: skip
def test_an_address_of_another_kind_is_left_out(address: str):
    """Only paths of ours and pages of the web are linked, whoever gave the address."""
    assert "<a>x</a>" == tag("a", "x", href=address)


def test_of_a_long_history_the_last_lines_are_read(busy: PageBench):
    """A story with very many lines costs no more than what is shown of it."""
    with LedgerReader.open(busy.world.root / "state") as reader:
        job = reader.list_jobs()[-1]
        whole = reader.show_job(job.job_id)
        part = reader.show_job(job.job_id, 2)
        assert whole is not None
        assert part is not None
        assert whole.events[-2:] == part.events
        assert len(whole.events) > 2

        lines = reader.list_events(acquisition_id=job.acquisition_id)
        assert lines[-2:] == reader.list_events(acquisition_id=job.acquisition_id, limit=2)


def test_a_long_story_tells_how_much_is_left_out(tmp_path: Path):
    """Two hundred lines are shown, as many as asked for in a document, and the number of all."""
    with serve_page(tmp_path, fill_failed) as bench:
        with closing(sqlite3.connect(tmp_path / "state" / "ledger.db")) as ledger, ledger:
            ledger.execute(
                "INSERT INTO events (at_us, event, acquisition_id, job_id, facts) "
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
                "SELECT i, 'job.waiting', 1, 1, '' FROM n"
            )
        for path in ("/jobs/1", "/acquisitions/1"):
            page = bench.page(path)
            assert "earlier lines are not shown" in page
            assert 200 == page.count("job.waiting</code>")
        for path in ("/api/jobs/1?", "/api/explain?what=1&"):
            usual, last = bench.document(path), bench.document(f"{path}limit=3")
            assert (200, 3) == (len(usual["events"]), len(last["events"]))
            assert usual["events"][-3:] == last["events"]
            assert usual["event_count"] == last["event_count"] > 500


def test_a_ledger_that_cannot_be_read_is_no_mistake(tmp_path: Path):
    """Pages say so and ask to come again, open streams end, and all is well when it is back."""
    ledger = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    with serve_page(tmp_path, fill_failed) as bench, closing(ledger):
        ledger.execute("ATTACH ? AS state", [str(tmp_path / "state" / "ledger.db")])
        with bench.client.stream("GET", "/live?page=/jobs/1") as answer:
            lines = answer.iter_lines()
            next(lines)
            ledger.execute("ALTER TABLE state.deliveries RENAME TO elsewhere")
            assert list(lines)  # it comes to an end
        for path in ("/jobs/1", "/", "/metrics", "/api/status", "/live"):
            assert "cannot be read at present" in bench.page(path, 503)
        assert 200 == bench.client.get("/healthz").status_code
        ledger.execute("ALTER TABLE state.elsewhere RENAME TO deliveries")
        bench.page("/jobs/1")
