"""What a person says about one conversion: the same names on the command line and in Python."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, get_args

from stackwatch.errors import UsageError
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import PartialVoxelSize, Vec3
from stackwatch.model.options import (
    EVERY_SCENE,
    SCHEDULER_ADDRESS,
    ClusterOptions,
    Codec,
    ConvertOptions,
    ExecutorName,
    Interpolation,
    LayoutOptions,
    MagOptions,
    ResourceOptions,
    StoreFormat,
    StoreOptions,
    VerifyMode,
    VoxelSizeOptions,
)
from stackwatch.model.raw import RAW_DTYPES, RAW_ORDERS, RawFacts
from stackwatch.model.voxels import COLOR_DTYPES, SEGMENTATION_DTYPES, Category

_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "category": tuple(Category),
    "format": get_args(StoreFormat),
    "interpolation": get_args(Interpolation),
    "codec": get_args(Codec),
    "executor": get_args(ExecutorName),
    "verify": get_args(VerifyMode),
    "missing_slices": ("park", "black"),
    "alpha": ("park", "drop"),
    "cast": tuple(sorted({*COLOR_DTYPES, *SEGMENTATION_DTYPES})),
    "raw_dtype": RAW_DTYPES,
    "raw_byte_order": RAW_ORDERS,
}
_SMALLEST_CHUNK, _LARGEST_CHUNK = 8, 512
_WORKER_GIB = ClusterOptions().memory_gib


class FlagKeywords(TypedDict, total=False):
    """The keywords of `stackwatch.convert` and `stackwatch.inspect`; `ConvertFlags` tells more."""

    voxel_size_nm: Sequence[float | None] | None
    name: str | None
    layer_name: str | None
    category: Literal["color", "segmentation"] | None
    format: StoreFormat
    interpolation: Interpolation
    max_mag: int | None
    codec: Codec
    downsample: bool
    chunk: int
    shard: int | Sequence[int] | None
    threads: int | None
    memory_gib: float | None
    executor: ExecutorName
    processes: int | None
    scheduler: str | None
    verify: VerifyMode
    layout: str
    scene: str | None
    missing_slices: Literal["park", "black"]
    alpha: Literal["park", "drop"]
    cast: str | None
    rescale: Sequence[float] | None
    raw_shape: Sequence[int] | None
    raw_axes: str | None
    raw_dtype: str | None
    raw_byte_order: Literal["little", "big"] | None
    raw_offset: int | None
    bioformats_jar: str | Path | None
    ignore: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertFlags:
    """One conversion's flags, unchecked; None leaves the matter to the files or the default.

    Attributes
    ----------
    voxel_size_nm : sequence of 3 float or None
        x, y, z; None for an axis that the files state. Wins over the files.
    name : str
        Name of the dataset; by default the sidecar's, else the target directory's.
    layer_name : str
        Name of the only layer.
    category : "color" | "segmentation"
    format : "zarr3"
    interpolation : str
        How coarser mags are made; `default` is median for color and mode for segmentation.
    max_mag : int
        Coarsest mag, a power of two.
    codec : str
        `auto` chooses by voxel type.
    downsample : bool
        False writes mag 1 alone.
    chunk : int
        Edge of a chunk, voxels, a power of two.
    shard : int or sequence of 3 int
        Largest shard in voxels, x, y, z; one number stands for x and y.
    threads : int
    memory_gib : float
    executor : "local" | "processes" | "dask"
        Who converts: this process, several processes of this machine, or the workers of a Dask
        cluster that see source and target under the same paths.
    processes : int
        How many, with `processes`; by default one for each two processors.
    scheduler : str
        Address of the Dask scheduler, with `dask`.
    verify : "sample" | "full" | "off"
    layout : str
        Name of the layout to use without asking the other rules.
    scene : str
        Name, or number from 1, of the only image to convert in a file that holds several; by
        default each becomes a dataset.
    missing_slices : "park" | "black"
    alpha : "park" | "drop"
    cast : str
        numpy type for voxel types WEBKNOSSOS does not take.
    rescale : sequence of 2 float
        Values of color layers that become the smallest and the largest of `cast`, by default of
        uint8; what lies beyond is clipped.
    raw_shape : sequence of int
        Extents of a raw file, slowest axis first: z, y, x, or y, x.
    raw_axes : str
        Letters of t, c, z, y, x, s (samples) for extents in another order, or more of them.
    raw_dtype : str
        numpy type of a raw file's values.
    raw_byte_order : "little" | "big"
        Of values of several bytes.
    raw_offset : int
        Bytes before the first value.
    bioformats_jar : str or Path
        bioformats_package.jar, for the formats that stackwatch does not read itself.
    ignore : sequence of str
        Glob patterns of paths that do not belong to the acquisition.
    """

    voxel_size_nm: Sequence[float | None] | None = None
    name: str | None = None
    layer_name: str | None = None
    category: str | None = None
    format: str = "zarr3"
    interpolation: str = "default"
    max_mag: int | None = None
    codec: str = "auto"
    downsample: bool = True
    chunk: int = 32
    shard: int | Sequence[int] | None = None
    threads: int | None = None
    memory_gib: float | None = None
    executor: str = "local"
    processes: int | None = None
    scheduler: str | None = None
    verify: str = "sample"
    layout: str = "auto"
    scene: str | None = None
    missing_slices: str = "park"
    alpha: str = "park"
    cast: str | None = None
    rescale: Sequence[float] | None = None
    raw_shape: Sequence[int] | None = None
    raw_axes: str | None = None
    raw_dtype: str | None = None
    raw_byte_order: str | None = None
    raw_offset: int | None = None
    bioformats_jar: str | Path | None = None
    ignore: Sequence[str] = ()

    def options(self) -> ConvertOptions:
        """Check the flags and sort them into the records of the floors below.

        Raises
        ------
        UsageError
            A flag cannot be meant; the caller shows it.
        """
        for name, allowed in _CHOICES.items():
            _check_choice(name, getattr(self, name), allowed)
        _check_positive("threads", self.threads)
        _check_positive("memory_gib", self.memory_gib)
        _check_power_of_two("max_mag", self.max_mag)
        _check_power_of_two("chunk", self.chunk)
        if not _SMALLEST_CHUNK <= self.chunk <= _LARGEST_CHUNK:
            raise _wrong("chunk", self.chunk, f"{_SMALLEST_CHUNK} to {_LARGEST_CHUNK}")
        if self.max_mag is not None and not self.downsample:
            raise UsageError(
                "`max_mag` and no downsampling contradict each other: without downsampling only "
                "mag 1 is written. Leave one of them out.",
                hint="Leave out `max_mag`, or do downsample.",
            )
        return ConvertOptions(
            dataset_name=self.name,
            layout=self._layout_options(),
            voxel_size=VoxelSizeOptions(
                voxel_size_nm=self._voxel_size(), is_flag=self.voxel_size_nm is not None
            ),
            store=self._store_options(),
            mags=MagOptions(
                interpolation=_choice(self.interpolation),
                max_mag=self.max_mag,
                downsample=self.downsample,
            ),
            resources=self._resource_options(),
            verify=_choice(self.verify),
            are_flags=True,
        )

    def _resource_options(self) -> ResourceOptions:
        _check_positive("processes", self.processes)
        if self.executor == "dask" and not self.scheduler:
            hint = "Name its address: `--scheduler tcp://HOST:8786`."
            raise UsageError(
                f"`executor = dask` needs the address of a scheduler. {hint}", hint=hint
            )
        if self.scheduler and not re.fullmatch(SCHEDULER_ADDRESS, self.scheduler):
            raise _wrong("scheduler", self.scheduler, "an address such as tcp://HOST:8786")
        for name, value, executor in (
            ("processes", self.processes, "processes"),
            ("scheduler", self.scheduler, "dask"),
        ):
            if value and self.executor != executor:
                hint = f"Set `executor` to {executor}, or leave `{name}` out."
                raise UsageError(
                    f"`{name}` says nothing where the executor is not {executor}. {hint}", hint=hint
                )
        return ResourceOptions(
            threads=self.threads,
            memory_gib=self.memory_gib,
            executor=_choice(self.executor),
            processes=self.processes,
            cluster=ClusterOptions(
                scheduler=self.scheduler or "",
                threads=self.threads or 1,
                memory_gib=self.memory_gib or _WORKER_GIB,
            ),
        )

    def _layout_options(self) -> LayoutOptions:
        return LayoutOptions(
            layout=self.layout,
            missing_slices=_choice(self.missing_slices),
            layer_name=self.layer_name,
            category=Category(self.category) if self.category is not None else None,
            ignore=tuple(self.ignore),
            alpha=_choice(self.alpha),
            scenes=self.scene if self.scene is not None else EVERY_SCENE,
            cast=self.cast,
            rescale=self._rescale(),
            raw=self._raw(),
            bioformats_jar=os.path.abspath(self.bioformats_jar) if self.bioformats_jar else "",  # noqa: PTH100 - as elsewhere
        )

    def _rescale(self) -> tuple[float, float] | None:
        if self.rescale is None:
            return None
        ends = tuple(self.rescale)
        if len(ends) != 2 or not 0 < ends[1] - ends[0] < math.inf:
            raise _wrong("rescale", ends, "two numbers, the smaller first")
        return float(ends[0]), float(ends[1])

    def _raw(self) -> RawFacts:
        """Return what is said of raw files."""
        raw = RawFacts(
            shape=tuple(self.raw_shape) if self.raw_shape is not None else (),
            axes=self.raw_axes or "",
            dtype=self.raw_dtype or "",
            byte_order=_choice(self.raw_byte_order or ""),
            offset=self.raw_offset,
        )
        if raw.mistake:
            raise UsageError(
                f"`raw_{raw.mistake}.", hint=f"`raw_{raw.mistake}.", option="raw_shape"
            )
        return raw

    def _store_options(self) -> StoreOptions:
        store = StoreOptions(
            format=_choice(self.format),
            chunk_vx=self.chunk,
            shard_vx=self._shard(),
            codec=_choice(self.codec),
        )
        if store.mistake:
            raise UsageError(f"{store.mistake}.", hint=f"{store.mistake}.", format=self.format)
        return store

    def _voxel_size(self) -> PartialVoxelSize:
        if self.voxel_size_nm is None:
            return PartialVoxelSize()
        axes = tuple(self.voxel_size_nm)
        if len(axes) != 3 or all(axis is None for axis in axes):
            raise _wrong("voxel_size_nm", axes, "three numbers, x, y and z, in nanometres")
        for axis in axes:
            if axis is not None and not (math.isfinite(axis) and axis > 0):
                raise _wrong("voxel_size_nm", axes, "numbers > 0, in nanometres")
        return PartialVoxelSize(*axes)

    def _shard(self) -> Vec3 | None:
        if self.shard is None:
            return None
        edges = (
            (self.shard, self.shard, self.shard if self.format == "wkw" else self.chunk)
            if isinstance(self.shard, int)
            else tuple(self.shard)
        )
        if len(edges) != 3:
            raise _wrong("shard", edges, "one number, or three: x, y and z")
        for edge in edges:
            _check_power_of_two("shard", edge)
            if edge < self.chunk:
                raise _wrong("shard", edges, f"at least one chunk ({self.chunk}) along every axis")
        return Vec3(*edges)


def place_request(source: str | Path, target: str | Path) -> tuple[Path, Path]:
    """Return source and target as absolute paths.

    Raises
    ------
    UsageError
        The dataset would lie inside its own source, or the other way round.
    """
    # not `resolve`: the names people gave should stand in messages and in the dataset
    whole_source = Path(os.path.abspath(source))  # noqa: PTH100
    whole_target = Path(os.path.abspath(target))  # noqa: PTH100
    if whole_target.is_relative_to(whole_source) or whole_source.is_relative_to(whole_target):
        raise UsageError(
            f"TARGET “{show_path(whole_target)}” and SOURCE “{show_path(whole_source)}” lie inside "
            "each other. TARGET is the new dataset's own directory; name one elsewhere.",
            hint="Name a TARGET outside of SOURCE.",
        )
    return whole_source, whole_target


def _choice(value: str) -> Any:
    """Let a checked value pass as the closed choice it was checked against."""
    return value


def _check_choice(name: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise _wrong(name, value, f"one of {', '.join(allowed)}")


def _check_positive(
    name: Literal["threads", "memory_gib", "processes"], value: float | None
) -> None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise _wrong(name, value, "> 0")


def _check_power_of_two(name: str, value: int | None) -> None:
    if value is not None and (value < 1 or value & (value - 1)):
        raise _wrong(name, value, "a power of two")


def _wrong(name: str, value: object, expected: str) -> UsageError:
    shown = list(value) if isinstance(value, tuple) else value
    return UsageError(
        f"`{name}` must be {expected} (is {shown}).", hint=f"Mend `{name}`.", option=name
    )
