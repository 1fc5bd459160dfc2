"""A published dataset in the viewer: the real service, the real bundle, a real browser."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from stackwatch.testing.browsers import find_chromium, open_browser, watch_page
from stackwatch.testing.service import ServiceBench, bench
from stackwatch.testing.writers import write_multipage

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "build" / "neuroglancer"
SHAPE_ZYX = (40, 120, 160)


@pytest.fixture(scope="module")
def chromium() -> Path:
    """Return a browser, and skip where there is none, or no viewer."""
    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium on this machine")
    if not (BUNDLE / "index.html").is_file():
        pytest.skip("the viewer is not built: make neuroglancer")
    return found


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceBench]:
    """A running service that has published an image with labels, and serves its page."""
    web = f'listen = "127.0.0.1:0"\nviewer = "{BUNDLE}"'
    with bench(tmp_path, worker=None, web=web) as made:
        z, y, x = np.mgrid[: SHAPE_ZYX[0], : SHAPE_ZYX[1], : SHAPE_ZYX[2]]
        rings = np.sqrt((z - 20.0) ** 2 + (y - 60.0) ** 2 + (x - 80.0) ** 2)
        source = made.root / "building" / "run_041"
        write_multipage(source / "em" / "em.tif", (3000 + 1000 * np.sin(rings / 5)).astype("u2"))
        labels = np.where(rings < 30, 7, 0).astype("u4")
        write_multipage(source / "segmentation" / "segmentation.tif", labels)
        source.rename(made.drop / "run_041")
        made.start()
        made.wait_until(lambda: bool(made.events("job.succeeded")))
        yield made


def shown(page: Page) -> np.ndarray:
    """Return what the browser shows, as (rows, columns, 3)."""
    # a processor draws what a graphics card should: on a busy machine that takes its time
    with Image.open(io.BytesIO(page.screenshot(timeout=120_000))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def count_grey(picture: np.ndarray) -> int:
    """Return how many pixels are grey and neither black nor white: the image."""
    is_grey = np.ptp(picture, axis=2) <= 6
    middle = picture.mean(axis=2)
    return int((is_grey & (middle > 60) & (middle < 200)).sum())


def count_colourful(picture: np.ndarray) -> int:
    """Return how many pixels have the colour of a segment."""
    return int((np.ptp(picture, axis=2) > 50).sum())


def test_a_published_dataset_is_seen_in_three_dimensions(service: ServiceBench, chromium: Path):
    """From the job's page one click leads to its data; no other host is asked for anything."""
    (started,) = service.events("page.started")
    address = started["listen"]
    with (
        open_browser(chromium, has_webgl=True) as browser,
        watch_page(browser, width=800) as watched,
    ):
        page = watched.page
        page.goto(f"http://{address}/jobs/1")
        page.get_by_role("img", name="Middle slices of run_041").wait_for()
        page.get_by_role("link", name="three dimensions").click()
        page.locator("iframe.viewer").wait_for()
        picture = shown(page)
        for _ in range(30):
            page.wait_for_timeout(2000)
            picture = shown(page)
            if count_grey(picture) > 10_000 and count_colourful(picture) > 3_000:
                break
        # kept among pytest's temporary folders, for whoever wants to look at it
        Image.fromarray(picture.astype(np.uint8)).save(service.root / "seen.png")

        # the viewer asks for a file to learn its size, and breaks off before its content comes
        assert [] == [words for words in watched.complaints if "net::ERR_ABORTED" not in words]
        assert count_grey(picture) > 10_000
        assert count_colourful(picture) > 3_000
        assert {address} == watched.hosts
