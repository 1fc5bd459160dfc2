"""CZI: scenes, planes, mosaics, colours and words, of files by our writer and by Zeiss' library."""

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from pylibCZIrw import czi as library

from stackwatch.model.image import Channel, PixelFormat
from stackwatch.readers.czi_planes import CziReader
from stackwatch.readers.probe import open_image
from stackwatch.testing.czi_files import (
    JPEG_XR,
    RAW,
    ZSTD0,
    ZSTD1,
    CziTile,
    czi_xml,
    write_czi,
)
from stackwatch.testing.patterns import coordinate_slice

Open = Callable[..., CziReader]
CASES = [
    (dtype, samples, compression)
    for dtype, samples in [("uint8", 1), ("uint16", 1), ("float32", 1), ("uint8", 3), ("uint16", 3)]
    for compression in (RAW, JPEG_XR, ZSTD0, ZSTD1)
    if (dtype, compression) != ("float32", JPEG_XR)  # which keeps no floats exactly
]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Return a function that opens one scene of a CZI."""
    with ExitStack() as stack:

        def open_scene(path: Path, scene: int = 0, *, in_memory: bool = False) -> CziReader:
            file: BinaryIO = io.BytesIO(path.read_bytes()) if in_memory else path.open("rb")
            reader = open_image(stack.enter_context(file), path.name, scene)
            stack.callback(reader.close)
            assert isinstance(reader, CziReader)
            return reader

        yield open_scene


def picture(z: int, dtype: str = "uint16", samples: int = 1, size=(50, 70)) -> np.ndarray:
    """Return a plane that tells its own coordinates."""
    plane: np.ndarray = coordinate_slice(size, z, dtype, **({"samples": 3} if samples > 1 else {}))
    return plane


def whole(reader: CziReader, t: int = 0, c: int = 0, z: int = 0) -> np.ndarray:
    """Return all rows of a plane."""
    return reader.read_plane(t, c, z, (0, reader.info.size_y))


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize(("dtype", "samples", "compression"), CASES)
def test_voxels(dtype, samples, compression, in_memory, tmp_path, opened):
    """Every type in every compression, from a disk and from memory, colours as RGB."""
    planes = [picture(z, dtype, samples) for z in range(2)]
    tiles = [CziTile(plane, (5, -7), {"Z": z}, compression) for z, plane in enumerate(planes)]
    reader = opened(write_czi(tmp_path / "a.czi", tiles), in_memory=in_memory)

    assert PixelFormat(dtype, "rgb" if samples > 1 else "grey", samples) == reader.info.pixels
    for z, plane in enumerate(planes):
        np.testing.assert_array_equal(plane, whole(reader, z=z))
        np.testing.assert_array_equal(plane[13:29], reader.read_plane(0, 0, z, (13, 29)))


def test_what_the_library_writes(tmp_path, opened):
    """Times, channels, slices at a place that is not 0, 0, with names, colours and scale."""
    path = tmp_path / "a.czi"
    shown = library.ChannelDisplaySettingsDataClass(
        True, library.TintingMode.Color, library.Rgb8Color(1, 20, 255), 0.0, 1.0
    )
    with library.create_czi(str(path), compression_options="zstd1:ExplicitLevel=1") as writer:
        for t in range(2):
            for c in range(3):
                for z in range(4):
                    writer.write(picture(z + 4 * c + 12 * t), (1000, 50), {"T": t, "C": c, "Z": z})
        writer.write_metadata(
            "a", {0: "DAPI", 2: "GFP"}, 0.1, 0.2, 0.5, display_settings={0: shown}
        )
    reader = opened(path)

    info = reader.info
    assert (2, 3, 4, 50, 70) == (info.size_t, info.size_c, info.size_z, info.size_y, info.size_x)
    assert ["DAPI", "GFP"] == [info.channels[0].name, info.channels[2].name]
    assert (1, 20, 255) == info.channels[0].color_rgb
    np.testing.assert_array_equal(picture(3 + 8 + 12), whole(reader, 1, 2, 3))


def test_voxel_size(tmp_path, opened):
    """Metres become nanometres; 0 and what is not there stay unknown."""
    path = write_czi(
        tmp_path / "a.czi",
        [CziTile(picture(0))],
        czi_xml(edges_m={"X": 1.44992e-07, "Y": 0.0}),
    )
    info = opened(path).info

    assert (144.992, None, None) == tuple(info.voxel_size_nm)
    assert "CZI Scaling" == info.voxel_size_source


def test_channels_of_old_and_new_files(tmp_path, opened):
    """Identifiers that are numbers count; long ones follow their order; white stays white."""
    xml = czi_xml(channels=[("DAPI", "#FF00A1FF"), ("T PMT", "#FFFFFF"), ("", "")])
    tiles = [CziTile(picture(c), dims={"C": c}) for c in range(3)]
    expected = (Channel("DAPI", (0, 161, 255)), Channel("T PMT", (255, 255, 255)), Channel())

    assert expected == opened(write_czi(tmp_path / "a.czi", tiles, xml)).info.channels
    xml = xml.replace("Channel:", "20034864191300267206")
    assert expected == opened(write_czi(tmp_path / "b.czi", tiles, xml)).info.channels


def test_channels_of_different_types(tmp_path, opened):
    """Each channel says what its pixels are."""
    tiles = [
        CziTile(picture(0, "uint8"), dims={"C": 0}),
        CziTile(picture(1, "uint16"), dims={"C": 1}, compression=ZSTD1),
        CziTile(picture(2, "uint8", 3), dims={"C": 2}),
    ]
    reader = opened(write_czi(tmp_path / "a.czi", tiles))

    kinds = [(one.dtype_name, one.kind) for one in map(reader.info.pixels_of, range(3))]
    assert [("uint8", "grey"), ("uint16", "grey"), ("uint8", "rgb")] == kinds
    for c, tile in enumerate(tiles):
        np.testing.assert_array_equal(tile.pixels, whole(reader, c=c))


def test_scenes(tmp_path, opened):
    """Each scene has its own place, size and name, however far apart they lie."""
    tiles = [
        CziTile(picture(0, size=(20, 30)), (0, 0), {"S": 0}),
        CziTile(picture(1, size=(40, 10)), (90_000, -80_000), {"S": 3}, ZSTD0),
    ]
    path = write_czi(tmp_path / "a.czi", tiles, czi_xml(scenes=["A1", "x", "y", "B2"]))

    for scene, tile in enumerate(tiles):
        reader = opened(path, scene)
        assert (("A1", "B2"), scene) == (reader.info.scenes, reader.info.scene)
        np.testing.assert_array_equal(tile.pixels, whole(reader))


@pytest.mark.parametrize("compression", [RAW, ZSTD1, JPEG_XR])
@pytest.mark.parametrize(("dtype", "samples"), [("uint8", 1), ("uint8", 3), ("uint16", 3)])
def test_mosaic_with_overlap(dtype, samples, compression, tmp_path, opened):
    """Of tiles that overlap the one with the higher number lies on top, in all rows."""
    rng = np.random.default_rng(5)
    shape = (32, 40, 3)[: 3 if samples > 1 else 2]
    tiles = []
    canvas = np.zeros((29 * 5 + 3, 37 * 2 + 3, *shape[2:]), dtype)
    places = [(number, (37 * (number % 2) - 11, 29 * (number // 2) + 7)) for number in range(10)]
    for number, (x, y) in places:
        pixels = rng.integers(0, 255, shape).astype(dtype)
        tiles.append(CziTile(pixels, (x, y), {"M": number, "C": 0, "S": 0}, compression))
        canvas[y - 7 : y + 25, x + 11 : x + 51] = pixels
    reader = opened(write_czi(tmp_path / "a.czi", tiles[::-1]))

    np.testing.assert_array_equal(canvas, whole(reader))
    assert reader.info.can_read_rows
    for rows in [(0, 1), (28, 33), (60, len(canvas))]:
        np.testing.assert_array_equal(canvas[slice(*rows)], reader.read_plane(0, 0, 0, rows))
    assert () == reader.info.notes


def test_mosaic_with_holes(tmp_path, opened):
    """What no tile covers is black, and told with its share."""
    one = np.full((10, 20), 9, np.uint8)
    tiles = [CziTile(one, (0, 0), {"M": 0}), CziTile(one, (20, 10), {"M": 1})]
    reader = opened(write_czi(tmp_path / "a.czi", tiles))

    plane = whole(reader)
    assert (20, 40) == plane.shape
    assert 400 == np.count_nonzero(plane)
    assert "50.00% of each plane is covered by no tile" in reader.info.notes[0]


def test_planes_at_different_places(tmp_path, opened):
    """A time lapse that followed its object is read on one canvas, and that is told."""
    tiles = [CziTile(np.full((9, 9), t + 1, np.uint8), (t * 3, 0), {"T": t}) for t in range(3)]
    reader = opened(write_czi(tmp_path / "a.czi", tiles))

    assert (9, 15) == (reader.info.size_y, reader.info.size_x)
    for t in range(3):
        columns = np.flatnonzero(whole(reader, t=t)[4])
        assert [t * 3, t * 3 + 8] == [columns[0], columns[-1]]
    assert "3 different places" in reader.info.notes[0]


def test_coarser_copies_are_left_out(tmp_path, opened):
    """Tiles of the pyramid change neither extent nor voxels."""
    tiles = [
        CziTile(picture(0)),
        CziTile(np.full((25, 35), 7, np.uint16), covers=(70, 50), dims={"M": 1}),
        CziTile(np.full((13, 18), 7, np.uint16), covers=(72, 52)),
    ]
    reader = opened(write_czi(tmp_path / "a.czi", tiles))

    np.testing.assert_array_equal(picture(0), whole(reader))
    assert ("2 tiles of coarser copies left out",) == reader.info.notes


def test_numbers_that_do_not_begin_at_0(tmp_path, opened):
    """A part of an image keeps its old numbers: it begins at its own first plane."""
    tiles = [
        CziTile(picture(z, "uint8"), dims={"Z": z + 7, "C": 2, "T": 4}, compression=ZSTD0)
        for z in range(3)
    ]
    reader = opened(write_czi(tmp_path / "a.czi", tiles, czi_xml(sizes={"Z": 3, "C": 1, "T": 1})))

    assert (1, 1, 3) == (reader.info.size_t, reader.info.size_c, reader.info.size_z)
    for z in range(3):
        np.testing.assert_array_equal(picture(z, "uint8"), whole(reader, z=z))


def test_plain_planes_need_no_library(tmp_path, opened):
    """Where a plane is one tile as it is, its bytes are told, and they are the voxels."""
    tiles = [CziTile(picture(z), dims={"Z": z}) for z in range(3)]
    path = write_czi(tmp_path / "a.czi", tiles)
    reader = opened(path)
    raw = reader.raw_plane(0, 0, 1)

    assert raw is not None
    (run,) = raw.runs
    start, end = reader.byte_span(0, 0, 1)
    assert start < run.offset < run.offset + picture(1).nbytes <= end
    assert picture(1).tobytes() == path.read_bytes()[run.offset :][: picture(1).nbytes]
    assert reader.info.can_read_rows


@pytest.mark.parametrize(("dtype", "samples", "compression"), [("uint8", 3, RAW), ("uint8", 1, 5)])
def test_other_planes_have_to_be_decoded(dtype, samples, compression, tmp_path, opened):
    """Colours in the wrong order and compressed tiles are no voxels yet."""
    path = write_czi(
        tmp_path / "a.czi", [CziTile(picture(0, dtype, samples), compression=compression)]
    )

    assert opened(path).raw_plane(0, 0, 0) is None


def test_spans_cover_the_tiles_of_a_plane(tmp_path, opened):
    """From the first byte of the first tile to the end of the last, in any order of the file."""
    order = [(0, 1), (1, 0), (0, 0), (1, 1)]
    tiles = [CziTile(np.zeros((8, 8), np.uint8), (8 * m, 0), {"Z": z, "M": m}) for z, m in order]
    path = write_czi(tmp_path / "a.czi", tiles)
    reader = opened(path)
    data = path.read_bytes()
    begins = [at for at in range(0, len(data), 32) if data[at:].startswith(b"ZISRAWSUBBLOCK")]

    assert (begins[0], begins[3]) == reader.byte_span(0, 0, 0)
    assert begins[1] == reader.byte_span(0, 0, 1)[0]
    assert begins[3] < reader.byte_span(0, 0, 1)[1] <= len(data)


@pytest.mark.parametrize("compression", [RAW, ZSTD1])
def test_threads(compression, tmp_path, opened):
    """Threads with readers of one file each get their own planes."""
    tiles = [CziTile(picture(z, size=(64, 96)), (0, 0), {"Z": z}, compression) for z in range(16)]
    path = write_czi(tmp_path / "a.czi", tiles)
    parsed = opened(path)
    local = threading.local()
    readers = []

    def read(z: int) -> bool:
        if not hasattr(local, "reader"):
            file = path.open("rb")
            local.reader = parsed.reopened(file)
            readers.append((local.reader, file))
        return np.array_equal(picture(z, size=(64, 96)), whole(local.reader, z=z))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, [z % 16 for z in range(200)]))
    for reader, file in readers:
        reader.close()
        file.close()

    assert [True] * 200 == found


def test_the_file_may_lose_its_name(tmp_path, opened):
    """What was opened is read, whatever stands at its path afterwards."""
    path = write_czi(tmp_path / "a.czi", [CziTile(picture(0), compression=ZSTD0)])
    reader = opened(path)
    path.unlink()
    write_czi(path, [CziTile(picture(1), compression=ZSTD0)])

    np.testing.assert_array_equal(picture(0), whole(reader))


def test_long_descriptions_of_the_microscope(tmp_path, opened):
    """What is said of the experiment neither hides nor replaces what is said of the image."""
    edges = '<Scaling><Items><Distance Id="X"><Value>9e-9</Value></Distance></Items></Scaling>'
    wanted = czi_xml(edges_m={"X": 4e-9}, channels=[("DAPI", "")])
    once = f"<Metadata><Experiment V='1'><Blocks/>{edges}</Experiment>"
    twice = f"<Metadata><Experiment><Experiment>{edges}</Experiment></Experiment>"
    named = f"<Metadata><ExperimentBlocks>{edges}</ExperimentBlocks>"

    for before in (once, twice, named):
        xml = wanted.replace("<Metadata>", before, 1)
        info = opened(write_czi(tmp_path / "a.czi", [CziTile(picture(0))], xml)).info
        assert (4.0, ("DAPI",)) == (
            info.voxel_size_nm.x, tuple(one.name for one in info.channels)
        )  # fmt: skip
