"""Who carries out the ranges of a conversion, as its options say."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from stackwatch.engine.executor import RangeExecutor
from stackwatch.engine.machine import default_memory_gib, usable_cpus
from stackwatch.model.options import ConvertOptions, ResourceOptions

THREADS_PER_PROCESS = 2


@contextmanager
def range_executor(options: ConvertOptions) -> Iterator[RangeExecutor | None]:
    """Give who carries out ranges for as long as the block lasts; None: this process does.

    Raises
    ------
    MissingExtraError, ClusterError
        There is nobody to do it.
    """
    resources = options.resources
    if resources.executor == "local":
        yield None
        return
    executor: RangeExecutor
    if resources.executor == "dask":
        from stackwatch.pipeline.dask_ranges import DaskExecutor

        executor = DaskExecutor(resources.cluster)
    else:
        from stackwatch.pipeline.processes import ProcessExecutor

        executor = ProcessExecutor(count_processes(resources))
    try:
        yield executor
    finally:
        executor.close()


def count_processes(resources: ResourceOptions) -> int:
    """Return how many processes share the work."""
    threads = resources.threads or usable_cpus()
    return resources.processes or max(1, threads // THREADS_PER_PROCESS)


def share_of(options: ConvertOptions) -> ConvertOptions:
    """Return the options with what one range may use.

    With `processes` the totals are divided; a worker of a cluster has its own.
    """
    resources = options.resources
    if resources.executor == "dask":
        cluster = resources.cluster
        share = replace(resources, threads=cluster.threads, memory_gib=cluster.memory_gib)
    elif resources.executor == "processes":
        count = count_processes(resources)
        share = replace(
            resources,
            threads=max(1, (resources.threads or usable_cpus()) // count),
            memory_gib=(resources.memory_gib or default_memory_gib()) / count,
        )
    else:
        return options
    return replace(options, resources=share)
