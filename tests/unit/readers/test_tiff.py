"""TIFF files: every way of storing pixels, and which page is which slice."""

import json

import numpy as np
import pytest
import tifffile

from stackwatch.errors import (
    AmbiguousLayoutError,
    CorruptSliceError,
    IncompleteAcquisitionError,
    LimitExceededError,
    MixedSlicesError,
    UnsupportedFormatError,
)
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.readers.tiff import open_tiff


def all_planes(reader) -> np.ndarray:
    """Return every plane, shape (t, c, z, y, x[, samples])."""
    info = reader.info
    rows = (0, info.size_y)
    return np.array(
        [
            [[reader.read_plane(t, c, z, rows).copy() for z in range(info.size_z)]
             for c in range(info.size_c)]
            for t in range(info.size_t)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"bigtiff": True, "byteorder": ">"},
        {"rowsperstrip": 7},
        {"tile": (16, 32)},
        {"tile": (16, 32), "byteorder": ">"},
        {"compression": "lzw"},
        {"compression": "lzw", "predictor": True, "rowsperstrip": 7},
        {"compression": "deflate", "predictor": True, "byteorder": ">"},
        {"compression": "zstd", "tile": (16, 16)},
        {"compression": "packbits"},
        {"compression": "lzma"},
    ],
    ids=str,
)
def test_stored_ways(tmp_path, open_path, ramp, options):
    """Byte order, strips, tiles and lossless compression all give the pixels back."""
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, ramp, photometric="minisblack", metadata=None, **options)

    reader = open_path(path)

    assert (6, 40, 60) == (reader.info.size_z, reader.info.size_y, reader.info.size_x)
    np.testing.assert_array_equal(ramp, all_planes(reader)[0, 0])


@pytest.mark.parametrize(
    "options",
    [{}, {"byteorder": ">"}, {"rowsperstrip": 7}, {"tile": (16, 32), "compression": "deflate"}],
    ids=str,
)
@pytest.mark.parametrize("rows", [(0, 1), (6, 8), (13, 40), (39, 40), (5, 31)])
def test_rows(tmp_path, open_path, ramp, options, rows):
    """A range of rows equals the same rows of the whole plane."""
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, ramp, photometric="minisblack", metadata=None, **options)

    reader = open_path(path)

    assert reader.info.can_read_rows
    np.testing.assert_array_equal(ramp[4][rows[0] : rows[1]], reader.read_plane(0, 0, 4, rows))


def test_one_compressed_strip_is_not_row_readable(tmp_path, open_path, ramp):
    """A plane in one compressed strip has to be decoded whole."""
    path = tmp_path / "one.tif"
    tifffile.imwrite(path, ramp[0], compression="lzw", rowsperstrip=40)

    assert not open_path(path).info.can_read_rows


@pytest.mark.parametrize(
    "dtype",
    ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
     "float16", "float32", "float64", "complex64"],
)  # fmt: skip
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_types(tmp_path, open_path, dtype, byteorder):
    """Every sample type keeps its values and comes in native byte order."""
    path = tmp_path / "typed.tif"
    plane = np.arange(60).reshape(6, 10).astype(dtype)
    tifffile.imwrite(path, plane, byteorder=byteorder, photometric="minisblack")

    reader = open_path(path)
    found = reader.read_plane(0, 0, 0, (0, 6))

    assert (dtype, np.dtype(dtype)) == (reader.info.pixels.dtype_name, found.dtype)
    np.testing.assert_array_equal(plane, found)


def test_bilevel(tmp_path, open_path):
    """A 1-bit TIFF is boolean."""
    path = tmp_path / "mask.tif"
    plane = np.arange(60).reshape(6, 10) % 3 == 0
    tifffile.imwrite(path, plane)

    reader = open_path(path)

    assert ("bool", "bilevel") == (reader.info.pixels.dtype_name, reader.info.pixels.kind)
    np.testing.assert_array_equal(plane, reader.read_plane(0, 0, 0, (0, 6)))


def test_12_bit(tmp_path, open_path):
    """Packed 12-bit samples widen to uint16 and keep their values."""
    path = tmp_path / "packed.tif"
    plane = np.arange(60, dtype=np.uint16).reshape(6, 10) * 60
    packed = np.unpackbits(plane.byteswap().view(np.uint8).reshape(-1, 2), axis=1)[:, 4:]
    row_bits = packed.reshape(6, 120)
    data = np.packbits(row_bits, axis=1).tobytes()
    tifffile.imwrite(
        path, iter([data]), shape=(6, 10), dtype=np.uint16, bitspersample=12, rowsperstrip=6,
        photometric="minisblack", metadata=None,
    )  # fmt: skip

    reader = open_path(path)

    assert "uint16" == reader.info.pixels.dtype_name
    np.testing.assert_array_equal(plane, reader.read_plane(0, 0, 0, (0, 6)))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_rgb(tmp_path, open_path, planar, compression):
    """Interleaved and planar RGB come with the samples last."""
    path = tmp_path / "rgb.tif"
    pixels = np.arange(6 * 10 * 3, dtype=np.uint8).reshape(6, 10, 3)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(
        path, stored, photometric="rgb", planarconfig=planar, compression=compression,
        rowsperstrip=4,
    )  # fmt: skip

    reader = open_path(path)

    assert ("rgb", 3, 1) == (
        reader.info.pixels.kind,
        reader.info.pixels.samples,
        reader.info.size_z,
    )
    np.testing.assert_array_equal(pixels, reader.read_plane(0, 0, 0, (0, 6)))
    np.testing.assert_array_equal(pixels[3:5], reader.read_plane(0, 0, 0, (3, 5)))


def test_multipage_rgb(tmp_path, open_path):
    """Pages of RGB are slices."""
    path = tmp_path / "rgb.tif"
    pixels = np.arange(4 * 6 * 10 * 3, dtype=np.uint8).reshape(4, 6, 10, 3)
    tifffile.imwrite(path, pixels, photometric="rgb")

    np.testing.assert_array_equal(pixels, all_planes(open_path(path))[0, 0])


def test_rgb16_keeps_its_samples(tmp_path, open_path):
    """16-bit RGB is three samples of a pixel, never three slices."""
    path = tmp_path / "rgb16.tif"
    pixels = np.arange(6 * 10 * 3, dtype=np.uint16).reshape(6, 10, 3) * 300
    tifffile.imwrite(path, pixels, photometric="rgb")

    info = open_path(path).info

    assert ("uint16", "rgb", 3, 1) == (
        info.pixels.dtype_name, info.pixels.kind, info.pixels.samples, info.size_z,
    )  # fmt: skip


@pytest.mark.parametrize("extra", ["assocalpha", "unassalpha", "unspecified"])
def test_rgba(tmp_path, open_path, extra):
    """A fourth sample of RGB is taken for alpha, whatever the tag calls it."""
    path = tmp_path / "rgba.tif"
    tifffile.imwrite(path, np.zeros((6, 10, 4), np.uint8), photometric="rgb", extrasamples=[extra])

    pixels = open_path(path).info.pixels

    assert ("rgb", 4, True) == (pixels.kind, pixels.samples, pixels.has_alpha)


def test_cmyk(tmp_path, open_path):
    """CMYK is called CMYK."""
    path = tmp_path / "cmyk.tif"
    tifffile.imwrite(path, np.zeros((6, 10, 4), np.uint8), photometric="separated")

    assert "cmyk" == open_path(path).info.pixels.kind


@pytest.mark.parametrize("is_8_bit_table", [False, True])
def test_palette(tmp_path, open_path, is_8_bit_table):
    """A palette TIFF gives indices and its colours; 8-bit tables are known."""
    path = tmp_path / "palette.tif"
    colours = np.arange(768).reshape(3, 256) % 256
    table = (colours if is_8_bit_table else colours * 257).astype(np.uint16)
    plane = np.arange(60, dtype=np.uint8).reshape(6, 10)
    tifffile.imwrite(path, plane, colormap=table, photometric="palette")

    reader = open_path(path)

    assert "palette" == reader.info.pixels.kind
    np.testing.assert_array_equal(plane, reader.read_plane(0, 0, 0, (0, 6)))
    np.testing.assert_array_equal(colours.T, reader.palette_rgb())


def test_miniswhite_and_orientation(tmp_path, open_path):
    """Inversion and orientation are told; the extent is that of the upright picture."""
    path = tmp_path / "turned.tif"
    tifffile.imwrite(
        path, np.zeros((6, 10), np.uint8), photometric="miniswhite",
        extratags=[(274, 3, 1, 6, True)],
    )  # fmt: skip

    info = open_path(path).info

    assert (True, 6, 10, 6) == (
        info.pixels.is_inverted, info.pixels.orientation, info.size_y, info.size_x,
    )  # fmt: skip


def test_jpeg(tmp_path, open_path):
    """A JPEG-compressed RGB TIFF decodes to what tifffile sees."""
    path = tmp_path / "jpeg.tif"
    pixels = np.full((32, 48, 3), (200, 100, 50), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", compression="jpeg", tile=(16, 16))

    reader = open_path(path)

    assert "rgb" == reader.info.pixels.kind
    np.testing.assert_array_equal(tifffile.imread(path), reader.read_plane(0, 0, 0, (0, 32)))


def test_subifd_pyramid(tmp_path, open_path, ramp):
    """Of a pyramid in SubIFDs the finest level is read, and the rest noted."""
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(ramp[0], subifds=2, tile=(16, 16))
        writer.write(ramp[0, ::2, ::2], subfiletype=1, tile=(16, 16))
        writer.write(ramp[0, ::4, ::4], subfiletype=1, tile=(16, 16))

    info = open_path(path).info

    assert (1, 40, 60) == (info.size_z, info.size_y, info.size_x)
    assert "pyramid" in info.notes[0]


@pytest.mark.parametrize("subfiletype", [0, 1])
def test_flat_pyramid(tmp_path, open_path, ramp, subfiletype):
    """Of a pyramid in pages of their own, flagged or not, the finest level is read."""
    path = tmp_path / "flat.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(ramp[0], metadata=None)
        writer.write(ramp[0, ::2, ::2], subfiletype=subfiletype, metadata=None)
        writer.write(ramp[0, ::4, ::4], subfiletype=subfiletype, metadata=None)

    reader = open_path(path)

    assert (1, 40, 60) == (reader.info.size_z, reader.info.size_y, reader.info.size_x)
    assert "left out" in reader.info.notes[0]
    np.testing.assert_array_equal(ramp[0], reader.read_plane(0, 0, 0, (0, 40)))


def test_pages_of_different_size(tmp_path, open_path):
    """Pages that do not match are named, never dropped."""
    path = tmp_path / "mixed.tif"
    with tifffile.TiffWriter(path) as writer:
        for shape in [(40, 60), (40, 60), (50, 70)]:
            writer.write(np.zeros(shape, np.uint8), metadata=None, contiguous=False)

    with pytest.raises(MixedSlicesError) as caught:
        open_path(path)

    assert 3 == caught.value.values["page"]
    assert "70 x 50" in caught.value.message


@pytest.mark.parametrize("metadata", [{}, None])
def test_appended_arrays(tmp_path, open_path, ramp, metadata):
    """Planes appended one write at a time are one stack, not its first slice."""
    path = tmp_path / "appended.tif"
    for plane in ramp:
        tifffile.imwrite(path, plane, append=True, metadata=metadata)

    reader = open_path(path)

    assert 6 == reader.info.size_z
    np.testing.assert_array_equal(ramp, all_planes(reader)[0, 0])


def test_appended_stacks(tmp_path, open_path, ramp):
    """Stacks appended to each other follow each other, and the note says so."""
    path = tmp_path / "appended.tif"
    tifffile.imwrite(path, ramp[:4], photometric="minisblack")
    tifffile.imwrite(path, ramp[4:], append=True, photometric="minisblack")

    reader = open_path(path)

    np.testing.assert_array_equal(ramp, all_planes(reader)[0, 0])
    assert "2 arrays" in reader.info.notes[0]


def test_two_unnamed_axes(tmp_path, open_path):
    """A shape with two unnamed axes is a question for people."""
    path = tmp_path / "five.tif"
    tifffile.imwrite(path, np.zeros((3, 5, 6, 10), np.uint8), photometric="minisblack")

    with pytest.raises(AmbiguousLayoutError) as caught:
        open_path(path)

    assert [3, 5, 6, 10] == caught.value.values["shape"]


def test_named_axes(tmp_path, open_path, ramp):
    """Axes named in tifffile's description are believed."""
    path = tmp_path / "named.tif"
    czyx = ramp.reshape(2, 3, 40, 60)
    tifffile.imwrite(path, czyx, photometric="minisblack", metadata={"axes": "CZYX"})

    reader = open_path(path)

    assert (1, 2, 3) == (reader.info.size_t, reader.info.size_c, reader.info.size_z)
    np.testing.assert_array_equal(czyx, all_planes(reader)[0])


@pytest.mark.parametrize("truncate", [False, True])
def test_shape_with_one_directory(tmp_path, open_path, ramp, truncate):
    """A stack written as one page with all planes behind it is read whole."""
    path = tmp_path / "one.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(ramp, photometric="minisblack", truncate=truncate)

    reader = open_path(path)

    np.testing.assert_array_equal(ramp, all_planes(reader)[0, 0])


def test_samples_without_meaning(tmp_path, open_path):
    """Grey samples that nobody names are slices, and the note says so."""
    path = tmp_path / "samples.tif"
    yxs = np.arange(6 * 10 * 5, dtype=np.uint8).reshape(6, 10, 5)
    tifffile.imwrite(path, yxs, photometric="minisblack", planarconfig="contig", metadata=None)

    reader = open_path(path)

    assert 5 == reader.info.size_z
    np.testing.assert_array_equal(np.moveaxis(yxs, -1, 0), all_planes(reader)[0, 0])
    assert "unnamed samples" in reader.info.notes[0]


class TestImageJ:
    """ImageJ stacks and hyperstacks."""

    def test_hyperstack(self, tmp_path, open_path):
        """Channels, slices and frames come out as they went in, and are declared."""
        path = tmp_path / "hyper.tif"
        tzcyx = np.arange(2 * 3 * 4 * 5 * 7, dtype=np.uint16).reshape(2, 3, 4, 5, 7)
        tifffile.imwrite(path, tzcyx, imagej=True)

        reader = open_path(path)

        np.testing.assert_array_equal(tzcyx.transpose(0, 2, 1, 3, 4), all_planes(reader))
        assert (True, True) == (reader.info.is_time_declared, reader.info.is_z_declared)

    @pytest.mark.parametrize("unit", ["um", "micron", "\\u00B5m", "µm", "microns"])
    def test_voxel_size(self, tmp_path, open_path, ramp, unit):
        """Unit and spacing give the voxel size, also where the micro sign is spelt out."""
        path = tmp_path / "scaled.tif"
        description = f"ImageJ=1.53t\nimages=6\nslices=6\nunit={unit}\nspacing=0.3\n"
        tifffile.imwrite(
            path, ramp, photometric="minisblack", description=description.encode(),
            metadata=None, resolution=(10, 8), resolutionunit=1,
        )  # fmt: skip

        info = open_path(path).info

        assert (100.0, 125.0) == (info.voxel_size_nm.x, info.voxel_size_nm.y)
        assert pytest.approx(300.0) == info.voxel_size_nm.z
        assert "ImageJ unit and spacing" == info.voxel_size_source

    def test_contiguous(self, tmp_path, open_path, ramp):
        """The form above 4 GiB, one page and all planes behind it, is read whole."""
        path = tmp_path / "big.tif"
        tifffile.imwrite(path, ramp, imagej=True, truncate=True, metadata={"axes": "ZYX"})

        reader = open_path(path)

        np.testing.assert_array_equal(ramp, all_planes(reader)[0, 0])

    def test_truncated_contiguous(self, tmp_path, open_path, ramp):
        """The same cut short declares more planes than it has: it is incomplete."""
        path = tmp_path / "big.tif"
        tifffile.imwrite(path, ramp, imagej=True, truncate=True, metadata={"axes": "ZYX"})
        path.write_bytes(path.read_bytes()[:-5000])

        with pytest.raises(IncompleteAcquisitionError) as caught:
            open_path(path)

        assert (6, 4) == (
            caught.value.values["planes_declared"], caught.value.values["planes_present"],
        )  # fmt: skip


class TestDamage:
    """Broken files are errors that say so, never a shorter stack."""

    @pytest.mark.parametrize("options", [{"metadata": None}, {"ome": True}, {"imagej": True}])
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
    def test_truncated(self, tmp_path, open_path, ramp, options, share):
        """However a multi-page file is cut, it is refused."""
        path = tmp_path / "cut.tif"
        tifffile.imwrite(path, ramp, photometric="minisblack", **options)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

        with pytest.raises((CorruptSliceError, IncompleteAcquisitionError)):
            open_path(path)

    def test_truncated_single(self, tmp_path, open_path, ramp):
        """A single plane whose pixels end early is refused when it is opened."""
        path = tmp_path / "cut.tif"
        tifffile.imwrite(path, ramp[0])
        path.write_bytes(path.read_bytes()[:-100])

        with pytest.raises(CorruptSliceError) as caught:
            open_path(path)

        assert 1 == caught.value.values["page"]

    @pytest.mark.parametrize("tag", [273, 279])
    def test_strips_never_written(self, tmp_path, open_path, ramp, tag):
        """Strips with offset or count 0 are not black slices."""
        path = tmp_path / "unflushed.tif"
        tifffile.imwrite(path, ramp[0], rowsperstrip=20)
        with tifffile.TiffFile(path, mode="r+") as tif:
            tif.pages.first.tags[tag].overwrite((tif.pages.first.tags[tag].value[0], 0))

        with pytest.raises(CorruptSliceError) as caught:
            open_path(path)

        assert "1 of 2" in caught.value.message

    @pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd", "jpeg"])
    def test_damaged_strip(self, tmp_path, open_path, compression):
        """A compressed strip that does not decode is an error that names the plane."""
        path = tmp_path / "rotten.tif"
        plane = np.random.default_rng(1).integers(0, 16, (64, 64), np.uint8)  # compressible
        tifffile.imwrite(path, plane, compression=compression)
        with tifffile.TiffFile(path) as tif:
            offset, count = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
        data = bytearray(path.read_bytes())
        data[offset + count // 3 : offset + count] = bytes(count - count // 3)
        path.write_bytes(data)
        reader = open_path(path)

        with pytest.raises(CorruptSliceError):
            reader.read_plane(0, 0, 0, (0, 64))

    def test_chain_in_a_circle(self, tmp_path, open_path, ramp):
        """A chain of pages that leads back into itself ends with an error, not never."""
        path = tmp_path / "circle.tif"
        tifffile.imwrite(path, ramp[:2], photometric="minisblack", metadata=None)
        with tifffile.TiffFile(path) as tif:
            first, second = tif.pages[0].offset, tif.pages[1].offset
        data = bytearray(path.read_bytes())
        entries = int.from_bytes(data[second : second + 2], "little")
        link = second + 2 + 12 * entries
        data[link : link + 4] = first.to_bytes(4, "little")
        path.write_bytes(data)

        with pytest.raises(CorruptSliceError):
            open_path(path)

    def test_absurd_size(self, tmp_path, open_path):
        """C13: a header that declares terabytes is refused before anything is allocated."""
        path = tmp_path / "absurd.tif"
        tifffile.imwrite(path, np.zeros((8, 8), np.uint8), compression="deflate", metadata=None)
        with tifffile.TiffFile(path, mode="r+") as tif:
            for code in (256, 257, 278):
                tif.pages.first.tags[code].overwrite(2_000_000)

        with pytest.raises(LimitExceededError):
            open_path(path)

    def test_only_a_header(self, tmp_path, open_path):
        """A file with a TIFF header and nothing behind it is damage."""
        path = tmp_path / "head.tif"
        path.write_bytes(b"II*\0\0\0\0\0")

        with pytest.raises(CorruptSliceError):
            open_path(path)


def test_stk_is_named(tmp_path, open_path):
    """A TIFF of a kind that is not read is refused by its name."""
    path = tmp_path / "a.stk"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), extratags=[(33628, 1, 8, b"\0" * 8, True)])

    with pytest.raises(UnsupportedFormatError) as caught:
        open_path(path)

    assert "MetaMorph STK" == caught.value.values["format"]


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((10_000, 10_000), 3, 1000.0),
        ((254_000, 254_000), 2, 100.0),
        ((72, 72), 2, None),
        ((300, 300), 2, None),
        ((28.346, 28.346), 3, None),
        ((10, 10), 1, None),
        ((5, 5), 3, None),
    ],
)
def test_resolution_tags(tmp_path, open_path, resolution, unit, expected):
    """Plausible resolution tags give x and y; printing defaults and nothing give nothing."""
    path = tmp_path / "scaled.tif"
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), resolution=resolution, resolutionunit=unit)

    info = open_path(path).info

    if expected is None:
        assert (PartialVoxelSize(), "") == (info.voxel_size_nm, info.voxel_size_source)
    else:
        assert pytest.approx(expected) == info.voxel_size_nm.x
        assert info.voxel_size_nm.z is None
        assert "TIFF resolution tags" == info.voxel_size_source


def test_2000_pages_are_walked_once(tmp_path, open_path):
    """Opening and reading a 2,000-page file touches each page's directory once."""
    path = tmp_path / "many.tif"
    zyx = np.arange(2000 * 4 * 5, dtype=np.uint16).reshape(2000, 4, 5)
    tifffile.imwrite(path, zyx, photometric="minisblack", metadata=None)

    reader = open_path(path)

    np.testing.assert_array_equal(zyx, all_planes(reader)[0, 0])


def test_json_that_is_no_shape(tmp_path, open_path, ramp):
    """A description that is JSON of somebody else is left alone."""
    path = tmp_path / "json.tif"
    tifffile.imwrite(
        path, ramp[:2], photometric="minisblack", metadata=None,
        description=json.dumps({"shape": "round"}),
    )  # fmt: skip

    assert 2 == open_path(path).info.size_z


def test_a_reopened_reader_reads_the_same_without_parsing_again(tmp_path, monkeypatch):
    """A second reader of one file gives every plane, decoded or raw, from headers parsed once."""
    for name, compression in {"raw.tif": None, "packed.tif": "zlib"}.items():
        stack = np.arange(5 * 7 * 9, dtype=np.uint16).reshape(5, 7, 9)
        path = tmp_path / name
        tifffile.imwrite(path, stack, photometric="minisblack", compression=compression)
        with path.open("rb") as first, path.open("rb") as second:
            parsed = open_tiff(first, name)
            with monkeypatch.context() as patched:
                patched.setattr("stackwatch.readers.tiff.read_ifds", pytest.fail)
                reopened = parsed.reopened(second)
            parsed.close()
            planes = [reopened.read_plane(0, 0, z, (0, 7)).copy() for z in range(5)]
            reopened.close()

        np.testing.assert_array_equal(stack, planes)


def test_pixels_without_samples_are_damage(tmp_path, open_path, ramp):
    """SamplesPerPixel of zero: an error that names the file."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ramp)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["SamplesPerPixel"].overwrite(0)

    with pytest.raises(CorruptSliceError, match="of 0 samples"):
        open_path(path)
