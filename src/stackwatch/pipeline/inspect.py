"""Tell what a conversion would do, without writing anything."""

import tempfile
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
        `voxel_size_nm`, `voxel_size_source`, `bytes_to_read`, `voxels_to_write`, `warnings`; when
        parked also `error_code`, `message`, `hint`.
    error : StackwatchError or None
        Why it would be parked.
    """

    record: dict[str, Any]
    error: StackwatchError | None


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
            dataset, options = plan_acquisition(acquisition), acquisition.options
            total = acquisition.listing.total_bytes
    except StackwatchError as error:
        status = "parked" if error.disposition is Disposition.PARK else "failed"
        return InspectResult({**error.as_record(), "status": status}, error)
    return InspectResult(_record(dataset, options, total), None)


def _record(dataset: DatasetPlan, options: ConvertOptions, bytes_to_read: int) -> dict[str, Any]:
    layers = [_layer_record(layer, dataset, options) for layer in dataset.layers]
    return {
        "status": "ready",
        "layout": dataset.layout,
        "evidence": list(dataset.evidence),
        "layers": layers,
        "voxel_size_nm": list(dataset.voxel_size_nm),
        "voxel_size_source": list(dataset.voxel_size_source),
        "bytes_to_read": bytes_to_read,
        "voxels_to_write": sum(
            layer.size.ceil_div(mag).volume * layer.size_t
            for layer in dataset.layers
            for mag in _mags(layer, dataset, options)
        ),
        "warnings": list(dataset.warnings),
    }


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
