"""Verbs about folders and acquisitions."""

from pathlib import Path

import pytest

from stackwatch.errors import (
    IllegalTransitionError,
    LedgerError,
    StillArrivingError,
    UnknownLayoutError,
)
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.job import AcquisitionState, FolderState, JobState, NewJob

STATES = AcquisitionState


def state_of(ledger: Ledger, key: str = "run") -> tuple[AcquisitionState, bool]:
    """Return an acquisition's state and whether it is gone."""
    fact = ledger.folders.facts("em")[key]
    return fact.state, fact.is_gone


def test_upsert_keeps_a_known_folder(ledger, tmp_path):
    """A folder whose path changed keeps its acquisitions: its name is its identity."""
    ledger.folders.upsert("em", Path("/drop/new"), Path("/out/new"))
    with LedgerReader.open(tmp_path / "state") as reader:
        (folder,) = reader.list_folders()

    assert (Path("/drop/new"), Path("/out/new")) == (folder.path, folder.target)


def test_keep_only_takes_folders_out(ledger, queue, tmp_path):
    """Jobs of a folder that left the settings are not claimed, until it comes back."""
    queue()
    ledger.folders.keep_only(frozenset())
    without = ledger.jobs.claim()
    ledger.folders.upsert("em", Path("/drop/em"), Path("/out/em"))

    assert without is None
    assert ledger.jobs.claim() is not None


def test_record_state_tells_news(ledger, tmp_path):
    """A state is news once; the history has each change with its reason."""
    news = [
        ledger.folders.record_state("em", FolderState.UNAVAILABLE, "away"),
        ledger.folders.record_state("em", FolderState.UNAVAILABLE, "away"),
        ledger.folders.record_state("em", FolderState.HEALTHY),
    ]
    with LedgerReader.open(tmp_path / "state") as reader:
        events = [event.event for event in reader.list_events()]

    assert [True, False, True] == news
    assert ["folder.recorded", "folder.unavailable", "folder.healthy"] == events


def test_record_scan_keeps_the_mount(ledger):
    """The mount of the last good scan outlives a restart."""
    mount = {"device": 1, "root_inode": 2, "fstype": "nfs4"}
    before = ledger.folders.mount("em")
    ledger.folders.record_scan("em", files=7, seconds=0.25, mount=mount)

    assert (None, mount) == (before, ledger.folders.mount("em"))


def test_unknown_folder(ledger, sight):
    """A verb on a folder that was never recorded is an error, not a new folder."""
    with pytest.raises(LedgerError):
        ledger.folders.record_settling("lm", sight())


def test_facts_round_trip_any_name(ledger, sight):
    """Bytes that are no UTF-8 come back as the same surrogates."""
    key = "bad\udcff/run"
    ledger.folders.record_settling("em", sight(key))

    assert [key] == [*ledger.folders.facts("em")]


def test_facts_before_and_after_the_first_generation(ledger, sight, queue, publish):
    """Marks are those of the newest generation, the digest is known when it was published."""
    ledger.folders.record_settling("em", sight())
    before = ledger.folders.facts("em")["run"]
    queue()
    publish(ledger.jobs.claim())
    after = ledger.folders.facts("em")["run"]

    assert (0, "", "", "") == (
        before.generation,
        before.stat_mark,
        before.size_mark,
        before.content_digest,
    )
    assert (1, "m1", "s1", "d1") == (
        after.generation,
        after.stat_mark,
        after.size_mark,
        after.content_digest,
    )


def test_record_settling_holds_a_queued_job_back(ledger, queue, sight):
    """A job whose acquisition is changing again stays queued and is not claimed."""
    job = queue()
    ledger.folders.record_settling("em", sight(mark="m2"))
    held = ledger.jobs.claim()
    restored = ledger.folders.restore("em", sight())
    claimed = ledger.jobs.claim()

    assert (None, STATES.QUEUED) == (held, restored)
    assert claimed is not None
    assert job.job_id == claimed.job_id


def test_record_incomplete_keeps_the_reason(ledger, sight, tmp_path):
    """An incomplete acquisition tells why, and the reason goes when it moves on."""
    ledger.folders.record_settling("em", sight())
    ledger.folders.record_incomplete("em", sight(), StillArrivingError("still growing"))
    with LedgerReader.open(tmp_path / "state") as reader:
        (incomplete,) = reader.list_acquisitions(state=STATES.INCOMPLETE)
        ledger.folders.record_settling("em", sight())
        (settling,) = reader.list_acquisitions(folder="em")

    assert incomplete.error is not None
    assert ("still_arriving", "still growing") == (
        incomplete.error["error_code"],
        incomplete.as_record()["message"],
    )
    assert (STATES.SETTLING, None) == (settling.state, settling.error)


def test_park_without_a_job_remembers_the_looks(ledger, sight):
    """A verdict without a job keeps the mark it was made for, so that it is not made again."""
    ledger.folders.record_settling("em", sight())
    ledger.folders.park("em", sight(mark="m7", size="s7"), UnknownLayoutError())
    fact = ledger.folders.facts("em")["run"]

    assert (STATES.PARKED, 0, "m7", "s7") == (
        fact.state,
        fact.generation,
        fact.stat_mark,
        fact.size_mark,
    )
    assert STATES.PARKED is ledger.folders.restore("em", sight(mark="m7"))


def test_record_vanished_ends_waiting_work(ledger, queue, tmp_path):
    """A queued job whose acquisition is gone fails; telling it again changes nothing."""
    job = queue()
    ledger.folders.record_vanished("em", "run")
    ledger.folders.record_vanished("em", "run")
    ledger.folders.record_vanished("em", "never seen")
    with LedgerReader.open(tmp_path / "state") as reader:
        details = reader.show_job(job.job_id)

    assert (STATES.IGNORED, True) == state_of(ledger)
    assert details is not None
    assert (JobState.FAILED, "vanished") == (
        details.job.state,
        details.as_record()["error_code"],
    )


def test_record_vanished_leaves_running_and_published_alone(ledger, queue, publish):
    """A conversion that runs is its worker's affair, and a published dataset stays published."""
    queue()
    job = ledger.jobs.claim()
    ledger.folders.record_vanished("em", "run")
    running = state_of(ledger)
    publish(job)
    done = ledger.jobs.succeed(job.job_id)

    assert (STATES.CONVERTING, True) == running
    assert JobState.SUCCEEDED is done.state
    assert (STATES.PUBLISHED, True) == state_of(ledger)


def test_record_vanished_while_arriving(ledger, sight):
    """What goes away before it ever settled is ignored."""
    ledger.folders.record_settling("em", sight())
    ledger.folders.record_vanished("em", "run")

    assert (STATES.IGNORED, True) == state_of(ledger)


def test_restore_queues_what_had_vanished(ledger, queue, sight):
    """An acquisition that comes back as it was is converted after all."""
    job = queue()
    ledger.folders.record_vanished("em", "run")
    ledger.folders.record_settling("em", sight())
    restored = ledger.folders.restore("em", sight())
    claimed = ledger.jobs.claim()

    assert STATES.QUEUED is restored
    assert claimed is not None
    assert (job.job_id, 1) == (claimed.job_id, claimed.tries)


@pytest.mark.parametrize("end", ["park", "wait", "succeed", "claimed"])
def test_restore_follows_the_newest_job(ledger, queue, sight, publish, end):
    """The state put back is the one that the newest job gives."""
    queue()
    job = ledger.jobs.claim()
    expected = STATES.CONVERTING
    if end == "park":
        ledger.jobs.park(job.job_id, UnknownLayoutError())
        expected = STATES.PARKED
    elif end == "wait":
        ledger.jobs.wait(job.job_id, UnknownLayoutError(), 10**16)
        expected = STATES.WAITING
    elif end == "succeed":
        publish(job)
        ledger.jobs.succeed(job.job_id)
        expected = STATES.PUBLISHED
    ledger.folders.record_settling("em", sight(mark="m2"))

    assert expected is ledger.folders.restore("em", sight())


def test_update_mark_keeps_the_generation(ledger, queue, sight, publish):
    """Equal content under a new mark is no new generation: only the mark changes."""
    queue()
    job = ledger.jobs.claim()
    publish(job)
    ledger.jobs.succeed(job.job_id)
    ledger.folders.record_settling("em", sight(mark="m2"))
    state = ledger.folders.update_mark("em", sight(mark="m2"))
    fact = ledger.folders.facts("em")["run"]

    assert (STATES.PUBLISHED, 1, "m2") == (state, fact.generation, fact.stat_mark)


def test_update_mark_of_nothing(ledger, sight):
    """Without a generation there is no mark to update."""
    with pytest.raises(LedgerError):
        ledger.folders.update_mark("em", sight())


def test_illegal_transition_changes_nothing(ledger, queue, sight, publish):
    """A published acquisition cannot be parked without arriving anew; nothing is half recorded."""
    queue()
    job = ledger.jobs.claim()
    publish(job)
    ledger.jobs.succeed(job.job_id)
    with pytest.raises(IllegalTransitionError):
        ledger.folders.park("em", sight(mark="m9"), UnknownLayoutError())
    fact = ledger.folders.facts("em")["run"]

    assert (STATES.PUBLISHED, "m1") == (fact.state, fact.stat_mark)


def test_transaction_is_all_or_nothing(ledger, sight):
    """Verbs inside one transaction are recorded together, or not at all."""
    with ledger.transaction():
        ledger.folders.record_settling("em", sight("a"))
        ledger.jobs.queue(NewJob("em", "a", 1, "m", 1, 1))

    def cut_off() -> None:
        with ledger.transaction():
            ledger.folders.record_settling("em", sight("b"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cut_off()

    assert ["a"] == [*ledger.folders.facts("em")]
