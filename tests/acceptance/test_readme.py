"""The README's commands and code, run as they stand there."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    """Return the contents of all code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands(*, with_config: bool) -> list[list[str]]:
    """Return the `stackwatch` commands, those of the service or the others, split into words."""
    lines = [line[2:] for block in blocks("console") for line in block.splitlines()]
    found = [shlex.split(line) for line in lines if line.startswith("stackwatch ")]
    return [words for words in found if ("--config" in words) is with_config]


def environment() -> dict[str, str]:
    """Return an environment in which the installed command is found, as after activation."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder and fail with its output if it fails."""
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the acquisition the README speaks of."""
    layer = SyntheticLayer(shape_zyx=(5, 70, 90), content="em")
    SyntheticAcquisition((layer,)).write(tmp_path / "run_041")
    (tmp_path / "datasets").mkdir()
    return tmp_path


def test_first_dataset_commands_work(folder: Path) -> None:
    """The commands of the first five minutes make a dataset, in the order they are written."""
    first = commands(with_config=False)
    for words in first:
        run(words, folder)

    assert ["inspect", "convert", "verify"] == [words[1] for words in first]
    assert (folder / "datasets/run_041/datasource-properties.json").is_file()


def test_python_example_works(folder: Path) -> None:
    """The Python example runs and prints the layer it promises."""
    (example,) = blocks("python")
    done = run([sys.executable, "-c", example], folder)

    assert "color uint8 1 2-2-1 4-4-2" == done.stdout.strip()


def test_service_commands_work(folder: Path) -> None:
    """The configuration is valid, and the service's commands answer while the service runs."""
    (configuration,) = blocks("toml")
    for place in ("/var/lib/stackwatch", "/drop/em2", "/data/webknossos/lab"):
        assert place in configuration
        here = folder / place.strip("/")
        here.mkdir(parents=True)
        configuration = configuration.replace(f'"{place}"', f'"{here}"')
    (folder / "stackwatch.toml").write_text(configuration)
    service = [words for words in commands(with_config=True) if words[1] == "run"]
    others = [words for words in commands(with_config=True) if words[1] != "run"]

    daemon = subprocess.Popen(
        service[0],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with daemon:
        assert daemon.stdout is not None
        # the pipe ends if the daemon does, so this loop ends in every case
        started = any("daemon.started" in line for line in daemon.stdout)
        for words in others:
            run(words, folder)
        daemon.send_signal(signal.SIGTERM)
        daemon.stdout.read()

    assert started
    assert 1 == len(service)
    assert 0 == daemon.wait()
