"""Room at the target, decided without a disk."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stackwatch.daemon.room import (
    GIB,
    Need,
    Room,
    estimate_need,
    judge_room,
    pause_of,
    probe_room,
)
from stackwatch.daemon.rooms import Rooms
from stackwatch.errors import OutOfSpaceError
from stackwatch.stores.room import plan_reserve

TIB = 1024 * GIB


def room(free_gib: float, total_bytes: int = 4 * TIB, **more: Any) -> Room:
    """Return a disk of 4 TiB with so much free."""
    return Room(1, total_bytes, int(free_gib * GIB), **more)


def test_the_reserve_is_a_share_of_a_small_disk():
    """20 GiB are kept of a large disk, a twentieth of a small one, nothing where 0 is set."""
    assert (20 * GIB, 5 * GIB, 0) == (
        plan_reserve(20, TIB), plan_reserve(20, 100 * GIB), plan_reserve(0, TIB),
    )  # fmt: skip


def test_what_fits_above_the_reserve_may_begin():
    """C4: the need counts on top of the reserve, and the pause names all figures."""
    need = Need(12 * GIB)
    pause = judge_room(room(23), need, 20)

    assert judge_room(room(32), need, 20) is None
    assert pause is not None
    assert "waits for room: needs 12 GiB, 3 GiB free above the reserve of 20 GiB" == pause.reason
    assert (12 * GIB, 3 * GIB, 20 * GIB) == (
        pause.needed_bytes, pause.free_bytes, pause.reserve_bytes,
    )  # fmt: skip


def test_what_running_conversions_still_write_is_not_free():
    """C4: two conversions never share the same room."""
    pause = judge_room(room(45), Need(12 * GIB), 20, promised_bytes=20 * GIB)

    assert pause is not None
    assert "and the 20 GiB that running conversions still need" in pause.reason


def test_a_paused_folder_goes_on_with_a_little_more_than_needed():
    """C4: what was just enough begins, but does not end a pause: it must not flutter."""
    need, enough = Need(10 * GIB), room(30)

    assert judge_room(enough, need, 20) is None
    assert judge_room(enough, need, 20, is_paused=True) is not None
    assert judge_room(room(31), need, 20, is_paused=True) is None


def test_what_the_disk_could_never_hold_does_not_block_the_folder():
    """C4: waiting would be in vain; its own worker refuses it, and others go on."""
    assert judge_room(room(10, 100 * GIB), Need(99 * GIB), 20) is None
    assert judge_room(room(50, total_inodes=100, free_inodes=9), Need(1, 2000), 0) is None


def test_too_few_inodes_are_no_room():
    """C5: free bytes are of no use without inodes; a disk that does not count them has enough."""
    pause = judge_room(room(500, total_inodes=1000, free_inodes=10), Need(1), 20)

    assert pause is not None
    assert "needs 64 inodes, its target's disk has 10 free" in pause.reason
    assert judge_room(room(500), Need(1), 20) is None


def test_a_worker_knows_better_than_the_estimate():
    """The figures of a worker that had read the headers replace the estimate."""
    told = {"values": {"needed_bytes": 7, "needed_inodes": 900}}

    assert Need(120) == estimate_need(100)
    assert Need(7, 900) == estimate_need(100, told)
    assert Need(120) == estimate_need(100, {"values": {}})


def test_a_workers_refusal_pauses_with_its_figures():
    """The pause that follows a worker's error says the same as one that came before it."""
    error = OutOfSpaceError("full", needed_bytes=2 * GIB, free_bytes=3 * GIB, reserve_bytes=2 * GIB)

    assert "waits for room: needs 2 GiB, 1 GiB free above the reserve of 2 GiB" == (
        pause_of(error).reason
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_an_obstacle(tmp_path):
    """C20: a target that may not be written to is found before anything is tried."""
    tmp_path.chmod(0o500)
    found = probe_room(tmp_path)
    tmp_path.chmod(0o700)

    assert "no permission" in found.obstacle


def test_what_is_not_there_is_an_obstacle(tmp_path):
    """A missing target and a file in its place are obstacles, and pause the folder."""
    (tmp_path / "file").touch()

    assert "No such file" in probe_room(tmp_path / "missing").obstacle
    assert "no folder" in probe_room(tmp_path / "file").obstacle
    assert "" == probe_room(tmp_path).obstacle
    pause = judge_room(probe_room(tmp_path / "missing"), Need(1), 0)
    assert pause is not None
    assert pause.reason.startswith("waits for its target: ")


def test_what_earlier_attempts_have_left_is_not_asked_for_again():
    """A job of 100 GiB with 90 of them in staging begins on a disk with 50 free."""
    asked: list[Any] = []
    errands = SimpleNamespace(ask=lambda *question: asked.append(question))
    clock = SimpleNamespace(monotonic=lambda: 10.0)
    folder = SimpleNamespace(name="em", target=Path("/t"), reserve_gib=0.0)
    job = SimpleNamespace(total_bytes=0, error={"values": {"needed_bytes": 100 * GIB}})
    rooms: Any = Rooms(errands, clock)  # type: ignore[arg-type]  # what it needs of them
    rooms.may_begin(folder, job, lambda _device: 0)
    asked[0][3](room(50))

    assert not rooms.may_begin(folder, job, lambda _device: 0)
    assert rooms.may_begin(folder, job, lambda _device: 0, 90 * GIB)
