"""HDF5 in general: the one dataset that is an image, or the one that is named.

What its axes mean stands in `axistags` (ilastik, vigra) or in the labels of its dimensions; three
axes without names are taken for z, y, x, as nearly every program writes them, and a note says so.
Voxel sizes come from `element_size_um`, an attribute of Fiji and ilastik in the order z, y, x.
BigDataViewer's files have a place for each timepoint and view instead.

Source: the documentation of ilastik's HDF5 export and of vigra's axistags; the BigDataViewer file
format (https://imagej.net/plugins/bdv), whose values are unsigned although their type is not.
"""

import json
import re
from dataclasses import replace
from typing import Any, BinaryIO, Final

import h5py
import numpy as np

from stackwatch.errors import AmbiguousLayoutError, UnsupportedFormatError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.readers.chunked import ChunkedReader, reads_rows
from stackwatch.readers.damage import no_such_image, unsupported
from stackwatch.readers.hdf5_file import (
    H5Boxes,
    H5Layout,
    damage_told,
    dataset_at,
    open_h5,
)
from stackwatch.readers.ims import is_imaris, read_imaris
from stackwatch.readers.limits import check_declared_size
from stackwatch.readers.protocol import SliceReader
from stackwatch.readers.scale import length_nm
from stackwatch.readers.volume import ArrayLayout, PlainBytes, VolumeReader

_MOST_LISTED: Final = 20
_LEAST_EDGE: Final = 2
"""Datasets thinner than this in two axes are tables, not images."""


def open_hdf5(file: BinaryIO, name: str, scene: int = 0) -> SliceReader:
    """Open an HDF5 file: Imaris, BigDataViewer, or any with an image in it.

    Parameters
    ----------
    file : BinaryIO
    name : str
    scene : int
        Which of its images, counted from 0.

    Raises
    ------
    CorruptSliceError, UnsupportedFormatError, AmbiguousLayoutError, LimitExceededError
        The caller passes them on.
    """
    opened = open_h5(file, name)
    try:
        with damage_told(name):
            of_imaris = is_imaris(opened)
            of_views = "t00000" in opened and "s00" in opened["t00000"]
        if of_imaris:
            if scene:
                raise no_such_image(name, scene, 1)
            return read_imaris(opened, file, name)
        if of_views:
            return _read_views(opened, file, name, scene)
        return _read_dataset(opened, file, name, scene)
    except BaseException:
        opened.close()
        raise


# ---------------------------------------------------------------- any dataset


def _read_dataset(opened: h5py.File, file: BinaryIO, name: str, scene: int) -> SliceReader:
    paths = _find_images(opened, name)
    if scene >= len(paths):
        raise no_such_image(name, scene, len(paths))
    dataset = dataset_at(opened, paths[scene], name)
    with damage_told(name):
        axes, note = _axes_of(dataset)
        edges = _element_size(dataset)
    if not axes:
        raise _nameless(name, paths[scene], dataset.shape)
    sizes = dict(zip(axes, dataset.shape, strict=True))
    dtype_name = dataset.dtype.newbyteorder("=").name
    check_declared_size(name, sizes["x"], sizes["y"], dataset.dtype.itemsize, file.seek(0, 2))
    chunk = dataset.chunks or tuple(1 if axis in "tcz" else size for axis, size in sizes.items())
    layout = H5Layout(axes, dtype_name, sizes["x"], chunk, lambda _t, _c: paths[scene])
    info = ImageInfo(
        reader="hdf5",
        size_t=sizes.get("t", 1),
        size_c=sizes.get("c", 1),
        size_z=sizes.get("z", 1),
        size_y=sizes["y"],
        size_x=sizes["x"],
        pixels=PixelFormat(dtype_name),
        voxel_size_nm=edges,
        voxel_size_source="element_size_um" if any(edges) else "",
        can_read_rows=reads_rows(layout.along("y"), sizes["y"]),
        is_time_declared="t" in axes,
        is_z_declared="z" in axes,
        notes=(f"dataset “{paths[scene]}” is read", *note),
        scenes=paths,
        scene=scene,
        is_one_of_scenes=len(paths) > 1,
    )
    offset = _place_of(dataset)
    if offset is not None:
        flat = ArrayLayout(offset, dataset.dtype, axes, dataset.shape)
        opened.close()
        return VolumeReader(PlainBytes(file, name), flat, info)
    return ChunkedReader(H5Boxes(opened, name, layout), info)


def _find_images(opened: h5py.File, name: str) -> tuple[str, ...]:
    """Return the paths of the datasets that are volumes, or, if there is none, pictures."""
    found: list[tuple[str, h5py.Dataset]] = []

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "uif" and item.dtype.itemsize <= 8:
            found.append((path, item))

    with damage_told(name):
        opened.visititems(visit)  # neither soft nor external links are followed
        deep = [path for path, item in found if item.ndim >= 3 and _has_area(item)]
        flat = [path for path, item in found if item.ndim == 2 and _has_area(item)]
    if not deep and not flat:
        shown = ", ".join(f"“{path}” {item.dtype} {item.shape}" for path, item in found[:4])
        raise unsupported(
            name,
            f"no dataset that is an image ({shown or 'no numbers at all'})",
            "Exclude it with `ignore`, or save the image as a dataset of 3 axes.",
        )
    return tuple(deep or flat)


def _has_area(dataset: h5py.Dataset) -> bool:
    return sum(size >= _LEAST_EDGE for size in dataset.shape) >= 2 and 0 not in dataset.shape


def _axes_of(dataset: h5py.Dataset) -> tuple[str, tuple[str, ...]]:
    """Return a letter for each axis, and remarks; no letters where nobody says what they are."""
    named = _named_axes(dataset)
    if len(named) == dataset.ndim == len(set(named)) and set("yx") <= set(named) <= set("tczyx"):
        return named, ()
    if dataset.ndim == 2:
        return "yx", ()
    if dataset.ndim == 3:
        return "zyx", ("its axes have no names; they are taken for z, y, x, the usual order",)
    return "", ()


def _named_axes(dataset: h5py.Dataset) -> str:
    tags = dataset.attrs.get("axistags")
    if tags is not None:
        text = tags.decode() if isinstance(tags, bytes) else str(tags)
        try:
            return "".join(str(axis["key"]) for axis in json.loads(text)["axes"]).lower()
        except (ValueError, KeyError, TypeError):
            return ""
    return "".join(str(dimension.label) for dimension in dataset.dims).lower()


def _element_size(dataset: h5py.Dataset) -> PartialVoxelSize:
    """Return the edges that `element_size_um` states, stored in the order z, y, x."""
    value = np.ravel(dataset.attrs.get("element_size_um", ()))
    if value.size != 3 or value.dtype.kind not in "uif":
        return PartialVoxelSize()
    z, y, x = (length_nm(float(edge), "um") for edge in value)
    return PartialVoxelSize(x, y, z)


def _place_of(dataset: h5py.Dataset) -> int | None:
    """Return where the values of a dataset without chunks begin: they need no library."""
    if dataset.chunks is not None or dataset.file.userblock_size:
        return None
    plain = dataset.dtype.kind in "uif" and dataset.dtype.itemsize in {1, 2, 4, 8}
    offset = dataset.id.get_offset()
    whole = dataset.id.get_storage_size() == dataset.size * dataset.dtype.itemsize
    return int(offset) if plain and whole and offset is not None else None


def _nameless(name: str, path: str, shape: tuple[int, ...]) -> AmbiguousLayoutError:
    hint = "Write its `axistags` (ilastik does), or save one timepoint and channel in 3 axes."
    return AmbiguousLayoutError(
        f"Dataset “{path}” of “{show_path(name)}” has {len(shape)} axes "
        f"({' x '.join(map(str, shape))}) without names: which are z, time and channels is not in "
        f"the file. {hint}",
        hint=hint,
        path=show_path(name),
        dataset=path,
        shape=list(shape),
    )


# ---------------------------------------------------------------- BigDataViewer


def _read_views(opened: h5py.File, file: BinaryIO, name: str, scene: int) -> ChunkedReader:
    """Return the reader of one view setup, all timepoints, at its finest resolution."""
    with damage_told(name):
        times = sum(re.fullmatch(r"t\d{5}", key) is not None for key in opened)
        setups = tuple(sorted(key for key in opened["t00000"] if re.fullmatch(r"s\d+", key)))
    if scene >= len(setups):
        raise no_such_image(name, scene, len(setups))

    def path_of(t: int, _c: int) -> str:
        return f"t{t:05}/{setups[scene]}/0/cells"

    first = dataset_at(opened, path_of(0, 0), name)
    for t in range(1, times):
        other = dataset_at(opened, path_of(t, 0), name)
        if (other.shape, other.dtype, other.chunks) != (first.shape, first.dtype, first.chunks):
            raise UnsupportedFormatError(
                f"Timepoint {t} of “{show_path(name)}” differs from the first in size or type.",
                hint="Export the timepoints as files of their own.",
                path=show_path(name),
            )
    if first.ndim != 3 or first.dtype.kind not in "uif":
        raise unsupported(name, f"{first.ndim}-D {first.dtype} views", "Export it as OME-TIFF.")
    chunk = first.chunks or (1, *first.shape[1:])
    stored = first.dtype.newbyteorder("=").name
    meaning = "uint16" if stored == "int16" else stored
    depth, height, width = first.shape
    check_declared_size(name, width, height, first.dtype.itemsize, file.seek(0, 2))
    info = ImageInfo(
        reader="hdf5",
        size_t=times,
        size_z=depth,
        size_y=height,
        size_x=width,
        pixels=PixelFormat(meaning),
        can_read_rows=reads_rows(chunk[1], height),
        is_time_declared=True,
        is_z_declared=True,
        notes=("BigDataViewer: transformations of its XML are not applied",),
        scenes=setups,
        scene=scene,
    )
    layout = H5Layout("zyx", stored, width, chunk, path_of)
    return ChunkedReader(H5Boxes(opened, name, replace(layout, meaning=meaning)), info)
