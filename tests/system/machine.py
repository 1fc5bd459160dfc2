"""A machine of its own for tests: systemd as PID 1 in namespaces, over an overlay of this system.

Every write goes to memory and is thrown away. The processes live in a control group made for them;
nothing of the machine's own moves or changes. Needs root, systemd-nspawn and a cgroup2 hierarchy.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BOOT_S = 60.0
CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
TOOLS = ("systemd-nspawn", "systemd-sysusers", "systemd-tmpfiles", "unshare", "nsenter", "setpriv")

BOOT = r"""
set -eu
echo $$ > "$CGROUP/cgroup.procs"
exec setpriv --pdeathsig KILL unshare --mount --pid --fork --cgroup --ipc --uts --kill-child \
    --mount-proc --propagation private bash -eu -c '
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system /run/ov
mount -t tmpfs tmpfs /run/ov
mkdir -p /run/ov/up /run/ov/work /run/ov/root
R=/run/ov/root
mount -t overlay overlay -o lowerdir=/,upperdir=/run/ov/up,workdir=/run/ov/work $R
mountpoint -q $R
find $R/etc/systemd/system -maxdepth 1 -name "*.wants" -exec rm -rf {} +
rm -rf $R/opt/stackwatch $R/etc/stackwatch $R/var/lib/stackwatch $R/var/log/journal
mkdir -p $R/opt/py $R/opt/checkout $R/opt/site-packages
cp -a "$SHARED/root/." $R/
systemd-nspawn -D $R --boot --register=no --keep-unit --private-network --resolv-conf=off \
    --timezone=off --link-journal=no --console=pipe --machine=swtest \
    --bind-ro="$PYTHON_PREFIX:/opt/py" --bind-ro="$CHECKOUT:/opt/checkout" \
    --bind-ro="$SITE_PACKAGES:/opt/site-packages" --bind="$SHARED:/shared" </dev/null
'
"""


def find_cgroup2() -> Path | None:
    """Return where a cgroup2 hierarchy is mounted, None if nowhere."""
    return next((place for place in CGROUPS if (place / "cgroup.procs").exists()), None)


def why_not() -> str:
    """Return why no machine can be booted here; empty if one can."""
    if os.geteuid() != 0:
        return "not root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if find_cgroup2() is None:
        return "no cgroup2 hierarchy"
    probe = ["unshare", "--mount", "--pid", "--fork", "--cgroup", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        return "no namespaces"
    return ""


class Machine:
    """A booted machine. Close it: its processes and its control group are removed then.

    Parameters
    ----------
    shared : Path
        A folder of the test's own. What lies under `root` in it is copied over the machine's root
        before it boots; all of it is `/shared` inside.
    """

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        (shared / "root").mkdir(parents=True, exist_ok=True)
        hierarchy = find_cgroup2()
        assert hierarchy is not None
        self._cgroup = hierarchy / f"stackwatch-test-{os.getpid()}"
        self._cgroup.mkdir()
        self._log = (shared / "console").open("wb")
        self._outer: subprocess.Popen[bytes] | None = None
        self._init = 0
        try:
            self._outer = subprocess.Popen(
                ["bash", "-c", BOOT],
                stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
                env={
                    "PATH": os.environ.get("PATH", ""), "CGROUP": str(self._cgroup),
                    "SHARED": str(shared), "PYTHON_PREFIX": sys.base_prefix,
                    "CHECKOUT": str(ROOT), "SITE_PACKAGES": sysconfig.get_path("purelib"),
                },
            )  # fmt: skip
            self._wait_for_boot()
        except BaseException:
            self.close()
            raise

    def run(self, *command: str, check: bool = True, timeout_s: float = 120) -> str:
        """Run a command inside and return what it printed."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._init), "-m", "-u", "-i", "-n", "-p", "-C", "--", *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s,
            check=False, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr if not check else done.stdout

    def show(self, prop: str, unit: str = "stackwatch") -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", prop, unit).strip()

    def wait_until(self, is_true: Callable[[], bool], timeout_s: float = 60) -> None:
        """Ask again and again until something is true; show the journal if it never is."""
        deadline_s = time.monotonic() + timeout_s
        pause = threading.Event()
        while not is_true():
            if time.monotonic() > deadline_s:
                raise TimeoutError(self.run("journalctl", "-n", "60", "--no-pager", check=False))
            pause.wait(0.1)

    def close(self) -> None:
        """Power off, and remove the control group."""
        if self._outer is not None:
            if self._init:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.run("systemctl", "poweroff", check=False, timeout_s=10)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._outer.wait(20 if self._init else 0.1)
            if self._outer.poll() is None:
                self._kill()
            self._outer.wait(20)
        self._log.close()
        self._remove_cgroup()

    def _kill(self) -> None:
        """Kill the outermost process of ours: the namespace of all others ends with it."""
        assert self._outer is not None
        self._outer.send_signal(signal.SIGKILL)

    def _wait_for_boot(self) -> None:
        deadline_s = time.monotonic() + BOOT_S
        pause = threading.Event()
        while time.monotonic() < deadline_s:
            pause.wait(0.1)
            assert self._outer is not None
            if self._outer.poll() is not None:
                break
            self._init = self._init or self._find_init()
            if self._init and "running" == self._state():
                return
        console = (self.shared / "console").read_text("utf-8", "replace")
        raise RuntimeError(f"the machine did not boot: {self._state()}\n{console[-3000:]}")

    def _state(self) -> str:
        if not self._init:
            return ""
        return self.run("systemctl", "is-system-running", check=False).strip()

    def _find_init(self) -> int:
        """Return the machine's PID 1, as this system numbers it; 0 while there is none."""
        assert self._outer is not None
        waiting = [self._outer.pid]
        while waiting:
            pid = waiting.pop()
            children = _children(pid)
            if _name(pid) == "systemd-nspawn":
                return next((child for child in children if _name(child) == "systemd"), 0)
            waiting += children
        return 0

    def _remove_cgroup(self) -> None:
        pause = threading.Event()
        for _ in range(50):
            for folder, _, _ in os.walk(self._cgroup, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
            if not self._cgroup.exists():
                return
            pause.wait(0.1)
        raise RuntimeError(f"{self._cgroup} could not be removed")


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
