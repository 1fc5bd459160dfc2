"""The unit file: what systemd says of it, and what it promises."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "systemd" / "stackwatch.service"


def read_values(key: str) -> list[str]:
    """Return the values of a key of the unit file."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def test_systemd_accepts_the_unit_file(tmp_path):
    """systemd-analyze finds no fault, not even a key it does not know and would ignore."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = UNIT.read_text(encoding="utf-8")
    (start,) = read_values("ExecStart")
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(start, f"{sys.executable} -V"), encoding="utf-8")

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )

    assert "Unknown" not in done.stderr, done.stderr
    assert "ignoring" not in done.stderr, done.stderr
    assert 0 == done.returncode, done.stderr


def test_exit_codes_that_do_not_heal_are_not_restarted():
    """C15: bad settings (78), another daemon and a newer ledger (69) stay stopped."""
    assert ["69 78"] == read_values("RestartPreventExitStatus")


def test_a_stop_leaves_workers_to_the_service():
    """SIGTERM goes to the main process alone, and an OOM kill of a worker stops nothing."""
    assert (["mixed"], ["continue"]) == (read_values("KillMode"), read_values("OOMPolicy"))


def test_a_dead_share_cannot_stop_the_service():
    """No directive ties the service to a mount."""
    assert [] == read_values("RequiresMountsFor") + read_values("BindsTo")
