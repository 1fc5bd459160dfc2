"""A mag in a bucket, as zarr-python reads it: its metadata is still in the staging folder."""

from pathlib import Path
from typing import Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore

from stackwatch.stores.objects import Objects

METADATA_FILE = "zarr.json"


class StagedObjects(ObjectStore[Any]):
    """Shards from a bucket, metadata from the folder that stands for the dataset.

    Parameters
    ----------
    objects : Objects
        Of the dataset.
    path : Path
        The mag's folder, two levels below the dataset's.
    """

    def __init__(self, objects: Objects, path: Path) -> None:
        super().__init__(objects.store, read_only=True)
        self._objects = objects
        self._path = path
        self._below = "/".join(path.parts[-2:])

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a value; the metadata from the folder."""
        if key == METADATA_FILE:
            return prototype.buffer.from_bytes((self._path / key).read_bytes())
        with self._objects.errors(reads=True):
            return await super().get(f"{self._below}/{key}", prototype, byte_range)
