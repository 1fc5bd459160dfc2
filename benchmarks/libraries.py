"""The yardsticks of `benchmarks.reading`: planes as the library of each format gives them.

Each is used the way its documentation shows for reading slice by slice, or whole where slices
would be decoded again and again. Planes of a map are views: the caller copies them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import nibabel
import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image
from pylibCZIrw.czi import CziReader

from stackwatch.readers.probe import open_image
from stackwatch.readers.protocol import ByteRanges

Planes = Iterator[NDArray[Any]]


def by_mrcfile(path: Path) -> Planes:
    """Give each section of mrcfile's map."""
    with mrcfile.mmap(path, permissive=True) as opened:
        yield from opened.data


def whole_by_mrcfile(path: Path) -> Planes:
    """Read the array whole and turn it: z runs fastest."""
    with mrcfile.open(path, permissive=True) as opened:
        yield from opened.data.transpose(2, 0, 1)


def by_numpy(path: Path) -> Planes:
    """Give each plane of a map whose place in the file is known."""
    with path.open("rb") as file:
        reader = open_image(file, path.name)
        assert isinstance(reader, ByteRanges)
        info, raw = reader.info, reader.raw_plane(0, 0, 0)
        assert raw is not None
        reader.close()
    shape = (info.size_z, info.size_y, info.size_x)
    yield from np.memmap(path, raw.dtype, "r", raw.runs[0].offset, shape)


def by_nibabel(path: Path) -> Planes:
    """Take each slice from nibabel's array; without a scale its values are those stored."""
    image: Any = nibabel.load(path)
    for z in range(image.shape[2]):
        yield image.dataobj[..., z].T


def whole_by_nibabel(path: Path) -> Planes:
    """Read a gzipped array whole: slice by slice it would be decompressed again and again."""
    image: Any = nibabel.load(path)
    yield from image.dataobj.get_unscaled().T


def by_tifffile(path: Path) -> Planes:
    """Decode page by page; thumbnails, which LSM has, are left out."""
    with tifffile.TiffFile(path) as opened:
        for page in opened.pages:
            if page.shape[-1] > 8:
                yield page.asarray(maxworkers=1)


def by_pillow(path: Path) -> Planes:
    """Decode the picture: a file is one plane."""
    with Image.open(path) as picture:
        yield np.asarray(picture)


def by_pylibczi(path: Path) -> Planes:
    """Read plane by plane."""
    opened = CziReader(str(path))
    try:
        for z in range(opened.total_bounding_box["Z"][1]):
            yield opened.read(plane={"T": 0, "C": 0, "Z": z})[..., 0]
    finally:
        opened.close()


def by_h5py(path: Path) -> Planes:
    """Read a row of chunks at a time: plane by plane each would be decoded eight times."""
    with h5py.File(path) as opened:
        data = opened["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"]
        for z in range(0, len(data), 8):
            yield from data[z : z + 8]


def by_liffile(path: Path) -> Planes:
    """Read the array whole."""
    import liffile

    with liffile.LifFile(path) as opened:
        yield from opened.images[0].asarray()


def by_zarr(path: Path) -> Planes:
    """Read a row of chunks at a time."""
    array: Any = zarr.open_group(path.parent, mode="r")["0"]
    for z in range(0, array.shape[2], 4):
        yield from array[0, 0, z : z + 4]


def by_wkw(path: Path) -> Planes:
    """Read a row of blocks at a time, up to the end of the cubes that are there."""
    import wkw

    cubes = [one.relative_to(path.parent) for one in path.parent.rglob("x*.wkw")]
    with wkw.Dataset.open(str(path.parent)) as opened:
        edge = opened.header.block_len * opened.header.file_len
        rows = edge * len({cube.parts[1] for cube in cubes})
        columns = edge * len({cube.name for cube in cubes})
        for z in range(0, edge * len({cube.parts[0] for cube in cubes}), 32):
            yield from opened.read((0, 0, z), (columns, rows, 32))[0].T
