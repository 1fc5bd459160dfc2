"""What one TIFF page is: extent, samples, segments; pure, from its tags."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import PixelFormat, PixelKind
from stackwatch.readers.ifd import Ifd
from stackwatch.readers.limits import check_declared_size

JPEG_COMPRESSIONS = frozenset({7, 34892})
_FORMAT_TAGS = (
    256, 257, 258, 259, 262, 266, 274, 277, 278, 284, 317, 322, 323, 338, 339, 530, 32997, 32998,
)  # fmt: skip
_PHOTOMETRIC_NAMES = {
    4: "transparency mask", 8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*",
    32803: "colour filter array (raw camera)", 34892: "linear raw camera", 51177: "depth map",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PageFormat:
    """How the pixels of a page are stored: everything but where they lie.

    Attributes
    ----------
    width, height : int
        As stored, before the orientation is undone.
    bits : int
        Of one sample.
    samples : int
        Values per pixel.
    is_planar : bool
        Whether each sample is a plane of its own.
    segment_height, segment_width : int
        Extent of a strip (as wide as the page) or a tile.
    is_tiled : bool
    compression, photometric, predictor, fill_order : int
        TIFF codes.
    pixels : PixelFormat
    """

    width: int
    height: int
    bits: int
    samples: int
    is_planar: bool
    segment_height: int
    segment_width: int
    is_tiled: bool
    compression: int
    photometric: int
    predictor: int
    fill_order: int
    pixels: PixelFormat

    @property
    def row_bytes(self) -> int:
        """Bytes of a decoded row, all samples."""
        return self.width * self.samples * np.dtype(self.pixels.dtype_name).itemsize

    @property
    def plane_bytes(self) -> int:
        """Bytes of the decoded page."""
        return self.row_bytes * self.height

    @property
    def segments_down(self) -> int:
        """Rows of segments."""
        return -(-self.height // self.segment_height)

    @property
    def segments_across(self) -> int:
        """Columns of segments: 1 for strips."""
        return -(-self.width // self.segment_width)

    @property
    def is_raw(self) -> bool:
        """Whether the bytes of a row lie in the file as they are in memory, but for byte order."""
        return (
            self.compression == 1
            and not self.is_tiled
            and (not self.is_planar or self.samples == 1)
            and self.predictor == 1
            and self.fill_order == 1
            and self.bits == np.dtype(self.pixels.dtype_name).itemsize * 8
        )

    @property
    def can_read_rows(self) -> bool:
        """Whether some rows cost about their share of the page."""
        return self.compression == 1 or self.segments_down > 1


class PageFormats:
    """Parses the formats of a file's pages; equal tags give the same object, parsed once."""

    def __init__(self, name: str, file_bytes: int) -> None:
        self._name = name
        self._file_bytes = file_bytes
        self._known: dict[tuple[bytes, ...], PageFormat] = {}

    def of(self, ifd: Ifd) -> PageFormat:
        """Return the format of a page.

        Raises
        ------
        UnsupportedFormatError, CorruptSliceError, LimitExceededError
            The caller passes them on.
        """
        key = tuple(ifd.value_bytes(code) if code in ifd.tags else b"" for code in _FORMAT_TAGS)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _parse_format(ifd, self._name, self._file_bytes)
        return found


def _parse_format(ifd: Ifd, name: str, file_bytes: int) -> PageFormat:
    width, height = ifd.int_or(256, 0), ifd.int_or(257, 0)
    samples = ifd.int_or(277, 1)
    if min(width, height, samples) <= 0:
        raise CorruptSliceError(
            f"Page {ifd.index + 1} of “{show_path(name)}” declares {width} x {height} pixels of "
            f"{samples} samples: the header is damaged. Copy the file again.",
            hint="Copy the file again.",
            path=show_path(name),
        )
    if ifd.int_or(32997, 1) > 1 or ifd.int_or(32998, 1) > 1:
        raise _unsupported(name, "pages with a depth of their own (ImageDepth)")
    is_tiled = 322 in ifd.tags
    pixels, bits = _pixel_format(ifd, name)
    compression = ifd.int_or(259, 1)
    item_bytes = 16 if pixels.dtype_name == "complex128" else np.dtype(pixels.dtype_name).itemsize
    page = PageFormat(
        width=width,
        height=height,
        bits=bits,
        samples=pixels.samples,
        is_planar=ifd.int_or(284, 1) == 2 and pixels.samples > 1,
        segment_height=ifd.int_or(323, 0) if is_tiled else min(ifd.int_or(278, height), height),
        segment_width=ifd.int_or(322, 0) if is_tiled else width,
        is_tiled=is_tiled,
        compression=compression,
        photometric=ifd.int_or(262, 1),
        predictor=ifd.int_or(317, 1),
        fill_order=ifd.int_or(266, 1),
        pixels=pixels,
    )
    if page.segment_height <= 0 or page.segment_width <= 0:
        raise _unsupported(name, "strips or tiles without extent")
    stored_bytes = item_bytes * pixels.samples
    check_declared_size(name, width, height, stored_bytes, file_bytes)
    check_declared_size(name, page.segment_width, page.segment_height, stored_bytes, file_bytes)
    return page


def _pixel_format(ifd: Ifd, name: str) -> tuple[PixelFormat, int]:
    """Return the pixels' meaning and the bits of a sample."""
    samples = ifd.int_or(277, 1)
    bits_of_each = set(ifd.ints(258)) or {1}
    forms = set(ifd.ints(339)) or {1}
    if len(bits_of_each) > 1 or len(forms) > 1:
        raise _unsupported(name, f"samples of different kinds (bits {sorted(bits_of_each)})")
    bits = bits_of_each.pop()
    photometric = ifd.int_or(262, 1)
    kind, base = _kind_of(photometric, ifd.int_or(259, 1), samples, name)
    if kind == "grey" and bits == 1:
        kind = "bilevel"
    extras = ifd.ints(338)
    has_alpha = samples == base + 1 and (kind == "rgb" or bool(extras and extras[0] in {1, 2}))
    if samples > base and not has_alpha and kind != "grey":
        raise _unsupported(name, f"{samples} samples per pixel in a {kind} image")
    dtype_name = _dtype_name(forms.pop(), bits, name)
    if kind == "palette" and dtype_name == "bool":
        dtype_name = "uint8"
    is_inverted = photometric == 0
    if is_inverted and bits not in {1, 8, 16, 32, 64}:
        raise _unsupported(name, f"inverted grey values (MINISWHITE) of {bits} bits")
    orientation = ifd.int_or(274, 1)
    pixels = PixelFormat(
        dtype_name=dtype_name,
        kind=kind,
        samples=samples,
        has_alpha=has_alpha,
        is_inverted=is_inverted,
        orientation=orientation if 1 <= orientation <= 8 else 1,
    )
    return pixels, bits


def _kind_of(photometric: int, compression: int, samples: int, name: str) -> tuple[PixelKind, int]:
    """Return the meaning of a pixel and how many samples it takes without extras."""
    match photometric:
        case 0 | 1:
            return "grey", 1
        case 2 if samples >= 3:
            return "rgb", 3
        case 3:
            return "palette", 1
        case 5:
            return "cmyk", 4
        case 6 if compression in JPEG_COMPRESSIONS and samples == 3:
            return "rgb", 3
        case 6:
            raise _unsupported(name, "YCbCr colours without JPEG compression")
    meaning = _PHOTOMETRIC_NAMES.get(photometric, f"photometric interpretation {photometric}")
    raise _unsupported(name, f"{meaning} with {samples} samples per pixel")


def _dtype_name(form: int, bits: int, name: str) -> str:
    """Return the numpy dtype of a sample; packed integers widen to the next whole type."""
    if form in {1, 4}:
        for limit, dtype_name in ((1, "bool"), (8, "uint8"), (16, "uint16"), (32, "uint32")):
            if bits <= limit:
                return dtype_name
    exact = {
        (1, 64): "uint64", (4, 64): "uint64", (2, 8): "int8", (2, 16): "int16",
        (2, 32): "int32", (2, 64): "int64", (3, 16): "float16", (3, 24): "float32",
        (3, 32): "float32", (3, 64): "float64", (6, 64): "complex64", (6, 128): "complex128",
    }  # fmt: skip
    found = exact.get((form, bits))
    if found is None:
        raise _unsupported(name, f"samples of {bits} bits in sample format {form}")
    return found


def _unsupported(name: str, what: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"“{show_path(name)}” is a TIFF with {what}, which stackwatch cannot read. "
        "Save it as a plain grey or RGB TIFF.",
        hint="Save it as a plain grey or RGB TIFF.",
        path=show_path(name),
        feature=what,
    )


@dataclass(frozen=True, slots=True)
class Segments:
    """Where the strips or tiles of a page lie.

    Attributes
    ----------
    offsets, byte_counts : array of int64
        By segment index: row by row, for planar samples sample by sample.
    """

    offsets: NDArray[np.int64]
    byte_counts: NDArray[np.int64]

    @property
    def start(self) -> int:
        """First byte of the page's pixels."""
        return int(self.offsets.min())

    @property
    def end(self) -> int:
        """The byte after the last."""
        return int((self.offsets + self.byte_counts).max())


def parse_segments(ifd: Ifd, page: PageFormat, planes: int = 1) -> Segments:
    """Return where the segments of a page lie, and make sure that all of them are in the file.

    Parameters
    ----------
    planes : int
        Above 1 for the one page of a contiguous stack: its byte counts are those of one plane, or
        overflown, and are taken from the extent instead.

    Raises
    ------
    CorruptSliceError
        A segment was never written, or lies outside the file.
    """
    name = ifd.file.name
    expected = page.segments_down * page.segments_across * (page.samples if page.is_planar else 1)
    try:
        offsets = np.array(ifd.ints(324) or ifd.ints(273), np.int64)
        counts = np.array(ifd.ints(325) or ifd.ints(279), np.int64)
    except OverflowError as error:
        raise _damaged(name, ifd.index, "points beyond any file") from error
    if planes > 1:
        offsets, counts = offsets[:1], np.array([planes * page.plane_bytes], np.int64)
        expected = 1
    elif page.is_raw and (len(counts) == 0 or len(counts) == expected == 1):
        # Some writers leave the count of a single raw strip out, or round it up.
        wanted = _raw_counts(page)
        if len(counts) == 0 or counts[0] > wanted[0]:
            counts = wanted
    if len(offsets) < expected or len(counts) < expected:
        raise _damaged(name, ifd.index, f"lists {len(offsets)} of {expected} strips or tiles")
    offsets, counts = offsets[:expected], counts[:expected]
    if not (offsets.all() and counts.all()):
        written = int(np.count_nonzero(offsets * counts))
        raise _damaged(
            name,
            ifd.index,
            f"has {written} of {expected} strips or tiles written, the rest is empty",
        )
    ends = offsets + counts
    if int(ends.max()) > ifd.file.size or int(offsets.min()) < 0:
        raise _damaged(
            name, ifd.index, f"needs bytes up to {int(ends.max()):,} of {ifd.file.size:,}"
        )
    if page.is_raw and planes == 1 and bool((counts < _raw_counts(page)).any()):
        raise _damaged(name, ifd.index, "has strips that are shorter than its rows")
    return Segments(offsets, counts)


@lru_cache(maxsize=64)
def _raw_counts(page: PageFormat) -> NDArray[np.int64]:
    """Return the bytes each raw strip must have."""
    heights = np.full(page.segments_down, page.segment_height, np.int64)
    heights[-1] = page.height - page.segment_height * (page.segments_down - 1)
    counts: NDArray[np.int64] = heights * page.row_bytes
    counts.setflags(write=False)  # shared by all pages of the format
    return counts


def _damaged(name: str, index: int, what: str) -> CorruptSliceError:
    return CorruptSliceError(
        f"Page {index + 1} of “{show_path(name)}” {what}: the file is truncated or was not written "
        "completely. Copy the file again.",
        hint="Copy the file again.",
        path=show_path(name),
        page=index + 1,
    )


def is_scaled_copy(small: PageFormat, large: PageFormat) -> bool:
    """Tell whether a page looks like a coarser level of another: same aspect, half or less."""
    if small.width >= large.width or small.height >= large.height:
        return False
    factor = large.width / small.width
    slack = factor + 1  # each level may round its edge up or down by one pixel
    return factor >= 1.9 and math.isclose(small.height * factor, large.height, abs_tol=slack)
