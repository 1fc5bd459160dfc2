"""C25: what is written never lies under what is watched; a path that hangs hangs nobody."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from stackwatch.errors import ConfigError
from stackwatch.settings import find_warnings, load_settings, places
from stackwatch.settings.places import check_places, find_clashes

MOUNTS = b"""\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:9 / /mnt/nas rw - nfs4 nas:/x rw
"""


def folder(**places: str) -> dict[str, Any]:
    """Return one folder's table."""
    return {"name": places.get("path", "/d"), "path": "/drop/a", "target": "/out", **places}


def values(*folders: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """Return merged settings."""
    return {"folder": list(folders), **sections}


@pytest.mark.parametrize(
    ("settings", "phrase"),
    [
        (values(folder(target="/drop/a/out")), "folder[0].target must not lie inside"),
        (values(folder(archive_to="/drop/a/done")), "folder[0].archive_to must not lie inside"),
        (values(folder(archive_to="/drop")), "folder[0].path must not lie inside folder[0].arch"),
        (values(folder(target="/drop")), "folder[0].path must not lie inside folder[0].target"),
        (values(folder(archive_to="/out/done")), "folder[0].archive_to must not lie inside folder"),
        (values(folder(archive_to="/out")), "folder[0].archive_to must not lie inside folder[0].t"),
        (
            values(folder(), daemon={"state_dir": "/drop/a/state"}),
            "daemon.state_dir must not lie inside folder[0].path",
        ),
        (
            values(folder(), daemon={"state_dir": "/drop"}),
            "folder[0].path must not lie inside daemon.state_dir",
        ),
        (values(folder(), logs={"file": "/drop/a/log"}), "logs.file must not lie inside"),
        (values(folder(path="/var/lib")), "daemon.state_dir must not lie inside folder[0].path"),
        (values(folder(), folder(path="/drop/a/b")), "folder[1].path must not lie inside"),
        (values(folder(), folder(path="/drop/a")), "folder[1].path must differ from folder[0]"),
        (
            values(folder(), folder(path="/drop/b", archive_to="/drop/a/x")),
            "folder[1].archive_to must not lie inside folder[0].path",
        ),
    ],
)
def test_places_that_meet_are_refused(settings, phrase):
    """C25: output, state, log and archive in a drop folder, and the other way round."""
    problems = find_clashes(settings)

    assert any(problem.startswith(phrase) for problem in problems), problems


def test_links_are_resolved(tmp_path):
    """C25: an archive that leads into a drop folder by a link is in the drop folder."""
    (tmp_path / "drop").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "drop")
    settings = values(folder(path=f"{tmp_path}/drop", archive_to=f"{tmp_path}/link/done"))

    (problem,) = find_clashes(settings)

    assert problem.startswith("folder[0].archive_to must not lie inside folder[0].path")


def test_neighbours_do_not_clash():
    """Places side by side, and a log above a drop folder, are accepted."""
    settings = values(
        folder(archive_to="/archive"),
        folder(path="/drop/ab", target="/out", archive_to="/archive"),
        daemon={"state_dir": "/state"},
        logs={"file": "/drop/log"},
    )

    assert find_clashes(settings) == []


def test_a_ledger_on_a_network_mount_is_refused(tmp_path):
    """D10: the settings name the kind of mount; a local disk is accepted."""
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_bytes(MOUNTS)

    def clashes(state_dir: str) -> tuple[str, ...]:
        daemon = {"state_dir": state_dir}
        return check_places(values(daemon=daemon), mountinfo=mountinfo).clashes

    (problem,) = clashes("/mnt/nas/state")
    assert problem.startswith("daemon.state_dir must lie on a local disk")
    assert "nfs4" in problem
    assert clashes("/srv/state") == ()


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch):
    """Return a path that never answers, until the test ends."""
    answer = threading.Event()
    resolve = os.path.realpath

    def hang(path: str | Path, **options: Any) -> str:
        if str(path).startswith("/dead"):
            answer.wait(60)
        return str(resolve(path, **options))

    monkeypatch.setattr("os.path.realpath", hang)
    monkeypatch.setattr(places, "ANSWER_S", 0.05)
    yield "/dead/share"
    answer.set()


def test_a_path_that_hangs_is_compared_as_it_is_written(dead):
    """C25: no command waits for it; it is told, and still compared by name."""
    found = check_places(values(folder(path=dead, target=f"{dead}/out")), answer_s=0.05)

    assert found.clashes[0].startswith("folder[0].target must not lie inside folder[0].path")
    assert {"folder[0].path", "folder[0].target"} == {line.split()[0] for line in found.silent}
    assert "could not be checked within 0.05 s" in found.silent[0]


def test_settings_with_a_path_that_hangs_load_with_a_warning(dead, tmp_path: Path):
    """C25: `config check` and `run` go on and say so."""
    config = tmp_path / "c.toml"
    config.write_text(f'[[folder]]\nname="a"\npath="{tmp_path}"\ntarget="{dead}"\n')
    try:
        settings = load_settings(config, environ={}).settings
    except ConfigError as error:  # pragma: no cover - only if the claim is broken
        pytest.fail(error.message)

    warnings = find_warnings(settings)

    assert any(line.startswith(f"folder[0].target “{dead}” could not be") for line in warnings)
