"""A worker with a stand-in for the conversion: quick, and as strict about publishing.

Its dataset is one file with the bytes of the acquisition, and a manifest. It passes the same
failpoints in the same order, stages, locks and publishes as the real one does. Tests of the daemon
start it in the place of the real worker; a file `sleep` in the acquisition makes it wait at a
slab until it is stopped, a file `crash` kills it, a file `missing` parks it.
"""

import fcntl
import hashlib
import json
import os
import signal
import sys
import threading
import uuid
from pathlib import Path

from stackwatch.daemon.child import connect_to_daemon
from stackwatch.daemon.worker_main import serve
from stackwatch.errors import CancelledError, MissingSlicesError, TargetExistsError
from stackwatch.failpoints import reach
from stackwatch.model.geometry import VoxelSize
from stackwatch.model.result import ConvertResult, DatasetResult, Progress
from stackwatch.pipeline.convert import ConvertRequest
from stackwatch.pipeline.journal import Journal, PublishFact


def convert(request: ConvertRequest, journal: Journal, cancelled: threading.Event) -> ConvertResult:
    """Concatenate the files of an acquisition into a dataset."""
    staging = request.target.parent / ".stackwatch" / request.staging_name
    staging.mkdir(parents=True)
    lock = os.open(staging, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        reach("convert.planned")
        files = _list_files(request)
        _obey(files, cancelled)
        data = b"".join(path.read_bytes() for path in files)
        digest = hashlib.blake2b(data, digest_size=8).hexdigest()
        journal.progress(Progress("converting", 1, 1, len(data), 0))
        built = staging / request.target.name
        built.mkdir()
        (built / "data").write_bytes(data)
        reach("convert.slab_written")
        reach("convert.engine_done")
        run_id = uuid.uuid4().hex
        manifest = {"run_id": run_id, "content_digest": digest}
        (built / "stackwatch.json").write_text(json.dumps(manifest), encoding="utf-8")
        reach("verify.done")
        _publish(PublishFact("publishing", request.target, built, run_id, digest), journal)
    finally:
        _remove(staging)
        os.close(lock)
    size = VoxelSize(1.0, 1.0, 1.0)
    dataset = DatasetResult(
        request.target.name, request.target, (), size, ("settings",) * 3, len(data)
    )
    return ConvertResult((dataset,), "stand-in", digest, len(data), len(data), 0.01, 1.0)


def _list_files(request: ConvertRequest) -> list[Path]:
    if request.members:
        return [request.source / name for name in request.members]
    if request.source.is_file():
        return [request.source]
    return sorted(path for path in request.source.rglob("*") if path.is_file())


def _obey(files: list[Path], cancelled: threading.Event) -> None:
    names = {path.name for path in files}
    if "crash" in names:
        os.kill(os.getpid(), signal.SIGKILL)
    if "missing" in names:
        raise MissingSlicesError("Slice 4 is missing.", hint="Copy it in.")
    if "sleep" in names:
        cancelled.wait()
        raise CancelledError


def _publish(fact: PublishFact, journal: Journal) -> None:
    reach("publish.before_fsync")
    journal.record(fact)
    reach("publish.before_rename")
    if fact.dataset_path.exists():
        raise TargetExistsError(f"{fact.dataset_path} exists.", hint="Rename it.")
    fact.staging_path.rename(fact.dataset_path)
    reach("publish.after_rename")
    reach("publish.after_parent_fsync")
    journal.record(
        PublishFact(
            "published", fact.dataset_path, fact.staging_path, fact.run_id, fact.content_digest
        )
    )


def _remove(staging: Path) -> None:
    for path in sorted(staging.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    staging.rmdir()


if __name__ == "__main__":
    sys.exit(serve(connect_to_daemon(sys.argv[1:]), convert))
