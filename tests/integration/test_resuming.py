"""A conversion that was cut off goes on from the ranges that are finished: the same bytes, once."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stackwatch.errors import CancelledError, ClusterError, CorruptSliceError
from stackwatch.model.flags import ConvertFlags
from stackwatch.model.options import ConvertOptions
from stackwatch.model.result import Progress
from stackwatch.pipeline import processes
from stackwatch.pipeline.convert import convert_acquisition
from stackwatch.pipeline.journal import PublishFact
from stackwatch.pipeline.request import ConvertRequest
from stackwatch.stores.kept import kept_bytes
from stackwatch.stores.room import RoomWatch
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer

EDGES = (11.24, 11.24, 25.0)
RANGES = 5

KILLED = """
import os, signal, sys
from pathlib import Path
from stackwatch.model.flags import ConvertFlags
from stackwatch.pipeline.convert import convert_acquisition
from stackwatch.pipeline.journal import SilentJournal
from stackwatch.pipeline.request import ConvertRequest

class Killed(SilentJournal):
    def progress(self, progress):
        if eval(sys.argv[3], {"p": progress}):
            os.kill(os.getpid(), signal.SIGKILL)

flags = ConvertFlags(**eval(sys.argv[4]))
convert_acquisition(ConvertRequest(Path(sys.argv[1]), Path(sys.argv[2]), flags.options()), Killed())
"""
"""Ends itself, and its processes with it, when its progress is such."""

MOMENTS = {
    "in the middle": ("p.ranges_done == 2", 2),
    "in the coarse mags": ("p.steps and p.phase == 'converting'", RANGES),
    "in the verification": ("p.phase == 'verifying'", RANGES),
    "while publishing": ("p.phase == 'publishing' and p.steps", RANGES),
}


class Listener:
    """A journal that remembers, and does something when so many ranges are done."""

    def __init__(self, after: int = 10**9, deed: Callable[[], None] = lambda: None) -> None:
        self._after = after
        self._deed = deed
        self.last = Progress("")
        self.taken = 0

    def progress(self, progress: Progress) -> None:
        """Remember, and strike."""
        self.last = progress
        self.taken = max(self.taken, progress.ranges_taken)
        if progress.ranges_done >= self._after:
            self._deed()

    def record(self, fact: PublishFact) -> None:
        """Agree."""


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the numbers of the ranges that processes are given from now on."""
    numbers: list[int] = []
    carry_out = processes.ProcessExecutor.carry_out

    def note(self: processes.ProcessExecutor, order: Path, given: Any, *others: Any) -> None:
        numbers.extend(given)
        carry_out(self, order, given, *others)

    monkeypatch.setattr(processes.ProcessExecutor, "carry_out", note)
    return numbers


def flags_for(**flags: Any) -> dict[str, Any]:
    """Return flags for two processes with a thread each, and shallow ranges."""
    return {
        "voxel_size_nm": EDGES, "name": "run", "threads": 2, "memory_gib": 1, "max_mag": 2,
        "executor": "processes", "processes": 2, **flags,
    }  # fmt: skip


def options_for(**flags: Any) -> ConvertOptions:
    """Return options for two processes with a thread each."""
    return ConvertFlags(**flags_for(**flags)).options()


def acquire(tmp_path: Path) -> Path:
    """Write a stack of `RANGES` shards."""
    layer = SyntheticLayer(shape_zyx=(RANGES * 32, 71, 45), content="em")
    SyntheticAcquisition((layer,)).write(tmp_path / "source")
    return tmp_path / "source"


def convert(source: Path, target: Path, journal: Listener, **flags: Any) -> None:
    """Convert with two processes."""
    convert_acquisition(ConvertRequest(source, target, options_for(**flags)), journal)


def convert_until_killed(source: Path, target: Path, moment: str, **flags: Any) -> None:
    """Convert in a process of its own that is killed."""
    told = [str(source), str(target), moment, repr(flags_for(**flags))]
    ended = subprocess.run([sys.executable, "-c", KILLED, *told], check=False)
    assert -signal.SIGKILL == ended.returncode


def contents(dataset: Path) -> dict[str, bytes]:
    """Return every file but the manifest, which names its run."""
    return {
        str(path.relative_to(dataset)): path.read_bytes()
        for path in sorted(dataset.rglob("*"))
        if path.is_file() and path.name != "stackwatch.json"
    }


def staged(target: Path) -> list[Path]:
    """Return the staging directories beside a target."""
    return sorted((target.parent / ".stackwatch").glob("*"))


def lose_the_cluster() -> None:
    """End a conversion by what it cannot help."""
    raise ClusterError("gone", hint="wait")


def test_what_was_finished_is_not_done_again(tmp_path: Path, carried_out: list[int]):
    """Cut off after two ranges and started again: the others are carried out; the bytes are equal.

    Progress counts every slice, and tells what was taken over.
    """
    source, target = acquire(tmp_path), tmp_path / "out" / "run"
    convert(source, tmp_path / "calm" / "run", Listener(), executor="local", processes=None)
    with pytest.raises(ClusterError):
        convert(source, target, Listener(2, lose_the_cluster))
    carried_out.clear()
    listener = Listener()
    convert(source, target, listener)

    assert 2 <= listener.taken == RANGES - len(carried_out)
    assert (160, 160, RANGES, RANGES) == (
        listener.last.done, listener.last.total, listener.last.ranges_done,
        listener.last.ranges_total,
    )  # fmt: skip
    assert contents(tmp_path / "calm" / "run") == contents(target)
    assert ["run"] == [path.name for path in target.parent.iterdir()]


@pytest.mark.system
@pytest.mark.parametrize("name", MOMENTS)
def test_a_killed_conversion_goes_on(tmp_path: Path, carried_out: list[int], name: str):
    """C28: kill -9 at any moment: what has a receipt is not done again; there is one dataset."""
    moment, least = MOMENTS[name]
    source, target = acquire(tmp_path), tmp_path / "out" / "run"
    calm = {"max_mag": 16, "executor": "local", "processes": None}
    convert(source, tmp_path / "calm" / "run", Listener(), **calm)
    convert_until_killed(source, target, moment, max_mag=16)
    carried_out.clear()
    listener = Listener()
    convert(source, target, listener, max_mag=16)

    assert listener.last.ranges_total - len(carried_out) == listener.taken
    assert min(least, listener.last.ranges_total) <= listener.taken
    assert contents(tmp_path / "calm" / "run") == contents(target)
    assert ["run"] == [path.name for path in target.parent.iterdir()]


def change_a_slice(source: Path, _staging: Path) -> dict[str, Any]:
    """Let one slice be another's content; return no other flags."""
    slices = sorted(source.rglob("*.tif*"))
    slices[0].write_bytes(slices[1].read_bytes())
    return {}


def change_an_option(_source: Path, _staging: Path) -> dict[str, Any]:
    """Return another codec."""
    return {"codec": "zstd-5"}


def convert_here(_source: Path, _staging: Path) -> dict[str, Any]:
    """Return the executor that knows no ranges."""
    return {"executor": "local", "processes": None}


@pytest.mark.system
@pytest.mark.parametrize(
    "change",
    [
        change_a_slice,
        change_an_option,
        convert_here,
    ],
)
def test_what_would_be_written_otherwise_is_not_taken_over(
    tmp_path: Path, change: Callable[[Path, Path], dict[str, Any]]
):
    """C28: another source, another option: all is done anew, and nothing of the old is left."""
    source, target = acquire(tmp_path), tmp_path / "out" / "run"
    with pytest.raises(ClusterError):
        convert(source, target, Listener(2, lose_the_cluster))
    flags = change(source, staged(target)[0])
    listener = Listener()
    convert(source, target, listener, **flags)
    calm = {**flags, "executor": "local", "processes": None}
    convert(source, tmp_path / "calm" / "run", Listener(), **calm)

    assert 0 == listener.taken
    assert contents(tmp_path / "calm" / "run") == contents(target)
    assert ["run"] == [path.name for path in target.parent.iterdir()]


@pytest.mark.system
@pytest.mark.parametrize("damage", ["truncated", "gone", "half a receipt"])
def test_a_range_that_is_not_whole_is_done_again(
    tmp_path: Path, carried_out: list[int], damage: str
):
    """A shard that is cut off or gone, a receipt that is: that range is carried out again."""
    source, target = acquire(tmp_path), tmp_path / "out" / "run"
    with pytest.raises(ClusterError):
        convert(source, target, Listener(RANGES - 1, lose_the_cluster))
    receipts = sorted(staged(target)[0].glob("ranges/*/[0-9].json"))
    shards = [
        path for path in staged(target)[0].glob("dataset/run/color/1/c/**/0") if path.is_file()
    ]
    match damage:
        case "truncated":
            os.truncate(shards[0], shards[0].stat().st_size - 1)
        case "gone":
            shards[0].unlink()
        case "half a receipt":
            os.truncate(receipts[0], receipts[0].stat().st_size // 2)
    carried_out.clear()
    listener = Listener()
    convert(source, target, listener)
    calm = {"executor": "local", "processes": None}
    convert(source, tmp_path / "calm" / "run", Listener(), **calm)

    assert len(receipts) - 1 == listener.taken
    assert 0 in carried_out
    assert contents(tmp_path / "calm" / "run") == contents(target)


@pytest.mark.system
def test_what_was_decided_against_leaves_nothing(tmp_path: Path):
    """Damage, and Ctrl+C: the staging directory goes, whatever is finished in it.

    Asked to stop by somebody who comes back, it stays.
    """
    source, target = acquire(tmp_path), tmp_path / "out" / "run"
    request = ConvertRequest(source, target, options_for())
    left = {}
    for name, goes_on in (("Ctrl+C", False), ("wall time", True)):
        cancelled = threading.Event()
        with pytest.raises(CancelledError):
            convert_acquisition(
                request, Listener(2, cancelled.set), cancelled, partial(bool, goes_on)
            )
        left[name] = len(staged(target))
    slices = sorted(source.rglob("*.tif*"))
    slices[150].write_bytes(slices[150].read_bytes()[:-600])
    with pytest.raises(CorruptSliceError):
        convert(source, target, Listener())

    assert {"Ctrl+C": 0, "wall time": 1} == left
    assert [] == list(target.parent.iterdir())


@pytest.mark.system
def test_another_number_of_processes_goes_on_too(tmp_path: Path, carried_out: list[int]):
    """Stacks are cut as they were before, so that what is finished still fits."""
    source, target = acquire(tmp_path), tmp_path / "out" / "run"
    with pytest.raises(ClusterError):
        convert(source, target, Listener(2, lose_the_cluster))
    carried_out.clear()
    listener = Listener()
    convert(source, target, listener, processes=3, threads=3)

    assert 2 <= listener.taken == RANGES - len(carried_out)


@pytest.mark.system
def test_room_is_not_asked_for_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A disk with room for what is left is enough; what is there does not count again."""
    source, target = acquire(tmp_path), tmp_path / "out" / "run"
    with pytest.raises(ClusterError):
        convert(source, target, Listener(RANGES - 1, lose_the_cluster))
    kept = kept_bytes(staged(target)[0])
    asked: list[int] = []
    ensure = RoomWatch.ensure

    def note(self: RoomWatch) -> None:
        asked.append(self._needed_bytes - self._kept_bytes)
        ensure(self)

    monkeypatch.setattr(RoomWatch, "ensure", note)
    convert(source, target, Listener())
    convert(source, tmp_path / "anew" / "run", Listener())

    assert 0 < kept == asked[1] - asked[0]


@pytest.mark.system
def test_a_signal_that_ends_a_wall_time_keeps_what_is_done(tmp_path: Path, carried_out: list[int]):
    """SIGTERM, as Slurm sends it: the command ends at once, and the next goes on."""
    source, target = acquire(tmp_path), tmp_path / "out" / "run"
    command = [
        sys.executable, "-m", "stackwatch", "convert", str(source), str(target), "--name", "run",
        "--voxel-size-nm", "11.24,11.24,25", "--threads", "2", "--memory-gib", "1", "--max-mag",
        "2", "--executor", "processes", "--processes", "2",
    ]  # fmt: skip
    running = subprocess.Popen(command, stderr=subprocess.PIPE)
    while not [*target.parent.glob(".stackwatch/*/ranges/*/[0-9].json")]:
        assert running.poll() is None
        time.sleep(0.01)
    running.terminate()
    _, told = running.communicate()
    left = staged(target)
    carried_out.clear()
    listener = Listener()
    convert(source, target, listener)

    assert (143, 1) == (running.returncode, len(left)), told
    assert 1 <= listener.taken == RANGES - len(carried_out)
