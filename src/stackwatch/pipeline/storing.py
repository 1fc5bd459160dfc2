"""Which store a dataset is written with, and what else belongs to that format."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from stackwatch.engine.planner import StreamPlan
from stackwatch.errors import PlanError
from stackwatch.model.geometry import VoxelSize
from stackwatch.model.options import StoreOptions
from stackwatch.model.plan import LayerPlan, StackPlan
from stackwatch.stores.codecs import choose_codec
from stackwatch.stores.objects import WRITER_BYTES, Objects
from stackwatch.stores.properties import WrittenLayer
from stackwatch.stores.wkw import CUBE_EDGE, WkwStore, choose_wkw_codec, wkw_grid
from stackwatch.stores.zarr3 import Zarr3Store
from stackwatch.stores.zarr3_metadata import write_groups

Store = Zarr3Store | WkwStore


def ensure_storable(stack: StackPlan, options: StoreOptions) -> None:
    """Refuse what the format cannot hold.

    Raises
    ------
    PlanError
        The options contradict each other, or WKW is to hold several timepoints; the caller parks.
    """
    if options.mistake:
        hint = f"Mend it: {options.mistake}."
        raise PlanError(f"The dataset cannot be stored like that: {options.mistake}.", hint=hint)
    layer = stack.layers[0]
    if options.format == "wkw" and layer.size_t > 1:
        hint = 'Set `format = "zarr3"` (`--format zarr3`), which keeps time as an axis.'
        raise PlanError(
            f"Layer “{layer.name}” has {layer.size_t} timepoints, and WKW knows no time. {hint}",
            hint=hint,
            layer=layer.name,
            timepoints=layer.size_t,
        )


def slab_depth(options: StoreOptions) -> int:
    """Return the depth of a slab where the format dictates it, else 0.

    A block of WKW is a cube even where there is one slice.
    """
    return options.chunk_vx if options.format == "wkw" else 0


def shard_bytes(options: StoreOptions) -> int:
    """Return what a shard being written holds in memory: nothing, where it is a file."""
    return WRITER_BYTES if options.bucket else 0


def adapt_grids(plan: StreamPlan, options: StoreOptions) -> StreamPlan:
    """Cut the mags of a pass into the files of the format."""
    if options.format != "wkw":
        return plan
    edge = options.shard_vx.x if options.shard_vx is not None else CUBE_EDGE
    return replace(plan, grids=tuple(wkw_grid(grid, edge) for grid in plan.grids))


def make_store(
    options: StoreOptions,
    root: Path,
    scratch: Path,
    layers: Iterable[LayerPlan],
    workshop: Path | None = None,
    objects: Objects | None = None,
) -> Store:
    """Return the store that writes these layers below `root`.

    Parameters
    ----------
    options : StoreOptions
    root : Path
        The dataset's staging directory.
    scratch : Path
        A directory beside it, for what waits.
    layers : iterable of LayerPlan
    workshop : Path or None
        A folder of this process where shards grow, if other processes write below `root` too.
    objects : Objects or None
        Where the shards go, if into a bucket.
    """
    if options.format == "wkw":
        codecs = {layer.name: choose_wkw_codec(layer.category, options.codec) for layer in layers}
        return WkwStore(root, scratch, codecs)
    return Zarr3Store(
        root,
        {
            layer.name: choose_codec(layer.voxel_type, layer.category, options.codec)
            for layer in layers
        },
        workshop,
        objects,
    )


def write_layer_groups(
    options: StoreOptions, root: Path, layers: Sequence[WrittenLayer], voxel_size: VoxelSize
) -> None:
    """Write what readers of the format want to know beside the mags."""
    if options.format == "zarr3":
        write_groups(root, [(layer.plan, layer.grids) for layer in layers], voxel_size)
