"""Options that several commands take, with what `--help` says of them."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stackwatch.errors import UsageError

NUMBER_MAX = 2**63 - 1
"""The largest number the ledger gives."""

JsonFlag = Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        readable=False,  # what cannot be read is told of as any mistake in the settings
        help="Configuration file. Default: $STACKWATCH_CONFIG, else /etc/stackwatch/config.toml.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting, e.g. `daemon.workers=2` or `folder.em2.quiet_gap_s=120`. "
        "May be repeated.",
    ),
]
SourceArgument = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="A folder, a file, or a zip archive.")
]
TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="The new dataset's own directory, or s3://BUCKET/NAME; must not exist.",
    ),
]
NameOption = Annotated[
    str | None, typer.Option(help="Name of the dataset. [default: TARGET's name]")
]
VoxelSizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="X,Y,Z",
        help="Edge lengths of a voxel in nanometres, e.g. `11,11,25`. Leave an axis empty to "
        "take it from the files: `,,25`.",
    ),
]
LayerNameOption = Annotated[
    str | None,
    typer.Option(help="Name of the only layer. [default: color]"),
]
CategoryOption = Annotated[
    Literal["color", "segmentation"] | None,
    typer.Option(help="What the layers hold. [default: by the folder's or file's name]"),
]
LayoutOption = Annotated[
    str,
    typer.Option(
        help="Read the files by this layout only: single-file, ome-set, sequence, named-axes, "
        "z-parts, layer-per-file, layer-folders, volume-folder, micro-manager, sbemimage, "
        "serialem, leica-xlef.",
    ),
]
SceneOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Of a file with several images convert this one only: its name, or its number from "
        "1. [default: all, a dataset each]",
    ),
]
MissingSlicesOption = Annotated[
    Literal["park", "black"],
    typer.Option(help="Refuse a stack with gaps in its numbering, or fill them with black."),
]
AlphaOption = Annotated[
    Literal["park", "drop"],
    typer.Option(help="Refuse an alpha channel that is not opaque, or drop it."),
]
CastOption = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE",
        help="Cast voxels to this type, e.g. `float32`, where WEBKNOSSOS does not take theirs.",
    ),
]
RescaleOption = Annotated[
    str | None,
    typer.Option(
        metavar="MIN,MAX",
        help="Values of color layers that become the smallest and the largest of `--cast`, by "
        "default of uint8; what lies beyond is clipped.",
    ),
]
RawShapeOption = Annotated[
    str | None,
    typer.Option(
        metavar="Z,Y,X",
        help="Extents of a raw file, slowest axis first: `120,2048,2048`.",
    ),
]
RawAxesOption = Annotated[
    str | None,
    typer.Option(
        metavar="AXES",
        help="What the extents of a raw file are, of t, c, z, y, x and s (samples). "
        "[default: zyx, or yx]",
    ),
]
RawDtypeOption = Annotated[
    str | None,
    typer.Option(metavar="TYPE", help="Type of a raw file's values, e.g. `uint16`."),
]
RawByteOrderOption = Annotated[
    Literal["little", "big"] | None,
    typer.Option(help="Order of the bytes of a raw file's values."),
]
RawOffsetOption = Annotated[
    int | None,
    typer.Option(metavar="BYTES", help="Bytes of a raw file before its first value. [default: 0]"),
]
BioformatsJarOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="bioformats_package.jar, for formats that stackwatch does not read itself.",
    ),
]
IgnoreOption = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Leave out paths like `previews/*`. May be repeated."),
]
MaxMagOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Coarsest mag, a power of two."
    ),
]  # fmt: skip
DownsampleOption = Annotated[
    bool,
    typer.Option(
        "--downsample/--no-downsample", help="Make the coarser mags, or write mag 1 alone."
    ),
]
FormatOption = Annotated[
    Literal["zarr3", "wkw"], typer.Option("--format", help="How the dataset is stored.")
]
InterpolationOption = Annotated[
    Literal["default", "median", "mean", "mode", "nearest", "min", "max"],
    typer.Option(
        help="How coarser mags are made; `default` is median, and mode for segmentations."
    ),
]
CodecOption = Annotated[
    Literal[
        "auto",
        "none",
        "zstd",
        "zstd-1",
        "zstd-3",
        "zstd-5",
        "blosc",
        "gzip",
        "lz4",
        "lz4hc",
        "lz4hc-9",
    ],
    typer.Option(help="Compression; `auto` chooses by voxel type. WKW takes the lz4 kinds."),
]
ChunkOption = Annotated[int, typer.Option(metavar="S", help="Edge of a chunk, voxels.")]
ShardOption = Annotated[
    str | None,
    typer.Option(
        metavar="S",
        help="Largest shard, voxels: `1024` or `1024,1024,32`. [default: 4096,4096,32]",
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option(help="Threads to use. [default: usable processors]")
]
MemoryOption = Annotated[
    float | None,
    typer.Option(help="Memory budget. [default: a quarter of the memory, at most 4]"),
]
ExecutorOption = Annotated[
    Literal["local", "processes", "dask"],
    typer.Option(help="Who converts: this process, several processes, or a Dask cluster."),
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(help="How many, with `processes`. [default: one for each two processors]"),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Of the Dask scheduler, with `dask`: tcp://HOST:8786."),
]
VerifyOption = Annotated[
    Literal["sample", "full", "off"],
    typer.Option(help="How much is compared with the source before publishing."),
]


def parse_voxel_size(text: str | None) -> tuple[float | None, ...] | None:
    """Read `11,11,25`; an axis left empty is None.

    Raises
    ------
    UsageError
        It is no list of three numbers.

    Examples
    --------
    >>> parse_voxel_size(",,25")
    (None, None, 25.0)
    """
    if text is None:
        return None
    try:
        axes = tuple(float(part) if part.strip() else None for part in text.split(","))
    except ValueError as error:
        raise _bad_list("--voxel-size-nm", text, "11,11,25") from error
    if len(axes) != 3:
        raise _bad_list("--voxel-size-nm", text, "11,11,25")
    return axes


def parse_shard(text: str | None) -> int | tuple[int, ...] | None:
    """Read `1024` or `1024,1024,32`.

    Raises
    ------
    UsageError
        It is neither one nor three whole numbers.
    """
    if text is None:
        return None
    try:
        edges = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise _bad_list("--shard", text, "1024,1024,32") from error
    if len(edges) not in {1, 3}:
        raise _bad_list("--shard", text, "1024,1024,32")
    return edges[0] if len(edges) == 1 else edges


def parse_rescale(text: str | None) -> tuple[float, ...] | None:
    """Read `0,4095`.

    Raises
    ------
    UsageError
        These are not two numbers.
    """
    if text is None:
        return None
    try:
        ends = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise _bad_list("--rescale", text, "0,4095") from error
    if len(ends) != 2:
        raise _bad_list("--rescale", text, "0,4095")
    return ends


def parse_raw_shape(text: str | None) -> tuple[int, ...] | None:
    """Read `120,2048,2048`.

    Raises
    ------
    UsageError
        These are no whole numbers.
    """
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise _bad_list("--raw-shape", text, "120,2048,2048") from error


def given(**flags: Any) -> dict[str, Any]:
    """Return the flags that were given, for `ConvertFlags`."""
    return {name: value for name, value in flags.items() if value is not None}


def _bad_list(option: str, text: str, example: str) -> UsageError:
    return UsageError(
        f"{option} must look like {example} (is “{text}”).",
        hint=f"Write {option} {example}.",
        option=option,
    )
