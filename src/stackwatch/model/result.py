"""What came of a conversion: the values behind `--json` and the Python functions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import BoundingBox, Mag, VoxelSize
from stackwatch.model.voxels import Category, VoxelType


@dataclass(frozen=True, slots=True)
class LayerResult:
    """One layer of a published dataset."""

    name: str
    category: Category
    voxel_type: VoxelType
    bounding_box: BoundingBox
    mags: tuple[Mag, ...]
    size_t: int = 1

    def as_record(self) -> dict[str, Any]:
        """Return the layer as JSON values (docs/json.md)."""
        box = self.bounding_box
        return {
            "name": self.name,
            "category": str(self.category),
            "voxel_type": str(self.voxel_type),
            "bounding_box": {"top_left": list(box.top_left), "size": list(box.size)},
            "timepoints": self.size_t,
            "mags": [str(mag) for mag in self.mags],
        }


@dataclass(frozen=True, slots=True)
class DatasetResult:
    """One published dataset."""

    name: str
    path: Path
    layers: tuple[LayerResult, ...]
    voxel_size_nm: VoxelSize
    voxel_size_source: tuple[str, str, str]
    bytes_written: int
    url: str = ""

    @property
    def place(self) -> str:
        """Where it is, as people write it: a path, or an address in a bucket."""
        return self.url or show_path(self.path)

    def as_record(self) -> dict[str, Any]:
        """Return the dataset as JSON values (docs/json.md)."""
        return {
            "name": self.name,
            "path": self.url or str(self.path),
            "layers": [layer.as_record() for layer in self.layers],
            "voxel_size_nm": list(self.voxel_size_nm),
            "voxel_size_source": list(self.voxel_size_source),
            "bytes_written": self.bytes_written,
        }


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """A finished conversion.

    Attributes
    ----------
    datasets : tuple of DatasetResult
    layout : str
    content_digest : str
        Digest over the digests of all files read, in the order of their paths.
    bytes_read, bytes_written : int
    seconds : float
    peak_mib : float
        Peak memory of this process, mebibytes.
    verified_chunks : int
        Chunks compared with the source.
    warnings : tuple of str
    """

    datasets: tuple[DatasetResult, ...]
    layout: str
    content_digest: str
    bytes_read: int
    bytes_written: int
    seconds: float
    peak_mib: float
    verified_chunks: int = 0
    warnings: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Return the result as JSON values (docs/json.md)."""
        return {
            "status": "succeeded",
            "layout": self.layout,
            "datasets": [dataset.as_record() for dataset in self.datasets],
            "content_digest": self.content_digest,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "seconds": round(self.seconds, 3),
            "peak_mib": round(self.peak_mib, 1),
            "verified_chunks": self.verified_chunks,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a conversion is.

    Attributes
    ----------
    phase : str
        `reading` (planning), `converting`, `verifying` or `publishing`.
    done, total : int
        Slices read so far and in all (each pass over a slice counts once).
    bytes_read, bytes_written : int
    layer : str
        The layer being written.
    steps : int
        Files and folders flushed; it grows where no slice moves.
    ranges_done, ranges_total : int
        Parts that other processes carry out; 0 of 0 where there are none.
    ranges_taken : int
        How many of them an earlier attempt had done.
    """

    phase: str
    done: int = 0
    total: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    layer: str = ""
    steps: int = 0
    ranges_done: int = 0
    ranges_total: int = 0
    ranges_taken: int = 0
