"""Limits that only a process of its own can have: memory, and the room on a disk."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stackwatch.testing.synthetic import write_sequence

CONVERT = """
import json, sys
from pathlib import Path
import stackwatch
from stackwatch.errors import StackwatchError
source, target, flags = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
try:
    result = stackwatch.convert(source, target, voxel_size_nm=(11, 11, 25), **flags)
except StackwatchError as error:
    answer = {"error": error.code, "exit_code": error.exit_code, "hint": error.hint}
    answer["is_estimate"] = "free_bytes" in error.values
    answer["left"] = [str(path) for path in Path(target).parent.rglob("*")]
else:
    answer = {"peak_mib": result.peak_mib, "warnings": result.warnings}
print(json.dumps(answer))
"""


def convert_in_child(
    source: Path, target: Path, flags: dict[str, Any], before: list[str] | None = None
) -> dict[str, Any]:
    """Convert in a process of its own and return what became of it."""
    command = [
        *(before or []), sys.executable, "-W", "error", "-c", CONVERT,
        str(source), str(target), json.dumps(flags),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def write_noise(folder: Path, shape_zyx: tuple[int, int, int], suffix: str) -> None:
    """Write slices that do not compress."""
    rng = np.random.default_rng(7)
    size_z, *shape_yx = shape_zyx
    slices = (rng.integers(1, 256, shape_yx, np.uint8) for _ in range(size_z))
    write_sequence(folder, slices, "img_{z}." + suffix)


@pytest.mark.parametrize(
    ("suffix", "height", "budget_mib"), [("tif", 2048, 150), ("png", 512, 125)]
)
def test_memory_stays_within_the_budget(
    tmp_path: Path, suffix: str, height: int, budget_mib: int
) -> None:
    """Several swaths, rows read alone or spooled: the peak is within `memory_gib`."""
    write_noise(tmp_path / "run", (32, height, 1024), suffix)
    answer = convert_in_child(
        tmp_path / "run", tmp_path / "out", {"memory_gib": budget_mib / 1024, "threads": 1}
    )
    shards = list((tmp_path / "out" / "color" / "1").glob("c/0/0/*/0"))

    assert len(shards) > 1, "the plane was not cut: the budget is too generous for this test"
    assert answer["peak_mib"] <= budget_mib


@pytest.mark.system
def test_a_plane_in_swaths_needs_less_memory(tmp_path: Path) -> None:
    """The same stack in one swath and in several: the slab is what makes the difference."""
    write_noise(tmp_path / "run", (32, 2048, 1024), "tif")
    flags = {"threads": 1, "downsample": False, "verify": "off"}
    whole, cut = (
        convert_in_child(tmp_path / "run", tmp_path / name, {"memory_gib": gib, **flags})
        for name, gib in (("whole", 1), ("cut", 0.125))
    )

    assert cut["peak_mib"] + 32 < whole["peak_mib"] <= 1024


def in_small_disk(place: Path, size: str, options: str = "") -> list[str]:
    """Return what to put before a command, so that `place` is a small disk for it alone."""
    script = f'mount -t tmpfs -o size={size}{options} none "$0" && exec "$@"'
    return ["unshare", "-Urm", "sh", "-c", script, str(place)]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Return a mount point, or skip by name where no user namespace may be made."""
    if shutil.which("unshare") is None:
        pytest.skip("no `unshare`: no disk of its own for a test")
    (tmp_path / "disk").mkdir()
    probe = [*in_small_disk(tmp_path / "disk", "1m"), "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        pytest.skip("no user namespaces here: no disk of its own for a test")
    return tmp_path / "disk"


def test_a_real_disk_that_fills_up(tmp_path: Path, disk: Path) -> None:
    """A disk with room for the estimate but not for noise: full in the middle, left empty."""
    write_noise(tmp_path / "run", (32, 256, 512), "tif")
    flags = {"codec": "none", "chunk": 8}
    answer = convert_in_child(tmp_path / "run", disk / "out", flags, in_small_disk(disk, "5200k"))

    assert ("out_of_space", 73) == (answer["error"], answer["exit_code"])
    assert not answer["is_estimate"]
    assert [] == answer["left"]


def test_a_disk_mounted_read_only(tmp_path: Path, disk: Path) -> None:
    """A target that cannot be written to: exit code 73, and what to do."""
    write_noise(tmp_path / "run", (2, 40, 40), "tif")
    answer = convert_in_child(tmp_path / "run", disk / "out", {}, in_small_disk(disk, "1m", ",ro"))

    assert ("target_not_writable", 73) == (answer["error"], answer["exit_code"])
    assert answer["hint"]
