"""`stackwatch inspect`: tell what an acquisition is, and what would be made of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from stackwatch.cli.answers import answer_error, answer_json, answer_text, answering, exit_code_of
from stackwatch.cli.convert import refuse_absent
from stackwatch.cli.options import (
    AlphaOption,
    BioformatsJarOption,
    CastOption,
    CategoryOption,
    DownsampleOption,
    IgnoreOption,
    JsonFlag,
    LayerNameOption,
    LayoutOption,
    MaxMagOption,
    MissingSlicesOption,
    RawAxesOption,
    RawByteOrderOption,
    RawDtypeOption,
    RawOffsetOption,
    RawShapeOption,
    RescaleOption,
    SceneOption,
    VoxelSizeOption,
    given,
    parse_raw_shape,
    parse_rescale,
    parse_voxel_size,
)

_EPILOG = """\b
Examples:
  stackwatch inspect run_041/
  stackwatch inspect stack.ome.tif --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect", epilog=_EPILOG)(answering(inspect))


def inspect(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder, a file, or a zip archive.")
    ],
    voxel_size_nm: VoxelSizeOption = None,
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
    max_mag: MaxMagOption = None,
    downsample: DownsampleOption = True,
    as_json: JsonFlag = False,
) -> int:
    """Tell what an acquisition is and what would be written.

    Shows the layout and the evidence for it, the layers with their shapes and voxel types, the
    voxel size and where it comes from. Writes nothing. Ends with 75 where a conversion would be
    parked.
    """
    from stackwatch.model.flags import ConvertFlags
    from stackwatch.pipeline.inspect import inspect_acquisition

    options = ConvertFlags(**given(
        voxel_size_nm=parse_voxel_size(voxel_size_nm), layer_name=layer_name, category=category,
        layout=layout, scene=scene, missing_slices=missing_slices, alpha=alpha, cast=cast,
        ignore=ignore, max_mag=max_mag, downsample=downsample, rescale=parse_rescale(rescale),
        raw_shape=parse_raw_shape(raw_shape), raw_axes=raw_axes, raw_dtype=raw_dtype,
        raw_byte_order=raw_byte_order, raw_offset=raw_offset,
        bioformats_jar=bioformats_jar,
    )).options()  # fmt: skip
    refuse_absent(path)
    found = inspect_acquisition(path.absolute(), options)
    if as_json:
        answer_json(found.record)
        return exit_code_of(found.error) if found.error is not None else 0
    answer_text(_describe(found.record))
    return answer_error(found.error, as_json=False) if found.error is not None else 0


def _describe(record: Mapping[str, Any]) -> str:
    return "\n".join([f"status      {record['status']}", *describe_facts(record)])


def describe_facts(record: Mapping[str, Any]) -> list[str]:
    """Return what was found out about an acquisition, a line each."""
    lines: list[str] = []
    if record.get("layout"):
        lines.append(f"layout      {record['layout']}")
    lines += [f"evidence    {sentence}" for sentence in record.get("evidence") or ()]
    for dataset in record.get("scenes") or [record]:
        if dataset.get("scene"):
            lines.append(f"image       {dataset['scene']}: a dataset of its own")
        lines += _describe_dataset(dataset)
    if record.get("bytes_to_read"):
        lines.append(
            f"would read  {record['bytes_to_read'] / 1e6:,.1f} MB and write "
            f"{record.get('voxels_to_write') or 0:,} voxels"
        )
    lines += [f"warning     {sentence}" for sentence in record.get("warnings") or ()]
    return lines


def _describe_dataset(record: Mapping[str, Any]) -> list[str]:
    lines = [_describe_layer(layer) for layer in record.get("layers") or ()]
    size, origin = record.get("voxel_size_nm"), record.get("voxel_size_source")
    if size:
        shown = " × ".join("?" if edge is None else f"{edge:g}" for edge in size)
        lines.append(f"voxel size  {shown} nm ({', '.join(dict.fromkeys(origin or ()))})")
    return lines


def _describe_layer(layer: Mapping[str, Any]) -> str:
    extent = " × ".join(str(edge) for edge in layer["bounding_box"]["size"])
    times = layer.get("timepoints", 1)
    time = f", {times} timepoints" if times > 1 else ""
    source = f", from {layer['source']}" if layer.get("source") else ""
    return (
        f"layer       {layer['name']}: {layer['category']}, {layer['voxel_type']}, {extent}{time}, "
        f"mags {' '.join(layer['mags'])}{source}"
    )
