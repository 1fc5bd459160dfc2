"""Find and remove what dead workers left in a target, and read back whose a dataset is."""

import contextlib
import json
import os
import re
import shutil
from pathlib import Path

from stackwatch.stores.publish import STAGING_FOLDER, is_held

MANIFEST_NAME = "stackwatch.json"
_JOB_STAGING = re.compile(r"[0-9]+-[0-9]+")


def remove_orphans(target: Path) -> list[Path]:
    """Remove every staging directory of a job whose worker is gone.

    A worker holds a lock as long as it lives, so what is not locked belongs to nobody. Staging of
    the `convert` command has other names and is left alone.

    Parameters
    ----------
    target : Path
        A folder's target; it need not be there.

    Returns
    -------
    list of Path
        What was removed.
    """
    try:
        found = sorted((target / STAGING_FOLDER).iterdir())
    except OSError:
        return []
    return [path for path in found if _JOB_STAGING.fullmatch(path.name) and remove_staging(path)]


def remove_staging(path: Path) -> bool:
    """Remove one staging directory, unless a worker holds its lock; return whether it is gone."""
    try:
        if is_held(path):
            return False
    except OSError:
        return False  # no folder of ours, or one we may not open
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()  # the last one takes the folder with it
    return not path.exists()


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

    The run may have been killed between its rename and the flush of the parent folder.
    """
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
