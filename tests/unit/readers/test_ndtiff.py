"""NDTiff: TIFF files whose planes an index tells, judged by tifffile."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

import stackwatch
from stackwatch.errors import (
    AmbiguousLayoutError,
    CorruptSliceError,
    IncompleteAcquisitionError,
    MixedSlicesError,
    StackwatchError,
    UnsupportedFormatError,
)
from stackwatch.testing.ndtiff_files import write_ndtiff

STACK = np.arange(2 * 2 * 3 * 8 * 9, dtype=np.uint16).reshape(2, 2, 3, 8, 9)
NAMES = ("DAPI", "GFP")
PLANES = [
    ({"z": z - 1, "channel": NAMES[c], "time": t}, STACK[t, c, z])
    for t, c, z in np.ndindex(STACK.shape[:3])
]


def convert(source: Path, target: Path, **flags: Any) -> stackwatch.ConvertResult:
    """Convert without coarser mags."""
    return stackwatch.convert(source, target, downsample=False, **flags)


def layer_of(dataset: Any, name: str) -> np.ndarray:
    """Return a layer, axes (t,) z, y, x; of RGB (z, y, x, c)."""
    array = np.asarray(zarr.open_array(dataset.path / name / "1", mode="r")[...])
    return array.squeeze().T if array.ndim == 4 else array[:, 0].transpose(0, 3, 2, 1)


@pytest.mark.parametrize("per_file", [100, 5])
def test_a_dataset_becomes_layers_with_time(per_file: int, tmp_path: Path):
    """Channels by their names, slices from below zero; tifffile reads the same array."""
    index = write_ndtiff(tmp_path / "run", PLANES, per_file=per_file)

    result = convert(tmp_path / "run", tmp_path / "out")

    with tifffile.TiffFile(index.parent / "run_NDTiffStack.tif") as judge:
        (series,) = judge.series
        judged = series.asarray().transpose([series.axes.index(axis) for axis in "TCZYX"])
    (dataset,) = result.datasets
    read = np.stack([layer_of(dataset, name) for name in NAMES], axis=1)
    assert np.array_equal(STACK, judged)
    assert np.array_equal(judged, read)
    assert ((250.0, 250.0, 500.0), "volume-folder") == (
        tuple(dataset.voxel_size_nm),
        result.layout,
    )


def test_positions_become_datasets(tmp_path: Path):
    """Each by its name, with the planes of no other; colours of a pixel stay together."""
    colours = np.arange(2 * 2 * 8 * 9 * 3, dtype=np.uint8).reshape(2, 2, 8, 9, 3)
    planes = [({"z": z, "position": "AB"[p]}, colours[p, z]) for z, p in np.ndindex(2, 2)]
    write_ndtiff(tmp_path / "run", planes)

    result = convert(tmp_path / "run", tmp_path / "out")

    assert ["out_A", "out_B"] == [one.path.name for one in result.datasets]
    for position, dataset in enumerate(result.datasets):
        array = zarr.open_array(dataset.path / "color/1", mode="r")[...]
        assert np.array_equal(colours[position], np.asarray(array).transpose(3, 2, 1, 0))


def without_a_plane(folder: Path) -> None:
    """Write all planes but one in the middle."""
    write_ndtiff(folder, PLANES[:4] + PLANES[5:])


def without_a_file(folder: Path) -> None:
    """Remove the second file."""
    write_ndtiff(folder, PLANES, per_file=5)
    (folder / "run_NDTiffStack_1.tif").unlink()


def not_closed(folder: Path) -> None:
    """Leave the index as it is while the program writes."""
    index = write_ndtiff(folder, PLANES)
    index.write_bytes(index.read_bytes() + bytes(400))


def with_a_stray(folder: Path) -> None:
    """Add a file that the index does not name."""
    write_ndtiff(folder, PLANES)
    tifffile.imwrite(folder / "figure.tif", STACK[0, 0, 0])


def cut_index(folder: Path) -> None:
    """Cut the index within its last entry."""
    index = write_ndtiff(folder, PLANES)
    index.write_bytes(index.read_bytes()[:-9])


def nested_index(folder: Path) -> None:
    """Nest the axes of the first plane deeper than any parser follows."""
    index = write_ndtiff(folder, PLANES)
    index.write_bytes(struct.pack("<I", 99_999) + b"[" * 99_999)


def cut_file(folder: Path) -> None:
    """Cut the last file."""
    write_ndtiff(folder, PLANES)
    path = folder / "run_NDTiffStack.tif"
    path.write_bytes(path.read_bytes()[:-30])


def tiles(folder: Path) -> None:
    """Write a row of tiles."""
    write_ndtiff(folder, [({"row": 0, "column": x}, STACK[0, 0, x]) for x in range(3)])


def of_two_sizes(folder: Path) -> None:
    """Write a plane of another height."""
    write_ndtiff(folder, [*PLANES[:-1], (PLANES[-1][0], STACK[0, 0, 0, :5])])


def twice(folder: Path) -> None:
    """Write a plane a second time."""
    write_ndtiff(folder, [*PLANES, PLANES[0]])


def far_away(folder: Path) -> None:
    """Give a plane a number beyond belief."""
    write_ndtiff(folder, [*PLANES, ({**PLANES[0][0], "z": 2**40}, STACK[0, 0, 0])])


def in_halves(folder: Path) -> None:
    """Count slices in fractions."""
    write_ndtiff(folder, [({"z": z / 2}, STACK[0, 0, z]) for z in range(3)])


@pytest.mark.parametrize(
    ("spoil", "expected", "phrase"),
    [
        (without_a_plane, IncompleteAcquisitionError, "1 of 6 slices"),
        (without_a_file, IncompleteAcquisitionError, "run_NDTiffStack_1.tif"),
        (not_closed, IncompleteAcquisitionError, "not closed"),
        (with_a_stray, AmbiguousLayoutError, "figure.tif"),
        (cut_index, CorruptSliceError, "an entry of the index"),
        (nested_index, CorruptSliceError, "recursion"),
        (cut_file, CorruptSliceError, "behind its end"),
        (tiles, UnsupportedFormatError, "stitch"),
        (of_two_sizes, MixedSlicesError, "one stack"),
        (twice, CorruptSliceError, "twice"),
        (far_away, IncompleteAcquisitionError, "13 are there"),
        (in_halves, CorruptSliceError, "its axes count"),
    ],
)
def test_what_is_not_whole_or_not_clear_parks(
    spoil: Callable[[Path], None], expected: type[StackwatchError], phrase: str, tmp_path: Path
):
    """Nothing is made up and nothing passed over: an error with its file and what to do."""
    spoil(tmp_path / "run")

    with pytest.raises(expected, match=phrase) as caught:
        convert(tmp_path / "run", tmp_path / "out", voxel_size_nm=(1, 1, 1))

    assert caught.value.hint


def test_an_absent_plane_may_be_black(tmp_path: Path):
    """`missing_slices = "black"`."""
    without_a_plane(tmp_path / "run")

    result = convert(tmp_path / "run", tmp_path / "out", missing_slices="black")

    expected = STACK.copy()
    expected[0, 1, 1] = 0
    assert np.array_equal(expected[:, 1], layer_of(result.datasets[0], "GFP"))


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    """A TIFF in the place of a file of the dataset does not give pixels."""
    write_ndtiff(tmp_path / "run", PLANES)
    path = tmp_path / "run/run_NDTiffStack.tif"
    data = bytearray(path.read_bytes())
    data[8:12] = struct.pack("<I", 1)
    path.write_bytes(data)

    with pytest.raises(CorruptSliceError, match="NDTiff"):
        convert(tmp_path / "run", tmp_path / "out")
