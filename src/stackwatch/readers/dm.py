"""Gatan DM3 and DM4: the image behind the tags, in place; thumbnails left out.

Source: the descriptions named in `readers.dm_tags`; data types as DigitalMicrograph numbers them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np

from stackwatch.errors import UnsupportedFormatError
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.readers.damage import damaged_header, no_such_image, unsupported
from stackwatch.readers.dm_tags import TagArray, TagGroup, TagTree, read_tags, read_text
from stackwatch.readers.scale import length_nm, single_precision
from stackwatch.readers.volume import ArrayLayout, PlainBytes, VolumeReader

_DTYPES: Final = {
    1: "int16", 2: "float32", 6: "uint8", 7: "int32", 9: "int8", 10: "uint16", 11: "uint32",
    12: "float64", 14: "bool", 39: "int64", 40: "uint64",
}  # fmt: skip
_COLOURS: Final = frozenset({8, 23})
"""Four bytes a pixel: blue, green, red, and one that DigitalMicrograph does not use."""

_REFUSED: Final = {
    3: "complex values", 13: "complex values", 5: "a packed complex transform",
    27: "a packed complex transform", 28: "a packed complex transform",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of an image, as it is calibrated."""

    size: int
    scale: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class _Image:
    """One image of a file; axes fastest first."""

    data: TagArray
    data_type: int
    axes: tuple[_Axis, ...]
    name: str

    def shown(self) -> str:
        """Return its extent for people."""
        return " x ".join(str(axis.size) for axis in self.axes)


def open_dm(file: BinaryIO, name: str, scene: int = 0) -> VolumeReader:
    """Parse the tags of a DM3 or DM4 and return the reader of one image in it.

    Parameters
    ----------
    file : BinaryIO
    name : str
    scene : int
        Which image, thumbnails not counted.
    """
    source = PlainBytes(file, name)
    tree = read_tags(source)
    images = _list_images(source, tree)
    if scene >= len(images):
        raise no_such_image(name, scene, len(images))
    image = images[scene]
    try:
        layout = _layout_of(image, tree, name)
    except UnsupportedFormatError as error:
        if len(images) == 1:
            raise
        what = f"{error.values['feature']} as image {scene + 1} of {len(images)}"
        raise unsupported(name, what, "Name the one to convert in `scenes`.") from error
    is_rgb = bool(layout.picked)
    dtype_name = _DTYPES.get(image.data_type, "uint8")
    z = image.axes[2] if len(image.axes) > 2 else None
    axes = (*image.axes[:2], z) if z else image.axes[:2]
    edges = [_edge_nm(axis) for axis in axes]
    info = ImageInfo(
        reader="dm",
        size_y=layout.size("y"),
        size_x=layout.size("x"),
        pixels=PixelFormat("uint8", "rgb", 3)
        if is_rgb
        else PixelFormat(dtype_name, "bilevel" if dtype_name == "bool" else "grey"),
        voxel_size_nm=PartialVoxelSize(*edges),
        voxel_size_source=f"DM{tree.version} calibration",
        is_z_declared=layout.size("z") > 1,
        notes=_notes(axes),
        scenes=tuple(image.name for image in images) if len(images) > 1 else (),
        scene=scene,
    )
    return VolumeReader(source, layout, info)


def _list_images(source: PlainBytes, tree: TagTree) -> list[_Image]:
    """Return the images of a file without its thumbnails."""
    thumbnails = {
        group.number("ImageIndex") for group in tree.root.group("Thumbnails").iter_groups()
    }
    found = [
        _image_of(source, tree, entry)
        for number, entry in enumerate(tree.root.group("ImageList").iter_groups())
        if number not in thumbnails
    ]
    images = [image for image in found if image is not None]
    if not images:
        raise unsupported(source.name, "no image but thumbnails", "Exclude it with `ignore`.")
    return images


def _image_of(source: PlainBytes, tree: TagTree, entry: TagGroup) -> _Image | None:
    tags = entry.group("ImageData")
    data, data_type = tags.find("Data"), tags.number("DataType")
    sizes = [int(size) for size in tags.group("Dimensions").numbers()]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if not isinstance(data, TagArray) or data_type is None or not sizes:
        return None
    calibrations = list(tags.group("Calibrations", "Dimension").iter_groups())
    calibrations += [TagGroup()] * (len(sizes) - len(calibrations))
    axes = tuple(
        _Axis(size, tag.number("Scale"), read_text(source, tree, tag.find("Units")))
        for size, tag in zip(sizes, calibrations, strict=False)
    )
    return _Image(data, int(data_type), axes, read_text(source, tree, entry.find("Name")).strip())


def _layout_of(image: _Image, tree: TagTree, name: str) -> ArrayLayout:
    sizes = [axis.size for axis in image.axes]
    if min(sizes) < 1:
        raise damaged_header(name, f"an image of {image.shown()} values")
    if image.data_type in _REFUSED:
        hint = "Save its magnitude as an image of real values, or exclude it with `ignore`."
        raise unsupported(name, _REFUSED[image.data_type], hint)
    is_rgb = image.data_type in _COLOURS
    if not is_rgb and image.data_type not in _DTYPES:
        raise unsupported(name, f"values of the DM type {image.data_type}", "Save it as TIFF.")
    if len(sizes) not in {2, 3}:
        what = "a spectrum (one axis)" if len(sizes) == 1 else f"{len(sizes)} axes"
        raise unsupported(name, f"{what}: {image.shown()}", "Exclude it with `ignore`.")
    dtype = np.dtype("uint8" if is_rgb else _DTYPES[image.data_type])
    dtype = np.dtype(np.uint8) if dtype == np.bool_ else dtype.newbyteorder(tree.order)
    shape = tuple(reversed(sizes))
    axes = "zyx"[-len(shape) :]
    pixel_bytes = 4 if is_rgb else dtype.itemsize
    if math.prod(sizes) * pixel_bytes != image.data.total_bytes:
        raise damaged_header(
            name,
            f"{image.shown()} pixels of {pixel_bytes} bytes are declared, and "
            f"{image.data.total_bytes:,} bytes of them are there",
        )
    if is_rgb:
        return ArrayLayout(image.data.offset, dtype, axes + "s", (*shape, 4), picked=(2, 1, 0))
    return ArrayLayout(image.data.offset, dtype, axes, shape)


def _edge_nm(axis: _Axis) -> float | None:
    return single_precision(length_nm(axis.scale, axis.unit))


def _notes(axes: Sequence[_Axis]) -> tuple[str, ...]:
    """Return what calibrations are no lengths: a diffraction pattern, a spectrum."""
    return tuple(
        f"{letter} is calibrated in “{axis.unit}”, which is no length"
        for letter, axis in zip("xyz", axes, strict=False)
        if axis.unit and axis.size > 1 and length_nm(1.0, axis.unit) is None
    )
