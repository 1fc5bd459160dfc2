"""Write one small file of every format that is read, each in a way that is easy to get wrong."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import h5py
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from stackwatch.testing.czi_files import CziTile, czi_xml, write_czi
from stackwatch.testing.hdf5_files import write_ims
from stackwatch.testing.lif_files import LifPicture, write_lif, write_lof
from stackwatch.testing.lsm_files import write_lsm
from stackwatch.testing.ndtiff_files import write_ndtiff
from stackwatch.testing.oif_files import write_oif
from stackwatch.testing.volume_folders import write_knossos, write_ome_zarr, write_wkw
from stackwatch.testing.volumes import write_dm, write_nifti
from stackwatch.testing.writers import write_image, write_imagej, write_multipage, write_ome_tiff

Voxels = NDArray[Any]
"""Axes t, c, z, y, x, and the samples of a pixel as a sixth where it is RGB."""

Write = Callable[[Path, Voxels], Path]
"""Writes voxels into a folder; returns the file that is opened."""


def named(name: str, write: Callable[[Path, NDArray[Any]], object]) -> Write:
    """Return a writer of one stack (axes z, y, x) into a file of this name."""

    def written(folder: Path, voxels: Voxels) -> Path:
        write(folder / name, voxels[0, 0])
        return folder / name

    return written


def gzipped(write: Write) -> Write:
    """Return a writer of the same file, gzipped."""

    def written(folder: Path, voxels: Voxels) -> Path:
        plain = write(folder, voxels)
        path = plain.with_name(plain.name + ".gz")
        path.write_bytes(gzip.compress(plain.read_bytes(), 1))
        plain.unlink()
        return path

    return written


def pages(folder: Path, voxels: Voxels) -> Path:
    """Write plain pages, uncompressed, in several strips."""
    return write_multipage(folder / "a.tif", voxels[0, 0], rowsperstrip=voxels.shape[3] // 4)


def tiles_of_pages(folder: Path, voxels: Voxels) -> Path:
    """Write pages of deflated tiles."""
    options = {"tile": (32, 32) if voxels.size < 2**20 else (256, 256), "compression": "deflate"}
    return write_multipage(folder / "a.tif", voxels[0, 0], **options)


def ome_tiff(folder: Path, voxels: Voxels) -> Path:
    """Write an OME-TIFF, compressed by LZW."""
    size = (4.0, 5.0, 30.0)
    return write_ome_tiff(folder / "a.ome.tif", voxels, voxel_size_nm=size, compression="lzw")


def imagej(folder: Path, voxels: Voxels) -> Path:
    """Write an ImageJ hyperstack, big-endian as ImageJ's are."""
    return write_imagej(
        folder / "a.tif", voxels.transpose(0, 2, 1, 3, 4), voxel_size_nm=(4.0, 5.0, 30.0)
    )


def lsm(folder: Path, voxels: Voxels) -> Path:
    """Write an LSM, compressed by LZW."""
    return write_lsm(folder / "a.lsm", voxels.transpose(0, 2, 1, 3, 4), is_lzw=True, strip_rows=16)


def nifti_of_times(folder: Path, voxels: Voxels) -> Path:
    """Write a big-endian NIfTI-2 with times and channels, its array far behind the header."""
    edges = (4.0, 5.0, 30.0)
    return write_nifti(
        folder / "a.nii", voxels.transpose(1, 0, 2, 3, 4), version=2, order=">", offset=4096,
        edges=edges, unit="µm",
    )  # fmt: skip


def dm3(path: Path, stack: NDArray[Any]) -> None:
    """Write a DM3 with a thumbnail before its image."""
    write_dm(path, stack, calibrations=[(4.0, "nm"), (5.0, "nm"), (0.03, "µm")])


def czi(compression: int, edge: int = 0) -> Write:
    """Return a writer of a CZI; with tiles of an edge a mosaic that lies far from 0."""

    def written(folder: Path, voxels: Voxels) -> Path:
        size_t, size_c, size_z, height, width = voxels.shape[:5]
        step = edge or max(height, width)
        tiles = [
            CziTile(
                np.ascontiguousarray(voxels[t, c, z, y : y + step, x : x + step]),
                at=(4000 + x, -70 + y),
                dims={"T": t, "C": c, "Z": z, **({"M": m} if edge else {})},
                compression=compression,
            )
            for t, c, z in np.ndindex(size_t, size_c, size_z)
            for m, (y, x) in enumerate(
                (y, x) for y in range(0, height, step) for x in range(0, width, step)
            )
        ]
        sizes = {"X": width, "Y": height, "Z": size_z, "C": size_c, "T": size_t}
        edges = {"X": 4e-9, "Y": 5e-9, "Z": 3e-8}
        return write_czi(folder / "a.czi", tiles, czi_xml(sizes=sizes, edges_m=edges))

    return written


def ims(folder: Path, voxels: Voxels) -> Path:
    """Write an Imaris file whose chunks are several planes deep."""
    return write_ims(folder / "a.ims", voxels, (8, 16, 16) if voxels.size < 2**20 else (8, 64, 64))


def hdf5(path: Path, stack: NDArray[Any]) -> None:
    """Write an HDF5 file with one dataset in one piece."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset("raw", data=stack)
        data.attrs["element_size_um"] = (0.03, 0.005, 0.004)


STEPS: Final = {"x": 4e-9, "y": 5e-9, "z": -3e-8, "t": 2.0}


def lif(folder: Path, voxels: Voxels) -> Path:
    """Write a LIF: channels slowest, then times; its z runs backwards."""
    tables = ("Green", "Red")[: voxels.shape[1]]
    stored = np.ascontiguousarray(voxels.swapaxes(0, 1))
    return write_lif(folder / "a.lif", [LifPicture("one", stored, "ctzyx", STEPS, tables)])


def oif(folder: Path, voxels: Voxels) -> Path:
    """Write an OIF with its folder of TIFFs."""
    return write_oif(folder / "a.oif", voxels)


def ndtiff(folder: Path, voxels: Voxels) -> Path:
    """Write NDTiff in several files, the last planes first."""
    planes = [({"time": t, "channel": c, "z": z}, voxels[t, c, z])
              for t, c, z in reversed([*np.ndindex(voxels.shape[:3])])]  # fmt: skip
    return write_ndtiff(folder / "run", planes, per_file=5, order=">")


def lof(path: Path, stack: NDArray[Any]) -> None:
    """Write a LOF."""
    write_lof(path, LifPicture("one", stack, "zyx", STEPS))


def picture(name: str) -> Write:
    """Return a writer of the first plane as a picture."""
    return named(name, lambda path, stack: write_image(path, stack[0]))


def png_of_16_bits(path: Path, stack: NDArray[Any]) -> None:
    """Write a PNG of 16 bits a sample, which Pillow would cut to 8."""
    path.write_bytes(imagecodecs.png_encode(stack[0]))


def jpeg(path: Path, stack: NDArray[Any]) -> None:
    """Write a JPEG: blocks of one value each survive its compression."""
    path.write_bytes(imagecodecs.jpeg8_encode(stack[0], level=100))


def raw(path: Path, stack: NDArray[Any]) -> None:
    """Write a raw file: four bytes before, the axes y, x, z, big-endian."""
    stored = stack.transpose(1, 2, 0)
    path.write_bytes(b"head" + stored.astype(stored.dtype.newbyteorder(">")).tobytes())


def ome_zarr(version: int) -> Write:
    """Return a writer of an OME-Zarr in the Zarr of this version; 3 is sharded."""

    def written(folder: Path, voxels: Voxels) -> Path:
        is_large = voxels.size > 2**20
        edge = 128 if is_large else 16
        more: dict[str, Any] = {} if version == 2 else {"shards": (1, 1, 8, edge * 2, edge * 2)}
        write_ome_zarr(folder, voxels, version=version, edge=edge, **more)
        return folder / (".zgroup" if version == 2 else "zarr.json")

    return written


def wkw(folder: Path, voxels: Voxels) -> Path:
    """Write a layer of WKW in blocks of 32; without properties whole cubes of 64 are read."""
    write_wkw(folder / "color/1", np.asfortranarray(voxels[0, 0].T), (0, 0, 0))
    return folder / "color/1/header.wkw"


def knossos(folder: Path, voxels: Voxels) -> Path:
    """Write KNOSSOS cubes."""
    depth, height, width = voxels.shape[2:5]
    conf = (
        'experiment name "exp";\nscale x 4.0;\nscale y 5.0;\nscale z 30.0;\n'
        f"boundary x {width};\nboundary y {height};\nboundary z {depth};\nmagnification 1;\n"
    )
    write_knossos(folder / "run", voxels[0, 0], (-1, -1, -1), conf)
    return folder / "run/knossos.conf"


def nd2_voxels(path: Path) -> Voxels:
    """Return what nd2 reads: axes t, z, c, y, x turned to ours."""
    import nd2

    with nd2.ND2File(path) as judge:
        return np.asarray(judge.asarray()).transpose(0, 2, 1, 3, 4)


def oib_voxels(path: Path) -> Voxels:
    """Return what oiffile reads: axes c, y, x."""
    import oiffile

    with oiffile.OifFile(str(path)) as judge:
        return np.asarray(judge.asarray())[None, :, None]
