"""Volume files become datasets, alone and together, with the voxels other libraries find."""

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

import stackwatch
from stackwatch.errors import MixedSlicesError, UnsupportedVoxelTypeError
from stackwatch.testing.patterns import coordinate_slice, coordinate_stack
from stackwatch.testing.volumes import write_dm, write_mrc, write_nifti
from tests.parity.sample_table import SAMPLES as ALL_SAMPLES

pytestmark = pytest.mark.timeout(240)


SAMPLES = [name for name in ALL_SAMPLES if name.startswith(("mrc/", "nifti/"))]


@pytest.mark.samples
@pytest.mark.parametrize("name", SAMPLES)
def test_converted(name, samples, tmp_path):
    """Every voxel of mag 1 is the library's, times along t, and no voxel size has to be given."""
    judge = ALL_SAMPLES[name].judge
    assert judge is not None
    expected = judge(samples / name, 0)[0][:, 0]

    stackwatch.convert(samples / name, tmp_path / "dataset", layer_name="color", threads=2)

    found = mag_1(tmp_path / "dataset")
    np.testing.assert_array_equal(expected if found.ndim == 4 else expected[0], found)


def test_slope_is_kept_beside_the_dataset(tmp_path):
    """What a NIfTI's values stand for goes into the manifest, and into a warning."""
    path = write_nifti(tmp_path / "a.nii", np.ones((3, 40, 50), np.int16), scale=(0.5, -3.0))

    answer = stackwatch.convert(path, tmp_path / "dataset", layer_name="t1")

    manifest = (tmp_path / "dataset/stackwatch.json").read_text()
    assert '"value_scales"' in manifest
    assert '"intercept": -3.0' in manifest
    assert any("0.5 x value - 3" in warning for warning in answer.warnings)


def mag_1(dataset: Path, layer: str = "color") -> np.ndarray:
    """Return the voxels of a layer of one channel, axes (t,) z, y, x."""
    stored = np.asarray(zarr.open_array(dataset / layer / "1", mode="r"))
    return np.moveaxis(stored[..., 0, :, :, :], (-3, -1), (-1, -3))


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        (".dm3", write_dm),
        (".dm4", lambda path, plane: write_dm(path, plane, version=4, order=">")),
        (".mrc", lambda path, plane: write_mrc(path, plane[None])),
        (".nii.gz", lambda path, plane: gzipped_nifti(path, plane)),
    ],
)
def test_sequence(suffix, write, tmp_path):
    """Numbered files of one slice each are the slices of one layer."""
    stack = coordinate_stack((5, 33, 41), "int16")
    for z, plane in enumerate(stack):
        write(tmp_path / "run" / f"slice_{z + 8}{suffix}", plane)

    stackwatch.convert(tmp_path / "run", tmp_path / "dataset", voxel_size_nm=(4, 4, 30))

    np.testing.assert_array_equal(stack, mag_1(tmp_path / "dataset"))


def test_parts_continue_each_other(tmp_path):
    """Volumes that count parts follow each other in z."""
    stack = coordinate_stack((9, 20, 30), "float32")
    for part in range(3):
        write_mrc(tmp_path / "run" / f"part_{part}.mrc", stack[part * 3 : part * 3 + 3])

    stackwatch.convert(tmp_path / "run", tmp_path / "dataset")

    np.testing.assert_array_equal(stack, mag_1(tmp_path / "dataset"))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_archive_of_times(suffix, tmp_path):
    """A volume with timepoints in a zip archive, read by several threads, keeps its order."""
    stack = np.stack([coordinate_stack((6, 40, 50), "uint16", t=t) for t in range(3)])
    path = tmp_path / f"scan{suffix}"
    (gzipped_nifti if suffix == ".nii.gz" else write_nifti)(path, stack)
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.write(path, path.name)

    stackwatch.convert(tmp_path / "scan.zip", tmp_path / "dataset", threads=4, memory_gib=0.5)

    np.testing.assert_array_equal(stack, mag_1(tmp_path / "dataset"))


def test_slices_of_different_scale_are_no_stack(tmp_path):
    """Stored values that stand for different ones are not put side by side."""
    for z, slope in enumerate([0.5, 0.5, 0.25]):
        picture = coordinate_slice((20, 30), z, "int16")
        write_nifti(tmp_path / "run" / f"slice_{z}.nii", picture, scale=(slope, 0.0))

    with pytest.raises(MixedSlicesError, match=r"values x 0\.25"):
        stackwatch.convert(tmp_path / "run", tmp_path / "dataset", voxel_size_nm=(4, 4, 30))


def test_half_floats_need_a_cast(tmp_path):
    """float16 has no layer type: parked, and exact as float32 where `cast` asks for it."""
    stack = coordinate_stack((3, 20, 30), "float16")
    path = write_mrc(tmp_path / "a.mrc", stack)

    with pytest.raises(UnsupportedVoxelTypeError, match="cast"):
        stackwatch.convert(path, tmp_path / "dataset")
    stackwatch.convert(path, tmp_path / "dataset", cast="float32")
    np.testing.assert_array_equal(stack.astype(np.float32), mag_1(tmp_path / "dataset"))


def gzipped_nifti(path: Path, stack: np.ndarray) -> Path:
    """Write a gzipped NIfTI."""
    plain = write_nifti(path.with_suffix(""), stack)
    path.write_bytes(gzip.compress(plain.read_bytes(), 1))
    plain.unlink()
    return path
