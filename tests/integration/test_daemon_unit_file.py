"""The unit file: what systemd says of it, and what it promises."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stackwatch.daemon.heartbeats import PATIENCE_S
from stackwatch.daemon.service import SCAN_END_S
from stackwatch.settings.model import DaemonSettings

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


def test_the_unit_file_fences_the_service_in():
    """The score of systemd is 1.2 or less; 0 is best, a unit without protection has 9.6."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=12", UNIT],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "Overall exposure level" in done.stdout


def test_settings_of_a_machine_stand_in_the_example_of_a_drop_in():
    """No line of the example is in force before somebody wants it; what people need is there."""
    example = UNIT.with_name("drop-in.conf.example").read_text(encoding="utf-8")
    lines = [line for line in example.splitlines() if line and not line.startswith("#")]
    offered = {found[1] for found in re.finditer(r"^#([A-Z][A-Za-z]+)=", example, re.MULTILINE)}

    assert ["[Service]"] == lines
    assert {"ReadWritePaths", "SupplementaryGroups", "LoadCredential", "MemoryMax"} <= offered


def test_what_the_watchdog_allows_is_longer_than_what_a_part_may_be_silent():
    """A part is missed after a minute; systemd acts after another, and the stacks have time."""
    assert [f"{PATIENCE_S:.0f}"] == read_values("WatchdogSec")
    assert ["10"] == read_values("TimeoutAbortSec")


def test_the_unit_waits_longer_for_a_stop_than_the_service_does():
    """Conversions get `stop_timeout_s`; the rest of the stop comes after that."""
    (limit,) = read_values("TimeoutStopSec")

    assert int(limit) >= DaemonSettings().stop_timeout_s + SCAN_END_S + 10


def test_exit_codes_that_do_not_heal_are_not_restarted():
    """C15: bad settings (78), another daemon and a newer ledger (69) stay stopped."""
    assert ["69 78"] == read_values("RestartPreventExitStatus")


def test_a_stop_leaves_workers_to_the_service():
    """SIGTERM goes to the main process alone, and an OOM kill of a worker stops nothing."""
    assert (["mixed"], ["continue"]) == (read_values("KillMode"), read_values("OOMPolicy"))


def test_a_dead_share_cannot_stop_the_service():
    """No directive ties the service to a mount."""
    assert [] == read_values("RequiresMountsFor") + read_values("BindsTo")
