"""The daemon as a process: real folders, real signals, a stand-in for the conversion itself."""

import contextlib
import copy
import json
import os
import signal
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stackwatch.daemon.history import count_failures
from stackwatch.errors import NoDaemonError, UsageError
from stackwatch.ledger.reader import JobDetails, LedgerReader
from stackwatch.ledger.records import Job
from stackwatch.model.job import JobState
from stackwatch.testing.service import ServiceBench, bench


@pytest.fixture
def service(tmp_path: Path):
    """A bench with its daemon not started yet."""
    with bench(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def living(tmp_path_factory):
    """One running daemon for the tests that leave it in peace."""
    with bench(tmp_path_factory.mktemp("living"), daemon="workers = 2") as made:
        made.start()
        yield made


def jobs_of(service: ServiceBench, acquisition: str) -> list[Job]:
    """Return the jobs of an acquisition from the ledger, oldest first."""
    with LedgerReader.open(service.state_dir) as reader:
        return [job for job in reversed(reader.list_jobs()) if job.key == acquisition]


def children_of(pid: int) -> list[int]:
    """Return the child processes of a process."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def command_of(pid: int) -> str:
    """Return the command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


def code_of(job: Job) -> str:
    """Return the code of a job's error."""
    return str((job.error or {}).get("error_code"))


def details_of(service: ServiceBench, job: Job) -> JobDetails:
    """Return a job with its datasets and its history."""
    with LedgerReader.open(service.state_dir) as reader:
        details = reader.show_job(job.job_id)
    assert details is not None
    return details


def states_of(service: ServiceBench, acquisition: str) -> list[str]:
    """Return the states of an acquisition's jobs, oldest first."""
    return [str(job.state) for job in jobs_of(service, acquisition)]


def state_of(service: ServiceBench, acquisition: str) -> str:
    """Return the state of an acquisition."""
    with LedgerReader.open(service.state_dir) as reader:
        found = [a for a in reader.list_acquisitions() if a.key == acquisition]
    return str(found[0].state) if found else ""


def await_state(service: ServiceBench, acquisition: str, *states: str) -> None:
    """Wait until an acquisition's jobs have these states."""
    service.wait_until(lambda: list(states) == states_of(service, acquisition))


# ---------------------------------------------------------------- one daemon for all of these


def test_a_settled_acquisition_becomes_a_dataset_with_one_canonical_line(living):
    """What is dropped is published whole, and one line tells the job's story."""
    living.drop_acquisition("run_041", {"a.tif": b"a" * 1000, "b.tif": b"b" * 500})

    await_state(living, "run_041", "succeeded")

    assert b"a" * 1000 + b"b" * 500 == (living.target / "run_041" / "data").read_bytes()
    (line,) = [e for e in living.events("job.succeeded") if e["acquisition"] == "run_041"]
    assert (["run_041"], 2, 1500) == (line["datasets"], line["files"], line["bytes_read"])
    assert {"job_id", "attempt", "seconds", "mib_per_s", "peak_mib", "folder"} <= set(line)


def test_loose_files_that_differ_in_a_number_become_one_dataset(living):
    """A group of loose files is converted as one, from its members alone."""
    for number in (1, 2, 10):
        (living.drop / f"img_{number}.tif").write_bytes(str(number).encode())

    await_state(living, "img_#.tif", "succeeded")

    assert sorted(b"1210") == sorted((living.target / "img" / "data").read_bytes())


def test_missing_slices_park_with_a_hint_and_copying_them_in_resumes(living):
    """The parked acquisition goes on by itself as its next generation."""
    acquisition = living.drop_acquisition("gap", {"missing": b"-", "1.tif": b"1"})
    await_state(living, "gap", "parked")
    (line,) = [e for e in living.events("job.parked") if e["acquisition"] == "gap"]
    assert ("missing_slices", "Copy it in.") == (line["error_code"], line["hint"])

    (acquisition / "slice").write_bytes(b"2")

    await_state(living, "gap", "failed", "succeeded")
    assert (living.target / "gap").is_dir()
    assert not (living.target / "gap-r2").exists()


def test_a_killed_worker_is_tried_again_later_and_leaves_nothing(living):
    """C11, C12, L15: a worker that ends without a word: its job waits, its staging is gone."""
    living.drop_acquisition("poison", {"crash": b"-"})

    await_state(living, "poison", "waiting")

    (job,) = jobs_of(living, "poison")
    assert "worker_killed" == code_of(job)
    assert job.not_before_us > (job.finished_at_us or 0) > 0
    assert not (living.target / ".stackwatch" / job.staging_name).exists()
    (line,) = [e for e in living.events("job.failed") if e["acquisition"] == "poison"]
    assert "retry_at_utc" in line


def test_a_full_target_is_waited_for_without_counting_failures(living):
    """No room: the job waits, however often it looks, and goes on when there is room."""
    (living.root / "full").touch()
    living.drop_acquisition("big", {"full": b"x"})
    await_state(living, "big", "waiting")
    (job,) = jobs_of(living, "big")
    assert "out_of_space" == code_of(job)
    assert 0 == count_failures(details_of(living, job).events)

    (living.root / "full").unlink()
    living.ask("retry", job=job.job_id)

    await_state(living, "big", "succeeded")


def test_a_change_after_publishing_becomes_a_second_version(living):
    """The later content stands beside the first one, which is superseded."""
    acquisition = living.drop_acquisition("growing", {"1.tif": b"1"})
    await_state(living, "growing", "succeeded")

    (acquisition / "2.tif").write_bytes(b"2")

    await_state(living, "growing", "succeeded", "succeeded")
    assert b"1" == (living.target / "growing" / "data").read_bytes()
    assert b"12" == (living.target / "growing-r2" / "data").read_bytes()
    first, second = (details_of(living, job) for job in jobs_of(living, "growing"))
    assert ["superseded"] == [str(dataset.state) for dataset in first.datasets]
    assert ["published"] == [str(dataset.state) for dataset in second.datasets]


def test_a_touched_acquisition_changes_nothing_but_the_mark(living):
    """D2, D3: same bytes, new dates: the content is compared, and nothing is converted again."""
    acquisition = living.drop_acquisition("touched", {"1.tif": b"1"})
    await_state(living, "touched", "succeeded")
    published = (living.target / "touched" / "stackwatch.json").read_bytes()

    (acquisition / "1.tif").touch()

    living.wait_until(lambda: any(line["acquisition"] == "touched" and "reason" in line
                                  for line in living.events("acquisition.settled")))  # fmt: skip
    assert ["succeeded"] == states_of(living, "touched")
    assert "published" == state_of(living, "touched")
    assert published == (living.target / "touched" / "stackwatch.json").read_bytes()
    assert not (living.target / "touched-r2").exists()


def test_two_acquisitions_that_meet_in_one_name_are_not_both_published(living):
    """L19: the first keeps the name, the second is parked and names the first."""
    living.drop_acquisition("meet me", {"1.tif": b"first"})
    await_state(living, "meet me", "succeeded")

    living.drop_acquisition("meet_me", {"1.tif": b"second"})

    await_state(living, "meet_me", "parked")
    (job,) = jobs_of(living, "meet_me")
    assert "target_exists" == code_of(job)
    assert "meet me" in str(job.error)
    assert b"first" == (living.target / "meet_me" / "data").read_bytes()


def test_what_changes_while_it_is_converted_is_not_published(living):
    """D7: the daemon looks once more before the rename, and refuses it."""
    acquisition = living.drop_acquisition("late", {"pause": b"-", "1.tif": b"1"})
    await_state(living, "late", "claimed")
    living.wait_until(lambda: any(j["acquisition"] == "late" and j["pid"]
                                  for j in living.status()["converting"]))  # fmt: skip

    (acquisition / "1.tif").write_bytes(b"more than before")
    (living.root / "go").touch()

    living.wait_until(lambda: states_of(living, "late")[-1:] == ["succeeded"])
    assert "failed" in states_of(living, "late")
    assert b"more than before-" == (living.target / "late" / "data").read_bytes()


def test_what_vanishes_before_it_settles_is_forgotten(living):
    """An acquisition that is taken away leaves no job."""
    acquisition = living.drop_acquisition("passing", {"1.tif": b"1"})
    living.wait_until(lambda: state_of(living, "passing") != "")

    acquisition.rename(living.root / "passing-taken-away")

    living.wait_until(lambda: state_of(living, "passing") == "ignored")


def test_commands_are_answered_and_bad_ones_refused(living):
    """Status, rescan and explain answer; what makes no sense is a usage error."""
    living.drop_acquisition("asked", {"1.tif": b"1"})
    await_state(living, "asked", "succeeded")

    status = living.ask("status")
    assert ("running", living.pid) == (status["status"], status["pid"])
    assert {"status": "scanning", "folder": "em"} == living.ask("rescan", folder="em")
    answer = living.ask("explain", path=str(living.drop / "asked" / "1.tif"))
    assert ("asked", "settled", "published") == (
        answer["acquisition"], answer["phase"], answer["state"],
    )  # fmt: skip
    mistakes: list[tuple[str, dict[str, Any]]] = [
        ("dance", {}),
        ("rescan", {"folder": "nowhere"}),
        ("explain", {"path": "/nowhere"}),
        ("retry", {"job": 10_000}),
        ("retry", {}),
    ]
    for command, values in mistakes:
        with pytest.raises(UsageError):
            living.ask(command, **values)


def test_a_second_daemon_on_the_same_state_directory_ends_with_69(living):
    """D10: two daemons never share a ledger."""
    second = copy.copy(living)
    second.start(is_awaited=False)

    assert 69 == second.wait()
    second.close()
    assert living.is_running()


# ---------------------------------------------------------------- a daemon each


def test_a_dead_daemon_answers_nobody(service):
    """Without a daemon the question is refused at once."""
    with pytest.raises(NoDaemonError):
        service.ask("status")


def test_a_stop_puts_the_job_back_and_the_next_start_finishes_it(service):
    """SIGTERM: workers stop at the next slab, exit 0, nothing is lost, nothing is left."""
    acquisition = service.drop_acquisition("long", {"sleep": b"-", "1.tif": b"1"})
    service.start()
    service.wait_until(lambda: any(j["pid"] for j in service.status()["converting"]))

    assert 0 == service.stop()

    (job,) = jobs_of(service, "long")
    assert (JobState.QUEUED, "cancelled") == (job.state, code_of(job))
    assert [] == service.datasets()
    (acquisition / "sleep").unlink()
    service.start()
    service.wait_until(lambda: service.datasets() == ["long"])


def test_a_share_that_hangs_does_not_hold_up_a_stop(service):
    """C9: a worker that waits for a look at a hanging share is refused, and the service ends."""
    service.drop_acquisition("stuck", {"pause": b"-", "1.tif": b"1"})
    service.start()
    service.wait_until(lambda: any(j["pid"] for j in service.status()["converting"]))
    (scan,) = [pid for pid in children_of(service.pid) if "scan_main" in command_of(pid)]
    os.kill(scan, signal.SIGSTOP)
    (service.root / "go").touch()
    staging = service.target / ".stackwatch" / "1-1" / "stuck" / "stackwatch.json"
    service.wait_until(staging.exists)

    assert 0 == service.stop()

    assert [] == service.datasets()
    assert ["queued"] == states_of(service, "stuck")


def test_a_second_signal_kills_workers_that_do_not_hear(service):
    """The second SIGTERM ends the service at once; the job is taken up at the next start."""
    service.drop_acquisition("deaf", {"stubborn": b"-"})
    service.start()
    service.wait_until(lambda: any(j["pid"] for j in service.status()["converting"]))
    service.signal(signal.SIGTERM)
    service.wait_until(lambda: service.events("daemon.stopping") != [])
    assert service.is_running()

    assert 0 == service.stop()

    assert [] == service.datasets()
    (job,) = jobs_of(service, "deaf")
    assert job.state in (JobState.QUEUED, JobState.WAITING)


def test_killing_the_daemon_while_a_worker_converts_publishes_nothing(service):
    """Kill -9 of the daemon: its worker dies, the next daemon converts once."""
    acquisition = service.drop_acquisition("orphan", {"pause": b"-", "1.tif": b"1"})
    service.start()
    service.wait_until(lambda: any(j["pid"] for j in service.status()["converting"]))
    (worker,) = [job["pid"] for job in service.status()["converting"]]

    service.signal(signal.SIGKILL)
    service.wait()
    service.wait_until(lambda: not Path(f"/proc/{worker}").exists())

    (service.root / "go").touch()
    assert set(service.datasets()) <= {".stackwatch"}
    service.start()
    service.wait_until(lambda: states_of(service, "orphan") == ["succeeded"])
    assert ["orphan"] == service.datasets()
    assert acquisition.is_dir()
    assert 1 == len(service.events("job.recovered"))


def test_a_killed_worker_gets_half_the_memory_the_next_time(service):
    """C11: kill -9 of the worker: the daemon lives, the job waits, and is tried with less."""
    service.write_config(daemon="threads = 2")
    service.drop_acquisition("victim", {"pause": b"-", "1.tif": b"1"})
    service.start()
    service.wait_until(lambda: any(j["pid"] for j in service.status()["converting"]))
    (worker,) = [job["pid"] for job in service.status()["converting"]]

    os.kill(worker, signal.SIGKILL)
    await_state(service, "victim", "waiting")
    service.stop()

    (service.root / "go").touch()
    (job,) = jobs_of(service, "victim")
    with contextlib.closing(sqlite3.connect(service.state_dir / "ledger.db")) as connection:
        connection.execute("UPDATE jobs SET not_before_us = 0")  # its time has come
        connection.commit()
    service.start()
    await_state(service, "victim", "succeeded")
    (job,) = jobs_of(service, "victim")
    assert job.result is not None
    assert "0.25 GiB, 1 threads" == job.result["layout"]
    assert ["victim"] == service.datasets()


def test_a_folder_that_is_not_there_does_not_stop_the_others(service):
    """A missing folder is a state; when it appears its acquisitions are converted."""
    away = service.root / "away"
    service.write_config(
        'scan_interval_s = 0.2\n[[folder]]\nname = "away"\n'
        f'path = "{away}"\ntarget = "{service.target}"\nquiet_gap_s = 0.2\nscan_interval_s = 0.2'
    )
    service.drop_acquisition("here", {"1.tif": b"1"})

    service.start()

    service.wait_until(lambda: service.datasets() == ["here"])
    states = {folder["name"]: folder["state"] for folder in service.status()["folders"]}
    assert {"away": "unavailable", "em": "healthy"} == states
    assert 1 == len(service.events("folder.unavailable"))
    (away / "there").mkdir(parents=True)
    (away / "there" / "1.tif").write_bytes(b"1")
    service.wait_until(lambda: service.datasets() == ["here", "there"])
    assert 1 == len(service.events("folder.recovered"))


def test_settings_are_swapped_whole_or_not_at_all(service):
    """SIGHUP takes valid settings over; a mistake leaves the old ones in force."""
    service.start()
    good = service.config.read_text()
    service.config.write_text(good + "quiet_gapp_s = 1\n")
    service.signal(signal.SIGHUP)
    service.wait_until(lambda: service.events("settings.refused") != [])
    assert "quiet_gap_s" in service.events("settings.refused")[0]["message"]

    more = service.root / "more"
    more.mkdir()
    service.config.write_text(
        good.replace(str(service.state_dir), str(service.root / "elsewhere"))
        + f'[[folder]]\nname = "more"\npath = "{more}"\ntarget = "{service.target}"\n'
        "quiet_gap_s = 0.2\n"
    )
    answer = service.ask("reload")

    assert ["daemon.state_dir"] == answer["needs_restart"]
    (more / "added").mkdir()
    (more / "added" / "1.tif").write_bytes(b"1")
    service.wait_until(lambda: service.datasets() == ["added"])


@pytest.mark.parametrize(("on_change", "datasets"), [("park", ["kept"]), ("replace", ["kept"])])
def test_a_changed_acquisition_parks_or_replaces_as_set(service, on_change, datasets):
    """`park` asks a person and keeps the old; `replace` puts the new in its place."""
    service.write_config(f'on_change = "{on_change}"')
    acquisition = service.drop_acquisition("kept", {"1.tif": b"1"})
    service.start()
    service.wait_until(lambda: state_of(service, "kept") == "published")

    (acquisition / "2.tif").write_bytes(b"2")

    if on_change == "park":
        service.wait_until(lambda: state_of(service, "kept") == "parked")
        expected = b"1"
    else:
        await_state(service, "kept", "succeeded", "succeeded")
        expected = b"12"
    assert datasets == service.datasets()
    assert expected == (service.target / "kept" / "data").read_bytes()


def test_a_dataset_that_is_not_ours_is_never_replaced(service):
    """With `replace` too, what no ledger of ours knows is left alone."""
    service.write_config('on_change = "replace"')
    (service.target / "theirs").mkdir()
    (service.target / "theirs" / "precious").touch()
    service.drop_acquisition("theirs", {"1.tif": b"1"})

    service.start()

    await_state(service, "theirs", "parked")
    assert ["precious"] == [path.name for path in (service.target / "theirs").iterdir()]


def test_systemd_hears_ready_and_stopping(service):
    """READY comes after the first scan, STOPPING at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        address = f"\0stackwatch-{os.getpid()}"
        listener.bind(address)
        listener.settimeout(30)
        service.start(is_awaited=False, environment={"NOTIFY_SOCKET": "@" + address[1:]})

        received = [listener.recv(4096).decode() for _ in range(2)]
        assert "READY=1" in "\n".join(received).split("\n")
        assert 0 == service.stop()
        listener.setblocking(False)
        rest = []
        while True:
            try:
                rest.append(listener.recv(4096).decode())
            except BlockingIOError:
                break
        assert any(message.startswith("STOPPING=1") for message in rest)


def test_the_log_is_json_and_tells_how_it_ends(service):
    """Every line of the log is a JSON object; the last one tells of the stop."""
    service.start()
    service.stop()

    lines = (service.root / "log.jsonl").read_text().splitlines()

    assert "daemon.stopped" == [json.loads(line)["event"] for line in lines][-1]


def test_no_process_is_left_behind(service):
    """After a stop neither worker nor scan process lives."""
    service.start()
    service.wait_until(lambda: children_of(service.pid) != [])
    children = children_of(service.pid)

    service.stop()

    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
