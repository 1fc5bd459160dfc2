"""Image stack files of Micro-Manager: their own table tells the planes, tifffile is the judge."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from stackwatch.errors import (
    CorruptSliceError,
    IncompleteAcquisitionError,
    StackwatchError,
    UnsupportedFormatError,
)
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import Channel
from stackwatch.testing.micro_manager import (
    MicroManagerRun,
    imagej_words,
    ome_pointer,
    write_mmstack,
)
from tests.unit.readers.conftest import OpenPath

RUN = MicroManagerRun(size_t=2, generation="1.4", colors=(0x0000FF - 2**24, -1))


@pytest.mark.parametrize("order", ["ptcz", "ptzc", "pczt"])
def test_the_table_places_the_planes(order: str, tmp_path: Path, open_path: OpenPath):
    """Whatever was acquired first, each plane comes to its place; tifffile agrees."""
    path = write_mmstack(tmp_path / "run_MMStack.ome.tif", RUN, RUN.places(order))

    reader = open_path(path)

    assert (2, 2, 3) == (reader.info.size_t, reader.info.size_c, reader.info.size_z)
    for _, t, c, z in RUN.places():
        found = reader.read_plane(t, c, z, (0, 12))
        assert np.array_equal(RUN.plane((0, t, c, z)), found)
    with tifffile.TiffFile(path) as judge:
        (series,) = judge.series
        whole = series.asarray()
        order_of_axes = [series.axes.index(axis) for axis in "TCZYX"]
    expected = np.stack([RUN.plane(place) for place in RUN.places()]).reshape(2, 2, 3, 12, 16)
    assert "mmstack" == series.kind
    assert np.array_equal(expected, whole.transpose(order_of_axes))


def test_the_summary_tells_size_and_channels(tmp_path: Path, open_path: OpenPath):
    """Micrometres, a step that goes down, names; white is no colour anybody chose."""
    info = open_path(write_mmstack(tmp_path / "a.ome.tif", RUN, RUN.places())).info

    assert (PartialVoxelSize(650.0, 650.0, 2000.0), "Micro-Manager summary") == (
        info.voxel_size_nm,
        info.voxel_size_source,
    )
    assert (Channel("DAPI", (0, 0, 255)), Channel("FITC")) == info.channels


def test_the_pixel_of_a_plane_counts_where_the_summary_has_none(
    tmp_path: Path, open_path: OpenPath
):
    """2.0 says the pixel's size with each plane; a single slice has no step."""
    run = replace(RUN, generation="2.0", size_z=1)

    info = open_path(write_mmstack(tmp_path / "a.ome.tif", run, run.places())).info

    assert PartialVoxelSize(650.0, 650.0) == info.voxel_size_nm


def test_the_table_wins_over_both_descriptions(tmp_path: Path, open_path: OpenPath):
    """ImageJ's words order channels first, the OME-XML lies in another file: neither counts."""
    texts = (ome_pointer("run_MMStack_Pos0.ome.tif", "1-2"), imagej_words(RUN))
    path = write_mmstack(
        tmp_path / "run_MMStack_Pos1.ome.tif", RUN, RUN.places("ptcz"), descriptions=texts
    )

    found = open_path(path).read_plane(1, 0, 2, (0, 12))

    assert np.array_equal(RUN.plane((0, 1, 0, 2)), found)


def test_of_two_descriptions_the_first_counts(tmp_path: Path, open_path: OpenPath):
    """Without a table OME-XML comes before the words for ImageJ, which follow it in the page."""
    path = write_mmstack(
        tmp_path / "a.tif", RUN, RUN.places(), descriptions=(ome_pointer("b.ome.tif", "1"), "x")
    )
    data = bytearray(path.read_bytes())
    data[8:40] = bytes(32)
    path.write_bytes(data)

    with pytest.raises(UnsupportedFormatError, match=r"stands in “b\.ome\.tif”"):
        open_path(path)


def test_each_position_of_a_file_is_an_image(tmp_path: Path, open_path: OpenPath):
    """They have the names of the stage positions, and their own planes."""
    run = replace(RUN, positions=("well A", "well B"))
    path = write_mmstack(tmp_path / "a_MMStack.ome.tif", run, run.places("tpcz"))

    second = open_path(path, 1)

    assert ("well A", "well B") == second.info.scenes
    assert np.array_equal(run.plane((1, 1, 1, 2)), second.read_plane(1, 1, 2, (0, 12)))
    with pytest.raises(UnsupportedFormatError, match="has no image 3"):
        open_path(path, 2)


def test_planes_that_were_not_taken_are_absent(tmp_path: Path, open_path: OpenPath):
    """Fewer planes than the summary announces are told by place, and never read."""
    path = write_mmstack(tmp_path / "a_MMStack.ome.tif", RUN, RUN.places()[:-2])

    reader = open_path(path)

    assert ((1, 1, 1), (1, 1, 2)) == reader.info.absent_tcz
    with pytest.raises(StackwatchError):
        reader.read_plane(1, 1, 2, (0, 12))


def test_without_its_table_a_file_is_not_finished(tmp_path: Path, open_path: OpenPath):
    """Micro-Manager writes the table last: until then nothing tells the planes apart."""
    path = write_mmstack(tmp_path / "a.ome.tif", RUN, RUN.places(), is_closed=False)

    with pytest.raises(IncompleteAcquisitionError, match="not finished") as caught:
        open_path(path)

    assert "Wait for the end" in (caught.value.hint or "")


def test_a_table_that_does_not_fit_is_damage(tmp_path: Path, open_path: OpenPath):
    """A table that points beside the pages, or names fewer, is never believed."""
    path = write_mmstack(tmp_path / "a.ome.tif", RUN, RUN.places())
    whole = bytearray(path.read_bytes())
    table = struct.unpack_from("<I", whole, 12)[0]
    for spot, value in ((table + 8 + 16, 7), (table + 4, 3)):
        data = bytearray(whole)
        struct.pack_into("<I", data, spot, value)
        path.write_bytes(data)

        with pytest.raises(CorruptSliceError, match="Micro-Manager's table names"):
            open_path(path)


def test_ndtiff_is_refused_by_name(tmp_path: Path, open_path: OpenPath):
    """Its pages in a row would mix channels and timepoints into slices."""
    path = write_mmstack(tmp_path / "run_NDTiffStack.tif", RUN, RUN.places())
    data = bytearray(path.read_bytes())
    struct.pack_into("<4I", data, 8, 483729, 3, 3, 2355492)
    path.write_bytes(data)

    with pytest.raises(UnsupportedFormatError, match=r"NDTiff\.index"):
        open_path(path)
