"""Where a conversion by hand goes: a folder, or a bucket with a passing folder for its metadata."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from stackwatch.errors import UsageError
from stackwatch.model.flags import place_request
from stackwatch.model.options import ConvertOptions
from stackwatch.pipeline.request import ConvertRequest
from stackwatch.stores.objects import SCHEME, address_mistake, is_object_url


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
    with TemporaryDirectory(prefix="stackwatch-") as folder:
        whole_source, whole_target = place_request(source, Path(folder, name))
        store = replace(options.store, bucket=f"{SCHEME}{bucket}")
        if store.mistake:
            raise UsageError(f"{store.mistake}.", hint=f"Mend it: {store.mistake}.")
        yield ConvertRequest(whole_source, whole_target, replace(options, store=store))
