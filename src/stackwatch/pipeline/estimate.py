"""How much room a dataset will take on its target's disk, before anything is written."""

from stackwatch.model.plan import DatasetPlan
from stackwatch.pipeline.streams import StackJob


def estimate_bytes(dataset: DatasetPlan) -> int:
    """Return about how much room a dataset needs: all mags, with the compression usual for a type.

    An estimate on the careful side; a disk that fills up all the same is an error of its own.
    """
    total = 0.0
    for layer in dataset.layers:
        voxels = layer.size.volume * layer.size_t * layer.voxel_type.bytes_per_voxel
        share = 0.2 if layer.category == "segmentation" else 0.8
        total += voxels * share * 4 / 3
    return int(total)


def estimate_files(jobs: tuple[StackJob, ...]) -> int:
    """Return about how many files and directories a dataset has: a shard lies in one of its own."""
    total = 32
    for job in jobs:
        grids = [*job.plan.grids, *(grid for later in job.later for grid in later.grids[1:])]
        shards = sum(grid.size.ceil_div(grid.shard).volume for grid in grids)
        total += len(job.stack.layers) * (2 * shards * len(job.stack.planes_tz) + 8 * len(grids))
    return total
