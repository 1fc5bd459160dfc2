"""A conversion when something goes wrong: the right error, and nothing is left."""

import ctypes
import errno
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stackwatch.errors import (
    CancelledError,
    ChangedDuringConversionError,
    ExitCode,
    MixedSlicesError,
    OutOfSpaceError,
    StackwatchError,
    TargetExistsError,
    TargetNotWritableError,
    VerificationError,
)
from stackwatch.model.flags import ConvertFlags
from stackwatch.model.options import ConvertOptions
from stackwatch.pipeline.convert import ConvertRequest, convert_acquisition
from stackwatch.pipeline.journal import PublishFact, SilentJournal
from stackwatch.pipeline.request import EarlierDataset
from stackwatch.pipeline.verify import verify_dataset
from stackwatch.stores import publish
from stackwatch.testing.mags import stored_files
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer
from tests.unit.pipeline.conftest import Interference

SHAPE = (40, 45, 37)


def options(**flags: Any) -> ConvertOptions:
    """Return the options of a quick conversion with several slabs, shards and mags."""
    given = {"voxel_size_nm": (11, 11, 25), "chunk": 8, "threads": 2, **flags}
    return ConvertFlags(**given).options()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder with 40 slices."""
    SyntheticAcquisition((SyntheticLayer(shape_zyx=SHAPE),)).write(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the folder the datasets come into."""
    (tmp_path / "datasets").mkdir()
    return tmp_path / "datasets"


def request_of(source: Path, place: Path, **flags: Any) -> ConvertRequest:
    """Return a conversion into `place`/out."""
    return ConvertRequest(source, place / "out", options(**flags))


def everything_below(folder: Path) -> list[str]:
    """Return every name below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def expect_failure(
    request: ConvertRequest,
    error: type[BaseException],
    journal: Any = None,
    cancelled: threading.Event | None = None,
) -> StackwatchError:
    """Convert, expect this error, and nothing new in the target's folder."""
    before = everything_below(request.target.parent)
    with pytest.raises(error) as failed:
        convert_acquisition(request, journal or SilentJournal(), cancelled)

    assert before == everything_below(request.target.parent)
    assert isinstance(failed.value, StackwatchError)
    assert failed.value.hint or isinstance(failed.value, CancelledError)
    return failed.value


# ------------------------------------------------------------------ the target


def make_folder(target: Path) -> None:
    """Put a folder with a file in the target's place."""
    target.mkdir()
    (target / "notes.txt").write_text("mine")


OBSTACLES: dict[str, Callable[[Path], object]] = {
    "folder": make_folder,
    "empty folder": Path.mkdir,
    "file": lambda target: target.write_text("mine"),
    "dangling link": lambda target: target.symlink_to("nowhere"),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_stands_at_the_target_is_refused(source: Path, place: Path, obstacle: str) -> None:
    """A target that exists is refused before anything is read, and stays as it is."""
    OBSTACLES[obstacle](place / "out")
    before = stored_files(place)
    error = expect_failure(request_of(source, place), TargetExistsError)

    assert ExitCode.PARKED == error.exit_code
    assert before == stored_files(place)


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_appears_meanwhile_is_not_overwritten(
    source: Path, place: Path, obstacle: str, interference: Interference
) -> None:
    """Something that comes into the target's place at the last moment wins, empty or not."""
    interference.on_fact["publishing"] = lambda fact: OBSTACLES[obstacle](fact.dataset_path)
    with pytest.raises(TargetExistsError):
        convert_acquisition(request_of(source, place), interference)
    found = everything_below(place)
    (tmp := place.parent / "expected").mkdir()
    OBSTACLES[obstacle](tmp / "out")

    assert everything_below(tmp) == found


def test_the_rename_itself_refuses_an_empty_folder(tmp_path: Path) -> None:
    """Where a plain rename would replace an empty folder, publishing does not."""
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged" / "a.json").write_text("{}")
    (tmp_path / "out").mkdir()
    with pytest.raises(TargetExistsError):
        publish.publish(tmp_path / "staged", tmp_path / "out")

    assert ["out", "staged", "staged/a.json"] == everything_below(tmp_path)


def test_a_target_below_a_file_cannot_be_written(source: Path, tmp_path: Path) -> None:
    """A path that leads through a file: exit code 73, and the file is still there."""
    (tmp_path / "file").write_text("mine")
    request = ConvertRequest(source, tmp_path / "file" / "deep" / "out", options())
    with pytest.raises(TargetNotWritableError) as failed:
        convert_acquisition(request, SilentJournal())

    assert ExitCode.CANNOT_WRITE == failed.value.exit_code
    assert "mine" == (tmp_path / "file").read_text()


def test_a_job_does_not_make_the_folders_above_its_target(source: Path, tmp_path: Path) -> None:
    """A share that is not mounted is not filled beneath its mount point."""
    request = replace(request_of(source, tmp_path / "mnt" / "share"), staging_name="7-1")
    with pytest.raises(TargetNotWritableError):
        convert_acquisition(request, SilentJournal())

    assert not (tmp_path / "mnt").exists()


def test_a_disk_that_fills_up_leaves_nothing(
    source: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room in the middle of the shards: the job waits, and nothing is left."""
    written = 0
    writev = os.writev

    def run_full(descriptor: int, views: list[memoryview]) -> int:
        nonlocal written
        if written > 20_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = writev(descriptor, views)
        written += count
        return count

    monkeypatch.setattr("stackwatch.stores.sinks.os.writev", run_full)
    error = expect_failure(request_of(source, place), OutOfSpaceError)

    assert ExitCode.CANNOT_WRITE == error.exit_code
    assert written > 20_000


@pytest.mark.parametrize("mode", ["fsync", "fdatasync"])
def test_a_disk_that_cannot_keep_what_was_written_fails_the_job(
    source: Path, place: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """A flush that fails is never swallowed: nothing is published."""

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, mode, refuse)
    expect_failure(request_of(source, place), OutOfSpaceError)


def test_too_little_room_is_noticed_before_anything_is_written(
    source: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk with less room than the dataset will need is refused at once, with both sizes."""
    found = os.statvfs(place)
    values = list(found)
    values[4] = 1  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))
    error = expect_failure(request_of(source, place), OutOfSpaceError)

    assert found.f_frsize == error.values["free_bytes"]
    assert error.values["needed_bytes"] > np.prod(SHAPE)


# ------------------------------------------------------------------ stopping


def test_a_stop_between_slabs_leaves_nothing(
    source: Path, place: Path, interference: Interference
) -> None:
    """Cancelled while slices are read: the next slab is not begun."""
    cancelled = threading.Event()
    interference.on_slice[12] = cancelled.set
    expect_failure(request_of(source, place), CancelledError, interference, cancelled)

    assert max(report.done for report in interference.reports) < SHAPE[0]


@pytest.mark.parametrize("phase", ["reading", "verifying", "publishing"])
def test_a_stop_in_any_phase_leaves_nothing(
    source: Path, place: Path, phase: str, interference: Interference
) -> None:
    """Cancelled while planning, verifying or before the rename: nothing is published."""
    cancelled = threading.Event()
    interference.on_phase[phase] = cancelled.set
    expect_failure(request_of(source, place), CancelledError, interference, cancelled)

    assert [] == interference.facts


def test_a_refused_fact_is_not_published(
    source: Path, place: Path, interference: Interference
) -> None:
    """The journal does not agree to the rename: the error comes out and nothing is there."""

    def refuse(fact: PublishFact) -> None:
        raise ChangedDuringConversionError("somebody else", hint="Wait.")

    interference.on_fact["publishing"] = refuse
    expect_failure(request_of(source, place), ChangedDuringConversionError, interference)


def test_a_slice_that_differs_is_named_with_the_majority(source: Path, place: Path) -> None:
    """A slice of another type in the middle: found while reading, all headers are looked at."""
    odd = source / "slice_0017.tif"
    tifffile.imwrite(odd, np.zeros(SHAPE[1:], np.uint16), metadata=None)
    error = expect_failure(request_of(source, place), MixedSlicesError)

    assert odd.name == error.values["path"]
    assert (SHAPE[0] - 1, SHAPE[0]) == (error.values["majority"], error.values["compared"])


# ------------------------------------------------------------------ verification


def damage_shard(place: Path, pattern: str, damage: Callable[[Path], object]) -> None:
    """Do something to the first staged shard that fits."""
    damage(sorted(place.glob(f".stackwatch/*/dataset/out/{pattern}"))[0])


def flip(path: Path, at: int = 50) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("verify", ["sample", "full"])
@pytest.mark.parametrize(
    "damage", [flip, lambda path: flip(path, -10), Path.unlink, lambda path: os.truncate(path, 99)]
)
@pytest.mark.parametrize("codec", ["zstd", "blosc", "none"])
def test_a_damaged_shard_is_never_published(
    tmp_path: Path, interference: Interference, verify: str, damage: Any, codec: str
) -> None:
    """A bit, an index, an end or a whole shard that is lost between writing and verifying."""
    place, small = tmp_path / "datasets", (9, 20, 20)
    place.mkdir()
    SyntheticAcquisition((SyntheticLayer(shape_zyx=small),)).write(tmp_path / "run")
    interference.on_phase["verifying"] = lambda: damage_shard(place, "color/1/c/0/0/0/*", damage)
    request = request_of(tmp_path / "run", place, verify=verify, codec=codec)
    expect_failure(request, VerificationError, interference)


@pytest.mark.parametrize("mag", ["1", "2-2-1", "4-4-2"])
def test_a_full_verification_sees_every_byte(
    source: Path, place: Path, interference: Interference, mag: str
) -> None:
    """With `verify = "full"` a changed bit is found in whichever shard of whichever mag."""
    interference.on_phase["verifying"] = lambda: damage_shard(place, f"color/{mag}/c/0/0/0/1", flip)
    expect_failure(request_of(source, place, verify="full"), VerificationError, interference)


def test_without_verification_nothing_is_compared(source: Path, place: Path) -> None:
    """`verify = "off"` publishes as it is, and says so."""
    result = convert_acquisition(request_of(source, place, verify="off"), SilentJournal())

    assert 0 == result.verified_chunks


# ------------------------------------------------------------------ publishing


def test_nothing_is_renamed_before_everything_is_flushed(
    source: Path, place: Path, monkeypatch: pytest.MonkeyPatch, interference: Interference
) -> None:
    """Shards, metadata and folders are flushed, the fact recorded, then comes the rename."""
    events: list[tuple[str, str]] = []

    def recorded(name: str, function: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            function(descriptor)
            events.append((name, str(Path(f"/proc/self/fd/{descriptor}").readlink())))

        return call

    rename = publish._renameat2

    def recorded_rename(staged: Path, target: Path, flags: int) -> int:
        events.append(("rename", str(staged)))
        return rename(staged, target, flags)

    monkeypatch.setattr(os, "fsync", recorded("fsync", os.fsync))
    monkeypatch.setattr(os, "fdatasync", recorded("fdatasync", os.fdatasync))
    monkeypatch.setattr(publish, "_renameat2", recorded_rename)
    interference.on_fact = {
        stage: lambda fact: events.append((fact.stage, "")) for stage in ("publishing", "published")
    }
    convert_acquisition(request_of(source, place), interference)
    at = [name for name, _ in events].index("rename")
    staged = Path(events[at][1])
    dataset = place / "out"
    flushed = {path for name, path in events[:at] if name in ("fsync", "fdatasync")}
    expected = {str(staged / path.relative_to(dataset)) for path in [dataset, *dataset.rglob("*")]}

    assert expected <= flushed
    assert ["publishing", "rename", "fsync", "published"] == [
        name for name, _ in events[at - 1 : at + 3]
    ]
    assert str(place) == events[at + 1][1]
    assert len(events) == at + 3


def test_a_finished_dataset_is_all_that_is_left(
    source: Path, place: Path, interference: Interference
) -> None:
    """Beside the dataset nothing of ours stays; its manifest names the run that was recorded."""
    result = convert_acquisition(request_of(source, place), interference)
    verified = verify_dataset(place / "out")

    assert ["out"] == [path.name for path in place.iterdir()]
    assert [verified["run_id"]] * 2 == [fact.run_id for fact in interference.facts]
    assert [result.content_digest] * 2 == [fact.content_digest for fact in interference.facts]
    on_disk = sum(len(data) for path, data in stored_files(place).items() if "/c/" in path)
    assert on_disk == verified["bytes"] == result.bytes_written


def test_progress_reaches_its_end(source: Path, place: Path, interference: Interference) -> None:
    """The last report counts every slice and every byte written."""
    result = convert_acquisition(request_of(source, place), interference)
    last = interference.reports[-1]

    assert ["reading", "converting", "verifying", "publishing"] == list(
        dict.fromkeys(report.phase for report in interference.reports)
    )
    assert (SHAPE[0], SHAPE[0]) == (last.done, last.total)
    assert result.bytes_written == last.bytes_written


# ------------------------------------------------------------------ replacing


def test_an_older_dataset_is_exchanged(
    source: Path, place: Path, interference: Interference
) -> None:
    """The older dataset stands until the moment of the rename; then the newer one does."""
    convert_acquisition(request_of(source, place), SilentJournal())
    older = verify_dataset(place / "out")["run_id"]
    standing: list[str] = []
    interference.on_fact["publishing"] = lambda fact: standing.append(
        verify_dataset(fact.dataset_path)["run_id"]
    )
    request = replace(request_of(source, place), earlier=(EarlierDataset(place / "out", older),))
    convert_acquisition(request, interference)

    assert [older] == standing
    assert interference.facts[0].run_id == verify_dataset(place / "out")["run_id"]
    assert ["out"] == [path.name for path in place.iterdir()]


@pytest.mark.parametrize("standing", ["another run", "no manifest", "a file"])
def test_only_the_dataset_of_that_run_is_replaced(source: Path, place: Path, standing: str) -> None:
    """What another run wrote, or nobody, is not touched."""
    if standing == "a file":
        (place / "out").write_text("mine")
    else:
        convert_acquisition(request_of(source, place), SilentJournal())
    if standing == "no manifest":
        (place / "out" / "stackwatch.json").unlink()
    before = stored_files(place)
    request = replace(request_of(source, place), earlier=(EarlierDataset(place / "out", "0123"),))
    expect_failure(request, TargetExistsError)

    assert before == stored_files(place)


def test_a_dataset_that_was_exchanged_meanwhile_is_not_replaced(
    source: Path, place: Path, interference: Interference
) -> None:
    """Somebody puts another dataset there while ours is made: theirs stays."""
    convert_acquisition(request_of(source, place), SilentJournal())
    older = verify_dataset(place / "out")["run_id"]

    def exchange(fact: PublishFact) -> None:
        shutil.rmtree(fact.dataset_path)
        make_folder(fact.dataset_path)

    interference.on_fact["publishing"] = exchange
    request = replace(request_of(source, place), earlier=(EarlierDataset(place / "out", older),))
    with pytest.raises(TargetExistsError):
        convert_acquisition(request, interference)

    assert ["out", "out/notes.txt"] == everything_below(place)


def test_a_dataset_that_is_gone_is_made_anew(source: Path, place: Path) -> None:
    """Nothing stands where the older dataset should: the newer one is published."""
    request = replace(request_of(source, place), earlier=(EarlierDataset(place / "out", "0123"),))
    convert_acquisition(request, SilentJournal())

    assert "verified" == verify_dataset(place / "out")["status"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_file_systems_without_flags_are_renamed_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Where the kernel refuses flags, plain renames do the same, exchange included."""

    class NoFlags:
        def renameat2(self, *_: object) -> int:
            ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: NoFlags())
    staged = [publish.staged_at(tmp_path / name, tmp_path / "out") for name in ("one", "two")]
    for path, text in zip(staged, ("one", "two"), strict=True):
        path.mkdir(parents=True)
        (path / "a").write_text(text)
    publish.publish(staged[0], tmp_path / "out")
    with pytest.raises(TargetExistsError):
        publish.publish(staged[1], tmp_path / "out")
    publish.publish(staged[1], tmp_path / "out", replace=True)

    assert {"out/a": b"two", "two/older/out/a": b"one"} == stored_files(tmp_path)
