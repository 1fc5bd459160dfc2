"""Files that hold more than their neighbours, in stacks too long to look at every file before."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from stackwatch.errors import MixedSlicesError
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.options import ConvertOptions, VoxelSizeOptions
from stackwatch.pipeline.convert import ConvertRequest, convert_acquisition
from stackwatch.pipeline.journal import SilentJournal


def test_a_file_with_more_pages_than_its_neighbours_is_noticed(tmp_path: Path) -> None:
    """One file of 100 holds three pages: it is named, and nothing is published."""
    folder = tmp_path / "stack"
    folder.mkdir()
    for number in range(100):
        pages = 3 if number == 74 else 1
        tifffile.imwrite(
            folder / f"img_{number:03d}.tif",
            np.ones((pages, 40, 30), np.uint8),
            photometric="minisblack",
        )
    options = ConvertOptions(voxel_size=VoxelSizeOptions(PartialVoxelSize(10, 10, 30)))

    with pytest.raises(MixedSlicesError) as caught:
        convert_acquisition(
            ConvertRequest(folder, tmp_path / "out" / "dataset", options), SilentJournal()
        )

    assert "img_074.tif" in caught.value.message
    assert [] == list((tmp_path / "out").iterdir())
