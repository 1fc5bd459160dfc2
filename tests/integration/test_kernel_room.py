"""Small disks, in namespaces of their own: what waits, what goes on, and that nothing fails.

Each test runs a function of this file in a process inside new namespaces, where file systems can
be mounted without being root. Where the machine forbids that they are skipped.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stackwatch.ledger.reader import LedgerReader
from stackwatch.ledger.records import Job
from stackwatch.testing.service import ServiceBench, bench

MIB = 1 << 20


def run_inside(body: Callable[[Path], None], root: Path) -> None:
    """Run a function of this file in new namespaces; skip the test where there can be none."""
    (root / "probe").mkdir()
    probe = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", str(root / "probe")]
    tried = subprocess.run(probe, check=False, capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no file system can be mounted in a namespace here: {tried.stderr.strip()}")
    (root / "bench").mkdir()
    command = ["unshare", "-Urm", sys.executable, __file__, body.__name__, str(root / "bench")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)

    assert (0, "") == (done.returncode, done.stderr[-4000:])


def mount(place: Path, options: str) -> None:
    """Mount a small disk."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    """Change a mounted disk."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def fill(place: Path, leave: int) -> Path:
    """Fill a disk with one file until only so many bytes are left."""
    filler = place / "filler"
    filler.write_bytes(b"")
    with filler.open("ab", buffering=0) as file:
        while (free := free_bytes(place) - leave) > 0:
            file.write(b"x" * min(free, MIB))
    return filler


def free_bytes(place: Path) -> int:
    """Return what a disk has free."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def published(daemon: ServiceBench) -> list[str]:
    """Return what a reader of the target sees."""
    return [name for name in daemon.datasets() if not name.startswith(".")]


def staged(daemon: ServiceBench) -> list[str]:
    """Return the staging directories."""
    return [path.name for path in (daemon.target / ".stackwatch").glob("*-*")]


def jobs_of(daemon: ServiceBench) -> list[Job]:
    """Return all jobs, oldest first."""
    with LedgerReader.open(daemon.state_dir) as reader:
        return list(reversed(reader.list_jobs()))


def paused(daemon: ServiceBench) -> str:
    """Return why the folder is paused, as `status` tells it; empty while it is not."""
    status = daemon.status()
    assert status is not None
    found: dict[str, Any] = status["paused"].get("em", {})
    return str(found.get("reason", ""))


def too_little_room(root: Path) -> None:
    """Four acquisitions that do not fit: one notice, no attempt, and all are converted later."""
    with bench(root) as daemon:
        mount(daemon.target, "size=8m")
        filler = fill(daemon.target, MIB // 2)
        for number in range(4):
            daemon.drop_acquisition(f"run_{number}", {"1.tif": b"x" * (MIB // 2)})
        daemon.start()
        daemon.wait_until(lambda: paused(daemon) != "")
        daemon.wait_until(lambda: len(jobs_of(daemon)) == 4)

        assert paused(daemon).startswith("waits for room: needs 614 KiB, ")
        assert "free above the reserve of 410 KiB" in paused(daemon)
        answer = daemon.ask("explain", path=str(daemon.drop / "run_3"))
        assert paused(daemon) == answer["paused"]
        assert {("queued", 0)} == {(str(job.state), job.attempt) for job in jobs_of(daemon)}
        filler.unlink()

        daemon.wait_until(lambda: len(daemon.events("job.succeeded")) == 4)
        assert "" == paused(daemon)
        assert {1} == {job.attempt for job in jobs_of(daemon)}
        assert 1 == len(daemon.events("folder.paused"))
        assert 1 == len(daemon.events("folder.recovered"))
        assert [] == daemon.events("job.waiting") + daemon.events("job.failed")


def too_few_inodes(root: Path) -> None:
    """Bytes enough, but no inodes: the folder waits, and goes on when there are some."""
    with bench(root) as daemon:
        mount(daemon.target, "size=8m,nr_inodes=200")
        fillers = [daemon.target / str(number) for number in range(150)]
        for filler in fillers:
            filler.touch()
        daemon.drop_acquisition("run", {"1.tif": b"x"})
        daemon.start()
        daemon.wait_until(lambda: "inodes" in paused(daemon))

        for filler in fillers:
            filler.unlink()

        daemon.wait_until(lambda: len(daemon.events("job.succeeded")) == 1)
        assert ["run"] == published(daemon)


def full_in_the_middle(root: Path) -> None:
    """A disk that runs full under the real worker: nothing is left, nothing fails, it goes on."""
    more = 'codec = "none"\nchunk_vx = 8\nreserve_gib = 0'
    with bench(root, worker=None, folder=more) as daemon:
        mount(daemon.target, "size=4500k")
        built = root / "noise"
        built.mkdir()
        noise = np.random.default_rng(1)
        for z in range(32):
            plane = noise.integers(0, 64, (256, 512), np.uint8)
            tifffile.imwrite(built / f"{z:03}.tif", plane, compression="zlib")
        built.rename(daemon.drop / "noise")
        daemon.start()
        daemon.wait_until(lambda: daemon.events("job.waiting") != [])
        (line,) = daemon.events("job.waiting")
        (job,) = jobs_of(daemon)

        assert ("out_of_space", "waiting") == (line["error_code"], str(job.state))
        assert ([], []) == (published(daemon), staged(daemon))
        assert 0 < (job.error or {})["values"]["needed_bytes"]
        remount(daemon.target, "size=40m")
        daemon.ask("retry", job=job.job_id)

        daemon.wait_until(lambda: len(daemon.events("job.succeeded")) == 1)
        assert ["noise"] == published(daemon)


def a_reserve_that_is_eaten(root: Path) -> None:
    """Somebody else fills the disk while the real worker writes: it gives the room back."""
    with bench(root, worker=None, folder='codec = "none"', daemon="threads = 1") as daemon:
        mount(daemon.target, "size=160m")
        built = root / "deep"
        built.mkdir()
        for z in range(160):
            tifffile.imwrite(built / f"{z:03}.tif", np.full((256, 512), z + 1, np.uint8))
        built.rename(daemon.drop / "deep")
        shards = (daemon.target / ".stackwatch").glob
        daemon.start(failpoint="convert.slab_written:1:freeze")
        daemon.wait_until(lambda: any(shards("*-*/**/c/*")))
        filler = fill(daemon.target, 8 * MIB)  # a twentieth is a little more
        daemon.wait_until(lambda: thaw(daemon) and daemon.events("job.waiting") != [])
        (line,) = daemon.events("job.waiting")

        assert "less than the reserve" in line["message"]
        assert (["filler"], []) == (published(daemon), staged(daemon))
        daemon.wait_until(lambda: paused(daemon) != "")
        filler.unlink()
        (job,) = jobs_of(daemon)
        daemon.ask("retry", job=job.job_id)
        daemon.wait_until(lambda: thaw(daemon) and len(daemon.events("job.succeeded")) == 1)


def thaw(daemon: ServiceBench) -> bool:
    """Let workers go on that were frozen at the failpoint."""
    for job in (daemon.status() or {"converting": []})["converting"]:
        if job["pid"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(job["pid"], signal.SIGCONT)
    return True


def a_target_that_turns_read_only(root: Path) -> None:
    """Permission lost: one notice for the folder, however many wait; it goes on by itself."""
    with bench(root) as daemon:
        mount(daemon.target, "size=8m,ro")
        for number in range(3):
            daemon.drop_acquisition(f"run_{number}", {"1.tif": b"x"})
        daemon.start()
        daemon.wait_until(lambda: "read-only" in paused(daemon) and len(jobs_of(daemon)) == 3)

        remount(daemon.target, "rw")

        daemon.wait_until(lambda: len(daemon.events("job.succeeded")) == 3)
        assert 1 == len(daemon.events("folder.paused"))
        assert {1} == {job.attempt for job in jobs_of(daemon)}


def a_full_state_disk(root: Path) -> None:
    """No commit is possible: nothing new is begun or published, and the daemon catches up."""
    with bench(root, daemon="workers = 2") as daemon:
        mount(daemon.state_dir, "size=32m")
        daemon.start()
        daemon.drop_acquisition("under_way", {"pause": b"", "1.tif": b"1"})
        daemon.wait_until(lambda: any(job["pid"] for job in (daemon.status() or {})["converting"]))
        filler = fill(daemon.state_dir, 0)
        for number in range(30):
            daemon.drop_acquisition(f"new_{number}", {"1.tif": b"1"})
        daemon.wait_until(lambda: daemon.events("daemon.degraded") != [])
        (daemon.root / "go").touch()

        status = daemon.status()
        assert status is not None
        assert "refused a change" in status["degraded"]
        assert 1 == len(daemon.events("daemon.degraded"))
        filler.unlink()

        daemon.wait_until(lambda: daemon.events("daemon.recovered") != [])
        daemon.wait_until(lambda: (daemon.target / "under_way").is_dir())
        daemon.wait_until(lambda: len(daemon.events("job.succeeded")) > 3)
        assert 0 == daemon.stop()
        done = [job.key for job in jobs_of(daemon) if str(job.state) == "succeeded"]
        assert sorted(done) == published(daemon)


@pytest.mark.system
def test_too_little_room_pauses_the_folder(tmp_path):
    """C4, C23: the folder waits with one notice, no job fails, and it goes on by itself."""
    run_inside(too_little_room, tmp_path)


@pytest.mark.system
def test_too_few_inodes_pause_the_folder(tmp_path):
    """C5: inodes are room too."""
    run_inside(too_few_inodes, tmp_path)


@pytest.mark.system
def test_a_disk_that_runs_full(tmp_path):
    """C4: in the middle of a conversion: staging is removed, the job waits, then succeeds."""
    run_inside(full_in_the_middle, tmp_path)


@pytest.mark.system
def test_a_reserve_that_is_eaten(tmp_path):
    """C4: what others write beside a conversion does not let it fill the disk."""
    run_inside(a_reserve_that_is_eaten, tmp_path)


@pytest.mark.system
def test_a_target_that_turns_read_only(tmp_path):
    """C20, C23: no attempt, one notice for the folder, and no person needed."""
    run_inside(a_target_that_turns_read_only, tmp_path)


def test_a_full_state_disk(tmp_path):
    """C6: degraded, not dead: status is answered, nothing is published without a commit."""
    run_inside(a_full_state_disk, tmp_path)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
