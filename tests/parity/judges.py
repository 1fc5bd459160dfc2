"""What other libraries read in real files: a judge of each format, none of them used by ours.

Each returns the voxels of one image of a file, axes t, c, z, y, x and for colours the samples, and
its voxel size in nm as the library's own metadata have it; None where they say nothing.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import czifile
import h5py
import imagecodecs
import mrcfile
import nibabel
import numpy as np
import pytest
import tifffile
import zstandard

Edges = list[float | None]
Judgement = tuple[np.ndarray, Edges]
"""Voxels; edges along x, y, z in nm."""

_NM = {"µm": 1e3, "um": 1e3, "\\u00B5m": 1e3, "micron": 1e3, "nm": 1.0, "mm": 1e6}


def as_tczyx(array: np.ndarray, axes: str) -> np.ndarray:
    """Return an array with all five axes in their order, and samples behind them."""
    wanted = "tczyx" + ("s" if "s" in axes else "")
    missing = "".join(axis for axis in wanted if axis not in axes)
    whole = array[(None,) * len(missing)]
    return whole.transpose([(missing + axes).index(axis) for axis in wanted])


def tiff(path: Path, scene: int) -> Judgement:
    """Judge a TIFF by tifffile, with the sizes in its OME-XML or in what ImageJ wrote."""
    with tifffile.TiffFile(path) as judge:
        series = judge.series[scene]
        axes = series.axes.lower().replace("i", "z")
        voxels = as_tczyx(series.asarray(), axes)
        if judge.ome_metadata:
            pixels = next(one for one in ET.fromstring(judge.ome_metadata).iter()
                          if one.tag.endswith("}Pixels"))  # fmt: skip
            return voxels, [ome_edge(pixels, axis) for axis in "XYZ"]
        told = judge.imagej_metadata or {}
        if "spacing" not in told:
            return voxels, [None] * 3
        unit = _NM[told["unit"]]
        counts = [judge.pages[0].tags[f"{axis}Resolution"].value for axis in "XY"]  # type: ignore[union-attr]
        edges = [unit * below / above for above, below in counts]
        return voxels, [*edges, told["spacing"] * unit]


def ome_edge(pixels: ET.Element, axis: str) -> float | None:
    """Return an edge of OME-XML."""
    value = pixels.get(f"PhysicalSize{axis}")
    return (
        None if value is None else float(value) * _NM[pixels.get(f"PhysicalSize{axis}Unit", "µm")]
    )


def jpeg(path: Path, _scene: int) -> Judgement:
    """Judge a JPEG by libjpeg-turbo, without Pillow."""
    return imagecodecs.jpeg8_decode(path.read_bytes())[None, None, None], [None] * 3


def mrc(path: Path, _scene: int) -> Judgement:
    """Judge a map by mrcfile."""
    with mrcfile.open(path, permissive=True) as judge:
        header = judge.header
        stored = [int(header.maps), int(header.mapr), int(header.mapc)]
        voxels = judge.data.transpose([stored.index(axis) for axis in (3, 2, 1)]).copy()
        return voxels[None, None], [float(judge.voxel_size[axis]) / 10 for axis in "xyz"]


def nifti(path: Path, _scene: int) -> Judgement:
    """Judge a NIfTI by nibabel: unscaled values."""
    judge: Any = nibabel.load(path)
    voxels = np.asanyarray(judge.dataobj.get_unscaled()).T
    voxels = voxels if voxels.ndim == 4 else voxels[None]
    return (
        voxels[:, None].astype(voxels.dtype.newbyteorder("=")),
        [float(edge) * 1e6 for edge in judge.header.get_zooms()[:3]],
    )


def imaris(path: Path, _scene: int) -> Judgement:
    """Judge the one timepoint and channel of an Imaris file by h5py; its unit is Imaris's own."""
    with h5py.File(path, locking=False) as judge:
        voxels = judge["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"][:]
        words = {name: float(b"".join(text)) for name, text in
                 judge["DataSetInfo/Image"].attrs.items()}  # fmt: skip
    return voxels[None, None], [
        1e3 * (words[f"ExtMax{at}"] - words[f"ExtMin{at}"]) / size
        for at, size in enumerate(reversed(voxels.shape))
    ]


def nd2(path: Path, _scene: int) -> Judgement:
    """Judge an ND2 by nd2."""
    library = pytest.importorskip("nd2", reason="nd2 is not installed: no ND2")
    with library.ND2File(path) as judge:
        size = judge.voxel_size()
        axes = "".join(judge.sizes).lower()
        return as_tczyx(judge.asarray(), axes), [1e3 * size.x, 1e3 * size.y, 1e3 * size.z]


def lif(path: Path, scene: int) -> Judgement:
    """Judge a LIF by liffile."""
    library = pytest.importorskip("liffile", reason="liffile is not installed: no LIF")
    with library.LifFile(path) as judge:
        image = judge.images[scene]
        edges = [image.coords.get(axis) for axis in "XYZ"]
        return as_tczyx(image.asarray(), "".join(image.dims).lower()), [
            None if coords is None else abs(coords[1] - coords[0]) * 1e9 for coords in edges
        ]


def oib(path: Path, _scene: int) -> Judgement:
    """Judge an OIB by oiffile."""
    library = pytest.importorskip("oiffile", reason="oiffile is not installed: no OIB")
    with library.OifFile(str(path)) as judge:
        told = judge.mainfile["Reference Image Parameter"]
        edges: Edges = [
            told[f"{word}ConvertValue"] * _NM[told[f"{word}Unit"]] for word in ("Width", "Height")
        ]
        step = judge.mainfile["Axis 3 Parameters Common"]["Interval"]  # in nm
        return as_tczyx(judge.asarray(), judge.axes.lower()), [*edges, float(step)]


# ---------------------------------------------------------------- CZI


def czi(path: Path, scene: int) -> Judgement:
    """Judge a scene of a CZI by czifile's tiles, and its edges by the XML it gives out."""
    with czifile.CziFile(str(path)) as judge, path.open("rb") as file:
        entries = [
            entry
            for entry in judge.filtered_subblock_directory
            if all(d.dimension != "S" or d.start == scene for d in entry.dimension_entries)
        ]
        axes: str = entries[0].axes
        first = np.min([entry.start for entry in entries], axis=0)
        last = np.max([np.add(entry.start, entry.shape) for entry in entries], axis=0)
        canvas = np.zeros(last - first, np.dtype(entries[0].dtype).base)
        for entry in sorted(entries, key=lambda entry: entry.mosaic_index or 0):
            corner = np.subtract(entry.start, first)
            place = tuple(map(slice, corner, np.add(corner, entry.shape)))
            canvas[place] = tile_of(entry, file)
        root = ET.fromstring(judge.metadata())
    kept = [axis in "TCZYX0" for axis in axes]
    canvas = canvas.reshape([n for n, keep in zip(canvas.shape, kept, strict=True) if keep])
    letters = "".join(axis for axis, keep in zip(axes, kept, strict=True) if keep).lower()
    voxels = as_tczyx(canvas, letters.replace("0", "s"))
    return voxels[..., 0] if voxels.shape[-1] == 1 else voxels, czi_edges(root.iter("Distance"))


def czi_edges(distances: Iterable[ET.Element]) -> Edges:
    """Return edges from metres; what is 0 is not known."""
    found = {one.get("Id"): float(one.findtext("Value") or 0) * 1e9 for one in distances}
    return [found.get(axis) or None for axis in "XYZ"]


def tile_of(entry: Any, file: Any) -> np.ndarray:
    """Return the pixels of a subblock; this czifile knows no zstd."""
    segment = entry.data_segment()
    if entry.compression != 6:
        pixels: np.ndarray = segment.data()
        return pixels
    file.seek(segment.data_offset)
    data = file.read(segment.data_size)
    values = zstandard.decompress(data[data[0] :], 10**8)
    if data[0] > 2 and data[2] & 1:
        values = np.frombuffer(values, np.uint8).reshape(2, -1).T.tobytes()
    return np.frombuffer(values, entry.dtype).reshape(entry.stored_shape)


def is_same(edge: float | None, other: float | None) -> bool:
    """Tell whether two edges are the same; headers hold single precision."""
    if edge is None or other is None:
        return edge is other
    return math.isclose(edge, other, rel_tol=1e-6)
