"""Describe an acquisition of any layout and write it to disk, with voxels that name their place.

`SyntheticAcquisition` puts layers, side files and damage together. The writers and patterns it is
made of are offered here too. Used by the tests, the demo and the benchmarks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from stackwatch.testing.patterns import (
    coordinate_slice,
    coordinate_stack,
    coordinate_tczyx,
    iter_em_slices,
    iter_label_slices,
    iter_light_sheet_slices,
)
from stackwatch.testing.writers import (
    Damage,
    damage_file,
    ome_xml,
    write_image,
    write_imagej,
    write_multipage,
    write_ome_set,
    write_ome_tiff,
    write_sequence,
)

__all__ = [
    "Content",
    "Damage",
    "LayerKind",
    "SyntheticAcquisition",
    "SyntheticLayer",
    "coordinate_slice",
    "coordinate_stack",
    "coordinate_tczyx",
    "damage_file",
    "iter_em_slices",
    "iter_label_slices",
    "iter_light_sheet_slices",
    "ome_xml",
    "write_image",
    "write_imagej",
    "write_multipage",
    "write_ome_set",
    "write_ome_tiff",
    "write_sequence",
]

Content = Literal["coordinates", "em", "labels", "light-sheet"]
LayerKind = Literal["sequence", "multipage", "ome-tiff", "imagej"]


@dataclass(frozen=True, slots=True)
class SyntheticLayer:
    """One stack to be written.

    Attributes
    ----------
    folder : str
        Relative to the acquisition; empty for its root.
    shape_zyx : (int, int, int)
    dtype : str
    kind : LayerKind
        `sequence` writes one file per slice, the others one file.
    pattern : str
        File name; `{z}` is the number in a sequence, its suffix chooses the format.
    numbers : tuple of numbers or None
        Numbers in the names, by default 0, 1, 2 …
    missing : tuple of int
        Positions in z that are not written.
    samples : int
        Values per pixel (3 is RGB); sequences and multipage only.
    channels, timepoints : int
        For `ome-tiff` and `imagej`.
    voxel_size_nm : (x, y, z) or None
        For `ome-tiff` and `imagej`.
    compression : str or None
        As tifffile names it: `zlib`, `lzw`, `zstd`, `jpeg` …
    content : Content
        What the voxels hold; `em` and `light-sheet` fix the type.
    seed : int
    """

    folder: str = ""
    shape_zyx: tuple[int, int, int] = (4, 40, 60)
    dtype: str = "uint8"
    kind: LayerKind = "sequence"
    pattern: str = "slice_{z:04d}.tif"
    numbers: tuple[float | str, ...] | None = None
    missing: tuple[int, ...] = ()
    samples: int = 1
    channels: int = 1
    timepoints: int = 1
    voxel_size_nm: tuple[float, float, float] | None = None
    compression: str | None = None
    content: Content = "coordinates"
    seed: int = 0

    def iter_slices(self) -> Iterable[NDArray[Any]]:
        """Yield the slices of channel 0 and timepoint 0, in z order."""
        match self.content:
            case "em":
                return iter_em_slices(self.shape_zyx, self.seed)
            case "light-sheet":
                return iter_light_sheet_slices(self.shape_zyx, self.seed)
            case "labels":
                return iter_label_slices(self.shape_zyx, self.seed, self.dtype)
            case "coordinates":
                size_z, *shape_yx = self.shape_zyx
                return (
                    coordinate_slice(
                        (shape_yx[0], shape_yx[1]), z, self.dtype, samples=self.samples
                    )
                    for z in range(size_z)
                )

    def write(self, root: Path) -> tuple[Path, ...]:
        """Write the layer under `root` and return its files."""
        folder = root / self.folder
        options: dict[str, Any] = {"compression": self.compression} if self.compression else {}
        if self.kind == "sequence":
            return write_sequence(
                folder,
                self.iter_slices(),
                self.pattern,
                numbers=self.numbers,
                missing=self.missing,
                **options,
            )
        path = folder / self.pattern
        if self.kind == "multipage":
            return (write_multipage(path, self.iter_slices(), **options),)
        stack = coordinate_tczyx(self.timepoints, self.channels, self.shape_zyx, self.dtype)
        if self.kind == "ome-tiff":
            return (write_ome_tiff(path, stack, voxel_size_nm=self.voxel_size_nm, **options),)
        return (write_imagej(path, stack.swapaxes(1, 2), voxel_size_nm=self.voxel_size_nm),)


@dataclass(frozen=True, slots=True)
class SyntheticAcquisition:
    """A whole acquisition: layers, side files, and what happened to some of them.

    Attributes
    ----------
    layers : tuple of SyntheticLayer
    extra : mapping of relative path to bytes
        Notes, sidecars, junk.
    damaged : mapping of relative path to Damage
        Applied last.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = SyntheticAcquisition(
    ...         (SyntheticLayer("color"), SyntheticLayer("labels", dtype="uint32")),
    ...         extra={"notes.txt": b"hello"},
    ...     ).write(Path(folder))
    ...     len(files)
    9
    """

    layers: tuple[SyntheticLayer, ...] = (SyntheticLayer(),)
    extra: Mapping[str, bytes] = field(default_factory=dict)
    damaged: Mapping[str, Damage] = field(default_factory=dict)

    def write(self, root: Path) -> tuple[Path, ...]:
        """Write everything under `root`, which is made if needed; return the files written."""
        root.mkdir(parents=True, exist_ok=True)
        paths = [path for layer in self.layers for path in layer.write(root)]
        for name, content in self.extra.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            paths.append(path)
        for name, damage in self.damaged.items():
            damage_file(root / name, damage)
        return tuple(paths)
