"""A delivery that dies anywhere and is begun again from its last record: one dataset, whole."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

import stackwatch
from stackwatch.errors import DeliveryUnavailableError, UsageError
from stackwatch.failpoints import DELIVERY_FAILPOINTS
from stackwatch.pipeline.delivery_state import open_state
from stackwatch.testing.webknossos_faults import Fault
from stackwatch.testing.webknossos_server import WebknossosServer

from .conftest import SENT_MIB, Courier, Notebook, sent_tree

WITHIN = [name for name in DELIVERY_FAILPOINTS if "commit" not in name]
HOMES = ("upload", "sending", "finishing")


class DeathError(BaseException):
    """Nothing catches it, as nothing catches kill -9."""


def die_at(monkeypatch: pytest.MonkeyPatch, wanted: str, passage: int = 1) -> None:
    """Let a failpoint end the delivery at its n-th passage."""
    passed = 0
    lock = threading.Lock()

    def reach(name: str) -> None:
        nonlocal passed
        with lock:
            passed += name == wanted
            if name == wanted and passed == passage:
                raise DeathError(name)

    for home in (*(f"webknossos.{home}" for home in HOMES), "pipeline.deliver"):
        monkeypatch.setattr(f"stackwatch.{home}.reach", reach)


@pytest.mark.parametrize(
    ("failpoint", "passage"), [(name, 1) for name in WITHIN] + [("delivery.chunk_sent", 9)]
)
def test_one_dataset_wherever_it_died(
    courier: Courier,
    server: WebknossosServer,
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    failpoint: str,
    passage: int,
):
    """After a death at each step the next attempt ends with one dataset, byte for byte ours."""
    notebook = Notebook()
    with monkeypatch.context() as patched:
        die_at(patched, failpoint, passage)
        with pytest.raises(DeathError):
            courier.bring(notebook)
    delivered = courier.bring(record=notebook.records[-1])
    (found,) = server.datasets()

    assert (found.id, True) == (delivered.remote_id, found.is_active)
    assert sent_tree(dataset) == sent_tree(server.files(found))
    assert "stackwatch_run_id" in {entry["key"] for entry in found.metadata}
    if failpoint != "delivery.finishing":  # whether that one was begun, nobody can know
        assert 1 == len(server.requests("finish"))
        assert count_chunks(dataset) == len(server.requests("chunk"))


def count_chunks(dataset: Path) -> int:
    """Return in how many chunks the dataset is sent."""
    sizes = [len(data) for data in sent_tree(dataset).values()]
    sizes.append((dataset / "datasource-properties.json").stat().st_size)
    return sum(-(-size // SENT_MIB) for size in sizes)


@pytest.mark.parametrize(
    "failpoint", ["delivery.reserved", "delivery.verified", "delivery.described"]
)
def test_a_lost_record_does_no_harm_once_it_is_described(
    courier: Courier,
    server: WebknossosServer,
    monkeypatch: pytest.MonkeyPatch,
    failpoint: str,
):
    """With its record lost too, what was described is found by its run id; else it is sent anew."""
    with monkeypatch.context() as patched:
        die_at(patched, failpoint)
        with pytest.raises(DeathError):
            courier.bring()
    courier.bring()
    described = [found for found in server.datasets() if found.metadata]

    assert 1 == len(described)
    assert described[0].is_active
    if failpoint == "delivery.described":
        assert 1 == len(server.requests("reserve"))


def test_only_what_misses_is_sent_by_the_next_process(
    courier: Courier, server: WebknossosServer, dataset: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each chunk is asked for before it is sent: what arrived does not travel twice."""
    notebook = Notebook()
    with monkeypatch.context() as patched:
        die_at(patched, "delivery.chunk_sent", 12)
        with pytest.raises(DeathError):
            courier.bring(notebook)
    before = len(server.requests("chunk"))
    delivered = courier.bring(record=notebook.records[-1])
    total = sum(len(data) for data in sent_tree(dataset).values())

    assert 12 <= before < count_chunks(dataset) == len(server.requests("chunk"))
    assert count_chunks(dataset) == len(server.requests("test_chunk"))
    assert 0 < delivered.sent_bytes < total


def test_another_dataset_in_its_place_begins_a_new_upload(
    courier: Courier, server: WebknossosServer, monkeypatch: pytest.MonkeyPatch
):
    """A record about other files is not gone on with; what it left on the server is removed."""
    notebook = Notebook()
    with monkeypatch.context() as patched:
        die_at(patched, "delivery.chunks_sent")
        with pytest.raises(DeathError):
            courier.bring(notebook)
    courier.bring(record=replace(notebook.records[-1], files_digest="of others"))

    assert 2 == len(server.requests("reserve"))
    assert [True] == [found.is_active for found in server.datasets()]


def test_an_id_that_is_not_clear_is_not_guessed(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """Two reservations of one name at the same time: the id is left to the finish."""
    notebook = Notebook()
    rival = courier.bring()
    other = server.datasets()[0]
    other.is_active, other.created_ms = False, 2**53
    other.metadata.clear()
    courier.bring(notebook)

    assert "" == next(record.remote_id for record in notebook.records if record.stage == "sending")
    assert rival.remote_id != notebook.records[-1].remote_id
    assert sent_tree(dataset) == sent_tree(server.files(server.datasets()[1]))


def test_by_hand_the_same_call_goes_on(
    server: WebknossosServer, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The state file remembers where an upload by hand stopped, and holds no token."""
    state = tmp_path / "state"
    monkeypatch.setattr("stackwatch.webknossos.patience.Patience.delay_s", lambda *_: 1e9)
    server.faults.add(Fault("chunk", status=503, skip=5))
    with pytest.raises(DeliveryUnavailableError):
        stackwatch.upload(dataset, url=server.url, token=server.token, state_dir=state)
    delivered = stackwatch.upload(dataset, url=server.url, token=server.token, state_dir=state)
    again = stackwatch.upload(dataset, url=server.url, token=server.token, state_dir=state)

    assert 1 == len(server.requests("reserve")) == len(server.datasets())
    assert (delivered.remote_id, 0) == (again.remote_id, again.sent_bytes)
    assert 0 < delivered.sent_bytes
    texts = [path.read_text() for path in state.iterdir()]
    assert all(server.token not in text for text in texts)


def test_two_uploads_of_one_dataset_do_not_meet(
    server: WebknossosServer, dataset: Path, tmp_path: Path, courier: Courier
):
    """While one process uploads, another is told so."""
    request = courier.request
    with (
        open_state(tmp_path / "state", request, "run", None, threading.Event()),
        pytest.raises(UsageError, match="Another process uploads"),
        open_state(tmp_path / "state", request, "run", None, threading.Event()),
    ):
        pass
