"""Write volumes that are folders: OME-Zarr, WKW, KNOSSOS cubes.

OME-Zarr is written by zarr and WKW by the `wkw` package, which comes with the tests only.
"""

import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numpy.typing import NDArray

_AXES: Final[list[dict[str, str]]] = [
    {"name": "t", "type": "time", "unit": "second"},
    {"name": "c", "type": "channel"},
    *({"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"),
]


def write_ome_zarr(
    path: Path,
    data: NDArray[Any],
    *,
    version: int = 3,
    axes: str = "tczyx",
    edge: int = 16,
    **kwargs: Any,
) -> zarr.Group:
    """Write an OME-Zarr with a coarser level, in the metadata version of its Zarr version.

    Parameters
    ----------
    path : Path
    data : array
        One axis for each letter of `axes`; a voxel is 125 x 250 x 500 nm large.
    version : 2 | 3
        Of Zarr.
    axes : str
    edge : int
        Of a chunk in the plane; it is four slices deep.
    **kwargs
        Further arguments of `create_array` (shards, config ...).
    """
    group = zarr.open_group(path, mode="w", zarr_format=version)  # type: ignore[arg-type]
    chunks = tuple({"t": 1, "c": 1, "z": 4}.get(axis, edge) for axis in axes)
    for level, part in enumerate((data, data[..., ::2, ::2])):
        group.create_array(str(level), data=np.ascontiguousarray(part), chunks=chunks, **kwargs)
    scale = [{"t": 9.0, "c": 1.0, "z": 0.5, "y": 0.25, "x": 0.125}[axis] for axis in axes]
    steps = [
        {"path": str(level), "coordinateTransformations": [
            {"type": "scale", "scale": [edge * (level + 1) for edge in scale]}]}
        for level in range(2)
    ]  # fmt: skip
    meant = [next(one for one in _AXES if one["name"] == axis) for axis in axes]
    words: dict[str, Any] = {
        "multiscales": [{"axes": meant, "datasets": steps}],
        "omero": {"channels": [{"label": f"dye {c}", "color": "00FF80"} for c in range(2)]},
    }
    if version == 3:
        words = {"ome": {"version": "0.5", **words}}
    group.attrs.update(words)
    return group


def write_wkw(
    path: Path, data: NDArray[Any], start: tuple[int, int, int], cube_blocks: int = 2
) -> None:
    """Write one mag of WKW, compressed, in blocks of 32.

    Parameters
    ----------
    path : Path
        Of the mag.
    data : array, shape (x, y, z) or (c, x, y, z), in Fortran order
    start : (x, y, z)
        Where it begins.
    cube_blocks : int
        Blocks along the edge of a cube.
    """
    import wkw

    header = wkw.Header(data.dtype, num_channels=3 if data.ndim == 4 else 1,
                        block_len=32, file_len=cube_blocks)  # fmt: skip
    raw = path.with_name("raw")
    raw.mkdir(parents=True)
    with wkw.Dataset.create(str(raw), header) as dataset:
        dataset.write(start, data)
        dataset.compress(str(path), compress_files=True).close()
    shutil.rmtree(raw)


def write_knossos(root: Path, data: NDArray[Any], skipped: tuple[int, int, int], conf: str) -> None:
    """Write cubes of 128 voxels.

    Parameters
    ----------
    root : Path
    data : array, shape (z, y, x), uint8
    skipped : (int, int, int)
        Numbers along z, y, x of a cube that is left out.
    conf : str
        Text of `knossos.conf`.
    """
    root.mkdir(parents=True)
    (root / "knossos.conf").write_text(conf)
    padded = np.pad(data, [(0, -size % 128) for size in data.shape])
    for z, y, x in np.ndindex(*(size // 128 for size in padded.shape)):
        if (z, y, x) == skipped:
            continue
        folder = root / f"x{x:04}/y{y:04}/z{z:04}"
        folder.mkdir(parents=True)
        cube = padded[z * 128 : z * 128 + 128, y * 128 : y * 128 + 128, x * 128 : x * 128 + 128]
        path = folder / f"exp_mag1_x{x:04}_y{y:04}_z{z:04}.raw"
        path.write_bytes(np.ascontiguousarray(cube).tobytes())
