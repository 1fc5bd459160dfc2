"""Which looks are worth a line of the log, and that each line can be read back."""

import json
from dataclasses import replace
from typing import Any

import pytest

from stackwatch.logs import make_plain
from stackwatch.model.facts import AcquisitionFact, AcquisitionKind, Sighting, Veto, VetoKind
from stackwatch.model.job import AcquisitionId, AcquisitionState
from stackwatch.watch.mounts import MountChange, MountIdentity
from stackwatch.watch.observed import ABSENT, LookBook, LookLine, name_action
from stackwatch.watch.reconcile import (
    CompareDigest,
    FolderView,
    ParkLoose,
    QueueGeneration,
    ReconcileOptions,
    RecordVanished,
    reconcile,
)
from stackwatch.watch.scan import FolderScan
from stackwatch.watch.settle import SettleOptions

OPTIONS = ReconcileOptions(SettleOptions(quiet_gap_s=10.0, incomplete_after_h=1.0))


def sighting(mark: str = "l" + "a" * 31, **facts) -> Sighting:
    """Return a scan's view of `run_1`."""
    told: dict[str, Any] = {
        "files": 3, "total_bytes": 30, "newest_mtime_ns": 0, "size_mark": "s" * 32, **facts,
    }  # fmt: skip
    return Sighting(
        "run_1", "run_1", AcquisitionKind.FOLDER, "run_1", (), stat_mark=mark, **told
    )  # fmt: skip


def scan(*sightings: Sighting) -> FolderScan:
    """Return a scan of everything."""
    return FolderScan(
        sightings, None, (), (), 3, 1, 0, MountIdentity(1, 2, "ext4"), MountChange.SAME, 0.5
    )


class Watched:
    """A folder that is looked at again and again, and the book of its looks."""

    def __init__(self) -> None:
        self.book = LookBook()
        self.view = FolderView()
        self.facts: dict[str, AcquisitionFact] = {}

    def look(self, at_s: float, *sightings: Sighting) -> list[LookLine]:
        """Look, and return the lines this is worth."""
        found = scan(*sightings)
        self.view, actions = reconcile(self.view, found, self.facts, at_s, OPTIONS)
        return self.book.note("em", found, self.view, self.facts, actions, OPTIONS)


def fact(mark: str, **told) -> AcquisitionFact:
    """Return what the ledger knows of `run_1`."""
    values = {"state": AcquisitionState.SETTLING, "stat_mark": mark} | told
    return AcquisitionFact(AcquisitionId(1), "run_1", **values)


def test_a_line_is_read_back_as_it_was():
    """Through the log's own processing and back, nothing is lost."""
    line = LookLine(
        folder="em",
        acquisition="run_1",
        at_s=12.5,
        scan_s=0.25,
        kind=AcquisitionKind.GROUP,
        files=3,
        total_bytes=30,
        stat_mark="laaa",
        size_mark="sss",
        vetoes=(Veto(VetoKind.MARKER, "the marker is not there"),),
        is_probed=False,
        unreadable=2,
        is_skipped=True,
        root_inode=7,
        phase="settling",
        actions=("record_settling",),
        fact=fact(
            "lbbb",
            generation=2,
            size_mark="t",
            content_digest="d",
            is_gone=True,
            root_inode=5,
            accepted_mark="x",
            ignored_mark="y",
            lacks_files=True,
            held_back=frozenset({VetoKind.MARKER, VetoKind.COUNT}),
        ),
        options=ReconcileOptions(SettleOptions(10.0, 1.0), "park"),
    )
    text = json.dumps(make_plain(None, "info", {"look": line.as_record()}))

    assert line == LookLine.from_record("em", "run_1", json.loads(text)["look"])
    assert LookLine("em", "run_1", 0.0, 0.0) == LookLine.from_record(
        "em", "run_1", LookLine("em", "run_1", 0.0, 0.0).as_record()
    )


@pytest.mark.parametrize("record", [{}, {"at_s": "x"}, {"gap_s": 1, "ceiling_h": 2, "at_s": []}])
def test_what_is_no_look_is_refused(record):
    """A record that lacks its keys is told from one that has them."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        LookLine.from_record("em", "run_1", record)


def test_actions_have_names():
    """The name of an action stands in the log, with its generation."""
    assert "queue_generation:2" == name_action(QueueGeneration(sighting(), 2, 1))
    assert "compare_digest:1" == name_action(CompareDigest(sighting(), 1, "d"))
    assert "park_loose" == name_action(ParkLoose(sighting()))
    assert "record_vanished" == name_action(RecordVanished("run_1"))


def test_a_quiet_acquisition_is_two_lines():
    """It is told when it appears and when it settles, with what was decided; not in between."""
    folder = Watched()
    (first,) = folder.look(0.0, sighting())
    folder.facts["run_1"] = fact("")
    assert [] == folder.look(5.0, sighting())
    (last,) = folder.look(20.0, sighting())
    folder.facts["run_1"] = fact(sighting().stat_mark, generation=1, state=AcquisitionState.QUEUED)

    assert ("settling", ("record_settling",)) == (first.phase, first.actions)
    assert ("settled", ("queue_generation:1",)) == (last.phase, last.actions)
    assert (3, 30, "l" + "a" * 11, 20.0) == (
        last.files, last.total_bytes, last.stat_mark, last.at_s,
    )  # fmt: skip
    assert [] == folder.look(30.0, sighting())


def test_of_an_acquisition_that_grows_only_the_last_change_is_told():
    """A change that the next look finds overtaken is no news; the one that lasted is."""
    folder = Watched()
    folder.look(0.0, sighting("l0"))
    folder.facts["run_1"] = fact("")

    grown = [folder.look(float(n), sighting(f"l{n}")) for n in range(1, 6)]
    (rest,) = folder.look(6.0, sighting("l5"))
    (settled,) = folder.look(30.0, sighting("l5"))

    assert [[]] * 5 == grown
    assert ("l5", 5.0) == (rest.stat_mark, rest.at_s)
    assert ("l5", 30.0, "settled") == (settled.stat_mark, settled.at_s, settled.phase)


def test_what_is_at_rest_since_the_start_is_not_told():
    """A folder with thousands of published acquisitions costs no lines at a start."""
    folder = Watched()
    folder.facts["run_1"] = fact(
        sighting().stat_mark, generation=1, state=AcquisitionState.PUBLISHED, content_digest="d"
    )
    assert [] == folder.look(0.0, sighting())
    assert [] == folder.look(20.0, sighting())

    (changed,) = folder.look(30.0, sighting("lb"))

    assert ("settling", ("record_settling",)) == (changed.phase, changed.actions)


def test_what_a_quick_look_cannot_see_is_as_it_was():
    """A listing without probes between two probes is no change of the vetoes."""
    folder = Watched()
    veto = Veto(VetoKind.OPEN, "open for writing")
    held = replace(sighting(), vetoes=(veto,))
    folder.look(0.0, sighting())
    folder.facts["run_1"] = fact("", held_back=frozenset({VetoKind.OPEN}))
    (told,) = folder.look(20.0, held)

    assert (veto,) == told.vetoes
    assert [] == folder.look(21.0, replace(sighting(), is_probed=False))
    assert [] == folder.look(22.0, held)


def test_an_action_that_takes_long_is_told_once():
    """While contents are compared every look decides the same again, and quick ones nothing."""
    folder = Watched()
    folder.look(0.0, sighting("lb"))
    folder.facts["run_1"] = fact("la", generation=1, content_digest="d")
    (told,) = folder.look(20.0, sighting("lb"))

    assert ("queue_generation:2",) == told.actions
    assert [] == folder.look(21.0, replace(sighting("lb"), is_probed=False))
    assert [] == folder.look(22.0, sighting("lb"))


def test_an_acquisition_that_goes_away_is_told():
    """Its line has no files, and the phase `absent`."""
    folder = Watched()
    folder.look(0.0, sighting())
    folder.facts["run_1"] = fact("")

    (gone,) = folder.look(1.0)

    assert (ABSENT, 0, ("record_vanished",)) == (gone.phase, gone.files, gone.actions)
    assert gone.is_absent


def test_after_a_gap_in_seeing_everything_is_told_anew():
    """When a share was away all gaps begin anew, and the log says with what."""
    folder = Watched()
    folder.look(0.0, sighting())
    folder.facts["run_1"] = fact("")
    folder.book.forget()

    (again,) = folder.look(5.0, sighting())

    assert ("settling", 5.0) == (again.phase, again.at_s)
