"""The system's own Chromium, watched: what it asks for, what its console says."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking")
WEBGL = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)


def find_chromium() -> Path | None:
    """Return the browser of this machine, None if there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    return None


@dataclass  # without slots: the driver hangs notes of its own on what listens
class Watched:
    """A page in a browser and everything it did.

    Attributes
    ----------
    page : Page
    hosts : set of str
        Of every request, `HOST:PORT`.
    complaints : list of str
        Errors and warnings of the console, exceptions, and requests that failed.
    """

    page: "Page"
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Begin to take notes."""
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", self._fail)

    def _note(self, url: str) -> None:
        if url.startswith(("http", "ws")):
            self.hosts.add(urlsplit(url).netloc)

    def _hear(self, message: "ConsoleMessage") -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _fail(self, request: Any) -> None:
        # a stream that is left with its page was ended on purpose
        if "/live" not in request.url:
            self.complaints.append(f"{request.url}: {request.failure}")


@contextmanager
def open_browser(chromium: Path, *, has_webgl: bool = False) -> Iterator["Browser"]:
    """Yield a browser."""
    from playwright.sync_api import sync_playwright

    arguments = [*ARGUMENTS, *(WEBGL if has_webgl else ())]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(chromium), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watch_page(
    browser: "Browser", width: int = 1280, scheme: str = "light", **options: Any
) -> Iterator[Watched]:
    """Yield a new page that is watched."""
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]  # "light" or "dark"
        reduced_motion="reduce",
        **options,
    )
    try:
        watched = Watched(context.new_page())
        watched.listen()
        yield watched
    finally:
        context.close()
