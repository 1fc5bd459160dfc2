"""Which codec for which voxel type, and the encoding and decoding of chunks.

The table is the outcome of measurements (docs/performance.md):

* one byte per value, colour: zstd 3, which has the speed of level 1 and the size of level 5;
* two and four bytes, colour: blosc (zstd 3, bit shuffle): smaller *and* twice as fast as zstd;
* segmentation: zstd 5; level 3 would be larger than what WEBKNOSSOS's own converter writes.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stackwatch.model.options import Codec
from stackwatch.model.voxels import Category, VoxelType

Encoded = Sequence[Any]
"""Encoded chunks: objects with the buffer protocol, one per chunk."""


@dataclass(frozen=True, slots=True)
class CodecSpec:
    """A codec with its parameters.

    Attributes
    ----------
    name : "none" | "zstd" | "blosc" | "gzip"
    level : int
    typesize : int
        Bytes of one value, for the shuffle of blosc.
    """

    name: Literal["none", "zstd", "blosc", "gzip"]
    level: int = 0
    typesize: int = 1

    @property
    def shuffle(self) -> Literal["noshuffle", "bitshuffle"]:
        """Blosc's shuffle: of no use for single bytes."""
        return "bitshuffle" if self.typesize > 1 else "noshuffle"


def choose_codec(voxel_type: VoxelType, category: Category, codec: Codec = "auto") -> CodecSpec:
    """Return the codec for a layer: the setting's, or by voxel type and category."""
    typesize = int(voxel_type.dtype.itemsize)
    if codec == "auto":
        if category is Category.SEGMENTATION:
            codec = "zstd-5"
        else:
            codec = "zstd-3" if typesize == 1 else "blosc"
    return _NAMED[codec] if codec != "blosc" else CodecSpec("blosc", 3, typesize)


_NAMED = {
    "none": CodecSpec("none"),
    "zstd": CodecSpec("zstd", 3),
    "zstd-1": CodecSpec("zstd", 1),
    "zstd-3": CodecSpec("zstd", 3),
    "zstd-5": CodecSpec("zstd", 5),
    "gzip": CodecSpec("gzip", 5),
}


def chunk_encoder(spec: CodecSpec) -> Callable[[NDArray[np.uint8]], Encoded]:
    """Return a function that encodes many chunks at once, safe to call from many threads.

    The function takes an array of shape (chunks, bytes), uint8, C-contiguous, and returns one
    buffer per chunk. The returned buffers do not refer to the input.
    """
    match spec.name:
        case "none":
            return lambda chunks: [chunk.tobytes() for chunk in chunks]
        case "zstd":
            return _ZstdEncoder(spec.level)
        case "blosc":
            return _blosc_encoder(spec)
        case "gzip":
            return _gzip_encoder(spec.level)


class _ZstdEncoder:
    """zstd with a checksum in the frame: one compressor per thread, many chunks per call."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._local = threading.local()

    def __call__(self, chunks: NDArray[np.uint8]) -> Encoded:
        import zstandard

        compressor = getattr(self._local, "compressor", None)
        if compressor is None:
            compressor = zstandard.ZstdCompressor(level=self._level, write_checksum=True)
            self._local.compressor = compressor
        if not hasattr(compressor, "multi_compress_to_buffer"):  # builds without the C extension
            return [compressor.compress(chunk) for chunk in chunks]
        # One call for all chunks: the interpreter's lock is released once for megabytes.
        count, size = chunks.shape
        segments = np.empty((count, 2), "<u8")
        segments[:, 0] = np.arange(count, dtype=np.uint64) * np.uint64(size)
        segments[:, 1] = size
        views = zstandard.BufferWithSegments(chunks.reshape(-1).data, segments.tobytes())
        encoded: Any = compressor.multi_compress_to_buffer(views)
        return list(encoded)


def _blosc_encoder(spec: CodecSpec) -> Callable[[NDArray[np.uint8]], Encoded]:
    from numcodecs import blosc

    shuffle = blosc.BITSHUFFLE if spec.typesize > 1 else blosc.NOSHUFFLE
    values = np.dtype(f"u{spec.typesize}")  # blosc takes its typesize from the array

    def encode(chunks: NDArray[np.uint8]) -> Encoded:
        return [
            blosc.compress(chunk, b"zstd", spec.level, shuffle, 0) for chunk in chunks.view(values)
        ]

    return encode


def _gzip_encoder(level: int) -> Callable[[NDArray[np.uint8]], Encoded]:
    import zlib

    def encode(chunks: NDArray[np.uint8]) -> Encoded:
        encoded = []
        for chunk in chunks:
            compressor = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
            encoded.append(compressor.compress(chunk) + compressor.flush())
        return encoded

    return encode


def chunk_decoder(spec: CodecSpec) -> Callable[[memoryview], Any]:
    """Return a function that decodes one chunk, for one thread.

    It returns a buffer, and raises `ValueError` where the chunk is damaged and its codec notices.
    """
    match spec.name:
        case "none":
            return bytes
        case "zstd":
            return _zstd_decoder()
        case "blosc":
            return _blosc_decoder()
        case "gzip":
            return _gunzip


def _zstd_decoder() -> Callable[[memoryview], Any]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor()

    def decode(chunk: memoryview) -> bytes:
        try:
            return decompressor.decompress(chunk)
        except zstandard.ZstdError as error:
            raise ValueError(f"a chunk is damaged ({error})") from error

    return decode


def _blosc_decoder() -> Callable[[memoryview], Any]:
    from numcodecs import blosc

    def decode(chunk: memoryview) -> Any:
        try:
            return blosc.decompress(chunk)
        except RuntimeError as error:
            raise ValueError(f"a chunk is damaged ({error})") from error

    return decode


def _gunzip(chunk: memoryview) -> bytes:
    import zlib

    try:
        return zlib.decompress(chunk, 16 + zlib.MAX_WBITS)
    except zlib.error as error:
        raise ValueError(f"a chunk is damaged ({error})") from error
