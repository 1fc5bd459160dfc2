"""What the machine lets us use, from a made-up control group."""

from pathlib import Path

import pytest

from stackwatch.engine import machine
from stackwatch.engine.machine import default_memory_gib, usable_cpus, usable_memory_bytes

GIB = 2**30


@pytest.mark.parametrize(
    ("usable_gib", "expected"), [(0.5, 0.25), (1, 0.25), (8, 2.0), (16, 4.0), (512, 4.0)]
)
def test_the_default_is_a_quarter_within_limits(
    monkeypatch: pytest.MonkeyPatch, usable_gib: float, expected: float
) -> None:
    """A quarter of what there is, at least a quarter of a GiB, at most four."""
    monkeypatch.setattr(machine, "usable_memory_bytes", lambda: int(usable_gib * GIB))

    assert expected == default_memory_gib()


def test_a_control_group_above_ours_limits_us_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lowest limit on the way up to the root counts; `max` is none."""
    own = next(
        (
            line[3:]
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line.startswith("0::")
        ),
        "/",
    )
    group = tmp_path / own.strip("/")
    group.mkdir(parents=True, exist_ok=True)
    without = usable_memory_bytes(tmp_path)
    (group / "memory.max").write_text("max\n")
    unlimited = usable_memory_bytes(tmp_path)
    (tmp_path / "memory.max").write_text(f"{GIB // 4}\n")
    limited = usable_memory_bytes(tmp_path)

    assert without == unlimited > GIB // 4
    assert GIB // 4 == limited


def test_there_is_a_processor() -> None:
    """At least the one this runs on."""
    assert usable_cpus() >= 1
