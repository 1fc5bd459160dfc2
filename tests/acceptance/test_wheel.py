"""The wheel holds everything the installed command needs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from this tree, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Every file below src/stackwatch is in the wheel: SQL, type marker, all modules."""
    package = ROOT / "src/stackwatch"
    wanted = {
        path.relative_to(ROOT / "src").as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("stackwatch/")}

    assert wanted == held


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    """Tests, benchmarks and documents are not installed."""
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert {"stackwatch", f"{wheel.name.rsplit('-', 3)[0]}.dist-info"} == tops


def test_command_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, with the checkout out of reach, the command answers."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = (
        "import stackwatch, runpy, sys\n"
        "sys.stderr.write(stackwatch.__file__)\n"
        "sys.argv = ['stackwatch', '--version']\n"
        "runpy.run_module('stackwatch', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, str(tmp_path / "stackwatch/__init__.py")) == (done.returncode, done.stderr)
    assert wheel.name.split("-")[1] in done.stdout
