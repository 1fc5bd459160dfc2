"""Write folders as SBEMimage, SerialEM, Leica, BigDataViewer and Hitachi write them.

From the descriptions of these files. `micro_manager` writes those of Micro-Manager.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import tifffile
from numpy.typing import NDArray

_TIME = "20260301101500"


@dataclass(frozen=True, slots=True)
class SbemRun:
    """A stack of SBEMimage.

    Attributes
    ----------
    tiles : mapping of str to int
        How many tiles each grid has.
    slices : tuple of int
        Numbers of the slices that were acquired.
    shape_yx : (int, int)
    thickness_nm, pixel_nm : float
    is_completed : bool or None
        Whether the log says that the stack is complete; None writes no log.
    """

    tiles: Mapping[str, int]
    slices: tuple[int, ...] = (0, 1, 2, 3)
    shape_yx: tuple[int, int] = (12, 16)
    thickness_nm: float = 25.0
    pixel_nm: float = 10.0
    is_completed: bool | None = True

    def picture(self, grid: str, tile: int, number: int) -> NDArray[np.uint8]:
        """Return a tile whose values tell where it belongs."""
        y, x = np.indices(self.shape_yx)
        found: NDArray[np.uint8] = (int(grid) * 90 + tile * 40 + number * 7 + y + x).astype("u1")
        return found


def write_sbem(
    root: Path, run: SbemRun, missing: Iterable[tuple[str, int, int]] = ()
) -> dict[str, Path]:
    """Write a stack of SBEMimage with its logs, an overview and what its window saves.

    Parameters
    ----------
    root : Path
    run : SbemRun
    missing : iterable of (grid, tile, slice)
        Tiles that were never acquired.

    Returns
    -------
    dict of str to Path
        The tiles by `grid/tile/slice`.
    """
    left_out, listed, told = set(missing), [], []
    paths: dict[str, Path] = {}
    for number in run.slices:
        depth = int(number * run.thickness_nm)
        for grid, count in run.tiles.items():
            for tile in range(count):
                if (grid, tile, number) in left_out:
                    continue
                folder = f"tiles/g{grid}/t{tile:04d}"
                name = f"{folder}/brain_g{grid}_t{tile:04d}_s{number:05d}.tif"
                paths[f"{grid}/{tile}/{number}"] = _save(
                    root / name, run.picture(grid, tile, number)
                )
                windows = name.replace("/", "\\")
                listed.append(f"{windows};{tile * 150};-300;{depth};{number}")
                told.append("TILE: " + str({"filename": name, "glob_z": depth}))
        _save(root / f"overviews/ov000/brain_ov000_s{number:05d}.tif", np.zeros((4, 5), "u1"))
    _save(root / "workspace/g0000_t0000.png", np.zeros((4, 5), "u1"))
    session = {
        "timestamp": 1,
        "slice_thickness": run.thickness_nm,
        "grids": list(run.tiles),
        "pixel_sizes": [run.pixel_nm] * len(run.tiles),
    }
    logs = {
        f"imagelist_{_TIME}": listed,
        f"metadata_{_TIME}": [f"SESSION: {session}", *told],
        f"config_{_TIME}": ["[acq]", f"slice_thickness = {run.thickness_nm}"],
    }
    if run.is_completed is not None:
        last = ["10:20 | CTRL : Stack completed."] if run.is_completed else ["10:20 | CTRL : Cut."]
        logs[f"log_{_TIME}"] = ["10:15 | CTRL : Started.", *last]
    for name, lines in logs.items():
        path = root / f"meta/logs/{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths


def _save(path: Path, picture: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        from PIL import Image

        Image.fromarray(picture).save(path)
    else:
        tifffile.imwrite(path, picture, metadata=None)
    return path


# ---------------------------------------------------------------- SerialEM


def write_autodoc(
    path: Path, images: Sequence[tuple[str, Mapping[str, object]]], **told: object
) -> Path:
    """Write an autodoc of SerialEM.

    Parameters
    ----------
    path : Path
        `.idoc`: its images are files by name; else they are numbered sections.
    images : sequence of (str, mapping)
        Name or number of each, and what is told of it.
    **told
        What is told of all.
    """
    kind = "Image" if path.suffix == ".idoc" else "ZValue"
    lines = [f"{key} = {value}" for key, value in told.items()]
    lines += ["", "[T = SerialEM: Digitized on a scope    01-Mar-26  10:15:00 ]", ""]
    for name, words in images:
        lines += [f"[{kind} = {name}]", *(f"{key} = {value}" for key, value in words.items()), ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_serialem_stack(path: Path, stack_zyx: NDArray[Any], **told: object) -> Path:
    """Write an MRC stack without a voxel size, and its `.mdoc` with a section for each slice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mrcfile.new(path) as mrc:
        mrc.set_data(stack_zyx)
        mrc.set_image_stack()
        mrc.voxel_size = 0
    depth, height, width = stack_zyx.shape
    images = [(str(z), {"MinMaxMean": "0 1 0.5", "Magnification": 5000}) for z in range(depth)]
    facts = {"ImageFile": path.name, "ImageSize": f"{width} {height}", "DataMode": 1, **told}
    write_autodoc(path.with_name(f"{path.name}.mdoc"), images, **facts)
    return path


# ---------------------------------------------------------------- others


def write_xlef(root: Path, name: str, lofs: Sequence[str]) -> Path:
    """Write the index of a Leica project: an XLEF, and an XLIF naming the LOF of each image."""
    root.mkdir(parents=True, exist_ok=True)
    references = "".join(f'<Reference File="{one}.xlif" UUID="{i}"/>' for i, one in enumerate(lofs))
    for one in lofs:
        frame = one.replace(" ", "%20")
        (root / f"{one}.xlif").write_text(
            f'<LMSDataContainerHeader Version="2"><Element Name="{one}"><Memory>'
            f'<Frame File="{frame}.lof"/></Memory></Element></LMSDataContainerHeader>',
            encoding="utf-8",
        )
    path = root / f"{name}.xlef"
    path.write_text(
        f'<LMSDataContainerHeader Version="2"><Element Name="{name}"><Children>{references}'
        "</Children></Element></LMSDataContainerHeader>",
        encoding="utf-8",
    )
    return path


def write_bdv_xml(
    path: Path, sizes: Sequence[tuple[float, float, float]], unit: str = "micrometer"
) -> Path:
    """Write BigDataViewer's XML with a view setup for each voxel size."""
    setups = "".join(
        f"<ViewSetup><id>{number}</id><size>6 5 4</size><voxelSize><unit>{unit}</unit>"
        f"<size>{' '.join(str(edge) for edge in size)}</size></voxelSize></ViewSetup>"
        for number, size in enumerate(sizes)
    )
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<SpimData version="0.2"><BasePath '
        'type="relative">.</BasePath><SequenceDescription><ImageLoader format="bdv.hdf5">'
        f'<hdf5 type="relative">{path.stem}.h5</hdf5></ImageLoader><ViewSetups>{setups}'
        "</ViewSetups></SequenceDescription></SpimData>",
        encoding="utf-8",
    )
    return path


def write_hitachi_text(picture: Path, size_xy: tuple[int, int], pixel_nm: float) -> Path:
    """Write the text that Hitachi's programs write beside a picture."""
    path = picture.with_suffix(".txt")
    path.write_text(
        f"[SemImageFile]\r\nInstructName=SU8000\r\nImageName={picture.name}\r\n"
        f"DataSize={size_xy[0]}x{size_xy[1]}\r\nPixelSize={pixel_nm}\r\nMagnification=20000\r\n",
        encoding="utf-16",
    )
    return path
