"""Decode and compose zstd tiles of 16-bit colours, which the library decodes wrongly.

Of a tile whose low and high bytes were stored apart, libCZI (of pylibCZIrw 6.1.0) puts together
only the first third of each row where a pixel has three values; what it returns for the rest is
noise, without an error, also for files that it has written itself. Those tiles are decoded here.

Source: the CZI format description, compression 6: a header that begins with its own length, in it
chunk 1 with a bit that says that all low bytes come before all high bytes; then a zstd frame.
"""

from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from stackwatch.readers.czi_directory import UNCOMPRESSED, ZSTD0, ZSTD1
from stackwatch.readers.damage import damaged_header

_BYTES_APART: Final = 1


def decode_zstd(data: bytes, compression: int, out: NDArray[Any], name: str) -> None:
    """Decode one tile.

    Parameters
    ----------
    data : bytes
        As it is stored.
    compression : int
        `ZSTD0`, `ZSTD1` or `UNCOMPRESSED`.
    out : array, shape (y, x, samples), C-contiguous
        Filled.
    name : str
        The file's path, for messages.

    Raises
    ------
    CorruptSliceError
        It does not hold this tile; the caller passes it on.
    """
    assert compression in {UNCOMPRESSED, ZSTD0, ZSTD1}
    header = data[: data[0] if data and compression == ZSTD1 else 0]
    if compression == ZSTD1 and header[1:2] not in {b"", b"\1"}:
        raise damaged_header(name, "a tile is packed in a way that is not known")
    values = data
    try:
        if compression != UNCOMPRESSED:
            frame = memoryview(data)[len(header) :]
            values = zstandard.ZstdDecompressor().decompress(frame, max_output_size=out.nbytes)
    except zstandard.ZstdError as error:
        raise damaged_header(name, f"a tile cannot be decompressed ({error})") from error
    if len(values) != out.nbytes:
        why = f"a tile of {out.nbytes:,} bytes holds {len(values):,}"
        raise damaged_header(name, why)
    stored, flat = np.frombuffer(values, np.uint8), out.view(np.uint8).reshape(-1)
    if len(header) > 2 and header[2] & _BYTES_APART:
        width = out.dtype.itemsize
        for place, part in enumerate(stored.reshape(width, -1)):
            flat[place::width] = part
    else:
        flat[...] = stored
