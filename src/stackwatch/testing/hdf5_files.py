"""Write Imaris files, from the description of the format, with h5py."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


def characters(text: str) -> NDArray[np.bytes_]:
    """Return a text as Imaris keeps it: an array of single characters."""
    return np.array([character.encode() for character in text], "S1")


def write_ims(path: Path, volumes: NDArray[Any], chunk: tuple[int, int, int] = (8, 16, 16)) -> Path:
    """Write a file as Imaris does: padded to whole chunks, with a coarser level.

    Parameters
    ----------
    path : Path
    volumes : array, shape (t, c, z, y, x)
        Its voxels are 250 x 500 x 750 nm large.
    chunk : (int, int, int)
        Edges along z, y, x.
    """
    times, channels, *shape = volumes.shape
    padding = [(0, -size % edge) for size, edge in zip(shape, chunk, strict=True)]
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["ImarisDataSet"] = characters("ImarisDataSet")
        image = file.create_group("DataSetInfo/Image").attrs
        for axis, (letter, size) in enumerate(zip("XYZ", reversed(shape), strict=True)):
            image[letter] = characters(str(size))
            image[f"ExtMin{axis}"] = characters("-1.5")
            image[f"ExtMax{axis}"] = characters(str(-1.5 + size * 0.25 * (axis + 1)))
        image["Unit"] = characters("um")
        for c in range(channels):
            attrs = file.create_group(f"DataSetInfo/Channel {c}").attrs
            attrs["Name"] = characters(f"stain {c}")
            attrs["Color"] = characters("1.000 0.500 0.000")
        for t, c in np.ndindex(times, channels):
            for level, data in ((0, volumes[t, c]), (1, volumes[t, c, ::2, ::2, ::2])):
                group = file.create_group(
                    f"DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}"
                )
                for letter, size in zip("ZYX", data.shape, strict=True):
                    group.attrs[f"ImageSize{letter}"] = characters(str(size))
                stored = np.pad(data, padding, constant_values=77) if not level else data
                edges = tuple(map(min, chunk, stored.shape))
                group.create_dataset("Data", data=stored, chunks=edges, compression="gzip")
    return path
