"""Hints from the real kernel: what they tell, and what happens when they cannot."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from stackwatch.watch import inotify
from stackwatch.watch.hints import MAX_DIRTY, Dirt, Hints

DEADLINE_S = 10.0


class Watcher:
    """Hints of one folder, and what they have told so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wake = threading.Event()
        self.hints = Hints(self.wake)
        self.names: set[str] = set()
        self.told_all = 0

    def take(self) -> None:
        """Gather what is dirty now."""
        self.wake.clear()
        for dirt in self.hints.take().values():
            self.told_all += dirt.names is None
            self.names |= dirt.names or frozenset()

    def wait_for(self, names: set[str]) -> set[str]:
        """Gather until these names were told; the deadline returns what came."""
        end_s = time.monotonic() + DEADLINE_S
        while not names <= self.names and time.monotonic() < end_s:
            self.wake.wait(end_s - time.monotonic())
            self.take()
        return self.names


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    """Return a watcher of a folder that is on its feet and clean."""
    root = tmp_path / "drop"
    (root / "known").mkdir(parents=True)
    watcher = Watcher(root)
    with watcher.hints:
        watcher.hints.add("em", root, "auto", "ext4")
        watcher.take()
        yield watcher


def test_add_takes_everything_for_dirty(watcher):
    """A new watch asks for a scan: what came before it was seen by nobody."""
    assert (1, "events") == (watcher.told_all, watcher.hints.health()["em"].mode)


def test_files_make_their_acquisition_dirty(watcher):
    """Each write, rename and removal names the first part of its path."""
    (watcher.root / "run").mkdir()
    (watcher.root / "known/deep").mkdir()
    (watcher.root / "loose.tif").write_bytes(b"x")

    assert {"run", "known", "loose.tif"} <= watcher.wait_for({"run", "known", "loose.tif"})
    watcher.names.clear()
    (watcher.root / "loose.tif").rename(watcher.root / "moved.tif")

    assert {"loose.tif", "moved.tif"} <= watcher.wait_for({"loose.tif", "moved.tif"})


def test_a_tree_moved_in_is_told(watcher, tmp_path):
    """A folder renamed into the drop folder is one hint, and later files in it are told too."""
    (tmp_path / "made/deep").mkdir(parents=True)
    (tmp_path / "made/deep/a.tif").write_bytes(b"x")
    (tmp_path / "made").rename(watcher.root / "moved")

    assert "moved" in watcher.wait_for({"moved"})
    watcher.names.clear()
    (watcher.root / "moved/deep/b.tif").write_bytes(b"x")

    assert "moved" in watcher.wait_for({"moved"})


def test_reading_is_no_hint(watcher):
    """D1: opening and reading a file wakes nobody; our own conversion must not wake the scanner."""
    (watcher.root / "known/a.tif").write_bytes(b"x")
    watcher.wait_for({"known"})
    # a write elsewhere ends the wait: everything before it in the kernel's queue has been told
    (watcher.root / "first").mkdir()
    watcher.wait_for({"first"})
    watcher.names.clear()
    for _ in range(20):
        (watcher.root / "known/a.tif").read_bytes()
        os.scandir(watcher.root / "known").close()
    (watcher.root / "last").mkdir()

    assert {"last"} == watcher.wait_for({"last"})


def test_undecodable_names_are_told(watcher):
    """A name that is no UTF-8 is a hint like any other, and the watch goes on."""
    name = os.fsdecode(b"bad\xff")
    (watcher.root / name).mkdir()

    assert name in watcher.wait_for({name})


def test_dirt_is_bounded(watcher):
    """L25: thousands of names become "everything": hints do not grow with the events."""
    folder = watcher.hints._folders["em"]
    for number in range(MAX_DIRTY + 10):
        event = SimpleNamespace(src_path=f"{watcher.root}/n{number}", dest_path="")
        folder.dispatch(event)

    assert {"em": Dirt(None)} == watcher.hints.take()
    assert {} == watcher.hints.take()


def test_an_exception_in_the_handler_is_survived(watcher):
    """L6: whatever an event does to the handler, the observer lives and all counts as dirty."""
    folder = watcher.hints._folders["em"]
    folder.dispatch(SimpleNamespace(src_path=object()))

    assert {"em": Dirt(None)} == watcher.hints.take()
    assert 1 == watcher.hints.health()["em"].errors
    (watcher.root / "after").mkdir()
    assert "after" in watcher.wait_for({"after"})


def test_an_overflow_asks_for_everything(watcher):
    """L1: the observer tells of an overflow in its log only: it is heard there."""
    logger = logging.getLogger("watchdog.observers.inotify_c")
    logger.warning("Inotify queue overflowed; filesystem events were lost")

    assert {"em": Dirt(None)} == watcher.hints.take()
    assert 1 == watcher.hints.health()["em"].overflows


def test_a_replaced_root_is_watched_anew(watcher):
    """A drop folder removed and made again gets a new watch and a scan of everything."""
    watcher.root.rename(watcher.root.with_name("old"))
    watcher.root.mkdir()
    watcher.hints.supervise(1000)

    assert {"em": Dirt(None)} == watcher.hints.take()
    assert ("events", 1) == (
        watcher.hints.health()["em"].mode,
        watcher.hints.health()["em"].restarts,
    )
    (watcher.root / "new").mkdir()
    assert "new" in watcher.wait_for({"new"})


def test_a_missing_root_is_polled_and_comes_back(watcher):
    """While the folder is away it is polled with a reason; when it is back it is watched."""
    away = watcher.root.with_name("away")
    watcher.root.rename(away)
    gone = watcher.hints.supervise(1000)
    too_early = watcher.hints.supervise(1000.1)
    away.rename(watcher.root)
    back = watcher.hints.supervise(1002)

    assert ("poll", True) == (gone["em"].mode, "cannot be watched" in gone["em"].reason)
    assert {} == too_early
    assert ("events", "") == (back["em"].mode, back["em"].reason)


def test_a_dead_observer_is_restarted(watcher):
    """L6, L7: an observer whose thread has ended is noticed and replaced."""
    observer = watcher.hints._folders["em"]._observer
    observer.stop()
    observer.join()
    watcher.hints.supervise(1000)
    watcher.take()  # a new watch makes everything dirty, and swallows names until it is taken

    assert 1 == watcher.hints.health()["em"].restarts
    (watcher.root / "after").mkdir()
    assert "after" in watcher.wait_for({"after"})


def test_a_dead_reader_is_noticed(watcher):
    """L7: the thread that reads inotify may die alone while observer and emitters live on."""
    reader = watcher.hints._folders["em"]._reader
    reader.stop()
    reader.join()
    watcher.hints.supervise(1000)
    watcher.take()  # a new watch makes everything dirty, and swallows names until it is taken

    assert 1 == watcher.hints.health()["em"].restarts
    (watcher.root / "after").mkdir()
    assert "after" in watcher.wait_for({"after"})


def test_a_watch_that_cannot_start_leaves_no_thread(tmp_path, monkeypatch):
    """A kernel that refuses the watch means polling, with its words in the reason."""

    def refuse(*_arguments, **_options):
        raise OSError(28, "inotify watch limit reached")

    before = threading.active_count()
    monkeypatch.setattr("watchdog.observers.api.BaseObserver.schedule", refuse)
    with Hints(threading.Event()) as hints:
        health = hints.add("em", tmp_path)

    assert ("poll", True) == (health.mode, "watch limit reached" in health.reason)
    assert before == threading.active_count()


@pytest.mark.parametrize(
    ("mode", "fstype", "expected", "phrase"),
    [
        ("auto", "ext4", "events", ""),
        ("auto", "nfs4", "poll", "nfs4"),
        ("auto", "fuse.sshfs", "poll", "fuse.sshfs"),
        ("events", "nfs4", "events", "bring no events"),
        ("poll", "ext4", "poll", ""),
    ],
)
def test_mode_in_force(tmp_path, mode, fstype, expected, phrase):
    """L5: network mounts are polled unless events are demanded, and the reason says why."""
    with Hints(threading.Event()) as hints:
        health = hints.add("em", tmp_path, mode, fstype)
        hints.supervise(1000)

        assert expected == health.mode
        assert bool(phrase) == bool(health.reason)
        assert phrase in health.reason
        assert health == hints.health()["em"]


def test_too_few_watches_are_polled(tmp_path, monkeypatch):
    """More folders than the kernel's limit: polled, with the sysctl in the reason."""
    limit = tmp_path / "limit"
    limit.write_text(str(inotify.count_watches() + 2))
    (tmp_path / "drop/a/b").mkdir(parents=True)
    monkeypatch.setattr(inotify, "read_watch_limit", lambda: int(limit.read_text()))
    with Hints(threading.Event()) as hints:
        short = hints.add("em", tmp_path / "drop")
        limit.write_text("100000")
        enough = hints.supervise(1000)

    assert ("poll", True) == (short.mode, "max_user_watches" in short.reason)
    assert "events" == enough["em"].mode


def test_remove_and_close_end_all_threads(watcher):
    """A removed folder tells nothing any more; closing twice does no harm."""
    watcher.hints.remove("em")
    watcher.hints.remove("em")
    (watcher.root / "late").mkdir()
    watcher.hints.close()

    assert {} == watcher.hints.take()
    assert {} == watcher.hints.health()
