"""Real CZI files: every voxel of every scene as czifile reads it, and as a dataset holds it."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import czifile
import numpy as np
import pytest
import zarr
import zstandard

import stackwatch
from stackwatch.readers.czi_planes import CziReader
from stackwatch.readers.probe import open_image, probe_image

pytestmark = [pytest.mark.samples, pytest.mark.timeout(240)]

SCENES = {
    "bsd-aicsimageio/s_1_t_1_c_1_z_1.czi": [],
    "ccby-neubias/xyz__multiple_images.czi": ["", ""],
    "gpl-aicspylibczi/RGB-multichannel.czi": ["ScanRegion0"],
    "gpl-aicspylibczi/tiles_z.czi": [],
    "gpl-czitools/CellDivision_T3_Z5_CH2_X240_Y170_comp1.czi": [""],
    "gpl-czitools/LLS7_small.czi": [],
    "gpl-czitools/S3_1Pos_2Mosaic_T1_Z1_CH1.czi": ["TR1", "P1", "TR2"],
}
"""The samples, with the names of their scenes."""

CASES = [(name, scene) for name, scenes in SCENES.items() for scene in range(len(scenes) or 1)]


def judged(path: Path, scene: int) -> np.ndarray:
    """Return a scene as czifile reads its tiles: axes t, c, z, y, x, samples (red first)."""
    with czifile.CziFile(str(path)) as judge, path.open("rb") as file:
        entries = [
            entry
            for entry in judge.filtered_subblock_directory
            if all(d.dimension != "S" or d.start == scene for d in entry.dimension_entries)
        ]
        axes: str = entries[0].axes
        first = np.min([entry.start for entry in entries], axis=0)
        last = np.max([np.add(entry.start, entry.shape) for entry in entries], axis=0)
        canvas = np.zeros(last - first, np.dtype(entries[0].dtype).base)
        for entry in sorted(entries, key=lambda entry: entry.mosaic_index or 0):
            corner = np.subtract(entry.start, first)
            place = tuple(map(slice, corner, np.add(corner, entry.shape)))
            canvas[place] = tile_of(entry, file)
    kept = [axis in "TCZYX0" for axis in axes]
    canvas = canvas.reshape([n for n, keep in zip(canvas.shape, kept, strict=True) if keep])
    axes = "".join(axis for axis, keep in zip(axes, kept, strict=True) if keep)
    for axis in set("TCZ") - set(axes):
        canvas, axes = canvas[None], axis + axes
    return canvas.transpose([axes.index(axis) for axis in "TCZYX0"])


def tile_of(entry: Any, file: Any) -> np.ndarray:
    """Return the pixels of a subblock; this czifile knows no zstd."""
    segment = entry.data_segment()
    if entry.compression != 6:
        pixels: np.ndarray = segment.data()
        return pixels
    file.seek(segment.data_offset)
    data = file.read(segment.data_size)
    values = zstandard.decompress(data[data[0] :], 10**8)
    if data[0] > 2 and data[2] & 1:
        values = np.frombuffer(values, np.uint8).reshape(2, -1).T.tobytes()
    return np.frombuffer(values, entry.dtype).reshape(entry.stored_shape)


@pytest.mark.parametrize(("name", "scene"), CASES)
def test_voxels(name, scene, samples):
    """Each plane of each scene equals what czifile reads."""
    path = samples / "czi" / name
    expected = judged(path, scene)
    with path.open("rb") as file:
        reader = open_image(file, path.name, scene)
        assert isinstance(reader, CziReader)
        info = reader.info
        found = np.stack(
            [
                reader.read_plane(t, c, z, (0, info.size_y)).copy()
                for t in range(info.size_t)
                for c in range(info.size_c)
                for z in range(info.size_z)
            ]
        )
        reader.close()

    assert expected.shape[:5] == (info.size_t, info.size_c, info.size_z, info.size_y, info.size_x)
    np.testing.assert_array_equal(expected.ravel(), found.ravel())


@pytest.mark.parametrize("name", SCENES)
def test_words(name, samples):
    """Scenes, channels and edges are those of the XML as czifile gives it out."""
    path = samples / "czi" / name
    with czifile.CziFile(str(path)) as judge:
        root = ET.fromstring(judge.metadata())
    with path.open("rb") as file:
        info = probe_image(file, path.name)
    edges = {
        item.get("Id"): float(item.findtext("Value") or 0) * 1e9
        for item in root.iter("Distance")
        if item.find("Value") is not None
    }
    channels = root.findall("Metadata/Information/Image/Dimensions/Channels/Channel")

    assert SCENES[name] == list(info.scenes)
    assert [edges.get(axis) or None for axis in "XYZ"] == [
        edge and pytest.approx(edge, rel=1e-12) for edge in info.voxel_size_nm
    ]
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
        expected = judged(path, scene)
        layers = sorted(one.name for one in dataset.iterdir() if (one / "1").is_dir())
        with path.open("rb") as file:
            names = [one.name.replace(" ", "_") for one in probe_image(file, "a.czi").channels]
        found = [stored(dataset / layer / "1") for layer in in_order(layers, names)]
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
