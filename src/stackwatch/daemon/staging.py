"""Find and remove what dead workers left in a target, and read back whose a dataset is."""

import contextlib
import fcntl
import json
import os
import re
import shutil
from pathlib import Path

STAGING_FOLDER = ".stackwatch"
MANIFEST_NAME = "stackwatch.json"
_JOB_STAGING = re.compile(r"[0-9]+-[0-9]+")


def staging_name(job_id: int, attempt: int) -> str:
    """Return the name of an attempt's staging directory."""
    return f"{job_id}-{attempt}"


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
    lock = path.with_name(path.name + ".lock")
    if _is_locked(path) or _is_locked(lock):
        return False
    shutil.rmtree(path, ignore_errors=True)
    lock.unlink(missing_ok=True)
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


def _is_locked(path: Path) -> bool:
    """Tell whether a living process holds a lock on this file or folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks: its workers died with their daemon
    finally:
        os.close(descriptor)
    return False
