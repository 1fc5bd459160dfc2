"""D10: two daemons never write to one target, and one that is gone holds nobody up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackwatch.testing.service import ServiceBench


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[ServiceBench, ServiceBench]]:
    """Return two benches with ledgers of their own, and one drop folder and target."""
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(ServiceBench(tmp_path / name))
    one, two = made
    two.drop, two.target = one.drop, one.target
    two.write_config()
    yield one, two
    for service in made:
        service.close()


def folder_of(service: ServiceBench) -> dict[str, Any]:
    """Return what a daemon tells of its folder."""
    folder: dict[str, Any] = service.ask("status")["folders"][0]
    return folder


def test_the_second_daemon_converts_nothing_until_the_first_is_killed(both):
    """D10: refused with a reason while the first lives; after its kill the second takes over."""
    one, two = both
    one.start()
    one.drop_acquisition("run_1", {"a.tif": b"1"})
    one.wait_until(lambda: bool(one.events("job.succeeded")))
    two.start()
    two.wait_until(lambda: folder_of(two)["state"] == "unavailable")
    assert f"pid {one.pid}" in folder_of(two)["reason"]
    assert str(one.state_dir) in folder_of(two)["reason"]
    one.drop_acquisition("run_2", {"a.tif": b"2"})
    one.wait_until(lambda: len(one.events("job.succeeded")) == 2)
    assert [] == two.events("job.claimed")
    assert 1 == len(two.events("folder.unavailable"))

    one.close()

    two.wait_until(lambda: bool(two.events("folder.recovered")))
    assert 1 == len(two.events("claim.taken"))
    two.drop_acquisition("run_3", {"a.tif": b"3"})
    two.wait_until(lambda: (two.target / "run_3").is_dir())
    assert 0 == two.stop()
    assert [] == [path.name for path in two.target.iterdir() if path.name[0] == "."]


def test_other_folders_go_on(both, tmp_path):
    """D10: a folder with a target of its own is converted by the daemon that is refused another."""
    one, two = both
    one.start()
    one.wait_until(lambda: (one.target / ".stackwatch" / "claim").exists())
    for name in ("drop2", "target2"):
        (tmp_path / name).mkdir()
    with two.config.open("a") as file:
        file.write(
            f'[[folder]]\nname = "own"\npath = "{tmp_path}/drop2"\n'
            f'target = "{tmp_path}/target2"\nquiet_gap_s = 0.2\n'
        )
    two.start()
    (tmp_path / "drop2" / "run").mkdir()
    (tmp_path / "drop2" / "run" / "a.tif").write_bytes(b"x")

    two.wait_until(lambda: (tmp_path / "target2" / "run").is_dir())

    def states() -> dict[str, str]:
        return {folder["name"]: folder["state"] for folder in two.ask("status")["folders"]}

    two.wait_until(lambda: states()["em"] == "unavailable")
    assert "healthy" == states()["own"]
