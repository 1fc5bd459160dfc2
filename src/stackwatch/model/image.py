"""What a reader found in one file, and how its pixels become voxels."""

from dataclasses import dataclass
from typing import Literal

from stackwatch.model.geometry import PartialVoxelSize

PixelKind = Literal["grey", "rgb", "palette", "cmyk", "bilevel"]


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the pixels of one plane lie in a file, before any treatment.

    Two slices belong to one stack only if their formats are equal.

    Attributes
    ----------
    dtype_name : str
        numpy dtype, native byte order; `bool` for 1-bit images.
    kind : PixelKind
        Meaning of the samples.
    samples : int
        Values per pixel, alpha included: 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha or CMYK.
    has_alpha : bool
        Whether the last sample is alpha.
    is_inverted : bool
        Whether the smallest value is white (MINISWHITE).
    orientation : int
        EXIF orientation, 1 to 8; 1 is upright.
    has_grey_palette : bool
        Whether every colour of a `palette` image is a grey: such indices stand for grey values.
    value_scale : (float, float)
        Slope and intercept that the file gives its values a meaning with. They are not applied.
    """

    dtype_name: str
    kind: PixelKind = "grey"
    samples: int = 1
    has_alpha: bool = False
    is_inverted: bool = False
    orientation: int = 1
    has_grey_palette: bool = False
    value_scale: tuple[float, float] = (1.0, 0.0)

    @property
    def scale_words(self) -> str:
        """For people: what the values stand for; empty where they stand for themselves."""
        slope, intercept = self.value_scale
        if self.value_scale == (1.0, 0.0):
            return ""
        return f"of values x {slope:g} {'-' if intercept < 0 else '+'} {abs(intercept):g}"


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as the file describes it: an empty name and no colour where it says nothing."""

    name: str = ""
    color_rgb: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One file's image, as far as its headers tell.

    Attributes
    ----------
    reader : str
        Name of the reader that understood it, e.g. `tiff`.
    size_t, size_c, size_z, size_y, size_x : int
        Extent of the image; y and x are those of the *upright* picture (orientation applied).
        `size_c` counts channels that are planes of their own, not samples of a pixel.
    pixels : PixelFormat
    voxel_size_nm : PartialVoxelSize
        As far as the file says.
    voxel_size_source : str
        Where in the file it stands, e.g. `OME-XML PhysicalSize`; empty if nowhere.
    channels : tuple of Channel
        One per `size_c`, or empty.
    can_read_rows : bool
        Whether some rows of a plane can be read without decoding the whole plane.
    is_time_declared, is_z_declared : bool
        Whether the file names the axis itself (OME, ImageJ), or it was only counted in pages.
    set_files : tuple of str
        Base names of all files of a multi-file OME-TIFF set, in order, this one included.
    set_uuid : str
        The set's identity; empty where there is no set.
    set_planes_tcz : tuple of (int, int, int)
        For a file of a set: t, c, z of each plane that lies in *this* file, counted in the whole
        set. The extents above are then those of the whole set, and `read_plane` takes these
        indices. Empty where there is no set.
    notes : tuple of str
        Remarks for people: what was left out (pyramid levels, thumbnails), what is odd.
    scenes : tuple of str
        Of a file with several images (scenes, series, positions): the names of all that are worth
        a dataset, in the file's order; an empty name where there is none. Previews, labels and
        coarser copies do not count. Empty, or one entry, where there is one image.
    scene : int
        Index in `scenes` of the image that is described here.
    is_one_of_scenes : bool
        Whether one of `scenes` has to be named: they are alternatives (the datasets of an HDF5
        file), not parts of an acquisition.
    category : str
        `color` or `segmentation` where the file itself says what it holds; empty where not.
    absent_tcz : tuple of (int, int, int)
        t, c, z of planes that the file declares and does not hold; `read_plane` refuses them.
    partial_tcz : tuple of (int, int, int)
        t, c, z of planes of which tiles are absent that other planes have.
    channel_pixels : tuple of PixelFormat
        One per channel where channels differ in their pixels (`pixels` is then the first); else
        empty.
    """

    reader: str
    size_y: int
    size_x: int
    pixels: PixelFormat
    size_z: int = 1
    size_c: int = 1
    size_t: int = 1
    voxel_size_nm: PartialVoxelSize = PartialVoxelSize()
    voxel_size_source: str = ""
    channels: tuple[Channel, ...] = ()
    can_read_rows: bool = False
    is_time_declared: bool = False
    is_z_declared: bool = False
    set_files: tuple[str, ...] = ()
    set_uuid: str = ""
    set_planes_tcz: tuple[tuple[int, int, int], ...] = ()
    notes: tuple[str, ...] = ()
    scenes: tuple[str, ...] = ()
    scene: int = 0
    is_one_of_scenes: bool = False
    category: str = ""
    absent_tcz: tuple[tuple[int, int, int], ...] = ()
    partial_tcz: tuple[tuple[int, int, int], ...] = ()
    channel_pixels: tuple[PixelFormat, ...] = ()

    def pixels_of(self, c: int) -> PixelFormat:
        """Return what the pixels of one channel are."""
        return self.channel_pixels[c] if self.channel_pixels else self.pixels


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done to the pixels of a plane so that they become voxels. Steps in this order.

    Attributes
    ----------
    orientation : int
        EXIF orientation to undo.
    alpha : "none" | "opaque" | "drop"
        `opaque`: drop the last sample after making sure it is at its maximum everywhere
        (CorruptSliceError's sibling MixedSlicesError otherwise); `drop`: drop it unseen.
    palette : "none" | "indices" | "grey" | "rgb"
        How palette indices become voxels.
    invert : bool
        Whether values are mirrored in the range of their type.
    bilevel_high : int
        The value of a set bit in a 1-bit image: 255 (color) or 1 (segmentation).
    cast : str
        numpy dtype to cast to in the end; empty for none. Values that do not survive the cast
        exactly (out of range, fractions) are an error of the slice.
    rescale : (float, float) or None
        Values that become the smallest and the largest of `cast`, which is then not empty; those
        between follow a line, those beyond are clipped.
    """

    orientation: int = 1
    alpha: Literal["none", "opaque", "drop"] = "none"
    palette: Literal["none", "indices", "grey", "rgb"] = "none"
    invert: bool = False
    bilevel_high: int = 255
    cast: str = ""
    rescale: tuple[float, float] | None = None
