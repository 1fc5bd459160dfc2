"""Targets in object storage: `target = "s3://bucket/prefix"`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

SCHEME: Final = "s3://"
STUBS_FOLDER: Final = "buckets"
"""In the state directory: what stands here for the datasets in buckets, a folder for each."""


def expand_buckets(values: Any, default_state_dir: Path) -> Any:
    """Return values in which each target is a folder, and `bucket` says where the shards go.

    A target in a bucket gets a folder in the state directory for the datasets' metadata, through
    which they are announced, claimed and found again like all others.

    Parameters
    ----------
    values : mapping
        The settings before validation; anything else is returned as it is.
    default_state_dir : Path
    """
    folders = values.get("folder") if isinstance(values, Mapping) else None
    if not isinstance(folders, list | tuple):
        return values
    daemon = values.get("daemon")
    state = daemon.get("state_dir") if isinstance(daemon, Mapping) else None
    state_dir = Path(state if isinstance(state, str | Path) else default_state_dir)
    return {**values, "folder": [_expand(folder, state_dir) for folder in folders]}


def _expand(folder: Any, state_dir: Path) -> Any:
    target = folder.get("target") if isinstance(folder, Mapping) else None
    if not isinstance(target, str) or not target.startswith(SCHEME):
        return folder
    stub = state_dir / STUBS_FOLDER / str(folder.get("name", ""))
    return {**folder, "target": stub, "bucket": target}
