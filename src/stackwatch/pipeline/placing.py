"""Where a conversion by hand goes: a folder, or a bucket with a passing folder for its metadata."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, gettempdir

import xxhash

from stackwatch.errors import UsageError
from stackwatch.model.flags import place_request
from stackwatch.model.options import ConvertOptions
from stackwatch.pipeline.request import ConvertRequest
from stackwatch.stores.objects import SCHEME, address_mistake, is_object_url
from stackwatch.stores.publish import STAGING_FOLDER


@contextmanager
def placed_request(
    source: str | Path, target: str | Path, options: ConvertOptions
) -> Iterator[ConvertRequest]:
    """Give the request for a conversion by hand, good for as long as the block lasts.

    Parameters
    ----------
    source : str or Path
    target : str or Path
        A dataset's own directory, or its address in a bucket, `s3://bucket/prefix/name`.
    options : ConvertOptions

    Raises
    ------
    UsageError
        The target cannot be meant.
    """
    if not is_object_url(str(target)):
        whole_source, whole_target = place_request(source, target)
        yield ConvertRequest(whole_source, whole_target, options)
        return
    bucket, _, name = str(target).removeprefix(SCHEME).rstrip("/").rpartition("/")
    if not bucket or address_mistake(f"{SCHEME}{bucket}/{name}"):
        hint = "Name a bucket and the dataset in it: s3://BUCKET/NAME, s3://BUCKET/PREFIX/NAME."
        raise UsageError(f"“{target}” is no place for a dataset. {hint}", hint=hint)
    lasts = options.resources.executor != "local"  # its finished ranges may be taken over
    with _lasting_folder(str(target)) if lasts else _passing_folder() as folder:
        whole_source, whole_target = place_request(source, folder / name)
        store = replace(options.store, bucket=f"{SCHEME}{bucket}")
        if store.mistake:
            raise UsageError(f"{store.mistake}.", hint=f"Mend it: {store.mistake}.")
        yield ConvertRequest(whole_source, whole_target, replace(options, store=store))


@contextmanager
def _passing_folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="stackwatch-") as folder:
        yield Path(folder)


@contextmanager
def _lasting_folder(address: str) -> Iterator[Path]:
    """Give the folder for an address, the same each time; it stays while attempts are in it.

    Where somebody else could write to it, one that passes has to do.
    """
    ours = Path(gettempdir(), f"stackwatch-{os.geteuid()}")
    with suppress(FileExistsError):
        ours.mkdir(mode=0o700)
    seen = ours.lstat()
    is_safe = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid()
    if not is_safe or seen.st_mode & 0o077:
        with _passing_folder() as passing:
            yield passing
        return
    folder = ours / xxhash.xxh3_128_hexdigest(address.rstrip("/").encode())
    folder.mkdir(exist_ok=True)
    try:
        _remove_published(folder)
        yield folder
    finally:
        _remove_published(folder)
        with suppress(OSError):
            folder.rmdir()  # unless attempts of others, or to be taken over, are in it


def _remove_published(folder: Path) -> None:
    """Remove what stands for a dataset that is in its bucket."""
    for path in folder.iterdir():
        if path.name != STAGING_FOLDER:
            rmtree(path, ignore_errors=True)
