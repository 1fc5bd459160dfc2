"""Ours and the peer's conversion of the same stacks, compared by the webknossos library itself.

`make interop` runs this; the library lives in an environment of its own and is only ever called as
another program. `INTEROP_PYTHON` names that environment's Python where it is not `.venv-interop`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer, write_sequence

ROOT = Path(__file__).resolve().parents[2]
COMPARE = Path(__file__).with_name("peer_compare.py")
STACKWATCH = Path(sys.executable).with_name("stackwatch")

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]


@dataclass(frozen=True, slots=True)
class Case:
    """One stack that both sides convert; `lowered_by` brings values below zero."""

    layer: SyntheticLayer
    voxel_size_nm: str = "11.24,11.24,25"
    name: str = "color"
    lowered_by: int = 0

    def slices(self) -> list[NDArray[Any]]:
        """Return the slices of the stack."""
        return [plane - plane.dtype.type(self.lowered_by) for plane in self.layer.iter_slices()]


CASES = {
    "odd uint8": Case(SyntheticLayer(shape_zyx=(61, 265, 257), content="em")),
    "thin uint16": Case(SyntheticLayer(shape_zyx=(3, 7, 13), dtype="uint16")),
    "int16 with negatives": Case(
        SyntheticLayer(shape_zyx=(5, 71, 130), dtype="int16"), lowered_by=1000
    ),
    "float32": Case(SyntheticLayer(shape_zyx=(9, 64, 101), dtype="float32")),
    # the peer makes three grey layers of a folder of RGB TIFFs, one RGB layer of a folder of PNGs
    "RGB": Case(SyntheticLayer(shape_zyx=(6, 45, 70), samples=3, pattern="slice_{z:04d}.png")),
    "one slice": Case(SyntheticLayer(shape_zyx=(1, 203, 150), content="em")),
    "segmentation, anisotropic": Case(
        SyntheticLayer(shape_zyx=(70, 129, 201), dtype="uint32", content="labels"),
        voxel_size_nm="4,4,40",
        name="segmentation",
    ),
    "coarse in plane": Case(
        SyntheticLayer(shape_zyx=(67, 50, 61), dtype="uint16", content="light-sheet"),
        voxel_size_nm="100,100,20",
    ),
}


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """Return the Python of the peer's environment, or skip by name."""
    python = Path(os.environ.get("INTEROP_PYTHON", ROOT / ".venv-interop/bin/python"))
    if not python.exists():
        pytest.skip(f"no peer at {python}: `make interop` sets it up")
    return python


def run(*command: str | Path) -> str:
    """Run a program and return what it prints; its error output is shown if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    told = f"{command[1:3]}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, told
    return done.stdout


def write_source(folder: Path, slices: Iterable[NDArray[Any]], name: str) -> None:
    """Write a layer's voxels as `<name>.npy`, axes c, x, y, z."""
    folder.mkdir(exist_ok=True)
    stack = np.stack(list(slices))
    if stack.ndim == 3:
        stack = stack[..., None]
    np.save(folder / f"{name}.npy", stack.transpose(3, 2, 1, 0))


def compare(python: Path, ours: Path, peer: Path | str, sources: Path) -> list[str]:
    """Return the differences that the peer's library finds."""
    answer = json.loads(run(python, COMPARE, ours, peer, sources).splitlines()[-1])
    assert len(answer["compared"]) > 2
    differences: list[str] = answer["differences"]
    return differences


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_mag_equals_the_peers(peer_python: Path, tmp_path: Path, case: Case) -> None:
    """Voxels of every mag, boxes, types and categories are those of the peer's own conversion."""
    source, ours, peer = (tmp_path / name for name in ("stack", "ours", "peer"))
    write_sequence(source, case.slices(), case.layer.pattern)
    write_source(tmp_path / "sources", case.slices(), case.name)
    category = ("--category", case.name)
    run(STACKWATCH, "convert", source, ours, "--voxel-size-nm", case.voxel_size_nm, *category)
    webknossos = peer_python.with_name("webknossos")
    peer_options = ("--voxel-size", case.voxel_size_nm, "--layer-name", case.name, *category)
    run(webknossos, "convert", source, peer, *peer_options)

    assert [] == compare(peer_python, ours, peer, tmp_path / "sources")
    run(webknossos, "check-equality", peer, ours)


@pytest.mark.parametrize("name", ["odd uint8", "RGB", "one slice", "segmentation, anisotropic"])
def test_every_mag_of_wkw_equals_the_peers(peer_python: Path, tmp_path: Path, name: str) -> None:
    """The same as WKW: the peer opens it, and its own WKW conversion holds the same voxels."""
    case = CASES[name]
    source, ours, peer = (tmp_path / name for name in ("stack", "ours", "peer"))
    write_sequence(source, case.slices(), case.layer.pattern)
    write_source(tmp_path / "sources", case.slices(), case.name)
    category = ("--category", case.name)
    size = case.voxel_size_nm
    run(STACKWATCH, "convert", source, ours, "--voxel-size-nm", size, "--format", "wkw", *category)
    webknossos = peer_python.with_name("webknossos")
    peer_options = ("--voxel-size", size, "--layer-name", case.name, "--data-format", "wkw")
    run(webknossos, "convert", source, peer, *peer_options, *category)

    assert [] == compare(peer_python, ours, peer, tmp_path / "sources")
    run(webknossos, "check-equality", peer, ours)


def test_layers_in_subfolders_open(peer_python: Path, tmp_path: Path) -> None:
    """A dataset of two layers opens in the library with the voxels of the source."""
    layers = {
        "color": SyntheticLayer("color", (10, 41, 63)),
        "segmentation": SyntheticLayer("segmentation", (10, 41, 63), "uint16", content="labels"),
    }
    source, ours = tmp_path / "stack", tmp_path / "ours"
    SyntheticAcquisition(layers=tuple(layers.values())).write(source)
    for name, layer in layers.items():
        write_source(tmp_path / "sources", layer.iter_slices(), name)
    run(STACKWATCH, "convert", source, ours, "--voxel-size-nm", "8,8,30")

    assert [] == compare(peer_python, ours, "-", tmp_path / "sources")
