"""Whole conversions against the slow, obvious engine: every voxel of every mag."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import stackwatch
from stackwatch.engine.downsample import Method
from stackwatch.engine.planner import GIB
from stackwatch.engine.reference import mags_of
from stackwatch.errors import BudgetTooSmallError
from stackwatch.model.geometry import Mag
from stackwatch.testing.mags import read_with_tensorstore, read_with_zarr, stored_axes
from stackwatch.testing.synthetic import (
    SyntheticAcquisition,
    SyntheticLayer,
    coordinate_stack,
    coordinate_tczyx,
    write_ome_set,
    write_ome_tiff,
)

EDGES = (11.24, 11.24, 25.0)


def properties_of(dataset: Path) -> dict[str, Any]:
    """Return the layers of a dataset's properties by name."""
    document = json.loads((dataset / "datasource-properties.json").read_text())
    return {layer["name"]: layer for layer in document["dataLayers"]}


def expect_layer(
    dataset: Path, name: str, volumes: Sequence[NDArray[Any]], method: Method = "median"
) -> None:
    """Compare every mag of a layer with what the reference makes of its volumes."""
    record = properties_of(dataset)[name]
    mags = tuple(Mag(*mag["mag"]) for mag in record["mags"])
    expected = [mags_of(volume, mags, method) for volume in volumes]
    size_z, size_y, size_x = volumes[0].shape[:3]
    box = {"topLeft": [0, 0, 0], "width": size_x, "height": size_y, "depth": size_z}

    assert box == record["boundingBox"]
    assert len(mags) > 1
    for mag in mags:
        wanted = stored_axes([volume[mag] for volume in expected])
        found = read_with_zarr(dataset / name / str(mag))
        assert wanted.dtype == found.dtype
        np.testing.assert_array_equal(found, wanted, err_msg=f"{name} mag {mag}")
        np.testing.assert_array_equal(read_with_tensorstore(dataset / name / str(mag)), wanted)


def expect_same_voxels(one: Path, other: Path) -> None:
    """Compare two datasets array by array: shapes, types and voxels."""
    arrays = {path.parent.relative_to(one) for path in one.glob("*/*/zarr.json")}

    assert arrays == {path.parent.relative_to(other) for path in other.glob("*/*/zarr.json")}
    for array in arrays:
        np.testing.assert_array_equal(
            read_with_zarr(one / array), read_with_zarr(other / array), err_msg=str(array)
        )


@pytest.mark.parametrize(
    ("dtype", "samples", "suffix"),
    [
        ("uint8", 1, "tif"), ("uint8", 1, "png"), ("uint16", 1, "png"), ("uint16", 1, "tif"),
        ("uint32", 1, "tif"), ("float32", 1, "tif"), ("int8", 1, "tif"), ("int16", 1, "tif"),
        ("int32", 1, "tif"), ("uint8", 3, "tif"), ("uint8", 3, "png"), ("uint8", 1, "bmp"),
    ],
)  # fmt: skip
def test_a_sequence_of_any_type(tmp_path: Path, dtype: str, samples: int, suffix: str) -> None:
    """Numbered slices of odd size, each voxel type: color by median, in every mag."""
    shape = (19, 45, 37)
    layer = SyntheticLayer(
        shape_zyx=shape, dtype=dtype, samples=samples, pattern="img_{z}." + suffix
    )
    SyntheticAcquisition((layer,)).write(tmp_path / "run")
    stackwatch.convert(tmp_path / "run", tmp_path / "out", voxel_size_nm=EDGES, chunk=8, max_mag=8)

    expect_layer(tmp_path / "out", "color", [coordinate_stack(shape, dtype, samples=samples)])


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "int32", "uint64"])
def test_a_segmentation_by_mode(tmp_path: Path, dtype: str) -> None:
    """A layer named segmentation is reduced by mode, and its largest id is exact."""
    shape = (11, 45, 61)
    layer = SyntheticLayer(
        folder="segmentation", shape_zyx=shape, dtype=dtype, content="labels", pattern="s{z}.tif"
    )
    color = SyntheticLayer(folder="color", shape_zyx=shape)
    SyntheticAcquisition((layer, color)).write(tmp_path / "run")
    stackwatch.convert(tmp_path / "run", tmp_path / "out", voxel_size_nm=EDGES, chunk=8)
    volume = np.stack(list(layer.iter_slices()))

    expect_layer(tmp_path / "out", "segmentation", [volume], "mode")
    expect_layer(tmp_path / "out", "color", [coordinate_stack(shape)])
    found = properties_of(tmp_path / "out")["segmentation"]
    assert volume.max() == found["largestSegmentId"]


@pytest.mark.parametrize("method", ["mean", "mode", "nearest", "min", "max"])
def test_every_method(tmp_path: Path, method: Method) -> None:
    """Each way to make mags, asked for by name."""
    shape = (5, 33, 41)
    SyntheticAcquisition((SyntheticLayer(shape_zyx=shape, dtype="int16"),)).write(tmp_path / "run")
    stackwatch.convert(
        tmp_path / "run", tmp_path / "out", voxel_size_nm=EDGES, chunk=8, interpolation=method
    )

    expect_layer(tmp_path / "out", "color", [coordinate_stack(shape, "int16")], method)


@pytest.mark.parametrize("edges", [(3, 4, 6), (4, 4, 40), (100, 100, 20), (10, 10, 10)])
@pytest.mark.parametrize("shape", [(9, 33, 41), (17, 65, 34), (1, 50, 77), (2, 7, 5)])
def test_odd_sizes_and_odd_voxels(
    tmp_path: Path, shape: tuple[int, int, int], edges: tuple[float, float, float]
) -> None:
    """Sizes one above a border and ladders that skip a step: edges included, verified in full."""
    SyntheticAcquisition((SyntheticLayer(shape_zyx=shape),)).write(tmp_path / "run")
    stackwatch.convert(
        tmp_path / "run", tmp_path / "out", voxel_size_nm=edges, chunk=8, verify="full"
    )

    expect_layer(tmp_path / "out", "color", [coordinate_stack(shape)])


def test_the_default_chunk(tmp_path: Path) -> None:
    """Chunks of 32 over several slabs, blocks and columns, all sizes odd."""
    shape = (35, 69, 71)
    SyntheticAcquisition((SyntheticLayer(shape_zyx=shape, dtype="uint16"),)).write(tmp_path / "run")
    stackwatch.convert(tmp_path / "run", tmp_path / "out", voxel_size_nm=EDGES)

    expect_layer(tmp_path / "out", "color", [coordinate_stack(shape, "uint16")])


@pytest.mark.parametrize("kind", ["multipage", "ome-tiff"])
def test_a_single_file(tmp_path: Path, kind: Any) -> None:
    """All slices in one file."""
    shape = (19, 45, 37)
    layer = SyntheticLayer(shape_zyx=shape, dtype="uint16", kind=kind, pattern="stack.tif")
    (path,) = layer.write(tmp_path)
    stackwatch.convert(path, tmp_path / "out", voxel_size_nm=EDGES, chunk=8)

    expect_layer(tmp_path / "out", "color", [coordinate_stack(shape, "uint16")])


def test_channels_and_timepoints(tmp_path: Path) -> None:
    """An OME-TIFF's channels become layers, its timepoints an axis."""
    shape = (9, 31, 43)
    stack = coordinate_tczyx(3, 2, shape, "uint16")
    write_ome_tiff(tmp_path / "a.ome.tif", stack, voxel_size_nm=EDGES)
    result = stackwatch.convert(tmp_path / "a.ome.tif", tmp_path / "out", chunk=8)
    names = [layer.name for layer in result.datasets[0].layers]

    assert 2 == len(names)
    for c, name in enumerate(names):
        expect_layer(tmp_path / "out", name, list(stack[:, c]))


def test_a_set_of_files(tmp_path: Path) -> None:
    """An OME-TIFF set of one plane per file is joined once."""
    stack = np.stack([coordinate_stack((5, 31, 43), "uint16", c=c) for c in range(2)])
    write_ome_set(tmp_path / "set", stack, voxel_size_nm=EDGES)
    result = stackwatch.convert(tmp_path / "set", tmp_path / "out", chunk=8)

    for c, layer in enumerate(result.datasets[0].layers):
        expect_layer(tmp_path / "out", layer.name, [stack[c]])


def test_rgb_of_16_bit_becomes_three_layers(tmp_path: Path) -> None:
    """RGB that WEBKNOSSOS has no type for: a layer per sample, from one decode."""
    shape = (9, 31, 43)
    SyntheticAcquisition((SyntheticLayer(shape_zyx=shape, dtype="uint16", samples=3),)).write(
        tmp_path / "run"
    )
    result = stackwatch.convert(tmp_path / "run", tmp_path / "out", voxel_size_nm=EDGES, chunk=8)
    volume = coordinate_stack(shape, "uint16", samples=3)

    assert 3 == len(result.datasets[0].layers)
    for sample, layer in enumerate(result.datasets[0].layers):
        expect_layer(tmp_path / "out", layer.name, [np.ascontiguousarray(volume[..., sample])])


def test_a_zip_archive(tmp_path: Path) -> None:
    """An archive is what the folder in it is."""
    shape = (9, 31, 43)
    acquisition = SyntheticAcquisition(
        (SyntheticLayer("color", shape), SyntheticLayer("labels", shape, "uint16"))
    )
    files = acquisition.write(tmp_path / "run")
    with zipfile.ZipFile(tmp_path / "run.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(tmp_path))
    stackwatch.convert(tmp_path / "run.zip", tmp_path / "out", voxel_size_nm=EDGES, chunk=8)

    expect_layer(tmp_path / "out", "color", [coordinate_stack(shape)])
    expect_layer(tmp_path / "out", "labels", [coordinate_stack(shape, "uint16")], "mode")


def test_black_slices(tmp_path: Path) -> None:
    """A gap that may be filled is filled with zeros, at its place."""
    shape = (9, 31, 43)
    layer = SyntheticLayer(shape_zyx=shape, missing=(4, 5))
    SyntheticAcquisition((layer,)).write(tmp_path / "run")
    stackwatch.convert(
        tmp_path / "run", tmp_path / "out", voxel_size_nm=EDGES, chunk=8, missing_slices="black"
    )
    volume = coordinate_stack(shape)
    volume[4:6] = 0

    expect_layer(tmp_path / "out", "color", [volume])


def convert_in_least_memory(source: Path, target: Path, **flags: Any) -> float:
    """Convert with the smallest budget there is a plan for; return it in GiB."""
    memory_gib = 1 / GIB
    for _ in range(8):  # each pass over a stack says for itself what it needs
        try:
            stackwatch.convert(source, target, memory_gib=memory_gib, **flags)
        except BudgetTooSmallError as error:
            assert not target.exists()
            memory_gib = error.values["needed_bytes"] / GIB
        else:
            return memory_gib
    raise AssertionError("no budget was ever enough")


SWATHS: dict[str, SyntheticLayer] = {
    "rows": SyntheticLayer(shape_zyx=(19, 101, 37), dtype="uint16"),
    "spool": SyntheticLayer(shape_zyx=(19, 101, 37), dtype="uint16", pattern="img_{z}.png"),
    "spool-rgb": SyntheticLayer(shape_zyx=(9, 70, 37), samples=3, pattern="img_{z}.png"),
    "three-layers": SyntheticLayer(shape_zyx=(9, 70, 37), dtype="uint16", samples=3),
    "labels": SyntheticLayer(
        "labels", shape_zyx=(9, 101, 37), dtype="uint32", content="labels", pattern="s{z}.tif"
    ),
    "flat": SyntheticLayer(shape_zyx=(1, 131, 67), pattern="img_{z}.png"),
}


@pytest.mark.parametrize(
    ("name", "edges"),
    [*((name, EDGES) for name in SWATHS), ("rows", (3, 4, 6)), ("flat", (1, 2, 9))],
)
def test_swaths_make_the_same_voxels(
    tmp_path: Path, name: str, edges: tuple[float, float, float]
) -> None:
    """A budget that forces swaths and later passes: the same voxels in every mag."""
    SyntheticAcquisition((SWATHS[name],)).write(tmp_path / "run")
    flags: dict[str, Any] = {"voxel_size_nm": edges, "chunk": 8, "max_mag": 32, "threads": 2}
    stackwatch.convert(tmp_path / "run", tmp_path / "whole", **flags)
    convert_in_least_memory(tmp_path / "run", tmp_path / "swaths", verify="full", **flags)

    expect_same_voxels(tmp_path / "whole", tmp_path / "swaths")
    assert shards_of(tmp_path / "whole") != shards_of(tmp_path / "swaths")


def shards_of(dataset: Path) -> set[str]:
    """Return the paths of a dataset's shards: more of them where the plane was cut."""
    manifest = json.loads((dataset / "stackwatch.json").read_text())
    return {shard["path"] for shard in manifest["shards"]}


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_swaths_over_time(tmp_path: Path, compression: str | None) -> None:
    """Several channels and timepoints, swath by swath, read from one file."""
    stack = coordinate_tczyx(2, 2, (9, 50, 21), "uint8")
    write_ome_tiff(tmp_path / "a.ome.tif", stack, voxel_size_nm=EDGES, compression=compression)
    flags: dict[str, Any] = {"chunk": 8, "threads": 1}
    convert_in_least_memory(tmp_path / "a.ome.tif", tmp_path / "out", **flags)
    stackwatch.convert(tmp_path / "a.ome.tif", tmp_path / "whole", **flags)

    expect_same_voxels(tmp_path / "whole", tmp_path / "out")
    names = list(properties_of(tmp_path / "out"))
    for c, name in enumerate(names):
        expect_layer(tmp_path / "out", name, list(stack[:, c]))


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    """One thread and four, run twice: shards and metadata are the same, byte for byte."""
    SyntheticAcquisition((SyntheticLayer(shape_zyx=(35, 131, 101), content="em"),)).write(
        tmp_path / "run"
    )
    contents = []
    for threads in (1, 4):
        target = tmp_path / f"out{threads}"
        stackwatch.convert(
            tmp_path / "run", target, voxel_size_nm=EDGES, threads=threads, name="same", chunk=16
        )
        contents.append(
            {
                path.relative_to(target): path.read_bytes()
                for path in target.rglob("*")
                if path.is_file() and path.name != "stackwatch.json"
            }
        )

    assert contents[0] == contents[1]


def test_shards_of_several_slabs(tmp_path: Path) -> None:
    """Shards deeper than a slab and smaller than the plane, in one go."""
    shape = (37, 45, 37)
    SyntheticAcquisition((SyntheticLayer(shape_zyx=shape),)).write(tmp_path / "run")
    stackwatch.convert(
        tmp_path / "run", tmp_path / "out", voxel_size_nm=EDGES, chunk=8, shard=(16, 16, 32)
    )

    expect_layer(tmp_path / "out", "color", [coordinate_stack(shape)])
