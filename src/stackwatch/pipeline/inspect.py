"""Tell what a conversion would do, without writing anything."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stackwatch.errors import StackwatchError
from stackwatch.model.options import ConvertOptions


@dataclass(frozen=True, slots=True)
class InspectResult:
    """What an acquisition is, and what would be written.

    Attributes
    ----------
    record : dict
        JSON values as documented in docs/json.md: `status` ("ready" or "parked"), `layout`, `evidence`,
        `layers` (name, category, voxel_type, bounding_box, mags, timepoints, source), `voxel_size_nm`,
        `voxel_size_source`, `bytes_to_read`, `voxels_to_write`, `warnings`; when parked also
        `error_code`, `message`, `hint`.
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
    raise NotImplementedError
