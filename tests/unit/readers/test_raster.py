"""PNG, JPEG and BMP: every mode, whole bit depths, damage noticed."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from stackwatch.errors import CorruptSliceError, LimitExceededError, UnsupportedFormatError


def grey(shape=(6, 10)) -> np.ndarray:
    """Return a grey plane whose values encode their coordinates."""
    return np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_grey(tmp_path, open_path, suffix):
    """Grey pictures keep their pixels."""
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(grey()).save(path)

    reader = open_path(path)

    assert (suffix, "grey", 6, 10) == (
        reader.info.reader, reader.info.pixels.kind, reader.info.size_y, reader.info.size_x,
    )  # fmt: skip
    np.testing.assert_array_equal(grey()[2:5], reader.read_plane(0, 0, 0, (2, 5)))


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_rgb(tmp_path, open_path, suffix):
    """RGB pictures keep their pixels."""
    path = tmp_path / f"a.{suffix}"
    pixels = grey((6, 10, 3))
    Image.fromarray(pixels).save(path)

    reader = open_path(path)

    assert ("rgb", 3, False) == (
        reader.info.pixels.kind, reader.info.pixels.samples, reader.info.pixels.has_alpha,
    )  # fmt: skip
    np.testing.assert_array_equal(pixels, reader.read_plane(0, 0, 0, (0, 6)))


@pytest.mark.parametrize(("samples", "kind"), [(1, "grey"), (2, "grey"), (3, "rgb"), (4, "rgb")])
def test_16_bit_png(tmp_path, open_path, samples, kind):
    """A 16-bit PNG keeps all its bits, colours and alpha too."""
    path = tmp_path / "deep.png"
    pixels = (np.arange(60 * samples, dtype=np.uint16) * 271).reshape(6, 10, samples)
    path.write_bytes(imagecodecs.png_encode(pixels if samples > 1 else pixels[..., 0]))

    reader = open_path(path)
    plane = reader.read_plane(0, 0, 0, (0, 6))

    assert ("uint16", kind, samples, samples in {2, 4}) == (
        reader.info.pixels.dtype_name, reader.info.pixels.kind,
        reader.info.pixels.samples, reader.info.pixels.has_alpha,
    )  # fmt: skip
    np.testing.assert_array_equal(pixels.squeeze(), plane)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha(tmp_path, open_path, mode):
    """Alpha is told."""
    path = tmp_path / "alpha.png"
    Image.new(mode, (10, 6)).save(path)

    assert open_path(path).info.pixels.has_alpha


def test_bilevel(tmp_path, open_path):
    """A 1-bit PNG is boolean."""
    path = tmp_path / "mask.png"
    plane = grey() % 3 == 0
    Image.fromarray(plane).save(path)

    reader = open_path(path)

    assert ("bool", "bilevel") == (reader.info.pixels.dtype_name, reader.info.pixels.kind)
    np.testing.assert_array_equal(plane, reader.read_plane(0, 0, 0, (0, 6)))


@pytest.mark.parametrize("suffix", ["png", "bmp"])
@pytest.mark.parametrize("is_grey", [True, False])
def test_palette(tmp_path, open_path, suffix, is_grey):
    """Palette pictures give indices and colours; a grey palette is told from a coloured one."""
    path = tmp_path / f"palette.{suffix}"
    colours = np.repeat(np.arange(256)[::-1, None], 3, axis=1)
    if not is_grey:
        colours[:, 1] //= 2
    picture = Image.fromarray(grey()).convert("P")
    picture.putdata(grey().ravel().tolist())
    picture.putpalette(colours.astype(np.uint8).tobytes())
    picture.save(path)

    reader = open_path(path)

    assert ("palette", is_grey) == (
        reader.info.pixels.kind, reader.info.pixels.has_grey_palette,
    )  # fmt: skip
    np.testing.assert_array_equal(grey(), reader.read_plane(0, 0, 0, (0, 6)))
    np.testing.assert_array_equal(colours[:60], reader.palette_rgb()[:60])


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_colour_is_alpha(tmp_path, open_path, mode):
    """A transparent colour (tRNS) becomes an alpha channel, so that nobody loses it unasked."""
    path = tmp_path / "clear.png"
    picture = Image.fromarray(grey()).convert(mode)
    picture.save(path, transparency=(0, 0, 0) if mode == "RGB" else 0)

    reader = open_path(path)

    assert reader.info.pixels.has_alpha
    assert reader.info.pixels.samples == reader.read_plane(0, 0, 0, (0, 6)).shape[-1]


@pytest.mark.parametrize(("orientation", "extent"), [(3, (6, 10)), (6, (10, 6)), (8, (10, 6))])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_orientation(tmp_path, open_path, suffix, orientation, extent):
    """The orientation is told, the extent is upright, the plane is as stored."""
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(grey()).save(path, exif=exif)

    reader = open_path(path)

    assert (orientation, extent) == (
        reader.info.pixels.orientation, (reader.info.size_y, reader.info.size_x),
    )  # fmt: skip
    assert (6, 10) == reader.read_plane(0, 0, 0, (0, 6)).shape


def test_cmyk_jpeg(tmp_path, open_path):
    """A CMYK JPEG is called CMYK, not converted by guess."""
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (10, 6)).save(path)

    assert "cmyk" == open_path(path).info.pixels.kind


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated(tmp_path, open_path, suffix, share):
    """A picture that ends early is an error, never grey filling."""
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(2).integers(0, 255, (64, 64), np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])

    with pytest.raises(CorruptSliceError):
        open_path(path).read_plane(0, 0, 0, (0, 64))


@pytest.mark.parametrize("share", [0.5, 0.9, 0.995])
def test_truncated_16_bit_png(tmp_path, open_path, share):
    """A 16-bit PNG that ends early is an error too."""
    path = tmp_path / "cut.png"
    noise = np.random.default_rng(2).integers(0, 65535, (64, 64, 3), np.uint16)
    data = imagecodecs.png_encode(noise)
    path.write_bytes(data[: int(len(data) * share)])

    with pytest.raises(CorruptSliceError):
        open_path(path).read_plane(0, 0, 0, (0, 64))


def test_absurd_size(tmp_path, open_path):
    """A PNG header of a million by a million pixels is refused before anything is allocated."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    path = tmp_path / "absurd.png"
    head = struct.pack(">IIBBBBB", 1_000_000, 1_000_000, 8, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    )  # fmt: skip

    with pytest.raises(LimitExceededError):
        open_path(path)


def test_large_tiles_pass_and_pillow_is_left_alone(tmp_path, open_path):
    """A picture beyond Pillow's own limit is read, and that limit stays as it was."""
    before = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "large.png"
    Image.new("1", (20_000, 10_000)).save(path)

    info = open_path(path).info

    assert (10_000, 20_000) == (info.size_y, info.size_x)
    assert before == Image.MAX_IMAGE_PIXELS


def test_animated_png(tmp_path, open_path):
    """An animated PNG is refused: which frame would be the slice?"""
    path = tmp_path / "film.png"
    frames = [Image.fromarray(grey() + step) for step in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])

    with pytest.raises(UnsupportedFormatError):
        open_path(path)


def test_low_bit_grey_is_noted(tmp_path, open_path):
    """4-bit grey comes out scaled, and the note says so."""
    path = tmp_path / "four.png"
    buffer = io.BytesIO()
    Image.fromarray(grey() % 16 * 17).save(buffer, "png")
    rows = b"".join(b"\0" + bytes(((2 * i) % 16 << 4) | (2 * i + 1) % 16 for i in range(5))
                    for _ in range(6))  # fmt: skip
    head = struct.pack(">IIBBBBB", 10, 6, 4, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in parts:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        data += struct.pack(">I", len(body)) + kind + body + crc
    path.write_bytes(data)

    reader = open_path(path)

    assert "4 bits" in reader.info.notes[0]
    assert [17 * x for x in range(10)] == reader.read_plane(0, 0, 0, (0, 6))[0].tolist()
