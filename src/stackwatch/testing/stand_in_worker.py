"""A worker with a stand-in for the conversion: quick, and as strict about publishing.

Its dataset is one file with the bytes of the acquisition, and a manifest. It passes the same
failpoints in the same order, stages, locks and publishes as the real one does. Tests of the daemon
start it in the place of the real worker, and tell it by the names of an acquisition's files what
shall happen:

- `sleep`: it works until it is asked to stop, and stops at the next slab
- `stubborn`: it does not hear when it is asked to stop
- `pause`: it works until there is a file `go` beside the target
- `ponder`: comparing its content makes a file `pondering` beside the target, and lasts until
  there is a file `go`
- `full`: there is no room as long as there is a file `full` beside the target
- `crash`: it is killed
- `missing`: a slice is missing, unless there is a file `slice`
- `lacking`: the metadata name a file that is not there, unless there is a file `slice`
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
from stackwatch.errors import (
    CancelledError,
    IncompleteAcquisitionError,
    MissingSlicesError,
    OutOfSpaceError,
    TargetExistsError,
    VanishedError,
)
from stackwatch.failpoints import reach
from stackwatch.layout.ignore import is_junk
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
        _obey({path.name for path in files}, request.target.parent.parent, cancelled)
        data = b"".join(map(_read, files))
        content_digest = _digest(data)
        journal.progress(Progress("converting", 1, 1, len(data), 0))
        built = staging / request.target.name
        built.mkdir()
        (built / "data").write_bytes(data)
        reach("convert.slab_written")
        reach("convert.engine_done")
        run_id = uuid.uuid4().hex
        manifest = {"run_id": run_id, "content_digest": content_digest, "bytes": len(data)}
        (built / "stackwatch.json").write_text(json.dumps(manifest), encoding="utf-8")
        reach("verify.done")
        fact = PublishFact("publishing", request.target, built, run_id, content_digest)
        _publish(fact, journal, replaces=bool(request.replaceable_run(request.target)))
    finally:
        _remove(staging)
        os.close(lock)
    size = VoxelSize(1.0, 1.0, 1.0)
    dataset = DatasetResult(
        request.target.name, request.target, (), size, ("settings",) * 3, len(data)
    )
    return ConvertResult(
        (dataset,), _show_share(request), content_digest, len(data), len(data), 0.01, 1.0
    )


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise VanishedError(f"{path} is gone.", hint="Put it back.") from error
    reach("convert.slice_read")
    return data


def _show_share(request: ConvertRequest) -> str:
    """Return the job's share of the machine, in the place of the layout."""
    share = request.options.resources
    return f"{share.memory_gib} GiB, {share.threads} threads"


def digest(request: ConvertRequest) -> str:
    """Return the digest that `convert` would report."""
    files = _list_files(request)
    go = request.target.parent.parent / "go"
    if any(path.name == "ponder" for path in files):
        go.with_name("pondering").touch()
        while not go.exists():
            threading.Event().wait(0.02)
    return _digest(b"".join(path.read_bytes() for path in files))


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _list_files(request: ConvertRequest) -> list[Path]:
    if request.members:
        return [request.source / name for name in request.members]
    if request.source.is_file():
        return [request.source]
    found = request.source.rglob("*")
    files = (path for path in found if path.is_file() and not path.is_symlink())
    return sorted(path for path in files if not is_junk(path.name))


def _obey(names: set[str], beside: Path, cancelled: threading.Event) -> None:
    """Let happen what the names of the files ask for."""
    if "crash" in names:
        os.kill(os.getpid(), signal.SIGKILL)
    if "missing" in names and "slice" not in names:
        raise MissingSlicesError("Slice 4 is missing.", hint="Copy it in.")
    if "lacking" in names and "slice" not in names:
        raise IncompleteAcquisitionError("No “slice” is there.", hint="Copy it in.")
    if "full" in names and (beside / "full").exists():
        raise OutOfSpaceError("1 GiB free, 2 GiB needed.", hint="Make room.")
    if "sleep" in names:
        cancelled.wait()
        raise CancelledError("Stopped on request.")
    while "stubborn" in names or ("pause" in names and not (beside / "go").exists()):
        threading.Event().wait(0.02)


def _publish(fact: PublishFact, journal: Journal, *, replaces: bool) -> None:
    reach("publish.before_fsync")
    journal.record(fact)
    reach("publish.before_rename")
    if fact.dataset_path.exists() and not replaces:
        raise TargetExistsError(f"{fact.dataset_path} exists.", hint="Rename it.")
    if replaces:
        fact.dataset_path.rename(fact.staging_path.with_name("old"))
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
    sys.exit(serve(connect_to_daemon(sys.argv[1:]), convert, digest))
