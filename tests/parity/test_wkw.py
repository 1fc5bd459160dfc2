"""A WKW conversion holds the voxels of the Zarr3 one, and the reference library says so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wkw
from numpy.typing import NDArray

import stackwatch
from stackwatch.errors import PlanError, UsageError, VerificationError
from stackwatch.pipeline.verify import verify_dataset
from stackwatch.testing.mags import read_with_zarr
from stackwatch.testing.synthetic import (
    SyntheticAcquisition,
    SyntheticLayer,
    coordinate_tczyx,
    write_ome_tiff,
)

EDGES = (11.24, 11.24, 25.0)


def layers_of(dataset: Path) -> dict[str, Any]:
    """Return the layers of a dataset's properties by name."""
    document = json.loads((dataset / "datasource-properties.json").read_text())
    return {layer["name"]: layer for layer in document["dataLayers"]}


def read_wkw(folder: Path, size_xyz: tuple[int, ...]) -> NDArray[Any]:
    """Return a mag as the reference library reads it, axes c, x, y, z."""
    with wkw.Dataset.open(str(folder)) as dataset:
        return np.asarray(dataset.read((0, 0, 0), size_xyz))


def expect_same_mags(as_wkw: Path, as_zarr: Path) -> int:
    """Compare every mag of every layer, and what the properties say; return their number."""
    layers, others = layers_of(as_wkw), layers_of(as_zarr)
    assert layers.keys() == others.keys()
    compared = 0
    for name, layer in layers.items():
        other = others[name]
        assert layer["dataFormat"] == "wkw"
        differing = {"dataFormat", "mags"}
        assert {key: layer[key] for key in layer.keys() - differing} == {
            key: other[key] for key in other.keys() - differing
        }
        assert [mag["mag"] for mag in layer["mags"]] == [mag["mag"] for mag in other["mags"]]
        for mag in layer["mags"]:
            expected = read_with_zarr(as_zarr / mag["path"])
            found = read_wkw(as_wkw / mag["path"], expected.shape[1:])
            np.testing.assert_array_equal(expected, found, err_msg=mag["path"])
            compared += 1
    return compared


@pytest.mark.parametrize(
    ("dtype", "samples", "shape"),
    [
        ("uint8", 1, (70, 65, 101)), ("uint16", 1, (33, 40, 37)), ("uint32", 1, (5, 40, 37)),
        ("int16", 1, (9, 40, 37)), ("float32", 1, (1, 40, 37)), ("uint8", 3, (9, 45, 37)),
    ],
)  # fmt: skip
def test_both_formats_hold_the_same_voxels(tmp_path: Path, dtype, samples, shape) -> None:
    """Every mag, odd sizes, RGB, a single slice."""
    layer = SyntheticLayer(shape_zyx=shape, dtype=dtype, samples=samples)
    SyntheticAcquisition((layer,)).write(tmp_path / "run")
    for form in ("wkw", "zarr3"):
        stackwatch.convert(
            tmp_path / "run", tmp_path / form, voxel_size_nm=EDGES, chunk=8, format=form, max_mag=8
        )

    assert expect_same_mags(tmp_path / "wkw", tmp_path / "zarr3") > 1


@pytest.mark.parametrize("codec", ["none", "lz4", "lz4hc", "lz4hc-9"])
@pytest.mark.system
def test_every_codec_with_small_cubes(tmp_path: Path, codec) -> None:
    """Color and segmentation beside each other, over many cubes."""
    shape = (40, 70, 75)
    color = SyntheticLayer("color", shape, content="em")
    labels = SyntheticLayer("segmentation", shape, "uint32", content="labels")
    SyntheticAcquisition((color, labels)).write(tmp_path / "run")
    stackwatch.convert(
        tmp_path / "run", tmp_path / "wkw",
        voxel_size_nm=EDGES, chunk=8, shard=32, format="wkw", codec=codec, verify="full",
    )  # fmt: skip
    stackwatch.convert(tmp_path / "run", tmp_path / "zarr3", voxel_size_nm=EDGES, chunk=8)

    assert expect_same_mags(tmp_path / "wkw", tmp_path / "zarr3") > 4
    assert len(list((tmp_path / "wkw/color/1").glob("z*/y*/x*.wkw"))) == 18


@pytest.mark.system
def test_planes_that_do_not_fit_are_streamed_in_swaths(tmp_path: Path) -> None:
    """Cubes that two swaths share are whole; later passes read WKW back."""
    layer = SyntheticLayer(shape_zyx=(40, 2100, 2100), content="em")
    SyntheticAcquisition((layer,)).write(tmp_path / "run")
    stackwatch.convert(
        tmp_path / "run", tmp_path / "wkw",
        voxel_size_nm=EDGES, format="wkw", memory_gib=0.19, threads=2,
    )  # fmt: skip
    stackwatch.convert(tmp_path / "run", tmp_path / "zarr3", voxel_size_nm=EDGES)

    assert expect_same_mags(tmp_path / "wkw", tmp_path / "zarr3") > 4


def test_a_lost_cube_and_a_cut_one_are_found(tmp_path: Path) -> None:
    """The manifest knows every cube: missing, shortened and changed ones are named."""
    SyntheticAcquisition((SyntheticLayer(shape_zyx=(20, 40, 50)),)).write(tmp_path / "run")
    out = tmp_path / "wkw"
    stackwatch.convert(tmp_path / "run", out, voxel_size_nm=EDGES, chunk=8, shard=16, format="wkw")
    assert verify_dataset(out)["status"] == "verified"
    cubes = sorted((out / "color/1").glob("z*/y*/x*.wkw"))
    cubes[0].unlink()
    cubes[1].write_bytes(cubes[1].read_bytes()[:-1])
    data = bytearray(cubes[2].read_bytes())
    data[-1] ^= 1
    cubes[2].write_bytes(data)

    with pytest.raises(VerificationError) as caught:
        verify_dataset(out)

    problems = caught.value.values["problems"]
    assert [cube.relative_to(out).as_posix() for cube in cubes[:3]] == sorted(
        problem.partition(":")[0] for problem in problems
    )


def test_time_is_refused(tmp_path: Path) -> None:
    """WKW knows no time; the message says which format does."""
    stack = coordinate_tczyx(3, 1, (2, 20, 30), "uint8")
    write_ome_tiff(tmp_path / "run.ome.tif", stack)

    with pytest.raises(PlanError, match="3 timepoints") as caught:
        stackwatch.convert(
            tmp_path / "run.ome.tif", tmp_path / "out", voxel_size_nm=EDGES, format="wkw"
        )

    assert "zarr3" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"codec": "zstd"}, "codec must be one of auto, none, lz4"),
        ({"shard": (32, 64, 32)}, "shard must have three equal edges"),
    ],
)
def test_flags_that_contradict_wkw_are_refused_at_once(tmp_path: Path, flags, told) -> None:
    """A codec or a file shape that WKW does not know is a mistake of the call, not of the data."""
    with pytest.raises(UsageError, match=told):
        stackwatch.convert(tmp_path, tmp_path.with_name("out"), format="wkw", **flags)
