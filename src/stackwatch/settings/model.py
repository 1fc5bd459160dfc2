"""What can be set: one frozen record for each section of the configuration file.

`config.example.toml` explains every setting; a test keeps it equal to the defaults here.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stackwatch.engine.machine import default_memory_gib, usable_cpus
from stackwatch.model.acquisition import fit_dataset_name
from stackwatch.model.delivery import Transfer
from stackwatch.model.geometry import PartialVoxelSize, Vec3
from stackwatch.model.options import (
    EVERY_SCENE,
    Codec,
    ConvertOptions,
    ExecutorName,
    Interpolation,
    LayerRule,
    LayoutOptions,
    MagOptions,
    ResourceOptions,
    StoreFormat,
    StoreOptions,
    VerifyMode,
    VoxelSizeOptions,
)
from stackwatch.model.raw import RawFacts
from stackwatch.model.voxels import Category
from stackwatch.settings.buckets import expand_buckets
from stackwatch.settings.outside import (
    ClusterSettings,
    NoticesSettings,
    WebknossosSettings,
    WebSettings,
)
from stackwatch.settings.values import (
    AbsolutePath,
    Bucket,
    Count,
    DatasetName,
    DtypeName,
    Edges,
    FolderName,
    LayoutName,
    Marker,
    Number,
    PowerOfTwo,
    RemoteFolder,
    Section,
    ValueRange,
    refuse,
)

LOCAL_QUIET_GAP_S = 60.0
"""Below 60 s a file written through memory mapping looks quiet while it is not."""
NETWORK_QUIET_GAP_S = 300.0
"""Network shares show sizes and times late, and events of other machines never."""
LOCAL_SIGNALLED_GAP_S = 10.0
"""Where a marker or a count says that all is there, the gap need not wait for the next file."""
NETWORK_SIGNALLED_GAP_S = 60.0
"""As long as a network share may go on showing an old size."""


def _axes(value: Any) -> Any:
    """Accept `[x, y, z]` or a table of the axes that are known, `{ z = 25 }`."""
    if isinstance(value, dict | AxesSettings):
        return value
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise refuse("must be [x, y, z], or a table such as { z = 25 }")
    return dict(zip("xyz", value, strict=True))


class AxesSettings(Section):
    """Voxel size in nanometres, as far as it is known."""

    x: Annotated[Number, Field(gt=0)] | None = None
    y: Annotated[Number, Field(gt=0)] | None = None
    z: Annotated[Number, Field(gt=0)] | None = None


class LayerSettings(Section):
    """`[[folder.layer]]`: what one layer is called and what it holds."""

    match: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)] | None = None
    category: Category | None = None


class RawSettings(Section):
    """`[folder.raw]`: what raw files are where nothing that lies beside them says it."""

    shape: tuple[Annotated[Count, Field(ge=1)], ...] | None = None
    axes: str | None = None
    dtype: str | None = None
    byte_order: Literal["little", "big"] | None = None
    offset: Annotated[Count, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.facts().mistake:
            raise refuse(self.facts().mistake)
        return self

    def facts(self) -> RawFacts:
        """Return the values that are set."""
        return RawFacts(
            shape=self.shape or (),
            axes=self.axes or "",
            dtype=self.dtype or "",
            byte_order=self.byte_order or "",
            offset=self.offset,
        )


class DaemonSettings(Section):
    """`[daemon]`: where the service keeps its state, and what it may use in all."""

    state_dir: AbsolutePath = Path("/var/lib/stackwatch")
    workers: Annotated[Count, Field(ge=1, le=64)] = 1
    delivery_workers: Annotated[Count, Field(ge=1, le=16)] = 1
    threads: Annotated[Count, Field(ge=1, le=1024)] | None = None
    memory_gib: Annotated[Number, Field(gt=0)] | None = None
    executor: ExecutorName = "local"
    processes: Annotated[Count, Field(ge=1, le=1024)] | None = None
    stop_timeout_s: Annotated[Number, Field(gt=0)] = 90.0
    stall_after_s: Annotated[Number, Field(gt=0)] = 1800.0
    scan_deadline_s: Annotated[Number, Field(gt=0)] = 300.0

    def job_resources(self) -> ResourceOptions:
        """Return what one job may use: the totals, divided by the number of workers."""
        threads = self.threads if self.threads is not None else usable_cpus()
        memory_gib = self.memory_gib if self.memory_gib is not None else default_memory_gib()
        return ResourceOptions(
            threads=max(1, threads // self.workers),
            memory_gib=memory_gib / self.workers,
            executor=self.executor,
            processes=self.processes,
        )


class LogsSettings(Section):
    """`[logs]`: how the service talks."""

    format: Literal["auto", "json", "console"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"
    file: AbsolutePath | None = None


class FolderSettings(Section):
    """`[[folder]]`: one drop folder, where its datasets go, and how they are made."""

    name: FolderName
    path: AbsolutePath
    target: AbsolutePath
    bucket: Bucket | None = None
    dataset_name: DatasetName = "{acquisition}"
    format: StoreFormat = "zarr3"
    voxel_size_nm: Annotated[AxesSettings, BeforeValidator(_axes)] | None = None
    voxel_size_from: Literal["files-first", "settings"] = "files-first"
    quiet_gap_s: Annotated[Number, Field(gt=0)] | None = None
    scan_interval_s: Annotated[Number, Field(gt=0)] = 30.0
    watch: Literal["auto", "events", "poll"] = "auto"
    acquisition_depth: Annotated[Count, Field(ge=1, le=16)] = 1
    loose: Literal["group", "each", "park"] = "group"
    ignore: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    marker: Marker | None = None
    expected_files: Annotated[Count, Field(ge=1)] | None = None
    veto_open_files: bool = True
    writable: bool = False
    incomplete_after_h: Annotated[Number, Field(gt=0)] = 12.0
    max_workers: Annotated[Count, Field(ge=1, le=64)] | None = None
    priority: Annotated[Count, Field(ge=-100, le=100)] = 0
    reserve_gib: Annotated[Number, Field(ge=0)] = 20.0
    on_success: Literal["keep", "archive", "delete"] = "keep"
    on_success_dry_run: bool = True
    archive_to: AbsolutePath | None = None
    retention_h: Annotated[Number, Field(ge=0)] = 168.0
    on_change: Literal["version", "replace", "park"] = "version"
    layout: LayoutName = "auto"
    scenes: Annotated[str, Field(min_length=1)] = EVERY_SCENE
    missing_slices: Literal["park", "black"] = "park"
    layer_name: Annotated[str, Field(min_length=1)] | None = None
    category: Category | None = None
    layer: tuple[LayerSettings, ...] = ()
    alpha: Literal["park", "drop"] = "park"
    cast: DtypeName | None = None
    rescale: ValueRange | None = None
    raw: RawSettings | None = None
    bioformats_jar: AbsolutePath | None = None
    zip_max_ratio: Annotated[Number, Field(ge=1)] = 200.0
    zip_max_gib: Annotated[Number, Field(gt=0)] = 1024.0
    max_gib: Annotated[Number, Field(gt=0)] = 262144.0
    chunk_vx: Annotated[PowerOfTwo, Field(ge=8, le=512)] = 32
    shard_vx: Edges | None = None
    codec: Codec = "auto"
    interpolation: Interpolation = "default"
    max_mag: PowerOfTwo | None = None
    downsample: bool = True
    verify: VerifyMode = "sample"
    delivery: Literal["none", "upload", "register", "paths"] = "none"
    remote_folder: RemoteFolder | None = None
    teams: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    tags: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    transfer: Transfer = "copy"

    @model_validator(mode="after")
    def _archive_has_a_place(self) -> Self:
        if self.on_success == "archive" and self.archive_to is None:
            raise refuse('archive_to must be set where on_success = "archive"')
        return self

    @model_validator(mode="after")
    def _nothing_unconverted_is_deleted(self) -> Self:
        if self.on_success == "delete" and self.scenes != EVERY_SCENE:
            raise refuse(
                'on_success = "delete" would delete the images that scenes leaves out; '
                f'set scenes = "{EVERY_SCENE}", or on_success = "archive"'
            )
        return self

    @model_validator(mode="after")
    def _shards_hold_whole_chunks(self) -> Self:
        if self.shard_vx is not None and min(self.shard_vx) < self.chunk_vx:
            raise refuse(
                f"shard_vx must be at least chunk_vx ({self.chunk_vx}) along every axis "
                f"(is {list(self.shard_vx)})"
            )
        return self

    @model_validator(mode="after")
    def _a_bucket_can_do_it(self) -> Self:
        if self.bucket is not None and self.on_change == "replace":
            raise refuse('on_change = "replace" is not possible where the target is a bucket')
        if self.bucket is not None and self.delivery in {"upload", "paths"}:
            raise refuse(
                f'delivery = "{self.delivery}" would carry the bytes twice where the target is a '
                'bucket; set delivery = "register"'
            )
        return self

    def gap_in_force_s(self, *, is_remote: bool) -> float:
        """Return the quiet gap: as set, else by the kind of the mount and what is waited for."""
        if self.quiet_gap_s is not None:
            return self.quiet_gap_s
        if self.marker is not None or self.expected_files is not None:
            return NETWORK_SIGNALLED_GAP_S if is_remote else LOCAL_SIGNALLED_GAP_S
        return NETWORK_QUIET_GAP_S if is_remote else LOCAL_QUIET_GAP_S

    @model_validator(mode="after")
    def _store_is_possible(self) -> Self:
        mistake = self._store_options().mistake
        if mistake:
            raise refuse(mistake.replace("shard ", "shard_vx ", 1))
        return self

    def dataset_name_for(self, acquisition: str) -> str:
        """Return the directory name of an acquisition's dataset, fit for WEBKNOSSOS.

        Parameters
        ----------
        acquisition : str
            Path of the acquisition relative to the drop folder.

        Examples
        --------
        >>> folder = FolderSettings(name="em2", path=Path("/drop"), target=Path("/data"))
        >>> folder.dataset_name_for("run 041/tile.tif")
        'run_041_tile.tif'
        """
        named = self.dataset_name.replace("{folder}", self.name)
        named = named.replace("{acquisition}", acquisition)
        return fit_dataset_name(named)

    def convert_options(self, resources: ResourceOptions | None = None) -> ConvertOptions:
        """Return what a conversion of this folder's acquisitions is told.

        Parameters
        ----------
        resources : ResourceOptions or None
            `Settings.job_resources()` in the service; None leaves it to the conversion.
        """
        size = self.voxel_size_nm
        return ConvertOptions(
            layout=self._layout_options(),
            voxel_size=VoxelSizeOptions(
                voxel_size_nm=PartialVoxelSize(size.x, size.y, size.z)
                if size is not None
                else PartialVoxelSize(),
                prefer=self.voxel_size_from,
            ),
            store=self._store_options(),
            mags=MagOptions(
                interpolation=self.interpolation, max_mag=self.max_mag, downsample=self.downsample
            ),
            resources=resources or ResourceOptions(),
            verify=self.verify,
        )

    def _store_options(self) -> StoreOptions:
        return StoreOptions(
            format=self.format,
            chunk_vx=self.chunk_vx,
            shard_vx=Vec3(*self.shard_vx) if self.shard_vx is not None else None,
            codec=self.codec,
            bucket=self.bucket or "",
        )

    def _layout_options(self) -> LayoutOptions:
        return LayoutOptions(
            layout=self.layout,
            scenes=self.scenes,
            missing_slices=self.missing_slices,
            layer_name=self.layer_name,
            category=self.category,
            layer_rules=tuple(LayerRule(r.match, r.name, r.category) for r in self.layer),
            ignore=self.ignore,
            marker=self.marker or "",
            alpha=self.alpha,
            cast=self.cast,
            rescale=self.rescale,
            raw=self.raw.facts() if self.raw is not None else RawFacts(),
            bioformats_jar=str(self.bioformats_jar or ""),
            zip_max_ratio=self.zip_max_ratio,
            zip_max_gib=self.zip_max_gib,
            max_gib=self.max_gib,
        )


class Settings(BaseSettings):
    """Everything that can be set.

    The library's own environment source is switched off: it cannot address entries of a list and
    lets misspelt variables pass. `settings.environment` and `settings.load` take its place.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    daemon: DaemonSettings = DaemonSettings()
    cluster: ClusterSettings = ClusterSettings()
    logs: LogsSettings = LogsSettings()
    webknossos: WebknossosSettings = WebknossosSettings()
    web: WebSettings = WebSettings()
    notices: NoticesSettings = NoticesSettings()
    folder: tuple[FolderSettings, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _targets_may_be_buckets(cls, values: Any) -> Any:
        return expand_buckets(values, DaemonSettings().state_dir)

    @model_validator(mode="after")
    def _deliveries_have_a_server(self) -> Self:
        named = [folder.name for folder in self.folder if folder.delivery != "none"]
        if named and self.webknossos.url is None:
            raise refuse(
                f"webknossos.url must be set: the folder “{named[0]}” has delivery = "
                f'"{self.folder_named(named[0]).delivery}"'  # type: ignore[union-attr]
            )
        return self

    @model_validator(mode="after")
    def _a_cluster_can_be_found(self) -> Self:
        cluster = self.cluster
        if self.daemon.executor == "dask" and not cluster.scheduler and not cluster.kind:
            raise refuse('cluster.scheduler or cluster.kind must be set where executor = "dask"')
        return self

    def job_resources(self) -> ResourceOptions:
        """Return what one job may use, and who does its work."""
        return replace(self.daemon.job_resources(), cluster=self.cluster.options())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the caller alone."""
        return (init_settings,)

    def folder_named(self, name: str) -> FolderSettings | None:
        """Return the drop folder of that name, or None."""
        return next((folder for folder in self.folder if folder.name == name), None)
