"""CZI files that are damaged, not finished, or hold what a dataset cannot: an error, no zeros."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest

from stackwatch.errors import (
    CorruptSliceError,
    IncompleteAcquisitionError,
    LimitExceededError,
    StackwatchError,
    UnsupportedFormatError,
)
from stackwatch.readers.probe import open_image, probe_image
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

COMPRESSIONS = [RAW, JPEG_XR, ZSTD0, ZSTD1]
PICTURE = coordinate_slice((50, 70), 3, "uint16")


def probe(path: Path):
    """Return what the headers tell."""
    with path.open("rb") as file:
        return probe_image(file, path.name)


def read(data: bytes, z: int = 0) -> np.ndarray:
    """Return a copy of all rows of a plane."""
    reader = open_image(io.BytesIO(data), "a.czi")
    try:
        return reader.read_plane(0, 0, z, (0, reader.info.size_y)).copy()
    finally:
        reader.close()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_truncated(compression, tmp_path):
    """Wherever a file is cut off, it is refused; the directory stands at its end."""
    tiles = [CziTile(PICTURE, dims={"Z": z}, compression=compression) for z in range(2)]
    data = write_czi(tmp_path / "a.czi", tiles, czi_xml(sizes={"Z": 2})).read_bytes()

    for length in [*range(51, 600, 50), *range(600, len(data) - 40, 997), len(data) - 300]:
        with pytest.raises(CorruptSliceError):
            read(data[:length])


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_directory_first_and_truncated(compression, tmp_path):
    """With the directory in front, as ZEN writes it, the plane that was cut off is refused."""
    tiles = [CziTile(PICTURE + z, dims={"Z": z}, compression=compression) for z in range(2)]
    data = write_czi(tmp_path / "a.czi", tiles, is_directory_first=1).read_bytes()
    second = data.index(b"ZISRAWSUBBLOCK", data.index(b"ZISRAWSUBBLOCK") + 1)

    for length in (second + 40, second + 400, len(data) - 40):
        np.testing.assert_array_equal(PICTURE, read(data[:length], z=0))
        with pytest.raises(CorruptSliceError):
            read(data[:length], z=1)


@pytest.mark.parametrize("compression", [JPEG_XR, ZSTD0, ZSTD1])
def test_damaged_data(compression, tmp_path):
    """What the decoder notices is an error that names the plane."""
    data = bytearray(
        write_czi(tmp_path / "a.czi", [CziTile(PICTURE, compression=compression)]).read_bytes()
    )
    begin, end = data.index(b"<METADATA/>") + 30, data.index(b"ZISRAWDIRECTORY")
    data[begin + 20 : end] = bytes(end - begin - 20)

    with pytest.raises(CorruptSliceError, match=r"slice 0|tile"):
        read(bytes(data))


@pytest.mark.parametrize("size", [(50, 70), (25, 35)])
def test_tiles_with_too_few_bytes(size, tmp_path):
    """An uncompressed tile that lacks bytes is refused, alone and in a mosaic."""
    half = PICTURE[: size[0], : size[1]]
    tiles = [CziTile(half, (x, 0), {"M": x}) for x in range(0, 71 - size[1], size[1])]
    data = bytearray(write_czi(tmp_path / "a.czi", tiles).read_bytes())
    at = data.index(b"ZISRAWSUBBLOCK") + 40
    struct.pack_into("<q", data, at, half.nbytes - 2)

    with pytest.raises(CorruptSliceError, match=f"needs {half.nbytes:,} bytes"):
        read(bytes(data))


@pytest.mark.parametrize(("at", "value"), [(32, -1), (16, 3)], ids=["count", "length"])
def test_directory_that_cannot_be(at, value, tmp_path):
    """A directory of less than no tiles, or too short for their number, is damage."""
    data = bytearray(write_czi(tmp_path / "a.czi", [CziTile(PICTURE)]).read_bytes())
    place = data.index(b"ZISRAWDIRECTORY")
    struct.pack_into("<i", data, place + at, value)
    struct.pack_into("<i", data, place + 24, 0 if at == 16 else 128)  # bytes used: else allocated

    with pytest.raises(CorruptSliceError, match="a directory of"):
        read(bytes(data))


@pytest.mark.parametrize("name", [b"ZISRAWSUBBLOCK", b"ZISRAWDIRECTORY", b"ZISRAWMETADATA"])
def test_lost_segments(name, tmp_path):
    """A segment that is not where the file says is damage."""
    data = write_czi(tmp_path / "a.czi", [CziTile(PICTURE)], czi_xml()).read_bytes()

    with pytest.raises(CorruptSliceError):
        read(data.replace(name, b"ZISRAWDELETED!!"[: len(name)]))


def test_random_bytes(tmp_path):
    """Whatever bytes change, the voxels are right in shape or an error of ours comes."""
    rng = np.random.default_rng(11)
    tiles = [CziTile(PICTURE, (z, 0), {"Z": z}, ZSTD1) for z in range(2)]
    data = write_czi(tmp_path / "a.czi", tiles, czi_xml(sizes={"Z": 2})).read_bytes()
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), 3):
            damaged[at] = rng.integers(256)
        try:
            assert 2 == read(bytes(damaged), z=1).ndim
        except StackwatchError:
            refused += 1

    assert refused > 0


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 0), (11, 0xEB), (11, 0x20), (11, 0xAC), (11, 0x5B), (13, 0x46), (15, 0x30)],
    ids=["no signature", "a crash", "a fault", "a crash too", "and one", "wider", "lower"],
)
def test_jpegxr_that_would_end_the_process(at, value, tmp_path):
    """An image header that is not the tile's is an error; the library would divide by zero."""
    path = write_czi(tmp_path / "a.czi", [CziTile(PICTURE, compression=JPEG_XR)])
    data = bytearray(path.read_bytes())
    data[data.index(b"WMPHOTO") + at] = value

    with pytest.raises(CorruptSliceError, match="JPEG XR"):
        read(bytes(data))


@pytest.mark.parametrize("field", [{"is_pending": 1}, {"directory_at": 0}])
def test_not_finished(field, tmp_path):
    """A file that is still written, or was left so, waits."""
    path = write_czi(tmp_path / "a.czi", [CziTile(PICTURE)], **field)

    with pytest.raises(IncompleteAcquisitionError, match="not finished"):
        probe(path)


@pytest.mark.parametrize("field", [{"part": 1}, {"tile_part": 2}])
def test_parts_of_a_set(field, tmp_path):
    """A CZI that is spread over several files is refused, whichever part is opened."""
    path = write_czi(tmp_path / "a.czi", [CziTile(PICTURE)], **field)

    with pytest.raises(UnsupportedFormatError, match="several files"):
        probe(path)


def test_absent_planes(tmp_path):
    """A hole in the numbers is known before anything is read, and is not read as black."""
    tiles = [CziTile(PICTURE, dims={"Z": z, "C": c}) for z in range(4) for c in range(2)]
    path = write_czi(tmp_path / "a.czi", tiles[:4] + tiles[5:])

    assert ((0, 0, 2),) == probe(path).absent_tcz
    with pytest.raises(IncompleteAcquisitionError, match="slice 2"):
        read(path.read_bytes(), z=2)


def test_absent_at_the_end(tmp_path):
    """Fewer planes than the metadata declare: the rest is absent."""
    tiles = [CziTile(PICTURE, dims={"Z": z}) for z in range(3)]
    info = probe(write_czi(tmp_path / "a.czi", tiles, czi_xml(sizes={"Z": 5, "T": 1})))

    assert (5, ((0, 0, 3), (0, 0, 4))) == (info.size_z, info.absent_tcz)


def test_absent_at_the_beginning(tmp_path):
    """Numbers that begin at 1 where more are declared: the first is absent."""
    tiles = [CziTile(PICTURE, dims={"T": t}) for t in (1, 2)]
    info = probe(write_czi(tmp_path / "a.czi", tiles, czi_xml(sizes={"T": 3})))

    assert (3, ((0, 0, 0),)) == (info.size_t, info.absent_tcz)


def test_absent_in_one_scene(tmp_path):
    """Every scene has the extent of the file."""
    tiles = [CziTile(PICTURE, dims={"S": 0, "Z": z}) for z in range(3)]
    path = write_czi(tmp_path / "a.czi", [*tiles, CziTile(PICTURE, dims={"S": 1, "Z": 0})])
    with path.open("rb") as file:
        found = [probe_image(file, "a.czi", scene).absent_tcz for scene in range(2)]

    assert [(), ((0, 0, 1), (0, 0, 2))] == found


def test_partial_planes(tmp_path):
    """A plane with fewer tiles than the others is named."""
    tiles = [CziTile(PICTURE, (70 * m, 0), {"Z": z, "M": m}) for z in range(3) for m in range(3)]
    path = write_czi(tmp_path / "a.czi", tiles[:-1])

    assert ((), ((0, 0, 2),)) == (probe(path).absent_tcz, probe(path).partial_tcz)


def test_hardly_anything(tmp_path):
    """A declaration of a million planes is answered before they are listed."""
    path = write_czi(
        tmp_path / "a.czi", [CziTile(PICTURE)], czi_xml(sizes={"Z": 10**6, "T": 10**6})
    )

    with pytest.raises(IncompleteAcquisitionError, match="1 are there"):
        probe(path)


@pytest.mark.parametrize("axis", ["H", "V", "I", "R", "B", "Q"])
def test_other_axes(axis, tmp_path):
    """Phases, views and the like of more than one step have no place in a dataset."""
    tiles = [CziTile(PICTURE, dims={axis: n, "Z": 0}) for n in range(2)]

    with pytest.raises(UnsupportedFormatError, match=rf"\({axis}\)"):
        probe(write_czi(tmp_path / "a.czi", tiles))
    assert (1, 1, 1) == extent(write_czi(tmp_path / "a.czi", tiles[:1]))


def extent(path: Path) -> tuple[int, int, int]:
    """Return times, channels and slices."""
    info = probe(path)
    return info.size_t, info.size_c, info.size_z


@pytest.mark.parametrize(("dtype", "samples"), [("float32", 3), ("uint32", 1)])
def test_other_types(dtype, samples, tmp_path):
    """Types beside the five are refused by name."""
    values = np.zeros((4, 4, 3)[: 3 if samples > 1 else 2], dtype)

    with pytest.raises(UnsupportedFormatError, match=r"Bgr96Float|Gray32"):
        probe(write_czi(tmp_path / "a.czi", [CziTile(values)]))


@pytest.mark.parametrize(("code", "word"), [(1, "JPEG"), (2, "LZW"), (101, "101")])
def test_other_compressions(code, word, tmp_path):
    """Compressions that nobody here decodes are refused before anything is written."""
    path = write_czi(tmp_path / "a.czi", [CziTile(PICTURE, compression=code)])

    with pytest.raises(UnsupportedFormatError, match=word):
        probe(path)


def test_types_that_change_within_a_channel(tmp_path):
    """Planes of one channel have one type."""
    tiles = [CziTile(PICTURE.astype(t), dims={"Z": z}) for z, t in enumerate(["u1", "u2"])]

    with pytest.raises(UnsupportedFormatError, match="Gray8 and Gray16"):
        probe(write_czi(tmp_path / "a.czi", tiles))


def test_only_previews(tmp_path):
    """A file of coarser copies alone has no image."""
    path = write_czi(tmp_path / "a.czi", [CziTile(PICTURE, covers=(700, 500))])

    with pytest.raises(UnsupportedFormatError, match="previews"):
        probe(path)


def test_absurd_extent(tmp_path):
    """Two tiles at the two ends of the world are no picture."""
    tiles = [CziTile(PICTURE, (x, x), {"M": i}) for i, x in enumerate((-(2**30), 2**30))]

    with pytest.raises(LimitExceededError, match="GiB"):
        probe(write_czi(tmp_path / "a.czi", tiles))


@pytest.mark.parametrize(
    "xml", ["<ImageDocument><Metadata>", "<!DOCTYPE x [<!ENTITY y 'z'>]><ImageDocument/>"]
)
def test_xml(xml, tmp_path):
    """Metadata that break off or define entities are damage."""
    with pytest.raises(CorruptSliceError, match="XML"):
        probe(write_czi(tmp_path / "a.czi", [CziTile(PICTURE)], xml))


def test_without_metadata(tmp_path):
    """A file without any metadata has voxels and nothing else."""
    info = probe(write_czi(tmp_path / "a.czi", [CziTile(PICTURE)]))

    assert ((None, None, None), "", ()) == (
        tuple(info.voxel_size_nm), info.voxel_size_source, info.channels
    )  # fmt: skip
