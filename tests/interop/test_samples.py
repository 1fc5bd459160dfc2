"""Every real file converted by the command line and opened by the webknossos library.

Type, extent, voxel size and every voxel are compared with what the reader gives, whose own judges
stand in `tests/parity`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stackwatch.model.image import ImageInfo
from stackwatch.readers.probe import open_image
from stackwatch.testing.reader_cases import read_all
from tests.parity.sample_table import SAMPLES

ROOT = Path(__file__).resolve().parents[2]
PEER = Path(__file__).with_name("peer_samples.py")
STACKWATCH = Path(sys.executable).with_name("stackwatch")
GIVEN_NM = 100.0
"""Edges along the axes of which a file says nothing."""

PARKED = 75

pytestmark = [pytest.mark.interop, pytest.mark.samples, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Image:
    """One image of a sample, as our reader has it."""

    info: ImageInfo
    voxels: NDArray[Any]

    def edges_nm(self, given: str) -> list[float]:
        """Return the voxel size its dataset has to have; a single slice is as thick as wide."""
        x, y, z = self.info.voxel_size_nm
        if self.info.size_z == 1:
            z = z or x
        words = given.split(",") if given else ["", "", ""]
        return [
            float(word) if word else edge or GIVEN_NM
            for word, edge in zip(words, (x, y, z), strict=True)
        ]

    def layers(self) -> Iterator[NDArray[Any]]:
        """Yield what its layers hold, axes t, z, y, x, and s for colours."""
        for channel in range(self.info.size_c):
            yield self.voxels[:, channel]


def images_of(path: Path, count: int) -> list[Image]:
    """Return all images of a file."""
    found = []
    for scene in range(count):
        with path.open("rb") as file:
            reader = open_image(file, path.name, scene)
            found.append(Image(reader.info, read_all(reader)))
            reader.close()
    return found


def given_edges(images: list[Image]) -> str:
    """Return the edges that have to be given, `,,100`; empty if the files say all."""
    lacks = [False] * 3
    for image in images:
        x, y, z = image.info.voxel_size_nm
        lacks[0] |= x is None
        lacks[1] |= y is None
        lacks[2] |= z is None and (image.info.size_z > 1 or x is None)
    return ",".join(f"{GIVEN_NM:g}" if one else "" for one in lacks) if any(lacks) else ""


def convert(source: Path, target: Path, edges: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [str(STACKWATCH), "convert", str(source), str(target)]
    if edges:
        command += ["--voxel-size-nm", edges]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """Return the Python of the peer's environment, or skip by name."""
    python = Path(os.environ.get("INTEROP_PYTHON", ROOT / ".venv-interop/bin/python"))
    if not python.exists():
        pytest.skip(f"no peer at {python}: `make interop` sets it up")
    return python


@pytest.fixture(scope="module")
def converted(
    samples: Path, peer_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[tuple[Image, dict[str, Any], dict[str, NDArray[Any]]]]]:
    """Return, for each sample, its images with what the library tells of their datasets."""
    folder = tmp_path_factory.mktemp("samples")
    datasets: list[Path] = []
    found: dict[str, list[tuple[Image, int]]] = {}
    for number, (name, sample) in enumerate(SAMPLES.items()):
        if sample.refused:
            continue
        images = images_of(samples / name, len(sample.images))
        target = folder / f"dataset{number}"
        done = convert(samples / name, target, given_edges(images))
        assert done.returncode == 0, (name, done.stderr)
        words = [word or str(at) for at, word in enumerate(sample.scenes, 1)]
        places = [target] if len(images) == 1 else [
            target.with_name(f"{target.name}_{word}") for word in words
        ]  # fmt: skip
        found[name] = []
        for image, place in zip(images, places, strict=True):
            found[name].append((image, len(datasets)))
            datasets.append(place)
    command = [str(part) for part in (peer_python, PEER, folder, *datasets)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    return {
        name: [
            (image, told[at], {
                layer: np.load(folder / f"{at}-{layer}.npy") for layer in told[at]["layers"]
            })
            for image, at in images
        ]
        for name, images in found.items()
    }  # fmt: skip


def as_ours(voxels: NDArray[Any], axes: list[str], channels: int) -> NDArray[Any]:
    """Return the library's voxels as axes t, z, y, x, and s for colours."""
    letters = axes if "c" in axes else ["c", *axes]
    assert len(letters) == voxels.ndim, (axes, voxels.shape)
    if "t" not in letters:
        letters, voxels = ["t", *letters], voxels[None]
    turned = voxels.transpose([letters.index(axis) for axis in "tzyxc"])
    return turned if channels > 1 else turned[..., 0]


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if not sample.refused])
def test_the_library_opens_it(name: str, converted: Any) -> None:
    """Every layer has type, extent, voxel size and voxels of one channel of the file, each once."""
    for image, told, layers in converted[name]:
        given = given_edges([one for one, _, _ in converted[name]])
        assert pytest.approx(image.edges_nm(given), rel=1e-6) == told["voxel_size_nm"]
        assert image.info.size_c == len(layers)
        wanted = list(image.layers())
        for layer, voxels in layers.items():
            fact = told["layers"][layer]
            found = as_ours(voxels, fact["axes"], fact["channels"])
            assert image.voxels.dtype.name == fact["dtype"]
            equal = [at for at, one in enumerate(wanted)
                     if one.shape == found.shape and np.array_equal(one, found)]  # fmt: skip
            assert equal, f"{layer} {found.shape} is no channel of the file {wanted[0].shape}"
            wanted.pop(equal[0])


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if sample.refused])
def test_refused(name: str, samples: Path, tmp_path: Path) -> None:
    """What no dataset can hold is parked by its name, and nothing is published."""
    done = convert(samples / name, tmp_path / "dataset", "100,100,100")

    assert done.returncode == PARKED
    assert SAMPLES[name].refused in done.stderr
    assert not (tmp_path / "dataset").exists()
