"""What is sent to an open page: each section that has changed, as soon as it has.

Server-sent events: the browser asks again by itself when the connection breaks, and then gets
everything anew.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from stackwatch.errors import StackwatchError

if TYPE_CHECKING:
    from stackwatch.web.sessions import Session
    from stackwatch.web.site import Site

STREAMS_MAX: Final = 64
STEP_S: Final = 0.5
"""As often as workers tell of their progress."""

QUIET_STEP_S: Final = 2.0
"""So often while nothing runs and nothing was written; times grow older all the same."""

ALIVE_S: Final = 15.0
"""A line now and then, so that neither side takes the connection for dead."""


class Streams:
    """Renders each page that somebody has open once for all who have it open."""

    def __init__(self, site: "Site") -> None:
        self._site = site
        self._rendered: dict[tuple[str, str], tuple[float, dict[str, str]]] = {}
        self._version = -1
        self.count = 0

    async def follow(self, path: str, session: "Session | None") -> AsyncIterator[str]:
        """Yield the lines of a stream until the service ends or the client goes away."""
        sent: dict[str, str] = {}
        loop, self.count = asyncio.get_running_loop(), self.count + 1
        said_s = loop.time()
        try:
            yield "retry: 2000\n\n"
            while not self._site.stopping.is_set():
                sections = self._sections(path, session, loop.time())
                changed = {name: html for name, html in sections.items() if sent.get(name) != html}
                if changed:
                    sent, said_s = sections, loop.time()
                    yield f"event: sections\ndata: {json.dumps(changed)}\n\n"
                elif loop.time() - said_s > ALIVE_S:
                    said_s = loop.time()
                    yield ": alive\n\n"
                await self._pause()
        except (StackwatchError, sqlite3.Error) as error:
            self._site.give_up(error)  # the client asks again, and is told
        finally:
            self.count -= 1
            if not self.count:
                self._rendered.clear()

    def _sections(self, path: str, session: "Session | None", now_s: float) -> dict[str, str]:
        key = (path, session.name if session is not None else "")
        rendered_s, sections = self._rendered.get(key, (float("-inf"), {}))
        version = self._site.browser.version()
        is_busy = bool(self._site.service.snapshot.conversions) or version != self._version
        if version != self._version:
            self._version = version
            self._rendered.clear()
        if now_s - rendered_s < (0.8 * STEP_S if is_busy else QUIET_STEP_S):
            return sections
        sections = self._site.render_sections(path, session)
        self._rendered[key] = (now_s, sections)
        return sections

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._site.stopping.wait(), STEP_S)
        except TimeoutError:
            return
