"""Zeiss CZI: what one scene of it holds. Previews, labels and coarser copies are left out."""

from typing import BinaryIO, Final

import numpy as np

from stackwatch.model.image import Channel, ImageInfo
from stackwatch.readers.czi_directory import (
    JPEG_XR,
    UNCOMPRESSED,
    ZSTD0,
    ZSTD1,
    CziDirectory,
    read_directory,
)
from stackwatch.readers.czi_metadata import CziMetadata, parse_metadata
from stackwatch.readers.czi_planes import PIXEL_TYPES, CziReader, SceneLayout
from stackwatch.readers.czi_scenes import SceneTiles, arrange_scene, black_share, list_scenes
from stackwatch.readers.damage import unsupported
from stackwatch.readers.limits import check_declared_size
from stackwatch.readers.positional import PositionalFile

_REFUSED_TYPES: Final = {
    8: "colours of 32-bit floats (Bgr96Float)", 9: "colours with alpha (Bgra32)",
    10: "complex values", 11: "complex colours", 12: "values of the type Gray32",
    13: "values of the type Gray64",
}  # fmt: skip
_COMPRESSIONS: Final = frozenset({UNCOMPRESSED, JPEG_XR, ZSTD0, ZSTD1})
_REFUSED_COMPRESSIONS: Final = {1: "JPEG", 2: "LZW"}


def open_czi(file: BinaryIO, name: str, scene: int = 0) -> CziReader:
    """Read directory and metadata of a CZI and return the reader of one of its scenes.

    Parameters
    ----------
    file : BinaryIO
    name : str
    scene : int
        Which of its scenes, counted from 0.

    Raises
    ------
    IncompleteAcquisitionError, CorruptSliceError, UnsupportedFormatError, LimitExceededError
        The caller passes them on.
    """
    source = PositionalFile(file, name)
    directory, xml = read_directory(source)
    metadata = parse_metadata(xml, name)
    scenes = list_scenes(directory)
    tiles = arrange_scene(directory, metadata.sizes, scenes[scene], name)
    _check_compression(directory, tiles, name)
    layout = SceneLayout(directory, tiles, _channel_types(directory, tiles, name))
    size_t, size_c, size_z = tiles.size_tcz
    for c in range(size_c):
        check_declared_size(name, tiles.width, tiles.height, layout.pixel_bytes(c), source.size)
    pixels = tuple(layout.pixels(c) for c in range(size_c))
    info = ImageInfo(
        reader="czi",
        size_y=tiles.height,
        size_x=tiles.width,
        pixels=pixels[0],
        size_z=size_z,
        size_c=size_c,
        size_t=size_t,
        voxel_size_nm=metadata.voxel_size_nm,
        voxel_size_source="CZI Scaling" if any(metadata.voxel_size_nm) else "",
        channels=_channels(metadata, layout),
        can_read_rows=layout.can_read_rows,
        is_time_declared=True,
        is_z_declared=True,
        notes=_notes(directory, tiles),
        scenes=tuple(metadata.scenes.get(number, "") for number in scenes if number is not None),
        scene=scene,
        absent_tcz=tiles.absent_tcz,
        partial_tcz=tiles.partial_tcz,
        channel_pixels=pixels if len(set(pixels)) > 1 else (),
    )
    return CziReader(file, name, layout, info)


def _channel_types(directory: CziDirectory, scene: SceneTiles, name: str) -> tuple[int, ...]:
    """Return the number of the type that all pixels of a channel have, channel by channel.

    The metadata say something too, and are sometimes wrong.
    """
    count = scene.size_tcz[1]
    found: list[set[int]] = [set() for _ in range(count)]
    channel = directory.index("C")[scene.every] - scene.first_tcz[1]
    for c in range(count):
        found[c] = {
            int(code) for code in np.unique(directory.pixel_type[scene.every][channel == c])
        }
    for code in sorted(set().union(*found)):
        if code not in PIXEL_TYPES:
            what = _REFUSED_TYPES.get(code, f"values of the CZI type {code}")
            raise unsupported(name, what, "Convert it in ZEN to 8 or 16 bit, or export it.")
    for c, codes in enumerate(found):
        if len(codes) > 1:
            shown = " and ".join(PIXEL_TYPES[code][0] for code in sorted(codes))
            raise unsupported(
                name, f"planes of different types ({shown}) in channel {c}", "Save it anew in ZEN."
            )
    known = next(codes for codes in found if codes)
    return tuple(next(iter(codes or known)) for codes in found)


def _check_compression(directory: CziDirectory, scene: SceneTiles, name: str) -> None:
    for code in np.unique(directory.compression[scene.every]):
        if int(code) not in _COMPRESSIONS:
            shown = _REFUSED_COMPRESSIONS.get(int(code), f"number {int(code)}")
            hint = "Save it from ZEN without compression, or with zstd or JPEG XR."
            raise unsupported(name, f"tiles of the compression {shown}", hint)


def _channels(metadata: CziMetadata, layout: SceneLayout) -> tuple[Channel, ...]:
    """Return one channel for each index; a picture in colours has no colour of its own."""
    first, count = layout.scene.first_tcz[1], layout.scene.size_tcz[1]
    if len(metadata.channels) < first + count:
        first = 0
    found = metadata.channels[first : first + count]
    if len(found) < count:
        return ()
    return tuple(
        Channel(channel.name) if layout.pixels(c).kind == "rgb" else channel
        for c, channel in enumerate(found)
    )


def _notes(directory: CziDirectory, scene: SceneTiles) -> tuple[str, ...]:
    notes = []
    if directory.coarser:
        notes.append(f"{directory.coarser:,} tiles of coarser copies left out")
    places = _count_places(directory, scene)
    share = black_share(directory, scene, min(scene.tiles))
    if places > 1:
        notes.append(
            f"its planes lie at {places} different places of the stage; where a plane has no tile "
            "it is black"
        )
    elif share > 0:
        notes.append(f"{max(share, 1e-4):.2%} of each plane is covered by no tile and is black")
    return tuple(notes)


def _count_places(directory: CziDirectory, scene: SceneTiles) -> int:
    """Return how many bounding boxes the planes have."""
    planes = list(scene.tiles.values())
    starts = np.cumsum([0, *(len(tiles) for tiles in planes[:-1])])
    every = np.concatenate(planes)
    edges = [
        np.minimum.reduceat(directory.x[every], starts),
        np.minimum.reduceat(directory.y[every], starts),
        np.maximum.reduceat((directory.x + directory.width)[every], starts),
        np.maximum.reduceat((directory.y + directory.height)[every], starts),
    ]
    return len(np.unique(np.stack(edges, axis=1), axis=0))
