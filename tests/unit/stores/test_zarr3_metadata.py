"""The metadata of arrays and groups, key by key as WEBKNOSSOS reads them."""

import json
from pathlib import Path
from typing import Any

import pytest

from stackwatch.model.geometry import Mag, Vec3, VoxelSize
from stackwatch.model.options import Codec
from stackwatch.model.plan import LayerPlan
from stackwatch.model.voxels import Category, VoxelType
from stackwatch.stores.codecs import choose_codec
from stackwatch.stores.protocol import MagGrid
from stackwatch.stores.zarr3_metadata import write_array, write_groups

SIZE = Vec3(265, 257, 33)
UINT8 = VoxelType("uint8")
GRID = MagGrid(Mag(1, 1, 1), SIZE, Vec3(32, 32, 32), Vec3(288, 288, 32))


def array_metadata(
    folder: Path,
    *,
    voxel_type: VoxelType = UINT8,
    category: Category = Category.COLOR,
    codec: Codec = "auto",
    size_t: int = 1,
) -> dict[str, Any]:
    """Write one array and return its `zarr.json`."""
    layer = LayerPlan("color", category, voxel_type, SIZE, size_t)
    write_array(folder, layer, GRID, choose_codec(voxel_type, category, codec))
    document: dict[str, Any] = json.loads((folder / "zarr.json").read_text())
    return document


def test_an_array_says_everything_a_reader_needs(tmp_path: Path) -> None:
    """The whole document of a uint8 layer, exact shape and codecs with every key."""
    expected = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [1, 265, 257, 33],
        "data_type": "uint8",
        "fill_value": 0,
        "dimension_names": ["c", "x", "y", "z"],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 288, 288, 32]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "attributes": {},
        "storage_transformers": [],
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [1, 32, 32, 32],
                    "codecs": [
                        {"name": "transpose", "configuration": {"order": [3, 2, 1, 0]}},
                        {"name": "bytes"},
                        {"name": "zstd", "configuration": {"level": 3, "checksum": True}},
                    ],
                    "index_codecs": [
                        {"name": "bytes", "configuration": {"endian": "little"}},
                        {"name": "crc32c"},
                    ],
                    "index_location": "end",
                },
            }
        ],
    }

    assert expected == array_metadata(tmp_path)


def inner_codecs(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the codecs of a chunk."""
    found: list[dict[str, Any]] = document["codecs"][0]["configuration"]["codecs"]
    return found


def blosc(typesize: int) -> dict[str, Any]:
    """Return blosc as it is declared for values of so many bytes."""
    shuffle = "bitshuffle" if typesize > 1 else "noshuffle"
    keys = {"cname": "zstd", "clevel": 3, "shuffle": shuffle, "blocksize": 0}
    return {"name": "blosc", "configuration": {**keys, "typesize": typesize}}


def zstd(level: int) -> dict[str, Any]:
    """Return zstd as it is declared."""
    return {"name": "zstd", "configuration": {"level": level, "checksum": True}}


@pytest.mark.parametrize(
    ("dtype", "category", "codec", "expected"),
    [
        ("uint16", "color", "auto", blosc(2)),
        ("float32", "color", "auto", blosc(4)),
        ("uint8", "color", "blosc", blosc(1)),
        ("int8", "color", "auto", zstd(3)),
        ("uint32", "segmentation", "auto", zstd(5)),
        ("uint8", "segmentation", "auto", zstd(5)),
        ("uint16", "color", "zstd", zstd(3)),
        ("uint16", "color", "zstd-1", zstd(1)),
        ("uint16", "color", "zstd-5", zstd(5)),
        ("uint16", "color", "gzip", {"name": "gzip", "configuration": {"level": 5}}),
    ],
)  # fmt: skip
def test_codecs_are_declared_with_every_key(
    tmp_path: Path, dtype: str, category: str, codec: Codec, expected: dict[str, Any]
) -> None:
    """A codec whose configuration lacks a key would be dropped silently: all are there."""
    found = array_metadata(
        tmp_path, voxel_type=VoxelType(dtype), category=Category(category), codec=codec
    )

    assert expected == inner_codecs(found)[-1]


def test_no_codec_is_no_codec(tmp_path: Path) -> None:
    """Without compression the bytes are the last step."""
    names = [codec["name"] for codec in inner_codecs(array_metadata(tmp_path, codec="none"))]

    assert ["transpose", "bytes"] == names


@pytest.mark.parametrize("dtype", ["uint16", "int32", "uint64", "float32"])
def test_wider_types_are_little_endian(tmp_path: Path, dtype: str) -> None:
    """Types of more than one byte say that they are little-endian, and their name is plain."""
    found = array_metadata(tmp_path, voxel_type=VoxelType(dtype))

    assert {"endian": "little"} == inner_codecs(found)[1]["configuration"]
    assert dtype == found["data_type"]


def test_rgb_has_three_channels(tmp_path: Path) -> None:
    """An RGB array, its chunks and its shards hold all three channels."""
    found = array_metadata(tmp_path, voxel_type=VoxelType("uint8", 3))

    assert [3, 265, 257, 33] == found["shape"]
    assert [3, 288, 288, 32] == found["chunk_grid"]["configuration"]["chunk_shape"]
    assert [3, 32, 32, 32] == found["codecs"][0]["configuration"]["chunk_shape"]


def test_time_comes_first(tmp_path: Path) -> None:
    """A time axis is the first one; chunks and shards are one timepoint deep."""
    found = array_metadata(tmp_path, size_t=7)

    assert [7, 1, 265, 257, 33] == found["shape"]
    assert ["t", "c", "x", "y", "z"] == found["dimension_names"]
    assert [1, 1, 288, 288, 32] == found["chunk_grid"]["configuration"]["chunk_shape"]
    assert [4, 3, 2, 1, 0] == inner_codecs(found)[0]["configuration"]["order"]


def ome_of(root: Path, *, size_t: int = 1) -> dict[str, Any]:
    """Write the groups of a layer with two mags and return its `ome` attribute."""
    layer = LayerPlan("color", Category.COLOR, VoxelType("uint8"), SIZE, size_t)
    half = MagGrid(Mag(2, 2, 1), SIZE.ceil_div(Mag(2, 2, 1)), GRID.chunk, GRID.shard)
    write_groups(root, [(layer, (GRID, half))], VoxelSize(11.24, 11.24, 25.0))
    document: dict[str, Any] = json.loads((root / "color" / "zarr.json").read_text())
    assert "group" == document["node_type"]
    ome: dict[str, Any] = document["attributes"]["ome"]
    return ome


def test_a_layer_is_an_ome_multiscale(tmp_path: Path) -> None:
    """Axes in the order of the arrays, one dataset per mag with its own scale in nanometres."""
    space = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "xyz"]
    scales = {"1": [1.0, 11.24, 11.24, 25.0], "2-2-1": [1.0, 22.48, 22.48, 25.0]}
    expected = {
        "version": "0.5",
        "multiscales": [
            {
                "name": "color",
                "axes": [{"name": "c", "type": "channel"}, *space],
                "datasets": [
                    {
                        "path": path,
                        "coordinateTransformations": [{"type": "scale", "scale": scale}],
                    }
                    for path, scale in scales.items()
                ],
            }
        ],
    }

    assert expected == ome_of(tmp_path)
    assert "group" == json.loads((tmp_path / "zarr.json").read_text())["node_type"]


def test_the_time_axis_has_a_scale_of_one(tmp_path: Path) -> None:
    """Time is an axis without a unit, and every scale has a number for it."""
    (pyramid,) = ome_of(tmp_path, size_t=3)["multiscales"]

    assert {"name": "t", "type": "time"} == pyramid["axes"][0]
    assert [1.0, 1.0, 11.24, 11.24, 25.0] == (
        pyramid["datasets"][0]["coordinateTransformations"][0]["scale"]
    )
