"""From the pixels of a file to voxels: which treatment is right, and its application."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from stackwatch.model.image import PixelFormat, Treatment
from stackwatch.model.options import LayoutOptions
from stackwatch.model.voxels import Category, VoxelType


class TreatmentPlan(NamedTuple):
    """What becomes of the pixels of a stack.

    Attributes
    ----------
    treatment : Treatment
    voxel_type : VoxelType
        Of each layer.
    is_split : bool
        Whether each of the three samples of a pixel becomes a layer of its own.
    """

    treatment: Treatment
    voxel_type: VoxelType
    is_split: bool


def plan_treatment(
    pixels: PixelFormat,
    palette_rgb: NDArray[Any] | None,
    category: Category,
    options: LayoutOptions,
) -> TreatmentPlan:
    """Choose how the pixels of a stack become voxels of a layer of `category`."""
    return TreatmentPlan(
        Treatment(orientation=pixels.orientation),
        VoxelType(pixels.dtype_name, 3 if pixels.samples == 3 else 1),
        is_split=False,
    )


def apply_treatment(
    plane: NDArray[Any],
    treatment: Treatment,
    palette_rgb: NDArray[Any] | None,
    outs: Sequence[NDArray[Any]],
    name: str,
) -> None:
    """Write the treated pixels of a plane into `outs`."""
    outs[0][...] = plane
