"""The port between the engine and a store: blocks of slabs go in, a manifest comes out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from stackwatch.model.geometry import Mag, Vec3


@dataclass(frozen=True, slots=True)
class MagGrid:
    """How one mag of a layer is cut. All lengths in voxels of that mag.

    Attributes
    ----------
    mag : Mag
    size : Vec3
        Extent of the array.
    chunk : Vec3
        Shape of a chunk; its z is the depth of a slab.
    shard : Vec3
        Shape of a shard, multiples of the chunk.
    """

    mag: Mag
    size: Vec3
    chunk: Vec3
    shard: Vec3


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a slab that is encoded by one thread: some rows of chunks within one shard.

    Attributes
    ----------
    y0, y1, x0, x1 : int
        Rows and columns in voxels of the mag, cut to the extent.
    shard_y, shard_x : int
        Which shard of the plane it belongs to.
    order : int
        Its place among the blocks of that shard in one slab: the order of the bytes on disk.
    """

    y0: int
    y1: int
    x0: int
    x1: int
    shard_y: int
    shard_x: int
    order: int


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard as written: an entry of the manifest.

    Attributes
    ----------
    path : str
        Relative to the dataset's root.
    bytes : int
        Size of the file.
    chunks : int
        Chunks in it that are not empty.
    places : int
        Chunks it has room for.
    crc32c : int
        Checksum of the whole file.
    """

    path: str
    bytes: int
    chunks: int
    places: int
    crc32c: int

    @property
    def index_bytes(self) -> int:
        """Size of the index at the end of the file."""
        return self.places * 16 + 4


class MagWriter(Protocol):
    """Writes one mag of one layer. Slabs come in order, their blocks in any order and thread."""

    @property
    def grid(self) -> MagGrid:
        """How this mag is cut."""
        ...

    def blocks(self, rows: tuple[int, int]) -> Sequence[Block]:
        """Return the blocks of the plane that lie within `rows`, in the order of their bytes."""
        ...

    def write_block(self, t: int, slab: int, block: Block, voxels: NDArray[Any]) -> None:
        """Encode one block and append it to its shard.

        Parameters
        ----------
        t, slab : int
            Timepoint; index of the slab along z.
        block : Block
        voxels : array, shape (z, y, x) or (z, y, x, c)
            At most a slab deep; read, never kept.
        """
        ...

    def finish_slab(self, t: int, slab: int, rows: tuple[int, int], *, is_last: bool) -> None:
        """Close the shards of these rows that no later slab reaches."""
        ...
