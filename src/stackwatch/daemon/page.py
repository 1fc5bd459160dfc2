"""The status page inside the daemon: a server in a thread, told of every moment by the main thread.

The page is never a reason for the service to end: if its address is taken it is tried again, and a
server that has ended by itself is started anew.
"""

import time
from typing import Final

from stackwatch.clock import Clock
from stackwatch.daemon.conversions import Conversions
from stackwatch.daemon.deliveries import Deliveries
from stackwatch.daemon.disks import Disks
from stackwatch.daemon.heartbeats import PAGE, Heartbeats
from stackwatch.daemon.sides import Side
from stackwatch.daemon.snapshots import Snapshots
from stackwatch.daemon.watching import Watching
from stackwatch.logs import Event, logger
from stackwatch.settings import Settings
from stackwatch.web.live import Ask, PageOptions, Part, Service
from stackwatch.web.server import PageServer

NEWS_INTERVAL_S: Final = 0.5
IDLE_INTERVAL_S: Final = 2.0
"""So often the picture is taken while nobody looks."""

WATCHED_S: Final = 30.0
LOOK_INTERVAL_S: Final = 60.0
IDLE_LOOK_INTERVAL_S: Final = 900.0
"""Disks are looked at by processes: seldom, while nobody looks at the page."""

RETRY_LEAST_S: Final = 2.0
RETRY_MOST_S: Final = 60.0
STEADY_S: Final = 300.0
"""A server that has lived for so long is started anew at once."""


class Page(Side):
    """Starts, feeds, restarts and ends the page's server. Used by the main thread alone.

    Parameters
    ----------
    watching : Watching
    conversions : Conversions
    deliveries : Deliveries
    clock : Clock
    heartbeats : Heartbeats
    ask : callable
        Has the main thread answer a command; called from other threads.
    """

    def __init__(
        self,
        watching: Watching,
        conversions: Conversions,
        deliveries: Deliveries,
        clock: Clock,
        heartbeats: Heartbeats,
        ask: Ask,
    ) -> None:
        self._clock = clock
        self._heartbeats = heartbeats
        self._ask = ask
        self._disks = Disks(conversions.errands, clock)
        self._snapshots = Snapshots(watching, conversions, deliveries, self._disks, clock)
        self._service: Service | None = None
        self._server: PageServer | None = None
        self._is_stopping = self._is_told = False
        self._snapped_s = self._started_s = self._again_s = float("-inf")
        self._delay_s = RETRY_LEAST_S
        self._failure = ""

    def begin(self, settings: Settings) -> None:
        """Start the server, unless no page is wanted."""
        self._disks.adopt(settings)
        if settings.web.listen:
            self._service = Service(page_options(settings), self._ask, self._list_parts)

    def adopt(self, settings: Settings) -> None:
        """Take new settings over; the address stays what it was."""
        self._disks.adopt(settings)
        if self._service is not None:
            self._service.options = page_options(settings)

    def tick(self) -> None:
        """Tell the page what is, and see to it that there is one."""
        service = self._service
        if service is None:
            return
        now_s = self._clock.monotonic()
        is_watched = time.monotonic() - service.asked_s < WATCHED_S
        if not self._is_stopping:
            self._disks.tick(LOOK_INTERVAL_S if is_watched else IDLE_LOOK_INTERVAL_S)
        if now_s - self._snapped_s >= (NEWS_INTERVAL_S if is_watched else IDLE_INTERVAL_S):
            self._snapped_s = now_s
            service.snapshot = self._snapshots.take(is_stopping=self._is_stopping)
        self._watch(service, now_s)

    def stop(self) -> None:
        """Say on the page that the service stops; it is served until the end."""
        self._is_stopping = True
        self._snapped_s = float("-inf")
        self.tick()

    def close(self) -> None:
        """End the server and its open connections."""
        self._heartbeats.release(PAGE)
        if self._server is not None:
            self._server.close()
            self._server = None

    def _watch(self, service: Service, now_s: float) -> None:
        """Start the server where there is none, and tell of it."""
        server = self._server
        if server is None:
            if now_s >= self._again_s and not self._is_stopping:
                self._start(service, now_s)
        elif not server.is_alive:
            self._lose(server, now_s)
        elif server.address and not self._is_told:
            self._is_told, self._failure = True, ""
            service.beat = self._heartbeats.expect(PAGE)  # not before: names may take long
            logger().info(Event.PAGE_STARTED, listen=server.address)

    def _start(self, service: Service, now_s: float) -> None:
        self._is_told, self._started_s = False, now_s
        self._server = PageServer(service, service.options.listen)

    def _lose(self, server: PageServer, now_s: float) -> None:
        """Tell why the page is not served, once for each reason, and try again later."""
        self._heartbeats.release(PAGE)
        server.close()
        self._server = None
        is_steady = now_s - self._started_s > STEADY_S
        self._delay_s = RETRY_LEAST_S if is_steady else min(2 * self._delay_s, RETRY_MOST_S)
        self._again_s = now_s + self._delay_s
        error = server.failure
        is_address = isinstance(error, OSError) and not server.address
        said = (error.strerror or str(error)) if isinstance(error, OSError) else repr(error)
        if said == self._failure or self._is_stopping:
            return
        self._failure = said
        assert self._service is not None
        if is_address:
            logger().warning(
                Event.PAGE_FAILED,
                listen=self._service.options.listen,
                reason=f"the page cannot be served there: {said}. It is tried again",
                hint="End what listens there, or change `listen` under `[web]`.",
            )
        else:
            logger().error(
                Event.PAGE_FAILED,
                listen=self._service.options.listen,
                reason=f"the server of the page has ended: {said}. It is started again",
                exc_info=error,
                hint="Report it with the lines of the log around it.",
            )

    def _list_parts(self) -> tuple[Part, ...]:
        """Return how the parts of the service are. Called from the page's thread."""
        silent = set(self._heartbeats.silent())
        ages = self._heartbeats.ages()
        return tuple(Part(name, age_s, name not in silent) for name, age_s in ages.items())


def page_options(settings: Settings) -> PageOptions:
    """Return what the page has to know of the settings."""
    web = settings.web
    return PageOptions(
        state_dir=settings.daemon.state_dir,
        listen=web.listen,
        hosts=web.hosts,
        has_actions=web.actions,
        token_file=web.token_file,
        viewer=web.viewer,
    )
