"""What is to be converted: which slices, of which files, into which layers."""

from dataclasses import dataclass
from typing import Any

from stackwatch.model.geometry import Vec3, VoxelSize
from stackwatch.model.image import PixelFormat, Treatment
from stackwatch.model.voxels import Category, VoxelType

BLACK = -1
"""`PlaneRef.file` of a slice that does not exist and is written as zeros."""


@dataclass(frozen=True, slots=True)
class PlaneRef:
    """Where one slice lies: which file of the stack, and which plane in it."""

    file: int
    t: int = 0
    c: int = 0
    z: int = 0


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One layer to be written.

    Attributes
    ----------
    name : str
        Sanitised; unique in the dataset.
    category : Category
    voxel_type : VoxelType
        After treatment.
    size : Vec3
        Extent in mag-1 voxels.
    size_t : int
        Timepoints; 1 means the layer has no time axis.
    source_name : str
        What people would recognise: the folder, file or channel it comes from.
    color_rgb : tuple of int or None
        The channel's display colour, where the file states one.
    """

    name: str
    category: Category
    voxel_type: VoxelType
    size: Vec3
    size_t: int = 1
    source_name: str = ""
    color_rgb: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class StackPlan:
    """Slices that are decoded together, and the layers they feed.

    Attributes
    ----------
    files : tuple of str
        Relative to the acquisition's root.
    planes_tz : tuple of tuple of PlaneRef
        Indexed [t][z].
    pixels : PixelFormat
        What every slice must be.
    treatment : Treatment
        From pixels to voxels.
    layers : tuple of LayerPlan
        One; or one for each sample of a pixel, all of the same size and type
        (RGB of 16 bit becomes three layers).
    can_read_rows : bool
        Whether rows of a slice can be read without decoding all of it.
    file_extent_tcz : (int, int, int) or None
        Timepoints, channels and slices that every file must hold, so that nothing in a file that
        was not looked at before is passed over; 0 slices where files of different depth continue
        each other.
    scene : int
        Which image of its files it is, where they hold several (`ImageInfo.scenes`).
    """

    files: tuple[str, ...]
    planes_tz: tuple[tuple[PlaneRef, ...], ...]
    pixels: PixelFormat
    treatment: Treatment
    layers: tuple[LayerPlan, ...]
    can_read_rows: bool = False
    file_extent_tcz: tuple[int, int, int] | None = None
    scene: int = 0


@dataclass(frozen=True, slots=True)
class DatasetPlan:
    """One dataset to be written, as `inspect` shows it and `convert` makes it.

    Attributes
    ----------
    layout : str
        Name of the rule that fits.
    evidence : tuple of str
        Why it fits, in sentences.
    stacks : tuple of StackPlan
    voxel_size_nm : VoxelSize
    voxel_size_source : tuple of str
        For x, y and z: where the number comes from, e.g. `ImageJ spacing`, `settings`.
    warnings : tuple of str
        What a person should look at.
    metadata : dict
        Provenance worth keeping: channel names, instrument remarks. JSON values.
    scene_name : str
        What tells it from the other datasets of the same acquisition, fit for a dataset's name;
        empty where the files hold one image.
    """

    layout: str
    evidence: tuple[str, ...]
    stacks: tuple[StackPlan, ...]
    voxel_size_nm: VoxelSize
    voxel_size_source: tuple[str, str, str]
    warnings: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    scene_name: str = ""

    @property
    def layers(self) -> tuple[LayerPlan, ...]:
        """Every layer of the dataset, in the order they are written."""
        return tuple(layer for stack in self.stacks for layer in stack.layers)
