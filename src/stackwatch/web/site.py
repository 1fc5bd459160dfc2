"""The page as one object: the ledger it reads, who is signed in, what is open in browsers."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from stackwatch.errors import StackwatchError
from stackwatch.ledger.browsing import LedgerBrowser
from stackwatch.logs import Event, logger
from stackwatch.model.wording import SCHEMA, now_us
from stackwatch.web.frame import render_page, service_section
from stackwatch.web.lists import build_acquisitions, build_history
from stackwatch.web.live import Service
from stackwatch.web.metrics import Metrics
from stackwatch.web.overview import build_overview
from stackwatch.web.parts import Page
from stackwatch.web.sessions import COOKIE, Session, Sessions
from stackwatch.web.stories import build_acquisition_page, build_job_page
from stackwatch.web.stream import Streams
from stackwatch.web.threads import Aside
from stackwatch.web.view import View

if TYPE_CHECKING:
    from starlette.requests import Request

_STORIES: Final[Mapping[str, Callable[[View, int], Page | None]]] = {
    "jobs": build_job_page,
    "acquisitions": build_acquisition_page,
}
_LISTS: Final[Mapping[str, Callable[[View, Mapping[str, str]], Page]]] = {
    "/history": build_history,
    "/acquisitions": build_acquisitions,
}
NUMBER_DIGITS: Final = 15


class Site:
    """All that the routes share. Lives in the page's thread.

    Parameters
    ----------
    service : Service

    Attributes
    ----------
    aside : Aside
        For what the main thread is asked.
    reading : Aside
        For files of our own: pictures, the viewer.
    data : Aside
        For files of datasets, which may lie on a share that hangs.
    stopping : asyncio.Event
        Set when the page shall end: open streams end then.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.sessions = Sessions()
        self.aside = Aside()
        self.reading = Aside()
        self.data = Aside()
        self.stopping = asyncio.Event()
        self.streams = Streams(self)
        self.metrics = Metrics(self)
        self._browser: LedgerBrowser | None = None
        self._token_file = service.options.token_file

    @property
    def browser(self) -> LedgerBrowser:
        """The ledger, opened when it is first asked.

        Raises
        ------
        LedgerError
            It cannot be read at present.
        """
        if self._browser is None:
            self._browser = LedgerBrowser.open(self.service.options.state_dir)
        return self._browser

    def close(self) -> None:
        """Let go of the ledger; it is opened anew if it is asked again."""
        if self._browser is not None:
            self._browser.close()
            self._browser = None

    def give_up(self, error: Exception) -> str:
        """Note that the ledger cannot be read, let go of it, and return what is to be said."""
        self.close()
        if isinstance(error, StackwatchError):
            text = error.message
        else:
            text = f"The ledger cannot be read at present: {error}."
        logger().warning(Event.PAGE_REFUSED, reason=text)
        return text

    # ------------------------------------------------------------ pages

    def session_of(self, request: "Request") -> Session | None:
        """Return who asks, as far as he may act."""
        options = self.service.options
        if not options.has_actions or options.token_file != self._token_file:
            self._token_file = options.token_file
            self.sessions.end_all()
            return None
        return self.sessions.find(request.cookies.get(COOKIE, ""))

    def view(self, session: Session | None = None) -> View:
        """Return what a page is made from now."""
        self.service.asked_s = time.monotonic()
        service = self.service
        return View(self.browser, service.snapshot, service.options, now_us(), session)

    def render(self, path: str, query: Mapping[str, str], session: Session | None) -> str | None:
        """Return a page as HTML, None if there is no such page."""
        view = self.view(session)
        page = _LISTS[path](view, query) if path in _LISTS else build_live_page(view, path)
        return None if page is None else render_page(view, page, path)

    def render_sections(self, path: str, session: Session | None) -> dict[str, str]:
        """Return the sections of a page that changes while it is open, by name."""
        view = self.view(session)
        page = build_live_page(view, path)
        if page is None:
            return {}
        sections = (*page.sections, service_section(view))
        return {section.name: str(section.render()) for section in sections}


def build_live_page(view: View, path: str) -> Page | None:
    """Return a page that changes while it is open, None if there is none at that path."""
    if path == "/":
        return build_overview(view)
    _, kind, number = path.split("/") if path.count("/") == 2 else ("", "", "")
    if kind not in _STORIES or not is_number(number):
        return None
    return _STORIES[kind](view, int(number))


def is_number(text: str) -> bool:
    """Tell whether a part of an address is the number of something."""
    return text.isascii() and text.isdecimal() and len(text) <= NUMBER_DIGITS


def document(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON document as the command line prints it."""
    return {"schema": SCHEMA, **record}


def error_document(error: StackwatchError) -> dict[str, Any]:
    """Return an error as the document of docs/json.md."""
    status = "parked" if error.exit_code == 75 else "failed"
    return document({"status": status, **error.as_record()})
