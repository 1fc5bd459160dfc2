"""CZI files become datasets: alone, as sequences, from archives, with holes, read by rows."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

import stackwatch
from stackwatch.errors import IncompleteAcquisitionError, MixedSlicesError
from stackwatch.readers.czi_planes import CziReader
from stackwatch.testing.czi_files import RAW, ZSTD0, ZSTD1, CziTile, czi_xml, write_czi
from stackwatch.testing.patterns import coordinate_slice, coordinate_stack

pytestmark = pytest.mark.timeout(240)

XML = czi_xml(edges_m={"X": 4e-9, "Y": 4e-9, "Z": 30e-9})


def mag_1(dataset: Path, layer: str = "color") -> np.ndarray:
    """Return the voxels of a layer of one channel, axes (t,) z, y, x."""
    stored = np.asarray(zarr.open_array(dataset / layer / "1", mode="r"))
    return np.moveaxis(stored[..., 0, :, :, :], (-3, -1), (-1, -3))


@pytest.mark.parametrize("compression", [RAW, ZSTD1])
def test_sequence(compression, tmp_path):
    """Numbered files of one slice each are the slices of one layer."""
    stack = coordinate_stack((5, 33, 41), "uint16")
    for z, plane in enumerate(stack):
        tile = CziTile(plane, (1000 * z, 50), compression=compression)
        write_czi(tmp_path / "run" / f"img_{z + 1:03d}.czi", [tile], XML)

    stackwatch.convert(tmp_path / "run", tmp_path / "dataset", threads=2)

    np.testing.assert_array_equal(stack, mag_1(tmp_path / "dataset"))


def test_sequence_with_a_stranger(tmp_path):
    """A file of another size among them parks."""
    for z in range(4):
        plane = coordinate_slice((20, 30 + (z == 2)), z, "uint8")
        write_czi(tmp_path / "run" / f"img_{z}.czi", [CziTile(plane)], XML)

    with pytest.raises(MixedSlicesError, match="img_2"):
        stackwatch.convert(tmp_path / "run", tmp_path / "dataset")


@pytest.mark.parametrize("compression", [RAW, ZSTD0])
def test_archive(compression, tmp_path):
    """Times, channels and slices in a zip archive, read by several threads."""
    stack = coordinate_stack((2 * 2 * 3, 40, 50), "uint16").reshape(2, 2, 3, 40, 50)
    tiles = [
        CziTile(stack[t, c, z], (-9, 4), {"T": t, "C": c, "Z": z}, compression)
        for t in range(2)
        for c in range(2)
        for z in range(3)
    ]
    xml = czi_xml(
        edges_m={"X": 1e-7, "Y": 1e-7, "Z": 1e-7}, channels=[("A", "#FF00FF5B"), ("B", "")]
    )
    path = write_czi(tmp_path / "scan.czi", tiles, xml)
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.write(path, path.name)

    stackwatch.convert(tmp_path / "scan.zip", tmp_path / "dataset", threads=4, memory_gib=0.5)

    for c, name in enumerate("AB"):
        np.testing.assert_array_equal(stack[:, c], mag_1(tmp_path / "dataset", name))


def test_channels_of_different_types(tmp_path):
    """Grey values of 8 and of 16 bit and a picture in colours stand side by side as layers."""
    grey8 = coordinate_slice((20, 30), 0, "uint8")
    grey16 = coordinate_slice((20, 30), 1, "uint16")
    colours = coordinate_slice((20, 30), 2, "uint8", samples=3)
    tiles = [CziTile(p, dims={"C": c}) for c, p in enumerate([grey8, grey16, colours])]
    xml = czi_xml(edges_m={"X": 1e-7, "Y": 1e-7}, channels=[("a", ""), ("b", ""), ("rgb", "")])
    path = write_czi(tmp_path / "a.czi", tiles, xml)

    stackwatch.convert(path, tmp_path / "dataset")

    np.testing.assert_array_equal(grey8, mag_1(tmp_path / "dataset", "a")[0])
    np.testing.assert_array_equal(grey16, mag_1(tmp_path / "dataset", "b")[0])
    stored = np.asarray(zarr.open_array(tmp_path / "dataset/rgb/1", mode="r"))
    np.testing.assert_array_equal(colours, stored[:, :, :, 0].transpose(2, 1, 0))


def test_absent_slices(tmp_path):
    """A file that lacks slices parks, or has black ones where that is wished, and says so."""
    stack = coordinate_stack((5, 20, 30), "uint8") | 1
    tiles = [CziTile(plane, dims={"Z": z}) for z, plane in enumerate(stack) if z not in {1, 4}]
    sizes = XML.replace("<Image>", "<Image><SizeZ>5</SizeZ>")
    path = write_czi(tmp_path / "a.czi", tiles, sizes)

    with pytest.raises(IncompleteAcquisitionError, match="2 of 5 slices"):
        stackwatch.convert(path, tmp_path / "dataset")
    answer = stackwatch.convert(path, tmp_path / "dataset", missing_slices="black")

    stack[[1, 4]] = 0
    np.testing.assert_array_equal(stack, mag_1(tmp_path / "dataset"))
    assert any("2 missing slices become black" in warning for warning in answer.warnings)


def test_absent_tiles(tmp_path):
    """A mosaic that was stopped parks, or has black tiles where that is wished."""
    tile = np.full((10, 10), 5, np.uint8)
    tiles = [CziTile(tile, (10 * m, 0), {"Z": z, "M": m}) for z in range(2) for m in range(3)]
    path = write_czi(tmp_path / "a.czi", tiles[:-1], XML)

    with pytest.raises(IncompleteAcquisitionError, match="fewer tiles"):
        stackwatch.convert(path, tmp_path / "dataset")
    answer = stackwatch.convert(path, tmp_path / "dataset", missing_slices="black")

    found = mag_1(tmp_path / "dataset")
    assert [300, 200] == [np.count_nonzero(plane) for plane in found]
    assert any("1 slices lack tiles" in warning for warning in answer.warnings)


def test_a_channel_that_is_not_there_cannot_be_black(tmp_path):
    """No word of a person makes a layer of nothing."""
    tile = coordinate_slice((20, 30), 0, "uint8")
    xml = czi_xml(sizes={"C": 3}, edges_m={"X": 1e-7, "Y": 1e-7})
    path = write_czi(tmp_path / "a.czi", [CziTile(tile, dims={"C": c}) for c in (0, 2)], xml)

    with pytest.raises(IncompleteAcquisitionError, match="1 of 1 slices"):
        stackwatch.convert(path, tmp_path / "dataset", missing_slices="black")


@pytest.mark.system
def test_tall_mosaic_by_rows(tmp_path, monkeypatch):
    """A mosaic beyond the memory is read strip by strip, never whole."""
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 40, (2_048, 2_048), np.uint8).repeat(2, 1)
    corners = [(y, x) for y in range(0, 2048, 256) for x in range(0, 4096, 512)]
    tiles = [
        CziTile(picture[y : y + 256, x : x + 512], (x, y), {"M": m}, ZSTD0)
        for m, (y, x) in enumerate(corners)
    ]
    path = write_czi(tmp_path / "slide.czi", tiles, XML)
    strips = []
    read_plane = CziReader.read_plane

    def noted(self, t, c, z, rows):
        strips.append(rows[1] - rows[0])
        return read_plane(self, t, c, z, rows)

    monkeypatch.setattr(CziReader, "read_plane", noted)
    stackwatch.convert(path, tmp_path / "dataset", threads=1, memory_gib=0.125)

    assert max(strips) < 2_048
    np.testing.assert_array_equal(picture, mag_1(tmp_path / "dataset")[0])
