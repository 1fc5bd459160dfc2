"""The table of the reader contract: a small file of every format, and the voxels in it.

A case has voxels that tell their place, so that no axis can be taken for another. Formats that
nobody but their makers writes stand with the smallest real file and what their library reads.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from stackwatch.layout.listing import list_acquisition
from stackwatch.readers import volume
from stackwatch.readers.folder import FolderView, is_anchor
from stackwatch.readers.probe import open_image
from stackwatch.readers.protocol import SliceReader
from stackwatch.readers.raw import RawShape, open_raw
from stackwatch.readers.source import FolderFiles
from stackwatch.testing import reader_files as files
from stackwatch.testing.czi_files import JPEG_XR, RAW, ZSTD1
from stackwatch.testing.patterns import coordinate_slice
from stackwatch.testing.reader_files import Voxels, Write, gzipped, named
from stackwatch.testing.volumes import write_dm, write_mrc, write_nifti

Nanometres = tuple[float | None, float | None, float | None]

UNKNOWN: Final = (None, None, None)


@dataclass(frozen=True)
class ReaderCase:
    """One way of one format.

    Attributes
    ----------
    format : str
        Its name in the table of formats.
    write : Write or None
        None: `sample` stands for it.
    shape : (t, c, z, y, x)
    dtype : str
    samples : int
    voxel_size_nm : (x, y, z)
        What the file says of it.
    value_edge : int
        Pixels along x and y that have the same value: what a lossy compression keeps exactly.
    large : (z, y, x) or None
        Extent of the file whose reading is measured; one timepoint, one channel. None: another
        case has the same library, or the file is one plane.
    large_dtype : str
        Its type, where the format does not take `dtype`.
    library_mib : float
        What a library may take beside planes; zarr keeps threads, which each keep some memory.
    block_bytes : int
        Of planes gathered at a time, while this case is measured.
    sample : str
        A real file below the folder of samples.
    judge : callable or None
        Its voxels, as its own library reads them.
    raw : RawShape or None
        What a raw file does not say; its extents are put in.
    """

    format: str
    write: Write | None
    shape: tuple[int, int, int, int, int] = (1, 1, 7, 33, 45)
    dtype: str = "uint16"
    samples: int = 1
    voxel_size_nm: Nanometres = UNKNOWN
    value_edge: int = 1
    large: tuple[int, int, int] | None = None
    large_dtype: str = ""
    library_mib: float = 6.0
    block_bytes: int = volume.BLOCK_BYTES
    sample: str = ""
    judge: Callable[[Path], Voxels] | None = None
    raw: RawShape | None = field(default=None, repr=False)

    def voxels(self) -> Voxels:
        """Return the voxels that are written."""
        size_t, size_c, size_z, height, width = self.shape
        edge = self.value_edge
        planes = [
            coordinate_slice(
                (height // edge, width // edge), z, self.dtype, c=c, t=t, samples=self.samples
            )
            for t, c, z in np.ndindex(size_t, size_c, size_z)
        ]
        voxels = np.stack(planes).reshape(size_t, size_c, size_z, *planes[0].shape)
        return voxels.repeat(edge, axis=3).repeat(edge, axis=4) if edge > 1 else voxels

    def write_large(self, folder: Path) -> Path:
        """Write the file whose reading is measured: each plane holds its number."""
        assert self.large is not None
        assert self.write is not None
        stack = np.zeros(self.large, self.large_dtype or self.dtype)
        stack[:] = np.arange(len(stack))[:, None, None] % 251 + 1
        return self.write(folder, stack[None, None])

    def for_large(self) -> "ReaderCase":
        """Return the case with the extent of the large file."""
        assert self.large is not None
        return replace(self, shape=(1, 1, *self.large), dtype=self.large_dtype or self.dtype)

    @contextmanager
    def opened(self, path: Path) -> Iterator[SliceReader]:
        """Open a file as an image; on leaving close first its reader, then the file."""
        with ExitStack() as stack:
            if is_anchor(path.name):
                files = FolderFiles(path.parent)
                stack.callback(files.close)
                view = FolderView(files, {one.path: one for one in listed(path.parent)})
                file = stack.enter_context(files.open(path.name))
                reader = open_image(file, path.name, view=view)
            else:
                file = stack.enter_context(path.open("rb"))
                reader = self.reader_of(file, path.name)
            stack.callback(reader.close)
            yield reader

    def reader_of(self, file: BinaryIO, name: str) -> SliceReader:
        """Return the reader of an opened file."""
        if self.raw is None:
            return open_image(file, name)
        sizes = dict(zip("tczyx", self.shape, strict=True))
        shape = tuple(sizes[axis] for axis in self.raw.axes)
        return open_raw(file, name, replace(self.raw, shape=shape, dtype_name=self.dtype))

    def read_bytes(self, data: bytes, name: str) -> Voxels:
        """Return the voxels of a file in memory."""
        reader = self.reader_of(BytesIO(data), name)
        try:
            return read_all(reader)
        finally:
            reader.close()


def listed(folder: Path) -> Any:
    """Return the files of a folder as they are listed."""
    return list_acquisition(folder).entries


def read_all(reader: SliceReader) -> Voxels:
    """Return every plane of an image."""
    info = reader.info
    sizes = (info.size_t, info.size_c, info.size_z)
    planes = [reader.read_plane(t, c, z, (0, info.size_y)).copy() for t, c, z in np.ndindex(*sizes)]
    return np.stack(planes).reshape(*sizes, *planes[0].shape)


NANOMETRES: Final = (4.0, 5.0, 30.0)
MANY: Final = (2, 2, 3, 33, 45)
LARGE: Final = (24, 1024, 512)

CASES: Final = {
    "mrc": ReaderCase(
        "MRC", named("a.mrc", lambda p, s: write_mrc(p, s, voxel_size_nm=NANOMETRES)),
        dtype="int16", voxel_size_nm=NANOMETRES, large=LARGE,
    ),
    "mrc big-endian": ReaderCase(
        "MRC", named("a.rec", lambda p, s: write_mrc(p, s, order=">", extended=b"x" * 90)),
        dtype="float32", voxel_size_nm=(1.0, 1.0, 1.0),
    ),
    "mrc z fastest": ReaderCase(
        "MRC", named("a.map", lambda p, s: write_mrc(p, s, axis_order=(3, 1, 2))),
        dtype="float32", voxel_size_nm=(1.0, 1.0, 1.0), large=(40, 512, 256), block_bytes=2**21,
    ),
    "mrc y fastest": ReaderCase(
        "MRC", named("a.ali", lambda p, s: write_mrc(p, s, axis_order=(2, 1, 3))),
        voxel_size_nm=(1.0, 1.0, 1.0),
    ),
    "mrc of bytes": ReaderCase(
        "MRC", named("a.st", write_mrc), dtype="uint8", voxel_size_nm=(1.0, 1.0, 1.0),
    ),
    "mrc.gz": ReaderCase(
        "MRC", gzipped(named("a.mrc", write_mrc)), dtype="int16", voxel_size_nm=(1.0, 1.0, 1.0),
    ),
    "tiff": ReaderCase("TIFF", files.pages, dtype="float32", large=LARGE, large_dtype="uint16"),
    "tiff in tiles": ReaderCase("TIFF", files.tiles_of_pages, large=LARGE),
    "tiff in colours": ReaderCase("TIFF", files.pages, dtype="uint8", samples=3),
    "ome-tiff": ReaderCase("TIFF", files.ome_tiff, MANY, voxel_size_nm=NANOMETRES, large=LARGE),
    "imagej": ReaderCase("TIFF", files.imagej, MANY, voxel_size_nm=NANOMETRES, large=LARGE),
    "lsm": ReaderCase(
        "LSM", files.lsm, (1, 3, 4, 33, 45), voxel_size_nm=(100.0, 100.0, 300.0), large=LARGE
    ),
    "nifti": ReaderCase(
        "NIfTI", files.nifti_of_times, MANY, "int16", voxel_size_nm=(4e3, 5e3, 3e4), large=LARGE
    ),
    "nii.gz": ReaderCase(
        "NIfTI", gzipped(named("a.nii", write_nifti)), dtype="float32",
        voxel_size_nm=(1e6, 1e6, 1e6), large=(24, 512, 512),
    ),
    "dm3": ReaderCase(
        "DM3 and DM4", named("a.dm3", files.dm3), dtype="int32", voxel_size_nm=NANOMETRES,
        large=LARGE, large_dtype="int16",
    ),
    "dm4": ReaderCase(
        "DM3 and DM4", named("a.dm4", lambda p, s: write_dm(p, s, version=4, order=">"))
    ),
    "czi": ReaderCase("CZI", files.czi(RAW), MANY, voxel_size_nm=NANOMETRES, large=LARGE),
    "czi zstd": ReaderCase("CZI", files.czi(ZSTD1), MANY, voxel_size_nm=NANOMETRES, large=LARGE),
    "czi mosaic": ReaderCase(
        "CZI", files.czi(JPEG_XR, 8), (1, 2, 3, 40, 56), "uint8", voxel_size_nm=NANOMETRES
    ),
    "czi in colours": ReaderCase(
        "CZI", files.czi(RAW), (1, 1, 3, 33, 45), "uint8", 3, voxel_size_nm=NANOMETRES
    ),
    "ims": ReaderCase(
        "HDF5 and Imaris IMS", files.ims, (2, 2, 13, 37, 45), voxel_size_nm=(250.0, 500.0, 750.0),
        large=(64, 512, 512), large_dtype="uint8",
    ),
    "hdf5": ReaderCase(
        "HDF5 and Imaris IMS", named("a.h5", files.hdf5), voxel_size_nm=NANOMETRES, large=LARGE
    ),
    "lif": ReaderCase("LIF and LOF", files.lif, MANY, voxel_size_nm=NANOMETRES, large=LARGE),
    "lof": ReaderCase("LIF and LOF", named("a.lof", files.lof), voxel_size_nm=NANOMETRES),
    "nd2": ReaderCase(
        "ND2", None, (3, 2, 10, 31, 38), voxel_size_nm=(167.80898, 167.80898, 500.0),
        sample="nd2/bsd-pims/cluster.nd2", judge=files.nd2_voxels,
    ),
    "oib": ReaderCase(
        "OIB", None, (1, 3, 1, 256, 256), voxel_size_nm=(177.0, 177.0, None),
        sample="oib/bsd-oiffile/test.oib", judge=files.oib_voxels,
    ),
    "oif": ReaderCase(
        "OIF", files.oif, MANY, voxel_size_nm=(250.0, 500.0, 500.0), large=LARGE
    ),
    "ndtiff": ReaderCase(
        "NDTiff", files.ndtiff, MANY, voxel_size_nm=(250.0, 250.0, 500.0), large=LARGE
    ),
    "png": ReaderCase("PNG", files.picture("a.png"), (1, 1, 1, 33, 45), "uint8", 3),
    "png of 16 bits": ReaderCase("PNG", named("a.png", files.png_of_16_bits), (1, 1, 1, 33, 45)),
    "jpeg": ReaderCase(
        "JPEG", named("a.jpg", files.jpeg), (1, 1, 1, 48, 64), "uint8", value_edge=8
    ),
    "bmp": ReaderCase("BMP", files.picture("a.bmp"), (1, 1, 1, 33, 45), "uint8"),
    "raw": ReaderCase("raw", named("a.raw", files.raw), raw=RawShape("yxz", (), "", ">", 4)),
    "ome-zarr of zarr 2": ReaderCase(
        "Zarr and OME-Zarr", files.ome_zarr(2), MANY, voxel_size_nm=(125.0, 250.0, 500.0)
    ),
    "ome-zarr in shards": ReaderCase(
        "Zarr and OME-Zarr", files.ome_zarr(3), MANY, voxel_size_nm=(125.0, 250.0, 500.0),
        large=(96, 512, 512), library_mib=14.0,
    ),
    "wkw": ReaderCase(
        "WKW", files.wkw, (1, 1, 64, 64, 128), large=(256, 256, 256), large_dtype="uint8"
    ),
    "knossos": ReaderCase(
        "KNOSSOS cubes", files.knossos, (1, 1, 7, 33, 140), "uint8", voxel_size_nm=NANOMETRES,
        large=(1024, 128, 128),
    ),
}  # fmt: skip
"""By name."""

MEASURED: Final = tuple(name for name, case in CASES.items() if case.large is not None)
"""Those of which a large file is read plane by plane."""

IN_ONE_PIECE: Final = {
    "ND2": "no program but the instrument's writes it, and the sample is half a megabyte",
    "OIB": "no program but the instrument's writes it, and the sample is a megabyte",
    "PNG": "a file is one plane",
    "JPEG": "a file is one plane",
    "BMP": "a file is one plane",
    "raw": "the same reader as MRC",
}
"""Formats of which no large file is read, and why."""
