"""Every real file against another library: each voxel, the voxel size, the names of its images."""

from pathlib import Path

import numpy as np
import pytest

from stackwatch.errors import UnsupportedFormatError
from stackwatch.readers.probe import open_image, probe_image
from stackwatch.testing.reader_cases import read_all
from tests.parity.judges import is_same
from tests.parity.sample_table import IMAGES, SAMPLES, digest_of

pytestmark = pytest.mark.samples

REFUSED = [name for name, sample in SAMPLES.items() if sample.refused]


def test_every_file_is_in_the_table(samples: Path) -> None:
    """A file beside the table, or one of the table that is gone, fails."""
    there = {
        path.relative_to(samples).as_posix()
        for path in samples.rglob("*")
        if path.is_file() and path.suffix != ".md"
    }

    assert set(SAMPLES) == there


@pytest.mark.parametrize(("name", "scene"), IMAGES)
def test_voxels(name: str, scene: int, samples: Path) -> None:
    """Each voxel, the type and the voxel size are those that another library reads."""
    sample, path = SAMPLES[name], samples / name
    with path.open("rb") as file:
        reader = open_image(file, path.name, scene)
        info, found = reader.info, read_all(reader)
        reader.close()

    assert sample.scenes == info.scenes
    if sample.recorded is not None:
        told = sample.recorded
        assert (told.shape_zyx, told.dtype) == (found[0, 0].shape, found.dtype.name)
        assert told.digest == digest_of(found)
        edges = told.edges
    else:
        assert sample.judge is not None
        expected, edges = sample.judge(path, scene)
        np.testing.assert_array_equal(expected, found, strict=True)
    for axis, (told_edge, ours) in enumerate(zip(edges, info.voxel_size_nm, strict=True)):
        if axis in sample.not_taken:
            assert told_edge is not None
            assert ours is None
        else:
            assert is_same(told_edge, ours), (axis, told_edge, ours)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, samples: Path) -> None:
    """What no dataset can hold is refused by its name."""
    path = samples / name
    with path.open("rb") as file, pytest.raises(UnsupportedFormatError) as caught:
        probe_image(file, path.name)

    assert SAMPLES[name].refused in caught.value.message
