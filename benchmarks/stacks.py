"""Write the stacks that the benchmark converts. Run as a program, so that its memory is its own.

`python -m benchmarks.stacks NAME SIZE FOLDER` writes one stack into a folder that does not exist.
"""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from stackwatch.testing.synthetic import (
    iter_em_slices,
    iter_label_slices,
    iter_light_sheet_slices,
    write_multipage,
    write_sequence,
)

Shape = tuple[int, int, int]

FULL: dict[str, Shape] = {
    "em": (256, 2048, 2048),
    "light_sheet": (64, 2048, 2048),
    "labels": (64, 2048, 2048),
    "pages": (2000, 64, 64),
    "tiny": (4, 40, 60),
    "deep_128": (128, 1024, 1024),
    "deep_1024": (1024, 1024, 1024),
    "plane_uint8": (33, 30_000, 30_000),
    "plane_uint16": (33, 30_000, 30_000),
    "plane_uint32": (33, 30_000, 30_000),
}
"""Shapes (z, y, x) of the stacks."""

SMALL: dict[str, Shape] = FULL | {
    "em": (64, 1024, 1024),
    "light_sheet": (32, 512, 512),
    "labels": (32, 512, 512),
    "pages": (200, 64, 64),
    "deep_128": (64, 512, 512),
    "deep_1024": (512, 512, 512),
    "plane_uint8": (33, 3000, 3000),
    "plane_uint16": (33, 3000, 3000),
    "plane_uint32": (33, 3000, 3000),
}


def iter_ragged_labels(shape_zyx: Shape, seed: int = 0) -> Iterator[NDArray[np.uint32]]:
    """Yield slices of a dense segmentation with ragged borders, as classifiers leave them.

    Yields
    ------
    array, shape (y, x), uint32: small cells whose borders are displaced at random, by up to two
    voxels, anew in each slice; smooth borders would compress far better than real ones
    """
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[0 : shape_zyx[1], 0 : shape_zyx[2]]
    coarse_yx = (-(-shape_zyx[1] // 2), -(-shape_zyx[2] // 2))
    for slice_yx in iter_label_slices(shape_zyx, seed, cell_vx=32):
        shifts = rng.integers(-2, 3, (2, *coarse_yx)).repeat(2, axis=1).repeat(2, axis=2)
        shift_y, shift_x = shifts[:, : shape_zyx[1], : shape_zyx[2]]
        from_y = np.clip(y + shift_y, 0, shape_zyx[1] - 1)
        yield slice_yx[from_y, np.clip(x + shift_x, 0, shape_zyx[2] - 1)]


def write_planes(folder: Path, shape_zyx: Shape, dtype: str) -> None:
    """Write one large plane and link it once per slice: the same bytes to read, the disk of one."""
    folder.mkdir(parents=True)
    plane: NDArray[Any] = next(iter(iter_label_slices((1, *shape_zyx[1:]), dtype=dtype)))
    first = folder / "plane_000.tif"
    tifffile.imwrite(first, plane, bigtiff=True, rowsperstrip=64, photometric="minisblack")
    for z in range(1, shape_zyx[0]):
        os.link(first, folder / f"plane_{z:03d}.tif")


def write_pages(folder: Path, shape_zyx: Shape) -> None:
    """Write one plain multi-page TIFF, without the metadata that would describe it as a stack."""
    folder.mkdir(parents=True)
    write_multipage(folder / "pages.tif", iter_em_slices(shape_zyx))


def write_slices(iter_slices: Callable[[Shape], Any]) -> Callable[[Path, Shape], None]:
    """Return a writer of one TIFF per slice."""

    def write(folder: Path, shape_zyx: Shape) -> None:
        write_sequence(folder, iter_slices(shape_zyx), "slice_{z:04d}.tif")

    return write


WRITERS: dict[str, Callable[[Path, Shape], None]] = {
    "em": write_slices(iter_em_slices),
    "light_sheet": write_slices(iter_light_sheet_slices),
    "labels": write_slices(iter_ragged_labels),
    "pages": write_pages,
    "tiny": write_slices(iter_em_slices),
    "deep_128": write_slices(iter_em_slices),
    "deep_1024": write_slices(iter_em_slices),
    "plane_uint8": lambda folder, shape: write_planes(folder, shape, "uint8"),
    "plane_uint16": lambda folder, shape: write_planes(folder, shape, "uint16"),
    "plane_uint32": lambda folder, shape: write_planes(folder, shape, "uint32"),
}


def main() -> None:
    """Write the stack that the command line names."""
    name, size, place = sys.argv[1:]
    shapes = SMALL if size == "small" else FULL
    folder = Path(place)
    partial = folder.with_name(folder.name + ".partial")
    WRITERS[name](partial, shapes[name])
    partial.rename(folder)


if __name__ == "__main__":
    main()
