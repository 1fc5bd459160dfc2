"""Tell what a conversion would do, without writing anything."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackwatch.engine.ladder import plan_mags
from stackwatch.errors import Disposition, StackwatchError
from stackwatch.model.geometry import BoundingBox
from stackwatch.model.options import ConvertOptions
from stackwatch.model.plan import DatasetPlan, LayerPlan
from stackwatch.model.result import LayerResult
from stackwatch.pipeline.opening import open_acquisition, plan_acquisition


@dataclass(frozen=True, slots=True)
class InspectResult:
    """What an acquisition is, and what would be written.

    Attributes
    ----------
    record : dict
        JSON values as documented in docs/json.md: `status` ("ready" or "parked"), `layout`,
        `evidence`, `layers` (name, category, voxel_type, bounding_box, mags, timepoints, source),
        `voxel_size_nm`, `voxel_size_source`, `bytes_to_read`, `voxels_to_write`, `scenes`,
        `warnings`; when parked also `error_code`, `message`, `hint`.
    error : StackwatchError or None
        Why it would be parked.
    scenes : tuple of str
        What tells its datasets apart; one empty name where the files hold one image.
    """

    record: dict[str, Any]
    error: StackwatchError | None
    scenes: tuple[str, ...] = ("",)


def inspect_acquisition(
    source: Path, options: ConvertOptions, members: tuple[str, ...] = ()
) -> InspectResult:
    """Classify an acquisition and plan its conversion.

    Parameters
    ----------
    source, options, members
        As in `ConvertRequest`.
    """
    try:
        with (
            tempfile.TemporaryDirectory(prefix="stackwatch-") as scratch,
            open_acquisition(source, members, options, Path(scratch)) as acquisition,
        ):
            datasets, options = plan_acquisition(acquisition), acquisition.options
            total = acquisition.listing.total_bytes
    except StackwatchError as error:
        status = "parked" if error.disposition is Disposition.PARK else "failed"
        return InspectResult({**error.as_record(), "status": status}, error)
    scenes = tuple(dataset.scene_name for dataset in datasets)
    return InspectResult(_record(datasets, options, total), None, scenes)


def _record(
    datasets: Sequence[DatasetPlan], options: ConvertOptions, bytes_to_read: int
) -> dict[str, Any]:
    first = datasets[0]
    return {
        "status": "ready",
        "layout": first.layout,
        "evidence": list(first.evidence),
        **_dataset_record(first, options),
        "bytes_to_read": bytes_to_read,
        "voxels_to_write": sum(_count_voxels(dataset, options) for dataset in datasets),
        "scenes": [
            {"scene": dataset.scene_name, **_dataset_record(dataset, options)}
            for dataset in datasets
            if len(datasets) > 1
        ],
        "warnings": list(dict.fromkeys(w for dataset in datasets for w in dataset.warnings)),
    }


def _dataset_record(dataset: DatasetPlan, options: ConvertOptions) -> dict[str, Any]:
    return {
        "layers": [_layer_record(layer, dataset, options) for layer in dataset.layers],
        "voxel_size_nm": list(dataset.voxel_size_nm),
        "voxel_size_source": list(dataset.voxel_size_source),
    }


def _count_voxels(dataset: DatasetPlan, options: ConvertOptions) -> int:
    return sum(
        layer.size.ceil_div(mag).volume * layer.size_t
        for layer in dataset.layers
        for mag in _mags(layer, dataset, options)
    )


def _mags(layer: LayerPlan, dataset: DatasetPlan, options: ConvertOptions) -> tuple[Any, ...]:
    return plan_mags(
        layer.size,
        dataset.voxel_size_nm,
        max_mag=options.mags.max_mag,
        downsample=options.mags.downsample,
    )


def _layer_record(
    layer: LayerPlan, dataset: DatasetPlan, options: ConvertOptions
) -> dict[str, Any]:
    result = LayerResult(
        name=layer.name,
        category=layer.category,
        voxel_type=layer.voxel_type,
        bounding_box=BoundingBox.of_size(*layer.size),
        mags=_mags(layer, dataset, options),
        size_t=layer.size_t,
    )
    return {**result.as_record(), "source": layer.source_name}
