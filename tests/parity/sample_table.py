"""Every real file: who judges it, how many images it holds, or why it is refused.

The files themselves stand in the folder that STACKWATCH_SAMPLES names, with their origins; a file
there that is not in this table fails a test.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from tests.parity import judges
from tests.parity.judges import Edges, Judgement

UNKNOWN: Final[Edges] = [None, None, None]


@dataclass(frozen=True)
class Recorded:
    """What a library reads that cannot stand in the tests' environment; `make interop` asks it.

    Attributes
    ----------
    shape_zyx : tuple of int
    dtype : str
    digest : str
        xxh3_64 of the voxels, native byte order.
    edges : list
        In nm.
    """

    shape_zyx: tuple[int, ...]
    dtype: str
    digest: str
    edges: Edges


@dataclass(frozen=True)
class Sample:
    """One real file.

    Attributes
    ----------
    judge : callable or None
        Another library.
    scenes : tuple of str
        Names of its images; empty for one without a name.
    recorded : Recorded or None
        In the place of a judge: rosettasciio 0.15.0, which is GPL-3.
    refused : str
        What the refusal says; there are no voxels to compare.
    not_taken : dict of int to str
        Edges (0 is x) that the judge has and that are unknown to us, and why.
    """

    judge: Callable[[Path, int], Judgement] | None = None
    scenes: tuple[str, ...] = ()
    recorded: Recorded | None = None
    refused: str = ""
    not_taken: dict[int, str] = field(default_factory=dict)

    @property
    def images(self) -> range:
        """The numbers of its images."""
        return range(0 if self.refused else len(self.scenes) or 1)


def dm(shape: tuple[int, ...], dtype: str, digest: str, edges: Edges = UNKNOWN) -> Sample:
    """Return a DM file as rosettasciio reads it."""
    return Sample(recorded=Recorded(shape, dtype, digest, edges))


SAMPLES: Final = {
    "czi/bsd-aicsimageio/s_1_t_1_c_1_z_1.czi": Sample(judges.czi),
    "czi/ccby-neubias/xyz__multiple_images.czi": Sample(judges.czi, ("", "")),
    "czi/gpl-aicspylibczi/RGB-multichannel.czi": Sample(judges.czi, ("ScanRegion0",)),
    "czi/gpl-aicspylibczi/tiles_z.czi": Sample(judges.czi),
    "czi/gpl-czitools/CellDivision_T3_Z5_CH2_X240_Y170_comp1.czi": Sample(judges.czi, ("",)),
    "czi/gpl-czitools/LLS7_small.czi": Sample(judges.czi),
    "czi/gpl-czitools/S3_1Pos_2Mosaic_T1_Z1_CH1.czi": Sample(judges.czi, ("TR1", "P1", "TR2")),
    "dm/apache-nion/ref_F_0_1.dm3": Sample(refused="a spectrum"),
    "dm/apache-nion/ref_F_0_1.dm4": Sample(refused="a spectrum"),
    "dm/apache-nion/ref_F_1_1.dm3": dm((2, 1, 3), "float32", "8d2e87ba372c8415"),
    "dm/apache-nion/ref_F_1_1.dm4": dm((2, 1, 3), "float32", "8d2e87ba372c8415"),
    "dm/apache-nion/ref_F_1_2.dm3": dm((4, 3, 2), "float32", "fe4a6cc5e42a6236"),
    "dm/apache-nion/ref_F_1_2.dm4": dm((4, 3, 2), "float32", "fe4a6cc5e42a6236"),
    "dm/apache-nion/ref_F_2_1.dm3": dm((5, 3, 4), "float32", "91e9ec15530d41b8"),
    "dm/apache-nion/ref_F_2_1.dm4": dm((5, 3, 4), "float32", "91e9ec15530d41b8"),
    "dm/gpl-ncem/dmTest_3D_int16_64,65,66.dm3":
        dm((66, 65, 64), "int16", "25d0600dd762d179", [0.002, 3.0, 4000.0]),
    "dm/gpl-ncem/dmTest_3D_int16_64,65,66.dm4":
        dm((66, 65, 64), "int16", "25d0600dd762d179", [0.002, 3.0, 4000.0]),
    "dm/gpl-ncem/dmTest_float32_nonSquare_diffPixelSize.dm3":
        dm((1, 64, 128), "float32", "6b252b6b48a933ee", [1.0, 0.2, None]),
    "dm/gpl-rsciio/2D_test-1.dm4": dm((1, 2, 2), "int16", "d9aeb18a716b3e1b"),
    "dm/gpl-rsciio/2D_test-23.dm3": dm((1, 2, 2, 3), "uint8", "425b7260a4b12ed9"),
    "dm/gpl-rsciio/2D_test-23.dm4": dm((1, 2, 2, 3), "uint8", "425b7260a4b12ed9"),
    "dm/gpl-rsciio/2D_test-7.dm3": dm((1, 2, 2), "int32", "6fc1ebd4f4d6ea31"),
    "dm/gpl-rsciio/3D_test-1.dm4": dm((2, 2, 2), "int16", "bf0f950340224e26"),
    "dm/gpl-rsciio/test_STEM_image.dm3":
        dm((1, 68, 68), "uint32", "29e16364c13c54d2", [0.24853802, 0.24853802, None]),
    "dm/gpl-rsciio/test_fft_packed_complex8.dm4": Sample(refused="a packed complex transform"),
    "dm/gpl-rsciio/test_stackbuilder_imagestack.dm3":
        dm((3, 2, 16), "uint32", "95bed5a3ba989f02", [59.982903, 59.982903, None]),
    "ims/apache-imariswriter/Minimal_IMS_File.ims": Sample(judges.imaris),
    "jpeg/ccby-neubias/xy_rgb.jpg": Sample(judges.jpeg),
    "lif/gpl-readlif/xz-example.lif": Sample(judges.lif, ("xzt", "xzy", "xz")),
    "mrc/bsd-mrcfile/EMD-3001.map": Sample(judges.mrc),
    "mrc/bsd-mrcfile/EMD-3197.map": Sample(judges.mrc),
    "nd2/bsd-pims/cluster.nd2": Sample(judges.nd2),
    "nifti/mit-nibabel/anatomical.nii": Sample(judges.nifti),
    "nifti/mit-nibabel/example4d.nii.gz": Sample(judges.nifti),
    "nifti/mit-nibabel/example_nifti2.nii.gz": Sample(judges.nifti),
    "oib/bsd-oiffile/test.oib": Sample(
        judges.oib, not_taken={2: "the step of a stack that was not taken: z has no slices"}
    ),
    "ometiff/bsd-aicsimageio/s_1_t_1_c_1_z_1.ome.tiff": Sample(judges.tiff),
    "ometiff/ccby-ome-via-wklibs/4D-series.ome.tif": Sample(judges.tiff),
    "ometiff/ccby-ome-via-wklibs/single-channel.ome.tiff": Sample(judges.tiff),
    "tiff/bsd-skimage/chessboard_GRAY_U16B.tif": Sample(judges.tiff),
    "tiff/bsd-skimage/multipage.tif": Sample(judges.tiff),
    "tiff/ccby-neubias-imagej/xyz_8bit__mitotic_plate_calibrated.tif": Sample(judges.tiff),
    "tiff/ccby-neubias-imagej/xyzc_16bit__spots.tif": Sample(judges.tiff),
}  # fmt: skip
"""By their path below the folder of samples."""

IMAGES: Final = tuple((name, scene) for name, sample in SAMPLES.items() for scene in sample.images)


def digest_of(voxels: np.ndarray) -> str:
    """Return the digest of voxels as `Recorded` has it."""
    import xxhash

    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(voxels).tobytes())
