"""The page in a real browser, in its smallest form; `make system` holds the matrix."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from stackwatch.testing.browsers import find_chromium, open_browser, watch_page
from stackwatch.testing.page_worlds import fill_busy
from stackwatch.testing.pages import PageBench, serve_page


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[PageBench]:
    """Serve a busy service."""
    with serve_page(tmp_path, fill_busy) as bench:
        yield bench


def test_a_browser_sees_the_progress_move(busy: PageBench):
    """The bar of a conversion moves by itself; nothing fails and nothing leaves the host."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with open_browser(chromium) as browser, watch_page(browser) as watched:
        page = watched.page
        page.goto(busy.url)
        bar = page.locator("#converting progress").first
        expect(bar).to_have_js_property("value", 412)
        page.get_by_role("link", name="History").focus()

        busy.advance(321)

        expect(bar).to_have_js_property("value", 733)
        expect(page.get_by_text("733 of 1,200 slices")).to_be_visible()
        expect(page.get_by_role("link", name="History")).to_be_focused()
        assert [] == watched.complaints
        assert {busy.server.address} == watched.hosts
