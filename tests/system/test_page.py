"""The page in a real browser: every state of the service, wide and narrow, light and dark.

With `SCREENSHOTS=1` in the environment, some of its pictures are kept under docs/screenshots.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from stackwatch.testing.browsers import find_chromium, open_browser, watch_page
from stackwatch.testing.page_worlds import WORLDS, fill_busy, fill_failed
from stackwatch.testing.pages import WORD, PageBench, make_world, serve_page, serve_world
from tests.system.contrast import FIND_TEXT, list_faint

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.system

SHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
SIZES = ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"))
KEPT = {
    ("busy", "/", 1280, "light"): "overview.png",
    ("busy", "/", 390, "dark"): "overview-phone-dark.png",
    ("empty", "/", 1280, "light"): "empty.png",
    ("failed", "/", 1280, "dark"): "failed-dark.png",
    ("failed", "/", 390, "light"): "failed-phone.png",
    ("long", "/history", 1280, "light"): "history.png",
    ("long", "/history", 390, "dark"): "history-phone-dark.png",
    ("busy", "/jobs/1", 1280, "light"): "job.png",
}
PATHS = {
    "empty": ("/", "/history", "/acquisitions"),
    "busy": ("/", "/history", "/acquisitions", "/jobs/1", "/acquisitions/1"),
    "failed": ("/", "/history", "/acquisitions", "/jobs/2", "/acquisitions/2"),
    "long": ("/", "/history", "/history?page=200", "/acquisitions"),
}
TALLEST = 2100
AXE_RULES = "wcag2a,wcag2aa,wcag21a,wcag21aa,wcag22aa,best-practice"


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Start the browser of this machine."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with open_browser(chromium) as opened:
        yield opened


@pytest.fixture(scope="module", params=sorted(WORLDS))
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Serve each of the worlds."""
    root = tmp_path_factory.mktemp(request.param)
    made = make_world(root, WORLDS[request.param], Path("/srv/microscopy"))
    with made as filled, serve_world(*filled) as bench:
        yield request.param, bench


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_every_page_is_whole(browser: "Browser", world: Any, width: int, scheme: str):
    """Each page fits its width, reads well, complains of nothing and asks nobody else."""
    name, bench = world
    with watch_page(browser, width, scheme) as watched:
        for path in PATHS[name]:
            watched.page.goto(f"{bench.url}{path}")
            watched.page.wait_for_timeout(300)
            overflow = watched.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert overflow <= 0, path
            assert [] == list_faint(watched.page.evaluate(FIND_TEXT)), path
            keep_shot(watched.page, (name, path, width, scheme))
        assert [] == watched.complaints
        assert {bench.server.address} == watched.hosts


def keep_shot(page: Any, what: tuple[str, str, int, str]) -> None:
    """Keep a picture of a page for the documents, if it is one of those and that was asked for."""
    if what not in KEPT or not os.environ.get("SCREENSHOTS"):
        return
    SHOTS.mkdir(exist_ok=True)
    for picture in page.locator("img[loading=lazy]").all():
        picture.scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(200)
    path = SHOTS / KEPT[what]
    page.screenshot(path=path, full_page=what[0] != "long")
    with Image.open(path) as picture:
        height = min(picture.height, TALLEST)
        small = (
            picture.convert("RGB")
            .crop((0, 0, picture.width, height))
            .quantize(48, dither=Image.Dither.NONE)
        )
    small.save(path, optimize=True)


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[PageBench]:
    """Serve a busy service."""
    with serve_page(tmp_path, fill_busy) as bench:
        yield bench


def test_an_open_page_follows_the_service(browser: "Browser", busy: PageBench):
    """What settles, is converted and is published moves through the page while it is open."""
    with watch_page(browser) as watched:
        page = watched.page
        page.goto(busy.url)
        expect(page.locator("#converting .card")).to_have_count(2)
        expect(page.get_by_role("link", name="cortex_050")).to_have_count(0)

        busy.world.queue("em1", "cortex_050")
        expect(page.locator("#queue").get_by_role("link", name="cortex_050")).to_be_visible()
        busy.set_snapshot(conversions=busy.service.snapshot.conversions[1:])
        expect(page.locator("#converting .card")).to_have_count(1)
        expect(page.locator("#converting")).to_contain_text("embryo_7")
        busy.set_snapshot(conversions=())
        expect(page.locator("#converting")).to_be_hidden()
        assert [] == watched.complaints


def test_a_lost_service_is_said_so(browser: "Browser", busy: PageBench):
    """When the service goes away the page says that it may be old."""
    with watch_page(browser) as watched:
        watched.page.goto(busy.url)
        expect(watched.page.locator("#converting .card")).to_have_count(2)
        watched.page.wait_for_timeout(1000)

        busy.server.close()

        expect(watched.page.get_by_text("Connection lost")).to_be_visible(timeout=10_000)


def test_a_hidden_page_leaves_its_connection_to_others(browser: "Browser", busy: PageBench):
    """More open pages than a browser has connections to one host: the newest still loads."""
    context = browser.new_context()
    try:
        pages = [context.new_page() for _ in range(5)]
        for page in pages:
            page.goto(busy.url)
            expect(page.locator("#converting .card")).to_have_count(2)
    finally:
        context.close()


def test_all_can_be_read_without_script(browser: "Browser", busy: PageBench):
    """Without JavaScript every page says the same, and the search works."""
    with watch_page(browser, java_script_enabled=False) as watched:
        page = watched.page
        page.goto(busy.url)
        expect(page.get_by_text("412 of 1,200 slices")).to_be_visible()
        page.get_by_role("link", name="History").click()
        page.get_by_label("Search").fill("cortex_033")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.get_by_role("link", name="cortex_033").click()
        expect(page.get_by_text("file-per-slice")).to_be_visible()
        assert [] == watched.complaints


def test_all_can_be_reached_by_keyboard(browser: "Browser", busy: PageBench):
    """Tab leads through everything in order, first past the bar; each stop can be seen."""
    with watch_page(browser) as watched:
        page = watched.page
        page.goto(busy.url)
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to the content")).to_be_focused()
        expect(page.get_by_text("Skip to the content")).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_be_focused()
        links = page.locator("main a").count()
        seen = set()
        for _ in range(links):
            page.keyboard.press("Tab")
            seen.add(page.evaluate("document.activeElement.href + document.activeElement.text"))
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert "solid" == outline
        every = page.locator("main a").evaluate_all("all => all.map(one => one.href + one.text)")
        assert set(every) == seen


def test_somebody_signs_in_and_retries(browser: "Browser", tmp_path: Path):
    """The word is typed in once; then a parked job is retried by a button."""
    with (
        serve_page(tmp_path, fill_failed, tmp_path / "token") as bench,
        watch_page(browser) as watched,
    ):
        page = watched.page
        page.goto(f"{bench.url}/jobs/2")
        page.get_by_role("link", name="Sign in to act").click()
        page.get_by_label("The word of this page").fill(WORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Retry now").click()

        expect(page.get_by_text("The job is queued again.")).to_be_visible()
        assert [{"command": "retry", "job": 2}] == bench.asked
        assert [] == page.evaluate("document.cookie.split(';').filter(one => one)")
        assert WORD not in page.content()
        assert [] == watched.complaints


def test_foreign_script_does_not_run(browser: "Browser", busy: PageBench):
    """Even if markup slipped through, the policy lets no inline script and no foreign file run."""
    with watch_page(browser) as watched:
        watched.page.goto(busy.url)
        ran = watched.page.evaluate(
            """() => {
                const made = document.createElement("div");
                made.innerHTML = '<img src=x onerror="window.ran = 1"><p style="color:red">x</p>';
                document.body.append(made);
                const script = document.createElement("script");
                script.textContent = "window.ran = 1";
                document.body.append(script);
                return new Promise(done => setTimeout(() => done(window.ran), 500));
            }"""
        )

        assert ran is None
        assert any("Content Security Policy" in one for one in watched.complaints)


@pytest.mark.timeout(600)
def test_axe_finds_nothing(browser: "Browser", world: Any, tmp_path_factory: Any):
    """The rules of WCAG 2.2 AA, as axe-core checks them, on every page in light and dark."""
    name, bench = world
    axe = fetch_axe(tmp_path_factory)
    for width, scheme in SIZES:
        with watch_page(browser, width, scheme, bypass_csp=True) as watched:
            for path in PATHS[name]:
                watched.page.goto(f"{bench.url}{path}")
                watched.page.wait_for_timeout(200)
                watched.page.evaluate(axe)
                found = watched.page.evaluate(
                    "rules => axe.run(document, {runOnly: rules.split(',')})", AXE_RULES
                )
                told = [
                    (one["id"], [node["html"][:160] for node in one["nodes"][:3]])
                    for one in found["violations"]
                ]
                assert [] == told, (name, path, width, scheme)


_AXE: list[str] = []


def fetch_axe(tmp_path_factory: Any) -> str:
    """Return axe-core's script, from the package registry; skip where there is none."""
    if not _AXE:
        place = tmp_path_factory.mktemp("axe")
        (place / "package.json").write_text(json.dumps({"private": True}), encoding="utf-8")
        command = ["npm", "install", "--ignore-scripts", "--no-save", "--no-audit", "axe-core@4"]
        try:
            done = subprocess.run(command, cwd=place, capture_output=True, timeout=120, check=False)
        except (OSError, subprocess.TimeoutExpired):
            pytest.skip("axe-core cannot be fetched: no npm, or no registry")
        script = place / "node_modules" / "axe-core" / "axe.min.js"
        if done.returncode or not script.is_file():
            pytest.skip("axe-core cannot be fetched from the registry")
        _AXE.append(script.read_text(encoding="utf-8"))
    return _AXE[0]


def test_kept_pictures_are_small():
    """Pictures in the documents are there for each state, and below 100 kB each."""
    named = set(KEPT.values())
    assert named == {path.name for path in SHOTS.glob("*.png")}
    for path in SHOTS.glob("*.png"):
        assert path.stat().st_size < 100_000, path.name
    page = (SHOTS.parent / "status-page.md").read_text(encoding="utf-8")
    assert named >= set(re.findall(r"screenshots/([\w-]+\.png)", page))
