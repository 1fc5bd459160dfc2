"""Kill -9 while the ledger is written: what was told as recorded is there, and nothing is half."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.reader import LedgerReader
from stackwatch.model.job import DatasetState, JobState

WRITER = """
import sys
from pathlib import Path
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import NewDataset
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.model.job import NewJob

ledger = Ledger.open(Path(sys.argv[1]))
ledger.folders.upsert("em", Path("/drop"), Path("/out"))
for number in range(int(sys.argv[2])):
    key = f"run{number}"
    seen = Sighting(key, key, AcquisitionKind.FOLDER, key, (), 1, 1, 0, "m", "s")
    ledger.folders.record_settling("em", seen)
    ledger.jobs.queue(NewJob("em", key, 1, "m", 1, 1, "s"))
    job = ledger.jobs.claim()
    print("claimed", job.job_id, flush=True)
    new = NewDataset(Path("/out") / key, Path("/out/x"), f"r{number}", "d")
    ledger.datasets.record_publishing(job.job_id, new)
    print("publishing", job.job_id, flush=True)
    ledger.datasets.record_published(new.run_id, new.path)
    print("published", job.job_id, flush=True)
    ledger.jobs.succeed(job.job_id)
    print("succeeded", job.job_id, flush=True)
"""


def told_before_the_end(state_dir: Path, failpoint: str = "", lines: int = 0) -> list[list[str]]:
    """Run a writer until its failpoint, or kill it after some lines; return what it told."""
    environment = {**os.environ, "STACKWATCH_FAILPOINT": failpoint}
    command = [sys.executable, "-c", WRITER, str(state_dir), "3" if failpoint else "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
        assert writer.stdout is not None
        told = [writer.stdout.readline().split() for _ in range(lines)]
        if lines:
            writer.kill()
        told += [line.split() for line in writer.stdout]
    assert writer.returncode == -9
    return [words for words in told if len(words) == 2]


@pytest.mark.parametrize("lines", [1, 6, 23])
def test_kill_at_any_time_keeps_what_was_told(tmp_path, lines):
    """Each fact whose verb returned is in the ledger after a kill, and the ledger is sound."""
    told = told_before_the_end(tmp_path, lines=lines)
    with LedgerReader.open(tmp_path) as reader:
        events = {
            (event.event.split(".")[1], str(job.job_id))
            for job in reader.list_jobs()
            for event in (reader.show_job(job.job_id) or pytest.fail("a job is missing")).events
        }
    with Ledger.open(tmp_path) as ledger:
        recovery = ledger.recover(is_in_place=lambda dataset: True)
        claimed = ledger.jobs.claimed()

    assert {(what, job_id) for what, job_id in told} <= events
    assert () == claimed
    assert len(recovery.requeued) + len(recovery.finished) <= 1


@pytest.mark.parametrize(
    ("failpoint", "job", "dataset", "after"),
    [
        ("ledger.before_claim_commit", JobState.QUEUED, None, JobState.QUEUED),
        ("ledger.after_claim_commit", JobState.CLAIMED, None, JobState.QUEUED),
        (
            "ledger.before_publish_commit",
            JobState.CLAIMED,
            DatasetState.PUBLISHING,
            JobState.SUCCEEDED,
        ),
        (
            "ledger.after_publish_commit",
            JobState.CLAIMED,
            DatasetState.PUBLISHED,
            JobState.SUCCEEDED,
        ),
    ],
)
def test_kill_at_a_failpoint(tmp_path, failpoint, job, dataset, after):
    """A kill at each named place leaves one of two states, and the next start mends it."""
    told_before_the_end(tmp_path, failpoint)
    with LedgerReader.open(tmp_path) as reader:
        (found,) = reader.list_jobs()
        details = reader.show_job(found.job_id)
    assert details is not None
    with Ledger.open(tmp_path) as ledger:
        ledger.recover(is_in_place=lambda dataset: True)
        with LedgerReader.open(tmp_path) as reader:
            (mended,) = reader.list_jobs()

    assert (job, [dataset] if dataset else []) == (
        found.state,
        [one.state for one in details.datasets],
    )
    assert after is mended.state
    assert int(found.state is not JobState.QUEUED) == mended.attempt
