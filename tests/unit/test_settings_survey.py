"""What the settings mean on this machine."""

import threading
from pathlib import Path

import pytest

from stackwatch.settings import FolderSettings, LogsSettings, Settings, find_warnings
from stackwatch.settings.load import peek_state_dir
from stackwatch.settings.survey import Presence, ask_within, find_presence, survey_folder

ROOT_LINE = "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
SHARE_LINE = "2 1 0:5 / {path} rw - nfs4 server:/x rw\n"


def folder(path: Path, **settings: object) -> FolderSettings:
    """Return a folder's settings."""
    values = {"name": "em", "path": path, "target": Path("/out"), **settings}
    return FolderSettings.model_validate(values)


def mountinfo(tmp_path: Path, *, is_share: bool) -> Path:
    """Return a mountinfo by which the folder lies on a disk, or on a share."""
    file = tmp_path / "mountinfo"
    file.write_text(ROOT_LINE + SHARE_LINE.format(path=tmp_path) * is_share)
    return file


@pytest.mark.parametrize(
    ("is_share", "settings", "expected"),
    [
        (False, {}, ("ext4", "events", 60.0, "local", 0)),
        (True, {}, ("nfs4", "poll", 300.0, "network", 0)),
        (False, {"watch": "poll"}, ("ext4", "poll", 60.0, "local", 0)),
        (False, {"quiet_gap_s": 5}, ("ext4", "events", 5.0, "settings", 1)),
        (False, {"quiet_gap_s": 5, "marker": "*.done"}, ("ext4", "events", 5.0, "settings", 0)),
        (True, {"quiet_gap_s": 120}, ("nfs4", "poll", 120.0, "settings", 1)),
        (True, {"watch": "events"}, ("nfs4", "events", 300.0, "network", 1)),
        (False, {"on_success": "delete"}, ("ext4", "events", 60.0, "local", 0)),
        (
            False,
            {"on_success": "delete", "on_success_dry_run": False},
            ("ext4", "events", 60.0, "local", 1),
        ),
    ],
)
def test_mount_gap_and_warnings(
    tmp_path: Path, is_share: bool, settings: dict[str, object], expected: tuple[object, ...]
):
    """The kind of the mount decides how a folder is watched, and which gap is too short."""
    info = mountinfo(tmp_path, is_share=is_share)
    found = survey_folder(folder(tmp_path, **settings), info)

    assert expected == (
        found.fstype, found.watch, found.quiet_gap_s, found.gap_from, len(found.warnings),
    )  # fmt: skip
    assert Presence.THERE is found.presence


def test_hidden_mounts_are_tolerated(tmp_path: Path):
    """L4: where the kernel does not tell of mounts, a folder is taken for a local one."""
    found = survey_folder(folder(tmp_path), tmp_path / "no-proc")

    assert ("", "events", 60.0) == (found.fstype, found.watch, found.quiet_gap_s)
    assert found.as_record()["fstype"] is None


def test_readiness_is_named(tmp_path: Path):
    """Every policy that holds an acquisition back is a phrase."""
    all_of_them = survey_folder(folder(tmp_path, marker="*.done", expected_files=1200)).readiness
    few = survey_folder(folder(tmp_path, veto_open_files=False)).readiness

    text = " ".join(all_of_them)
    assert 4 == len(all_of_them)
    assert "`*.done`" in text
    assert "1,200 files" in text
    assert "open for writing" in text
    assert 1 == len(few)


@pytest.mark.parametrize(
    ("settings", "phrases"),
    [
        ({}, ("stays where it is",)),
        ({"on_success": "archive", "archive_to": "/arc"}, ("moved to “/arc”", "168 h", "dry run")),
        ({"on_success": "delete", "on_success_dry_run": False}, ("is deleted 168 h",)),
    ],
)
def test_what_becomes_of_sources_is_told(
    tmp_path: Path, settings: dict[str, object], phrases: tuple[str, ...]
):
    """Whether sources are kept, moved or deleted, when, and whether it is only rehearsed."""
    told = survey_folder(folder(tmp_path, **settings)).on_success

    assert all(phrase in told for phrase in phrases), told


def test_a_path_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """C14: a dead share costs the patience, and is told from one that is not there."""
    go = threading.Event()
    hung = threading.Event()

    def hang(_path: Path) -> bool:
        hung.set()
        return go.wait(20)

    assert Presence.ABSENT is find_presence(tmp_path / "absent")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_dir", hang)
        found = survey_folder(folder(tmp_path), patience_s=0.05)
    go.set()

    assert hung.is_set()
    assert Presence.SILENT is found.presence
    assert "does not answer" in found.warnings[0]
    for thread in threading.enumerate():
        if thread.name == "ask-path":
            thread.join(20)


def test_an_answer_in_time_is_returned():
    """Questions that are answered lose nothing."""
    assert 7 == ask_within(20, lambda: 7)


def test_a_log_file_that_cannot_be_written_is_a_warning(tmp_path: Path):
    """The service runs without its file, and says so beforehand."""
    drop = folder(tmp_path)
    lost = Settings(folder=(drop,), logs=LogsSettings(file=tmp_path / "no" / "log"))
    kept = Settings(folder=(drop,), logs=LogsSettings(file=tmp_path / "log"))

    assert [] == find_warnings(kept)
    assert "cannot be written to" in find_warnings(lost)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[daemon]\nstate_dir = "/state"\nworkers = 0\n', Path("/state")),
        ('[daemon]\nstate_dir = "state"\n', None),
        ("[daemon]\n", None),
        ("daemon = 3\n", None),
        ("[daemon\n", None),
    ],
)
def test_a_daemon_is_found_by_settings_with_mistakes(tmp_path: Path, text: str, expected: Path):
    """A mistake elsewhere in the file does not hide where the daemon listens."""
    config = tmp_path / "config.toml"
    config.write_text(text)

    assert expected == peek_state_dir(config, environ={})
