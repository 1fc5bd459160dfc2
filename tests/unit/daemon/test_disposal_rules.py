"""I4: a source is only touched when a verified result of exactly this content is committed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackwatch.daemon.disposal_rules import (
    NotNow,
    OnlyTell,
    Verify,
    ensure_disposable,
    plan_disposal,
)
from stackwatch.daemon.veils import Veils, belongs_to
from stackwatch.errors import DisposalError, StackwatchError, StillArrivingError
from stackwatch.ledger.disposals import DisposalRecord
from stackwatch.ledger.records import DatasetRecord
from stackwatch.model.disposal import DisposalAction, DisposalState
from stackwatch.model.facts import AcquisitionFact, AcquisitionKind, Sighting, Veto, VetoKind
from stackwatch.model.job import AcquisitionId, AcquisitionState, DatasetState, JobId
from stackwatch.settings import FolderSettings
from stackwatch.watch.mounts import MountChange, MountIdentity
from stackwatch.watch.scan import FolderScan

NOW_US = 1_000_000_000
DUE = DisposalRecord(
    disposal_id=1,
    action=DisposalAction.DELETE,
    state=DisposalState.DUE,
    acquisition_id=AcquisitionId(1),
    folder="em",
    key="run",
    name="run",
    kind=AcquisitionKind.FOLDER,
    source="run",
    acquisition_state=AcquisitionState.PUBLISHED,
    generation_id=1,
    generation=1,
    stat_mark="m1",
    is_newest=True,
    is_gone=False,
    archive_path=None,
    remark=None,
    due_at_us=NOW_US,
    finished_at_us=None,
)
FOLDER = FolderSettings(
    name="em",
    path=Path("/drop"),
    target=Path("/out"),
    on_success="delete",
    on_success_dry_run=False,
    archive_to=Path("/archive"),
)
SEEN = Sighting("run", "run", AcquisitionKind.FOLDER, "run", (), 1, 1, 1, "m1", "s1")
DATASET = DatasetRecord(
    1, JobId(1), "em", "run", 1, DatasetState.PUBLISHED, "run", Path("/out/run"), Path("/x"),
    "r1", "d", 1, 0, 0, 0, None,
)  # fmt: skip


def test_what_is_due_is_verified_first():
    """A disposal whose time has come begins with the verification, not with the removal."""
    assert Verify() == plan_disposal(DUE, FOLDER, NOW_US, is_available=True)


@pytest.mark.parametrize(
    ("disposal", "folder", "is_available"),
    [
        (replace(DUE, due_at_us=NOW_US + 1), FOLDER, True),
        (DUE, FOLDER, False),
        (DUE, None, True),
        (DUE, FOLDER.model_copy(update={"on_success": "keep"}), True),
        (DUE, FOLDER.model_copy(update={"on_success": "archive"}), True),
        (replace(DUE, is_newest=False), FOLDER, True),
        (replace(DUE, is_gone=True), FOLDER, True),
        (replace(DUE, acquisition_state=AcquisitionState.SETTLING), FOLDER, True),
        (replace(DUE, state=DisposalState.REFUSED), FOLDER, True),
        (replace(DUE, state=DisposalState.DONE), FOLDER, True),
    ],
)
def test_what_is_not_due_waits(disposal, folder, is_available):
    """I4: before its time, with other settings, on an absent share, or not published: nothing."""
    assert NotNow() == plan_disposal(disposal, folder, NOW_US, is_available=is_available)


def test_a_dry_run_tells_once_what_it_would_do():
    """The place, the time and the setting are told; told before, nothing is."""
    folder = FOLDER.model_copy(update={"on_success": "archive", "on_success_dry_run": True})
    disposal = replace(DUE, action=DisposalAction.ARCHIVE)

    step = plan_disposal(disposal, folder, NOW_US, is_available=True)

    assert isinstance(step, OnlyTell)
    for part in ("archived to “/archive/run”", "168 h", "on_success_dry_run = false"):
        assert part in step.message
    told = replace(disposal, remark={"message": step.message})
    assert NotNow() == plan_disposal(told, folder, NOW_US, is_available=True)


def test_all_in_order_may_be_touched():
    """I4: verified, seen as it was published, and after the retention."""
    ensure_disposable(DUE, FOLDER, [DATASET], ["r1"], SEEN, NOW_US)


BREAKS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "not newest": lambda case: case | {"disposal": replace(case["disposal"], is_newest=False)},
    "gone": lambda case: case | {"disposal": replace(case["disposal"], is_gone=True)},
    "too early": lambda case: case | {"now_us": NOW_US - 1},
    "settling": lambda case: (
        case | {"disposal": replace(case["disposal"], acquisition_state=AcquisitionState.SETTLING)}
    ),
    "refused": lambda case: (
        case | {"disposal": replace(case["disposal"], state=DisposalState.REFUSED)}
    ),
    "kept": lambda case: case | {"folder": FOLDER.model_copy(update={"on_success": "keep"})},
    "dry run": lambda case: (
        case | {"folder": FOLDER.model_copy(update={"on_success_dry_run": True})}
    ),
    "no settings": lambda case: case | {"folder": None},
    "not seen": lambda case: case | {"sighting": None},
    "changed": lambda case: (
        case | {"sighting": case["sighting"] and replace(case["sighting"], stat_mark="m2")}
    ),
    "open": lambda case: (
        case
        | {
            "sighting": case["sighting"]
            and replace(case["sighting"], vetoes=(Veto(VetoKind.OPEN, "a.tif is open"),))
        }
    ),
    "unreadable": lambda case: (
        case | {"sighting": case["sighting"] and replace(case["sighting"], unreadable=1)}
    ),
    "unverified": lambda case: case | {"verified": []},
    "no dataset": lambda case: case | {"datasets": []},
    "not published": lambda case: (
        case | {"datasets": [*case["datasets"], replace(DATASET, state=DatasetState.PUBLISHING)]}
    ),
    "another run": lambda case: case | {"datasets": [replace(DATASET, run_id="r2")]},
}


@given(st.lists(st.sampled_from(sorted(BREAKS)), min_size=1, unique=True))
def test_whatever_is_out_of_order_keeps_the_source(broken):
    """I4: any one of the conditions missing, alone or with others, and nothing may be touched."""
    case: dict[str, Any] = {
        "disposal": DUE, "folder": FOLDER, "datasets": [DATASET], "verified": ["r1"],
        "sighting": SEEN, "now_us": NOW_US,
    }  # fmt: skip
    for name in broken:
        case = BREAKS[name](case)

    with pytest.raises(StackwatchError) as caught:
        ensure_disposable(**case)

    assert isinstance(caught.value, StillArrivingError | DisposalError)


def group(*members: str, folder: str = "") -> Sighting:
    """Return a group of loose files, or the one that is left of it."""
    prefix = f"{folder}/" if folder else ""
    if len(members) == 1:
        key = prefix + members[0]
        return replace(SEEN, key=key, source=key, kind=AcquisitionKind.FILE)
    return replace(
        SEEN, key=f"{prefix}img_#.tif", source=folder, kind=AcquisitionKind.GROUP, members=members
    )


@pytest.mark.parametrize(
    ("sighting", "key", "is_hidden"),
    [
        (SEEN, "run", True),
        (SEEN, "run2", False),
        (group("img_1.tif", "img_2.tif"), "img_#.tif", True),
        (group("img_7.tif"), "img_#.tif", True),
        (group("img_x.tif"), "img_#.tif", False),
        (group("img_7.tif", folder="sub"), "img_#.tif", False),
        (group("img_7.tif", folder="sub"), "sub/img_#.tif", True),
        (replace(group("a#1.tif")), "a##.tif", True),
    ],
)
def test_what_is_left_of_a_group_belongs_to_it(sighting, key, is_hidden):
    """The last file of a group that is being removed is no new acquisition."""
    assert is_hidden is belongs_to(sighting, key)


def test_a_veil_hides_until_it_is_lifted():
    """Neither the sighting nor the fact of what is being put away reaches the watching river."""
    veils = Veils()
    mount = MountIdentity(1, 2, "ext4")
    other = replace(SEEN, key="other")
    scan = FolderScan((SEEN, other), None, (), (), 2, 1, 0, mount, MountChange.SAME, 0.1)
    facts = {"run": AcquisitionFact(AcquisitionId(1), "run", AcquisitionState.PUBLISHED)}
    veils.hide("em", "run")

    hidden = veils.found("em", scan)

    assert isinstance(hidden, FolderScan)
    assert (((other,), {}), (scan, facts)) == (
        (hidden.sightings, veils.facts("em", facts)),
        (veils.found("tem", scan), veils.facts("tem", facts)),
    )
    veils.lift("em", "run")
    assert (scan, facts) == (veils.found("em", scan), veils.facts("em", facts))
