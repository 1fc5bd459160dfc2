"""Publishing, and the system's errors in our words."""

import errno
import os
from pathlib import Path

import pytest

from stackwatch.errors import (
    OutOfSpaceError,
    StackwatchError,
    TargetExistsError,
    TargetNotWritableError,
    WriteError,
)
from stackwatch.stores.publish import (
    ensure_absent,
    ensure_room,
    publish,
    sync_tree,
    write_errors,
)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, OutOfSpaceError),
        (errno.EDQUOT, OutOfSpaceError),
        (errno.EACCES, TargetNotWritableError),
        (errno.EROFS, TargetNotWritableError),
        (errno.ENOENT, TargetNotWritableError),
        (errno.EIO, WriteError),
        (errno.EFBIG, WriteError),
    ],
)
def test_system_errors_become_ours(
    tmp_path: Path, number: int, expected: type[StackwatchError]
) -> None:
    """Each with the folder in its message, a hint, and the system's own error behind it."""
    with pytest.raises(expected) as failed, write_errors(tmp_path):
        raise OSError(number, os.strerror(number))

    assert type(failed.value) is expected
    assert str(tmp_path) in failed.value.message
    assert failed.value.hint
    assert isinstance(failed.value.__cause__, OSError)


def test_our_own_errors_pass(tmp_path: Path) -> None:
    """An error that is ours already is not wrapped again."""
    ours = TargetExistsError("there", hint="Rename it.")
    with pytest.raises(TargetExistsError) as failed, write_errors(tmp_path):
        raise ours

    assert failed.value is ours


def test_room_is_asked_for(tmp_path: Path) -> None:
    """What fits passes; what does not is refused with both sizes."""
    ensure_room(tmp_path, 1)
    with pytest.raises(OutOfSpaceError) as refused:
        ensure_room(tmp_path, 2**62)

    assert 2**62 == refused.value.values["needed_bytes"]


def test_a_dangling_link_is_something(tmp_path: Path) -> None:
    """A link to nowhere in the target's place counts as existing."""
    ensure_absent(tmp_path / "out")
    (tmp_path / "out").symlink_to("nowhere")
    with pytest.raises(TargetExistsError):
        ensure_absent(tmp_path / "out")


def test_a_replaced_dataset_lies_in_staging(tmp_path: Path) -> None:
    """After an exchange the older dataset is where the newer one was, nothing is lost."""
    for name in ("staged", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    publish(tmp_path / "staged", tmp_path / "out", replace=True)

    assert ["staged"] == [path.name for path in (tmp_path / "out").iterdir()]
    assert ["out"] == [path.name for path in (tmp_path / "staged").iterdir()]


def test_folders_are_flushed_deepest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder comes after the folders and documents in it."""
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    for folder in ("", "a", "a/b"):
        (tmp_path / folder / "zarr.json").write_text("{}")
    flushed: list[Path] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: flushed.append(Path(f"/proc/self/fd/{fd}").readlink())
    )
    sync_tree(tmp_path)
    places = [path.relative_to(tmp_path).as_posix() for path in flushed]

    assert [
        "a/b/c", "a/b/zarr.json", "a/b", "a/zarr.json", "a", "zarr.json", ".",
    ] == places  # fmt: skip
