"""Real volume files become datasets with the voxels that other libraries find in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import nibabel
import numpy as np
import pytest
import zarr

import stackwatch
from stackwatch.testing.volumes import write_nifti

pytestmark = pytest.mark.timeout(240)


def mrc_zyx(path: Path) -> np.ndarray:
    """Return the voxels of a map as mrcfile reads them, axes z, y, x."""
    with mrcfile.open(path, permissive=True) as judge:
        header = judge.header
        stored = [int(header.maps), int(header.mapr), int(header.mapc)]
        voxels: np.ndarray = judge.data.transpose([stored.index(axis) for axis in (3, 2, 1)]).copy()
    return voxels


def nifti_tzyx(path: Path) -> np.ndarray:
    """Return the unscaled voxels of a NIfTI as nibabel reads them."""
    image: Any = nibabel.load(path)
    voxels: np.ndarray = np.asanyarray(image.dataobj.get_unscaled()).T
    return voxels


SAMPLES: dict[str, Callable[[Path], np.ndarray]] = {
    "mrc/bsd-mrcfile/EMD-3001.map": mrc_zyx,
    "mrc/bsd-mrcfile/EMD-3197.map": mrc_zyx,
    "nifti/mit-nibabel/anatomical.nii": nifti_tzyx,
    "nifti/mit-nibabel/example4d.nii.gz": nifti_tzyx,
    "nifti/mit-nibabel/example_nifti2.nii.gz": nifti_tzyx,
}


@pytest.mark.samples
@pytest.mark.parametrize("name", SAMPLES)
def test_converted(name, samples, tmp_path):
    """Every voxel of mag 1 is the library's, times along t, and no voxel size has to be given."""
    expected = SAMPLES[name](samples / name)

    stackwatch.convert(samples / name, tmp_path / "dataset", layer_name="color", threads=2)

    stored = np.asarray(zarr.open_array(tmp_path / "dataset/color/1", mode="r"))
    # (t,) c, x, y, z as they are written
    found = np.moveaxis(stored[..., 0, :, :, :], (-3, -1), (-1, -3))
    np.testing.assert_array_equal(expected, found)


def test_slope_is_kept_beside_the_dataset(tmp_path):
    """What a NIfTI's values stand for goes into the manifest, and into a warning."""
    path = write_nifti(tmp_path / "a.nii", np.ones((3, 40, 50), np.int16), scale=(0.5, -3.0))

    answer = stackwatch.convert(path, tmp_path / "dataset", layer_name="t1")

    manifest = (tmp_path / "dataset/stackwatch.json").read_text()
    assert '"value_scales"' in manifest
    assert '"intercept": -3.0' in manifest
    assert any("0.5 x value - 3" in warning for warning in answer.warnings)
