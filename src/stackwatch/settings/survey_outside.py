"""What the settings say of clusters and buckets, and whether they answer: for `config check`."""

import shutil
import socket
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

from stackwatch.errors import StackwatchError
from stackwatch.settings.model import Settings

_LOOK_S: Final = 1.5
"""So long each may take to answer."""
_JOBQUEUE: Final = "dask_jobqueue"


def outside_warnings(settings: Settings) -> Iterator[str]:
    """Yield what a person should look at.

    Asks the scheduler, and puts and removes an object in each bucket, once and briefly.
    """
    if settings.daemon.executor == "dask":
        yield from _cluster_warnings(settings)
    for bucket in dict.fromkeys(folder.bucket for folder in settings.folder if folder.bucket):
        yield from _bucket_warnings(bucket)


def _cluster_warnings(settings: Settings) -> Iterator[str]:
    cluster = settings.cluster
    is_slurm = cluster.kind == "slurm"
    if find_spec("distributed") is None or (is_slurm and find_spec(_JOBQUEUE) is None):
        yield (
            'daemon.executor = "dask" needs the extra `dask`, which is not installed: '
            'pip install "stackwatch[dask]"'
        )
    elif is_slurm and shutil.which("sbatch") is None:
        yield 'cluster.kind = "slurm", and there is no command `sbatch` here'
    elif not is_slurm:
        place = urlsplit(cluster.scheduler)
        try:
            with socket.create_connection((place.hostname or "", place.port or 8786), _LOOK_S):
                pass
        except (OSError, ValueError) as error:
            yield (
                f"cluster.scheduler “{cluster.scheduler}” does not answer ({error}): conversions "
                "wait until it does"
            )


def _bucket_warnings(bucket: str) -> Iterator[str]:
    from stackwatch.stores.objects import Objects  # late: only who has a bucket pays

    try:
        Objects(bucket, _LOOK_S).probe()
    except StackwatchError as error:
        yield f"target “{bucket}”: {error.message}"
