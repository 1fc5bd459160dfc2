"""Which datasets are delivered, what follows a failure, and when all have to wait."""

import threading
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from stackwatch.daemon import delivery_gate
from stackwatch.daemon.delivery_gate import TOKEN_RETRY_S, DeliveryGate, TokenFile
from stackwatch.daemon.delivery_rules import (
    AFTER_FINISH_S,
    PauseFor,
    Release,
    choose_kind,
    find_silence,
    is_wanted,
    plan_after,
    plan_request,
)
from stackwatch.daemon.delivery_running import Running
from stackwatch.daemon.workers import EXIT_GRACE_S, KILL_GRACE_S
from stackwatch.errors import (
    CancelledError,
    DeliveryRefusedError,
    DeliveryUnauthorizedError,
    DeliveryUnavailableError,
    StalledError,
    WorkerKilledError,
)
from stackwatch.ledger.delivery_records import DeliveryRecord
from stackwatch.model.delivery import (
    DeliveryState,
    PathRule,
    ServerOptions,
    UploadRecord,
)
from stackwatch.model.job import AcquisitionId, DatasetState, JobId
from stackwatch.pipeline.retry import Park, RetryAfter
from stackwatch.settings import FolderSettings, Settings
from stackwatch.settings.outside import WebknossosSettings

URL = "https://wk.example.org"
FOLDER = FolderSettings(
    name="em",
    path=Path("/drop"),
    target=Path("/out"),
    delivery="upload",
    remote_folder="Datasets/em",
    teams=("A",),
    tags=("em2",),
)
SETTINGS = Settings(
    webknossos=WebknossosSettings(url=URL, path_map={"/out": "file:///srv"}), folder=(FOLDER,)
)
DELIVERY = DeliveryRecord(
    delivery_id=7, dataset_id=3, job_id=JobId(5), acquisition_id=AcquisitionId(2), folder="em",
    key="run", source=Path("/drop/run"), generation=2, name="run-r2", path=Path("/out/run-r2"),
    run_id="r", content_digest="d", total_bytes=9, dataset_state=DatasetState.PUBLISHED,
    upload=None, kind="upload", state=DeliveryState.QUEUED, server=URL, attempt=0, record=None,
    remote_id="", link="", error=None, progress=None, not_before_us=0, queued_at_us=1,
    started_at_us=None, alive_at_us=None, finished_at_us=None,
)  # fmt: skip


@pytest.mark.parametrize(
    ("delivery", "said", "kind"),
    [
        ("none", None, None),
        ("none", False, None),
        ("none", True, "upload"),
        ("register", None, "register"),
        ("register", True, "register"),
        ("paths", False, None),
    ],
)
def test_the_sidecar_wins_over_the_folder(delivery, said, kind):
    """`upload = false` keeps a dataset here, `upload = true` sends it from any folder."""
    assert kind == choose_kind(FOLDER.model_copy(update={"delivery": delivery}), said)


def test_what_the_settings_do_not_want_is_not_begun():
    """A folder that is gone, another server; but what the server may have is followed up."""
    begun = replace(DELIVERY, record=UploadRecord("finishing", "upload"))
    gone = SETTINGS.model_copy(update={"folder": ()})
    other = SETTINGS.model_copy(update={"webknossos": WebknossosSettings(url="https://b.org")})

    assert is_wanted(DELIVERY, SETTINGS)
    assert not is_wanted(DELIVERY, gone)
    assert is_wanted(begun, gone)
    assert not is_wanted(begun, other)
    assert not is_wanted(replace(DELIVERY, upload=False), SETTINGS)


def test_a_request_tells_where_the_dataset_comes_from_and_no_secret():
    """Folder, teams, tags, rules and origin go with it; the token stays in its file."""
    request = plan_request(DELIVERY, SETTINGS, ("6a",))

    assert ("Datasets/em", ("A",), ("em2",)) == (
        request.remote_folder, request.teams, request.tags,
    )  # fmt: skip
    assert (("6a",), (PathRule("/out", "file:///srv"),)) == (request.supersedes, request.path_rules)
    assert {
        "stackwatch_source": "/drop/run",
        "stackwatch_folder": "em",
        "stackwatch_acquisition": "run",
        "stackwatch_generation": "2",
        "stackwatch_content_digest": "d",
    } == dict(request.facts)


@pytest.mark.parametrize(
    ("error", "failures", "pauses", "after"),
    [
        (CancelledError(), 9, 9, Release()),
        (DeliveryUnauthorizedError(), 9, 9, PauseFor(0.0)),
        (DeliveryUnavailableError(), 1, 1, PauseFor(15.0)),
        (DeliveryUnavailableError(), 999, 999, PauseFor(900.0)),
        (StalledError(), 99, 3, PauseFor(60.0)),
        (DeliveryRefusedError(), 1, 1, Park("needs a human")),
        (DeliveryRefusedError(is_for_all=True), 1, 2, PauseFor(30.0)),
        (WorkerKilledError(), 1, 1, RetryAfter(10.0)),
        (WorkerKilledError(), 3, 1, Park("failed 3 times")),
    ],
)
def test_what_follows_an_end(error, failures, pauses, after):
    """C21: a server that is down never parks, what is refused parks at once."""
    assert after == plan_after(error, failures, pauses)


def test_a_server_that_finishes_may_be_silent_for_longer():
    """The time that a finish may take is set apart from what a stall is."""
    server = ServerOptions(URL, finish_timeout_s=100.0)

    assert 5.0 == find_silence("sending", 5.0, server)
    assert 100.0 + AFTER_FINISH_S == find_silence("finishing", 5.0, server)


def test_a_gate_waits_longer_and_longer_for_a_server():
    """Only the first cause is news; an answer opens it and begins anew."""
    gate = DeliveryGate()
    down = DeliveryUnavailableError("down")

    assert gate.may_try(0.0, None)
    assert gate.close(down, 0.0, None)
    assert [False, True] == [gate.may_try(14.9, None), gate.may_try(15.0, None)]
    assert not gate.close(down, 15.0, None)
    assert [False, True] == [gate.may_try(44.9, None), gate.may_try(45.0, None)]
    record = gate.as_record(20.0) or {}
    assert ("down", 20.0, 25.0) == tuple(record[k] for k in ("message", "since_s", "retry_in_s"))
    assert gate.open()
    assert not gate.open()
    assert gate.as_record(20.0) is None
    assert gate.close(down, 50.0, None)
    assert gate.may_try(65.0, None)


def test_a_gate_opens_when_the_token_changes():
    """C21: a refused token is not tried again before its file changes, or long after."""
    gate = DeliveryGate()
    refused = DeliveryUnauthorizedError("expired")

    assert gate.close(refused, 0.0, (1, 2, 3))
    assert not gate.may_try(TOKEN_RETRY_S - 1, (1, 2, 3))
    assert gate.may_try(TOKEN_RETRY_S, (1, 2, 3))
    assert gate.may_try(1.0, (1, 2, 4))
    assert not gate.close(refused, 2.0, (1, 2, 4))
    assert gate.close(DeliveryUnavailableError(), 3.0, (1, 2, 4))
    assert not gate.may_try(4.0, (9, 9, 9))


def test_a_comparison_that_gets_on_is_no_stall():
    """Boxes of voxels that are read back are movement, as bytes are; the same again is none."""
    child = Mock()
    running = Running(DELIVERY, child, ServerOptions(URL), moved_s=0.0, noted_s=0.0)
    progress = {"stage": "finished", "done_bytes": 9, "total_bytes": 9, "compared": 0}
    for count in range(10):
        progress = progress | {"compared": count}
        running.take_progress(progress, 1000.0 * count)
        running.end_if_silent(1000.0 * count + 999, 1800)
    assert (None, False) == (running.verdict, child.kill.called)

    running.take_progress(progress, 10_000.0)
    running.end_if_silent(10_801.0, 1800)
    assert isinstance(running.verdict, StalledError)
    child.kill.assert_called_once_with()


def test_a_process_that_does_not_end_after_its_last_word_is_killed():
    """What it said holds; where not even that ends it, its slot is free."""
    child = Mock()
    running = Running(DELIVERY, child, ServerOptions(URL), moved_s=0.0, noted_s=0.0)
    running.last_word = {"kind": "result", "result": {"link": "x"}}

    seen = []
    for now_s in (0, 1, 1 + KILL_GRACE_S, 2 + KILL_GRACE_S):
        running.end_if_silent(EXIT_GRACE_S + now_s, 1800)
        seen.append((child.kill.call_count, running.is_given_up))

    assert [(0, False), (1, False), (1, False), (1, True)] == seen
    assert {"link": "x"} == running.outcome()


def test_a_tokens_file_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    """A look that hangs is left alone; until it answers the last one counts."""
    file = tmp_path / "token"
    file.write_text("one")
    token, hanging, stat = TokenFile(), threading.Event(), Path.stat
    first = token.mark(file)
    file.write_text("another")

    def slow(path: Path, **options):
        assert path != file or hanging.wait(30)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", slow)
    with monkeypatch.context() as patch:
        patch.setattr(delivery_gate, "LOOK_S", 0.01)
        during = [token.mark(file), token.mark(file)]
    hanging.set()
    for thread in threading.enumerate():
        if thread.name == "token":
            thread.join(30)

    assert first is not None
    assert [first, first] == during
    assert (7, None) == ((token.mark(file) or (0, 0, 0))[1], token.mark(None))
