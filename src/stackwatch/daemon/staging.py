"""Find and remove what dead workers left in a target, and read back whose a dataset is."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from stackwatch.errors import StackwatchError
from stackwatch.stores.kept import holds_receipts, kept_bytes
from stackwatch.stores.publish import (
    OLDER_FOLDER,
    STAGING_FOLDER,
    finish_exchange,
    restore_older,
    staged_at,
)
from stackwatch.stores.staging import is_held
from stackwatch.stores.visible import discard

MANIFEST_NAME = "stackwatch.json"
_JOB_STAGING = re.compile(r"(?P<job>[0-9]+)-[0-9]+")


@dataclass(frozen=True, slots=True)
class Kept:
    """Ranges that a job has finished in attempts before, and so many bytes of shards with them."""

    job_id: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Orphans:
    """Staging directories of jobs that nobody works on any more.

    Attributes
    ----------
    removed : tuple of Path
    held : tuple of Path
        Their workers are dying, but still hold the lock.
    kept : tuple of Kept
        Their jobs will go on from what is finished there.
    """

    removed: tuple[Path, ...] = ()
    held: tuple[Path, ...] = ()
    kept: tuple[Kept, ...] = ()


def remove_orphans(
    target: Path, ours: Collection[int] = (), wanted: Collection[int] = ()
) -> Orphans:
    """Remove every staging directory of a job whose worker is gone, and that is of no use.

    A worker holds a lock as long as it lives, so what is not locked belongs to nobody. Staging of
    the `convert` command has other names and is left alone.

    Parameters
    ----------
    target : Path
        A folder's target; it need not be there.
    ours : collection of int
        Jobs that this daemon's own workers work on.
    wanted : collection of int
        Jobs that are still to be converted: ranges they have finished stay.
    """
    try:
        found = sorted((target / STAGING_FOLDER).iterdir())
    except OSError:
        return Orphans()
    removed: list[Path] = []
    held: list[Path] = []
    kept: list[Kept] = []
    for path in found:
        match = _JOB_STAGING.fullmatch(path.name)
        if match is None or path.is_symlink() or int(match["job"]) in ours:
            continue
        is_wanted = int(match["job"]) in wanted
        if remove_staging(path, is_wanted=is_wanted):
            removed.append(path)
        elif _is_held(path):
            held.append(path)
        elif is_wanted:
            kept.append(Kept(int(match["job"]), kept_bytes(path)))
    _remove_if_empty(target / STAGING_FOLDER)
    return Orphans(tuple(removed), tuple(held), tuple(kept))


def remove_staging(path: Path, *, is_wanted: bool = False) -> bool:
    """Remove one staging directory, unless a worker holds its lock; return whether it is gone.

    A dataset that was being replaced, and whose place is empty, is put back before; what holds the
    only copy of one is left, and, where its job is still to be converted, what holds receipts.
    """
    try:
        if is_held(path) or not restore_older(path):
            return False
    except OSError:
        return False  # no folder of ours, or one we may not open
    if is_wanted and holds_receipts(path):
        return False
    discard(path)
    shutil.rmtree(path, ignore_errors=True)
    _remove_if_empty(path.parent)
    return not path.exists()


def _is_held(path: Path) -> bool:
    try:
        return is_held(path)
    except OSError:
        return False


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()  # the last one takes the folder with it


def read_run_id(dataset: Path) -> str | None:
    """Return the run that wrote a dataset, None if that cannot be told.

    The manifest is written before the rename, so a dataset of ours always has one.
    """
    try:
        manifest = json.loads((dataset / MANIFEST_NAME).read_bytes())
    except (OSError, ValueError):
        return None
    run_id = manifest.get("run_id") if isinstance(manifest, dict) else None
    return run_id if isinstance(run_id, str) else None


def is_published(dataset: Path, run_id: str) -> bool:
    """Tell whether a run's dataset lies at its place, and make sure that it stays there.

    The run may have been killed between its rename and the flush of the parent folder; or, where a
    dataset was replaced, when the old one had left its place and the new one had not come.
    """
    _finish_exchange(dataset, run_id)
    if read_run_id(dataset) != run_id:
        return False
    try:
        parent = os.open(dataset.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
    return True


def _finish_exchange(dataset: Path, run_id: str) -> None:
    """Put a run's dataset into a place that its run had emptied for it before it was killed.

    It is whole, verified and flushed: the run was allowed to publish it.
    """
    if os.path.lexists(dataset):
        return
    for older in sorted((dataset.parent / STAGING_FOLDER).glob(f"*/{OLDER_FOLDER}")):
        staging = older.parent
        staged = staged_at(staging, dataset)
        if not (older / dataset.name).is_dir() or read_run_id(staged) != run_id:
            continue
        with contextlib.suppress(OSError, StackwatchError):
            if not is_held(staging):
                finish_exchange(staging, dataset)
