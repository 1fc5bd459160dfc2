"""Texts beside single images: the voxel size they state, and what they do not."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from stackwatch.errors import ConflictingMetadataError, MissingMetadataError
from stackwatch.model.geometry import PartialVoxelSize, VoxelSize
from stackwatch.model.options import ConvertOptions, VoxelSizeOptions
from stackwatch.model.plan import DatasetPlan
from stackwatch.pipeline.opening import open_acquisition, plan_acquisition
from stackwatch.testing.instrument_folders import write_bdv_xml, write_hitachi_text

NO_SIZE = VoxelSizeOptions()
PICTURE = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)


def planned(
    source: Path, scratch: Path, voxel_size: VoxelSizeOptions = NO_SIZE
) -> list[DatasetPlan]:
    """Plan real files."""
    options = ConvertOptions(voxel_size=voxel_size)
    with open_acquisition(source, (), options, scratch) as acquisition:
        return list(plan_acquisition(acquisition))


def write_bdv(path: Path, setups: int) -> Path:
    """Write BigDataViewer's HDF5 with some view setups."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for setup in range(setups):
            cells = np.full((4, 5, 6), setup + 1, np.int16)
            file[f"t00000/s{setup:02d}/0/cells"] = cells
            file[f"s{setup:02d}/resolutions"] = np.ones((1, 3))
            file[f"s{setup:02d}/subdivisions"] = np.full((1, 3), 4)
    return path


def test_bigdataviewers_xml_gives_each_view_its_voxel_size(tmp_path: Path):
    """The XML beside the HDF5 states x, y, z with a unit, setup by setup."""
    write_bdv(tmp_path / "run/v.h5", 2)
    write_bdv_xml(tmp_path / "run/v.xml", [(0.5, 0.5, 2.0), (0.25, 0.25, 1.0)])

    one, two = planned(tmp_path / "run", tmp_path)

    assert (VoxelSize(500, 500, 2000), VoxelSize(250, 250, 1000)) == (
        one.voxel_size_nm,
        two.voxel_size_nm,
    )
    assert ("BigDataViewer XML",) * 3 == one.voxel_size_source


@pytest.mark.parametrize(
    "text", ["<SpimData>", "<other/>", "<!DOCTYPE a><SpimData></SpimData>", "", "pixel"]
)
def test_an_xml_that_is_none_of_it_is_not_used(text: str, tmp_path: Path):
    """Damage, entities, and somebody else's XML give no size: it has to be given."""
    write_bdv(tmp_path / "run/v.h5", 1)
    (tmp_path / "run/v.xml").write_text(text)

    with pytest.raises(MissingMetadataError):
        planned(tmp_path / "run", tmp_path)


def test_a_unit_that_is_no_length_gives_no_size(tmp_path: Path):
    """BigDataViewer writes `pixel` where nobody calibrated anything."""
    write_bdv(tmp_path / "run/v.h5", 1)
    write_bdv_xml(tmp_path / "run/v.xml", [(1, 1, 1)], unit="pixel")

    with pytest.raises(MissingMetadataError):
        planned(tmp_path / "run", tmp_path)


def test_hitachis_text_gives_the_pixel_of_each_picture(tmp_path: Path):
    """Nanometres; the distance of the slices is said nowhere, and the settings complete it."""
    for z in range(3):
        path = tmp_path / f"run/cut_{z}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, PICTURE, metadata=None, resolution=(5e6, 5e6), resolutionunit=3)
        write_hitachi_text(path, (16, 12), 4.961)

    (plan,) = planned(
        tmp_path / "run", tmp_path, VoxelSizeOptions(PartialVoxelSize(None, None, 50.0))
    )

    assert VoxelSize(4.961, 4.961, 50.0) == plan.voxel_size_nm
    assert ("Hitachi PixelSize", "settings") == plan.voxel_size_source[1:]


def test_pictures_of_different_pixels_are_parked(tmp_path: Path):
    """One slice at another magnification: the texts disagree, and both are named."""
    for z, pixel in enumerate((4.961, 4.961, 9.922)):
        path = tmp_path / f"cut_{z}.tif"
        tifffile.imwrite(path, PICTURE, metadata=None)
        write_hitachi_text(path, (16, 12), pixel)

    with pytest.raises(ConflictingMetadataError, match=r"cut_0\.txt.*cut_2\.txt"):
        planned(tmp_path, tmp_path, VoxelSizeOptions(PartialVoxelSize(z=50.0)))


@pytest.mark.parametrize("size", [(32, 24), (12, 16)])
def test_a_text_of_another_picture_is_not_used(size: tuple[int, int], tmp_path: Path):
    """A crop or a binned copy has other pixels; notes by the same name are no text of Hitachi's."""
    tifffile.imwrite(tmp_path / "a.tif", PICTURE, metadata=None)
    write_hitachi_text(tmp_path / "a.tif", size, 5.0)

    with pytest.raises(MissingMetadataError):
        planned(tmp_path, tmp_path)
    (tmp_path / "a.txt").write_text("PixelSize=5.0")
    with pytest.raises(MissingMetadataError):
        planned(tmp_path, tmp_path)
