"""Measure what no converter can be faster than: the codec's time, and the disk's.

`python -m benchmarks.floors DATASET THREADS` prints one JSON document. The codec floor compresses
the very chunks of all mags of DATASET, already cut and contiguous in memory, on THREADS threads,
with the codec that its metadata names. The disk floor writes as many bytes as DATASET has into one
file beside it, in order, and fsyncs it.
"""

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numcodecs.blosc
import numpy as np
import tensorstore
import zstandard
from numpy.typing import NDArray

from benchmarks.measure import count_bytes

Encode = Callable[[NDArray[Any]], bytes]
BATCH = 64
BLOCK_BYTES = 8 << 20


def find_arrays(dataset: Path) -> list[Path]:
    """Return the folders of all arrays (layers and mags) of a dataset."""
    folders = [path.parent for path in dataset.rglob("zarr.json")]
    return [
        folder
        for folder in sorted(folders)
        if json.loads((folder / "zarr.json").read_text())["node_type"] == "array"
    ]


def read_sharding(array: Path) -> dict[str, Any]:
    """Return the configuration of an array's sharding codec."""
    codecs = json.loads((array / "zarr.json").read_text())["codecs"]
    found: dict[str, Any] = next(c for c in codecs if c["name"] == "sharding_indexed")
    return dict(found["configuration"])


def cut_chunks(array: Path, sharding: dict[str, Any]) -> Iterator[NDArray[Any]]:
    """Yield every chunk that is stored, contiguous in the order of its bytes on disk."""
    store = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(array)}}
    ).result()
    voxels = np.asarray(store.read().result()).transpose()  # last axis first, as on disk
    shape = tuple(reversed(sharding["chunk_shape"]))
    starts = itertools.product(*map(range, [0] * voxels.ndim, voxels.shape, shape))
    for start in starts:
        part = voxels[tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))]
        if not part.any():
            continue
        missing = [(0, n - have) for n, have in zip(shape, part.shape, strict=True)]
        yield np.ascontiguousarray(np.pad(part, missing))


def make_encoder(sharding: dict[str, Any], itemsize: int) -> Encode:
    """Return the compressor that an array's metadata names, for use by one thread."""
    codecs = {codec["name"]: codec.get("configuration", {}) for codec in sharding["codecs"]}
    if "zstd" in codecs:
        level = codecs["zstd"]["level"]
        checksum = codecs["zstd"].get("checksum", False)
        zstd = zstandard.ZstdCompressor(level=level, write_checksum=checksum)
        return lambda chunk: zstd.compress(chunk.reshape(-1).view(np.uint8).data)
    settings = codecs["blosc"]
    shuffle = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}[settings["shuffle"]]
    name, level = settings["cname"].encode(), settings["clevel"]
    return lambda chunk: bytes(numcodecs.blosc.compress(chunk, name, level, shuffle, 0, itemsize))


def measure_codec(dataset: Path, threads: int) -> dict[str, float]:
    """Compress every chunk of every mag, one array after the other."""
    numcodecs.blosc.use_threads = False  # threads are ours: one chunk each, as in a conversion
    result = {"codec_s": 0.0, "codec_cpu_s": 0.0, "voxel_bytes": 0.0, "compressed_bytes": 0.0}
    for array in find_arrays(dataset):
        sharding = read_sharding(array)
        chunks = list(cut_chunks(array, sharding))
        if not chunks:
            continue
        own = threading.local()

        def compress(
            batch: list[NDArray[Any]],
            own: threading.local = own,
            sharding: dict[str, Any] = sharding,
        ) -> int:
            if not hasattr(own, "encode"):
                own.encode = make_encoder(sharding, batch[0].dtype.itemsize)
            return sum(len(own.encode(chunk)) for chunk in batch)

        batches = [chunks[start : start + BATCH] for start in range(0, len(chunks), BATCH)]
        with ThreadPoolExecutor(threads) as pool:
            wall, cpu = time.perf_counter(), time.process_time()
            result["compressed_bytes"] += sum(pool.map(compress, batches))
            result["codec_s"] += time.perf_counter() - wall
            result["codec_cpu_s"] += time.process_time() - cpu
        result["voxel_bytes"] += sum(chunk.nbytes for chunk in chunks)
    return result


def measure_disk(folder: Path, size: int) -> float:
    """Write `size` bytes that do not compress, in order, fsync them, and return the seconds."""
    block = np.random.default_rng(0).bytes(BLOCK_BYTES)
    place = folder / f"disk-floor-{os.getpid()}"
    os.sync()
    try:
        began = time.perf_counter()
        with place.open("wb", buffering=0) as file:
            for start in range(0, size, BLOCK_BYTES):
                file.write(block[: min(BLOCK_BYTES, size - start)])
            os.fsync(file.fileno())
        return time.perf_counter() - began
    finally:
        place.unlink(missing_ok=True)


def main() -> None:
    """Measure both floors of the dataset that the command line names."""
    dataset, threads = Path(sys.argv[1]), int(sys.argv[2])
    floors = measure_codec(dataset, threads)
    floors["disk_s"] = measure_disk(dataset.parent, count_bytes(dataset))
    print(json.dumps(floors))


if __name__ == "__main__":
    main()
