"""Which mags a layer gets. Pure."""

import math

from stackwatch.model.geometry import MAG_1, Mag, Vec3, VoxelSize

EQUAL_EDGES = 0.01
"""Edges that differ by at most this share count as equal: 4 and 4.0001 nm are one length."""


def coarsest_mag(size: Vec3) -> int:
    """Return the largest component a layer's mags may have.

    Source: the habit of WEBKNOSSOS's own converter: max(4, 2 ** ceil(log2(max(x, y) / 100))), so
    that the coarsest picture is about 100 voxels wide.
    """
    widest = max(size.x, size.y)
    if widest <= 100:
        return 4
    return max(4, 1 << math.ceil(math.log2(widest / 100)))


def plan_mags(
    size: Vec3, voxel_size: VoxelSize, *, max_mag: int | None = None, downsample: bool = True
) -> tuple[Mag, ...]:
    """Return the mag ladder, finest first.

    At each step either all axes are doubled, or only those whose voxel edge is the shortest; the
    one that leaves the voxel closer to a cube wins, the second on a tie. A step that does not
    raise the largest component is taken but not written. A layer of a single slice is never
    halved along z.

    Parameters
    ----------
    size : Vec3
        Extent in mag-1 voxels.
    voxel_size : VoxelSize
    max_mag : int or None
        Largest component of the coarsest mag; None derives it from the extent.
    downsample : bool
        False gives mag 1 alone.
    """
    mags = [MAG_1]
    if not downsample:
        return tuple(mags)
    limit = coarsest_mag(size) if max_mag is None else max_mag
    current = MAG_1
    while True:
        current = _next_mag(current, voxel_size, is_flat=size.z == 1)
        if current.largest > limit:
            return tuple(mags)
        if current.largest > mags[-1].largest:
            mags.append(current)


def _next_mag(mag: Mag, voxel_size: VoxelSize, *, is_flat: bool) -> Mag:
    if is_flat:
        return Mag(mag.x * 2, mag.y * 2, mag.z)
    edges = [edge * factor for edge, factor in zip(voxel_size, mag, strict=True)]
    shortest = min(edges)
    factors = [2 if edge <= shortest * (1 + EQUAL_EDGES) else 1 for edge in edges]
    stretched = [edge * factor for edge, factor in zip(edges, factors, strict=True)]
    if _stretch(stretched) <= _stretch(edges):
        return Mag(mag.x * factors[0], mag.y * factors[1], mag.z * factors[2])
    return Mag(mag.x * 2, mag.y * 2, mag.z * 2)


def _stretch(edges: list[float]) -> float:
    return max(edges) / min(edges)
