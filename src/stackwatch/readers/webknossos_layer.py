"""Layers of a WEBKNOSSOS dataset as input: where they lie, how large their voxels are.

`datasource-properties.json` names layers with their category and their bounding box, which need
not begin at 0. All layers of a dataset begin at one corner here, the least of all boxes, so that
they still fit each other; what lies outside of a layer's own box is zero.

Source: the documentation of WEBKNOSSOS on datasets; files of its own library, old (`scale` a list
of nanometres, `wkwResolutions`) and new (`scale` with a unit, `mags`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize, Vec3
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.readers.chunked import BoxKey, ChunkedReader, reads_rows
from stackwatch.readers.damage import unsupported
from stackwatch.readers.folder import PROPERTIES, FolderView, join
from stackwatch.readers.scale import length_nm
from stackwatch.readers.zarr_store import open_array, read_array, read_json

_LARGEST_EXTENT: Final = 2**24

_USUAL_AXES: Final = {3: "xyz", 4: "cxyz", 5: "tcxyz"}
"""Of the arrays that WEBKNOSSOS's own library writes, where the properties do not say."""

ReadPart = Callable[[int, range, range, range], NDArray[Any]]
"""From a timepoint and ranges of z, y, x in mag 1 to voxels of shape (z, y, x) or (z, y, x, s)."""


@dataclass(frozen=True, slots=True)
class LayerPlace:
    """What the properties say of one layer; positions in mag-1 voxels.

    Attributes
    ----------
    start, end : Vec3
        Its bounding box, the end exclusive.
    corner : Vec3
        Where the dataset begins.
    edges : PartialVoxelSize
    category : str
    axes : str
        Of its arrays, slowest first; empty where it is not said.
    """

    start: Vec3
    end: Vec3
    corner: Vec3
    edges: PartialVoxelSize = PartialVoxelSize()
    category: str = ""
    axes: str = ""


def read_layer(view: FolderView, mag_folder: str) -> LayerPlace | None:
    """Return what the properties beside a layer say of it; None where there are none.

    Parameters
    ----------
    view : FolderView
    mag_folder : str
        Of its mag 1, such as `color/1`.

    Raises
    ------
    CorruptSliceError
        The properties cannot be understood.
    """
    layer_folder, _, _ = mag_folder.rpartition("/")
    root, _, name = layer_folder.rpartition("/")
    path = join(root, PROPERTIES)
    found = read_json(view, path)
    if found is None or not name:
        return None
    try:
        layers = {str(one.get("name")): one for one in found.get("dataLayers") or ()}
        if name not in layers:
            return None
        boxes = {key: _box(one["boundingBox"]) for key, one in layers.items()}
        corner = Vec3(*(min(axis) for axis in zip(*(box[0] for box in boxes.values()),
                                                  strict=True)))  # fmt: skip
        axes = _axes(layers[name])
        edges = _edges(found.get("scale"))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise CorruptSliceError(
            f"“{show_path(path)}” cannot be understood ({error!r}). Copy the dataset again.",
            hint="Copy the dataset again.",
            path=show_path(path),
        ) from error
    category = layers[name].get("category")
    said = category if category in ("color", "segmentation") else ""
    return LayerPlace(*boxes[name], corner, edges, said, axes)


def _box(given: dict[str, Any]) -> tuple[Vec3, Vec3]:
    start = Vec3(*(int(number) for number in given["topLeft"]))
    size = [int(given[key]) for key in ("width", "height", "depth")]
    if min(size) <= 0 or min(start) < 0 or max((*start, *size)) > _LARGEST_EXTENT:
        raise ValueError(f"a bounding box at {tuple(start)} of {size}")
    return start, Vec3(*(at + edge for at, edge in zip(start, size, strict=True)))


def _edges(scale: Any) -> PartialVoxelSize:
    factors = scale.get("factor") if isinstance(scale, dict) else scale
    unit = str(scale.get("unit", "")) if isinstance(scale, dict) else "nm"
    if not isinstance(factors, list) or len(factors) != 3:
        return PartialVoxelSize()
    return PartialVoxelSize(*(length_nm(float(factor), unit) for factor in factors))


def _axes(layer: dict[str, Any]) -> str:
    mags: list[dict[str, Any]] = layer.get("mags") or [{}]
    order = mags[0].get("axisOrder") or {}
    return "".join(sorted((str(axis) for axis in order), key=lambda axis: int(order[axis])))


@dataclass(frozen=True)
class LayerBoxes:
    """Parts of one layer, shifted to the corner of its dataset; shared by all threads."""

    place: LayerPlace
    chunk: Vec3
    tail: tuple[int, ...]
    dtype_name: str
    read_part: ReadPart
    on_close: Callable[[], None]

    @property
    def chunk_depth(self) -> int:
        """Slices that are decoded together."""
        return self.chunk.z

    @property
    def chunk_rows(self) -> int:
        """Rows of pixels that are decoded together."""
        return self.chunk.y

    def read_box(self, box: BoxKey) -> NDArray[Any]:
        """Return voxels, as `BoxSource.read_box` says; zero outside of the layer's own box."""
        place = self.place
        width = place.end.x - place.corner.x
        wanted = (
            range(box.first_z + place.corner.z, box.last_z + place.corner.z),
            range(box.first_row + place.corner.y, box.last_row + place.corner.y),
            range(place.corner.x, place.end.x),
        )
        shape = (len(wanted[0]), len(wanted[1]), width, *self.tail)
        own = [
            range(max(axis.start, start), max(start, axis.start, min(axis.stop, end)))
            for axis, start, end in zip(
                wanted, tuple(place.start)[::-1], tuple(place.end)[::-1], strict=True
            )
        ]
        if own == list(wanted):
            return self.read_part(box.t, *wanted)
        found = np.zeros(shape, self.dtype_name)
        if all(own):
            into = tuple(
                slice(one.start - axis.start, one.stop - axis.start)
                for one, axis in zip(own, wanted, strict=True)
            )
            found[into] = self.read_part(box.t, own[0], own[1], own[2])
        return found

    def byte_span(self, box: BoxKey) -> tuple[int, int]:
        """Return nothing: the files of the layer are digested at the end."""
        del box
        return 0, 0

    def reopened(self, file: BinaryIO) -> "LayerBoxes":
        """Return itself: its parts can be read by many threads."""
        del file
        return self

    def close(self) -> None:
        """Close what it opened."""
        self.on_close()


def open_layer(boxes: LayerBoxes, reader: str, notes: tuple[str, ...] = (), times: int = 1,
) -> ChunkedReader:  # fmt: skip
    """Return the reader of a layer."""
    place = boxes.place
    samples = boxes.tail[0] if boxes.tail else 1
    size = [end - corner for end, corner in zip(place.end, place.corner, strict=True)]
    info = ImageInfo(
        reader=reader,
        size_t=times,
        size_z=size[2],
        size_y=size[1],
        size_x=size[0],
        pixels=PixelFormat(boxes.dtype_name, "rgb" if samples == 3 else "grey", samples),
        voxel_size_nm=place.edges,
        voxel_size_source="scale of the dataset" if any(place.edges) else "",
        can_read_rows=reads_rows(boxes.chunk_rows, size[1]),
        is_z_declared=True,
        is_time_declared=True,
        notes=(*notes, *_moved(place)),
        category=place.category,
    )
    return ChunkedReader(boxes, info, cut_slices=place.corner.z % boxes.chunk_depth)


def _moved(place: LayerPlace) -> tuple[str, ...]:
    if not any(place.corner):
        return ()
    shown = ", ".join(map(str, place.corner))
    return (f"its dataset begins at ({shown}); the new one begins at 0",)


def open_layer_array(view: FolderView, folder: str, place: LayerPlace) -> ChunkedReader:
    """Return the reader of a layer whose mag 1 is a Zarr array.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError
        The caller passes them on.
    """
    array = open_array(view, folder)
    axes = place.axes if len(place.axes) == array.ndim else _USUAL_AXES.get(array.ndim, "")
    if not set("xyz") <= set(axes) <= set("tcxyz") or array.dtype.kind not in "uif":
        hint = "Save it with axes of t, c, x, y, z and plain numbers."
        raise unsupported(folder, f"{array.dtype} values along “{axes or array.shape}”", hint)
    sizes = dict(zip(axes, array.shape, strict=True))
    channels = sizes.get("c", 1)
    if channels not in {1, 3} or (channels == 3 and array.dtype != np.uint8):
        raise unsupported(folder, f"{channels} channels in one layer", "Save a layer for each.")
    short = [axis for axis, end in zip("xyz", place.end, strict=True) if sizes[axis] < end]
    if short:
        raise CorruptSliceError(
            f"The array “{show_path(folder)}” ends before its bounding box along "
            f"{', '.join(short)}: it is damaged, or its properties are. Copy the dataset again.",
            hint="Copy the dataset again.",
            path=show_path(folder),
        )
    order = [axes.index(axis) for axis in "zyx"]

    def read_part(t: int, z: range, y: range, x: range) -> NDArray[Any]:
        ranges = {"z": z, "y": y, "x": x}
        index = tuple(
            slice(ranges[axis].start, ranges[axis].stop)
            if axis in ranges
            else (slice(None) if axis == "c" else t)
            for axis in axes
        )
        found = read_array(array, index, folder)
        kept = [axis for axis in axes if axis != "t"]
        turned = found.transpose([kept.index(axis) for axis in "zyxc" if axis in kept])
        return turned if channels == 3 else turned.reshape(turned.shape[:3])

    chunk = Vec3(*(int(array.chunks[place]) for place in reversed(order)))
    dtype_name = array.dtype.newbyteorder("=").name
    tail = (3,) if channels == 3 else ()
    boxes = LayerBoxes(place, chunk, tail, dtype_name, read_part, lambda: None)
    return open_layer(boxes, "zarr", times=sizes.get("t", 1))
