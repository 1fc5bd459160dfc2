"""Planning with fake and with real readers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from stackwatch.layout.listing import list_acquisition
from stackwatch.layout.plan import plan_dataset
from stackwatch.model.geometry import PartialVoxelSize
from stackwatch.model.image import ImageInfo
from stackwatch.model.options import LayoutOptions, VoxelSizeOptions
from stackwatch.model.plan import DatasetPlan
from stackwatch.readers.probe import open_image, probe_image

KNOWN_SIZE = VoxelSizeOptions(PartialVoxelSize(4.0, 4.0, 40.0))

PlanSource = Callable[..., DatasetPlan]


@pytest.fixture
def plan_source() -> PlanSource:
    """Return a function that lists, probes and plans real files, as the pipeline does."""

    def plan(
        source: Path,
        *,
        voxel_size: VoxelSizeOptions = KNOWN_SIZE,
        members: tuple[str, ...] = (),
        **options: Any,
    ) -> DatasetPlan:
        layout = LayoutOptions(**options)
        listing = list_acquisition(source, layout.ignore, members)

        def probe(path: str) -> ImageInfo:
            with (listing.root / path).open("rb") as file:
                return probe_image(file, str(listing.root / path))

        def palette(path: str) -> NDArray[Any] | None:
            with (listing.root / path).open("rb") as file:
                reader = open_image(file, path)
                try:
                    return reader.palette_rgb()
                finally:
                    reader.close()

        return plan_dataset(listing, probe, palette, layout, voxel_size)

    return plan
