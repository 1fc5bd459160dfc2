"""The source changes while it is read: nothing is published, and the error says what changed."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stackwatch.errors import (
    ChangedDuringConversionError,
    Disposition,
    ExitCode,
    MissingSlicesError,
    VanishedError,
)
from stackwatch.model.flags import ConvertFlags
from stackwatch.model.options import LayoutOptions
from stackwatch.pipeline.changes import Place, find_change, look_at
from stackwatch.pipeline.compare import digest_acquisition
from stackwatch.pipeline.convert import ConvertRequest, convert_acquisition
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer
from tests.unit.pipeline.conftest import Interference

SLICES = 16
FIRST, LAST = "slice_0000.tif", "slice_0015.tif"
LATE = "slice_0016.tif"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder with slices."""
    SyntheticAcquisition((SyntheticLayer(shape_zyx=(SLICES, 19, 17)),)).write(tmp_path / "run")
    return tmp_path / "run"


def request_of(source: Path, **more: Any) -> ConvertRequest:
    """Return a conversion beside the source, with several slabs."""
    options = ConvertFlags(voxel_size_nm=(11, 11, 25), chunk=8, threads=2, max_mag=2).options()
    return ConvertRequest(source, source.parent / "datasets" / "out", options, **more)


def expect_change(
    request: ConvertRequest,
    journal: Interference,
    error: type[Exception] = ChangedDuringConversionError,
) -> str:
    """Convert, expect this error and nothing published, and return its message."""
    with pytest.raises(error) as caught:
        convert_acquisition(request, journal)

    assert [] == list(request.target.parent.iterdir())
    assert [] == [fact for fact in journal.facts if fact.stage == "published"]
    assert isinstance(caught.value, ChangedDuringConversionError | VanishedError)
    assert caught.value.hint
    return caught.value.message


def append(source: Path) -> None:
    """Append to a slice."""
    with (source / LAST).open("ab") as file:
        file.write(b"more")


def overwrite(source: Path) -> None:
    """Change a byte of a slice in place, and give it its old times back."""
    path = source / FIRST
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_rename(source: Path) -> None:
    """Put another file of the same size and time into a slice's place (`cp -p` over)."""
    before = (source / FIRST).stat()
    content = bytearray((source / FIRST).read_bytes())
    content[-1] ^= 1
    (source.parent / "other").write_bytes(content)
    os.utime(source.parent / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
    (source.parent / "other").rename(source / FIRST)


def truncate_first(source: Path) -> None:
    """Cut a slice off that was read before."""
    os.truncate(source / FIRST, 1000)


def truncate_last(source: Path) -> None:
    """Cut a slice off that comes later."""
    os.truncate(source / LAST, 1000)


def remove_first(source: Path) -> None:
    """Remove a slice that was read before."""
    (source / FIRST).unlink()


def remove_last(source: Path) -> None:
    """Remove a slice that comes later."""
    (source / LAST).unlink()


def touch(source: Path) -> None:
    """Touch a slice."""
    (source / FIRST).touch()


def add_slice(source: Path) -> None:
    """Add a slice."""
    shutil.copyfile(source / FIRST, source / LATE)


def begin_slice(source: Path) -> None:
    """Begin to copy a slice in, under a temporary name."""
    (source / f"{LATE}.part").write_bytes(b"half")


def add_sidecar(source: Path) -> None:
    """Say something about the acquisition."""
    (source / "stackwatch.toml").write_text('category = "segmentation"')


def add_link(source: Path) -> None:
    """Add what no conversion follows."""
    (source / LATE).symlink_to(FIRST)


CHANGES: dict[str, Callable[[Path], None]] = {
    "D7-append": append,
    "D7-overwrite": overwrite,
    "D13-replace": replace_by_rename,
    "D8-truncate a later one": truncate_last,
    "D8-truncate an earlier one": truncate_first,
    "D8-remove a later one": remove_last,
    "D8-remove an earlier one": remove_first,
    "D2-touch": touch,
    "D7-late slice": add_slice,
    "D7-late copy": begin_slice,
    "D7-late sidecar": add_sidecar,
    "D7-late link": add_link,
}
MOMENTS: dict[str, Callable[[Interference, Callable[[], object]], object]] = {
    "planning": lambda journal, act: journal.on_phase.update(reading=act),
    "mid reading": lambda journal, act: journal.on_slice.update({SLICES // 2: act}),
    "verifying": lambda journal, act: journal.on_phase.update(verifying=act),
    "at the end": lambda journal, act: journal.on_phase.update(publishing=act),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_at_any_moment_is_noticed(
    source: Path, interference: Interference, change: str, moment: str
) -> None:
    """D2, D7, D8, D13: whatever changes, whenever: nothing is published, no signal kills us."""
    MOMENTS[moment](interference, lambda: CHANGES[change](source))
    message = expect_change(request_of(source), interference)

    assert "slice_00" in message or "stackwatch.toml" in message


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_acquisition_that_vanishes_is_told(
    source: Path, interference: Interference, moment: str
) -> None:
    """D8: the folder itself is removed or moved away."""
    away = lambda: source.rename(source.parent / "elsewhere")  # noqa: E731
    MOMENTS[moment](interference, away)
    message = expect_change(request_of(source), interference, VanishedError)

    assert str(source) in message


def test_a_change_has_the_exit_code_of_a_failure(source: Path, interference: Interference) -> None:
    """D7: by hand it ends with 1, under the daemon it is tried again."""
    interference.on_slice[3] = lambda: append(source)
    with pytest.raises(ChangedDuringConversionError) as caught:
        convert_acquisition(request_of(source), interference)

    assert (ExitCode.FAILED, Disposition.RETRY) == (
        caught.value.exit_code,
        caught.value.disposition,
    )


def test_notes_and_logs_may_be_written_meanwhile(source: Path, interference: Interference) -> None:
    """What no layout looks at does not matter: a person writes a note beside the slices."""
    interference.on_slice[3] = lambda: (source / "notes.txt").write_text("looks good")

    assert convert_acquisition(request_of(source), interference).datasets


def test_an_error_of_its_own_is_not_blamed_on_a_change(
    source: Path, interference: Interference
) -> None:
    """A gap in the numbering stays one as long as nothing changes."""
    (source / "slice_0007.tif").unlink()
    with pytest.raises(MissingSlicesError):
        convert_acquisition(request_of(source), interference)


def test_a_gap_that_is_filled_meanwhile_is_a_change(
    source: Path, interference: Interference
) -> None:
    """D7: a slice that comes late is a change, not a gap that parks."""
    late = source / "slice_0007.tif"
    content = late.read_bytes()
    late.unlink()
    interference.on_phase["reading"] = lambda: late.write_bytes(content)

    assert "slice_0007.tif” is new" in expect_change(request_of(source), interference)


def test_one_of_several_loose_files_vanishes(source: Path, interference: Interference) -> None:
    """D8: the others are still there, so it is a change."""
    members = tuple(sorted(path.name for path in source.iterdir()))
    interference.on_phase["publishing"] = (source / LAST).unlink
    expect_change(request_of(source, members=members), interference)


@pytest.fixture
def archive(source: Path) -> Path:
    """Return the slices in an archive."""
    path = source.parent / "run.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for one in sorted(source.iterdir()):
            packed.write(one, one.name)
    return path


@pytest.mark.parametrize("moment", ["mid reading", "at the end"])
@pytest.mark.parametrize("change", [
    lambda path: os.utime(path, ns=(1, 1)),
    lambda path: os.truncate(path, path.stat().st_size - 100),
    lambda path: path.unlink(),
    lambda path: path.with_name("run.zip.stackwatch.toml").write_text("category = 'color'"),
], ids=["touch", "truncate", "remove", "sidecar"])  # fmt: skip
def test_an_archive_that_changes_is_noticed(
    archive: Path, interference: Interference, change: Callable[[Path], object], moment: str
) -> None:
    """D8: an archive is one file, and what lies beside it counts."""
    MOMENTS[moment](interference, lambda: change(archive))
    with pytest.raises((ChangedDuringConversionError, VanishedError)):
        convert_acquisition(request_of(archive), interference)

    assert [] == list((archive.parent / "datasets").iterdir())


def test_a_single_file_that_is_rewritten_is_noticed(
    tmp_path: Path, interference: Interference
) -> None:
    """D7: a file with all slices gets the same bytes once more while it is read."""
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((SLICES, 9, 8), np.uint8), photometric="minisblack")
    content = path.read_bytes()
    interference.on_slice[3] = lambda: path.write_bytes(content)

    assert "stack.tif" in expect_change(request_of(path), interference)


def test_a_remote_share_may_swap_inodes(source: Path) -> None:
    """D3: on a network mount a remount gives other inodes and times of change: no change."""
    place = Place(source, (), LayoutOptions(), is_remote=True)
    before = look_at(place)
    for path in list(source.iterdir()):
        shutil.copy2(path, source.parent / "copy")
        (source.parent / "copy").rename(path)

    assert "" == find_change(before, look_at(place))
    local = Place(source, (), LayoutOptions())
    assert "changed" in find_change(before, look_at(local))


def test_the_digest_does_not_ask_for_times(source: Path) -> None:
    """D3: touched files have the digest they had."""
    request = request_of(source, staging_name="0-1")
    request.target.parent.mkdir()
    before = digest_acquisition(request)
    for path in source.iterdir():
        path.touch()

    assert before == digest_acquisition(request)
