"""OIF: settings and a folder of TIFFs, judged by oiffile's own arrays."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import stackwatch
from stackwatch.errors import (
    AmbiguousLayoutError,
    CorruptSliceError,
    IncompleteAcquisitionError,
    StackwatchError,
    UnsupportedFormatError,
)
from stackwatch.testing.oif_files import write_oif

oiffile = pytest.importorskip("oiffile", reason="oiffile is not installed: no OIF")

STACK = np.arange(2 * 2 * 3 * 8 * 9, dtype=np.uint16).reshape(2, 2, 3, 8, 9)
SAMPLE = "oib/bsd-oiffile/test.oib"


def convert(source: Path, target: Path, **flags: Any) -> stackwatch.ConvertResult:
    """Convert without coarser mags."""
    return stackwatch.convert(source, target, downsample=False, **flags)


def voxels_of(result: stackwatch.ConvertResult) -> np.ndarray:
    """Return a dataset, axes t, layer, z, y, x."""
    (dataset,) = result.datasets
    layers = []
    for layer in dataset.layers:
        array = np.asarray(zarr.open_array(dataset.path / layer.name / "1", mode="r")[...])
        layers.append(array.reshape(-1, *array.shape[-3:]))
    return np.stack(layers, axis=1).transpose(0, 1, 4, 3, 2)


def test_an_oif_becomes_layers_with_time(tmp_path: Path):
    """Channels by their dyes, timepoints, slices; oiffile reads the same array."""
    path = write_oif(tmp_path / "run/cells.oif", STACK)

    result = convert(tmp_path / "run", tmp_path / "out")

    with oiffile.OifFile(path) as judge:
        (series,) = judge.series
        judged = series.asarray()
        judged = judged.transpose([f"{series.axes}YX".index(axis) for axis in "TCZYX"])
    assert np.array_equal(judged, voxels_of(result))
    assert np.array_equal(STACK, judged)
    assert ["Dye_1", "Dye_2"] == [layer.name for layer in result.datasets[0].layers]
    assert ((250.0, 500.0, 500.0), "volume-folder") == (
        tuple(result.datasets[0].voxel_size_nm),
        result.layout,
    )


def test_settings_alone_are_refused_with_what_to_do(tmp_path: Path):
    """Given by itself, the `.oif` is without its images: the message says what to drop."""
    path = write_oif(tmp_path / "cells.oif", STACK)

    with pytest.raises(UnsupportedFormatError, match=r"NAME\.oif\.files"):
        convert(path, tmp_path / "out")


def test_an_oif_in_an_archive_is_read_too(tmp_path: Path):
    """A zip of it behaves as the folder."""
    write_oif(tmp_path / "run/cells.oif", STACK)
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
        for path in sorted((tmp_path / "run").rglob("*")):
            archive.write(path, path.relative_to(tmp_path / "run"))

    assert np.array_equal(STACK, voxels_of(convert(tmp_path / "run.zip", tmp_path / "out")))


def test_planes_that_the_settings_declare_are_missed(tmp_path: Path):
    """They wait for the rest, or are black where that is wished."""
    write_oif(tmp_path / "run/cells.oif", STACK, missing=[(1, 0, 2)])

    with pytest.raises(IncompleteAcquisitionError, match="1 of 6 slices"):
        convert(tmp_path / "run", tmp_path / "out")
    result = convert(tmp_path / "run", tmp_path / "out", missing_slices="black")

    assert not voxels_of(result)[1, 0, 2].any()


@pytest.mark.parametrize(
    ("beside", "expected"),
    [("figure.tif", AmbiguousLayoutError), ("other.oif", AmbiguousLayoutError)],
)
def test_an_oif_comes_alone(beside: str, expected: type[StackwatchError], tmp_path: Path):
    """Another image, or another OIF, is parked."""
    write_oif(tmp_path / "run/cells.oif", STACK)
    other = tmp_path / "run" / beside
    if beside.endswith(".oif"):
        write_oif(other, STACK)
    else:
        other.write_bytes(b"II*\0")

    with pytest.raises(expected):
        convert(tmp_path / "run", tmp_path / "out")


@pytest.mark.parametrize("damage", ["settings", "plane"])
def test_damage_is_an_error(damage: str, tmp_path: Path):
    """Settings that are none, and a plane that was cut."""
    path = write_oif(tmp_path / "run/cells.oif", STACK)
    if damage == "settings":
        path.write_bytes(b"\0" * 500)
    else:
        plane = tmp_path / "run/cells.oif.files/s_C002Z002T002.tif"
        plane.write_bytes(plane.read_bytes()[:-40])

    with pytest.raises(CorruptSliceError):
        convert(tmp_path / "run", tmp_path / "out")


@pytest.mark.samples
def test_a_real_document_spread_over_a_folder(samples: Path, tmp_path: Path):
    """What oiffile makes of a real OIB reads like the OIB itself."""
    with oiffile.OibFileSystem(samples / SAMPLE) as document:
        (tmp_path / "run").mkdir()
        document.saveas_oif(str(tmp_path / "run"))
    one = convert(tmp_path / "run", tmp_path / "oif")
    other = convert(samples / SAMPLE, tmp_path / "oib")

    assert np.array_equal(voxels_of(other), voxels_of(one))
    assert other.datasets[0].voxel_size_nm == one.datasets[0].voxel_size_nm
