"""The watching river from end to end: real files, scans and ledger; a clock of our own."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import NewDataset
from stackwatch.model.facts import Sighting
from stackwatch.model.job import AcquisitionState, NewJob
from stackwatch.watch.mounts import MountIdentity
from stackwatch.watch.reconcile import (
    Action,
    CompareDigest,
    FolderView,
    QueueGeneration,
    ReconcileOptions,
    RecordMoved,
    RecordSettling,
    RecordVanished,
    Restore,
    reconcile,
)
from stackwatch.watch.scan import FolderScan, ScanOptions, scan_folder
from stackwatch.watch.settle import SettleOptions

OPTIONS = ReconcileOptions(SettleOptions(quiet_gap_s=60))


class River:
    """What the daemon does between a scan and the ledger, without its threads."""

    def __init__(self, drop: Path, ledger: Ledger) -> None:
        self.drop = drop
        self.ledger = ledger
        self.view = FolderView()
        self.now_s = 0.0

    def look(self, after_s: float = 0.0) -> list[str]:
        """Scan after some time, then look at what is due, as the daemon does.

        What is to be done is carried out; its names are returned.
        """
        self.now_s += after_s
        told = self.scan(None)
        due = self.view.due_keys(self.now_s)
        return [*told, *self.scan(due)] if due else told

    def scan(self, keys: frozenset[str] | None) -> list[str]:
        """Look at everything, or at some acquisitions more closely."""
        scan = scan_folder(self.drop, ScanOptions(), self.view.mount, keys)
        if isinstance(scan, FolderScan):
            scan = replace(scan, seconds=0.0)  # our clock stands still meanwhile
        facts = self.ledger.folders.facts("em")
        self.view, actions = reconcile(self.view, scan, facts, self.now_s, OPTIONS)
        with self.ledger.transaction():
            for action in actions:
                self.carry_out(action)
        if isinstance(scan, FolderScan) and keys is None:
            mount = scan.mount.as_record()
            self.ledger.folders.record_scan("em", files=scan.files, seconds=0, mount=mount)
        return [type(action).__name__ for action in actions]

    def carry_out(self, action: Action) -> None:
        """Do one action; every comparison of content finds it equal."""
        match action:
            case RecordSettling():
                self.ledger.folders.record_settling("em", action.sighting)
            case QueueGeneration():
                self.ledger.jobs.queue(new_job(action.sighting, action.generation))
            case CompareDigest():
                self.ledger.folders.update_mark("em", action.sighting)
            case Restore():
                self.ledger.folders.restore("em", action.sighting)
            case RecordVanished():
                self.ledger.folders.record_vanished("em", action.key)
            case RecordMoved():
                self.ledger.folders.record_moved("em", action.key, action.sighting)

    def convert(self) -> str:
        """Pretend to convert what is queued; return its key and generation."""
        job = self.ledger.jobs.claim()
        assert job is not None
        place = Path("/out") / f"{job.key}-{job.generation}"
        new = NewDataset(place, Path("/out/x"), f"r{job.job_id}", f"d{job.job_id}")
        self.ledger.datasets.record_publishing(job.job_id, new)
        self.ledger.datasets.record_published(new.run_id, place)
        self.ledger.jobs.succeed(job.job_id)
        return f"{job.key} {job.generation}"

    def state(self, key: str = "run") -> AcquisitionState:
        """Return what the ledger says of an acquisition."""
        return self.ledger.folders.facts("em")[key].state


def new_job(seen: Sighting, generation: int) -> NewJob:
    """Return the job of a sighting."""
    return NewJob(
        "em",
        seen.key,
        generation,
        seen.stat_mark,
        seen.files,
        seen.total_bytes,
        seen.size_mark,
    )


@pytest.fixture
def river(tmp_path: Path) -> Iterator[River]:
    """Return a river with an empty drop folder."""
    drop = tmp_path / "drop"
    drop.mkdir()
    with Ledger.open(tmp_path / "state") as ledger:
        ledger.folders.upsert("em", drop, Path("/out"))
        yield River(drop, ledger)


def write(path: Path, content: bytes = b"x") -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_slow_copy_becomes_one_job(river):
    """Files that arrive within the gap of each other are one acquisition, queued once."""
    told = []
    for number in range(4):
        write(river.drop / f"run/{number}.tif")
        told.append(river.look(50))
    told += [river.look(59), river.look(1), river.look(60), river.look(300)]

    assert [["RecordSettling"], [], [], [], [], ["QueueGeneration"], [], []] == told
    assert "run 1" == river.convert()
    assert AcquisitionState.PUBLISHED is river.state()


def test_an_old_date_settles_no_sooner(river):
    """E4, E5: a copy with dates of 2001, or of 2040, waits for the gap like any other."""
    for name, date_s in (("old", 10**9), ("new", 22 * 10**8)):
        write(river.drop / name / "1.tif")
        os.utime(river.drop / name / "1.tif", (date_s, date_s))

    assert ["RecordSettling", "RecordSettling"] == river.look()
    assert [] == river.look(59)
    assert ["QueueGeneration", "QueueGeneration"] == river.look(1)


def test_a_restart_changes_nothing(river):
    """I5: after a restart everything settles again, and nothing is queued a second time."""
    write(river.drop / "run/1.tif")
    write(river.drop / "new/1.tif")
    river.look()
    river.look(60)
    river.convert()
    river.convert()
    write(river.drop / "late/1.tif")
    river.view = FolderView()

    assert [["RecordSettling"], ["QueueGeneration"], []] == [
        river.look(1),
        river.look(60),
        river.look(60),
    ]
    assert "late 1" == river.convert()


def test_a_later_file_is_a_new_generation(river):
    """A file that comes after the dataset was published makes a second generation."""
    write(river.drop / "run/1.tif")
    river.look()
    river.look(60)
    river.convert()
    write(river.drop / "run/2.tif")

    assert [["RecordSettling"], ["QueueGeneration"]] == [river.look(10), river.look(60)]
    assert "run 2" == river.convert()


def test_a_touch_is_no_new_generation(river):
    """New times over the same bytes are compared, and only the mark changes."""
    write(river.drop / "run/1.tif")
    river.look()
    river.look(60)
    river.convert()
    os.utime(river.drop / "run/1.tif", (1, 1))

    assert [["RecordSettling"], ["CompareDigest"], []] == [
        river.look(10),
        river.look(60),
        river.look(60),
    ]
    assert AcquisitionState.PUBLISHED is river.state()


def test_moved_away_and_back(river):
    """An acquisition renamed out of the folder and back is the same one: nothing is converted."""
    write(river.drop / "run/1.tif")
    river.look()
    river.look(60)
    river.convert()
    (river.drop / "run").rename(river.drop.parent / "run")
    gone = river.look(10)
    (river.drop.parent / "run").rename(river.drop / "run")

    assert ["RecordVanished"] == gone
    assert [["RecordSettling"], ["Restore"]] == [river.look(10), river.look(60)]
    assert AcquisitionState.PUBLISHED is river.state()


def test_a_missing_share_deletes_nothing(river):
    """L9, I6: a drop folder that is gone, or empty on another mount, causes no transition."""
    write(river.drop / "run/1.tif")
    river.look()
    river.look(60)
    before = river.ledger.folders.facts("em")
    away = river.drop.with_name("away")
    river.drop.rename(away)
    gone = river.look(60)
    river.drop.mkdir()
    river.view = FolderView(mount=MountIdentity(1, 1, "nfs4"))
    unmounted = river.look(60)
    shutil.rmtree(river.drop)
    away.rename(river.drop)

    assert ([], [], before) == (gone, unmounted, river.ledger.folders.facts("em"))
    assert [] == river.look(60)
    assert "run 1" == river.convert()


def test_loose_files_that_grow_into_a_group(river):
    """The first of many numbered files is alone; when the second comes they are one acquisition."""
    write(river.drop / "img_1.tif")
    first = river.look()
    write(river.drop / "img_2.tif")
    second = river.look(10)

    assert (["RecordSettling"], ["RecordSettling", "RecordVanished"]) == (first, second)
    assert ["QueueGeneration"] == river.look(60)
    assert "img_#.tif 1" == river.convert()


def test_a_renamed_acquisition_is_the_same_one(river):
    """D9: renamed while it settles or after it was published: one row, no second conversion."""
    write(river.drop / "run/deep/1.tif")
    river.look()
    (river.drop / "run").rename(river.drop / "run_2")
    while_settling = river.look(30)
    settled = river.look(30)
    river.convert()
    (river.drop / "run_2").rename(river.drop / "final")
    after = [river.look(10), river.look(60)]

    assert (["RecordMoved"], ["QueueGeneration"]) == (while_settling, settled)
    assert [["RecordMoved"], []] == after
    assert {"final": AcquisitionState.PUBLISHED} == {
        key: fact.state for key, fact in river.ledger.folders.facts("em").items()
    }


def test_a_renamed_acquisition_is_known_after_a_restart(river):
    """D9: renamed while nobody looked, it is known by its inode and its mark."""
    write(river.drop / "run/1.tif")
    river.look()
    river.look(60)
    river.convert()
    river.view = FolderView()
    (river.drop / "run").rename(river.drop / "final")

    assert [["RecordMoved"], []] == [river.look(10), river.look(60)]


def test_a_copy_in_the_place_of_an_acquisition_is_no_rename(river):
    """D9, D13: another folder with equal names, sizes and times is another acquisition."""
    write(river.drop / "run/1.tif")
    river.look()
    river.look(60)
    river.convert()
    shutil.copytree(river.drop / "run", river.drop / "copy", copy_function=shutil.copy2)
    shutil.rmtree(river.drop / "run")

    assert [["RecordSettling", "RecordVanished"], ["QueueGeneration"]] == [
        river.look(10),
        river.look(60),
    ]
