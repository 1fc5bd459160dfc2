"""The preview picture of a dataset: its middle slices, from one coarse mag of each layer.

Made after a dataset was published, from what lies on the disk, and never in the way of publishing.

Cost
----
At most `LAYERS_MAX` layers and three slices of `READ_EDGE` voxels each: some ten mebibytes, a
fraction of a second, however large the dataset is.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import CorruptSliceError, UnsupportedFormatError, UsageError
from stackwatch.failpoints import reach
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import Mag, Vec3, VoxelSize
from stackwatch.pipeline.preview_picture import Panel, Part, Shading, compose, encode_png
from stackwatch.pipeline.standing_in import standing_in
from stackwatch.pipeline.stored import StoredMag, open_stored
from stackwatch.readers.scale import length_nm
from stackwatch.stores.objects import is_object_url
from stackwatch.stores.properties import PROPERTIES_FILE
from stackwatch.stores.protocol import MagGrid

PICTURE_EDGE: Final = 384
"""Longest edge of the panels together, pixels."""

GAP: Final = 4
VOXEL_MOST: Final = 8
"""A tiny dataset is drawn with at most so many pixels for a voxel."""

READ_EDGE: Final = 512
"""Where even the coarsest mag is larger, its middle is shown; voxels of that mag."""

LAYERS_MAX: Final = 8
_CHUNK: Final = Vec3(32, 32, 32)


@dataclass(frozen=True, slots=True)
class ShownLayer:
    """A layer as `datasource-properties.json` tells of it.

    Attributes
    ----------
    start, end : Vec3
        Its bounding box in mag-1 voxels, the end exclusive.
    mags : tuple of (Mag, Path)
        The finest first, with the directory of each.
    shading : Shading or None
        None: no contrast is configured; the picture's own extremes are shown.
    """

    name: str
    start: Vec3
    end: Vec3
    mags: tuple[tuple[Mag, Path], ...]
    is_segmentation: bool
    shading: Shading | None


@dataclass(frozen=True, slots=True)
class Frame:
    """What is shown, and how large.

    Attributes
    ----------
    start, end : Vec3
        In mag-1 voxels, the end exclusive.
    scale : (float, float, float)
        Pixels per mag-1 voxel, along x, y and z.
    size : Vec3
        Pixels.
    """

    start: Vec3
    end: Vec3
    scale: tuple[float, float, float]
    size: Vec3

    @property
    def middle(self) -> Vec3:
        """The voxel through which all slices go."""
        return Vec3(*((a + b) // 2 for a, b in zip(self.start, self.end, strict=True)))

    def pixels(self, axis: int, first: int, last: int) -> tuple[int, int]:
        """Return where a span of mag-1 voxels is drawn; never nothing, never outside."""
        start, size = tuple(self.start)[axis], tuple(self.size)[axis]
        begin = min(size - 1, max(0, round((first - start) * self.scale[axis])))
        return begin, min(size, max(begin + 1, round((last - start) * self.scale[axis])))


def render_preview(dataset: Path) -> bytes:
    """Return the preview picture of a Zarr3 or WKW dataset, as a PNG.

    Colour layers are added up with their colours and their configured contrast, segments lie over
    them, half transparent. Of several timepoints the first is shown.

    Parameters
    ----------
    dataset : Path
        A directory with `datasource-properties.json`.

    Raises
    ------
    UsageError
        It is no dataset.
    CorruptSliceError, UnsupportedFormatError
        It cannot be understood or read; the caller shows no picture.
    """
    layers, voxel_size = load_shown(dataset)
    frame = plan_frame(layers, voxel_size)
    try:
        panels = tuple(_panels(layers, frame, dataset))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _unreadable(dataset, error) from error
    return encode_png(compose(panels, voxel_size.x / frame.scale[0]))


def write_preview(dataset: Path | str, picture: Path) -> int:
    """Write the preview picture of a dataset: the whole file appears at once, or none.

    Parameters
    ----------
    dataset : Path or str
        A dataset's directory, or its address in a bucket.
    picture : Path

    Returns
    -------
    int
        Its size in bytes.

    Raises
    ------
    OSError
        It cannot be written.
    StackwatchError
        As `render_preview` says.
    """
    if is_object_url(str(dataset)):
        with standing_in(str(dataset)) as folder:
            data = render_preview(folder)
    else:
        data = render_preview(Path(dataset))
    picture.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    part = picture.with_name(f".{picture.name}.{os.getpid()}")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        reach("preview.part_written")
        part.replace(picture)
    finally:
        part.unlink(missing_ok=True)
    return len(data)


# ---------------------------------------------------------------- what there is


def load_shown(dataset: Path) -> tuple[tuple[ShownLayer, ...], VoxelSize]:
    """Read what the properties of a dataset say of the layers that are drawn.

    Raises
    ------
    UsageError, CorruptSliceError, UnsupportedFormatError
        As `render_preview` says.
    """
    path = dataset / PROPERTIES_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        voxel_size = _voxel_size(found["scale"])
        layers = tuple(_layer(dataset, one) for one in found["dataLayers"])
    except UnsupportedFormatError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = "Give the directory of a dataset."
        raise UsageError(
            f"“{show_path(dataset)}” has no {PROPERTIES_FILE}: it is no dataset. {hint}",
            hint=hint,
            path=show_path(dataset),
        ) from error
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(path, error) from error
    color = [layer for layer in layers if not layer.is_segmentation]
    segments = [layer for layer in layers if layer.is_segmentation]
    shown = (*color[: LAYERS_MAX - min(1, len(segments))], *segments[:1])
    if not shown:
        raise _unreadable(path, ValueError("it names no layer"))
    return shown, voxel_size


def plan_frame(layers: Sequence[ShownLayer], voxel_size: VoxelSize) -> Frame:
    """Decide what is shown and how large, with the true proportions of the voxels. Pure."""
    starts = zip(*(layer.start for layer in layers), strict=True)
    ends = zip(*(layer.end for layer in layers), strict=True)
    limits = zip(*(layer.mags[-1][0] for layer in layers), strict=True)
    spans = []
    for start, end, mags in zip(map(min, starts), map(max, ends), limits, strict=True):
        surplus = max(0, end - start - READ_EDGE * min(mags))
        spans.append((start + surplus // 2, end - (surplus + 1) // 2))
    extent = [(last - first) * nm for (first, last), nm in zip(spans, voxel_size, strict=True)]
    is_flat = spans[2][1] - spans[2][0] == 1
    depth = 0.0 if is_flat else extent[2]
    room = PICTURE_EDGE - (0 if is_flat else GAP)
    per_nm = min(room / (max(extent[:2]) + depth), VOXEL_MOST / min(voxel_size))
    size = Vec3(*(max(1, round(edge * per_nm)) for edge in extent))
    start, end = (Vec3(*corner) for corner in zip(*spans, strict=True))
    scale = (voxel_size.x * per_nm, voxel_size.y * per_nm, voxel_size.z * per_nm)
    return Frame(start, end, scale, size)


def choose_mag(layer: ShownLayer, frame: Frame) -> tuple[Mag, Path]:
    """Return the coarsest mag whose voxels span at most two pixels; else the finest that may be.

    A mag of which more than `READ_EDGE` voxels would be read along an axis may not be.
    """
    allowed = [
        (mag, path)
        for mag, path in layer.mags
        if all(
            -(-(end - start) // step) <= READ_EDGE
            for start, end, step in zip(frame.start, frame.end, mag, strict=True)
        )
    ] or [layer.mags[-1]]
    fine = [
        (mag, path)
        for mag, path in allowed
        if max(mag.x * frame.scale[0], mag.y * frame.scale[1]) <= 2
    ]
    return (fine or allowed[:1])[-1]


def _layer(dataset: Path, one: dict[str, Any]) -> ShownLayer:
    box = one["boundingBox"]
    start = Vec3(*(int(number) for number in box["topLeft"]))
    edges = (int(box[key]) for key in ("width", "height", "depth"))
    end = Vec3(*(at + edge for at, edge in zip(start, edges, strict=True)))
    if min(start) < 0 or any(a >= b for a, b in zip(start, end, strict=True)):
        raise ValueError(f"layer “{one['name']}” has an empty bounding box")
    axes = {_axes(mag) for mag in one["mags"]} if one["dataFormat"] == "zarr3" else {"cxyz"}
    if one["dataFormat"] not in ("zarr3", "wkw") or not axes <= {"cxyz", "tcxyz"}:
        raise UnsupportedFormatError(
            f"Layer “{one['name']}” of “{show_path(dataset)}” is {one['dataFormat']} with axes "
            f"{', '.join(sorted(axes))}: no picture can be made of it. Layers of Zarr3 "
            "(c, x, y, z) and of WKW can be shown.",
            hint="Convert it to Zarr3 or WKW.",
        )
    mags = sorted((_mag(mag["mag"]), dataset / _inside(mag, one)) for mag in one["mags"])
    is_segmentation = one["category"] == "segmentation"
    return ShownLayer(
        str(one["name"]), start, end, tuple(mags), is_segmentation,
        _shading(one, is_segmentation=is_segmentation),
    )  # fmt: skip


def _inside(mag: dict[str, Any], layer: dict[str, Any]) -> str:
    """Return where a mag lies; a path that leads out of the dataset is not followed."""
    path = str(mag.get("path") or f"./{layer['name']}/{_mag(mag['mag'])}")
    if "://" in path or path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"“{path}” lies outside of the dataset")
    return path


def _mag(given: Any) -> Mag:
    return Mag(given, given, given) if isinstance(given, int) else Mag(*map(int, given))


def _axes(mag: dict[str, Any]) -> str:
    order = mag.get("axisOrder") or {"c": 0, "x": 1, "y": 2, "z": 3}
    named = {int(place): axis for axis, place in order.items()}
    return ("t" if 0 not in named else "") + "".join(named[place] for place in sorted(named))


def _voxel_size(scale: Any) -> VoxelSize:
    factors = scale["factor"] if isinstance(scale, dict) else scale
    unit = str(scale.get("unit", "nanometer")) if isinstance(scale, dict) else "nanometer"
    edges = [length_nm(float(factor), unit) for factor in factors]
    if len(edges) != 3 or any(edge is None or not edge > 0 for edge in edges):
        raise ValueError(f"a voxel size of {factors} {unit}")
    return VoxelSize(*(edge for edge in edges if edge is not None))


def _shading(one: dict[str, Any], *, is_segmentation: bool) -> Shading | None:
    if is_segmentation:
        return Shading(is_segmentation=True)
    view = one.get("defaultViewConfiguration") or {}
    red, green, blue = view.get("color") or (255, 255, 255)
    color = (red / 255, green / 255, blue / 255)
    chosen = view.get("intensityRange")
    if chosen is None and one["elementClass"] not in ("uint8", "uint24"):
        return None
    low, high = chosen or (0, 255)
    return Shading(low=float(low), high=float(high), color=color)


# ---------------------------------------------------------------- the slices


def _panels(layers: Sequence[ShownLayer], frame: Frame, dataset: Path) -> Iterator[Panel]:
    """Yield xy at the top left, yz beside it, xz below it."""
    opened = [(layer, *_open(layer, frame, dataset)) for layer in layers]
    x, y, z = frame.size
    places = {"xy": (0, 0, x, y)}
    if frame.end.z - frame.start.z > 1:
        places |= {"zy": (x + GAP, 0, z, y), "xz": (0, y + GAP, x, z)}
    for plane, (left, top, width, height) in places.items():
        parts = (_part(plane, *one, frame) for one in opened)
        yield Panel(left, top, width, height, tuple(part for part in parts if part is not None))


def _open(layer: ShownLayer, frame: Frame, dataset: Path) -> tuple[Mag, StoredMag]:
    mag, path = choose_mag(layer, frame)
    if not path.is_dir():
        raise _unreadable(dataset, FileNotFoundError(f"mag {mag} of “{layer.name}” is missing"))
    size = layer.end.ceil_div(mag)
    return mag, open_stored(path, MagGrid(mag, size, _CHUNK, _CHUNK))


def _part(plane: str, layer: ShownLayer, mag: Mag, stored: StoredMag, frame: Frame) -> Part | None:
    """Return what a layer shows in a plane, named by what runs to the right and what runs down."""
    across = next(axis for axis in (0, 1, 2) if "xyz"[axis] not in plane)
    spans, pixels = [], []
    for axis in (0, 1, 2):
        step = tuple(mag)[axis]
        first = max(tuple(frame.start)[axis], tuple(layer.start)[axis])
        last = min(tuple(frame.end)[axis], tuple(layer.end)[axis])
        if axis == across:
            first = max(tuple(frame.middle)[axis], 0)
            if not tuple(layer.start)[axis] <= first < tuple(layer.end)[axis]:
                return None
            last = first + 1
        if first >= last:
            return None
        span = slice(first // step, -(-last // step))
        spans.append(span)
        pixels.append(frame.pixels(axis, first, last))
    values = stored.read(0, spans[2], spans[1], spans[0])
    flat = values.take(0, axis=2 - across)  # of z, y, x
    if plane == "zy":
        flat = flat.swapaxes(0, 1)  # z runs to the right there
    (left, right), (top, bottom) = (pixels["xyz".index(axis)] for axis in plane)
    return Part(flat, (left, top, right, bottom), layer.shading or _own_extremes(flat))


def _own_extremes(values: NDArray[Any]) -> Shading:
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return Shading()
    return Shading(low=float(finite.min()), high=float(finite.max()))


def _unreadable(path: Path, error: Exception) -> CorruptSliceError:
    why = " ".join(str(error).split())[:200] or type(error).__name__
    return CorruptSliceError(
        f"No picture can be made of “{show_path(path)}”: {why}. The dataset itself is left as it "
        "is; `stackwatch verify` tells whether it is whole.",
        hint="Look at the dataset with `stackwatch verify`.",
        path=show_path(path),
    )
