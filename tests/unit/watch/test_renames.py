"""A renamed acquisition is recognised, and nothing else is taken for one."""

from dataclasses import replace

import pytest

from stackwatch.model.facts import AcquisitionFact, AcquisitionKind, Sighting
from stackwatch.model.job import AcquisitionId, AcquisitionState
from stackwatch.watch.mounts import MountChange, MountIdentity
from stackwatch.watch.reconcile import (
    Action,
    FolderView,
    QueueGeneration,
    ReconcileOptions,
    RecordMoved,
    RecordSettling,
    RecordVanished,
    reconcile,
)
from stackwatch.watch.scan import FolderScan
from stackwatch.watch.settle import SettleOptions

OPTIONS = ReconcileOptions(SettleOptions(quiet_gap_s=60))
LOCAL = MountIdentity(1, 2, "ext4")


def seen(key: str, mark: str = "m1", inode: int = 7, **more) -> Sighting:
    """Return a sighting of a folder."""
    made = Sighting(key, key, AcquisitionKind.FOLDER, key, (), 3, 30, 0, mark, "s1")
    return replace(made, root_inode=inode, **more)


def known(key: str, mark: str = "m1", inode: int = 7, **more) -> AcquisitionFact:
    """Return what the ledger knows of a published one."""
    state = AcquisitionState.PUBLISHED
    fact = AcquisitionFact(AcquisitionId(1), key, state, 1, mark, "s1", "d1")
    return replace(fact, root_inode=inode, **more)


def look(
    *sightings: Sighting,
    facts: tuple[AcquisitionFact, ...],
    keys: frozenset[str] | None = None,
    view: FolderView | None = None,
) -> list[Action]:
    """Return the actions of one look."""
    scan = FolderScan(sightings, keys, (), (), 0, 0, 0, LOCAL, MountChange.SAME, 0.0)
    by_key = {fact.key: fact for fact in facts}
    return [*reconcile(view or FolderView(), scan, by_key, 0, OPTIONS)[1]]


def names(actions: list[Action]) -> list[str]:
    """Return the names of actions."""
    return [type(action).__name__ for action in actions]


def test_a_published_one_keeps_what_is_known():
    """D9: equal inode and equal mark: it moved, and nothing else happens."""
    assert [RecordMoved("old", seen("new"))] == look(seen("new"), facts=(known("old"),))


def test_a_settling_one_goes_on_settling():
    """D9: the quiet gap goes on under the new name."""
    fact = known("old", "", generation=0, state=AcquisitionState.SETTLING, content_digest="")
    scan = FolderScan((seen("old"),), None, (), (), 0, 0, 0, LOCAL, MountChange.SAME, 0.0)
    view, _ = reconcile(FolderView(), scan, {"old": fact}, 0, OPTIONS)
    scan = replace(scan, sightings=(seen("new"),))
    view, moved = reconcile(view, scan, {"old": fact}, 30, OPTIONS)
    _, settled = reconcile(view, scan, {"new": replace(fact, key="new")}, 60, OPTIONS)

    assert (RecordMoved("old", seen("new")),) == moved
    assert (QueueGeneration(seen("new"), 1, 0),) == settled


def test_one_that_was_gone_comes_back_under_another_name():
    """D9: moved out, and in again with another name: its history is found."""
    gone = known("old", is_gone=True)

    assert ["RecordMoved", "RecordSettling"] == names(look(seen("new"), facts=(gone,)))


@pytest.mark.parametrize(
    "sighting",
    [
        seen("new", mark="m2"),
        seen("new", inode=8),
        seen("new", inode=0),
        seen("new", unreadable=1),
        seen("new", kind=AcquisitionKind.FILE),
    ],
)
def test_what_differs_is_new(sighting):
    """D9, D13: an inode is used again, a copy has equal times: both must agree."""
    found = look(sighting, facts=(known("old"),))

    assert [RecordSettling(sighting), RecordVanished("old")] == found


def test_nothing_moves_to_where_it_is_not_known_to_have_left():
    """D9: the old one must have been looked for and be gone."""
    assert [RecordSettling(seen("new"))] == look(seen("old"), seen("new"), facts=(known("old"),))
    found = look(seen("new"), facts=(known("old"),), keys=frozenset({"new"}))
    assert [RecordSettling(seen("new"))] == found


def test_of_two_that_could_be_meant_neither_is():
    """D9: two names for one folder, or two folders for one name: never a guess."""
    twins = look(seen("a"), seen("b"), facts=(known("old"),))
    double = look(seen("new"), facts=(known("old"), known("older", is_gone=True)))

    assert ["RecordSettling", "RecordSettling", "RecordVanished"] == names(twins)
    assert ["RecordSettling", "RecordVanished"] == names(double)


def test_a_name_that_has_a_history_keeps_its_own():
    """D9: what takes the name of another acquisition is a change of that one."""
    facts = (known("old"), known("new", mark="m9", inode=9))

    assert ["RecordSettling", "RecordVanished"] == names(look(seen("new"), facts=facts))


NFS = MountIdentity(9, 2, "nfs4", "/mnt")
UNDERNEATH = MountIdentity(1, 5, "ext4", "/")


def mounted(*sightings: Sighting, facts: tuple[AcquisitionFact, ...]) -> tuple[str, list[str]]:
    """Return state and actions after a look at a local folder that was a share before."""
    scan = FolderScan(sightings, None, (), (), 0, 0, 0, UNDERNEATH, MountChange.REPLACED, 0.0)
    view = FolderView(mount=NFS)
    view, actions = reconcile(view, scan, {fact.key: fact for fact in facts}, 0, OPTIONS)
    return view.unavailable, names([*actions])


def test_what_lies_below_a_missing_share_is_not_the_share():
    """L9: leftovers in the mount point do not make what is known vanish."""
    reason, actions = mounted(seen("leftover"), facts=(known("run"),))

    assert ("not mounted" in reason, []) == (True, actions)


def test_a_share_that_was_moved_to_a_local_disk_is_taken():
    """L9: where what is known lies, the folder was moved there by a person."""
    reason, actions = mounted(seen("run"), seen("new", "m2", 8), facts=(known("run"),))

    assert ("", ["RecordSettling"]) == (reason, actions)


def test_an_unreadable_acquisition_is_not_gone():
    """L10: a folder that cannot be listed shows no file, and is not taken for empty."""
    closed = seen("run", files=0, unreadable=1)

    assert [] == [
        action
        for action in look(closed, facts=(known("run"),))
        if isinstance(action, RecordVanished)
    ]
