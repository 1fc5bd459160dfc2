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


V2 = "0::/system.slice/stackwatch.service\n"
V1 = "12:cpu,cpuacct:/\n4:memory:/docker/3f\n1:name=systemd:/docker/3f\n"


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        (V2, {"system.slice/stackwatch.service/memory.max": "max"}, None),
        (V2, {"system.slice/stackwatch.service/memory.max": "5000"}, 5000),
        (
            V2,
            {
                "system.slice/stackwatch.service/memory.max": "5000",
                "system.slice/memory.max": "4000",
                "memory.max": "max",
            },
            4000,
        ),
        (V1, {"memory/docker/3f/memory.limit_in_bytes": "9223372036854771712"}, None),
        (V1, {"memory/docker/3f/memory.limit_in_bytes": "6000"}, 6000),
        (V1, {"memory/memory.limit_in_bytes": "7000"}, 7000),
        (V1 + "0::/\n", {"memory/docker/3f/memory.limit_in_bytes": "6000"}, 6000),
        ("4:cpu,memory:/box\n", {"memory/box/memory.limit_in_bytes": "8000"}, 8000),
        ("4:cpuset:/box\n", {"memory/box/memory.limit_in_bytes": "8000"}, None),
        ("", {"memory.max": "9000"}, None),
        ("nonsense\n1:2\n", {"memory.max": "9000"}, None),
    ],
)
def test_the_control_group_limits_us(
    tmp_path: Path, groups: str, limits: dict[str, str], expected: int | None
) -> None:
    """Of both versions, the lowest limit from our own group up to the root counts."""
    own = tmp_path / "own"
    own.write_text(groups)
    for name, text in limits.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    physical = usable_memory_bytes(tmp_path / "nowhere", own)

    assert (expected or physical) == usable_memory_bytes(tmp_path / "cgroup", own)
    assert physical == usable_memory_bytes(tmp_path / "cgroup", tmp_path / "missing")


def test_there_is_a_processor() -> None:
    """At least the one this runs on."""
    assert usable_cpus() >= 1
