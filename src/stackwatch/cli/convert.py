"""`stackwatch convert`: one acquisition, here and now."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackwatch.cli.answers import answer_json, answer_text, answering, say
from stackwatch.cli.options import (
    AlphaOption,
    BioformatsJarOption,
    CastOption,
    CategoryOption,
    ChunkOption,
    CodecOption,
    DownsampleOption,
    ExecutorOption,
    FormatOption,
    IgnoreOption,
    InterpolationOption,
    JsonFlag,
    LayerNameOption,
    LayoutOption,
    MaxMagOption,
    MemoryOption,
    MissingSlicesOption,
    NameOption,
    ProcessesOption,
    RawAxesOption,
    RawByteOrderOption,
    RawDtypeOption,
    RawOffsetOption,
    RawShapeOption,
    RescaleOption,
    SceneOption,
    SchedulerOption,
    ShardOption,
    SourceArgument,
    TargetArgument,
    ThreadsOption,
    VerifyOption,
    VoxelSizeOption,
    given,
    parse_raw_shape,
    parse_rescale,
    parse_shard,
    parse_voxel_size,
)
from stackwatch.cli.upload import (
    FolderOption,
    TokenFileOption,
    UrlOption,
    check_token,
    delivered_record,
    describe_delivered,
    plan_upload,
    run_upload,
)
from stackwatch.errors import StackwatchError, UsageError
from stackwatch.model.acquisition import show_path

if TYPE_CHECKING:
    from stackwatch.model.delivery import DeliveryRequest
    from stackwatch.model.flags import ConvertFlags
    from stackwatch.model.result import ConvertResult

_EPILOG = """\b
Examples:
  stackwatch convert run_041/ data/run_041 --voxel-size-nm 11,11,25
  stackwatch convert labels.tif data/cells --category segmentation
  stackwatch convert run_041.zip data/run_041 --json > run_041.json
  stackwatch convert run_041/ data/run_041 --upload --url https://webknossos.org
  stackwatch convert run_041/ s3://lab-data/em/run_041
  stackwatch convert run_041/ data/run_041 --executor dask --scheduler tcp://head:8786
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("convert", epilog=_EPILOG)(answering(convert))


def convert(
    source: SourceArgument,
    target: TargetArgument,
    voxel_size_nm: VoxelSizeOption = None,
    name: NameOption = None,
    layer_name: LayerNameOption = None,
    category: CategoryOption = None,
    layout: LayoutOption = "auto",
    scene: SceneOption = None,
    missing_slices: MissingSlicesOption = "park",
    alpha: AlphaOption = "park",
    cast: CastOption = None,
    rescale: RescaleOption = None,
    raw_shape: RawShapeOption = None,
    raw_axes: RawAxesOption = None,
    raw_dtype: RawDtypeOption = None,
    raw_byte_order: RawByteOrderOption = None,
    raw_offset: RawOffsetOption = None,
    bioformats_jar: BioformatsJarOption = None,
    ignore: IgnoreOption = None,
    store_format: FormatOption = "zarr3",
    interpolation: InterpolationOption = "default",
    max_mag: MaxMagOption = None,
    downsample: DownsampleOption = True,
    codec: CodecOption = "auto",
    chunk: ChunkOption = 32,
    shard: ShardOption = None,
    threads: ThreadsOption = None,
    memory_gib: MemoryOption = None,
    executor: ExecutorOption = "local",
    processes: ProcessesOption = None,
    scheduler: SchedulerOption = None,
    verify: VerifyOption = "sample",
    upload: Annotated[
        bool, typer.Option("--upload", help="Upload each dataset to WEBKNOSSOS afterwards.")
    ] = False,
    url: UrlOption = None,
    folder: FolderOption = "",
    token_file: TokenFileOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Convert one acquisition into a WEBKNOSSOS dataset.

    Reads SOURCE in one pass, writes all mags, verifies them against the source, and only then
    makes TARGET appear. An existing TARGET is never overwritten. Of a file with several images
    each becomes a dataset of its own, TARGET_NAME, unless `--scene` names one. What a sidecar
    (`stackwatch.toml`) says of SOURCE holds too; options win over it. With `--executor processes`
    or `dask` the same command, given again after a kill, a reboot or the end of a wall time, goes
    on from what was finished; Ctrl+C removes it.
    """
    from stackwatch.model.flags import ConvertFlags

    flags = ConvertFlags(**given(
        voxel_size_nm=parse_voxel_size(voxel_size_nm), name=name, layer_name=layer_name,
        category=category, format=store_format, interpolation=interpolation, max_mag=max_mag,
        codec=codec, downsample=downsample, chunk=chunk, shard=parse_shard(shard),
        threads=threads, memory_gib=memory_gib, executor=executor, processes=processes,
        scheduler=scheduler, verify=verify, layout=layout,
        scene=scene, missing_slices=missing_slices, alpha=alpha, cast=cast, ignore=ignore,
        rescale=parse_rescale(rescale), raw_shape=parse_raw_shape(raw_shape), raw_axes=raw_axes,
        raw_dtype=raw_dtype, raw_byte_order=raw_byte_order, raw_offset=raw_offset,
        bioformats_jar=bioformats_jar,
    ))  # fmt: skip
    plan = None
    if upload:  # what is missing is said before the conversion, not after it
        where = {"folder": folder, "token_file": token_file}
        refuse_bucket(target)
        plan = plan_upload(Path(target), url, where, None)
        check_token(plan)
    result = _run(source, target, flags, as_json=as_json)
    if not as_json:
        answer_text(_describe(result))
    delivered = _upload(result, plan, as_json=as_json) if plan is not None else []
    if as_json:
        answer_json(result.as_record() | ({"deliveries": delivered} if upload else {}))


def _upload(
    result: "ConvertResult", plan: "DeliveryRequest", *, as_json: bool
) -> list[dict[str, Any]]:
    """Upload the datasets, one after another; each link is told as soon as it is there."""
    deliveries = []
    for dataset in result.datasets:
        try:
            delivered = run_upload(replace(plan, dataset=dataset.path), is_quiet=as_json)
        except StackwatchError:
            say(f"The dataset is published. To go on: stackwatch upload {show_path(dataset.path)}")
            raise
        deliveries.append({"dataset": show_path(dataset.path), **delivered_record(delivered)})
        if not as_json:
            answer_text(describe_delivered(delivered))
    return deliveries


def _run(source: Path, target: str, flags: "ConvertFlags", *, as_json: bool) -> "ConvertResult":
    from stackwatch.cli.progress import reporter
    from stackwatch.cli.signals import StopOnSignal
    from stackwatch.pipeline.convert import convert_acquisition
    from stackwatch.pipeline.placing import placed_request

    with placed_request(source, target, flags.options()) as request:
        refuse_absent(request.source)
        with StopOnSignal() as stop, reporter(is_quiet=as_json) as journal:
            return convert_acquisition(request, journal, stop.cancelled, stop.goes_on)


def refuse_bucket(target: str) -> None:
    """Refuse to upload what lies in a bucket.

    Raises
    ------
    UsageError
        Its bytes would travel twice.
    """
    if target.startswith("s3://"):
        hint = (
            'Leave out --upload; a drop folder\'s `delivery = "register"` shows it in WEBKNOSSOS.'
        )
        raise UsageError(f"“{target}” is not uploaded, for it lies in a bucket. {hint}", hint=hint)


def refuse_absent(source: Path) -> None:
    """Tell a mistyped path from an acquisition that cannot be read.

    Raises
    ------
    UsageError
        There is nothing of that name, or nothing that we may look at.
    """
    try:
        source.stat()
    except OSError as error:
        hint = "Check the path; it may lie on a share that is not mounted."
        if "s3:" in source.parts:
            hint = "Acquisitions are read from folders and files, not from buckets."
        raise UsageError(
            f"“{show_path(source)}” cannot be found: {error.strerror}. {hint}",
            hint=hint,
            path=show_path(source),
        ) from error


def _describe(result: "ConvertResult") -> str:
    lines = []
    for dataset in result.datasets:
        lines.append(dataset.place)
        size = " × ".join(f"{edge:g}" for edge in dataset.voxel_size_nm)
        lines.append(
            f"  voxel size  {size} nm ({', '.join(dict.fromkeys(dataset.voxel_size_source))})"
        )
        for layer in dataset.layers:
            extent = " × ".join(str(edge) for edge in layer.bounding_box.size)
            mags = " ".join(str(mag) for mag in layer.mags)
            lines.append(
                f"  layer       {layer.name}: {layer.category}, {layer.voxel_type}, {extent}, "
                f"mags {mags}"
            )
    rate = result.bytes_read / (1 << 20) / result.seconds if result.seconds > 0 else 0.0
    lines.append(
        f"  read {result.bytes_read / 1e6:,.1f} MB, wrote {result.bytes_written / 1e6:,.1f} MB in "
        f"{result.seconds:.1f} s ({rate:,.0f} MiB/s), peak memory {result.peak_mib:,.0f} MiB, "
        f"{result.verified_chunks:,} chunks verified"
    )
    lines += [f"  warning     {warning}" for warning in result.warnings]
    return "\n".join(lines)
