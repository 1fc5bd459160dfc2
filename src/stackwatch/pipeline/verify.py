"""Prove that what lies on the disk is what was written, and what the source holds."""

from pathlib import Path
from typing import Any


def verify_dataset(dataset: Path) -> dict[str, Any]:
    """Compare a published dataset with its own manifest, `stackwatch.json`: every shard, whole.

    Parameters
    ----------
    dataset : Path
        A dataset's directory.

    Returns
    -------
    dict
        JSON values: `status` "verified", `path`, `shards`, `chunks`, `bytes`, `run_id`, `seconds`.

    Raises
    ------
    VerificationError
        A shard is missing, has another size or another checksum; all are listed in `values`.
    """
    raise NotImplementedError
