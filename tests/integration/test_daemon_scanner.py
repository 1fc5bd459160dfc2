"""Scan processes: real processes and folders, deadlines by a clock in the hand."""

import queue
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stackwatch.daemon.scanner import LOCAL_LANE, Scanner, ScanOrder, ScanSaid, choose_lane
from stackwatch.watch.mounts import MountIdentity
from stackwatch.watch.scan import FolderScan, FolderUnavailable, ScanOptions, scan_folder

DEADLINE_S = 30


class HandClock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        """Return the time that was set."""
        return self.seconds

    def now(self) -> float:
        """Return the time that was set."""
        return self.seconds


class Bench:
    """A scanner with its inbox."""

    def __init__(self, **options) -> None:
        self.clock = HandClock()
        self.inbox: queue.SimpleQueue[ScanSaid] = queue.SimpleQueue()
        self.scanner = Scanner(self.inbox.put, self.clock, **options)

    def await_done(self):
        """Return the next finished scan."""
        while True:
            done = self.scanner.take(self.inbox.get(timeout=DEADLINE_S))
            if done is not None:
                return done

    def close(self) -> None:
        """End every process."""
        self.scanner.close()
        while self.scanner.has_children:
            self.scanner.take(self.inbox.get(timeout=DEADLINE_S))


@pytest.fixture
def bench(request):
    """A scanner that is closed after the test."""
    bench = Bench(**getattr(request, "param", {}))
    yield bench
    bench.close()


def make_drop(folder: Path) -> Path:
    """Write two acquisitions, one with a name that is no UTF-8."""
    (folder / "run_1").mkdir(parents=True)
    (folder / "run_1" / "a.tif").write_bytes(b"x" * 10)
    (folder / "bad\udcff").mkdir()
    (folder / "bad\udcff" / "b.tif").write_bytes(b"y" * 20)
    for number in range(3):
        (folder / f"img_{number}.tif").write_bytes(b"z")
    return folder


def test_a_scan_in_a_process_sees_what_a_scan_here_sees(bench, tmp_path):
    """Everything a scan finds crosses the socket unharmed."""
    drop = make_drop(tmp_path / "drop")
    options = ScanOptions(ignore=("*.log",))

    bench.scanner.order(ScanOrder("em", drop, options))
    assert bench.scanner.is_busy_with("em")
    done = bench.await_done()

    expected = scan_folder(drop, options)
    assert isinstance(expected, FolderScan)
    assert isinstance(done.found, FolderScan)
    assert expected.sightings == done.found.sightings
    assert expected.mount == done.found.mount
    assert not bench.scanner.is_busy_with("em")


def test_keys_and_the_expected_mount_reach_the_process(bench, tmp_path):
    """A look at one acquisition returns that one, and a replaced mount is noticed."""
    drop = make_drop(tmp_path / "drop")
    expected = MountIdentity(1, 2, "ext9")

    bench.scanner.order(ScanOrder("em", drop, ScanOptions(), expected, frozenset({"run_1"})))
    found = bench.await_done().found

    assert ["run_1"] == [sighting.key for sighting in found.sightings]
    assert "replaced" == found.mount_change


def test_a_folder_that_is_not_there_is_a_state(bench, tmp_path):
    """A missing folder is unavailable, and the next folder of the lane is scanned."""
    bench.scanner.order(ScanOrder("gone", tmp_path / "gone", ScanOptions()))
    bench.scanner.order(ScanOrder("em", make_drop(tmp_path / "drop"), ScanOptions()))

    first, second = bench.await_done(), bench.await_done()

    assert isinstance(first.found, FolderUnavailable)
    assert "gone" in first.found.reason
    assert ("em", FolderScan) == (second.order.folder, type(second.found))


def test_a_scan_process_that_is_killed_is_started_again(bench, tmp_path):
    """Kill -9 of the scan process costs one scan."""
    drop = make_drop(tmp_path / "drop")
    order = ScanOrder("em", drop, ScanOptions())
    bench.scanner.order(order)
    bench.await_done()
    child = bench.scanner._lanes[LOCAL_LANE].child
    child._process.send_signal(signal.SIGSTOP)
    bench.scanner.order(order)

    child.kill()

    assert "ended without an answer" in bench.await_done().found.reason
    bench.scanner.order(order)
    assert isinstance(bench.await_done().found, FolderScan)


def test_a_scan_that_hangs_is_killed_and_the_folder_unavailable(bench, tmp_path):
    """C9: beyond its deadline a scan ends as unavailable; the folder behind it is scanned after."""
    first, second = make_drop(tmp_path / "one"), make_drop(tmp_path / "two")
    bench.scanner.order(ScanOrder("one", first, ScanOptions()))
    bench.await_done()
    bench.scanner._lanes[LOCAL_LANE].child._process.send_signal(signal.SIGSTOP)
    bench.scanner.order(ScanOrder("one", first, ScanOptions()))
    bench.scanner.order(ScanOrder("two", second, ScanOptions()))
    assert [] == bench.scanner.expire()

    bench.clock.seconds = bench.scanner.next_deadline_at
    (hung,) = bench.scanner.expire()

    assert "one" == hung.order.folder
    assert "did not answer" in hung.found.reason
    done = bench.await_done()
    assert ("two", FolderScan) == (done.order.folder, type(done.found))


@pytest.mark.parametrize("bench", [{"deadline_s": 5.0}], indirect=True)
def test_a_hanging_share_does_not_hold_up_other_lanes(bench, tmp_path):
    """C9: each network mount has a process of its own."""
    drop = make_drop(tmp_path / "drop")
    share = MountIdentity(77, 1, "nfs4")
    bench.scanner.order(ScanOrder("share", drop, ScanOptions(), share))
    bench.await_done()
    bench.scanner._lanes["nfs4:77"].child._process.send_signal(signal.SIGSTOP)
    bench.scanner.order(ScanOrder("share", drop, ScanOptions(), share))

    bench.scanner.order(ScanOrder("em", drop, ScanOptions()))

    assert "em" == bench.await_done().order.folder


def test_a_process_that_cannot_die_holds_nobody_up(bench, tmp_path, monkeypatch):
    """C9: a scan process that not even SIGKILL ends costs its own folder, and only once."""
    first, second = make_drop(tmp_path / "one"), make_drop(tmp_path / "two")
    bench.scanner.order(ScanOrder("one", first, ScanOptions()))
    bench.await_done()
    immortal = bench.scanner._lanes[LOCAL_LANE].child
    immortal._process.send_signal(signal.SIGSTOP)
    bench.scanner.order(ScanOrder("one", first, ScanOptions()))
    bench.scanner.order(ScanOrder("two", second, ScanOptions()))
    bench.clock.seconds = bench.scanner.next_deadline_at
    with monkeypatch.context() as patch:
        patch.setattr(immortal, "kill", lambda: None)
        (hung,) = bench.scanner.expire()
        done = bench.await_done()
        bench.scanner.order(ScanOrder("one", first, ScanOptions()))
        again = bench.await_done()

        assert ("one", FolderUnavailable) == (hung.order.folder, type(hung.found))
        assert ("two", FolderScan) == (done.order.folder, type(done.found))
        assert ("one", FolderScan) == (again.order.folder, type(again.found))
        assert bench.scanner.has_children


def test_a_symlinked_folder_has_the_lane_of_its_share(tmp_path):
    """A symlink to a network mount is resolved without touching the mount."""
    table = tmp_path / "mountinfo"
    link = tmp_path / "link"
    link.symlink_to("/mnt/nas/drop")
    table.write_text(
        "21 1 0:20 / / rw - ext4 /dev/sda1 rw\n22 21 0:21 / /mnt/nas rw - nfs4 nas:/x rw\n"
    )

    assert "nfs4:/mnt/nas" == choose_lane(ScanOrder("f", link, ScanOptions()), table)


def test_folders_on_an_automounter_have_lanes_of_their_own(tmp_path):
    """What will be mounted there is not known yet: one share must not hold up another."""
    table = tmp_path / "mountinfo"
    table.write_text("22 21 0:21 / /net rw - autofs auto rw\n")

    def lane_of(path, expected=None):
        return choose_lane(ScanOrder("f", Path(path), ScanOptions(), expected), table)

    assert lane_of("/net/a/drop") != lane_of("/net/b/drop")
    assert "nfs4:/net/a" == lane_of("/net/a/drop", MountIdentity(9, 1, "nfs4", "/net/a"))


def test_lanes_are_chosen_without_touching_the_folder(tmp_path):
    """A new folder is sorted by the table of mounts alone, a known one by its mount."""
    table = tmp_path / "mountinfo"
    table.write_text(
        "21 1 0:20 / / rw - ext4 /dev/sda1 rw\n22 21 0:21 / /mnt/nas rw - nfs4 nas:/x rw\n"
    )

    def lane_of(path, expected=None):
        return choose_lane(ScanOrder("f", Path(path), ScanOptions(), expected), table)

    assert LOCAL_LANE == lane_of("/drop/em")
    assert "nfs4:/mnt/nas" == lane_of("/mnt/nas/drop")
    assert "cifs:9" == lane_of("/drop/em", MountIdentity(9, 1, "cifs"))
    assert "cifs:/mnt/old" == lane_of("/drop/em", MountIdentity(9, 1, "cifs", "/mnt/old"))
    assert "nfs4:/mnt/nas" == lane_of("/mnt/nas/drop", MountIdentity(9, 1, "ext4"))


def test_the_scan_process_imports_no_library():
    """The scan process stays small: the standard library, watch and layout.ignore."""
    code = (
        "import sys, stackwatch.daemon.scan_main;"
        "print(' '.join(sorted({n.partition('.')[0] for n in sys.modules})))"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )

    loaded = set(done.stdout.split()) - set(sys.stdlib_module_names)
    assert {"stackwatch"} == {name for name in loaded if not name.startswith(("_", "zipp"))} - {
        "editables", "sitecustomize", "distutils",
    }  # fmt: skip
