"""Readers against slow, obvious references, over odd extents first."""

import io
import struct

import numpy as np
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stackwatch.errors import StackwatchError
from stackwatch.model.image import Treatment
from stackwatch.readers.pixels import apply_treatment, upright
from stackwatch.readers.probe import open_image

DTYPES = st.sampled_from(["uint8", "uint16", "uint32", "int8", "int16", "float32", "float64"])


@st.composite
def written_tiffs(draw):
    """Draw pixels and a way to store them; return both."""
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 37)), draw(st.integers(1, 41)))
    dtype = draw(DTYPES)
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 100, shape).astype(dtype)
    options: dict[str, object] = {
        "byteorder": draw(st.sampled_from("<>")),
        "bigtiff": draw(st.booleans()),
        "compression": draw(st.sampled_from([None, "lzw", "deflate", "zstd", "packbits"])),
    }
    if draw(st.booleans()):
        options["tile"] = (draw(st.sampled_from([16, 32])), draw(st.sampled_from([16, 48])))
    else:
        options["rowsperstrip"] = draw(st.integers(1, 40))
    if options["compression"] in {"lzw", "deflate", "zstd"} and np.dtype(dtype).kind in "iu":
        options["predictor"] = draw(st.booleans())
    return pixels, options


@given(written=written_tiffs(), data=st.data())
def test_any_rows_of_any_tiff(written, data):
    """Any rows of any plane equal those tifffile reads, however the file is stored."""
    pixels, options = written
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="minisblack", metadata=None, **options)
    z = data.draw(st.integers(0, pixels.shape[0] - 1))
    first = data.draw(st.integers(0, pixels.shape[1] - 1))
    last = data.draw(st.integers(first + 1, pixels.shape[1]))

    reader = open_image(buffer, "a.tif")
    found = reader.read_plane(0, 0, z, (first, last))

    assert pixels.shape == (reader.info.size_z, reader.info.size_y, reader.info.size_x)
    np.testing.assert_array_equal(pixels[z, first:last], found)
    reader.close()


def small_tiff() -> bytes:
    """Return a small TIFF of two compressed pages."""
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, np.arange(200, dtype=np.uint8).reshape(2, 10, 10), photometric="minisblack",
        compression="deflate", metadata=None, rowsperstrip=5,
    )  # fmt: skip
    return buffer.getvalue()


TIFF = small_tiff()


@given(cut=st.integers(0, len(TIFF) - 1))
def test_no_cut_file_passes(cut):
    """A file cut anywhere is an error of ours, or still whole: never another stack."""
    try:
        reader = open_image(io.BytesIO(TIFF[:cut]), "a.tif")
        planes = [reader.read_plane(0, 0, z, (0, 10)) for z in range(reader.info.size_z)]
    except StackwatchError:
        return

    np.testing.assert_array_equal(np.arange(200).reshape(2, 10, 10), planes)


@given(
    places=st.lists(
        st.tuples(st.integers(4, len(TIFF) - 4), st.integers(0, 2**32 - 1)), min_size=1, max_size=3
    )
)
def test_damage_never_escapes(places):
    """Whatever numbers stand in a damaged file, only errors of ours come out."""
    data = bytearray(TIFF)
    for offset, value in places:
        struct.pack_into("<I", data, offset, value)
    try:
        reader = open_image(io.BytesIO(bytes(data)), "a.tif")
        size = reader.info
        reader.read_plane(0, 0, 0, (0, min(size.size_y, 10)))
    except StackwatchError:
        return

    assert size.size_z >= 1


@given(
    plane=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)),
    orientation=st.integers(1, 8),
)
def test_upright_pixel_by_pixel(plane, orientation):
    """Turning equals the definition of EXIF, pixel by pixel."""
    height, width = plane.shape
    found = upright(plane, orientation)
    for y in range(height):
        for x in range(width):
            place = {
                1: (y, x), 2: (y, width - 1 - x), 3: (height - 1 - y, width - 1 - x),
                4: (height - 1 - y, x), 5: (x, y), 6: (x, height - 1 - y),
                7: (width - 1 - x, height - 1 - y), 8: (width - 1 - x, y),
            }[orientation]  # fmt: skip
            assert plane[y, x] == found[place]


@given(
    plane=hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    palette=hnp.arrays(np.uint8, (256, 3)),
    invert=st.booleans(),
)
def test_palette_pixel_by_pixel(plane, palette, invert):
    """A palette applied in one go equals looking up each pixel."""
    out = np.zeros((*plane.shape, 3), np.uint8)

    apply_treatment(plane, Treatment(palette="rgb", invert=invert), palette, [out], "a.png")

    for y, x in np.ndindex(plane.shape):
        colour = palette[plane[y, x]].tolist()
        assert [255 - value if invert else value for value in colour] == out[y, x].tolist()
