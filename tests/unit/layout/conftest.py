"""Planning real files, the way a conversion does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.options import ConvertOptions, LayoutOptions, VoxelSizeOptions
from stackwatch.model.plan import DatasetPlan
from stackwatch.pipeline.opening import open_acquisition, plan_acquisition

KNOWN_SIZE = VoxelSizeOptions(PartialVoxelSize(4.0, 4.0, 40.0))

PlanSource = Callable[..., DatasetPlan]


@pytest.fixture
def plan_source(tmp_path_factory: pytest.TempPathFactory) -> PlanSource:
    """Return a function that lists, opens, probes and plans real files."""

    def plan(
        source: Path,
        *,
        voxel_size: VoxelSizeOptions = KNOWN_SIZE,
        members: tuple[str, ...] = (),
        **options: Any,
    ) -> DatasetPlan:
        whole = ConvertOptions(layout=LayoutOptions(**options), voxel_size=voxel_size)
        scratch = tmp_path_factory.mktemp("scratch")
        with open_acquisition(source, members, whole, scratch) as acquisition:
            (only,) = plan_acquisition(acquisition)
            return only

    return plan
