"""The server of the page: one thread with an event loop of its own."""

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any, Final

from stackwatch.web.live import Service

if TYPE_CHECKING:
    from stackwatch.web.site import Site

GRACE_S: Final = 1
"""How long an answer that is under way may take when the page is to end."""

JOIN_S: Final = 5.0
BEAT_S: Final = 1.0
BACKLOG: Final = 64
CONNECTIONS_MAX: Final = 256
TAKE_S: Final = 60
"""So long a client may take nothing of its answer, or not be heard of while one is sent."""


def bind(listen: str) -> socket.socket:
    """Return a socket that listens at HOST:PORT.

    Raises
    ------
    OSError
        Somebody else listens there, or the address is not one of this machine; the caller tries
        again later.
    """
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if family is socket.AF_INET:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        family = found[0][0]
    # told by number: asyncio switches waiting for full packets off only where it is
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * TAKE_S)  # is inherited
        sock.bind((host, int(port)))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


class PageServer:
    """Serves the page until it is stopped. Started and stopped by the daemon's main thread.

    Parameters
    ----------
    service : Service
    listen : str
        HOST:PORT; port 0 is one that is free.

    Attributes
    ----------
    address : str
        HOST:PORT as soon as it listens there, empty before.
    failure : BaseException or None
        Why it has ended by itself: an OSError if the address is not to be had.
    """

    def __init__(self, service: Service, listen: str) -> None:
        self.address = ""
        self.failure: BaseException | None = None
        self._service = service
        self._listen = listen
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Take no more requests and end open streams; returns at once."""
        self._is_stopped.set()
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(stop.set)

    def close(self) -> None:
        """Stop, and wait until nothing is left of it; a thread that hangs is not waited for."""
        self.stop()
        self._thread.join(JOIN_S)

    # ------------------------------------------------------------ in its thread

    def _run(self) -> None:
        try:
            with bind(self._listen) as sock:  # here: a name may have to be looked up
                asyncio.run(self._serve(sock))
        except BaseException as error:  # noqa: BLE001 - told to the main thread, which starts anew
            self.failure = error

    async def _serve(self, sock: socket.socket) -> None:
        from stackwatch.web.app import build_app
        from stackwatch.web.site import Site

        site = Site(self._service)
        self._loop, self._stop = asyncio.get_running_loop(), site.stopping
        if self._is_stopped.is_set():
            return
        server = _make_server(build_app(site))
        watch = asyncio.create_task(self._watch(site, server))
        try:
            self.address = _show_address(sock)
            await server.serve([sock])
        finally:
            site.stopping.set()
            await watch
            site.close()

    async def _watch(self, site: "Site", server: Any) -> None:
        """Tell that the loop is alive, until it is to end."""
        while not site.stopping.is_set():
            self._service.beat()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(site.stopping.wait(), BEAT_S)
        server.should_exit = True


def _show_address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _make_server(app: Any) -> Any:
    """Return a server of the library, without its handlers of signals: those are the daemon's."""
    import uvicorn

    from stackwatch.web.connections import REQUEST_S, Connection

    class Server(uvicorn.Server):
        def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
            return contextlib.nullcontext()

    return Server(
        uvicorn.Config(
            app,
            loop="none",
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",  # what goes wrong is told by the guard; the rest is of clients
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=REQUEST_S,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
