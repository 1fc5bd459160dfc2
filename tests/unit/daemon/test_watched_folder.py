"""A drop folder between two scans: what new settings leave of what was seen."""

from dataclasses import replace
from pathlib import Path

import pytest

from stackwatch.daemon.folders import WatchedFolder
from stackwatch.settings import FolderSettings
from stackwatch.watch.mounts import MountIdentity
from stackwatch.watch.reconcile import FolderView

SHARE = MountIdentity(42, 1, "nfs4")


def watched(drop: Path) -> WatchedFolder:
    """Return a folder on a share that was seen."""
    settings = FolderSettings(name="em", path=drop, target=drop.parent / "out")
    folder = WatchedFolder(settings)
    folder.view = replace(FolderView(), mount=SHARE, scanned_s=5.0, unavailable="it is away")
    return folder


@pytest.mark.parametrize(
    "change", [{"marker": "*.done"}, {"acquisition_depth": 2}, {"quiet_gap_s": 5.0}]
)
def test_new_settings_do_not_forget_the_mount(tmp_path: Path, change: dict[str, object]) -> None:
    """L9: settings change while the share is away: what lies below its mount point is not it."""
    folder = watched(tmp_path / "drop")

    folder.adopt(folder.settings.model_copy(update=change))

    assert SHARE == folder.order_scan(None).expected
    assert "it is away" == folder.reason


def test_a_scan_that_began_under_other_settings_is_told_from_one_of_now(tmp_path: Path) -> None:
    """Its answer speaks of another path, or of acquisitions that are divided otherwise."""
    folder = watched(tmp_path / "drop")
    before = folder.order_scan(None)
    folder.adopt(folder.settings.model_copy(update={"quiet_gap_s": 5.0}))
    is_of_now = [folder.is_of_now(before)]
    for change in ({"acquisition_depth": 2}, {"path": tmp_path / "other"}):
        folder.adopt(folder.settings.model_copy(update=change))
        is_of_now.append(folder.is_of_now(before))

    assert [True, False, False] == is_of_now
