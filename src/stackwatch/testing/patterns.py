"""Voxel values for synthetic stacks: coordinates that name themselves, and lifelike pictures."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WIDE_SHIFTS = {"z": 22, "y": 11, "c": 29, "t": 26}


def coordinate_slice(
    shape_yx: tuple[int, int],
    z: int,
    dtype: str = "uint8",
    *,
    c: int = 0,
    t: int = 0,
    samples: int = 1,
) -> NDArray[Any]:
    """Return one slice whose voxels encode where they are.

    Types of at least 32 bits hold x + 2^11 y + 2^22 z (+ 2^26 t + 2^29 c, wrapping), from which
    the position can be read. Narrower ones hold a mixture with a different weight for each axis,
    so that any swap or shift of axes changes the values.

    Parameters
    ----------
    shape_yx : (int, int)
    z, c, t : int
        Position of the slice.
    dtype : str
        Any integer, float or `bool` numpy type.
    samples : int
        Values per pixel; each sample has a value of its own.

    Returns
    -------
    array, shape (y, x) or (y, x, samples), C-contiguous
    """
    y, x = np.ogrid[0 : shape_yx[0], 0 : shape_yx[1]]
    planes = [_encode(x, y, z, c * samples + s, t, np.dtype(dtype)) for s in range(samples)]
    if samples == 1:
        return planes[0]
    return np.ascontiguousarray(np.stack(planes, axis=-1))


def _encode(
    x: NDArray[np.int64], y: NDArray[np.int64], z: int, c: int, t: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    if dtype.itemsize >= 4:
        low = (z << _WIDE_SHIFTS["z"]) + (c << _WIDE_SHIFTS["c"]) + (t << _WIDE_SHIFTS["t"])
        wide = x + (y << _WIDE_SHIFTS["y"]) + low
        # float32 holds integers up to 2^24 exactly: positions wrap there, types stay comparable
        limit = 2**24 if dtype == np.float32 else 2**31 - 1
        return np.ascontiguousarray((wide % limit).astype(dtype))
    mixed = x + 3 * y + 17 * z + 71 * c + 113 * t
    if dtype == np.bool_:
        return np.ascontiguousarray(mixed % 7 < 3)
    limit = 120 if dtype == np.int8 else 251 if dtype.itemsize == 1 else 2039
    if dtype.kind == "f":
        limit = 2039
    return np.ascontiguousarray((mixed % limit + 1).astype(dtype))


def coordinate_stack(
    shape_zyx: tuple[int, int, int],
    dtype: str = "uint8",
    *,
    c: int = 0,
    t: int = 0,
    samples: int = 1,
) -> NDArray[Any]:
    """Return `coordinate_slice` for every z, shape (z, y, x) or (z, y, x, samples)."""
    return np.stack(
        [
            coordinate_slice(shape_zyx[1:], z, dtype, c=c, t=t, samples=samples)
            for z in range(shape_zyx[0])
        ]
    )


def coordinate_tczyx(
    timepoints: int, channels: int, shape_zyx: tuple[int, int, int], dtype: str
) -> NDArray[Any]:
    """Return `coordinate_stack` for every timepoint and channel, shape (t, c, z, y, x)."""
    return np.stack(
        [
            np.stack([coordinate_stack(shape_zyx, dtype, c=c, t=t) for c in range(channels)])
            for t in range(timepoints)
        ]
    )


def iter_em_slices(shape_zyx: tuple[int, int, int], seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Yield slices that look like electron microscopy: smooth bodies, dark membranes, noise.

    Parameters
    ----------
    shape_zyx : (int, int, int)
    seed : int
        The same seed gives the same slices.

    Yields
    ------
    array, shape (y, x), uint8, in z order; compresses about as badly as the real thing
    """
    rng = np.random.default_rng(seed)
    for z in range(shape_zyx[0]):
        field = _smooth_field(shape_zyx[1:], z, seed)
        body = np.where(np.abs(field) < 0.12, np.float32(70), 150 + 25 * field)
        noise = rng.integers(0, 48, size=shape_zyx[1:], dtype=np.uint8)
        yield (body + noise).astype(np.uint8)


def iter_light_sheet_slices(
    shape_zyx: tuple[int, int, int], seed: int = 0
) -> Iterator[NDArray[np.uint16]]:
    """Yield uint16 slices that look like light-sheet microscopy: dark ground, few bright bodies.

    Yields
    ------
    array, shape (y, x), uint16: about 100 in the ground, up to some thousands in the bodies
    """
    rng = np.random.default_rng(seed)
    for z in range(shape_zyx[0]):
        field = _smooth_field(shape_zyx[1:], z, seed)
        bright = np.maximum(field - np.float32(0.6), 0) * np.float32(4000)
        noise = rng.integers(80, 144, size=shape_zyx[1:], dtype=np.uint16)
        yield (bright + noise).astype(np.uint16)


def iter_label_slices(
    shape_zyx: tuple[int, int, int], seed: int = 0, dtype: str = "uint32", cell_vx: int = 96
) -> Iterator[NDArray[Any]]:
    """Yield slices of a segmentation: curved cells, each with an id of its own, and some ground.

    Parameters
    ----------
    shape_zyx : (int, int, int)
    seed : int
    dtype : str
        Unsigned or signed integers; ids are folded into types of one and two bytes.
    cell_vx : int
        Edge of a cell, in voxels.

    Yields
    ------
    array, shape (y, x), `dtype`; 0 is ground (about a tenth)
    """
    rng = np.random.default_rng(seed)
    salt = int(rng.integers(1, 2**20))
    y, x = (axis.astype(np.float32) for axis in np.ogrid[0 : shape_zyx[1], 0 : shape_zyx[2]])
    limit = 250 if np.dtype(dtype).itemsize == 1 else 32_000
    if np.dtype(dtype).itemsize >= 4:
        limit = 2**24
    for z in range(shape_zyx[0]):
        bend = np.float32(cell_vx / 3)
        cell_x = (x + bend * np.sin(y / cell_vx + np.float32(z / 40))) / cell_vx + 7
        cell_y = (y + bend * np.sin(x / cell_vx - np.float32(z / 50))) / cell_vx + 7
        ids = _cell_ids(shape_zyx, cell_vx, z // 40, salt, limit).astype(dtype)
        yield ids[cell_y.astype(np.int32), cell_x.astype(np.int32)]


def _cell_ids(
    shape_zyx: tuple[int, int, int], cell_vx: int, layer: int, salt: int, limit: int
) -> NDArray[np.int64]:
    """Return the id of every cell of one layer of cells; every tenth is ground."""
    y, x = np.ogrid[0 : shape_zyx[1] // cell_vx + 16, 0 : shape_zyx[2] // cell_vx + 16]
    mixed = x * 73_856_093 ^ y * 19_349_663 ^ layer * 83_492_791 ^ salt
    ids = np.abs(mixed) % limit
    return np.where(ids % 10 == 0, 0, ids + 1)


def _smooth_field(shape_yx: tuple[int, int], z: int, seed: int) -> NDArray[np.float32]:
    """Return a smooth field of about -1 to 1 that drifts with z; made of outer products."""
    rng = np.random.default_rng(seed + 1)
    y = np.arange(shape_yx[0], dtype=np.float32)[:, None]
    x = np.arange(shape_yx[1], dtype=np.float32)[None, :]
    field = np.zeros(shape_yx, np.float32)
    for _ in range(3):
        period_y, period_x, period_z = rng.uniform((60, 60, 20), (240, 240, 80)).tolist()
        phase_y, phase_x = rng.uniform(0, 6.28, 2).tolist()
        wave_y = np.sin(y / np.float32(period_y / 6.28) + np.float32(phase_y + z / period_z))
        wave_x = np.sin(x / np.float32(period_x / 6.28) + np.float32(phase_x - z / period_z))
        field += (wave_y * wave_x).astype(np.float32)
    return field
