"""What makes a directory of shards a dataset: array metadata, the OME group, the properties file.

Written last: without them nobody takes the directory for a dataset. zarr-python writes the metadata
of groups and arrays; the properties file is ours.

Source: NGFF 0.5 `multiscales`; WEBKNOSSOS's `datasource-properties.json` as described in
docs/formats.md.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackwatch.model.geometry import VoxelSize
from stackwatch.model.plan import LayerPlan
from stackwatch.stores.codecs import CodecSpec
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
    codec: CodecSpec
    view: LayerView = LayerView()


def write_metadata(
    root: Path, name: str, layers: tuple[WrittenLayer, ...], voxel_size: VoxelSize
) -> None:
    """Write everything but the shards, and flush it to the disk.

    Parameters
    ----------
    root : Path
        The (staging) directory of the dataset.
    name : str
        The dataset's name.
    layers : tuple of WrittenLayer
    voxel_size : VoxelSize
    """
    import zarr

    store = zarr.storage.LocalStore(root)
    zarr.create_group(store)
    for layer in layers:
        _write_layer(store, layer, voxel_size)
    write_json(root / PROPERTIES_FILE, properties(name, layers, voxel_size))


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON file and flush it to the disk."""
    with path.open("x", encoding="utf-8") as file:
        json.dump(document, file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _write_layer(store: Any, layer: WrittenLayer, voxel_size: VoxelSize) -> None:
    import zarr

    name = layer.plan.name
    attributes = {"ome": multiscales(layer, voxel_size)}
    zarr.create_group(store, path=name, attributes=attributes)
    for grid in layer.grids:
        shape = array_shape(layer.plan, grid)
        zarr.create_array(
            store,
            name=f"{name}/{grid.mag}",
            shape=shape,
            chunks=_with_time(layer.plan, 1, _cxyz(layer.plan, grid.chunk)),
            shards=_with_time(layer.plan, 1, _cxyz(layer.plan, grid.shard)),
            dtype=layer.plan.voxel_type.dtype_name,
            filters=[zarr.codecs.TransposeCodec(order=tuple(reversed(range(len(shape)))))],
            serializer=zarr.codecs.BytesCodec(endian="little"),
            compressors=_compressors(layer.codec),
            dimension_names=_axes(layer.plan),
            fill_value=0,
        )


def array_shape(plan: LayerPlan, grid: MagGrid) -> tuple[int, ...]:
    """Return the exact shape of one mag's array: (t,) c, x, y, z."""
    return _with_time(plan, plan.size_t, _cxyz(plan, grid.size))


def _cxyz(plan: LayerPlan, size: Any) -> tuple[int, ...]:
    return (plan.voxel_type.channels, size.x, size.y, size.z)


def _with_time(plan: LayerPlan, t: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (t, *shape) if plan.size_t > 1 else shape


def _axes(plan: LayerPlan) -> list[str]:
    return ["t", "c", "x", "y", "z"] if plan.size_t > 1 else ["c", "x", "y", "z"]


def _compressors(codec: CodecSpec) -> list[Any] | None:
    from zarr import codecs

    match codec.name:
        case "none":
            return None
        case "zstd":
            return [codecs.ZstdCodec(level=codec.level, checksum=True)]
        case "gzip":
            return [codecs.GzipCodec(level=codec.level)]
        case "blosc":
            return [
                codecs.BloscCodec(
                    typesize=codec.typesize,
                    cname="zstd",
                    clevel=codec.level,
                    shuffle=codec.shuffle,
                    blocksize=0,
                )
            ]


def multiscales(layer: WrittenLayer, voxel_size: VoxelSize) -> dict[str, Any]:
    """Return the `ome` attribute of a layer's group, NGFF 0.5."""
    has_time = layer.plan.size_t > 1
    axes: list[dict[str, str]] = [{"name": "t", "type": "time"}] if has_time else []
    axes.append({"name": "c", "type": "channel"})
    axes += [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "xyz"]
    datasets = []
    for grid in layer.grids:
        edges = [edge * step for edge, step in zip(voxel_size, grid.mag, strict=True)]
        scale = [1.0] * (2 if has_time else 1) + [float(edge) for edge in edges]
        datasets.append(
            {
                "path": str(grid.mag),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
    return {
        "version": "0.5",
        "multiscales": [{"name": layer.plan.name, "axes": axes, "datasets": datasets}],
    }


def properties(
    name: str, layers: tuple[WrittenLayer, ...], voxel_size: VoxelSize
) -> dict[str, Any]:
    """Return the content of `datasource-properties.json`."""
    return {
        "id": {"name": name, "team": ""},
        "scale": {"factor": [float(edge) for edge in voxel_size], "unit": "nanometer"},
        "dataLayers": [_layer_properties(layer) for layer in layers],
        "version": 1,
    }


def _layer_properties(layer: WrittenLayer) -> dict[str, Any]:
    plan = layer.plan
    axis_order = {axis: place for place, axis in enumerate(_axes(plan)) if axis != "t"}
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
        "dataFormat": "zarr3",
        "numChannels": plan.voxel_type.channels,
        "mags": [
            {
                "mag": list(grid.mag),
                "path": f"./{plan.name}/{grid.mag}",
                "axisOrder": axis_order,
            }
            for grid in layer.grids
        ],
    }
    if plan.size_t > 1:
        record["additionalAxes"] = [{"name": "t", "bounds": [0, plan.size_t], "index": 0}]
    if plan.category == "segmentation":
        record["largestSegmentId"] = _json_integer(int(layer.view.maximum or 0))
    else:
        record["defaultViewConfiguration"] = _view_configuration(layer)
    return record


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
