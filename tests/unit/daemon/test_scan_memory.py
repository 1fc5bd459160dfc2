"""Only what changed between two scans crosses the socket."""

import json

import pytest

from stackwatch.daemon.scan_memory import ScanListener, ScanTeller
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.watch.mounts import MountChange, MountIdentity
from stackwatch.watch.scan import FolderScan

MOUNT = MountIdentity(1, 2, "ext4")


def seen(key: str, mark: str = "m1") -> Sighting:
    """Return a sighting of a folder."""
    return Sighting(key, key, AcquisitionKind.FOLDER, key, (), 3, 30, 0, mark, "s1")


def scan(*sightings: Sighting, keys: frozenset[str] | None = None) -> FolderScan:
    """Return a scan that saw these."""
    return FolderScan(sightings, keys, (), (), 0, 0, 0, MOUNT, MountChange.SAME, 0.5)


class Line:
    """Both ends, and the text between them."""

    def __init__(self) -> None:
        self.teller = ScanTeller()
        self.listener = ScanListener()
        self.told: list[str] = []

    def pass_on(self, found: FolderScan) -> FolderScan:
        """Return what arrives of a scan."""
        message = self.teller.tell("em", self.listener.base_of("em"), found)
        self.told = [sighting["key"] for sighting in message["found"]["sightings"]]
        return self.listener.take("em", json.loads(json.dumps(message)))


@pytest.fixture
def line() -> Line:
    """Both ends of a new conversation."""
    return Line()


def test_only_changes_are_sent(line):
    """What lies still is sent once; every answer arrives whole and in order."""
    first = scan(seen("b"), seen("c"), seen("\udcff"))
    second = scan(seen("a"), seen("b"), seen("c", "m2"))

    assert first == line.pass_on(first)
    assert ["b", "c", "\udcff"] == line.told
    assert first == line.pass_on(first)
    assert [] == line.told
    assert second == line.pass_on(second)
    assert ["a", "c"] == line.told
    assert scan() == line.pass_on(scan())


def test_a_new_process_tells_everything(line):
    """A scan process that was started anew remembers nothing, and a daemon neither."""
    found = scan(seen("a"), seen("b"))
    line.pass_on(found)

    line.teller = ScanTeller()
    assert found == line.pass_on(found)
    assert ["a", "b"] == line.told
    line.listener.forget("em")
    assert found == line.pass_on(found)
    assert ["a", "b"] == line.told


def test_a_lost_answer_is_made_up_for(line):
    """An answer that came too late and was thrown away is not what the next one builds upon."""
    line.pass_on(scan(seen("a")))
    line.teller.tell("em", line.listener.base_of("em"), scan(seen("a"), seen("b")))

    assert scan(seen("a"), seen("b")) == line.pass_on(scan(seen("a"), seen("b")))


def test_a_look_at_a_few_is_sent_whole(line):
    """A look by name leaves what is remembered alone."""
    line.pass_on(scan(seen("a"), seen("b")))
    look = scan(seen("a", "m2"), keys=frozenset({"a"}))

    assert look == line.pass_on(look)
    assert scan(seen("a"), seen("b")) == line.pass_on(scan(seen("a"), seen("b")))
    assert [] == line.told
