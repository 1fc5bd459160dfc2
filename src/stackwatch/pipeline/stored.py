"""A mag that is in the store, whatever the format.

To verify it, Zarr3 is read through zarr-python; to make coarser mags, by our own reader.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackwatch.model.geometry import Vec3, to_zyx
from stackwatch.model.plan import LayerPlan
from stackwatch.pipeline.storing import Store
from stackwatch.readers.wkw import WkwMag
from stackwatch.readers.wkw_header import HEADER_FILE
from stackwatch.stores.objects import objects_of
from stackwatch.stores.protocol import MagGrid
from stackwatch.stores.shard_reader import ShardReader
from stackwatch.stores.zarr3 import Zarr3Store

PIECE_VOXELS = 1 << 21


def open_stored(path: Path, grid: MagGrid) -> "StoredMag":
    """Return the mag that lies in a directory.

    Parameters
    ----------
    path : Path
        The directory, with its metadata.
    grid : MagGrid
        As it was written: WKW does not say where the voxels end.
    """
    if (path / HEADER_FILE).exists():
        return _WkwStored(path, grid)
    return _ZarrStored(place_of_array(path))


def reopen(store: Store, root: Path, layer: LayerPlan, grid: MagGrid) -> "StoredMag":
    """Return a mag that this conversion has written, to make coarser ones from.

    Parameters
    ----------
    store : Store
        Has written it, or adopted its shards.
    root : Path
        The dataset's staging directory.
    layer : LayerPlan
    grid : MagGrid
    """
    store.wait()
    if isinstance(store, Zarr3Store):
        return _Shards(store.mag_reader(layer, grid), grid, has_time=layer.size_t > 1)
    return _WkwStored(root / store.mag_path(layer, grid.mag), grid)


def place_of_array(path: Path) -> Any:
    """Return what zarr-python opens a mag of Zarr3 with: its directory, or the bucket it is in.

    Parameters
    ----------
    path : Path
        The mag's directory, with its metadata.
    """
    objects = objects_of(path.parent.parent)
    if objects is None:
        return path
    from stackwatch.pipeline.stored_objects import StagedObjects

    return StagedObjects(objects, path)


class StoredMag(ABC):
    """One mag of one layer.

    Attributes
    ----------
    size : Vec3
        In voxels of the mag.
    chunk_rows, slab_depth : int
        Of a chunk.
    """

    size: Vec3
    chunk_rows: int
    slab_depth: int

    @abstractmethod
    def read(self, t: int, z: slice, y: slice, x: slice = slice(None)) -> NDArray[Any]:
        """Return a part of the mag; slices may reach over its end.

        Returns
        -------
        array, shape (z, y, x), or (z, y, x, 3) for RGB
        """

    def iter_sample(self, t: int, most_voxels: int) -> Iterator[NDArray[Any]]:
        """Yield parts of one timepoint, rows of chunks: all of it, or every n-th of a large one.

        Cost
        ----
        Memory for `PIECE_VOXELS` at a time, or one row of chunks; about `most_voxels` are read.
        """
        row_voxels = self.size.x * self.chunk_rows * self.slab_depth
        rows = self.chunk_rows * max(1, PIECE_VOXELS // row_voxels)
        corners = [
            (z, y)
            for z in range(0, self.size.z, self.slab_depth)
            for y in range(0, self.size.y, rows)
        ]
        for z, y in corners[:: -(-self.size.volume // most_voxels)]:
            yield self.read(t, slice(z, z + self.slab_depth), slice(y, y + rows))

    def timepoint(self, t: int) -> "StoredSlices":
        """Return the slices of one timepoint, as a source for the engine."""
        return StoredSlices(self, t)


class _ZarrStored(StoredMag):
    """Read by somebody else's code, and meant to be."""

    def __init__(self, place: Any) -> None:  # a path, or a store of zarr-python
        import zarr

        self._array: Any = zarr.open_array(place, mode="r")
        self._has_time = self._array.ndim == 5
        *_, x, y, z = self._array.shape
        self.size = Vec3(x, y, z)
        *_, self.chunk_rows, self.slab_depth = self._array.chunks

    def read(self, t: int, z: slice, y: slice, x: slice = slice(None)) -> NDArray[Any]:
        place = (slice(None), x, y, z)
        cxyz = self._array[(t, *place)] if self._has_time else self._array[place]
        return to_zyx(np.asarray(cxyz))


class _Shards(StoredMag):
    """Read by ourselves, eight times as fast."""

    def __init__(self, reader: ShardReader, grid: MagGrid, *, has_time: bool) -> None:
        self._reader = reader
        self._has_time = has_time
        self.size = grid.size
        self.chunk_rows, self.slab_depth = grid.chunk.y, grid.chunk.z

    def read(self, t: int, z: slice, y: slice, x: slice = slice(None)) -> NDArray[Any]:
        first, end, _ = z.indices(self.size.z)
        top, bottom, _ = y.indices(self.size.y)
        assert first % self.slab_depth == 0, "slabs are read whole"
        assert end <= first + self.slab_depth, "slabs are read one by one"
        time = t if self._has_time else None
        return self._reader.read_slab(time, first // self.slab_depth, (top, bottom))[:, :, x]


class _WkwStored(StoredMag):
    """Read by our own reader, which the reference library judges in the tests."""

    def __init__(self, path: Path, grid: MagGrid) -> None:
        self._path = path
        self.size = grid.size
        self.chunk_rows, self.slab_depth = grid.chunk.y, grid.chunk.z

    def read(self, t: int, z: slice, y: slice, x: slice = slice(None)) -> NDArray[Any]:
        assert t == 0, "WKW has no time"
        sizes = (self.size.z, self.size.y, self.size.x)
        part = [range(*axis.indices(edge)) for axis, edge in zip((z, y, x), sizes, strict=True)]
        # opened for each part: nobody has to close it, and the header is 16 bytes
        with WkwMag(self._path) as mag:
            return mag.read(*part)


class StoredSlices:
    """The `SliceSource` of one timepoint of a stored mag; read by one thread, in order."""

    can_read_rows = True
    decode_bytes = 0

    def __init__(self, stored: StoredMag, t: int) -> None:
        self._stored = stored
        self._t = t
        self._held: tuple[int, tuple[int, int]] | None = None
        self._slab: NDArray[Any] | None = None

    def iter_keys(self) -> Iterator[int]:
        """Yield the z of each slice."""
        yield from range(self._stored.size.z)

    def read_slice_into(
        self, key: int, outs: Sequence[NDArray[Any]], rows: tuple[int, int]
    ) -> None:
        """Copy rows of one slice; a slab is decoded once and kept until the next is asked for."""
        depth = self._stored.slab_depth
        wanted = (key // depth, rows)
        if self._held != wanted or self._slab is None:
            self._slab = None
            first = key // depth * depth
            self._slab = self._stored.read(
                self._t, slice(first, first + depth), slice(rows[0], rows[1])
            )
            self._held = wanted
        outs[0][...] = self._slab[key % depth]
