"""DM3 and DM4 as rosettasciio reads them, in the peer's environment: every voxel, every edge."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stackwatch.readers.probe import open_image
from stackwatch.readers.scale import length_nm
from stackwatch.testing.patterns import coordinate_stack
from stackwatch.testing.volumes import write_dm
from tests.parity.sample_table import SAMPLES, digest_of

ROOT = Path(__file__).resolve().parents[2]
JUDGE = Path(__file__).with_name("peer_dm.py")
pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def judge_python() -> Path:
    """Return a Python that has rosettasciio, or skip by name."""
    python = Path(os.environ.get("INTEROP_PYTHON", ROOT / ".venv-interop/bin/python"))
    if not python.exists():
        pytest.skip(f"no peer at {python}: `make interop` sets it up")
    command = [str(python), "-c", "import rsciio"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has no rosettasciio: `make interop` sets it up")
    return python


def judged(
    python: Path, folder: Path, files: list[Path]
) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Return voxels and axes of each file as rosettasciio reads them."""
    folder.mkdir()
    command = [str(part) for part in (python, JUDGE, folder, *files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [(np.load(folder / f"{i}.npy"), line) for i, line in enumerate(lines)]


def ensure_equal(path: Path, expected: np.ndarray, axes: list[list[Any]]) -> None:
    """Compare one file, as our reader has it, with its judgement."""
    with path.open("rb") as file:
        reader = open_image(file, path.name)
        info = reader.info
        found = np.stack([reader.read_plane(0, 0, z, (0, info.size_y)) for z in range(info.size_z)])
        reader.close()
    if info.pixels.kind == "rgb":
        expected = expected[..., :3]
    np.testing.assert_array_equal(expected.reshape(found.shape), found, str(path))
    for name, scale, unit in axes:
        expected_nm, edge_nm = length_nm(scale, unit), getattr(info.voxel_size_nm, name)
        assert (expected_nm is None) == (edge_nm is None), (path.name, name)
        assert pytest.approx(expected_nm or 0, rel=1e-6) == (edge_nm or 0), (path.name, name)


@pytest.mark.samples
def test_real_files(judge_python: Path, samples: Path, tmp_path: Path) -> None:
    """Every real file is equal in voxels and calibration, and the table has what the judge says."""
    recorded = {name: one.recorded for name, one in SAMPLES.items() if one.recorded is not None}
    files = [samples / name for name in recorded]
    assert len(files) > 10
    for told, path, (voxels, line) in zip(
        recorded.values(), files, judged(judge_python, tmp_path / "out", files), strict=True
    ):
        assert 1 == line["images"]
        ensure_equal(path, voxels, line["axes"])
        expected = voxels[..., :3] if len(told.shape_zyx) == 4 else voxels
        assert told.digest == digest_of(expected), path.name


def test_written_files(judge_python: Path, tmp_path: Path) -> None:
    """The files our tests write are DM files to others too, in both versions."""
    types = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64")
    files = [
        write_dm(
            tmp_path / f"{dtype}.dm{version}",
            coordinate_stack((3, 5, 7), dtype),
            version=version,
            calibrations=[(2.0, "nm"), (3.0, "nm"), (0.5, "µm")],
        )
        for dtype in types
        for version in (3, 4)
    ]
    for path, (voxels, line) in zip(
        files, judged(judge_python, tmp_path / "out", files), strict=True
    ):
        ensure_equal(path, voxels, line["axes"])
