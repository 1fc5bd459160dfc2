"""Power loss: what a rename makes visible was flushed before, and recorded after it lasts."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

STRACE = shutil.which("strace")
CALLS = "fsync,fdatasync,rename,renameat,renameat2"
_FLUSH = re.compile(r"f(?:data)?sync\(\d+<(?P<path>[^>]+)>\)\s+= 0")
_RENAME = re.compile(r'renameat2?\(.*?"(?P<old>[^"]+)",.*?"(?P<new>[^"]+)".*\)\s+= 0')


@dataclass(frozen=True)
class Trace:
    """The flushes and renames of daemon and worker, in the order in which they ended."""

    flushes: list[tuple[int, Path]]
    renames: list[tuple[int, Path, Path]]

    def last_flush(self, path: Path) -> int:
        """Return when a path was last flushed; -1 for never."""
        return max((at for at, flushed in self.flushes if flushed == path), default=-1)


@pytest.fixture(scope="module")
def strace() -> str:
    """Return the tracer, or skip by name where tracing is not allowed."""
    if STRACE is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run([STRACE, "-qq", "-o", "/dev/null", "true"], capture_output=True)
    if tried.returncode:
        pytest.skip(f"strace may not run here: {tried.stderr.decode()[:200]}")
    return STRACE


@pytest.mark.slow
def test_everything_is_flushed_before_it_is_renamed_and_before_it_is_recorded(tmp_path, strace):
    """C3: files and folders bottom up, then the rename, then its folder, then the ledger."""
    trace = traced_run(tmp_path, strace)
    dataset, ledger = tmp_path / "target" / "run_041", tmp_path / "state" / "ledger.db-wal"
    ((renamed_at, staged, _),) = [found for found in trace.renames if found[2] == dataset]

    inside = [path.relative_to(dataset) for path in (dataset, *dataset.rglob("*"))]
    flushed_at = {path: trace.last_flush(staged / path) for path in inside}
    assert [] == [path for path, at in flushed_at.items() if not 0 <= at < renamed_at]
    folders = [path for path in inside if (dataset / path).is_dir()]
    early = [
        path
        for path in inside
        for folder in folders
        if path.parent == folder and path != folder and flushed_at[folder] < flushed_at[path]
    ]
    assert [] == early, "flushed after the folder that holds it"
    parent_at = trace.last_flush(dataset.parent)
    commits = [at for at, path in trace.flushes if path == ledger]
    assert max(flushed_at.values()) < max(at for at in commits if at < renamed_at) < renamed_at
    assert renamed_at < parent_at < min(at for at in commits if at > parent_at)
    assert [] == [at for at in commits if renamed_at < at < parent_at]


def traced_run(root: Path, strace: str) -> Trace:
    """Convert one acquisition under the tracer, with a daemon that ends by itself."""
    for name in ("drop/run_041", "target", "state"):
        (root / name).mkdir(parents=True)
    for z in range(40):
        picture = np.full((40, 50), z, np.uint8)
        tifffile.imwrite(root / "drop/run_041" / f"slice_{z:02}.tif", picture)
    config = root / "config.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "{root / "state"}"\nmemory_gib = 0.5\n'
        f'[[folder]]\nname = "em"\npath = "{root / "drop"}"\ntarget = "{root / "target"}"\n'
        "quiet_gap_s = 0.3\nreserve_gib = 0\nvoxel_size_nm = [1, 1, 1]\n"
    )
    command = [strace, "-f", "-y", "-qq", "-e", f"trace={CALLS}", "-o", str(root / "trace")]
    command += [sys.executable, "-m", "stackwatch", "run", "--once", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return read_trace((root / "trace").read_text())


def read_trace(text: str) -> Trace:
    """Parse the tracer's lines; a call that was interrupted counts when it was resumed."""
    begun: dict[str, str] = {}
    flushes, renames = [], []
    for at, line in enumerate(text.splitlines()):
        thread, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[thread] = call.removesuffix("<unfinished ...>").rstrip()
            continue
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
            call = begun.pop(thread, "") + resumed[1]
        if flushed := _FLUSH.match(call):
            flushes.append((at, Path(flushed["path"])))
        elif renamed := _RENAME.match(call):
            renames.append((at, Path(renamed["old"]), Path(renamed["new"])))
    return Trace(flushes, renames)
