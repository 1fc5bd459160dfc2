"""The daemon's queue as a process: stops, poison, failures that pass, and whose turn it is."""

import contextlib
import os
import signal
import socket
import sqlite3
from pathlib import Path

import pytest

from stackwatch.ledger.reader import LedgerReader
from stackwatch.ledger.records import Job
from stackwatch.testing.service import ServiceBench, bench


@pytest.fixture
def service(tmp_path: Path):
    """A bench with its daemon not started yet."""
    with bench(tmp_path) as made:
        yield made


def jobs_of(service: ServiceBench) -> list[Job]:
    """Return all jobs, oldest first."""
    with LedgerReader.open(service.state_dir) as reader:
        return list(reversed(reader.list_jobs()))


def job_of(service: ServiceBench, key: str) -> Job:
    """Return the newest job of an acquisition."""
    return [job for job in jobs_of(service) if job.key == key][-1]


def worker_of(service: ServiceBench, key: str) -> int:
    """Return the process that works on an acquisition; 0 if none does."""
    converting = (service.status() or {"converting": []})["converting"]
    return next((job["pid"] or 0 for job in converting if job["acquisition"] == key), 0)


def hurry(service: ServiceBench) -> None:
    """Let the time pass that failed jobs wait."""
    ledger = service.state_dir / "ledger.db"
    with contextlib.closing(sqlite3.connect(ledger, timeout=30)) as connection:
        connection.execute("UPDATE jobs SET not_before_us = 1 WHERE state = 'waiting'")
        connection.commit()


def await_worker(service: ServiceBench, key: str) -> int:
    """Wait until a worker has an acquisition and is at work in its staging directory."""
    service.wait_until(lambda: worker_of(service, key) > 0)
    job = job_of(service, key)
    service.wait_until((service.target / ".stackwatch" / job.staging_name).is_dir)
    return worker_of(service, key)


@pytest.mark.system
def test_a_stop_does_not_wait_for_a_worker_that_does_not_hear(service):
    """C2: after `stop_timeout_s` it is killed; the job is back in the queue, staging is gone."""
    service.write_config(daemon="stop_timeout_s = 0.5")
    service.drop_acquisition("deaf", {"stubborn": b""})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        address = f"\0stackwatch-stop-{os.getpid()}"
        listener.bind(address)
        listener.setblocking(False)
        service.start(environment={"NOTIFY_SOCKET": "@" + address[1:]})
        await_worker(service, "deaf")

        assert 0 == service.stop()

        told = []
        with contextlib.suppress(BlockingIOError):
            while True:
                told.append(listener.recv(4096).decode())
    assert "EXTEND_TIMEOUT_USEC=30000000" in told
    job = job_of(service, "deaf")
    assert ("queued", "cancelled") == (str(job.state), (job.error or {})["error_code"])
    assert [] == list((service.target / ".stackwatch").glob("*-*"))


@pytest.mark.system
def test_a_stop_does_not_wait_for_a_target_that_hangs(service):
    """C2, C10: the process that looks at targets hangs; the daemon answers, and ends in time."""
    service.start()
    service.wait_until(lambda: errand_of(service) > 0)
    os.kill(errand_of(service), signal.SIGSTOP)
    service.drop_acquisition("run", {"1.tif": b"1"})
    service.wait_until(lambda: jobs_of(service) != [])
    assert service.status() is not None

    assert 0 == service.stop()

    assert ["queued"] == [str(job.state) for job in jobs_of(service)]


def errand_of(service: ServiceBench) -> int:
    """Return the process that runs errands; 0 if there is none."""
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    for child in children:
        with contextlib.suppress(OSError):
            if "errand_main" in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
    return 0


def test_a_poison_acquisition_is_parked_after_three_times(service):
    """C12, C11: it kills its worker each time: counted before the start, parked; others go on."""
    service.start()
    service.drop_acquisition("poison", {"crash": b""})
    for attempt in (1, 2, 3):
        state = "parked" if attempt == 3 else "waiting"

        def is_over(attempt: int = attempt, state: str = state) -> bool:
            return [(attempt, state)] == [(job.attempt, str(job.state)) for job in jobs_of(service)]

        service.wait_until(is_over)
        hurry(service)
    service.drop_acquisition("healthy", {"1.tif": b"1"})
    service.wait_until(lambda: service.datasets() == ["healthy"])

    assert "worker_killed" == (job_of(service, "poison").error or {})["error_code"]
    assert 1 == len(service.events("job.parked"))
    assert service.is_running()


@pytest.mark.system
def test_what_fails_twice_and_then_works_is_published(service):
    """L15, C11: two attempts are killed, the third succeeds; nobody has to restart anything."""
    service.start()
    service.drop_acquisition("shaky", {"pause": b"", "1.tif": b"1"})
    for attempt in (1, 2):
        service.wait_until(lambda attempt=attempt: job_of(service, "shaky").attempt == attempt
                           if jobs_of(service) else False)  # fmt: skip
        os.kill(await_worker(service, "shaky"), signal.SIGKILL)
        service.wait_until(lambda: str(job_of(service, "shaky").state) == "waiting")
        hurry(service)
    (service.root / "go").touch()

    service.wait_until(lambda: service.datasets() == ["shaky"])
    service.wait_until(lambda: str(job_of(service, "shaky").state) == "succeeded")
    assert 3 == job_of(service, "shaky").attempt


def test_what_is_touched_while_it_is_converted_is_converted_once(service):
    """D2: chmod and touch during a conversion never lead to a second worker or dataset."""
    service.write_config(daemon="workers = 3", folder="scan_interval_s = 0.2")
    service.start()
    place = service.drop_acquisition("run", {"pause": b"", "1.tif": b"1"})
    await_worker(service, "run")
    for mode in (0o600, 0o640, 0o644):
        (place / "1.tif").chmod(mode)
        (place / "1.tif").touch()
        looks = len(service.events("scan.finished"))
        service.wait_until(lambda looks=looks: len(service.events("scan.finished")) > looks)
        status = service.status()
        assert status is not None
        assert 1 >= len([job for job in status["converting"] if job["acquisition"] == "run"])
    (service.root / "go").touch()

    service.wait_until(lambda: str(job_of(service, "run").state) == "succeeded")
    assert ["run"] == service.datasets()
    assert 1 == [str(job.state) for job in jobs_of(service)].count("succeeded")


@pytest.mark.system
def test_a_full_folder_does_not_starve_another(service):
    """Folders take turns: what comes last in a second folder is not last to be converted."""
    other = service.root / "other"
    other.mkdir()
    service.write_config(
        f'[[folder]]\nname = "other"\npath = "{other}"\ntarget = "{service.target}"\n'
        "quiet_gap_s = 0.2"
    )
    service.drop_acquisition("first", {"pause": b""})
    service.start()
    await_worker(service, "first")
    for number in range(4):
        service.drop_acquisition(f"many_{number}", {"1.tif": b"1"})
    service.wait_until(lambda: len(jobs_of(service)) == 5)
    (other / "single").mkdir()
    (other / "single" / "1.tif").write_bytes(b"1")
    service.wait_until(lambda: len(jobs_of(service)) == 6)

    (service.root / "go").touch()

    service.wait_until(lambda: len(service.events("job.succeeded")) == 6)
    order = [line["acquisition"] for line in service.events("job.succeeded")]
    assert "single" == order[1]


@pytest.mark.system
def test_the_log_of_a_service_whose_reader_is_gone(tmp_path):
    """C7, C8: with `/dev/full` as its log the daemon works, answers and ends as ever."""
    with bench(tmp_path) as service:
        (tmp_path / "log.jsonl").unlink()
        (tmp_path / "log.jsonl").symlink_to("/dev/full")
        service.start()
        service.drop_acquisition("run", {"1.tif": b"1"})
        service.wait_until(lambda: service.datasets() == ["run"])
        service.wait_until(lambda: [str(job.state) for job in jobs_of(service)] == ["succeeded"])

        assert 0 == service.stop()
