"""The service under a real systemd: started, reloaded, wedged, stopped, restarted, fenced in."""

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from stackwatch.daemon.heartbeats import PATIENCE_S
from stackwatch.journal import MESSAGE_IDS
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer
from tests.system.machine import ROOT, Machine, why_not

pytestmark = pytest.mark.system

UNIT = "stackwatch.service"
CONFIG = """
[daemon]
stop_timeout_s = 2
memory_gib = 0.5
[web]
listen = ""
[[folder]]
name = "em"
path = "/srv/drop"
target = "/srv/target"
quiet_gap_s = 0.3
scan_interval_s = 0.5
reserve_gib = 0
voxel_size_nm = [11, 11, 25]
"""
PLACES = ("PYTHONPATH=/opt/checkout/src:/opt/site-packages", "LD_LIBRARY_PATH=/opt/py/lib")
DROP_IN = f"""
[Service]
Environment={" ".join(PLACES)}
ReadWritePaths=/srv/target
RestartSec=0.2
"""
PROGRAM = """#!/bin/sh
exec /opt/py/bin/python3.11 -m stackwatch "$@"
"""
WEDGED = """
import sys, time
from stackwatch.cli.app import main
from stackwatch.daemon.service import Service
real, turns = Service._turn, iter(range(10**9))
def turn(self):
    if next(turns) > 20:
        time.sleep(1000)  # the main thread alone: all others go on
    real(self)
Service._turn = turn
sys.argv = ["stackwatch", *sys.argv[1:]]
main()
"""
PROBE = """#!/bin/sh
{
  for place in /srv/drop /srv/target /etc /opt/stackwatch /var/l*/stackwatch; do
    if touch "$place/probe" 2>/dev/null; then echo "writes $place"; fi
  done
  echo "token $(cat "$CREDENTIALS_DIRECTORY/webknossos-token" 2>/dev/null)"
  cat /etc/credstore/webknossos-token 2>/dev/null && echo "reads the token's own file"
  ls /root /home 2>/dev/null
  unshare --user true 2>/dev/null && echo "makes namespaces"
  id -un; id -Gn
} >/var/lib/stackwatch/probe.txt
"""


class Service:
    """The service on a machine of its own, put back to the beginning for each test."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def begin_anew(self) -> None:
        """Leave nothing of the test before."""
        self.machine.run("systemctl", "stop", UNIT, check=False)
        self.machine.run("systemctl", "reset-failed", UNIT, check=False)
        self.machine.run(
            "sh", "-euc",
            "umount -l /srv/share 2>/dev/null || true;"
            "rm -rf /srv /var/lib/stackwatch /etc/credstore /etc/stackwatch;"
            f"rm -rf /etc/systemd/system/{UNIT}.d;"
            "mkdir -p /srv/drop /srv/target /srv/share;"
            "systemd-tmpfiles --create stackwatch.conf; chown stackwatch: /srv/target;"
            "journalctl --rotate -q; journalctl --vacuum-size=1 -q",
        )  # fmt: skip
        self.write("/etc/stackwatch/config.toml", CONFIG)
        self.write(f"/etc/systemd/system/{UNIT}.d/test.conf", DROP_IN)

    def write(self, path: str, text: str) -> None:
        """Write a file inside, and have systemd read its units anew."""
        (self.machine.shared / "text").write_text(text, encoding="utf-8")
        self.machine.run("install", "-D", "-m", "755", "/shared/text", path)
        if path.startswith("/etc/systemd"):
            self.machine.run("systemctl", "daemon-reload")

    def read(self, path: str) -> str:
        """Return a file's text; empty if it is not there."""
        return self.machine.run("sh", "-c", f"cat {path} 2>/dev/null || true")

    def start(self) -> None:
        """Start the service and wait for READY."""
        told = self.machine.run("systemctl", "start", UNIT, check=False)
        log = self.machine.run("journalctl", "-u", UNIT, "-o", "cat", "-n", "30", "--no-pager")
        assert "active" == self.machine.show("ActiveState"), f"{told}\n{log}"

    def drop(self, name: str, *, missing: tuple[int, ...] = ()) -> None:
        """Put an acquisition into the drop folder."""
        built = self.machine.shared / name
        layer = SyntheticLayer(shape_zyx=(40, 60, 50), content="em", missing=missing)
        SyntheticAcquisition((layer,)).write(built)
        self.machine.run("cp", "-r", f"/shared/{name}", f"/srv/drop/{name}")
        shutil.rmtree(built)

    def stackwatch(self, *arguments: str) -> str:
        """Run the program as root, as an operator would, and return what it printed."""
        return self.machine.run("env", *PLACES, "/opt/stackwatch/bin/stackwatch", *arguments)

    def ask_page(self, path: str) -> str:
        """Return the status code of an answer of the page."""
        script = (
            f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:8087{path}').status)"
        )
        return self.machine.run("env", *PLACES, "/opt/py/bin/python3.11", "-c", script).strip()

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Return the journal's entries that match."""
        found = self.machine.run("journalctl", "-o", "json", "-q", "--no-pager", *matches)
        return [json.loads(line) for line in found.splitlines()]

    def wait_for(self, event: str, count: int = 1) -> None:
        """Wait until the journal has an event so often."""
        self.machine.wait_until(lambda: len(self.journal(f"STACKWATCH_EVENT={event}")) >= count)

    def status(self) -> str:
        """Return the line in `systemctl status`."""
        return self.machine.show("StatusText")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which the service is installed as this checkout has it."""
    if reason := why_not():
        pytest.skip(f"no machine of its own can be booted here: {reason}")
    shared = tmp_path_factory.mktemp("machine")
    root = shared / "root"
    for source, place in (
        (UNIT, "etc/systemd/system"),
        ("sysusers.d/stackwatch.conf", "usr/lib/sysusers.d"),
        ("tmpfiles.d/stackwatch.conf", "usr/lib/tmpfiles.d"),
    ):
        (root / place).mkdir(parents=True)
        shutil.copy(ROOT / "systemd" / source, root / place)
    program = root / "opt" / "stackwatch" / "bin" / "stackwatch"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM, encoding="utf-8")
    for path in (root, *root.rglob("*")):
        path.chmod(0o755)
    made = Machine(shared)
    try:
        made.run("systemd-sysusers")
        yield made
    finally:
        made.close()


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    """The service, not started yet."""
    made = Service(machine)
    made.begin_anew()
    yield made
    machine.run("systemctl", "stop", UNIT, check=False)


def test_it_starts_converts_and_stops(service):
    """READY, a line of status, a dataset the lab can read, entries with fields, a clean end."""
    service.start()
    assert ("active", "stackwatch") == (
        service.machine.show("ActiveState"), service.machine.show("User"),
    )  # fmt: skip
    assert "1 folders, converting 0" == service.status()
    service.drop("run_1")
    service.drop("run_2", missing=(17,))
    service.wait_for("job.succeeded")
    service.wait_for("job.parked")

    found = service.machine.run("stat", "-c", "%U %a", "/srv/target/run_1").strip()
    assert "stackwatch 750" == found
    (done,) = service.journal("STACKWATCH_EVENT=job.succeeded")
    job = done["STACKWATCH_JOB"]
    assert {"job.queued", "job.claimed", "job.succeeded"} <= {
        entry["STACKWATCH_EVENT"] for entry in service.journal(f"STACKWATCH_JOB={job}")
    }
    assert ["job.parked"] == [
        entry["STACKWATCH_EVENT"] for entry in service.journal("-u", UNIT, "-p", "err")
    ]
    (published,) = service.journal(f"MESSAGE_ID={MESSAGE_IDS['dataset.published']}")
    assert "run_1" == published["STACKWATCH_ACQUISITION"]
    assert UNIT == published["_SYSTEMD_UNIT"]

    service.machine.run("systemctl", "stop", UNIT)

    assert ("inactive", "success", "0") == (
        service.machine.show("ActiveState"), service.machine.show("Result"),
        service.machine.show("ExecMainStatus"),
    )  # fmt: skip


def test_a_reload_takes_good_settings_and_refuses_bad_ones(service):
    """The status line says which are in force; the service goes on in any case."""
    service.start()
    more = CONFIG.replace('"em"', '"tem"').replace("/srv/drop", "/srv/share")
    service.write("/etc/stackwatch/config.toml", CONFIG + more[more.index("[[folder]]") :])
    service.machine.run("systemctl", "reload", UNIT)
    service.machine.wait_until(lambda: service.status().startswith("2 folders"))
    service.write("/etc/stackwatch/config.toml", CONFIG + "colour = 1\n")
    service.machine.run("systemctl", "reload", UNIT)
    service.machine.wait_until(lambda: "refused" in service.status())

    assert service.status().startswith("2 folders")
    assert "active" == service.machine.show("ActiveState")
    (refused,) = service.journal("-p", "err", "STACKWATCH_EVENT=settings.refused")
    assert "colour" in refused["MESSAGE"]


def test_a_wedged_service_is_ended_with_its_stacks_and_started_afresh(service):
    """The main thread hangs while others go on: SIGABRT, the stacks in the journal, a new start."""
    service.write("/opt/wedged.py", WEDGED)
    start = "/opt/py/bin/python3.11 /opt/wedged.py run --config /etc/stackwatch/config.toml"
    service.write(
        f"/etc/systemd/system/{UNIT}.d/wedged.conf",
        f"[Service]\nWatchdogSec=2\nExecStart=\nExecStart={start}\n",
    )
    service.start()
    service.machine.wait_until(lambda: service.machine.show("NRestarts") != "0")
    log = "\n".join(str(entry["MESSAGE"]) for entry in service.journal("-u", UNIT))

    assert re.search(r"Watchdog timeout \(limit 2s\)", log)
    assert "Current thread" in log or "Thread 0x" in log
    assert "wedged.py" in log


def test_a_living_service_outlasts_its_watchdog(service):
    """With a limit of 2 s it is still the same process after 5 s, and while it converts."""
    service.write(f"/etc/systemd/system/{UNIT}.d/dog.conf", "[Service]\nWatchdogSec=2\n")
    service.start()
    pid = service.machine.show("MainPID")
    service.drop("run_1")
    service.wait_for("job.succeeded")
    service.machine.run("sleep", "5")

    assert ("active", pid) == (
        service.machine.show("ActiveState"), service.machine.show("MainPID"),
    )  # fmt: skip


def test_a_share_that_hangs_does_not_end_the_service(service):
    """A scan that neither ends nor can be told anything is no part of ours: all others go on."""
    service.write(f"/etc/systemd/system/{UNIT}.d/dog.conf", "[Service]\nWatchdogSec=2\n")
    service.start()
    pid = service.machine.show("MainPID")
    service.machine.run("pkill", "-STOP", "-f", "stackwatch.daemon.scan_main")
    service.machine.run("sleep", str(PATIENCE_S + 5))

    assert pid == service.machine.show("MainPID")
    assert [] == service.journal("STACKWATCH_EVENT=part.stopped")


def test_a_stop_in_the_middle_of_a_conversion_loses_nothing(service):
    """A worker that hangs is ended after `stop_timeout_s`; the next start converts again."""
    freeze = "Environment=STACKWATCH_FAILPOINT=convert.slab_written:1:freeze"
    service.write(f"/etc/systemd/system/{UNIT}.d/freeze.conf", f"[Service]\n{freeze}\n")
    service.start()
    service.drop("run_1")
    service.wait_for("job.claimed")
    frozen = ("pgrep", "-r", "T", "-f", "stackwatch.daemon.worker_main")
    service.machine.wait_until(lambda: service.machine.run(*frozen, check=False) != "")
    assert "1 folders, converting 1" == service.status()
    service.machine.run("systemctl", "stop", UNIT)
    assert "success" == service.machine.show("Result")
    assert "" == service.read("/srv/target/run_1/datasource-properties.json")
    service.machine.run("rm", f"/etc/systemd/system/{UNIT}.d/freeze.conf")
    service.machine.run("systemctl", "daemon-reload")
    service.start()
    service.wait_for("job.succeeded")

    assert "run_1" in service.read("/srv/target/run_1/datasource-properties.json")


def test_a_killed_service_comes_back(service):
    """SIGKILL of the main process: started again, and at work."""
    service.start()
    service.machine.run("systemctl", "kill", "-s", "KILL", "--kill-who=main", UNIT)
    service.machine.wait_until(lambda: service.machine.show("NRestarts") == "1")
    service.machine.wait_until(lambda: service.machine.show("ActiveState") == "active")
    service.drop("run_1")
    service.wait_for("job.succeeded")


def test_bad_settings_are_told_and_not_tried_again(service):
    """Exit code 78: failed at once, no restart, and the journal names the mistake."""
    service.write("/etc/stackwatch/config.toml", CONFIG.replace("quiet_gap_s", "quiet_gap"))
    service.machine.run("systemctl", "start", UNIT, check=False)
    service.machine.run("sleep", "1")

    assert ("failed", "78", "0") == tuple(
        service.machine.show(name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")
    )
    log = "\n".join(str(entry["MESSAGE"]) for entry in service.journal("-u", UNIT))
    assert "folder[0].quiet_gap" in log


@pytest.mark.parametrize("has_token", [True, False])
def test_it_may_touch_what_it_needs_and_nothing_else(service, has_token):
    """The drop folder is read-only, the token comes as a credential, and is no condition."""
    service.write("/opt/probe.sh", PROBE)
    service.write(
        f"/etc/systemd/system/{UNIT}.d/probe.conf",
        "[Service]\nExecStartPre=/opt/probe.sh\nSupplementaryGroups=games\n",
    )
    if has_token:
        service.machine.run("chmod", "777", "/srv/drop")
        service.write("/etc/credstore/webknossos-token", "secret")
        service.machine.run("chmod", "600", "/etc/credstore/webknossos-token")
    service.start()
    found = service.read("/var/lib/stackwatch/probe.txt").split("\n")

    assert [
        "writes /srv/target",
        "writes /var/lib/stackwatch",
        "writes /var/log/stackwatch",
        "token secret" if has_token else "token ",
        "stackwatch",
        "stackwatch nogroup",  # the group counts, though it has no name inside
        "",
    ] == found


def test_the_commands_for_people_work_beside_it(service):
    """`selftest` through the deployed folder, `logs` from the real journal, `top`, the page."""
    page = CONFIG.replace('listen = ""', 'listen = "127.0.0.1:8087"')
    service.write("/etc/stackwatch/config.toml", page)
    service.start()
    assert "200" == service.ask_page("/healthz")
    tested = service.stackwatch("selftest", "--json")
    assert [] == json.loads(tested)["problems"]
    assert "succeeded" == json.loads(tested)["status"]
    assert "" == service.machine.run("ls", "-A", "/srv/drop")
    job = json.loads(tested)["job_id"]
    found = json.loads(service.stackwatch("logs", "--job", str(job), "--json"))
    events = [line["event"] for line in found["lines"]]

    assert "journal" == found["source"]
    assert ["job.queued", "job.claimed"] == events[:2]
    assert {"dataset.published", "job.succeeded"} <= set(events)
    assert "Started stackwatch.service" in service.stackwatch("logs", "-n", "100")
    assert "" == service.stackwatch("logs", "--level", "error", "-n", "0", "--raw")
    assert "running" in service.stackwatch("top")
    assert "daemon running" in service.stackwatch("status")


def test_a_share_that_is_mounted_later_is_seen(service):
    """Mounted while the service runs, below a path it already watches."""
    config = CONFIG.replace("/srv/drop", "/srv/share/drop")
    service.write("/etc/stackwatch/config.toml", config)
    service.start()
    assert "unavailable: em" in service.status()
    service.machine.run("mount", "-t", "tmpfs", "tmpfs", "/srv/share")
    service.machine.run("mkdir", "/srv/share/drop")
    service.drop("run_1")
    service.machine.run("cp", "-r", "/srv/drop/run_1", "/srv/share/drop/run_1")
    service.wait_for("job.succeeded")

    assert "unavailable" not in service.status()
