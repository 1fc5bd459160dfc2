"""Which voxels are read back, and what reading them costs."""

import tracemalloc
from pathlib import Path

import numpy as np
import zarr

from stackwatch.pipeline.probes import _zarr_pieces


def test_the_index_of_a_shard_is_read_alone(tmp_path: Path):
    """A shard may be larger than the memory: of it no more than its index is read."""
    array = zarr.create_array(
        tmp_path / "mag", shape=(1, 64, 64, 64), chunks=(1, 32, 32, 32), shards=(1, 64, 64, 64),
        dtype="uint8", compressors=None,
    )  # fmt: skip
    array[:] = np.arange(64**3, dtype="uint8").reshape(1, 64, 64, 64)
    shard = tmp_path / "mag" / "c" / "0" / "0" / "0" / "0"
    whole = shard.read_bytes()
    index_bytes = 16 * 8 + 4
    _, expected = _zarr_pieces(tmp_path / "mag", "c/0/0/0/0")
    with shard.open("r+b") as file:  # a gap makes it huge, and its offsets do not care
        file.truncate(64 << 20)
        file.seek(-index_bytes, 2)
        file.write(whole[-index_bytes:])
    tracemalloc.start()
    _, pieces = _zarr_pieces(tmp_path / "mag", "c/0/0/0/0")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert expected == pieces
    assert 8 == len(pieces)
    assert peak < 4 << 20
