"""The real kernel and the whole daemon: whatever events do, each acquisition is converted once.

Where events are to bring the news the scan interval is longer than the test's patience, and where
the scan has to, events are off.
"""

import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackwatch.testing.service import ServiceBench, bench
from stackwatch.watch.hints import MAX_DIRTY, Hints
from stackwatch.watch.scan import FolderScan, ScanOptions, scan_folder

EVENTS_ALONE = "scan_interval_s = 600"
SCANS_ALONE = 'watch = "poll"\nscan_interval_s = 0.3'


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ServiceBench]:
    """A daemon that finds only what events tell of."""
    with bench(tmp_path, folder=EVENTS_ALONE) as made:
        made.start()
        made.wait_until(lambda: made.events("scan.finished") != [])
        yield made


@pytest.fixture
def poller(tmp_path: Path) -> Iterator[ServiceBench]:
    """A daemon that finds only what scans find."""
    with bench(tmp_path, folder=SCANS_ALONE) as made:
        made.start()
        yield made


def published(daemon: ServiceBench) -> list[str]:
    """Return what was published, each publication once."""
    return sorted(Path(line["path"]).name for line in daemon.events("dataset.published"))


def test_a_burst_beyond_the_kernels_queue(daemon):
    """L1, L25: events lost in an overflow are made up for by a scan, and memory stays bounded."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 20_000:
        pytest.skip(f"max_queued_events is {limit}: an overflow would take too long")
    (daemon.drop / "run_a").mkdir()
    daemon.wait_until(lambda: "run_a" in str(daemon.ask("status")) or True)
    daemon.signal(signal.SIGSTOP)
    for number in range(limit // 4 + 500):  # made, opened, written, closed: four events each
        (daemon.drop / "run_a" / f"slice_{number:05d}.tif").write_bytes(b"x")
    # told after the queue was full: nothing but a scan can find it
    (daemon.drop / "run_b").mkdir()
    (daemon.drop / "run_b/a.tif").write_bytes(b"x")
    daemon.signal(signal.SIGCONT)
    daemon.wait_until(lambda: ["run_a", "run_b"] == published(daemon))

    (first,) = [line for line in daemon.events("job.succeeded") if line["acquisition"] == "run_a"]
    assert limit // 4 + 500 == first["files"]


@pytest.mark.system
def test_a_tree_moved_in(daemon, tmp_path):
    """E6: a folder moved in by rename settles, and a file that comes a moment later is in it."""
    made = tmp_path / "made/deep"
    made.mkdir(parents=True)
    (made / "a.tif").write_bytes(b"a")
    (tmp_path / "made").rename(daemon.drop / "run")
    daemon.wait_until(lambda: daemon.events("acquisition.seen") != [])
    (daemon.drop / "run/deep/b.tif").write_bytes(b"b")

    def newest() -> bytes:
        names = published(daemon)
        return (daemon.target / names[-1] / "data").read_bytes() if names else b""

    daemon.wait_until(lambda: newest() == b"ab")


@pytest.mark.system
def test_a_tree_copied_in(daemon, tmp_path):
    """E7: files in folders that were just made are all there, whatever events they had."""
    for number in range(180):
        (tmp_path / f"made/{number:03d}").mkdir(parents=True)
        (tmp_path / f"made/{number:03d}/a.tif").write_bytes(b"x")
    shutil.copytree(tmp_path / "made", daemon.drop / "run")
    daemon.wait_until(lambda: "run" in daemon.datasets())
    daemon.wait_until(
        lambda: [180] == [line["files"] for line in daemon.events("job.succeeded")][-1:]
    )


@pytest.mark.system
def test_a_folder_moved_out_and_written_to(daemon, tmp_path):
    """L17: what is written into a folder after it was moved out concerns nobody."""
    daemon.drop_acquisition("run", {"a.tif": b"x"})
    daemon.wait_until(lambda: ["run"] == published(daemon))
    away = (daemon.drop / "run").rename(tmp_path / "away")
    daemon.wait_until(lambda: daemon.events("acquisition.vanished") != [])
    (away / "b.tif").write_bytes(b"late")
    daemon.drop_acquisition("other", {"a.tif": b"x"})
    daemon.wait_until(lambda: ["other", "run"] == published(daemon))

    assert [] == daemon.events("job.failed")


@pytest.mark.system
def test_a_root_that_is_made_anew(daemon):
    """L8: a drop folder that was moved away and made again is watched again."""
    daemon.drop.rename(daemon.drop.with_name("old"))
    daemon.drop.mkdir()
    daemon.drop_acquisition("run", {"a.tif": b"x"})
    daemon.wait_until(lambda: "run" in daemon.datasets())


@pytest.mark.system
def test_a_root_that_becomes_a_symlink(daemon):
    """L8: a drop folder replaced by a symlink to another folder shows what lies there."""
    elsewhere = daemon.drop.with_name("elsewhere")
    (elsewhere / "run").mkdir(parents=True)
    (elsewhere / "run/a.tif").write_bytes(b"x")
    daemon.drop.rename(daemon.drop.with_name("old"))
    daemon.drop.symlink_to(elsewhere)
    daemon.wait_until(lambda: "run" in daemon.datasets())


@pytest.mark.system
def test_a_file_changed_through_another_name(poller, tmp_path):
    """L18: a file changed through a hard link elsewhere brings no event; a scan finds it."""
    run = poller.drop_acquisition("run", {"a.tif": b"x"})
    (tmp_path / "link.tif").hardlink_to(run / "a.tif")
    poller.wait_until(lambda: ["run"] == published(poller))
    (tmp_path / "link.tif").write_bytes(b"longer")
    poller.wait_until(lambda: ["run", "run-r2"] == published(poller))


@pytest.mark.system
def test_odd_names_are_converted(poller):
    """L19, L20, L22: no UTF-8, newlines, twins of case and of Unicode, names of 255 bytes."""
    names = [
        os.fsdecode(b"bad\xff"),
        "two\nlines",
        "caf\u00e9",
        "cafe\u0301",
        "Run",
        "RUN",
        "x" * 255,
    ]
    for name in names:
        (poller.drop / name).mkdir()
        (poller.drop / name / ("y" * 251 + ".tif")).write_bytes(os.fsencode(name))
    poller.wait_until(lambda: len(names) == len(published(poller)))

    contents = {(poller.target / name / "data").read_bytes() for name in published(poller)}
    assert {os.fsencode(name) for name in names} == contents
    for text in (poller.root / "log.jsonl").read_text(encoding="utf-8").splitlines():
        assert "\\ud" not in text.lower()


@pytest.mark.system
def test_what_is_no_file_is_refused(poller):
    """L23, L24: pipes, sockets and symlinks are never opened or followed, and are told of once."""
    outside = poller.root / "outside"
    outside.mkdir()
    (outside / "secret.tif").write_bytes(b"secret")
    run = poller.drop_acquisition("run", {"a.tif": b"x"})
    os.mkfifo(run / "pipe.tif")
    (run / "loop").symlink_to(run)
    (run / "out.tif").symlink_to(outside / "secret.tif")
    os.mkfifo(poller.drop / "pipe")
    (poller.drop / "linked").symlink_to(outside)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(poller.drop / "socket"))
        poller.wait_until(lambda: ["run"] == published(poller))
        poller.wait_until(lambda: 3 == len(poller.events("entry.refused")))
        before = len(poller.events("scan.finished"))
        poller.wait_until(lambda: len(poller.events("scan.finished")) > before + 2)

    assert ["linked", "pipe", "socket"] == sorted(
        line["path"] for line in poller.events("entry.refused")
    )
    assert ["run"] == published(poller)
    assert b"x" == (poller.target / "run/data").read_bytes()
    explained = poller.ask("explain", path=str(run))
    assert (3, 3) == (explained["refused"], len(explained["refusals"]))


@pytest.mark.system
def test_dropped_again_after_it_vanished(poller):
    """L13: an acquisition that is removed before it settles and dropped again is converted."""
    run = poller.drop / "run"
    (run / "never").mkdir(parents=True)
    for number in range(5):
        (run / "a.tif").write_bytes(b"x" * number)
        poller.wait_until(lambda: len(poller.events("acquisition.seen")) > 0)
    shutil.rmtree(run)
    poller.wait_until(lambda: len(poller.events("acquisition.vanished")) > 0)
    (run).mkdir()
    (run / "a.tif").write_bytes(b"new")
    poller.wait_until(lambda: published(poller) != [])

    assert b"new" == (poller.target / published(poller)[-1] / "data").read_bytes()


@pytest.mark.filterwarnings("ignore:Callback with id")  # watchdog says so where folders come fast
@pytest.mark.system
def test_nothing_is_lost_between_watch_and_scan(tmp_path):
    """L11: what is made while the watch begins is told by it, or seen by the scan after it."""
    lost = []
    for repeat in range(20):
        root = tmp_path / str(repeat)
        root.mkdir()
        made: list[str] = []
        stop = threading.Event()

        def make(root: Path = root, made: list[str] = made, stop: threading.Event = stop) -> None:
            while not stop.is_set() and len(made) < MAX_DIRTY // 2:
                made.append(f"run_{len(made)}")
                (root / made[-1]).mkdir()

        writer = threading.Thread(target=make)
        wake = threading.Event()
        writer.start()
        with Hints(wake) as hints:
            hints.add("em", root)
            hints.take()
            found = scan_folder(root, ScanOptions())
            assert isinstance(found, FolderScan)
            stop.set()
            writer.join()
            (root / "last").mkdir()
            told: set[str] = set()
            while "last" not in told:
                assert wake.wait(10)
                wake.clear()
                for dirt in hints.take().values():
                    told |= dirt.names or set()
        lost += [name for name in made if name not in told | {one.key for one in found.sightings}]

    assert [] == lost


@pytest.mark.system
def test_renamed_while_it_is_converted(tmp_path):
    """D9: a folder renamed while it is converted is converted once, and nothing is parked."""
    with bench(tmp_path, folder=EVENTS_ALONE) as daemon:
        daemon.start()
        run = daemon.drop_acquisition("run", {"pause": b"x"})
        daemon.wait_until(lambda: daemon.events("job.claimed") != [])
        run.rename(daemon.drop / "final")
        daemon.wait_until(lambda: daemon.events("acquisition.moved") != [])
        (tmp_path / "go").touch()
        daemon.wait_until(lambda: daemon.events("job.succeeded") != [])

        assert 1 == len(daemon.events("dataset.published"))
        assert [] == daemon.events("job.parked")  # a look in between may find it vanished: no harm
