"""A passing folder that stands for a dataset in a bucket, for who reads datasets from folders."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from stackwatch.errors import UsageError
from stackwatch.stores.objects import mark_objects
from stackwatch.stores.properties import MANIFEST_FILE, PROPERTIES_FILE

_FETCHED: Final = {MANIFEST_FILE, PROPERTIES_FILE, "zarr.json"}


@contextmanager
def standing_in(url: str) -> Iterator[Path]:
    """Give a folder with what is not voxels of the dataset at an address, while the block lasts.

    Parameters
    ----------
    url : str
        `s3://bucket/prefix/name`.

    Raises
    ------
    UsageError
        There is no dataset, or not all of one.
    StackwatchError
        The bucket does not answer, or refuses.
    """
    with TemporaryDirectory(prefix="stackwatch-") as place:
        folder = Path(place)
        objects = mark_objects(folder, url.rstrip("/"))
        if objects.read(PROPERTIES_FILE) is None:
            hint = "Give the address of one dataset: s3://BUCKET/PREFIX/NAME."
            raise UsageError(
                f"At {url} is no {PROPERTIES_FILE}: it is no dataset, or not all of it. {hint}",
                hint=hint,
                path=url,
            )
        for key in objects.sizes():
            path = folder / key
            if path.name in _FETCHED:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(objects.read(key) or b"")
        yield folder
