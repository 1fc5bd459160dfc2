"""What nobody thinks of: people at work on the same server, and answers that are no server's."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stackwatch.errors import (
    CancelledError,
    DeliveryRefusedError,
    DeliveryUnavailableError,
    SourceUnreadableError,
    StackwatchError,
    UsageError,
)
from stackwatch.model.delivery import ServerOptions, UploadRecord
from stackwatch.pipeline.deliver import deliver
from stackwatch.testing.webknossos_faults import Fault
from stackwatch.testing.webknossos_http import Request, Response
from stackwatch.testing.webknossos_routing import Route
from stackwatch.testing.webknossos_server import WebknossosServer
from stackwatch.webknossos import places, transport
from stackwatch.webknossos.connection import Connection
from stackwatch.webknossos.patience import Waiting
from stackwatch.webknossos.token import Token

from .conftest import Courier, Notebook, sent_tree

PORTAL = Response(200, b"<!doctype html><title>Maintenance</title>", "text/html")
NOWHERE = Response(404, b"<html><h1>404 Not Found</h1></html>", "text/html")
DEEP = Response(200, b"[" * 100_000, "application/json")
NO_NUMBERS = Response(
    200,
    b'{"id": [], "created": NaN, "tags": 3, "metadata": 7, "isActive": true, "teams": [3],'
    b' "dataSource": {"dataLayers": [{"name": "color", "mags": [{"mag": [[1], [2]]}]}]}}',
    "application/json",
)
NO_GZIP = Response(200, b"nonsense", "text/html", (("Content-Encoding", "gzip"),))
LATER = Response(503, b"", "text/html", (("Retry-After", "\xb2"),))


@pytest.fixture
def front(server: WebknossosServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what has a proxy answer the next requests to a route instead of the server."""

    def put(name: str, *answers: Response) -> None:
        left, work = list(answers), server._work

        def answer(route: Route, request: Request) -> Response:
            return left.pop(0) if route.name == name and left else work(route, request)

        monkeypatch.setattr(server, "_work", answer)

    return put


def recorded(notebook: Notebook, stage: str) -> UploadRecord:
    """Return the record of a stage, with the dataset's id if it had one by then."""
    return next(one for one in reversed(notebook.records) if one.stage == stage)


# ---------------------------------------------------------------- answers that are no server's


@pytest.mark.parametrize("odd", [PORTAL, NOWHERE], ids=["maintenance", "not found"])
@pytest.mark.parametrize("stage", ["finished", "described"])
def test_a_proxy_does_not_make_a_dataset_vanish(
    courier: Courier,
    server: WebknossosServer,
    front: Callable[..., None],
    odd: Response,
    stage: str,
):
    """A page where the dataset's document is expected is no reason to send it a second time."""
    notebook = Notebook()
    courier.bring(notebook)
    front("dataset", odd)
    courier.bring(record=recorded(notebook, stage))

    assert 1 == len(server.requests("reserve"))
    assert any("no WEBKNOSSOS does" in warning for warning in courier.warned)


@pytest.mark.parametrize(
    "route",
    ["user", "datastores", "folder_tree", "list_datasets", "reserve", "chunk", "test_chunk",
     "data", "update", "is_valid_new_name", "health"],
)  # fmt: skip
@pytest.mark.system
def test_a_proxy_that_answers_with_a_page_does_no_harm(
    courier: Courier,
    server: WebknossosServer,
    dataset: Path,
    front: Callable[..., None],
    route: str,
):
    """A maintenance page with status 200 anywhere: one whole dataset, never a second one."""
    front(route, PORTAL)
    courier.bring(remote_folder="Datasets/new")

    (found,) = server.datasets()
    assert sent_tree(dataset) == sent_tree(server.files(found))


@pytest.mark.parametrize("odd", [PORTAL, Response(200, b"{}")], ids=["page", "no id"])
def test_a_folder_that_a_proxy_answers_for_is_not_the_root(
    courier: Courier, server: WebknossosServer, front: Callable[..., None], odd: Response
):
    """Without a new folder's id nothing is delivered; the next attempt finds or creates it."""
    front("create_folder", odd)
    with pytest.raises(DeliveryUnavailableError):
        courier.bring(remote_folder="Datasets/new")
    assert [] == server.datasets()
    courier.bring(remote_folder="Datasets/new")

    (found,) = server.datasets()
    assert "new" == server.world.folders[found.folder_id].name


def test_a_description_that_a_proxy_took_is_told_again(
    courier: Courier, server: WebknossosServer, front: Callable[..., None]
):
    """A maintenance page with status 200 swallows the metadata: they are looked for afterwards."""
    front("update", PORTAL)
    courier.bring(tags=("raw",))

    (found,) = server.datasets()
    assert ["raw"] == found.tags
    assert "stackwatch_run_id" in {entry["key"] for entry in found.metadata}


@pytest.mark.parametrize("odd", [PORTAL, NO_GZIP], ids=["page", "no gzip"])
def test_a_finish_that_a_proxy_answers_is_unclear(
    courier: Courier,
    server: WebknossosServer,
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    odd: Response,
):
    """The finish worked and its answer is replaced: it is looked for, and not asked again."""
    work = server._work

    def answer(route: Route, request: Request) -> Response:
        done = work(route, request)
        return odd if route.name == "finish" else done

    monkeypatch.setattr(server, "_work", answer)
    courier.bring()

    assert (1, 1) == (len(server.requests("finish")), len(server.requests("reserve")))
    assert sent_tree(dataset) == sent_tree(server.files(server.datasets()[0]))


@pytest.mark.parametrize("route", ["user", "datastores", "dataset", "list_datasets"])
@pytest.mark.parametrize("odd", [DEEP, NO_NUMBERS, LATER], ids=["deep", "no numbers", "later"])
def test_nonsense_is_an_error_with_a_name(
    courier: Courier, front: Callable[..., None], route: str, odd: Response
):
    """JSON of the wrong kind is survived, or ends in one of our errors: never in a traceback."""
    front(route, odd)
    with contextlib.suppress(StackwatchError):
        courier.bring()


@pytest.mark.parametrize("place", ["http://[bad", "http://h:port/x", ""])
def test_a_redirect_to_no_address(courier: Courier, front: Callable[..., None], place: str):
    """A redirect to what is no address is survived or refused: never a traceback."""
    front("user", Response(302, b"", "text/html", (("Location", place),)))
    with contextlib.suppress(DeliveryRefusedError):
        courier.bring()


@pytest.mark.parametrize("url", ["http://[bad", "http://h:port", "http://h:99999", "http:// x"])
def test_what_is_no_address_is_told(courier: Courier, url: str):
    """An address with a mistake in it is told at once; nobody is asked."""
    with pytest.raises(UsageError, match="is no address"):
        courier.bring(server=ServerOptions(url))
    assert [] == courier.slept


def test_an_answer_without_end_is_not_kept(
    courier: Courier, front: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    """A body beyond every answer of a server is not read on, and asked for again."""
    monkeypatch.setattr(transport, "_LARGEST_ANSWER", 1 << 20)
    front("user", Response(200, b" " * (2 << 20), "application/json"))
    courier.bring()
    assert any("answers with more than" in warning for warning in courier.warned)


def test_a_long_name_is_cut(courier: Courier, server: WebknossosServer):
    """A server makes a directory of the name: what is longer than one is cut."""
    courier.bring(name="a" * 300 + " ü/")
    assert ["a" * 200] == [found.name for found in server.datasets()]


# ---------------------------------------------------------------- people at work meanwhile


def test_a_dataset_that_is_deleted_during_its_upload_is_sent_anew(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """Its chunks are then refused as for a bad token; no token is to blame, nothing is paused."""
    notebook = Notebook()

    def delete(record: UploadRecord) -> None:
        if len(notebook.stages) == 3:
            server.world.datasets.clear()

    notebook.on_record = delete
    courier.bring(notebook)

    assert ["planned", "reserved", "sending", "planned"] == notebook.stages[:4]
    assert sent_tree(dataset) == sent_tree(server.files(server.datasets()[0]))


def test_what_was_refused_may_go_elsewhere(courier: Courier, server: WebknossosServer):
    """The remedy for a refused folder or name is another one: it is taken the next time."""
    notebook = Notebook()
    server.faults.add(Fault("reserve", status=400, text="No write access in this folder."))
    with pytest.raises(DeliveryRefusedError):
        courier.bring(notebook, remote_folder="Datasets/closed")
    courier.bring(record=notebook.records[-1], remote_folder="Datasets/open", name="other")

    (found,) = server.datasets()
    assert ("other", "open") == (found.name, server.world.folders[found.folder_id].name)


def test_a_record_older_than_its_dataset(courier: Courier, server: WebknossosServer):
    """A record from a backup says that it is being sent; the server has had it for long."""
    notebook = Notebook()
    first = courier.bring(notebook)
    again = courier.bring(record=recorded(notebook, "sending"))

    assert (first.remote_id, 0) == (again.remote_id, again.sent_bytes)
    assert 1 == len(server.requests("reserve"))


def test_what_people_wrote_is_kept_without_any_record(courier: Courier, server: WebknossosServer):
    """A dataset that has its run's id was described: what people changed since is not set back."""
    courier.bring(tags=("em",), facts=(("operator", "AM"),))
    (found,) = server.datasets()
    theirs = [entry | {"value": "BN"} for entry in found.metadata if entry["key"] == "operator"]
    found.metadata = [one for one in found.metadata if one["key"] == "stackwatch_run_id"] + theirs
    before = list(found.metadata)
    courier.bring(tags=("em",), facts=(("operator", "AM"),))

    assert before == found.metadata
    assert 1 == len(server.requests("update"))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda path: path.unlink(), DeliveryRefusedError),
        (lambda path: (path.unlink(), path.mkdir()), SourceUnreadableError),
    ],
    ids=["gone", "unreadable"],
)
def test_a_file_that_cannot_be_read_any_more(
    courier: Courier,
    dataset: Path,
    tmp_path: Path,
    spoil: Callable[[Path], object],
    expected: type[StackwatchError],
):
    """A file that goes away, or a disk that fails, during the upload has an error of its own."""
    mine = shutil.copytree(dataset, tmp_path / "mine")
    notebook = Notebook()
    victim = next(path for path in sorted(mine.rglob("color/1/c/**/*")) if path.is_file())

    def spoil_soon(record: UploadRecord) -> None:
        if record.stage == "sending":
            spoil(victim)

    notebook.on_record = spoil_soon
    with pytest.raises(expected, match=victim.name):
        courier.bring(notebook, dataset=mine)


def test_stopping_does_not_wait_for_a_chunk_that_hangs(courier: Courier, server: WebknossosServer):
    """A server that keeps silent about a chunk for minutes holds nobody up who wants to stop."""
    server.faults.add(Fault("chunk", skip=2, delay_s=60.0, times=-1))
    notebook = Notebook()
    threading.Timer(1.0, notebook.cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(CancelledError):
        deliver(courier.request, notebook, token=Token(server.token))
    assert time.monotonic() - began < 10


def test_what_holds_for_all_is_told_as_such(courier: Courier, server: WebknossosServer):
    """A refusal before the server hears of the dataset is marked: it is not this one's fault."""
    server.behaviour = replace(server.behaviour, oldest_version=98, newest_version=99)
    with pytest.raises(DeliveryRefusedError, match="none in common") as refused:
        courier.bring()
    assert refused.value.values["is_for_all"]


def test_a_server_that_is_away_is_no_refusal(courier: Courier, front: Callable[..., None]):
    """Pages instead of documents, again and again: it is put off, and nobody is asked for help."""
    front("user", *[PORTAL] * 100)
    with pytest.raises(DeliveryUnavailableError):
        courier.bring()


def test_two_deliveries_create_one_folder(
    courier: Courier, server: WebknossosServer, monkeypatch: pytest.MonkeyPatch
):
    """Both see at the same time that it is missing: one creates it, the other one finds it."""
    both_looked = threading.Barrier(2)
    real = places.find_folder
    looks: list[places.FolderPlace] = []

    def find_folder(connection: Connection, path: str) -> places.FolderPlace:
        looks.append(place := real(connection, path))
        if len(looks) <= 2:
            both_looked.wait(10)
        return place

    monkeypatch.setattr(places, "find_folder", find_folder)
    server.faults.add(Fault("create_folder", delay_s=0.1, times=-1))
    threads = [
        threading.Thread(target=courier.bring, kwargs={"name": name, "remote_folder": "em/a/b"})
        for name in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder_ids = {found.folder_id for found in server.datasets()}
    names = [folder.name for folder in server.world.folders.values()]

    assert [("a", "b")] * 2 == [place.missing for place in looks[:2]]
    assert (2, 1) == (len(server.datasets()), len(folder_ids))
    assert ["a", "b"] == [name for name in names if name in {"a", "b"}]


def test_a_delivery_that_creates_folders_for_ever_is_not_waited_for(
    courier: Courier, server: WebknossosServer, monkeypatch: pytest.MonkeyPatch
):
    """What holds the name and does not get on holds nobody else up for good."""
    monkeypatch.setattr(places, "_OTHERS_S", 0.5)
    with places._alone(server.url, Waiting()):
        courier.bring(remote_folder="em/a")

    assert "a" in [folder.name for folder in server.world.folders.values()]
    assert [0.1] * 5 == courier.slept[:5]
