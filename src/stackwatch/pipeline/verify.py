"""Prove that a published dataset is still what was written."""

import time
from pathlib import Path
from typing import Any

from stackwatch.pipeline.manifest import check_manifest, load_manifest
from stackwatch.pipeline.standing_in import standing_in
from stackwatch.stores.objects import is_object_url


def verify_dataset(dataset: Path | str) -> dict[str, Any]:
    """Compare a published dataset with its own manifest, `stackwatch.json`: every shard, whole.

    The properties file is not compared: people may edit it.

    Parameters
    ----------
    dataset : Path or str
        A dataset's directory, or its address in a bucket.

    Returns
    -------
    dict
        JSON values: `status` "verified", `path`, `shards`, `chunks`, `bytes`, `run_id`, `seconds`.

    Raises
    ------
    VerificationError
        A shard is missing, has another size or another checksum; all are listed in `values`.
    UsageError
        At the address is no dataset.
    """
    if not is_object_url(str(dataset)):
        return _verify(Path(dataset))
    with standing_in(str(dataset)) as folder:
        return {**_verify(folder), "path": str(dataset).rstrip("/")}


def _verify(dataset: Path) -> dict[str, Any]:
    started = time.perf_counter()
    document, shards = load_manifest(dataset)
    metadata = document.get("metadata_crc32c", {})
    found = check_manifest(dataset, shards, metadata, reads_all=True)
    return {
        "status": "verified",
        "path": str(dataset),
        "run_id": document.get("run_id", ""),
        "shards": found.shards,
        "chunks": found.chunks,
        "bytes": found.bytes,
        "seconds": round(time.perf_counter() - started, 3),
    }
