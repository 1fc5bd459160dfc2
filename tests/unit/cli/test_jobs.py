"""`status` and `jobs`: the ledger, as people and scripts see it."""

from pathlib import Path
from typing import Any

import pytest

from stackwatch.cli.explain import explain_acquisition
from stackwatch.daemon.verdicts import why_incomplete, why_settling
from stackwatch.errors import ExitCode, IncompleteAcquisitionError, UsageError
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.lock import StateLock
from stackwatch.model.disposal import DisposalAction
from stackwatch.model.facts import Veto, VetoKind
from stackwatch.model.job import NewJob
from stackwatch.settings import FolderSettings

from .conftest import History, sighting

JOB_KEYS = {
    "job_id", "acquisition_id", "folder", "acquisition", "name", "generation", "files",
    "total_bytes", "state", "attempt", "worker_pid", "error_code", "message", "hint", "progress",
    "result", "not_before_us", "queued_at_us", "claimed_at_us", "finished_at_us",
}  # fmt: skip
ACQUISITION_KEYS = {
    "acquisition_id", "folder", "acquisition", "name", "kind", "state", "generation", "files",
    "total_bytes", "error_code", "message", "hint", "seen_at_us", "changed_at_us",
    "vanished_at_us",
}  # fmt: skip
EVENT_KEYS = {"at_us", "event", "state_from", "state_to", "facts"}


def keys(record: Any) -> set[str]:
    """Return the keys of a record."""
    return set(record)


def test_status_document(history: History):
    """The document of `status` has the documented keys and tells what the ledger holds."""
    document = history.answer("status")

    assert {
        "status", "daemon", "folders", "jobs", "converting", "arriving", "waiting", "parked",
        "disposals", "deliveries", "paused", "degraded",
    } == keys(document)  # fmt: skip
    assert document["status"] == "no daemon"
    assert {
        "pid", "host", "version", "started_at_us", "alive_at_us", "stopped_at_us",
    } == keys(document["daemon"])  # fmt: skip
    (folder,) = document["folders"]
    assert {
        "name", "path", "target", "state", "reason", "files", "scan_ms", "scanned_at_us",
        "is_configured", "acquisitions",
    } == keys(folder)  # fmt: skip
    assert {"settling": 1, "published": 1, "parked": 1, "waiting": 1} == folder["acquisitions"]
    assert {
        "queued": 0, "claimed": 0, "waiting": 1, "succeeded": 1, "failed": 0, "parked": 1,
    } == document["jobs"]  # fmt: skip
    assert document["converting"] == []
    (arriving,) = document["arriving"]
    assert ACQUISITION_KEYS | {"not_ready"} == keys(arriving)
    assert ("run_9", "settling") == (arriving["acquisition"], arriving["state"])
    assert ["img_#.tif"] == [job["acquisition"] for job in document["waiting"]]
    assert [] == document["disposals"]
    (parked,) = document["parked"]
    assert ACQUISITION_KEYS | {"job_id"} == keys(parked)
    assert ("run_2", 2, "missing_slices") == (
        parked["acquisition"], parked["job_id"], parked["error_code"],
    )  # fmt: skip


def test_status_for_people(history: History):
    """People read that no daemon runs, since when, and what waits for them."""
    text = history.run("status").stdout

    assert "no daemon (last sign of life" in text
    assert "stopped on request" in text
    assert "em1     polling" in text
    assert "em1: the mount has no events" in text
    assert "parked: em1/run_2 (job 2): Slice 4 is missing." in text
    assert "settling: em1/run_9, 2 files, since " in text
    assert "waiting: em1/img_#.tif (job 3), again at 2033-05-18" in text
    assert max(len(line) for line in text.splitlines() if str(history.drop) not in line) <= 80


def test_status_tells_why_something_is_not_ready_and_what_becomes_of_sources(history: History):
    """What speaks against an acquisition, and when a source is put away, stand in `status`."""
    with Ledger.open(history.state_dir) as ledger:
        error = IncompleteAcquisitionError("late", vetoes=["the marker `*.done` is not there"])
        ledger.folders.record_incomplete("em1", sighting("run_9"), error)
        ledger.disposals.plan("em1", DisposalAction.DELETE, 0)
    text = " ".join(history.run("status").stdout.split())
    document = history.answer("status")

    assert "incomplete: em1/run_9" in text
    assert "not ready because the marker `*.done` is not there" in text
    assert [["the marker `*.done` is not there"]] == [a["not_ready"] for a in document["arriving"]]
    (disposal,) = document["disposals"]
    assert ("run_1", "delete", "due") == (
        disposal["acquisition"], disposal["action"], disposal["state"],
    )  # fmt: skip
    assert "source: em1/run_1: " in text


def test_status_of_a_running_daemon(history: History):
    """Whoever holds the ledger's lock is a running daemon; what it converts is shown."""
    with Ledger.open(history.state_dir) as ledger:
        ledger.start()
        ledger.jobs.retry(ledger_job(history, "run_2"))
        job = ledger.jobs.claim(1)
        assert job is not None
        ledger.jobs.record_progress(job.job_id, {"phase": "converting", "done": 3, "total": 9})
        text = history.run("status").stdout
        document = history.answer("status")

    assert "daemon running (pid" in text
    assert "converting: job 2, em1/run_2, converting 3 of 9 slices" in text
    assert document["status"] == "running"
    assert [2] == [job["job_id"] for job in document["converting"]]
    assert JOB_KEYS == keys(document["converting"][0])


def ledger_job(history: History, acquisition: str) -> Any:
    """Return the number of an acquisition's newest job."""
    jobs = history.answer("jobs", "list")["jobs"]
    return next(job["job_id"] for job in jobs if job["acquisition"] == acquisition)


def test_a_ledger_that_was_never_made(empty: History):
    """Without a ledger there is an error that says how to get one, and none is made."""
    for command in (["status"], ["jobs", "list"], ["jobs", "show", "1"], ["jobs", "retry", "1"]):
        document = empty.answer(*command, code=ExitCode.UNAVAILABLE)

        assert "state_dir" in document["hint"]
    assert not empty.state_dir.exists()


def test_jobs_list_document(history: History):
    """`jobs list` has the documented keys, newest first."""
    document = history.answer("jobs", "list")

    assert {"status", "jobs"} == keys(document)
    assert [3, 2, 1] == [job["job_id"] for job in document["jobs"]]
    assert all(keys(job) == JOB_KEYS | {"is_superseded"} for job in document["jobs"])
    assert ["waiting", "parked", "succeeded"] == [job["state"] for job in document["jobs"]]
    waiting, parked, succeeded = document["jobs"]
    assert waiting["not_before_us"] == 2_000_000_000_000_000
    assert parked["progress"]["done"] == 3
    assert succeeded["result"]["status"] == "succeeded"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--state", "parked"], [2]),
        (["--limit", "1"], [3]),
        (["--folder", "em1"], [3, 2, 1]),
        (["--folder", "em2"], []),
    ],
)
def test_jobs_list_can_be_narrowed(history: History, arguments: list[str], expected: list[int]):
    """State, folder and number of jobs can be chosen."""
    jobs = history.answer("jobs", "list", *arguments)["jobs"]

    assert expected == [job["job_id"] for job in jobs]


def test_jobs_list_for_people(history: History):
    """People get a table; an empty one says so."""
    lines = history.run("jobs", "list").stdout.splitlines()

    assert ["JOB", "STATE", "ACQUISITION"] == lines[0].split()[:3]
    assert lines[2].split()[:3] == ["2", "parked", "em1/run_2"]
    assert lines[2].endswith("missing_slices")
    assert history.run("jobs", "list", "--state", "queued").stdout == "no jobs\n"


def test_jobs_list_marks_what_is_superseded(history: History):
    """E1, D6: a newer content took the place of what the first job made."""
    with Ledger.open(history.state_dir) as ledger:
        ledger.folders.record_settling("em1", sighting("run_1"))
        ledger.jobs.queue(NewJob("em1", "run_1", 2, "other", 3, 4096, "size"))

    found = {job["job_id"]: job["is_superseded"] for job in history.answer("jobs", "list")["jobs"]}
    assert {1: True, 2: False, 3: False, 4: False} == found
    lines = history.run("jobs", "list").stdout.splitlines()
    assert ["1", "succeeded"] == lines[4].split()[:2]
    assert lines[4].endswith("superseded")
    (dataset,) = history.answer("jobs", "show", "1")["datasets"]
    assert "superseded" == dataset["state"]


def test_jobs_show_document(history: History):
    """`jobs show` has the job, its datasets and its history."""
    document = history.answer("jobs", "show", "1")

    assert {
        "status", "job", "datasets", "events", "event_count", "disposal", "deliveries",
    } == keys(document)  # fmt: skip
    assert document["event_count"] == len(document["events"])
    shortened = history.answer("jobs", "show", "1", "--limit", "1")
    assert (document["events"][-1:], document["event_count"]) == (
        shortened["events"], shortened["event_count"],
    )  # fmt: skip
    assert "earlier lines are not shown" in history.run("jobs", "show", "1", "--limit", "1").stdout
    assert JOB_KEYS == keys(document["job"])
    (dataset,) = document["datasets"]
    assert {
        "name", "path", "state", "job_id", "folder", "acquisition", "generation", "run_id",
        "content_digest", "bytes_written", "published_at_us", "superseded_at_us", "url",
    } == keys(dataset)  # fmt: skip
    assert all(keys(event) == EVENT_KEYS for event in document["events"])
    assert "job.succeeded" in [event["event"] for event in document["events"]]


def test_jobs_show_for_people(history: History):
    """People read the error with its hint, and what happened when."""
    text = history.run("jobs", "show", "2").stdout

    assert "job 2: parked" in text
    assert "missing_slices: Slice 4 is missing." in text
    assert "Copy it in." in text
    assert "job.parked  claimed → parked  missing_slices" in text
    assert "say `stackwatch jobs retry 2`." in text


@pytest.mark.parametrize("command", ["show", "retry"])
def test_a_job_that_does_not_exist(history: History, command: str):
    """A mistyped number is a usage error."""
    document = history.answer("jobs", command, "99", code=ExitCode.USAGE)

    assert "99" in document["message"]


def test_retry_without_a_daemon(history: History):
    """Without a daemon the job is queued in the ledger, under its lock, for the next one."""
    document = history.answer("jobs", "retry", "2")

    assert {"status": "queued", "job_id": 2, "daemon": False} == document
    assert history.answer("jobs", "show", "2")["job"]["state"] == "queued"
    assert "job 3 is queued again" in history.run("jobs", "retry", "3").stdout


def test_retry_of_what_succeeded(history: History):
    """A job that is done is not done again."""
    assert history.run("jobs", "retry", "1").exit_code == ExitCode.USAGE


def test_retry_beside_a_stranger(history: History):
    """While somebody else holds the lock and nobody answers, nothing is written: exit 69."""
    lock = StateLock.take(history.state_dir)
    try:
        document = history.answer("jobs", "retry", "2", code=ExitCode.UNAVAILABLE)
    finally:
        lock.release()

    assert document["error_code"] == "ledger_in_use"
    assert history.answer("jobs", "show", "2")["job"]["state"] == "parked"


def test_retry_asks_the_daemon(history: History, monkeypatch: pytest.MonkeyPatch):
    """A running daemon is asked through its socket; the ledger is left to it."""
    asked = []

    def request(state_dir: Path, command: dict[str, Any]) -> dict[str, Any]:
        asked.append((state_dir, command))
        return {}

    monkeypatch.setattr("stackwatch.daemon.control.request", request)

    assert history.answer("jobs", "retry", "2")["daemon"] is True
    assert [(history.state_dir, {"command": "retry", "job": 2})] == asked
    assert history.answer("jobs", "show", "2")["job"]["state"] == "parked"


def test_explain_document(history: History):
    """`jobs explain` has the acquisition, the reason, the job and the history."""
    document = history.answer("jobs", "explain", "run_2")

    assert {
        "status", "acquisition", "because", "not_ready", "watch", "job", "events",
        "event_count", "disposal",
    } == keys(document)  # fmt: skip
    assert ACQUISITION_KEYS == keys(document["acquisition"])
    assert JOB_KEYS == keys(document["job"])
    assert all(keys(event) == EVENT_KEYS for event in document["events"])
    assert document["because"] == "Slice 4 is missing."


def test_a_running_daemon_adds_what_it_knows_now(history: History, monkeypatch: pytest.MonkeyPatch):
    """While a daemon runs, `status` shows its progress and `explain` how quiet it has been."""
    progress = {
        "phase": "converting", "done": 7, "total": 9, "ranges_done": 1, "ranges_total": 3,
    }  # fmt: skip
    answers: dict[str, dict[str, Any]] = {
        "status": {"converting": [{"job_id": 2, "progress": progress}]},
        "explain": {
            "acquisition": "run_9", "phase": "settling", "quiet_s": 12.3, "quiet_gap_s": 60.0,
            "ready_s": 47.7, "next_look_s": 4.5, "vetoes": ["“a.tif” is empty"],
            "veto_kinds": ["empty_file"], "awaited": ["1200 files"], "unseen": ["files of others"],
            "refused": 3, "refusals": ["run_9/pipe: no regular file"],
            "is_accepted": False, "folder": "em1",
        },
    }  # fmt: skip
    asked = []

    def request(state_dir: Path, command: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        asked.append(command)
        return answers[command["command"]]

    monkeypatch.setattr("stackwatch.daemon.control.request", request)
    with Ledger.open(history.state_dir) as ledger:
        ledger.start()
        ledger.jobs.retry(ledger_job(history, "run_2"))
        assert ledger.jobs.claim(1) is not None
        status, text = history.answer("status"), history.run("status").stdout
        explained = history.answer("jobs", "explain", "run_9")

    assert status["converting"][0]["progress"]["done"] == 7
    assert "converting 7 of 9 slices, 1 of 3 ranges" in text
    assert {
        "phase", "quiet_s", "quiet_gap_s", "ready_s", "next_look_s", "vetoes", "veto_kinds",
        "awaited", "unseen", "refused", "refusals", "is_accepted", "paused",
    } == keys(explained["watch"])  # fmt: skip
    assert ["“a.tif” is empty"] == explained["not_ready"]
    assert (
        "Not ready because: “a.tif” is empty. Quiet for 12 of 60 s; looked at again in 4 s. "
        "Waited for: 1200 files. Cannot be seen: files of others. "
        "Never read: run_9/pipe: no regular file; and 2 more."
    ) in explained["because"]
    assert asked[-1] == {"command": "explain", "path": str(history.drop / "run_9")}


@pytest.mark.parametrize(
    ("what", "acquisition"),
    [
        ("2", "run_2"),
        ("run_9", "run_9"),
        ("em1/run_1", "run_1"),
        ("{drop}/run_1", "run_1"),
        ("{drop}/run_1/", "run_1"),
        ("{drop}/run_1/deep/slice.tif", "run_1"),
        ("{drop}/img_17.tif", "img_#.tif"),
        ("img", "img_#.tif"),
    ],
)
def test_explain_finds_what_is_meant(history: History, what: str, acquisition: str):
    """A job's number, a name, a path, or a path inside the acquisition all mean it."""
    record = explain_acquisition(history.state_dir, what.replace("{drop}", str(history.drop)))

    assert acquisition == record["acquisition"]["acquisition"]


@pytest.mark.parametrize("what", ["run_10", "99", "{drop}/run_12", "{drop}/img_x.tif", "{drop}"])
def test_explain_what_was_never_seen(history: History, what: str):
    """A path that nobody saw is a usage error, never the nearest neighbour."""
    with pytest.raises(UsageError, match="has been seen"):
        explain_acquisition(history.state_dir, what.replace("{drop}", str(history.drop)))


@pytest.mark.parametrize(
    ("what", "phrase"),
    [
        ("run_9", "quiet gap"),
        ("run_1", "its dataset is in place"),
        ("img", "1 GiB free, 2 GiB needed. It is tried again at 2033-"),
    ],
)
def test_explain_gives_the_reason(history: History, what: str, phrase: str):
    """Each state is told with its reason, in the words of the error where there is one."""
    assert phrase in history.answer("jobs", "explain", what)["because"]
    assert phrase in history.run("jobs", "explain", what).stdout


def hold_back(history: History, state: str) -> None:
    """Record why run_9 is not ready, as the daemon does."""
    veto = Veto(VetoKind.MARKER, "the marker `*.done` is not there")
    folder = FolderSettings(name="em1", path=history.drop, target=history.drop / "out")
    with Ledger.open(history.state_dir) as ledger:
        if state == "incomplete":
            error = why_incomplete(folder, sighting("run_9"), (veto,))
            ledger.folders.record_incomplete("em1", sighting("run_9"), error)
        else:
            held = why_settling(folder, sighting("run_9"), (veto,))
            ledger.folders.hold_back("em1", sighting("run_9"), held)


@pytest.mark.parametrize(
    ("phase", "phrase"),
    [("settling", "Quiet for 70 of 60 s"), ("settled", "compared with what was published")],
)
def test_explain_tells_lying_still_from_being_compared(
    history: History, monkeypatch: pytest.MonkeyPatch, phase: str, phrase: str
):
    """What lies still, and whose content is being compared, is not said to be changing."""
    answer = {"acquisition": "run_9", "phase": phase, "quiet_s": 70.0, "quiet_gap_s": 60.0}
    answer |= {"ready_s": -10.0, "next_look_s": 4.0, "vetoes": [], "refused": 0}
    monkeypatch.setattr("stackwatch.daemon.control.request", lambda *_args, **_more: answer)
    with Ledger.open(history.state_dir) as ledger:
        ledger.start()
        because = history.answer("jobs", "explain", "run_9")["because"]

    assert phrase in because
    assert ("still changing" in because) == (phase == "settling")


@pytest.mark.parametrize("state", ["settling", "incomplete"])
def test_explain_without_a_daemon_tells_what_was_recorded(history: History, state: str):
    """What held it back is known from the ledger, and said to be so."""
    hold_back(history, state)
    document = history.answer("jobs", "explain", "run_9")

    assert ["the marker `*.done` is not there"] == document["not_ready"]
    assert "the marker `*.done` is not there" in document["because"]
    assert "still changing" not in document["because"]
    assert document["watch"] is None
    assert ("when it was last recorded" in document["because"]) == (state == "settling")


def test_accept_without_a_daemon(history: History):
    """The ledger notes what was last seen as accepted; the next daemon goes by it."""
    document = history.answer("jobs", "accept", "run_9")

    assert {
        "status": "accepted", "folder": "em1", "acquisition": "run_9", "daemon": False,
    } == document  # fmt: skip
    again = history.run("jobs", "accept", str(history.drop / "run_9"))
    assert "as it was last recorded; no daemon runs" in again.stdout
    with Ledger.open(history.state_dir) as ledger:
        assert ledger.folders.facts("em1")["run_9"].accepted_mark == "mark"


def test_accept_of_what_is_not_arriving(history: History):
    """What is parked or published is not accepted: the command says what it is."""
    result = history.run("jobs", "accept", "run_1")

    assert result.exit_code == ExitCode.USAGE
    assert "is published" in result.stderr


def test_forget_without_a_daemon(history: History):
    """Open jobs end with the reason, the acquisition is ignored, `retry` takes it up again."""
    document = history.answer("jobs", "forget", "run_2")

    assert {
        "status": "ignored", "folder": "em1", "acquisition": "run_2", "ended_jobs": 1,
        "daemon": False,
    } == document  # fmt: skip
    explained = history.answer("jobs", "explain", "run_2")
    assert "forgotten on request" in explained["because"]
    assert ("ignored", "failed") == (explained["acquisition"]["state"], explained["job"]["state"])
    history.answer("jobs", "retry", "2")
    assert history.answer("jobs", "explain", "run_2")["acquisition"]["state"] == "queued"
    assert "1 open job(s) ended" in history.run("jobs", "forget", "run_2").stdout


@pytest.mark.parametrize("command", ["accept", "forget"])
def test_deciding_asks_a_running_daemon(
    history: History, monkeypatch: pytest.MonkeyPatch, command: str
):
    """The daemon is told the path, and its refusals are shown."""
    asked = []

    def request(state_dir: Path, order: dict[str, Any]) -> dict[str, Any]:
        asked.append(order)
        return {"status": "done", "ended_jobs": 0}

    monkeypatch.setattr("stackwatch.daemon.control.request", request)
    document = history.answer("jobs", command, "img")

    assert [{"command": command, "path": str(history.drop / "img_#.tif")}] == asked
    assert document["daemon"]
