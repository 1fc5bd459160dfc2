"""The service where the kernel's settings are hidden, as under `ProcSubset=pid`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stackwatch.errors import ExitCode
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer

HIDE = "mount -t proc -o subset=pid proc /proc && test ! -e /proc/sys && exec"
NAMESPACE = ("unshare", "-Urmpf", "--kill-child", "sh", "-c")


def can_hide() -> bool:
    """Tell whether this machine lets us mount a /proc of our own."""
    try:
        return subprocess.run(
            [*NAMESPACE, f"{HIDE} true"], capture_output=True, timeout=20, check=False
        ).returncode == 0  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.mark.slow
@pytest.mark.system
def test_hidden_limits_are_tolerated(tmp_path: Path):
    """L4: without /proc/sys nothing is known of the inotify limits, and all works as ever."""
    if not can_hide():
        pytest.skip("this machine lets nobody mount a /proc of his own (unshare -Urmpf)")
    (tmp_path / "out").mkdir()
    layer = SyntheticLayer(shape_zyx=(4, 60, 80), content="em")
    SyntheticAcquisition((layer,)).write(tmp_path / "drop" / "run_1")
    config = tmp_path / "config.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{tmp_path}/state"\n[[folder]]\nname = "em"\n'
        f'path = "{tmp_path}/drop"\ntarget = "{tmp_path}/out"\nvoxel_size_nm = [11, 11, 25]\n'
        "quiet_gap_s = 0.3\nreserve_gib = 0\n",
        encoding="utf-8",
    )

    done = subprocess.run(
        [*NAMESPACE, f"{HIDE} {sys.executable} -m stackwatch run --once --config {config}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip

    assert ExitCode.DONE == done.returncode, done.stdout + done.stderr
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert "job.succeeded" in events
    assert "mistake.caught" not in events
