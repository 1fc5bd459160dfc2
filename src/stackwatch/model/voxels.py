"""Voxel types: numpy dtype and channels, and what WEBKNOSSOS calls them.

Source: element classes and categories in `docs/formats.md`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np


class Category(StrEnum):
    """What a layer holds."""

    COLOR = "color"
    SEGMENTATION = "segmentation"


COLOR_DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32")
SEGMENTATION_DTYPES = (
    "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class VoxelType:
    """A numpy dtype (native byte order, by name) and 1 channel, or 3 for RGB."""

    dtype_name: str
    channels: int = 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the numpy dtype, native byte order."""
        return np.dtype(self.dtype_name)

    @property
    def bytes_per_voxel(self) -> int:
        """Return the bytes of one voxel, all channels together."""
        return int(self.dtype.itemsize) * self.channels

    @property
    def is_integer(self) -> bool:
        """Tell whether the values are integers."""
        return self.dtype.kind in "iu"

    @property
    def element_class(self) -> str:
        """Return WEBKNOSSOS's name: `uint24` for RGB, `float` for float32."""
        if self.channels == 3:
            return "uint24"
        return {"float32": "float", "float64": "double"}.get(self.dtype_name, self.dtype_name)

    def __str__(self) -> str:
        """Return the word shown to people: the dtype, or `uint24` for RGB."""
        return "uint24" if self.channels == 3 else self.dtype_name

    def fits(self, category: Category) -> bool:
        """Tell whether WEBKNOSSOS takes this type in a layer of `category`."""
        if self.channels == 3:
            return category is Category.COLOR and self.dtype_name == "uint8"
        if self.channels != 1:
            return False
        allowed = COLOR_DTYPES if category is Category.COLOR else SEGMENTATION_DTYPES
        return self.dtype_name in allowed
