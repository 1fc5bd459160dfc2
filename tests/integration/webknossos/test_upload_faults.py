"""An upload where much goes wrong: each fault ends with one whole dataset, or a clear error."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from stackwatch.errors import (
    CancelledError,
    DeliveryRefusedError,
    DeliveryUnauthorizedError,
    DeliveryUnavailableError,
)
from stackwatch.model.delivery import UploadRecord
from stackwatch.testing.webknossos_faults import Fault
from stackwatch.testing.webknossos_server import WebknossosServer
from stackwatch.webknossos.patience import Patience

from .conftest import SENT_MIB, Courier, Notebook, sent_tree


def assert_whole(server: WebknossosServer, dataset: Path) -> None:
    """Assert that there is one dataset on the server, active and byte for byte ours."""
    (found,) = server.datasets()
    assert found.is_active
    assert sent_tree(dataset) == sent_tree(server.files(found))


PASSING = {
    "chunks": (
        Fault("chunk", status=502),
        Fault("chunk", status=502, is_done=True, skip=1),
        Fault("chunk", status=503, skip=2, times=2),
        Fault("chunk", status=504, is_done=True, skip=3),
        Fault("chunk", status=500, skip=4),
        Fault("chunk", status=429, skip=5, text="slow down"),
        Fault("chunk", reset="body", skip=6),
        Fault("chunk", reset="answer", skip=6),
        Fault("chunk", status=400, text="Error receiving chunk 1: Disk", skip=7),
    ),
    "reservation lost": (Fault("reserve", status=502, is_done=True),),
    "reservation not made": (
        Fault("reserve", reset="body"),
        Fault("reserve", status=400, text="Data store could not be found or accessed."),
    ),
    "everything else": (
        Fault("buildinfo", status=503),
        Fault("list_datasets", status=503),
        Fault("finish", status=429),
        Fault("data", status=502),
        Fault("data", status=500, skip=1),
        Fault("update", status=504, is_done=True),
    ),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_tried_again(
    courier: Courier, server: WebknossosServer, dataset: Path, name: str
):
    """A fault that passes costs a wait, and the dataset arrives whole, once."""
    server.faults.add(*PASSING[name])
    courier.bring()

    assert_whole(server, dataset)
    assert () == server.faults.pending()
    assert len(PASSING[name]) <= len(courier.slept) == len(courier.warned)
    assert 1 == len({asked.target for asked in server.requests("finish")})


def test_waits_grow_and_end(courier: Courier, server: WebknossosServer):
    """A server that stays away is given up after ten minutes; waits double up to a minute."""
    server.faults.add(Fault("reserve", status=502, times=-1))
    with pytest.raises(DeliveryUnavailableError, match="502 Bad Gateway") as away:
        courier.bring()

    assert [1, 2, 4, 8, 16, 32, 60, 60] == courier.slept[:8]
    assert 540 < sum(courier.slept) <= 600
    assert "retry" == str(away.value.disposition)


def test_smaller_chunks_where_a_proxy_demands_them(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """413 to the first chunk: smaller ones in the same upload, and a word about the setting."""
    server.behaviour = replace(server.behaviour, max_body_bytes=4 * SENT_MIB)
    courier.request = replace(courier.request, server=replace(courier.request.server, chunk_mib=9))
    delivered = courier.bring()

    assert_whole(server, dataset)
    assert 1 == len(server.requests("reserve"))
    assert "chunk_mib = 2" in delivered.warnings[0]


def test_413_for_the_smallest_chunk_parks(courier: Courier, server: WebknossosServer):
    """Where not even the smallest chunk passes, a human hears which limit it is."""
    server.behaviour = replace(server.behaviour, max_body_bytes=1000)
    with pytest.raises(DeliveryRefusedError, match="413") as refused:
        courier.bring()

    assert "proxy" in refused.value.hint


def test_413_later_begins_anew_with_smaller_chunks(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """Chunk sizes never change within an upload: 413 in its middle begins another one."""
    server.faults.add(Fault("chunk", status=413, skip=4))
    courier.request = replace(courier.request, server=replace(courier.request.server, chunk_mib=2))
    courier.bring()

    assert_whole(server, dataset)
    assert 2 == len(server.requests("reserve"))


def test_a_token_that_ends_pauses_everything(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """A revoked token is found out with the first 403; with a new one the upload goes on."""
    notebook = Notebook()

    def revoke(record: UploadRecord) -> None:
        if record.stage == "sending":
            server.world.users["new"] = server.world.users[server.token]
            server.revoke(server.token)
            server.clock.advance(121)

    notebook.on_record = revoke
    with pytest.raises(DeliveryUnauthorizedError):
        courier.bring(notebook)
    assert 0 == len(courier.slept)
    courier.bring(token="new", record=notebook.records[-1])

    assert_whole(server, dataset)
    assert 1 == len(server.requests("reserve"))


def test_a_datastore_that_remembers_an_old_right_is_waited_for_once(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """403 with a token that is valid: the datastore's memory of two minutes is waited for."""
    text = "Token may be expired, consider reloading. Token authentication failed."
    server.faults.add(Fault("chunk", status=403, text=text, skip=2))
    courier.bring()
    assert 125 in courier.slept
    assert_whole(server, dataset)

    server.datasets()[0].metadata.clear()
    server.faults.add(Fault("chunk", status=403, text=text, times=-1))
    with pytest.raises(DeliveryUnauthorizedError, match="Token authentication failed"):
        courier.bring()


def test_a_finish_that_loses_its_answer_is_not_asked_for_twice(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """504, a reset, and a client that waited too long: the dataset is found, finish sent once."""
    for fault in (
        Fault("finish", status=504, is_done=True),
        Fault("finish", reset="answer"),
    ):
        server.faults.add(fault)
        before = len(server.requests("finish"))
        courier.bring()

        assert_whole(server, dataset)
        assert before + (fault.reset == "") == len(server.requests("finish"))
        server.world.datasets.clear()


def test_a_finish_that_works_longer_than_anybody_waits(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """The client's patience ends, the server works on: polled until it is there."""
    server.behaviour = replace(server.behaviour, finish_s=0.6)
    courier.patience = Patience(finish_timeout_s=0.2, settle_s=1e6, poll_s=2.0)
    courier.patience = replace(courier.patience, settle_bytes_per_s=1.0)
    courier.request = replace(courier.request)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Patience, "settled_after_s", lambda *_: 1e6)
        courier.bring()

    assert_whole(server, dataset)
    assert 1 == len(server.requests("finish"))
    assert 3 < len(courier.slept)


def test_a_finish_that_never_began_begins_anew(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """The request was lost on its way: nobody can know, so another upload is made in the end."""
    server.faults.add(Fault("finish", status=502))
    delivered = courier.bring()

    assert_whole(server, dataset)
    assert 2 == len(server.requests("finish")) == len(server.requests("reserve"))
    assert () == delivered.warnings
    assert 180 <= sum(courier.slept) < 300


def test_what_cannot_be_removed_is_told(courier: Courier, server: WebknossosServer):
    """Where deleting is switched off, what an upload left is named with its link."""
    server.behaviour = replace(server.behaviour, can_delete=False)
    server.faults.add(Fault("finish", status=502))
    delivered = courier.bring()
    left, whole = server.datasets()

    assert (False, True) == (left.is_active, whole.is_active)
    assert [f"{server.url}/datasets/{left.id}"] == [
        warning.split(" is left")[0] for warning in delivered.warnings
    ]


def test_chunks_that_the_server_lacks_are_sent_and_it_is_finished_again(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """Only the explicit 400 about missing chunks allows a second finish."""
    notebook = Notebook()

    def lose(record: UploadRecord) -> None:
        if record.stage == "finishing":
            upload = server.world.uploads[record.upload_id]
            for file in list(upload.files.values())[:2]:
                file.seen.discard(1)
            notebook.on_record = lambda _record: None

    notebook.on_record = lose
    courier.bring(notebook)

    assert_whole(server, dataset)
    assert 2 == len(server.requests("finish"))
    assert 1 == len(server.requests("reserve"))
    assert ["finishing", "sending", "finishing"] == notebook.stages[3:6]
    assert max(shown.done_bytes for shown in notebook.shown) == notebook.shown[-1].total_bytes


@pytest.mark.parametrize("skip", [1, 6], ids=["the properties", "voxels"])
def test_a_chunk_that_was_counted_and_never_written_is_found(
    courier: Courier, server: WebknossosServer, dataset: Path, skip: int
):
    """Parts whose answer was lost are compared voxel by voxel; what differs is sent anew."""
    server.faults.add(Fault("chunk", status=504, is_unwritten=True, is_done=True, skip=skip))
    delivered = courier.bring()

    assert_whole(server, dataset)
    assert 2 == len(server.requests("reserve"))
    assert "sent once more" in delivered.warnings[0]
    server.mishaps.clear()  # it could not read what it had lost


def test_a_server_that_loses_data_again_and_again_parks(courier: Courier, server: WebknossosServer):
    """Twice something else than was sent: a human must look at the server's disk."""
    server.faults.add(Fault("chunk", is_unwritten=True, times=-1, contains="color/1/c"))
    with pytest.raises(DeliveryRefusedError, match="twice"):
        courier.bring()

    assert [] == server.datasets()
    server.mishaps.clear()  # it could not read what it had lost


def test_an_upload_that_expired_begins_anew(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """After a fortnight the server has forgotten the chunks: all are sent again, once."""
    notebook = Notebook()

    def stop(record: UploadRecord) -> None:
        if record.stage == "finishing":
            raise CancelledError

    notebook.on_record = stop
    with pytest.raises(CancelledError):
        courier.bring(notebook)
    server.clock.advance(15 * 86_400)
    courier.bring(record=replace(notebook.records[-1], stage="sending"))

    assert_whole(server, dataset)
    assert 2 == len(server.requests("reserve"))


def test_a_server_that_restarts_meanwhile(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """Chunks under way are lost, those that arrived are kept: the upload goes on."""
    notebook = Notebook()
    restarted = threading.Thread(target=server.restart, kwargs={"down_s": 0.05})

    def restart(record: UploadRecord) -> None:
        if record.stage == "sending" and restarted.ident is None:
            restarted.start()

    notebook.on_record = restart
    courier.bring(notebook)
    restarted.join()

    assert_whole(server, dataset)
    assert 1 == len(server.requests("reserve"))


def test_a_finish_that_the_server_refuses_tells_the_inner_cause(
    courier: Courier, server: WebknossosServer
):
    """The reason stands in the chain of causes: people read it in one sentence."""
    text = "Could not finalize upload for dataset “x”. <~ File size check failed"
    server.faults.add(Fault("finish", status=400, text=text))
    with pytest.raises(DeliveryRefusedError, match="File size check failed") as refused:
        courier.bring()

    assert "park" == str(refused.value.disposition)


def test_stopping_ends_between_chunks_and_goes_on(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """A delivery that is stopped sends nothing more, and later only what misses."""
    notebook = Notebook()
    server.faults.add(Fault("chunk", delay_s=0.1, times=-1))

    def stop_soon(record: UploadRecord) -> None:
        if record.stage == "sending":
            threading.Timer(0.05, notebook.cancelled.set).start()

    notebook.on_record = stop_soon
    with pytest.raises(CancelledError):
        courier.bring(notebook)
    before = len(server.requests("chunk"))
    server.faults.clear()
    delivered = courier.bring(record=notebook.records[-1])
    total = len(server.requests("chunk"))

    assert 0 < before < total
    assert 0 < delivered.sent_bytes < sum(len(data) for data in sent_tree(dataset).values())
    assert_whole(server, dataset)


def test_stopping_does_not_wait_for_the_finish(courier: Courier, server: WebknossosServer):
    """A server may finish for hours; who stops the delivery is not kept waiting."""
    server.behaviour = replace(server.behaviour, finish_s=3.0)
    notebook = Notebook()

    def stop_soon(record: UploadRecord) -> None:
        if record.stage == "finishing":
            threading.Timer(0.1, notebook.cancelled.set).start()

    notebook.on_record = stop_soon
    with pytest.raises(CancelledError):
        courier.bring(notebook)

    assert "finishing" == notebook.stages[-1]
    assert [] == server.requests("finish")
    server.world.closing.set()  # the server's own work ends here
