"""The metadata of Zarr3 arrays and OME groups, written by zarr-python.

Source: NGFF 0.5 `multiscales`; the codecs and keys that WEBKNOSSOS reads, in docs/formats.md.
"""

from pathlib import Path
from typing import Any

from stackwatch.model.geometry import Vec3, VoxelSize
from stackwatch.model.plan import LayerPlan
from stackwatch.stores.codecs import CodecSpec
from stackwatch.stores.protocol import MagGrid


def write_array(path: Path, plan: LayerPlan, grid: MagGrid, codec: CodecSpec) -> None:
    """Write the metadata of one mag's array beside its shards.

    Parameters
    ----------
    path : Path
        The array's directory.
    plan : LayerPlan
    grid : MagGrid
    codec : CodecSpec
    """
    import zarr
    import zarr.codecs

    shape = _with_time(plan, plan.size_t, _cxyz(plan, grid.size))
    zarr.create_array(
        zarr.storage.LocalStore(path),
        shape=shape,
        chunks=_with_time(plan, 1, _cxyz(plan, grid.chunk)),
        shards=_with_time(plan, 1, _cxyz(plan, grid.shard)),
        dtype=plan.voxel_type.dtype_name,
        filters=[zarr.codecs.TransposeCodec(order=tuple(reversed(range(len(shape)))))],
        serializer=zarr.codecs.BytesCodec(endian="little"),
        compressors=_compressors(codec),
        dimension_names=list("tcxyz") if plan.size_t > 1 else list("cxyz"),
        fill_value=0,
    )


def write_groups(
    root: Path, layers: list[tuple[LayerPlan, tuple[MagGrid, ...]]], voxel_size: VoxelSize
) -> None:
    """Write the root's group and, for each layer, its OME group."""
    import zarr

    store = zarr.storage.LocalStore(root)
    zarr.create_group(store)
    for plan, grids in layers:
        attributes = {"ome": multiscales(plan, grids, voxel_size)}
        zarr.create_group(store, path=plan.name, attributes=attributes)


def multiscales(
    plan: LayerPlan, grids: tuple[MagGrid, ...], voxel_size: VoxelSize
) -> dict[str, Any]:
    """Return the `ome` attribute of a layer's group, NGFF 0.5."""
    has_time = plan.size_t > 1
    axes: list[dict[str, str]] = [{"name": "t", "type": "time"}] if has_time else []
    axes.append({"name": "c", "type": "channel"})
    axes += [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "xyz"]
    datasets = []
    for grid in grids:
        edges = [float(edge * step) for edge, step in zip(voxel_size, grid.mag, strict=True)]
        scale = [1.0] * (2 if has_time else 1) + edges
        transformations = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(grid.mag), "coordinateTransformations": transformations})
    pyramid = {"name": plan.name, "axes": axes, "datasets": datasets}
    return {"version": "0.5", "multiscales": [pyramid]}


def _cxyz(plan: LayerPlan, size: Vec3) -> tuple[int, ...]:
    return (plan.voxel_type.channels, size.x, size.y, size.z)


def _with_time(plan: LayerPlan, t: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (t, *shape) if plan.size_t > 1 else shape


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
