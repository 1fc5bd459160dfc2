"""Real CZI files: every voxel of every scene, as czifile reads it, is in the dataset."""

import xml.etree.ElementTree as ET
from pathlib import Path

import czifile
import numpy as np
import pytest
import zarr

import stackwatch
from stackwatch.readers.probe import probe_image
from tests.parity.judges import czi
from tests.parity.sample_table import SAMPLES

pytestmark = [pytest.mark.samples, pytest.mark.timeout(240)]

SCENES = {
    name.removeprefix("czi/"): list(sample.scenes)
    for name, sample in SAMPLES.items()
    if name.startswith("czi/")
}
"""The samples, with the names of their scenes."""


@pytest.mark.parametrize("name", SCENES)
def test_channels(name, samples):
    """Channels are those of the XML as czifile gives it out."""
    path = samples / "czi" / name
    with czifile.CziFile(str(path)) as judge:
        root = ET.fromstring(judge.metadata())
    with path.open("rb") as file:
        info = probe_image(file, path.name)
    channels = root.findall("Metadata/Information/Image/Dimensions/Channels/Channel")

    assert [channel.get("Name") for channel in channels] == [one.name for one in info.channels]


@pytest.mark.parametrize("name", SCENES)
def test_converted(name, samples, tmp_path):
    """Each scene becomes a dataset with every voxel, whatever its channels and times."""
    path = samples / "czi" / name
    target = tmp_path / "dataset"
    stackwatch.convert(path, target, voxel_size_nm=(100, 100, 100), threads=2)
    many = len(SCENES[name]) > 1
    words = [word or str(at) for at, word in enumerate(SCENES[name], 1)] if many else [""]

    for scene, word in enumerate(words):
        dataset = target.with_name(f"{target.name}_{word}") if many else target
        expected, _ = czi(path, scene)
        layers = sorted(one.name for one in dataset.iterdir() if (one / "1").is_dir())
        with path.open("rb") as file:
            names = [one.name.replace(" ", "_") for one in probe_image(file, "a.czi").channels]
        found = [stored(dataset / layer / "1") for layer in in_order(layers, names)]
        if expected.ndim == 5:
            expected = expected[..., None]
        np.testing.assert_array_equal(expected, np.stack(found, axis=1))


def in_order(layers: list[str], names: list[str]) -> list[str]:
    """Return layers in the order of the channels they are named after, as far as they are."""
    return sorted(layers, key=lambda layer: names.index(layer) if layer in names else 0)


def stored(mag: Path) -> np.ndarray:
    """Return the voxels of a layer, axes t, z, y, x, samples."""
    voxels = np.asarray(zarr.open_array(mag, mode="r"))
    timed = voxels if voxels.ndim == 5 else voxels[None]
    # WEBKNOSSOS has c, x, y, z, and t in front of them
    return np.moveaxis(timed, (0, 4, 3, 2, 1), (0, 1, 2, 3, 4))
