"""The properties file: what makes a directory of arrays a WEBKNOSSOS dataset.

Source: `datasource-properties.json` as described in docs/formats.md.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackwatch.model.geometry import VoxelSize
from stackwatch.model.options import StoreFormat
from stackwatch.model.plan import LayerPlan
from stackwatch.stores.protocol import MagGrid

PROPERTIES_FILE = "datasource-properties.json"
MANIFEST_FILE = "stackwatch.json"
EXACT_JSON_INTEGER = 2**53


@dataclass(frozen=True, slots=True)
class LayerView:
    """What the properties say of a layer's values.

    Attributes
    ----------
    minimum, maximum : int or float or None
        True extremes; None if the layer holds no finite value.
    intensity_range : (int or float, int or float) or None
        What is shown from black to white.
    """

    minimum: int | float | None = None
    maximum: int | float | None = None
    intensity_range: tuple[int | float, int | float] | None = None


@dataclass(frozen=True, slots=True)
class WrittenLayer:
    """A layer with the mags that were written for it."""

    plan: LayerPlan
    grids: tuple[MagGrid, ...]
    view: LayerView = LayerView()


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON file and flush it to the disk."""
    with path.open("x", encoding="utf-8") as file:
        json.dump(document, file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def properties(
    name: str,
    layers: tuple[WrittenLayer, ...],
    voxel_size: VoxelSize,
    store_format: StoreFormat = "zarr3",
) -> dict[str, Any]:
    """Return the content of `datasource-properties.json`."""
    return {
        "id": {"name": name, "team": ""},
        "scale": {"factor": [float(edge) for edge in voxel_size], "unit": "nanometer"},
        "dataLayers": [_layer_properties(layer, store_format) for layer in layers],
        "version": 1,
    }


def _layer_properties(layer: WrittenLayer, store_format: StoreFormat) -> dict[str, Any]:
    plan = layer.plan
    record: dict[str, Any] = {
        "name": plan.name,
        "category": str(plan.category),
        "boundingBox": {
            "topLeft": [0, 0, 0],
            "width": plan.size.x,
            "height": plan.size.y,
            "depth": plan.size.z,
        },
        "elementClass": plan.voxel_type.element_class,
        "dataFormat": store_format,
        "numChannels": plan.voxel_type.channels,
        "mags": [_mag_properties(plan, grid, store_format) for grid in layer.grids],
    }
    if plan.size_t > 1:
        record["additionalAxes"] = [{"name": "t", "bounds": [0, plan.size_t], "index": 0}]
    if plan.category == "segmentation":
        record["largestSegmentId"] = _json_integer(int(layer.view.maximum or 0))
    else:
        record["defaultViewConfiguration"] = _view_configuration(layer)
    return record


def _mag_properties(plan: LayerPlan, grid: MagGrid, store_format: StoreFormat) -> dict[str, Any]:
    record: dict[str, Any] = {"mag": list(grid.mag), "path": f"./{plan.name}/{grid.mag}"}
    if store_format == "wkw":
        return record | {"cubeLength": grid.shard.x}
    first = 1 if plan.size_t > 1 else 0
    return record | {"axisOrder": {axis: first + at for at, axis in enumerate("cxyz")}}


def _json_integer(value: int) -> Any:
    if value <= EXACT_JSON_INTEGER:
        return max(0, value)
    return {"customJsonEncoding": "bigint", "value": str(value)}


def _view_configuration(layer: WrittenLayer) -> dict[str, Any]:
    view = layer.view
    record: dict[str, Any] = {}
    if view.minimum is not None and view.maximum is not None:
        record |= {"min": view.minimum, "max": view.maximum}
    if view.intensity_range is not None:
        record["intensityRange"] = list(view.intensity_range)
    if layer.plan.color_rgb is not None:
        record["color"] = list(layer.plan.color_rgb)
    return record
