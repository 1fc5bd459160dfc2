"""Prove that a published dataset is still what was written."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from stackwatch.errors import VerificationError
from stackwatch.pipeline.manifest import check_manifest, load_manifest
from stackwatch.stores.objects import is_object_url, mark_objects
from stackwatch.stores.properties import MANIFEST_FILE

_METADATA: Final = {MANIFEST_FILE, "zarr.json"}


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
    """
    if is_object_url(str(dataset)):
        return _verify_objects(str(dataset).rstrip("/"))
    return _verify(Path(dataset))


def _verify_objects(url: str) -> dict[str, Any]:
    """Fetch what is not voxels into a passing folder, which then stands for the dataset."""
    with TemporaryDirectory(prefix="stackwatch-") as folder:
        objects = mark_objects(Path(folder), url)
        for key in objects.sizes():
            path = Path(folder, key)
            if path.name in _METADATA:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(objects.read(key) or b"")
        if not Path(folder, MANIFEST_FILE).exists():
            hint = "Give the address of a dataset that stackwatch wrote."
            raise VerificationError(
                f"At {url} is no {MANIFEST_FILE}: it is no dataset that stackwatch wrote, or not "
                f"all of it. {hint}",
                hint=hint,
                path=url,
            )
        return {**_verify(Path(folder)), "path": url}


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
