"""Hints that stay believable: files of our own, doubts, counted watches, folders that hang."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackwatch.watch import inotify
from stackwatch.watch.hints import Dirt, HintHealth, Hints
from stackwatch.watch.watcher import FolderWatcher

DEADLINE_S = 10.0


class Watcher:
    """Hints of one folder, on its feet and clean."""

    def __init__(self, root: Path, **options) -> None:
        self.root = root
        self.wake = threading.Event()
        self.hints = Hints(self.wake)
        self.hints.add("em", root, **options)
        self.hints.take()

    @property
    def health(self) -> HintHealth:
        """How the hints are doing."""
        return self.hints.health()["em"]

    def wait_for(self, name: str) -> set[str]:
        """Gather what is told until a name is; the deadline returns what came."""
        names: set[str] = set()
        end_s = time.monotonic() + DEADLINE_S
        while name not in names and self.wake.wait(max(0.0, end_s - time.monotonic())):
            self.wake.clear()
            for dirt in self.hints.take().values():
                names |= dirt.names or frozenset()
        return names

    def wait_for_cookies(self, count: int) -> int:
        """Wait until so many files of our own were told of; the deadline returns what came."""
        end_s = time.monotonic() + DEADLINE_S
        while self.health.cookies < count and time.monotonic() < end_s:
            threading.Event().wait(0.01)
        return self.health.cookies


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    """Return a watcher of a folder that is not ours to write into."""
    watcher = Watcher(tmp_path)
    with watcher.hints:
        yield watcher


@pytest.fixture
def prover(tmp_path: Path) -> Iterator[Watcher]:
    """Return a watcher of a folder into which a file may be written."""
    watcher = Watcher(tmp_path, is_writable=True)
    with watcher.hints:
        yield watcher


def test_a_file_of_our_own_proves_that_events_arrive(prover):
    """L7: where we may write, a hidden file comes and goes now and then, and is no hint."""
    prover.hints.supervise(1000)

    assert 1 == prover.wait_for_cookies(1)
    prover.hints.supervise(1005)
    prover.hints.supervise(1061)
    assert 2 == prover.wait_for_cookies(2)
    (prover.root / "last").mkdir()
    assert {"last"} == prover.wait_for("last")
    assert ["last"] == [path.name for path in prover.root.iterdir()]
    assert 0 == prover.health.restarts


def test_a_silent_observer_is_found_out_by_a_file(prover):
    """L7: an observer that lives and tells nothing is replaced, and everything is scanned."""
    prover.hints._folders["em"]._observer.unschedule_all()
    prover.hints.supervise(1000)
    assert 0 == prover.health.restarts
    prover.hints.supervise(1005)

    assert {"em": Dirt(None)} == prover.hints.take()
    assert 1 == prover.health.restarts
    prover.hints.supervise(1006)
    assert 1 == prover.wait_for_cookies(1)


def test_a_folder_that_cannot_be_written_says_so(prover):
    """A file that cannot be written is told of, and nothing is restarted for it."""
    (prover.root / ".stackwatch-probe").mkdir()
    changed = prover.hints.supervise(1000)
    prover.hints.supervise(1030)

    assert "cannot be written" in changed["em"].reason
    assert ("events", 0) == (changed["em"].mode, prover.health.restarts)


def test_a_folder_that_is_not_ours_to_write_stays_as_it_is(watcher):
    """Nothing is ever written into a drop folder unless its settings allow it."""
    before = watcher.root.stat().st_mtime_ns
    for at_s in (1000, 1100, 1200):
        watcher.hints.supervise(at_s)

    assert before == watcher.root.stat().st_mtime_ns


def test_silent_changes_lead_to_a_new_watch_and_then_to_polling(watcher):
    """L7: a folder whose events are missing is watched anew, and polled when that does not help."""
    restarts, told = [], []
    for at_s in (1000, 1010, 1020):
        watcher.hints.note_scan("em", 1, silent=2)
        told.append(watcher.hints.supervise(at_s))
        restarts.append(watcher.health.restarts)

    assert [1, 2, 2] == restarts
    assert [{}, {}] == told[:2]
    assert "poll" == told[2]["em"].mode
    assert "missing again and again" in told[2]["em"].reason
    assert {} == watcher.hints.supervise(1030)


def test_doubts_that_lie_long_back_are_forgotten(watcher):
    """L18: a hard link changed elsewhere now and then is no missing event."""
    for at_s in range(1000, 30_000, 5000):
        watcher.hints.note_scan("em", 1, silent=1)
        watcher.hints.supervise(at_s)

    assert "events" == watcher.health.mode


def test_folders_without_a_watch_are_noticed(watcher, monkeypatch):
    """L2: fewer watches than folders, twice in a row, means that some folders are not seen."""
    monkeypatch.setattr(inotify, "count_watches", lambda: 3)
    watcher.hints.note_scan("em", 7, silent=0)
    once = watcher.hints.supervise(1000), watcher.health.restarts
    watcher.hints.note_scan("em", 7, silent=0)
    watcher.hints.supervise(1010)

    assert ({}, 0) == once
    assert 1 == watcher.health.restarts


def test_a_folder_that_hangs_holds_nobody_up(tmp_path, monkeypatch):
    """C9: a call that hangs is left alone, said so, and taken up when it answers."""
    hanging = threading.Event()
    stat = Path.stat

    def slow(path: Path, **options):
        if path == tmp_path and not hanging.wait(DEADLINE_S):
            raise TimeoutError
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", slow)
    with Hints(threading.Event(), patience_s=0.05) as hints:
        health = hints.add("em", tmp_path)
        again = hints.supervise(1000)
        hanging.set()
        hints._folders["em"].wait(time.monotonic() + DEADLINE_S)
        back = hints.supervise(1001)

    assert ("poll", True) == (health.mode, "does not answer" in health.reason)
    assert {} == again
    assert ("events", "") == (back["em"].mode, back["em"].reason)


def test_many_folders_that_hang_cost_no_more_than_a_few(tmp_path, monkeypatch):
    """C9: they are waited for ever less; a turn of the loop later the patience is back."""
    hanging = threading.Event()
    stat = Path.stat

    def slow(path: Path, **options):
        if path.parent == tmp_path and not hanging.wait(DEADLINE_S):
            raise TimeoutError
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", slow)
    waited: list[float] = []
    wait = FolderWatcher.wait

    def note(folder: FolderWatcher, until_s: float) -> bool:
        waited.append(until_s - time.monotonic())
        return wait(folder, until_s)

    monkeypatch.setattr(FolderWatcher, "wait", note)
    patience_s = 0.1
    with Hints(threading.Event(), patience_s) as hints:
        for number in range(20):
            hints.add(str(number), tmp_path / str(number))
        for number in range(10):
            hints.remove(str(number))
        total_s = sum(seconds for seconds in waited if seconds > 0)
        hints.supervise(1000)
        waited.clear()
        hints.add("next", tmp_path / "next")
        hanging.set()

    assert total_s <= 2 * patience_s
    assert max(waited) > patience_s / 2


def test_a_mistake_of_ours_means_polling(tmp_path, monkeypatch):
    """L6: whatever goes wrong while a watch begins, the folder is polled and tried again."""

    def fail(_path):
        raise RuntimeError("no such thing")

    with monkeypatch.context() as patch, Hints(threading.Event()) as hints:
        patch.setattr(inotify, "find_shortage", fail)
        health = hints.add("em", tmp_path)
        patch.undo()
        back = hints.supervise(1000)

    assert ("poll", True, 1) == (health.mode, "no such thing" in health.reason, health.errors)
    assert ("events", "") == (back["em"].mode, back["em"].reason)


def test_names_have_as_many_parts_as_a_key(tmp_path):
    """At depth 2 a hint names the acquisition, not the folder of its user."""
    (tmp_path / "ann/run").mkdir(parents=True)
    watcher = Watcher(tmp_path, depth=2)
    with watcher.hints:
        (tmp_path / "ann/run/a.tif").write_bytes(b"x")

        assert {"ann/run"} == watcher.wait_for("ann/run")
