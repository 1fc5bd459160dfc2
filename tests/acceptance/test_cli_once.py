"""`stackwatch run --once` and `--dry-run`, as a cron job and a careful person call them."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from stackwatch.errors import ExitCode
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer

COMMAND = (sys.executable, "-m", "stackwatch")
DEADLINE_S = 90.0
PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")


class Lab:
    """A drop folder that waits for markers, a target, and the program."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.drop, self.out = root / "drop", root / "out"
        for folder in (self.drop, self.out):
            folder.mkdir()
        self.config = root / "config.toml"
        self.config.write_text(
            f'[daemon]\nstate_dir = "{root}/state"\n[[folder]]\nname = "em"\n'
            f'path = "{self.drop}"\ntarget = "{self.out}"\nvoxel_size_nm = [11, 11, 25]\n'
            'quiet_gap_s = 0.3\nmarker = "*.done"\nreserve_gib = 0\n',
            encoding="utf-8",
        )

    def acquire(self, name: str, missing: tuple[int, ...] = (), *, is_done: bool = True) -> Path:
        """Write an acquisition into the drop folder, with its marker or without."""
        layer = SyntheticLayer(shape_zyx=(4, 60, 80), content="em", missing=missing)
        SyntheticAcquisition((layer,)).write(self.root / name)
        if is_done:
            (self.root / name / "run.done").touch()
        return (self.root / name).rename(self.drop / name)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `stackwatch run` with these arguments."""
        return subprocess.run(
            [*COMMAND, "run", *arguments, "--config", str(self.config)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S,
            check=False,
        )  # fmt: skip

    def answer(self, *arguments: str, code: int) -> dict[str, Any]:
        """Run it with `--json` and return the document."""
        done = self.run(*arguments, "--json")
        assert code == done.returncode, done.stdout + done.stderr
        document = json.loads(done.stdout)
        assert isinstance(document, dict)
        return document

    def tree(self) -> dict[str, tuple[int, int]]:
        """Return size and time of every file and folder of the lab."""
        found = {str(path): path.lstat() for path in self.root.rglob("*")}
        return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Return a lab with nothing in its drop folder."""
    return Lab(tmp_path)


def section(heading: str) -> str:
    """Return a section of docs/json.md."""
    (found,) = [part for part in PAGE.split("\n## ") if part.startswith(heading)]
    return found


@pytest.mark.slow
@pytest.mark.system
def test_a_rehearsal_a_run_and_another_run(lab: Lab):
    """A dry run tells what a run will do and writes nothing; the run does it; nothing is twice."""
    lab.acquire("good")
    lab.acquire("gap", missing=(2,))
    waiting = lab.acquire("waiting", is_done=False)
    before = lab.tree()

    told = lab.answer("--dry-run", code=ExitCode.PARKED)

    assert before == lab.tree()
    verdicts = {one["acquisition"]: one for one in told["acquisitions"]}
    assert {"good": "convert", "gap": "park", "waiting": "not_ready"} == {
        name: one["verdict"] for name, one in verdicts.items()
    }
    assert str(lab.out / "good") == verdicts["good"]["path"]
    assert "missing_slices" == verdicts["gap"]["error_code"]
    assert "*.done" in verdicts["waiting"]["reason"]
    assert all(f"`{key}`" in section("`run --dry-run`") for one in verdicts.values() for key in one)

    done = lab.answer("--once", code=ExitCode.PARKED)

    assert ["good"] == [job["acquisition"] for job in done["succeeded"]]
    assert ["gap"] == [one["acquisition"] for one in done["parked"]]
    assert ["waiting"] == [one["acquisition"] for one in done["left"]]
    assert all(f"`{key}`" in section("`run --once`") for key in {*done} - {"schema"})
    assert (lab.out / "good" / "datasource-properties.json").is_file()

    (waiting / "run.done").touch()
    second = lab.run("--once")

    assert ExitCode.DONE == second.returncode, second.stdout + second.stderr
    lines = [json.loads(line) for line in second.stdout.splitlines()]
    (drained,) = [line for line in lines if line["event"] == "daemon.drained"]
    assert drained["message"].startswith("1 converted, 0 parked, 0 left")
    assert {".stackwatch", "good", "waiting"} >= {path.name for path in lab.out.iterdir()}

    (lab.root / "log").write_text(second.stdout, encoding="utf-8")
    replayed = subprocess.run(
        [*COMMAND, "replay", str(lab.root / "log")],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert ExitCode.DONE == replayed.returncode, replayed.stdout + replayed.stderr


def test_people_are_told_in_words(lab: Lab):
    """A dry run for people: a table, what would be made, and that nothing was written."""
    lab.acquire("good")

    done = lab.run("--dry-run")

    assert ExitCode.DONE == done.returncode, done.stdout + done.stderr
    assert "em/good      would be converted" in done.stdout
    assert "voxel size  11 × 11 × 25 nm" in done.stdout
    assert done.stdout.endswith("1 would be converted; nothing was written\n")
    assert not (lab.root / "state").exists()


@pytest.mark.system
def test_what_goes_on_changing_is_left_after_the_patience(lab: Lab):
    """--for bounds the run: what is still written to is left for the next time, exit code 1."""
    growing = lab.drop / "growing"
    growing.mkdir()
    is_over = threading.Event()

    def write() -> None:
        number = 0
        while not is_over.wait(0.05):
            (growing / f"{number}.tif").write_bytes(b"x")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done = lab.answer("--once", "--for", "1.5", code=ExitCode.FAILED)
    finally:
        is_over.set()
        writer.join()

    assert ["growing"] == [one["acquisition"] for one in done["left"]]
    assert [] == done["succeeded"]
    assert "failed" == done["status"]


def test_a_signal_ends_a_single_run_with_its_own_code(lab: Lab):
    """SIGTERM before the end is not a success: 143."""
    lab.acquire("waiting", is_done=False)
    child = subprocess.Popen(
        [*COMMAND, "run", "--once", "--config", str(lab.config), "--set",
         "folder.em.quiet_gap_s=60"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    for line in child.stdout:
        if "acquisition.seen" in line:
            break
    child.send_signal(signal.SIGTERM)
    rest, errors = child.communicate(timeout=DEADLINE_S)

    assert ExitCode.TERMINATED == child.returncode, rest + errors
    assert "daemon.drained" not in rest


@pytest.mark.system
def test_a_daemon_on_the_same_ledger_is_not_disturbed(lab: Lab):
    """A single run beside the service is refused with 69; a rehearsal reads along."""
    service = subprocess.Popen(
        [*COMMAND, "run", "--config", str(lab.config)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert service.stdout is not None
        lab.acquire("good")
        for line in service.stdout:
            if "job.succeeded" in line:
                break
        refused = lab.run("--once")
        told = lab.answer("--dry-run", code=ExitCode.DONE)
    finally:
        service.terminate()
        service.communicate(timeout=DEADLINE_S)

    assert ExitCode.UNAVAILABLE == refused.returncode
    assert f"pid {service.pid}" in refused.stderr
    assert ["published"] == [one["verdict"] for one in told["acquisitions"]]


@pytest.mark.system
def test_bad_settings_end_with_78_and_all_problems(lab: Lab):
    """C15: a start with bad settings names every mistake, and systemd must not try again."""
    lab.config.write_text(
        lab.config.read_text() + 'on_change = "maybe"\nquiet_gapp_s = 3\n[daemonn]\n'
    )
    for arguments in ((), ("--once",), ("--dry-run",)):
        done = lab.run(*arguments)

        assert ExitCode.CONFIG == done.returncode
        for phrase in ("on_change must be", "did you mean quiet_gap_s", "daemonn"):
            assert phrase in done.stderr
        assert "" == done.stdout
    unit = (Path(__file__).parents[2] / "systemd" / "stackwatch.service").read_text()
    (line,) = [line for line in unit.splitlines() if line.startswith("RestartPreventExitStatus=")]
    assert str(ExitCode.CONFIG) in line.partition("=")[2].split()


@pytest.mark.slow
@pytest.mark.system
def test_the_running_service_is_told_of_new_settings(lab: Lab):
    """C14: `config reload` answers with what changes, or with every mistake; alone with 69."""
    good = lab.config.read_text()
    command = [*COMMAND, "config", "reload", "--json", "--config", str(lab.config)]

    def reload() -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        return done.returncode, json.loads(done.stdout)

    (lab.root / "state").mkdir()
    assert ExitCode.UNAVAILABLE == reload()[0]
    service = subprocess.Popen(
        [*COMMAND, "run", "--config", str(lab.config)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert service.stdout is not None
        for line in service.stdout:
            if "watch.started" in line:
                break
        lab.config.write_text(good + "quiet_gapp_s = 3\nworkers = 3\n")
        code, answer = reload()
        assert (ExitCode.CONFIG, 2) == (code, len(answer["values"]["problems"]))

        (lab.root / "more").mkdir()
        more = f'[[folder]]\nname = "more"\npath = "{lab.root}/more"\ntarget = "{lab.out}"\n'
        lab.config.write_text(good.replace("quiet_gap_s = 0.3", "quiet_gap_s = 0.4") + more)
        code, answer = reload()
        assert (0, ["more"], ["em"]) == (code, answer["added"], answer["changed"])
        assert all(f"`{key}`" in section("`config reload`") for key in {*answer} - {"schema"})
    finally:
        service.terminate()
        service.communicate(timeout=DEADLINE_S)
    assert ExitCode.DONE == service.returncode
