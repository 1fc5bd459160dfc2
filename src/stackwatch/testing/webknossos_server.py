"""A stand-in for WEBKNOSSOS, with state and real HTTP on loopback, to test deliveries against.

In a test::

    with WebknossosServer(tmp_path / "wk") as server:
        server.faults.add(Fault("chunk", status=502, is_done=True, skip=3))
        upload(dataset, url=server.url, token=server.token)
        assert 1 == len(server.datasets("name"))
        assert tree_of(dataset) == tree_of(server.files(server.datasets("name")[0]))

`server.behaviour = replace(server.behaviour, newest_version=13)` makes it another WEBKNOSSOS,
`server.clock.advance(121)` lets time pass, `server.revoke(token)` takes a token away (the
datastore hears of it two minutes later), `server.restart()` breaks all connections and drops what
is under way, `server.requests` tells what was asked, `server.mishaps` must stay empty.

As its own process, so that clients can be killed while it lives::

    python -m stackwatch.testing.webknossos_server --dir D --behaviour '{"newest_version": 13}'

prints one line of JSON with `url`, `datastore_url` and `tokens`, and ends with its parent or by a
signal. There the same is done over HTTP below `<url>/_test`: GET `state`, `requests`; POST
`faults` (a list of objects as `Fault`), `behaviour` (what changes), `advance` ({"seconds": 121}),
`revoke` ({"token": …}), `restart` ({"down_s": 0.5}).
"""

import argparse
import ctypes
import json
import signal
import ssl
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import asdict, replace
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from stackwatch.testing import (
    webknossos_api,
    webknossos_data,
    webknossos_remote,
    webknossos_uploads,
)
from stackwatch.testing.webknossos_faults import (
    Behaviour,
    Fault,
    Faults,
    behaviour_from,
    chunk_mark,
)
from stackwatch.testing.webknossos_http import (
    ConnectionCutError,
    Listener,
    RefusedError,
    Request,
    Response,
    Wire,
    as_json,
    html_page,
    messages,
)
from stackwatch.testing.webknossos_routing import Route, find_route
from stackwatch.testing.webknossos_world import (
    ADMIN_TOKEN,
    MANAGER_TOKEN,
    MEMBER_TOKEN,
    STRANGER_TOKEN,
    TEAM_TOKEN,
    Asked,
    Dataset,
    Datastore,
    MovableClock,
    World,
)

# the more special paths come first: `/datasets/findByImportURL` is no dataset's id
ROUTES: Final[tuple[Route, ...]] = (
    *webknossos_remote.ROUTES,
    *webknossos_uploads.ROUTES,
    *webknossos_data.ROUTES,
    *webknossos_api.ROUTES,
)
TOKENS: Final = {
    "admin": ADMIN_TOKEN,
    "manager": MANAGER_TOKEN,
    "team": TEAM_TOKEN,
    "member": MEMBER_TOKEN,
    "stranger": STRANGER_TOKEN,
}
_PR_SET_PDEATHSIG = 1


class WebknossosServer:
    """WEBKNOSSOS and a datastore, on two ports.

    Parameters
    ----------
    root : Path
        Where files are kept; created. `storage/<organization>/<directory>` are finished datasets.
    behaviour : Behaviour
    tls : ssl.SSLContext or None
        Speak HTTPS with this certificate.
    ports : (int, int)
        Of WEBKNOSSOS and of the datastore; 0: free ones.

    Attributes
    ----------
    url, datastore_url : str
    token : str
        Of an administrator; `TOKENS` has the others.
    """

    def __init__(
        self,
        root: Path,
        behaviour: Behaviour = Behaviour(),  # noqa: B008 - frozen
        tls: ssl.SSLContext | None = None,
        ports: tuple[int, int] = (0, 0),
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.world = World(root, behaviour)
        self.token = ADMIN_TOKEN
        self._tls = tls
        self._ports = ports
        self._listeners: list[Listener] = []
        self._restarts: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Listen."""
        self.world.closing.clear()
        self._listeners = [
            Listener(side, self._serve, port, self._tls)
            for side, port in zip(("api", "datastore"), self._ports, strict=True)
        ]
        api, datastore = self._listeners
        self._ports = (api.port, datastore.port)
        self.url, self.datastore_url = api.url, datastore.url
        self.world.datastores = [Datastore("localhost", datastore.url)]
        if self.world.behaviour.has_closed_datastore:
            closed = Datastore("archive", f"{datastore.url}/archive", allows_upload=False)
            self.world.datastores.insert(0, closed)

    def close(self) -> None:
        """Break all connections and stop; the state stays."""
        for thread in self._restarts:
            thread.join()
        self._stop()

    def _stop(self) -> None:
        self.world.closing.set()
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def restart(self, down_s: float = 0.0) -> None:
        """Die and come back on the same ports: what is under way is dropped, what is kept is kept.

        Parameters
        ----------
        down_s : float
            How long nobody listens.
        """
        with self.world.lock:
            self.world.epoch += 1
        self._stop()
        threading.Event().wait(down_s)
        self.start()

    @property
    def behaviour(self) -> Behaviour:
        """Which WEBKNOSSOS this is; may be set at any time."""
        return self.world.behaviour

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self.world.behaviour = behaviour

    @property
    def faults(self) -> Faults:
        """What will go wrong."""
        return self.world.faults

    @property
    def clock(self) -> MovableClock:
        """The server's time of day."""
        return self.world.clock

    @property
    def mishaps(self) -> list[str]:
        """Return tracebacks of mistakes of this server itself: must stay empty."""
        return self.world.mishaps

    def requests(self, route: str = "") -> list[Asked]:
        """Return what was asked, to one route or to all, in the order of the answers."""
        with self.world.lock:
            return [asked for asked in self.world.requests if route in {"", asked.route}]

    def datasets(self, name: str = "") -> list[Dataset]:
        """Return the datasets, or those of one name, oldest first."""
        with self.world.lock:
            return [d for d in self.world.datasets.values() if name in {"", d.name}]

    def files(self, dataset: Dataset) -> Path:
        """Return the directory of an uploaded dataset."""
        return self.world.storage / dataset.organization / dataset.directory

    def revoke(self, token: str) -> None:
        """Make a token worthless: WEBKNOSSOS knows at once, the datastore two minutes later."""
        with self.world.lock:
            self.world.users.pop(token, None)

    def _serve(self, request: Request, wire: Wire) -> Response:
        if request.side == "api" and request.path.startswith("/_test/"):
            request.body = wire.read_body()
            return self._aside(request)
        world = self.world
        epoch = world.epoch
        name, response = self._answer(request, wire)
        if world.epoch != epoch:
            raise ConnectionCutError
        target = (
            request.path
            + ("?" if request.query else "")
            + "&".join(f"{key}={value}" for key, value in request.query.items())
        )
        with world.lock:
            world.requests.append(
                Asked(
                    side=request.side,
                    route=name,
                    method=request.method,
                    target=target,
                    version=request.version,
                    token=request.headers.get("x-auth-token", ""),
                    status=response.status,
                    at_s=world.clock.now(),
                    body_bytes=wire.body_bytes,
                )
            )
        date = ("Date", formatdate(world.clock.now(), usegmt=True))
        return replace(response, headers=(*response.headers, date))

    def _answer(self, request: Request, wire: Wire) -> tuple[str, Response]:
        """Return the route's name and what is answered, faults included."""
        world = self.world
        limit = world.behaviour.max_body_bytes
        if limit and wire.body_bytes > limit:
            wire.discard_body()
            return "proxy", Response(
                413, html_page(413).body, "text/html", (("Connection", "close"),)
            )
        try:
            route = find_route(ROUTES, request, world.behaviour)
        except RefusedError as refused:
            wire.discard_body()
            return "unknown", refused.response
        target = request.path + "".join(f"?{k}={v}" for k, v in request.query.items())
        if world.faults.take(route.name, target, before_body=True):
            wire.discard_body(wire.body_bytes // 2)
            raise ConnectionCutError
        request.body = wire.read_body()
        if route.name == "chunk":
            target += chunk_mark(request)
        fault = world.faults.take(route.name, target, before_body=False)
        if fault is None:
            return route.name, self._work(route, request)
        return route.name, self._spoiled(fault, route, request)

    def _spoiled(self, fault: Fault, route: Route, request: Request) -> Response:
        request.is_unwritten = fault.is_unwritten
        response = Response()
        if fault.is_done or fault.reset == "answer" or not fault.status:
            response = self._work(route, request)
        self.world.closing.wait(fault.delay_s)
        if fault.reset == "answer":
            raise ConnectionCutError
        if not fault.status:
            return response
        if fault.status in {401, 403}:
            return Response(fault.status, fault.text.encode())
        if fault.status == 413 or fault.status >= 501:
            return html_page(fault.status, fault.text)
        return messages(fault.text or "Something went wrong.", status=fault.status)

    def _work(self, route: Route, request: Request) -> Response:
        try:
            if route.side == "datastore" or route.name.startswith("explore"):
                return route.answer(self.world, request)
            with self.world.lock:
                return route.answer(self.world, request)
        except RefusedError as refused:
            return refused.response
        except ConnectionCutError:
            raise
        except Exception:  # noqa: BLE001 - a mistake of ours must be seen by the test, not only by its client
            self.world.mishaps.append(traceback.format_exc())
            return messages("Internal server error", status=500)

    def _aside(self, request: Request) -> Response:
        """Answer what tests ask beside the API."""
        name = request.path.removeprefix("/_test/")
        if request.method == "GET":
            return as_json(self._told(name))
        body: Any = json.loads(request.body or b"null")
        match name:
            case "faults":
                self.faults.add(*(Fault(**fault) for fault in body))
            case "behaviour":
                self.behaviour = behaviour_from(body, self.behaviour)
            case "advance":
                self.clock.advance(body["seconds"])
            case "revoke":
                self.revoke(body["token"])
            case "restart":
                # in a thread of its own: this one is broken off too
                down_s = float((body or {}).get("down_s", 0.0))
                thread = threading.Thread(target=self.restart, args=(down_s,), name="restart")
                self._restarts.append(thread)
                thread.start()
            case _:
                return html_page(404)
        return as_json({})

    def _told(self, name: str) -> Any:
        with self.world.lock:
            if name == "requests":
                return [asdict(asked) for asked in self.world.requests]
            return {
                "datasets": [
                    asdict(dataset) | {"files": str(self.files(dataset))}
                    for dataset in self.world.datasets.values()
                ],
                "uploads": [
                    {
                        "id": upload.id,
                        "dataset_id": upload.dataset_id,
                        "chunks": {path: len(f.seen) for path, f in upload.files.items()},
                    }
                    for upload in self.world.uploads.values()
                ],
                "counts": _counts(self.world.requests),
                "faults": [asdict(fault) for fault in self.faults.pending()],
                "mishaps": self.mishaps,
            }


def _counts(requests: list[Asked]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for asked in requests:
        counts[asked.route] = counts.get(asked.route, 0) + 1
    return counts


def main() -> None:
    """Serve until the parent ends or a signal comes."""
    parser = argparse.ArgumentParser(description="A stand-in for WEBKNOSSOS on loopback.")
    parser.add_argument("--dir", type=Path, required=True, help="where files are kept")
    parser.add_argument("--behaviour", type=json.loads, default={}, help="attributes, as JSON")
    parser.add_argument("--faults", type=json.loads, default=[], help="a list, as JSON")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--datastore-port", type=int, default=0)
    given = parser.parse_args()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    ports = (given.port, given.datastore_port)
    with WebknossosServer(given.dir, behaviour_from(given.behaviour), ports=ports) as server:
        server.faults.add(*(Fault(**fault) for fault in given.faults))
        line = {"url": server.url, "datastore_url": server.datastore_url, "tokens": TOKENS}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
