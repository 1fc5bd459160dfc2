"""Write the pinned requirements: every package, its version, the hash of its file.

Run it with the project's own Python (`.venv/bin/python requirements/lock.py`) after a change of
the dependencies in `pyproject.toml`. Versions that still fit are kept; `--upgrade` looks for the
newest. pip resolves with whatever package index it is set to; only names, versions and hashes
are written, never an address.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PYPROJECT = HERE.parent / "pyproject.toml"

HEADER = """\
# {title}
# Written by requirements/lock.py for {target}; do not edit.
"""


def expand_group(groups: dict[str, list[Any]], name: str) -> list[str]:
    """Return the requirements of a dependency group, included groups expanded.

    Parameters
    ----------
    groups : dict
        The table `dependency-groups` of pyproject.toml.
    name : str
        The group wanted.
    """
    found: list[str] = []
    for entry in groups[name]:
        if isinstance(entry, str):
            found.append(entry)
        else:
            found.extend(expand_group(groups, entry["include-group"]))
    return found


def parse_pins(text: str) -> dict[str, str]:
    """Return name and version of every pin in a requirements file."""
    lines = (line.split("\\")[0].strip() for line in text.splitlines())
    pairs = (line.partition("==") for line in lines if not line.startswith("#"))
    return {name: version for name, equals, version in pairs if equals}


def resolve(wanted: list[str], kept: dict[str, str]) -> tuple[list[dict[str, Any]], str]:
    """Ask pip which files it would install.

    Parameters
    ----------
    wanted : list of str
        Requirements.
    kept : dict
        Versions to keep where they are needed at all.

    Returns
    -------
    list of dict, str
        pip's own description of each file, and for what interpreter and machine they are.
    """
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in kept.items()))
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--prefer-binary", "--report", str(report)]
        subprocess.run([*command, "-c", str(constraints), *wanted], check=True)
        answer = json.loads(report.read_text())
    machine = answer["environment"]
    target = (
        f"CPython {machine['python_version']}, "
        f"{machine['platform_system']} {machine['platform_machine']}"
    )
    return answer["install"], target


def render(title: str, target: str, files: list[dict[str, Any]]) -> str:
    """Return the text of a requirements file, sorted by name."""
    pins = []
    for file in files:
        name = file["metadata"]["name"].lower().replace("_", "-")
        digest = file["download_info"]["archive_info"]["hashes"]["sha256"]
        pins.append(f"{name}=={file['metadata']['version']} \\\n    --hash=sha256:{digest}\n")
    return HEADER.format(title=title, target=target) + "".join(sorted(pins))


def write_lock(name: str, title: str, wanted: list[str], kept: dict[str, str]) -> dict[str, str]:
    """Resolve one set, write its file, and return its pins."""
    files, target = resolve(wanted, kept)
    text = render(title, target, files)
    (HERE / name).write_text(text)
    pins = parse_pins(text)
    print(f"requirements/{name}: {len(pins)} packages")
    return pins


def load_pins(name: str) -> dict[str, str]:
    """Return the pins of a file that may not exist yet."""
    path = HERE / name
    return parse_pins(path.read_text()) if path.exists() else {}


def main() -> None:
    """Write all requirements files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="do not keep the present versions")
    parser.add_argument("--interop", action="store_true", help="resolve the peer's set as well")
    choice = parser.parse_args()

    project = tomllib.loads(PYPROJECT.read_text())
    runtime = project["project"]["dependencies"]
    groups = project["dependency-groups"]
    dev = runtime + expand_group(groups, "dev") + project["build-system"]["requires"]

    pins = write_lock(
        "dev.txt",
        "Everything to run, build, check and test stackwatch.",
        dev,
        {} if choice.upgrade else load_pins("dev.txt"),
    )
    write_lock("run.txt", "What stackwatch needs to run, and nothing else.", runtime, pins)
    if choice.interop:
        write_lock(
            "interop.txt",
            "The peer: the webknossos library, for `make interop` and `make bench` only.",
            expand_group(groups, "interop"),
            {} if choice.upgrade else load_pins("interop.txt"),
        )


if __name__ == "__main__":
    main()
