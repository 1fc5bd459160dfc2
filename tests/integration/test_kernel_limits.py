"""The kernel's limits and mounts, in namespaces of their own: what becomes of the acquisitions.

Each test runs a function of this file in a process inside new namespaces, where limits can be set
and file systems mounted without being root. Where the machine forbids that they are skipped.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stackwatch.testing.service import ServiceBench, bench

WATCHES = Path("/proc/sys/user/max_inotify_watches")
INSTANCES = Path("/proc/sys/user/max_inotify_instances")


def run_inside(namespaces: str, body: Callable[[Path], None], root: Path) -> None:
    """Run a function of this file in new namespaces; skip the test where there can be none."""
    probe = subprocess.run(
        ["unshare", namespaces, "true"], check=False, capture_output=True, text=True
    )
    if probe.returncode:
        pytest.skip(f"`unshare {namespaces}` is not possible here: {probe.stderr.strip()}")
    command = ["unshare", namespaces, sys.executable, __file__, body.__name__, str(root)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)

    assert (0, "") == (done.returncode, done.stderr[-4000:])


def mount(*arguments: object) -> None:
    """Mount something inside the namespace."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


def unmount(place: Path) -> None:
    """Unmount something at once, whoever looks at it."""
    subprocess.run(["umount", "-l", str(place)], check=True)


def folder_of(daemon: ServiceBench) -> dict[str, str]:
    """Return what the daemon says of its one folder."""
    (found,) = daemon.ask("status")["folders"]
    return {"state": found["state"], "reason": found["reason"]}


def reasons(daemon: ServiceBench) -> str:
    """Return why the folder is polled, as the log tells it."""
    return " ".join(str(line["reason"]) for line in daemon.events("watch.degraded"))


def too_few_watches(root: Path) -> None:
    """More folders than watches: polled, the limit named, and nothing is missed."""
    WATCHES.write_text("10")
    with bench(root, folder="scan_interval_s = 0.5") as daemon:
        for number in range(30):
            (daemon.drop / f"old/{number}").mkdir(parents=True)
        daemon.start()
        daemon.drop_acquisition("run", {"a.tif": b"x"})
        daemon.wait_until(lambda: "run" in daemon.datasets())

        assert "polling" == folder_of(daemon)["state"]
        assert "of 10" in reasons(daemon)
        assert "sysctl fs.inotify.max_user_watches=20" in reasons(daemon)


def watches_run_out_later(root: Path) -> None:
    """Folders that come after the start and get no watch are noticed by counting."""
    WATCHES.write_text("20")
    with bench(root, folder="scan_interval_s = 0.5") as daemon:
        daemon.start()
        daemon.wait_until(lambda: "healthy" == folder_of(daemon)["state"])
        for number in range(40):
            (daemon.root / f"made/{number}").mkdir(parents=True)
        (daemon.root / "made").rename(daemon.drop / "made")
        daemon.wait_until(lambda: "polling" == folder_of(daemon)["state"])
        (daemon.drop / "made/39/a.tif").write_bytes(b"x")
        daemon.wait_until(lambda: "made" in daemon.datasets())

        assert "max_user_watches" in reasons(daemon)


def no_instance(root: Path) -> None:
    """No inotify instance left: polled, the limit named, and nothing is missed."""
    INSTANCES.write_text("0")
    with bench(root, folder="scan_interval_s = 0.5") as daemon:
        daemon.start()
        daemon.drop_acquisition("run", {"a.tif": b"x"})
        daemon.wait_until(lambda: "run" in daemon.datasets())

        assert "fs.inotify.max_user_instances" in reasons(daemon)


def hidden_proc(root: Path) -> None:
    """A /proc without sysctl files, as a sandbox may show it: watched all the same."""
    mount("-t", "proc", "-o", "subset=pid", "proc", "/proc")
    assert not Path("/proc/sys").exists()
    with bench(root, folder="scan_interval_s = 300") as daemon:
        daemon.start()
        daemon.wait_until(lambda: "healthy" == folder_of(daemon)["state"])
        daemon.drop_acquisition("run", {"a.tif": b"x"})
        daemon.wait_until(lambda: "run" in daemon.datasets())


def remounted(root: Path) -> None:
    """A share that goes and comes back, the second time with other inodes and another device."""
    shares = [root / "share1", root / "share2"]
    for share in shares:
        share.mkdir()
        mount("-t", "tmpfs", "tmpfs", share)
    with bench(root, folder="scan_interval_s = 0.3") as daemon:
        mount("--bind", shares[0], daemon.drop)
        for number in range(3):
            (daemon.drop / f"run_{number}").mkdir()
            (daemon.drop / f"run_{number}/a.tif").write_bytes(bytes([number]))
        daemon.start()
        daemon.wait_until(lambda: 3 == len(daemon.events("job.succeeded")))
        for share in (shares[0], shares[1]):
            unmount(daemon.drop)
            daemon.wait_until(lambda: "unavailable" == folder_of(daemon)["state"])
            if share is shares[1]:
                shutil.copytree(shares[0], share, dirs_exist_ok=True)
            mount("--bind", share, daemon.drop)
            daemon.wait_until(lambda: "unavailable" != folder_of(daemon)["state"])
        # what comes later shows that the scans have gone on over all of it
        (daemon.drop / "late").mkdir()
        (daemon.drop / "late/a.tif").write_bytes(b"late")
        daemon.wait_until(lambda: 4 == len(daemon.events("job.succeeded")))
        daemon.wait_until(lambda: 3 <= len(daemon.events("acquisition.settled")))

        assert [] == daemon.events("acquisition.vanished")
        assert 4 == len(daemon.events("dataset.published"))
        assert "mounted" in daemon.events("folder.unavailable")[0]["reason"]


def mount_inside(root: Path) -> None:
    """A file system mounted inside a drop folder is not entered, and what lies there not lost."""
    with bench(root, folder="scan_interval_s = 0.3") as daemon:
        (daemon.drop / "run").mkdir()
        mount("-t", "tmpfs", "tmpfs", daemon.drop / "run")
        (daemon.drop / "run/a.tif").write_bytes(b"x")
        daemon.start()
        daemon.drop_acquisition("other", {"a.tif": b"x"})
        daemon.wait_until(lambda: "other" in daemon.datasets())
        (line,) = daemon.events("entry.refused")

        assert ("run", True) == (line["path"], "drop folder of its own" in line["reason"])
        assert ["other"] == [name for name in daemon.datasets() if not name.startswith(".")]


def unreadable_for_a_while(root: Path) -> None:
    """A folder that cannot be listed holds its acquisition back, and is watched when it can."""
    with bench(root, folder="scan_interval_s = 0.5") as daemon:
        closed = daemon.drop / "run/closed"
        closed.mkdir(parents=True)
        (daemon.drop / "run/a.tif").write_bytes(b"a")
        (closed / "b.tif").write_bytes(b"b")
        closed.chmod(0)
        if os.access(closed, os.R_OK):
            raise SystemExit("permissions do not bind this process")
        daemon.start()
        daemon.drop_acquisition("other", {"a.tif": b"x"})
        daemon.wait_until(lambda: "other" in daemon.datasets())
        assert "run" not in daemon.datasets()
        closed.chmod(0o755)
        daemon.wait_until(lambda: "run" in daemon.datasets())
        daemon.wait_until(lambda: "healthy" == folder_of(daemon)["state"])


@pytest.mark.system
def test_too_few_watches(tmp_path):
    """L2: with fewer watches than folders everything is found by scans, and the sysctl is named."""
    run_inside("-Ur", too_few_watches, tmp_path)


@pytest.mark.system
def test_watches_that_run_out_later(tmp_path):
    """L2: a tree moved in beyond the limit is found, and half a watch does not pass for a whole."""
    run_inside("-Ur", watches_run_out_later, tmp_path)


@pytest.mark.system
def test_no_inotify_instance(tmp_path):
    """L3: without an inotify instance the folder is polled, and the sysctl is named."""
    run_inside("-Ur", no_instance, tmp_path)


@pytest.mark.system
def test_hidden_proc(tmp_path):
    """L4: limits that cannot be read keep nobody from watching."""
    run_inside("-Urmpf", hidden_proc, tmp_path)


def test_a_share_that_goes_and_comes_back(tmp_path):
    """L9, D3: unmounted is not empty, and after a remount nothing is converted again."""
    run_inside("-Urm", remounted, tmp_path)


@pytest.mark.system
def test_a_mount_inside_a_drop_folder(tmp_path):
    """L9: a mount inside a drop folder is refused with what to do, once in the log."""
    run_inside("-Urm", mount_inside, tmp_path)


@pytest.mark.system
def test_a_folder_that_is_unreadable_for_a_while(tmp_path):
    """L10: what cannot be listed holds its acquisition back until it can be."""
    run_inside("-U", unreadable_for_a_while, tmp_path)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
