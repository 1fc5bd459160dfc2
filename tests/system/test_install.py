"""docs/operations.md, line by line on a bare machine: install, upgrade, back up, move, remove."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import ROOT, Machine, why_not

pytestmark = [pytest.mark.system, pytest.mark.timeout(3600)]

PYTHON = Path("/usr/bin/python3.11")
UNIT = "stackwatch.service"
CONFIG = """
[web]
listen = ""
[[folder]]
name = "em"
path = "/srv/drop"
target = "/srv/target"
quiet_gap_s = 0.5
scan_interval_s = 0.5
reserve_gib = 0
"""
LOCAL = "/etc/systemd/system/stackwatch.service.d/local.conf"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pinned packages, fetched before: the machine has no network."""
    if reason := why_not():
        pytest.skip(f"no machine of its own can be booted here: {reason}")
    if not PYTHON.exists():
        pytest.skip(f"no {PYTHON}: the service needs a Python of the system")
    place = tmp_path_factory.mktemp("install") / "wheels"
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(place)]
    for wanted in (["--no-deps", "-r", str(ROOT / "requirements" / "run.txt")], ["hatchling"]):
        done = subprocess.run([*fetch, *wanted], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"the pinned packages cannot be fetched: {done.stderr[-200:]}")
    return place


@pytest.fixture(scope="module")
def machine(wheels: Path) -> Iterator[Machine]:
    """A machine with Python, the checkout and the packages, and nothing of ours installed."""
    root = wheels.parent / "root"
    (root / "root").mkdir(parents=True)
    (root / "root").chmod(0o700)
    root.chmod(0o755)
    made = Machine(wheels.parent)
    try:
        made.run("mkdir", "-p", "/srv/drop", "/srv/target")
        yield made
    finally:
        made.close()


class Operator:
    """Somebody who types what the page says."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        self._sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", page, re.S | re.M))

    def read(self, section: str) -> list[str]:
        """Return what is to be typed as root, in order."""
        blocks = re.findall(r"```console\n(.*?)```", self._sections[section], re.S)
        lines = [line for block in blocks for line in block.splitlines()]
        assert lines, section
        return [line.removeprefix("# ") for line in lines if line.startswith("# ")]

    def type(self, line: str, *, fails: bool = False) -> str:
        """Run a line of the page; return what it printed."""
        line = line.replace("make ", f"make --no-print-directory PYTHON={PYTHON} ")
        line = line.replace("/dev/stdin", "/shared/token")
        script = (
            "export HOME=/root PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_ROOT_USER_ACTION=ignore"
            " PIP_FIND_LINKS=/shared/wheels PATH=/usr/local/bin:/usr/sbin:/usr/bin;"
            f" cd /opt/checkout; {{ {line}; }} 2>&1; echo code=$?"
        )
        told = self.machine.run("sh", "-c", script, check=False, timeout_s=600)
        assert fails != told.rstrip().endswith("code=0"), f"{line}\n{told}"
        return told

    def has(self, *paths: str) -> list[bool]:
        """Tell which paths are there."""
        command = "; ".join(f"test -e {path} && echo 1 || echo 0" for path in paths)
        return [told == "1" for told in self.machine.run("sh", "-c", command).split()]

    def write(self, path: str, text: str) -> None:
        """Edit a file."""
        (self.machine.shared / "text").write_text(text, encoding="utf-8")
        self.machine.run("cp", "/shared/text", path)


def test_the_page_for_operators_is_true(machine):
    """Each line as it stands there, in its order, and what the page says of it."""
    operator = Operator(machine)
    (machine.shared / "token").write_text("secret", encoding="utf-8")
    check_install(operator)
    check_upgrade(operator)
    check_backup(operator)
    check_move(operator)
    check_uninstall(operator)


def check_install(operator: Operator) -> None:
    """Install, edit, start and try."""
    for line in operator.read("Install"):
        told = operator.type(line)
        if line == "make install":
            assert "systemctl enable --now stackwatch" in told
            assert "stackwatch" in operator.machine.run("id", "-un", "stackwatch")
            operator.machine.run("chown", "stackwatch:", "/srv/target")
            refused = operator.type("systemctl start stackwatch", fails=True)
            assert "failed" in refused
            assert "78" == operator.machine.show("ExecMainStatus")
            operator.machine.run("systemctl", "reset-failed", UNIT)
        elif line.endswith("config.toml"):
            operator.write("/etc/stackwatch/config.toml", CONFIG)
        elif line.endswith("local.conf"):
            example = operator.machine.run("cat", LOCAL)
            opened = example.replace("#ReadWritePaths=/data/datasets", "ReadWritePaths=/srv/target")
            assert opened != example
            operator.write(LOCAL, opened.replace("#MemoryMax=8G", "MemoryMax=8G"))
        elif line == "stackwatch selftest":
            assert "“em” works" in told
    assert "active" == operator.machine.show("ActiveState")
    token = "/run/credentials/stackwatch.service/webknossos-token"
    assert "secret" == operator.machine.run("cat", token)


def check_upgrade(operator: Operator) -> None:
    """Again: a new process, the old settings and jobs; a build that fails changes nothing."""
    pid = operator.machine.show("MainPID")
    operator.type("PIP_FIND_LINKS=/nowhere make install", fails=True)
    assert pid == operator.machine.show("MainPID")
    assert [False, False] == operator.has("/opt/stackwatch.new", "/opt/stackwatch.old")
    for line in operator.read("Upgrade"):
        assert "as they were" in operator.type(line)
    assert "active" == operator.machine.show("ActiveState")
    assert pid != operator.machine.show("MainPID")
    assert CONFIG == operator.machine.run("cat", "/etc/stackwatch/config.toml")
    assert "stackwatch-selftest-" in operator.type("stackwatch jobs list")


def check_backup(operator: Operator) -> None:
    """A copy, and a ledger that is put back from it after it was damaged."""
    for line in operator.read("Back up and restore"):
        operator.type(line)
        if line == "systemctl stop stackwatch":
            ruin = "dd if=/dev/urandom of=/var/lib/stackwatch/ledger.db bs=4k count=4 conv=notrunc"
            operator.type(ruin)
            operator.type("systemctl start stackwatch", fails=True)
            assert "69" == operator.machine.show("ExecMainStatus")
            operator.machine.run("systemctl", "reset-failed", UNIT)
    assert "active" == operator.machine.show("ActiveState")
    assert "stackwatch-selftest-" in operator.type("stackwatch jobs list")


def check_move(operator: Operator) -> None:
    """Everything of ours is wiped, as on another machine, and comes back from the archive."""
    for line in operator.read("Move to another machine"):
        if line.startswith("tar -xf"):
            operator.type("systemctl disable stackwatch; make uninstall")
            operator.machine.run(
                "sh", "-c", f"rm -rf /var/lib/stackwatch /etc/stackwatch /etc/credstore {LOCAL}"
            )
            operator.type("userdel stackwatch; groupadd -r others; make install")
        operator.type(line)
    assert "active" == operator.machine.show("ActiveState")
    assert "stackwatch-selftest-" in operator.type("stackwatch jobs list")


def check_uninstall(operator: Operator) -> None:
    """The program goes, what only people can make again stays and is named; twice is as good."""
    for line in operator.read("Uninstall"):
        told = operator.type(line)
        for place in ("/var/lib/stackwatch", "/etc/stackwatch", f"{UNIT}.d", "webknossos-token"):
            assert place in told
    operator.type("make uninstall")
    gone = (
        "/opt/stackwatch", f"/etc/systemd/system/{UNIT}", "/usr/local/bin/stackwatch",
        "/usr/local/share/man/man1/stackwatch.1",
    )  # fmt: skip
    kept = ("/var/lib/stackwatch/ledger.db", "/etc/stackwatch/config.toml", LOCAL)

    assert [False] * 4 == operator.has(*gone)
    assert [True] * 3 == operator.has(*kept)


def test_a_tree_for_a_package_leaves_the_machine_alone(tmp_path):
    """With DESTDIR, and a pip that installs nothing, all lies below it and names its last place."""
    if shutil.which("make") is None or sys.version_info[:2] != (3, 11) or not PYTHON.exists():
        pytest.skip("no make, or no Python 3.11 of the system")
    stub = tmp_path / "python"
    stub.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        '  "-m venv "*) mkdir -p "$3/bin"; echo "home = $3" >"$3/pyvenv.cfg"\n'
        '    printf "#!%s/bin/python\\n" "$3" >"$3/bin/stackwatch"\n'
        '    ln -s /bin/true "$3/bin/python";;\n'
        f'  *) exec {PYTHON} "$@";;\nesac\n',
        encoding="utf-8",
    )
    stub.chmod(0o755)
    tree = tmp_path / "a tree"
    make = ["make", "-C", str(ROOT), "install", f"PYTHON={stub}", f"DESTDIR={tree}"]
    for _ in range(2):
        subprocess.run([*make, "PREFIX=/srv/sw"], check=True, capture_output=True, umask=0o077)
    for odd in ("/srv/s w", "srv/sw", "/srv/sw/", "/srv/../sw", "/"):
        done = subprocess.run([*make, f"PREFIX={odd}"], check=False, capture_output=True, text=True)
        assert 0 != done.returncode
        assert f"“{odd}” cannot be used" in done.stderr

    files = {path.relative_to(tree).as_posix() for path in tree.rglob("*") if not path.is_dir()}
    assert {
        "srv/sw/bin/stackwatch", f"etc/systemd/system/{UNIT}", "usr/local/bin/stackwatch",
        "usr/lib/sysusers.d/stackwatch.conf", "usr/lib/tmpfiles.d/stackwatch.conf",
        "etc/stackwatch/config.example.toml", "etc/stackwatch/drop-in.conf.example",
    } <= files  # fmt: skip
    assert "#!/srv/sw/bin/python\n" == (tree / "srv/sw/bin/stackwatch").read_text("utf-8")
    unit = (tree / "etc/systemd/system" / UNIT).read_text("utf-8")
    assert "ExecStart=/srv/sw/bin/stackwatch run" in unit
    assert not [path for path in files if path.startswith("srv/sw.")]
    assert [] == [path for path in files if not (tree / path).lstat().st_mode & 0o004]
    assert [] == [str(path) for path in (tree / "srv").rglob("*/") if not path.stat().st_mode & 1]


@pytest.mark.parametrize(("step", "expected"), [("pip", "old"), ("swap", "old"), ("copy", "new")])
def test_an_install_that_fails_leaves_one_whole_program(tmp_path, step, expected):
    """Whatever cannot be built, moved or copied: a program stands at its place, none beside it."""
    (tmp_path / "bin").mkdir()
    stubs = {
        "python": 'case "$*" in\n'
        '  "-m venv "*) mkdir -p "$3/bin"; echo new >"$3/pyvenv.cfg"\n'
        f'    ln -s /bin/{"false" if step == "pip" else "true"} "$3/bin/python";;\n'
        "  *print*) echo /usr;;\nesac\n",
        "mv": 'case "$1" in *.new) exit 1;; esac\nexec /bin/mv "$@"\n',
    }
    for name, text in stubs.items():
        if name == "python" or step == "swap":
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
            (tmp_path / "bin" / name).chmod(0o755)
    program = tmp_path / "tree" / "srv" / "sw" / "pyvenv.cfg"
    program.parent.mkdir(parents=True)
    program.write_text("old\n", encoding="utf-8")
    if step == "copy":
        (tmp_path / "tree" / "etc").touch()
    done = subprocess.run(
        ["make", "-C", ROOT, "install", f"PYTHON={tmp_path}/bin/python",
         f"DESTDIR={tmp_path}/tree", "PREFIX=/srv/sw"],
        check=False, capture_output=True, env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"},
    )  # fmt: skip

    assert 0 != done.returncode
    assert f"{expected}\n" == program.read_text("utf-8")
    assert ["sw"] == [path.name for path in program.parent.parent.iterdir()]
