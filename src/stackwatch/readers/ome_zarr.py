"""OME-Zarr and plain Zarr, versions 2 and 3: which array is the image, and what is said of it.

OME-Zarr 0.1 to 0.4 keep their metadata in the attributes, 0.5 in the attribute `ome`. Only the
first data set of a multiscale, the finest, is read.

Source: the OME-NGFF specifications 0.1 to 0.5; the layout of bioformats2raw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stackwatch.errors import AmbiguousLayoutError, CorruptSliceError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import Channel, ImageInfo, PixelFormat
from stackwatch.readers.chunked import ChunkedReader, reads_rows
from stackwatch.readers.damage import no_such_image, unsupported
from stackwatch.readers.folder import ZARR_METADATA, FolderView, join
from stackwatch.readers.limits import check_declared_size
from stackwatch.readers.scale import length_nm
from stackwatch.readers.webknossos_layer import open_layer_array, read_layer
from stackwatch.readers.zarr_store import ZarrBoxes, open_array, read_json

_OLD_AXES: Final = "tczyx"
"""Of OME-Zarr 0.1 and 0.2, which name none."""

_MOST_NODES: Final = 10_000


@dataclass(frozen=True)
class _Node:
    """One folder of a hierarchy."""

    is_array: bool
    attributes: Mapping[str, Any]
    names: tuple[str, ...] = ()

    @property
    def ome(self) -> Mapping[str, Any]:
        """What OME-Zarr says, wherever its version keeps it."""
        nested = self.attributes.get("ome")
        return nested if isinstance(nested, dict) else self.attributes


@dataclass(frozen=True)
class _Images:
    """The images below a folder: their folders relative to it, and their names."""

    paths: tuple[str, ...]
    names: tuple[str, ...]
    is_choice: bool = False


@dataclass(frozen=True)
class _Meaning:
    """What is known of one array."""

    axes: str
    edges: PartialVoxelSize = PartialVoxelSize()
    channels: tuple[Channel, ...] = ()
    notes: tuple[str, ...] = field(default=())


def open_zarr(view: FolderView, anchor: str, scene: int = 0) -> ChunkedReader:
    """Open the image, or one of the images, below a Zarr array or group.

    Parameters
    ----------
    view : FolderView
    anchor : str
        A metadata file of the array or group.
    scene : int
        Which of the images, counted from 0.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError, AmbiguousLayoutError, LimitExceededError
        The caller passes them on.
    """
    root = anchor.rpartition("/")[0]
    layer = read_layer(view, root)
    if layer is not None:
        return open_layer_array(view, root, layer)
    images = _find_images(view, root)
    if scene >= len(images.paths):
        raise no_such_image(root or anchor, scene, len(images.paths))
    place = join(root, images.paths[scene])
    node = _node(view, place)
    if node is None:
        raise _broken(place, "it is named as an image, and is not there")
    folder, meaning = (place, _meaning_of_array(node)) if node.is_array else _finest(node, place)
    array = open_array(view, folder)
    if not meaning.axes:
        meaning = _guess(array.shape, folder)
    if len(meaning.axes) != array.ndim:
        raise _broken(folder, f"{array.ndim} dimensions are described by {len(meaning.axes)} axes")
    if array.dtype.kind not in "uifb" or array.dtype.itemsize > 8:
        raise unsupported(folder, f"values of the type {array.dtype}", "Save it as integers.")
    sizes = dict(zip(meaning.axes, array.shape, strict=True))
    if 0 in array.shape:
        raise _broken(folder, f"it has {' x '.join(map(str, array.shape))} voxels")
    source = ZarrBoxes(array, meaning.axes, folder)
    dtype_name = array.dtype.newbyteorder("=").name
    stored = sum(view.entries[path].size for path in view.entries)
    check_declared_size(folder, sizes["x"], sizes["y"], array.dtype.itemsize, stored)
    kinds = {"bool": "bilevel"}
    info = ImageInfo(
        reader="zarr",
        size_t=sizes.get("t", 1),
        size_c=sizes.get("c", 1),
        size_z=sizes.get("z", 1),
        size_y=sizes["y"],
        size_x=sizes["x"],
        pixels=PixelFormat(dtype_name, kinds.get(dtype_name, "grey")),  # type: ignore[arg-type]
        voxel_size_nm=meaning.edges,
        voxel_size_source="OME-Zarr scale" if any(meaning.edges) else "",
        channels=meaning.channels if len(meaning.channels) == sizes.get("c", 1) else (),
        can_read_rows=reads_rows(source.chunk_rows, sizes["y"]),
        is_time_declared="t" in meaning.axes,
        is_z_declared="z" in meaning.axes,
        notes=(
            *meaning.notes,
            *_absence(view, folder),
            *(_left_out_labels(view, place) if place != root else ()),
        ),
        scenes=images.names,
        scene=scene,
        is_one_of_scenes=images.is_choice,
    )
    return ChunkedReader(source, info)


# ---------------------------------------------------------------- which image


def _find_images(view: FolderView, root: str) -> _Images:
    node = _node(view, root)
    if node is None:
        raise _broken(root, "its metadata are missing")
    if node.is_array or "multiscales" in node.ome:
        return _Images(("",), ("",))
    if "plate" in node.ome:
        wells = [str(well.get("path", "")) for well in _dicts(node.ome["plate"], "wells")]
        paths = [path for well in wells for path in _fields(view, root, well)]
        return _Images(tuple(paths), tuple(paths))
    if "well" in node.ome:
        paths = list(_fields(view, root, ""))
        return _Images(tuple(paths), tuple(paths))
    if "bioformats2raw.layout" in node.ome:
        paths = _series(view, root, node)
        return _Images(tuple(paths), tuple(paths))
    found = list(_search(view, root))
    if not found:
        raise unsupported(
            root, "a Zarr group without an image", "Give the folder of the image itself."
        )
    return _Images(tuple(found), tuple(found), is_choice=len(found) > 1)


def _left_out_labels(view: FolderView, place: str) -> tuple[str, ...]:
    """Name the labels of an image that is one of several: only those of the root are layers."""
    folder = join(place, "labels")
    names = [name for name in view.names_in(folder) if _node(view, join(folder, name)) is not None]
    if not names:
        return ()
    shown = ", ".join(f"“{show_path(name)}”" for name in names[:4])
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return (
        f"the labels {shown}{more} of image “{show_path(place)}” are left out: to have them as "
        "layers, give the folder of that image by itself",
    )


def _fields(view: FolderView, root: str, well: str) -> list[str]:
    node = _node(view, join(root, well))
    images = _dicts(node.ome.get("well"), "images") if node is not None else []
    return [join(well, str(image.get("path", ""))) for image in images]


def _series(view: FolderView, root: str, node: _Node) -> list[str]:
    """Return the series of a bioformats2raw store: as its OME group lists them, or numbered."""
    listed = _node(view, join(root, "OME"))
    named = listed.ome.get("series") if listed is not None else None
    if isinstance(named, list) and named:
        return [str(one) for one in named]
    numbered = sorted((name for name in node.names if name.isdigit()), key=int)
    if not numbered:
        raise _broken(root, "it has the layout of bioformats2raw, and no series")
    return numbered


def _search(view: FolderView, root: str) -> list[str]:
    """Return multiscale groups, or else arrays of 3 axes and more, below a group without words."""
    images, arrays, pending, seen = [], [], [""], 0
    while pending and seen < _MOST_NODES:
        path = pending.pop(0)
        for name in (_node(view, join(root, path)) or _Node(is_array=True, attributes={})).names:
            below = join(path, name)
            node = _node(view, join(root, below))
            seen += 1
            if node is None:
                continue
            if node.is_array:
                arrays.append(below)
            elif "multiscales" in node.ome:
                images.append(below)
            else:
                pending.append(below)
    return images or [path for path in arrays if open_array(view, join(root, path)).ndim >= 3]


def _node(view: FolderView, folder: str) -> _Node | None:
    """Return what a folder says of itself; None if it is no part of a Zarr hierarchy."""
    names = view.names_in(folder)
    if "zarr.json" in names:
        found = read_json(view, join(folder, "zarr.json")) or {}
        attributes = found.get("attributes")
        attributes = attributes if isinstance(attributes, dict) else {}
        given = found.get("dimension_names")
        if given:
            attributes = {**attributes, "_ARRAY_DIMENSIONS": given}
        return _Node(found.get("node_type") == "array", attributes, names)
    attributes = read_json(view, join(folder, ".zattrs")) or {}
    if ".zarray" in names or ".zgroup" in names or ".zattrs" in names:
        return _Node(".zarray" in names, attributes, names)
    return None


# ---------------------------------------------------------------- what it means


def _finest(node: _Node, place: str) -> tuple[str, _Meaning]:
    """Return the folder of the finest array of a multiscale, and what is said of it."""
    scales = _dicts(node.ome, "multiscales")
    datasets = _dicts(scales[0], "datasets") if scales else []
    if not datasets or not isinstance(datasets[0].get("path"), str):
        raise _broken(place, "its `multiscales` name no data set")
    path = datasets[0]["path"]
    if path.startswith("/") or ".." in path.split("/"):
        raise _broken(place, f"its data set “{path}” lies outside of it")
    given = scales[0].get("axes")
    axes, units = _axes(given, place)
    scale, translated = [1.0] * len(axes), False
    for one in (*_dicts(datasets[0], "coordinateTransformations"),
                *_dicts(scales[0], "coordinateTransformations")):  # fmt: skip
        factors = _numbers(one.get("scale"))
        if one.get("type") == "scale" and len(factors) == len(axes):
            scale = [a * b for a, b in zip(scale, factors, strict=True)]
        elif one.get("type") == "translation":
            translated = translated or any(_numbers(one.get("translation")))
        elif one.get("type") != "identity":
            raise unsupported(
                place, "a transformation that is no list of numbers", "Save its scale as a list."
            )
    edges = dict(zip(axes, map(length_nm, scale, units), strict=True))
    notes = []
    if len(datasets) > 1:
        notes.append(f"{len(datasets) - 1} coarser resolutions left out")
    if len(scales) > 1:
        notes.append(f"{len(scales) - 1} further `multiscales` left out")
    if translated:
        notes.append("its translation is not applied: the image begins at 0")
    sizes = PartialVoxelSize(edges.get("x"), edges.get("y"), edges.get("z"))
    return join(place, path), _Meaning(axes, sizes, _channels(node.ome), tuple(notes))


def _axes(given: Any, place: str) -> tuple[str, list[str]]:
    """Return a letter and a unit for each axis."""
    if given is None:
        return _OLD_AXES, [""] * len(_OLD_AXES)
    names, units = [], []
    for axis in given if isinstance(given, list) else ():
        word = axis.get("name", "") if isinstance(axis, dict) else axis
        names.append(str(word).lower())
        units.append(str(axis.get("unit") or "") if isinstance(axis, dict) else "")
    letters = _letters(names)
    if not letters:
        raise unsupported(
            place, f"the axes {', '.join(names) or 'none'}", "Save it with axes of t, c, z, y, x."
        )
    return letters, units


def _letters(names: Sequence[Any]) -> str:
    """Return the letters of named axes; empty if they are not t, c, z, y, x with y and x."""
    words = {"time": "t", "channel": "c"}
    found = [words.get(str(name).lower(), str(name).lower()) for name in names]
    is_known = set("yx") <= set(found) <= set(_OLD_AXES) and len(set(found)) == len(found)
    return "".join(found) if is_known else ""


def _channels(ome: Mapping[str, Any]) -> tuple[Channel, ...]:
    omero = ome.get("omero")
    return tuple(
        Channel(str(one.get("label") or ""), _color(one.get("color")))
        for one in _dicts(omero, "channels")
    )


def _color(value: Any) -> tuple[int, int, int] | None:
    try:
        red, green, blue = bytes.fromhex(str(value).lstrip("#"))[:3]
    except ValueError:
        return None
    return red, green, blue


def _meaning_of_array(node: _Node) -> _Meaning:
    names = node.attributes.get("_ARRAY_DIMENSIONS")
    return _Meaning(_letters(names if isinstance(names, list) else ()))


def _absence(view: FolderView, folder: str) -> tuple[str, ...]:
    """Return a remark if an array has metadata alone: its chunks were perhaps left behind."""
    prefix = f"{folder}/" if folder else ""
    for path in view.entries:
        if path.startswith(prefix) and path.rpartition("/")[2] not in ZARR_METADATA:
            return ()
    return ("no chunk of it is there; all voxels have the fill value",)


def _guess(shape: tuple[int, ...], folder: str) -> _Meaning:
    """Return z, y, x for three axes, y, x for two; refuse to guess for more."""
    if len(shape) == 2:
        return _Meaning("yx")
    if len(shape) == 3:
        note = "its axes have no names; they are taken for z, y, x, the usual order"
        return _Meaning("zyx", notes=(note,))
    hint = "Write OME-Zarr metadata, or name its dimensions t, c, z, y, x."
    raise AmbiguousLayoutError(
        f"The Zarr array “{show_path(folder)}” has {len(shape)} axes "
        f"({' x '.join(map(str, shape))}) without names: which are z, time and channels is said "
        f"nowhere. {hint}",
        hint=hint,
        path=show_path(folder),
        shape=list(shape),
    )


def _dicts(value: Any, key: str) -> list[dict[str, Any]]:
    found = value.get(key) if isinstance(value, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _numbers(value: Any) -> list[float]:
    """Return a list of numbers; an empty one for anything else."""
    is_list = isinstance(value, list) and all(isinstance(one, int | float) for one in value)
    return [float(one) for one in value] if is_list else []


def _broken(folder: str, why: str) -> CorruptSliceError:
    return CorruptSliceError(
        f"The Zarr “{show_path(folder)}” is damaged: {why}. Copy it again.",
        hint="Copy it again.",
        path=show_path(folder),
    )
