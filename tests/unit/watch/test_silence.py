"""Missing events are noticed by what scans find."""

from dataclasses import replace

import pytest

from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.watch.mounts import MountChange, MountIdentity
from stackwatch.watch.scan import FolderScan
from stackwatch.watch.settle import Phase, SettleState
from stackwatch.watch.silence import Announcements


def seen(key: str, mark: str = "m1") -> Sighting:
    """Return a sighting of a folder."""
    return Sighting(key, key, AcquisitionKind.FOLDER, key, (), 3, 30, 0, mark, "s1")


class Folder:
    """A folder whose scans are judged one after another."""

    def __init__(self) -> None:
        self.announcements = Announcements()
        self.states: dict[str, SettleState] = {}

    def scan(self, *sightings: Sighting) -> int:
        """Judge a scan that saw these."""
        mount = MountIdentity(1, 2, "ext4")
        found = FolderScan(sightings, None, (), (), 0, 0, 0, mount, MountChange.SAME, 0.0)
        silent = self.announcements.judge(self.states, found)
        self.states = {
            one.key: SettleState(Phase.SETTLED, one.stat_mark, 0, 0) for one in sightings
        }
        return silent


@pytest.fixture
def folder() -> Folder:
    """A folder that was scanned twice, with one acquisition at rest."""
    folder = Folder()
    assert [0, 0] == [folder.scan(seen("a")), folder.scan(seen("a"))]
    return folder


def test_announced_changes_are_no_silence(folder):
    """An event before, during or shortly after the scan that sees its change is early enough."""
    folder.announcements.note(frozenset({"b"}))
    before = folder.scan(seen("a"), seen("b"))
    late = folder.scan(seen("a", "m2"), seen("b"))
    folder.announcements.note(frozenset({"a"}))

    assert [0, 0, 0] == [before, late, folder.scan(seen("a", "m2"), seen("b"))]


def test_silent_changes_are_counted_once(folder):
    """L7, L18: what changed without an event until the next scan is counted then, and once."""
    counts = [folder.scan(seen("a", "m2"), seen("b")) for _ in range(3)]

    assert [0, 2, 0] == counts


def test_what_changed_while_anything_may_have_is_no_silence(folder):
    """After an overflow, or a new watch, nobody can say what was announced."""
    folder.announcements.note(None)

    assert [0, 0, 0] == [folder.scan(seen("a", mark)) for mark in ("m2", "m3", "m3")]


@pytest.mark.parametrize("odd", [{"kind": AcquisitionKind.GROUP}, {"unreadable": 1}])
def test_what_has_no_event_of_its_name_is_left_out(folder, odd):
    """Groups are told of by their members' names, and errors of a disk by nothing."""
    counts = [folder.scan(seen("a"), replace(seen("b"), **odd)) for _ in range(2)]

    assert [0, 0] == counts
