"""What a conversion may be told: small frozen records, one for each floor that reads them."""

from dataclasses import dataclass, field
from typing import Final, Literal

from stackwatch.model.geometry import PartialVoxelSize, Vec3
from stackwatch.model.raw import RawFacts
from stackwatch.model.voxels import Category

Interpolation = Literal["default", "median", "mean", "mode", "nearest", "min", "max"]
Codec = Literal[
    "auto", "none", "zstd", "zstd-1", "zstd-3", "zstd-5", "blosc", "gzip",
    "lz4", "lz4hc", "lz4hc-9",
]  # fmt: skip
"""What chunks are compressed with; the last three are for WKW, which knows nothing else."""
ZARR3_CODECS: Final = ("auto", "none", "zstd", "zstd-1", "zstd-3", "zstd-5", "blosc", "gzip")
WKW_CODECS: Final = ("auto", "none", "lz4", "lz4hc", "lz4hc-9")
EVERY_SCENE: Final = "datasets"
"""The `scenes` setting that makes a dataset of each image of a file."""
VerifyMode = Literal["sample", "full", "off"]
StoreFormat = Literal["zarr3", "wkw"]


@dataclass(frozen=True, slots=True)
class LayerRule:
    """What one layer is called and what it holds: `match` is a glob on the layer's own name."""

    match: str
    name: str | None = None
    category: Category | None = None


@dataclass(frozen=True, slots=True)
class LayoutOptions:
    """How a folder may be read.

    Attributes
    ----------
    layout : str
        Name of a rule to use without asking the others, or `auto`.
    missing_slices : "park" | "black"
    layer_name : str or None
        Name of the only layer.
    category : Category or None
        Category of every layer that no rule names.
    layer_rules : tuple of LayerRule
        First match wins.
    ignore : tuple of str
        Glob patterns of paths that do not belong to the acquisition, beside the usual junk.
    marker : str
        Pattern of the names of markers, which are no content; empty: there are none.
    alpha : "park" | "drop"
        What to do with an alpha channel that is not opaque everywhere.
    cast : str or None
        numpy dtype for voxel types WEBKNOSSOS does not take.
    rescale : (float, float) or None
        Values that become the smallest and the largest of `cast`, or of uint8: color layers only.
    raw : RawFacts
        What is said of raw files.
    bioformats_jar : str
        Path of the jar that reads what no reader here does; empty: there is none.
    zip_max_ratio, zip_max_gib : float
        Limits for archives.
    scenes : str
        Of a file with several images: `datasets` makes a dataset of each; otherwise the name or
        the number, from 1, of the one to convert.
    max_gib : float
        Largest declared size of one stack; beyond it the header is taken for damage.
    """

    layout: str = "auto"
    missing_slices: Literal["park", "black"] = "park"
    layer_name: str | None = None
    category: Category | None = None
    layer_rules: tuple[LayerRule, ...] = ()
    ignore: tuple[str, ...] = ()
    marker: str = ""
    alpha: Literal["park", "drop"] = "park"
    cast: str | None = None
    rescale: tuple[float, float] | None = None
    raw: RawFacts = field(default_factory=RawFacts)
    bioformats_jar: str = ""
    scenes: str = EVERY_SCENE
    zip_max_ratio: float = 200.0
    zip_max_gib: float = 1024.0
    max_gib: float = 262144.0


@dataclass(frozen=True, slots=True)
class VoxelSizeOptions:
    """What settings say of the voxel size.

    Attributes
    ----------
    voxel_size_nm : PartialVoxelSize
        From the settings or the command line.
    prefer : "files-first" | "settings"
    is_flag : bool
        Whether it came from the command line, which wins over everything.
    sidecar_nm : PartialVoxelSize
        From the acquisition's sidecar: axis by axis in the place of the settings.
    sidecar : str
        Name of that sidecar.
    """

    voxel_size_nm: PartialVoxelSize = PartialVoxelSize()
    prefer: Literal["files-first", "settings"] = "files-first"
    is_flag: bool = False
    sidecar_nm: PartialVoxelSize = PartialVoxelSize()
    sidecar: str = ""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a dataset is written.

    Attributes
    ----------
    format : StoreFormat
    chunk_vx : int
        Edge of a chunk in voxels, a power of two.
    shard_vx : Vec3 or None
        Largest shard in voxels; None takes 4096, 4096, one slab.
    codec : Codec
        `auto` chooses by voxel type and category.
    bucket : str
        Where datasets go, if into object storage: `s3://bucket/prefix`, each below its own name.
        The target then keeps their metadata only.
    """

    format: StoreFormat = "zarr3"
    chunk_vx: int = 32
    shard_vx: Vec3 | None = None
    codec: Codec = "auto"
    bucket: str = ""

    @property
    def mistake(self) -> str:
        """Which option contradicts the others, its name first, and what it must be; else empty."""
        shard = self.shard_vx
        if shard is not None and any(edge % self.chunk_vx for edge in shard):
            return f"shard must be a multiple of the chunk, {self.chunk_vx} (is {list(shard)})"
        is_wkw = self.format == "wkw"
        if is_wkw and self.bucket:
            return 'format must be zarr3 where the target is a bucket (is "wkw")'
        if is_wkw and shard is not None and len({*shard}) > 1:
            return f"shard must have three equal edges, for WKW files are cubes (is {list(shard)})"
        allowed = WKW_CODECS if is_wkw else ZARR3_CODECS
        if self.codec not in allowed:
            names = ", ".join(allowed)
            return f"codec must be one of {names} where format is {self.format} (is {self.codec})"
        return ""


@dataclass(frozen=True, slots=True)
class MagOptions:
    """Which mags, and how they are made."""

    interpolation: Interpolation = "default"
    max_mag: int | None = None
    downsample: bool = True


ExecutorName = Literal["local", "processes", "dask"]
"""Who does the work of a conversion: threads of its own process, several processes, a cluster."""


SCHEDULER_ADDRESS: Final = r"(tcp|tls|ucx|ws|wss)://\S+:\d+"


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Where the workers of a cluster are, and what each of them has.

    Attributes
    ----------
    scheduler : str
        Address of a Dask scheduler that is there already; empty: one is started.
    kind : "" | "slurm"
        Who starts workers.
    workers : int
        How many workers are started; of a scheduler that has more, all are used.
    threads : int
        Of each worker.
    memory_gib : float
        Of each worker.
    partition : str
        Slurm's partition; empty: its default.
    wall_time : str
        Longest life of a worker as Slurm writes it, `04:00:00`; others do its ranges again.
    lost_after_s : float
        How long a scheduler may be away before the conversion gives up.
    """

    scheduler: str = ""
    kind: Literal["", "slurm"] = ""
    workers: int = 2
    threads: int = 1
    memory_gib: float = 4.0
    partition: str = ""
    wall_time: str = "04:00:00"
    lost_after_s: float = 600.0


@dataclass(frozen=True, slots=True)
class ResourceOptions:
    """What a conversion may use: None takes the machine's default.

    Attributes
    ----------
    threads : int or None
    memory_gib : float or None
    reserve_gib : float
        What stays free on the target's disk; of a small disk a twentieth.
    executor : ExecutorName
    processes : int or None
        With `processes`: how many; None takes one for each two processors.
    cluster : ClusterOptions
        With `dask`.
    """

    threads: int | None = None
    memory_gib: float | None = None
    reserve_gib: float = 0.0
    executor: ExecutorName = "local"
    processes: int | None = None
    cluster: ClusterOptions = field(default_factory=ClusterOptions)


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """Everything one conversion is told.

    Attributes
    ----------
    dataset_name : str or None
        Name in the dataset's properties; None takes the sidecar's, else the target directory's.
    are_flags : bool
        Whether they come from the command line or a Python call, which win over a sidecar; those
        of a drop folder give way to it.
    """

    dataset_name: str | None = None
    layout: LayoutOptions = field(default_factory=LayoutOptions)
    voxel_size: VoxelSizeOptions = field(default_factory=VoxelSizeOptions)
    store: StoreOptions = field(default_factory=StoreOptions)
    mags: MagOptions = field(default_factory=MagOptions)
    resources: ResourceOptions = field(default_factory=ResourceOptions)
    verify: VerifyMode = "sample"
    are_flags: bool = False
