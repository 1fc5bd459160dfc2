"""The raw file of decoded slices."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stackwatch.engine.spool import SpooledSource
from stackwatch.testing.synthetic import coordinate_stack


class Decoded:
    """A source that fills whole slices of two layers."""

    can_read_rows = False
    decode_bytes = 0

    def __init__(self, volumes: Sequence[NDArray[Any]]) -> None:
        self._volumes = volumes

    def iter_keys(self) -> Iterator[int]:
        """Yield the z of each slice."""
        yield from range(len(self._volumes[0]))

    def read_slice_into(
        self, key: int, outs: Sequence[NDArray[Any]], rows: tuple[int, int]
    ) -> None:
        """Copy one slice."""
        for volume, out in zip(self._volumes, outs, strict=True):
            out[...] = volume[key, rows[0] : rows[1]]


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_rows_come_back_as_they_were_decoded(tmp_path: Path, samples: int, dtype: str) -> None:
    """Any rows of any slice of any layer, into arrays of any order of memory."""
    volumes = [coordinate_stack((5, 23, 17), dtype, c=c, samples=samples) for c in range(2)]
    shapes = [volume.shape[1:] for volume in volumes]
    source = Decoded(volumes)
    spool = SpooledSource(source, tmp_path / "raw", shapes, np.dtype(dtype))
    with closing(spool):
        for key in source.iter_keys():
            spool.fill_one(key)
        keys = list(spool.iter_keys())
        for key in reversed(keys):
            for rows in ((0, 23), (0, 8), (8, 16), (16, 23)):
                whole = [np.empty((rows[1] - rows[0], *shapes[0][1:]), dtype) for _ in volumes]
                turned = [np.empty_like(out).swapaxes(0, 1) for out in whole]
                turned = [np.ascontiguousarray(out).swapaxes(0, 1) for out in turned]
                for outs in (whole, turned):
                    spool.read_slice_into(key, outs, rows)
                    for volume, out in zip(volumes, outs, strict=True):
                        np.testing.assert_array_equal(volume[key, rows[0] : rows[1]], out)

    assert [0, 1, 2, 3, 4] == keys
    assert [] == list(tmp_path.iterdir())


def test_a_spool_that_was_cut_is_noticed(tmp_path: Path) -> None:
    """A raw file that ends early is an error, not zeros."""
    volume = coordinate_stack((2, 9, 7))
    spool = SpooledSource(Decoded([volume]), tmp_path / "raw", [(9, 7)], volume.dtype)
    with closing(spool):
        spool.fill_one(0)
        out = np.empty((9, 7), np.uint8)
        with pytest.raises(OSError, match="63 bytes early"):
            spool.read_slice_into(1, [out], (0, 9))
