"""Voxel sizes in the tags of makers of microscopes, with tifffile's parsers as the judge."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from stackwatch.model.geometry import PartialVoxelSize
from tests.unit.readers.conftest import OpenPath

PICTURE = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)

FEI = (
    "[User]\r\nDate=04/05/2019\r\n[Scan]\r\nInternalScan=true\r\nDwelltime=3e-006\r\n"
    "PixelWidth=3.37292e-009\r\nPixelHeight=4.5e-9\r\n[Image]\r\nPixelWidth=7\r\n"
)
ZEISS = (
    "\r\n\r\n0\r\n0\r\n0\r\n5.58e-09\r\n\r\nDP_SEM_STATUS\r\nSEM Status = Ready\r\n"
    "AP_PIXEL_SIZE\r\n"
    "Pixel Size = 999 nm\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5.58 nm\r\nAP_MAG\r\n"
    "Mag = 20.00 K X\r\n"
)
METAMORPH = (
    '<MetaData><prop id="Description" type="string" value="Exposure: 10 ms"/>'
    '<prop id="spatial-calibration-state" type="bool" value="on"/>'
    '<prop id="spatial-calibration-x" type="float" value="0.65"/>'
    '<prop id="spatial-calibration-y" type="float" value="0.66"/>'
    '<prop id="spatial-calibration-units" type="string" value="um"/></MetaData>'
)


def write_tagged(path: Path, code: int, text: str | bytes, **options: Any) -> Path:
    """Write a picture with a vendor's tag of text."""
    raw = text if isinstance(text, bytes) else text.encode("latin-1")
    tifffile.imwrite(
        path, PICTURE, metadata=None, extratags=[(code, 2, len(raw) + 1, raw, True)], **options
    )
    return path


def write_sis(path: Path, exponent: int, x: float, y: float) -> Path:
    """Write a picture whose tag points to a block of Olympus SIS at the end of the file."""
    tifffile.imwrite(path, PICTURE, metadata=None, extratags=[(33560, 4, 1, 0xABCDEF01, True)])
    data = bytearray(path.read_bytes())
    at = len(data)
    spot = data.index(struct.pack("<I", 0xABCDEF01))
    data[spot : spot + 4] = struct.pack("<I", at)
    head = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 1, 2, 3, 4, 119, b"run", 2)
    part = at + len(head) + 16
    entries = struct.pack("<hhI", 10, 1, 0) + struct.pack("<hhI", 1, 1, part)
    general = struct.pack("<10xhdd8xd2x34s32s", exponent, x, y, 20_000.0, b"Veleta", b"TEM")
    path.write_bytes(bytes(data) + head + entries + general + bytes(200))
    return path


@pytest.mark.parametrize("code", [34680, 34682])
def test_fei_states_metres_under_scan(code: int, tmp_path: Path, open_path: OpenPath):
    """X and y of `[Scan]` count, in metres; z stays unknown; tifffile reads the same."""
    path = write_tagged(tmp_path / "a.tif", code, FEI)

    info = open_path(path).info

    with tifffile.TiffFile(path) as judge:
        scan = (judge.fei_metadata or {})["Scan"]
    assert PartialVoxelSize(scan["PixelWidth"] * 1e9, scan["PixelHeight"] * 1e9) == (
        info.voxel_size_nm
    )
    assert (3.37292, "FEI tag") == (
        round(info.voxel_size_nm.x or 0, 5),
        info.voxel_size_source,
    )


def test_zeiss_states_the_pixel_of_the_picture(tmp_path: Path, open_path: OpenPath):
    """`Image Pixel Size` wins over `Pixel Size`, with its unit; tifffile reads the same."""
    path = write_tagged(tmp_path / "a.tif", 34118, ZEISS)

    info = open_path(path).info

    with tifffile.TiffFile(path) as judge:
        _, value, unit = (judge.sem_metadata or {})["ap_image_pixel_size"]
    assert (value, value, None, "nm") == (*info.voxel_size_nm, unit)
    assert "Zeiss SEM tag" == info.voxel_size_source


@pytest.mark.parametrize(("unit", "nm"), [("pm", 0.00558), ("µm", 5580.0), ("nm", 5.58)])
def test_zeiss_units_differ_with_the_magnification(
    unit: str, nm: float, tmp_path: Path, open_path: OpenPath
):
    """The unit behind the number counts; a file without the picture's pixel has the scan's."""
    text = f"AP_PIXEL_SIZE\r\nPixel Size = 5.58 {unit}\r\nAP_MAG\r\nMag = 1 X\r\n"
    path = write_tagged(tmp_path / "a.tif", 34118, text)

    assert nm == pytest.approx(open_path(path).info.voxel_size_nm.x)


def test_olympus_sis_states_a_power_of_ten(tmp_path: Path, open_path: OpenPath):
    """X and y are multiplied by it, and are metres; tifffile reads the same."""
    path = write_sis(tmp_path / "a.tif", -9, 1.25, 2.5)

    info = open_path(path).info

    with tifffile.TiffFile(path) as judge:
        found = judge.sis_metadata or {}
    assert [found["pixelsizex"] * 1e9, found["pixelsizey"] * 1e9] == pytest.approx(
        [info.voxel_size_nm.x, info.voxel_size_nm.y]
    )
    assert [1.25, 2.5] == pytest.approx([info.voxel_size_nm.x, info.voxel_size_nm.y])
    assert "Olympus SIS tag" == info.voxel_size_source


def test_metamorph_counts_only_if_switched_on(tmp_path: Path, open_path: OpenPath):
    """A calibration that is off is none; tifffile reads the same numbers."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PICTURE, metadata=None, description=METAMORPH, software="MetaSeries")
    off = tmp_path / "off.tif"
    tifffile.imwrite(off, PICTURE, metadata=None, description=METAMORPH.replace('"on"', '"off"'))

    info = open_path(path).info

    with tifffile.TiffFile(path) as judge:
        plane = judge.metaseries_metadata or {}
    assert {"x": 0.65, "y": 0.66} == {a: plane[f"spatial-calibration-{a}"] for a in "xy"}
    assert (PartialVoxelSize(650.0, 660.0), "MetaMorph calibration") == (
        info.voxel_size_nm,
        info.voxel_size_source,
    )
    assert "" == open_path(off).info.voxel_size_source


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (34682, "[Scan]\nPixelWidth=\nPixelHeight=zero\n"),
        (34682, "[Scan]\nPixelWidth=0\n"),
        (34118, "AP_PIXEL_SIZE"),
        (34118, "AP_PIXEL_SIZE\nPixel Size = unknown\n"),
        (33560, "no block of Olympus"),
    ],
)
def test_what_says_nothing_gives_nothing(code: int, text: str, tmp_path: Path, open_path: OpenPath):
    """Placeholders, words and damage leave the size open, and the pixels are read all the same."""
    path = write_tagged(tmp_path / "a.tif", code, text)

    reader = open_path(path)

    assert (PartialVoxelSize(), "") == (reader.info.voxel_size_nm, reader.info.voxel_size_source)
    assert np.array_equal(PICTURE, reader.read_plane(0, 0, 0, (0, 12)))


def test_a_vendors_tag_wins_over_the_resolution_tags(tmp_path: Path, open_path: OpenPath):
    """The resolution tags complete what it leaves open, and are named too."""
    path = write_tagged(
        tmp_path / "a.tif",
        34682,
        "[Scan]\nPixelWidth=2e-9\n",
        resolution=(1e7, 5e6),
        resolutionunit="CENTIMETER",
    )

    info = open_path(path).info

    assert [2.0, 2.0] == pytest.approx([info.voxel_size_nm.x, info.voxel_size_nm.y])
    assert "FEI tag, TIFF resolution tags" == info.voxel_size_source
