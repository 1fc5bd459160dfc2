"""Vectors, bounding boxes, mags and voxel sizes.

A vector is always x, y, z. A numpy shape of a slab is `shape_zyx`. `to_zyx` is the one place
where an array changes from WEBKNOSSOS's axis order to the microscope's; the other way there is
nothing to do, since chunks are written as they lie in the slab.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, order=True)
class Vec3:
    """Three integers: x, y, z."""

    x: int
    y: int
    z: int

    def __iter__(self) -> Iterator[int]:
        return iter((self.x, self.y, self.z))

    def ceil_div(self, other: "Vec3 | Mag") -> "Vec3":
        """Divide axis by axis, rounding up: the size of an extent in a coarser mag."""
        return Vec3(-(-self.x // other.x), -(-self.y // other.y), -(-self.z // other.z))

    @property
    def volume(self) -> int:
        """Return x * y * z."""
        return self.x * self.y * self.z


@dataclass(frozen=True, slots=True, order=True)
class Mag:
    """A magnification: how many mag-1 voxels one voxel spans along x, y and z."""

    x: int
    y: int
    z: int

    def __iter__(self) -> Iterator[int]:
        return iter((self.x, self.y, self.z))

    def __str__(self) -> str:
        """Return the folder name: `1`, `2`, or `2-2-1` where the axes differ."""
        if self.x == self.y == self.z:
            return str(self.x)
        return f"{self.x}-{self.y}-{self.z}"

    @property
    def largest(self) -> int:
        """Return the largest of the three."""
        return max(self.x, self.y, self.z)

    def factor_from(self, finer: "Mag") -> Vec3:
        """Return how many voxels of `finer` make one of this mag, axis by axis."""
        assert self.x % finer.x == self.y % finer.y == self.z % finer.z == 0, (self, finer)
        return Vec3(self.x // finer.x, self.y // finer.y, self.z // finer.z)


MAG_1 = Mag(1, 1, 1)


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """A box in mag-1 voxels: top-left inclusive, bottom-right exclusive."""

    top_left: Vec3
    size: Vec3

    @classmethod
    def of_size(cls, x: int, y: int, z: int) -> Self:
        """Return the box at the origin."""
        return cls(Vec3(0, 0, 0), Vec3(x, y, z))


@dataclass(frozen=True, slots=True)
class VoxelSize:
    """Physical edge lengths of a mag-1 voxel, in nanometres."""

    x: float
    y: float
    z: float

    def __iter__(self) -> Iterator[float]:
        return iter((self.x, self.y, self.z))


@dataclass(frozen=True, slots=True)
class PartialVoxelSize:
    """Voxel size as far as it is known, in nanometres: None for an axis nobody states."""

    x: float | None = None
    y: float | None = None
    z: float | None = None

    def __iter__(self) -> Iterator[float | None]:
        return iter((self.x, self.y, self.z))


def to_zyx(cxyz: NDArray[Any]) -> NDArray[Any]:
    """Return a view of a WEBKNOSSOS array with the axes of a slab.

    Parameters
    ----------
    cxyz : array, shape (c, x, y, z)

    Returns
    -------
    array, shape (z, y, x), or (z, y, x, c) where there is more than one channel: a view, nothing
    is copied.
    """
    zyxc = cxyz.transpose(3, 2, 1, 0)
    return zyxc[..., 0] if zyxc.shape[3] == 1 else zyxc
