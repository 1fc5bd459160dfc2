"""Measure codecs on the chunks of lifelike slabs: the figures behind the table in stores/codecs.py.

`python -m benchmarks.codecs` prints, for each kind of data and each codec, megabytes of voxels per
CPU second of one core, and the ratio.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.stacks import iter_ragged_labels
from stackwatch.stores.codecs import CodecSpec, chunk_encoder
from stackwatch.testing.synthetic import iter_em_slices, iter_light_sheet_slices

SHAPE_ZYX = (32, 1024, 1024)
EDGE = 32
RUNS = 3

DATA: dict[str, Iterator[NDArray[Any]]] = {
    "EM-like uint8": iter_em_slices(SHAPE_ZYX),
    "light-sheet-like uint16": iter_light_sheet_slices(SHAPE_ZYX),
    "segmentation uint32": iter_ragged_labels(SHAPE_ZYX),
}


def cut_chunks(slab_zyx: NDArray[Any]) -> NDArray[np.uint8]:
    """Return all chunks of a slab as rows of bytes, shape (chunks, bytes)."""
    rows, columns = (extent // EDGE for extent in slab_zyx.shape[1:])
    cut = slab_zyx.reshape(EDGE, rows, EDGE, columns, EDGE).transpose(1, 3, 0, 2, 4)
    return np.ascontiguousarray(cut).reshape(rows * columns, -1).view(np.uint8)


def list_codecs(typesize: int) -> dict[str, CodecSpec]:
    """Return the codecs worth comparing for values of `typesize` bytes."""
    found = {f"zstd {level}": CodecSpec("zstd", level) for level in (1, 3, 5)}
    for level in (1, 3):
        found[f"blosc zstd {level} bitshuffle"] = CodecSpec("blosc", level, typesize)
    return found


def measure_codec(spec: CodecSpec, chunks: NDArray[np.uint8]) -> tuple[float, float]:
    """Return megabytes per CPU second (best of some runs) and the ratio."""
    encode = chunk_encoder(spec)
    quickest = float("inf")
    written = 0
    for _ in range(RUNS):
        began = time.process_time()
        encoded = encode(chunks)
        quickest = min(quickest, time.process_time() - began)
        written = sum(memoryview(one).nbytes for one in encoded)
    return chunks.nbytes / 1e6 / quickest, chunks.nbytes / written


def main() -> None:
    """Print the table."""
    print(f"{'data':<26}{'codec':<28}{'MB / CPU s':>10}{'ratio':>8}")
    for name, slices in DATA.items():
        slab = np.stack(list(slices))
        chunks = cut_chunks(slab)
        for codec, spec in list_codecs(slab.dtype.itemsize).items():
            speed, ratio = measure_codec(spec, chunks)
            print(f"{name:<26}{codec:<28}{speed:>10.0f}{ratio:>7.2f}x")


if __name__ == "__main__":
    main()
