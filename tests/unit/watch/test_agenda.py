"""The agenda: when a folder is looked at, and at what."""

from dataclasses import replace

import pytest

from stackwatch.watch.agenda import AgendaOptions, Look, NameHint, plan_look
from stackwatch.watch.reconcile import FolderView
from stackwatch.watch.settle import Phase, SettleState

OPTIONS = AgendaOptions(scan_interval_s=100, hint_delay_s=2)


def view(*dues: tuple[str, float], seconds: float = 0.0, unavailable: str = "") -> FolderView:
    """Return a view scanned at 1000 with acquisitions that fall due."""
    states = {key: SettleState(Phase.SETTLING, "m", 0, 0, due_s) for key, due_s in dues}
    return FolderView(states, None, unavailable, 1000, 1000, seconds)


def test_plan_look_first():
    """A folder that was never scanned is scanned at once."""
    assert Look(0.0) == plan_look(FolderView(), OPTIONS, is_hinted=False, chance=0.5)


@pytest.mark.parametrize(("chance", "at_s"), [(0, 1075), (0.5, 1100), (1, 1125)])
def test_plan_look_interval_with_jitter(chance, at_s):
    """Scans of everything come after the interval, moved by up to a quarter."""
    assert Look(at_s) == plan_look(view(), OPTIONS, is_hinted=False, chance=chance)


def test_plan_look_hint():
    """A hint brings the scan of everything forward to the shortest pause."""
    assert Look(1002) == plan_look(view(), OPTIONS, is_hinted=True, chance=0.5)


def test_plan_look_costly_folder():
    """A scan that takes 30 s is repeated every 300 s at most, hint or not."""
    costly = view(seconds=30)

    assert Look(1300) == plan_look(costly, OPTIONS, is_hinted=False, chance=0.5)
    assert Look(1300) == plan_look(costly, OPTIONS, is_hinted=True, chance=0.5)


def test_plan_look_hint_never_delays():
    """Where scans are rarer than the pause, a hint does not make them rarer still."""
    options = AgendaOptions(scan_interval_s=1, hint_delay_s=2)

    assert Look(1001) == plan_look(view(), options, is_hinted=True, chance=0.5)


def test_plan_look_settling():
    """An acquisition whose gap ends is looked at then, alone."""
    looks = view(("a", 1040), ("b", 1090))

    assert Look(1040, frozenset({"a"})) == plan_look(looks, OPTIONS, is_hinted=False, chance=0.5)


def test_plan_look_settling_together():
    """Those that fall due within a moment share a scan, when the last of them is due."""
    looks = view(("a", 1040), ("b", 1040.2), ("c", 1040.5))

    assert Look(1040.2, frozenset({"a", "b"})) == plan_look(
        looks, OPTIONS, is_hinted=False, chance=0.5
    )


def test_plan_look_settling_after_the_next_scan():
    """The scan of everything looks at those that fall due later anyway."""
    assert Look(1100) == plan_look(view(("a", 1200)), OPTIONS, is_hinted=False, chance=0.5)


def test_plan_look_unavailable():
    """A folder that does not answer is tried after the interval, whole, whatever hints say."""
    away = view(("a", 1001), unavailable="away")

    assert Look(1100) == plan_look(away, OPTIONS, is_hinted=True, chance=0.5)


def test_plan_look_never_available():
    """A folder that was not there at the start is tried again after the interval too."""
    away = FolderView(unavailable="away", scanned_s=5)

    assert Look(105) == plan_look(away, OPTIONS, is_hinted=False, chance=0.5)


@pytest.mark.parametrize(
    ("hint", "at_s"),
    [
        (NameHint(frozenset({"a"}), 1010, 1010), 1010.5),
        (NameHint(frozenset({"a"}), 1010, 1013), 1013.5),
        (NameHint(frozenset({"a"}), 1010, 1030), 1015),
        (NameHint(frozenset({"a"}), 1001, 1001, not_before_s=1020), 1020),
    ],
)
def test_plan_look_named(hint, at_s):
    """What events named is looked at, alone and not closely, when they pause or after a while."""
    look = plan_look(view(), OPTIONS, is_hinted=False, chance=0.5, hint=hint)

    assert Look(at_s, frozenset({"a"}), is_probing=False) == look


def test_plan_look_named_or_all():
    """I7: names do not keep the scan of everything away."""
    hint = NameHint(frozenset({"a"}), 1099.8, 1099.8)

    assert Look(1100) == plan_look(view(), OPTIONS, is_hinted=False, chance=0.5, hint=hint)
    assert Look(1002) == plan_look(view(), OPTIONS, is_hinted=True, chance=0.5, hint=hint)


def test_name_hint_grows():
    """More names join; the first event stays the first."""
    hint = NameHint(frozenset({"a"}), 10, 10).joined(frozenset({"b"}), 12)

    assert NameHint(frozenset({"a", "b"}), 10, 12) == hint


@pytest.mark.parametrize(("all_scans_s", "at_s"), [(0.5, 1100), (3, 1300)])
def test_plan_look_within_the_budget(all_scans_s, at_s):
    """L21: the more all scans cost, the rarer they are; a hint brings them forward as ever."""
    options = replace(OPTIONS, all_scans_s=all_scans_s)

    assert Look(at_s) == plan_look(view(), options, is_hinted=False, chance=0.5)
    assert Look(1002) == plan_look(view(), options, is_hinted=True, chance=0.5)
