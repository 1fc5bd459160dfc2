"""Reconciling: what is seen against what is known."""

from dataclasses import replace

import pytest

from stackwatch.model.facts import (
    AcquisitionFact,
    AcquisitionKind,
    Directives,
    Sighting,
    Veto,
    VetoKind,
)
from stackwatch.model.job import AcquisitionId, AcquisitionState
from stackwatch.watch.mounts import MountChange, MountIdentity
from stackwatch.watch.reconcile import (
    Action,
    CompareDigest,
    FolderView,
    ParkLoose,
    QueueGeneration,
    ReconcileOptions,
    RecordHeldBack,
    RecordIncomplete,
    RecordSettling,
    RecordSkipped,
    RecordVanished,
    Restore,
    reconcile,
)
from stackwatch.watch.scan import FolderScan, FolderUnavailable
from stackwatch.watch.settle import Phase, SettleOptions

OPTIONS = ReconcileOptions(SettleOptions(quiet_gap_s=60, incomplete_after_h=1))
MOUNT = MountIdentity(1, 2, "ext4")


def seen(key: str = "run", mark: str = "m1", size: str = "s1", files: int = 3) -> Sighting:
    """Return a sighting of a folder."""
    return Sighting(key, key, AcquisitionKind.FOLDER, key, (), files, 30, 0, mark, size)


def known(
    state: AcquisitionState, mark: str = "m1", generation: int = 1, digest: str = "d1", **more
) -> dict[str, AcquisitionFact]:
    """Return what the ledger knows of the one acquisition."""
    fact = AcquisitionFact(
        AcquisitionId(1), "run", state, generation, mark, "s1", digest if generation else ""
    )
    return {"run": replace(fact, **more)}


def scan(*sightings: Sighting, keys: frozenset[str] | None = None, hidden=()) -> FolderScan:
    """Return a scan that saw these."""
    return FolderScan(sightings, keys, hidden, (), 0, 0, 0, MOUNT, MountChange.SAME, 0.0)


def play(sighting: Sighting, facts=None, options=OPTIONS) -> tuple[list[Action], list[Action]]:
    """Return the actions of a first look, and of one after the gap with the same facts."""
    facts = facts or {}
    view, first = reconcile(FolderView(), scan(sighting), facts, 0, options)
    _, second = reconcile(view, scan(sighting), facts, 60, options)
    return [*first], [*second]


def test_reconcile_new_acquisition():
    """A new acquisition is recorded at once and queued as generation 1 when it has settled."""
    sighting = seen()
    arriving = known(AcquisitionState.SETTLING, "", generation=0)

    assert [RecordSettling(sighting)] == play(sighting)[0]
    assert ([], [QueueGeneration(sighting, 1, 0)]) == play(sighting, arriving)


def test_reconcile_lost_actions_are_told_again():
    """If the ledger heard nothing, the same actions are told by every later scan."""
    sighting = seen()

    assert [RecordSettling(sighting), QueueGeneration(sighting, 1, 0)] == play(sighting)[1]


@pytest.mark.parametrize(
    "state",
    [
        AcquisitionState.QUEUED,
        AcquisitionState.CONVERTING,
        AcquisitionState.PUBLISHED,
        AcquisitionState.WAITING,
        AcquisitionState.PARKED,
        AcquisitionState.IGNORED,
    ],
)
def test_reconcile_known_content_brings_nothing(state):
    """After a restart what was known with the same mark settles without a word."""
    assert ([], []) == play(seen(), known(state))


def test_reconcile_change_of_a_published_one():
    """A changed acquisition is arriving again, and its new content becomes generation 2."""
    sighting = seen(mark="m2", size="s2")
    arriving = known(AcquisitionState.SETTLING)

    assert [RecordSettling(sighting)] == play(sighting, known(AcquisitionState.PUBLISHED))[0]
    assert ([], [QueueGeneration(sighting, 2, 1)]) == play(sighting, arriving)


def test_reconcile_same_names_and_sizes_ask_for_the_content():
    """A new mark over the same names and sizes is compared by digest before anything is queued."""
    sighting = seen(mark="m2")

    assert [CompareDigest(sighting, 1, "d1")] == play(sighting, known(AcquisitionState.SETTLING))[1]


def test_reconcile_without_digest_queues():
    """Without a digest there is nothing to compare with: the content counts as new."""
    facts = known(AcquisitionState.SETTLING, digest="")
    sighting = seen(mark="m2")

    assert [QueueGeneration(sighting, 2, 1)] == play(sighting, facts)[1]


def test_reconcile_return_to_the_known_mark():
    """An acquisition that changed and lies again as it was known gets its state back."""
    assert ([], [Restore(seen())]) == play(seen(), known(AcquisitionState.SETTLING))


def test_reconcile_return_of_the_vanished():
    """What was gone and lies there as it was known is recorded, and restored when it settled."""
    facts = known(AcquisitionState.PUBLISHED, is_gone=True)

    assert ([RecordSettling(seen())], [Restore(seen())]) == play(seen(), facts)


def test_reconcile_vanished():
    """What an available folder no longer holds is gone; what was gone stays so silently."""
    facts = known(AcquisitionState.QUEUED)

    assert (RecordVanished("run"),) == reconcile(FolderView(), scan(), facts, 0, OPTIONS)[1]
    gone = known(AcquisitionState.QUEUED, is_gone=True)
    assert () == reconcile(FolderView(), scan(), gone, 0, OPTIONS)[1]


def test_reconcile_emptied_counts_as_vanished():
    """A folder whose files are all gone is as good as gone; an unknown empty one is nothing."""
    empty = seen(files=0)

    assert [RecordVanished("run")] == play(empty, known(AcquisitionState.PUBLISHED))[0]
    assert ([], []) == play(empty)


def test_reconcile_looked_elsewhere():
    """A scan of other acquisitions, or behind a closed folder, says nothing of this one."""
    facts = known(AcquisitionState.QUEUED)
    deep = {"ann/run": replace(facts["run"], key="ann/run")}

    assert () == reconcile(FolderView(), scan(keys=frozenset({"b"})), facts, 0, OPTIONS)[1]
    assert () == reconcile(FolderView(), scan(hidden=("ann",)), deep, 0, OPTIONS)[1]
    absent = scan(keys=frozenset({"run"}))
    assert (RecordVanished("run"),) == reconcile(FolderView(), absent, facts, 0, OPTIONS)[1]


@pytest.mark.parametrize("state", list(AcquisitionState))
def test_reconcile_unavailable_brings_nothing(state):
    """An unavailable folder causes no action, whatever the ledger knows (I6)."""
    view, _ = reconcile(FolderView(), scan(seen()), {}, 0, OPTIONS)
    gone, actions = reconcile(view, FolderUnavailable("away"), known(state), 60, OPTIONS)

    assert () == actions
    assert ("away", view.states.keys()) == (gone.unavailable, gone.states.keys())
    assert Phase.SETTLING is gone.states["run"].phase


def test_reconcile_gap_begins_anew_after_an_outage():
    """A mark that is the same before and after an outage has not settled by that."""
    view, _ = reconcile(FolderView(), scan(seen()), {}, 0, OPTIONS)
    view, _ = reconcile(view, FolderUnavailable("away"), {}, 30, OPTIONS)
    view, _ = reconcile(view, FolderUnavailable("away"), {}, 500, OPTIONS)
    arriving = known(AcquisitionState.SETTLING, "", generation=0)
    view, back = reconcile(view, scan(seen()), arriving, 1000, OPTIONS)
    view, early = reconcile(view, scan(seen()), arriving, 1059, OPTIONS)
    view, late = reconcile(view, scan(seen()), arriving, 1060, OPTIONS)

    assert ((), (), (QueueGeneration(seen(), 1, 0),)) == (back, early, late)
    assert "" == view.unavailable


def test_reconcile_incomplete_is_told_until_recorded():
    """After the ceiling the acquisition is incomplete: told once the ledger knows, never again."""
    view, facts = FolderView(), known(AcquisitionState.SETTLING, "", generation=0)
    for at_s in range(0, 3600, 50):
        view, _ = reconcile(view, scan(seen(mark=f"m{at_s}")), facts, at_s, OPTIONS)
    view, told = reconcile(view, scan(seen(mark="x")), facts, 3600, OPTIONS)
    recorded = known(AcquisitionState.INCOMPLETE, "", generation=0)
    view, silent = reconcile(view, scan(seen(mark="y")), recorded, 3650, OPTIONS)
    _, settled = reconcile(view, scan(seen(mark="y")), recorded, 3710, OPTIONS)

    assert (RecordIncomplete(seen(mark="x"), ()),) == told
    assert () == silent
    assert (QueueGeneration(seen(mark="y"), 1, 0),) == settled


def test_reconcile_incomplete_but_known():
    """A folder that becomes unreadable in a published acquisition changes its state only."""
    closed = replace(seen(), unreadable=1)
    view, first = reconcile(
        FolderView(), scan(closed), known(AcquisitionState.PUBLISHED), 0, OPTIONS
    )
    view, later = reconcile(view, scan(closed), known(AcquisitionState.PUBLISHED), 3600, OPTIONS)

    assert ((), ()) == (first, later)
    assert Phase.INCOMPLETE is view.states["run"].phase


LOOSE = replace(seen("img_#.tif"), kind=AcquisitionKind.GROUP, members=("img_1.tif", "img_2.tif"))
PARKING = replace(OPTIONS, loose="park")


def test_reconcile_parks_loose_files():
    """With loose = "park" a group that has settled is parked, and no folder is."""
    arriving = {
        "img_#.tif": replace(
            known(AcquisitionState.SETTLING, "", generation=0)["run"], key="img_#.tif"
        )
    }
    parked = {
        "img_#.tif": replace(
            arriving["img_#.tif"], state=AcquisitionState.PARKED, stat_mark="m1", size_mark="s1"
        )
    }

    assert [ParkLoose(LOOSE)] == play(LOOSE, arriving, PARKING)[1]
    assert ([], []) == play(LOOSE, parked, PARKING)
    assert QueueGeneration(seen(), 1, 0) in play(seen(), None, PARKING)[1]


def test_reconcile_keeps_the_view_of_what_it_did_not_look_at():
    """A scan of one acquisition leaves the others' clocks alone and is no scan of everything."""
    view, _ = reconcile(FolderView(), scan(seen("a"), seen("b")), {}, 0, OPTIONS)
    partial = scan(seen("a", mark="m2"), keys=frozenset({"a"}))
    after, _ = reconcile(view, partial, {}, 30, OPTIONS)

    assert view.states["b"] == after.states["b"]
    assert (0, 30) == (after.full_scan_s, after.scanned_s)
    assert frozenset({"b"}) == after.due_keys(60)
    assert MOUNT == after.mount


# ---------------------------------------------------------------- vetoes, skips, verdicts

COUNT = Veto(VetoKind.COUNT, "2 of 3 expected files are there")
HELD = frozenset({VetoKind.COUNT})


def test_reconcile_looks_by_name_before_it_queues():
    """A listing makes what has been quiet due at once; what it sees queues nothing."""
    listed = replace(seen(), is_probed=False)
    arriving = known(AcquisitionState.SETTLING, "", generation=0)
    view, _ = reconcile(FolderView(), scan(listed), arriving, 0, OPTIONS)
    view, quiet = reconcile(view, scan(listed), arriving, 60, OPTIONS)
    due = view.due_keys(60)
    _, probed = reconcile(view, scan(seen(), keys=due), arriving, 60, OPTIONS)

    assert ((), frozenset({"run"}), (QueueGeneration(seen(), 1, 0),)) == (quiet, due, probed)


def test_reconcile_startup_settles_anew():
    """E12: what the ledger knows as settling waits its whole gap after a start, however old."""
    arriving = known(AcquisitionState.SETTLING, "", generation=0)
    view, first = reconcile(FolderView(), scan(seen()), arriving, 1e6, OPTIONS)
    view, early = reconcile(view, scan(seen()), arriving, 1e6 + 59, OPTIONS)
    _, late = reconcile(view, scan(seen()), arriving, 1e6 + 60, OPTIONS)

    assert ((), (), (QueueGeneration(seen(), 1, 0),)) == (first, early, late)


def test_reconcile_lost_action_is_told_by_a_probe():
    """What settled and was not recorded is looked at by name again: a sidecar may speak there."""
    arriving = known(AcquisitionState.SETTLING, "", generation=0)
    view, _ = reconcile(FolderView(), scan(seen()), arriving, 0, OPTIONS)
    view, told = reconcile(view, scan(seen()), arriving, 60, OPTIONS)
    listed = replace(seen(), is_probed=False)
    view, silent = reconcile(view, scan(listed), arriving, 90, OPTIONS)
    _, again = reconcile(view, scan(seen(), keys=view.due_keys(90)), arriving, 90, OPTIONS)

    assert (told, (), told) == (again, silent, (QueueGeneration(seen(), 1, 0),))


def test_reconcile_tells_what_holds_back_by_kind():
    """The ledger hears of each kind of veto once, not of every number, and when it is over."""
    sighting = replace(seen(), vetoes=(COUNT,))
    arriving = known(AcquisitionState.SETTLING, "", generation=0)
    held = known(AcquisitionState.SETTLING, "", generation=0, held_back=HELD)

    assert [RecordHeldBack(sighting, (COUNT,))] == play(sighting, arriving)[0]
    assert ([], []) == play(sighting, held)
    assert [RecordHeldBack(seen(), ())] == play(seen(), held)[0]


def test_reconcile_incomplete_with_its_vetoes():
    """L16: past the ceiling the veto is told with the report, and later ones replace it."""
    sighting = replace(seen(), vetoes=(COUNT,))
    arriving = known(AcquisitionState.SETTLING, "", generation=0, held_back=HELD)
    view, _ = reconcile(FolderView(), scan(sighting), arriving, 0, OPTIONS)
    view, told = reconcile(view, scan(sighting), arriving, 3600, OPTIONS)
    recorded = known(AcquisitionState.INCOMPLETE, "", generation=0, held_back=HELD)
    view, silent = reconcile(view, scan(sighting), recorded, 3700, OPTIONS)
    marker = Veto(VetoKind.MARKER, "the marker `*.done` is not there")
    other = replace(seen(mark="m2"), vetoes=(marker,))
    _, news = reconcile(view, scan(other), recorded, 3800, OPTIONS)

    assert (RecordIncomplete(sighting, (COUNT,)),) == told
    assert ((), (RecordHeldBack(other, (marker,)),)) == (silent, news)


def test_reconcile_accepted_as_it_is():
    """L16: what a person accepted settles in spite of its veto; a change takes that back."""
    sighting = replace(seen(), vetoes=(COUNT,))
    accepted = known(AcquisitionState.INCOMPLETE, "", generation=0, accepted_mark="m1")
    more = replace(sighting, stat_mark="m2")

    assert [QueueGeneration(sighting, 1, 0)] == play(sighting, accepted)[1]
    assert [RecordHeldBack(more, (COUNT,))] == play(more, accepted)[1]


SKIPPED = replace(seen(), directives=Directives(skip=True))


def test_reconcile_skips_what_its_sidecar_wants_skipped():
    """`skip = true` ignores an acquisition when it has settled, once, and no listing revives it."""
    arriving = known(AcquisitionState.SETTLING, "", generation=0)
    ignored = known(AcquisitionState.IGNORED, "", generation=0, ignored_mark="m1")

    assert ([], [RecordSkipped(SKIPPED)]) == play(SKIPPED, arriving)
    assert ([], []) == play(SKIPPED, ignored)
    assert ([], []) == play(replace(seen(), is_probed=False), ignored)


def test_reconcile_takes_up_what_is_skipped_no_more():
    """A change, of the sidecar or of anything, brings an ignored acquisition back."""
    ignored = known(AcquisitionState.IGNORED, "", generation=0, ignored_mark="m1")
    changed = seen(mark="m2")
    arriving = known(AcquisitionState.SETTLING, "", generation=0)

    assert [RecordSettling(changed)] == play(changed, ignored)[0]
    assert [QueueGeneration(changed, 1, 0)] == play(changed, arriving)[1]


def test_reconcile_leaves_a_verdict_of_missing_files_alone():
    """L16: what a conversion found incomplete rests until files arrive, then settles anew."""
    lacking = known(AcquisitionState.INCOMPLETE, lacks_files=True)
    more = seen(mark="m2", size="s2")

    assert ([], []) == play(seen(), lacking)
    assert ([], []) == play(replace(seen(), is_probed=False), lacking)
    assert [RecordSettling(more)] == play(more, lacking)[0]
    assert [QueueGeneration(more, 2, 1)] == play(more, known(AcquisitionState.SETTLING))[1]


def test_reconcile_a_late_veto_ends_the_rest():
    """A transfer that begins in a published acquisition unsettles the view, not its state."""
    published = known(AcquisitionState.PUBLISHED)
    view, _ = reconcile(FolderView(), scan(seen()), published, 0, OPTIONS)
    view, _ = reconcile(view, scan(seen()), published, 60, OPTIONS)
    temporary = Veto(VetoKind.TEMPORARY, "“b.tif.part”")
    busy = replace(seen(), vetoes=(temporary,), is_probed=False)
    view, actions = reconcile(view, scan(busy), published, 90, OPTIONS)

    assert () == actions
    assert Phase.SETTLING is view.states["run"].phase
