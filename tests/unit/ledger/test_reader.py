"""Looking into the ledger beside the daemon and without one."""

import json
import sqlite3

import pytest

from stackwatch.errors import LedgerError, MissingMetadataError
from stackwatch.ledger.ledger import LEDGER_NAME, Ledger
from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.job import AcquisitionState, JobId, JobState


@pytest.fixture
def reader(ledger, tmp_path):
    """Return a reader beside the open ledger."""
    with LedgerReader.open(tmp_path / "state") as opened:
        yield opened


def test_open_without_a_ledger(tmp_path):
    """Where no daemon ever ran the message says so and names the setting."""
    with pytest.raises(LedgerError) as caught:
        LedgerReader.open(tmp_path)

    assert "state_dir" in caught.value.hint


def test_open_of_garbage(tmp_path):
    """A file that is no database is an error that names it."""
    (tmp_path / LEDGER_NAME).write_bytes(b"no database at all" * 100)
    with pytest.raises(LedgerError) as caught:
        LedgerReader.open(tmp_path)

    assert LEDGER_NAME in str(caught.value)


@pytest.mark.parametrize(("version", "phrase"), [(0, "is being made"), (1, "older stackwatch")])
def test_open_of_a_ledger_that_is_not_ready(tmp_path, version, phrase):
    """A ledger that is being made, or waits for its migration, is told from a damaged one."""
    with sqlite3.connect(tmp_path / LEDGER_NAME) as made:
        made.execute(f"PRAGMA user_version = {version}")
    made.close()

    with pytest.raises(LedgerError, match=phrase):
        LedgerReader.open(tmp_path)


def test_reader_cannot_write(reader):
    """Whatever a page or a command does by mistake, it changes nothing."""
    with pytest.raises(sqlite3.OperationalError):
        reader._connection.execute("UPDATE jobs SET state = 'queued'")


def test_reader_sees_what_was_committed(ledger, reader, queue):
    """A reader that stays open sees each commit of the daemon at its next question."""
    before = reader.list_jobs()
    job = queue()
    claimed = ledger.jobs.claim()

    assert () == before
    assert (claimed,) == reader.list_jobs()
    assert (claimed,) == reader.list_jobs(state=JobState.CLAIMED, folder="em")
    assert () == reader.list_jobs(state=JobState.QUEUED)
    assert () == reader.list_jobs(folder="lm")
    assert job.job_id == claimed.job_id


def test_daemon_and_its_sign_of_life(ledger, reader, clock):
    """The last sign of life, a stop on request, and whether the lock is held are told apart."""
    never = reader.daemon()
    ledger.start()
    clock.seconds += 10
    ledger.beat()
    beating = reader.daemon()
    was_alive = reader.is_daemon_alive()
    ledger.stop()
    stopped = reader.daemon()
    ledger.close()

    assert never is None
    assert beating is not None
    assert (1_000_000_000, 1_010_000_000, None) == (
        beating.started_at_us,
        beating.alive_at_us,
        beating.stopped_at_us,
    )
    assert stopped is not None
    assert 1_010_000_000 == stopped.as_record()["stopped_at_us"]
    assert (True, False) == (was_alive, reader.is_daemon_alive())


def test_reader_after_the_daemon_has_gone(tmp_path, ledger, queue):
    """Without a daemon the ledger is read as it is, and no file is left behind."""
    queue()
    ledger.close()
    before = {path.name for path in (tmp_path / "state").iterdir()}
    with LedgerReader.open(tmp_path / "state") as reader:
        jobs = reader.list_jobs()

    assert 1 == len(jobs)
    assert before == {path.name for path in (tmp_path / "state").iterdir()}


def test_list_folders_counts_by_state(ledger, reader, queue, sight):
    """A folder tells how many acquisitions are in each state; what came and went is not counted."""
    queue("a")
    queue("b")
    ledger.jobs.claim()
    ledger.folders.record_settling("em", sight("c"))
    ledger.folders.record_settling("em", sight("d"))
    ledger.folders.record_vanished("em", "d")
    (folder,) = reader.list_folders()

    assert {"converting": 1, "queued": 1, "settling": 1} == folder.acquisitions


def test_count_jobs_names_every_state(reader, queue):
    """States without a job are zero, not absent."""
    queue()

    assert {str(state): int(state is JobState.QUEUED) for state in JobState} == reader.count_jobs()


def test_show_job_tells_the_whole_story(ledger, reader, queue, publish):
    """A job comes with its datasets and every change of its state."""
    queue()
    job = ledger.jobs.claim()
    ledger.jobs.park(job.job_id, MissingMetadataError())
    ledger.jobs.retry(job.job_id)
    job = ledger.jobs.claim()
    publish(job)
    ledger.jobs.succeed(job.job_id)
    details = reader.show_job(job.job_id)

    assert details is not None
    assert [
        "job.queued",
        "job.claimed",
        "job.parked",
        "job.queued",
        "job.retried",
        "job.claimed",
        "dataset.publishing",
        "dataset.published",
        "job.succeeded",
    ] == [event.event for event in details.events]
    assert ["published"] == [dataset.state for dataset in details.datasets]


def test_show_job_unknown(reader):
    """A job that is not there is None, for the command to say so."""
    assert reader.show_job(JobId(7)) is None


def test_records_are_json(ledger, reader, queue, publish):
    """Everything the reader tells can be written as strict JSON, odd names included."""
    ledger.start()
    queue("bad\udcff")
    job = ledger.jobs.claim()
    publish(job)
    daemon, details = reader.daemon(), reader.show_job(job.job_id)
    assert daemon is not None
    assert details is not None
    told = [
        daemon.as_record(),
        details.as_record(),
        *(folder.as_record() for folder in reader.list_folders()),
        *(one.as_record() for one in reader.list_acquisitions()),
        *(event.as_record() for event in reader.list_events()),
    ]

    text = json.dumps(told, ensure_ascii=False, allow_nan=False)
    assert "bad\\\\xff" in text
    assert told == json.loads(text.encode("utf-8"))


def test_list_events_of_one_acquisition(ledger, reader, sight, queue):
    """The history of one acquisition leaves the others out."""
    queue("a")
    other = ledger.folders.record_settling("em", sight("b"))

    assert ["acquisition.seen"] == [
        event.event for event in reader.list_events(acquisition_id=other)
    ]


def test_list_acquisitions_by_state(reader, queue):
    """Acquisitions can be asked for by folder and by state."""
    queue("a")

    assert ["a"] == [one.key for one in reader.list_acquisitions("em", AcquisitionState.QUEUED)]
    assert () == reader.list_acquisitions("em", AcquisitionState.PARKED)


def test_open_while_a_killed_ledgers_log_remains(tmp_path, ledger, queue):
    """A log that a killed daemon left is read too: nothing committed is missed."""
    queue()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in (tmp_path / "state").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with LedgerReader.open(copy) as reader:
        jobs = reader.list_jobs()
    with Ledger.open(copy) as again:
        claimed = again.jobs.claim()

    assert (copy / f"{LEDGER_NAME}-wal").exists() or claimed is not None
    assert 1 == len(jobs)
