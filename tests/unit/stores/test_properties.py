"""`datasource-properties.json`, compared with documents written by hand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stackwatch.model.geometry import Mag, Vec3, VoxelSize
from stackwatch.model.plan import LayerPlan
from stackwatch.model.voxels import Category, VoxelType
from stackwatch.stores.properties import LayerView, WrittenLayer, properties, write_json
from stackwatch.stores.protocol import MagGrid

SIZE = Vec3(265, 264, 33)
COLOR = LayerPlan("em", Category.COLOR, VoxelType("uint8"), SIZE)
LABELS = LayerPlan("labels", Category.SEGMENTATION, VoxelType("uint64"), SIZE)
NO_VIEW = LayerView()
EDGES = VoxelSize(11.24, 11.24, 25)


def written(layer: LayerPlan, view: LayerView = NO_VIEW) -> WrittenLayer:
    """Return a layer with mags 1 and 2-2-1."""
    chunk, shard = Vec3(32, 32, 32), Vec3(288, 288, 32)
    mags = (Mag(1, 1, 1), Mag(2, 2, 1))
    grids = tuple(MagGrid(mag, layer.size.ceil_div(mag), chunk, shard) for mag in mags)
    return WrittenLayer(layer, grids, view)


def record_of(layer: LayerPlan, view: LayerView = NO_VIEW) -> dict[str, Any]:
    """Return what the properties say of one layer, as it comes back from JSON."""
    document = properties("name", (written(layer, view),), EDGES)
    (record,) = json.loads(json.dumps(document, allow_nan=False))["dataLayers"]
    assert isinstance(record, dict)
    return record


def test_the_whole_document(tmp_path: Path) -> None:
    """Two layers, color and segmentation: every key, byte for byte what a reader expects."""
    view = LayerView(9, 255, (20, 240))
    layers = (written(COLOR, view), written(LABELS, LayerView(0, 3)))
    write_json(tmp_path / "properties.json", properties("my_dataset", layers, EDGES))
    order = {"c": 0, "x": 1, "y": 2, "z": 3}
    box = {"topLeft": [0, 0, 0], "width": 265, "height": 264, "depth": 33}
    expected = {
        "id": {"name": "my_dataset", "team": ""},
        "scale": {"factor": [11.24, 11.24, 25.0], "unit": "nanometer"},
        "dataLayers": [
            {
                "name": "em",
                "category": "color",
                "boundingBox": box,
                "elementClass": "uint8",
                "dataFormat": "zarr3",
                "numChannels": 1,
                "mags": [
                    {"mag": [1, 1, 1], "path": "./em/1", "axisOrder": order},
                    {"mag": [2, 2, 1], "path": "./em/2-2-1", "axisOrder": order},
                ],
                "defaultViewConfiguration": {"min": 9, "max": 255, "intensityRange": [20, 240]},
            },
            {
                "name": "labels",
                "category": "segmentation",
                "boundingBox": box,
                "elementClass": "uint64",
                "dataFormat": "zarr3",
                "numChannels": 1,
                "mags": [
                    {"mag": [1, 1, 1], "path": "./labels/1", "axisOrder": order},
                    {"mag": [2, 2, 1], "path": "./labels/2-2-1", "axisOrder": order},
                ],
                "largestSegmentId": 3,
            },
        ],
        "version": 1,
    }

    assert expected == json.loads((tmp_path / "properties.json").read_text())


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (None, 0),
        (0, 0),
        (2**53, 2**53),
        (2**53 + 1, {"customJsonEncoding": "bigint", "value": "9007199254740993"}),
        (2**64 - 1, {"customJsonEncoding": "bigint", "value": "18446744073709551615"}),
        (-5, 0),
    ],
)
def test_large_segment_ids_are_written_exactly(largest: int | None, expected: Any) -> None:
    """Beyond 2^53 an id is written as text, for readers whose numbers are doubles."""
    record = record_of(LABELS, LayerView(0 if largest is None else largest, largest))

    assert expected == record["largestSegmentId"]
    assert "defaultViewConfiguration" not in record


@pytest.mark.parametrize(
    ("voxel_type", "element_class", "channels"),
    [
        (VoxelType("uint8", 3), "uint24", 3),
        (VoxelType("float32"), "float", 1),
        (VoxelType("int16"), "int16", 1),
    ],
)
def test_voxel_types_have_their_own_words(
    voxel_type: VoxelType, element_class: str, channels: int
) -> None:
    """RGB is `uint24` with three channels, float32 is `float`."""
    record = record_of(replace(COLOR, voxel_type=voxel_type))

    assert (element_class, channels) == (record["elementClass"], record["numChannels"])


def test_time_is_an_additional_axis() -> None:
    """With timepoints every axis moves by one, and the bounds of t are named."""
    record = record_of(replace(COLOR, size_t=3))

    assert [{"name": "t", "bounds": [0, 3], "index": 0}] == record["additionalAxes"]
    assert [{"c": 1, "x": 2, "y": 3, "z": 4}] * 2 == [m["axisOrder"] for m in record["mags"]]


def test_a_layer_without_finite_values_has_no_extremes() -> None:
    """Nothing finite: no minimum or maximum is made up."""
    record = record_of(COLOR, LayerView(None, None, (0.0, 1.0)))

    assert {"intensityRange": [0.0, 1.0]} == record["defaultViewConfiguration"]


def test_the_channels_colour_is_kept() -> None:
    """A display colour that the file states is passed on."""
    record = record_of(replace(COLOR, color_rgb=(0, 255, 0)), LayerView(1, 2))

    assert {"min": 1, "max": 2, "color": [0, 255, 0]} == record["defaultViewConfiguration"]


def test_a_json_file_is_never_overwritten(tmp_path: Path) -> None:
    """Writing a document where one stands is an error."""
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(FileExistsError):
        write_json(tmp_path / "a.json", {"a": 2})

    assert {"a": 1} == json.loads((tmp_path / "a.json").read_text())
