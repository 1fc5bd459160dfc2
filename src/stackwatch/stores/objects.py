"""Object storage: shards are put as they are finished, what makes them visible is put last.

A dataset in a bucket is visible when its `datasource-properties.json` is there. Before that nobody
finds it; afterwards it is whole. Address and credentials come from the usual places, as obstore
reads them: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, an
instance's own role.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from stackwatch.errors import MissingExtraError, StackwatchError, TargetNotWritableError
from stackwatch.model.acquisition import show_path
from stackwatch.stores.object_errors import as_write_error
from stackwatch.stores.properties import write_json

SCHEME: Final = "s3://"
OBJECTS_FILE: Final = "objects.json"
"""In the folder that stands for a dataset in a bucket: tells where its shards are."""
PART_BYTES: Final = 8 << 20
"""Of a multipart upload; what is smaller is put at once."""
PARTS_AT_ONCE: Final = 2
WRITER_BYTES: Final = PART_BYTES * (PARTS_AT_ONCE + 1)
"""What one object being written holds in memory."""
NO_BUCKET: Final = "NoSuchBucket"
RETRIES: Final = 60
"""More than there can be in `RETRY_FOR`: the pauses between them grow to fifteen seconds."""
RETRY_FOR: Final = timedelta(minutes=3)
FIRST_RETRIES: Final = 8
"""Before anything was put, for some five seconds: a mistake in the address is told soon."""
REQUEST_S: Final = 180
"""So long one request may take: a part of 8 MiB over a line that 24 of them share."""
PROBE: Final = ".stackwatch/probe"
"""Put and removed to see whether that is possible; no dataset has such a name."""
ENDPOINT: Final = "AWS_ENDPOINT_URL"
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_NO_NAME: Final = re.compile(r"\.{1,2}|.*[\x00-\x1f\x7f\ud800-\udfff].*|", re.DOTALL)
"""Parts of a path that no object can have, or that would lead elsewhere."""


def is_object_url(text: str) -> bool:
    """Tell whether a target is a place in a bucket."""
    return text.startswith(SCHEME)


def dataset_url(bucket: str, place: Path) -> str:
    """Return the address of a dataset in a bucket; empty if there is no bucket."""
    return f"{bucket.rstrip('/')}/{place.name}" if bucket else ""


def address_mistake(url: str) -> str:
    """Return what the address of a place in a bucket must be and is not; empty if it is fine."""
    bucket, *names = url.removeprefix(SCHEME).split("/")
    if not is_object_url(url) or not _BUCKET.fullmatch(bucket):
        return "must be a place in a bucket: s3://BUCKET or s3://BUCKET/PREFIX"
    if any(_NO_NAME.fullmatch(name) for name in names):
        return "must hold no name that is empty, `.`, `..`, or has signs that no object can have"
    return ""


class Objects:
    """The objects below one prefix of a bucket. Safe in many threads.

    Parameters
    ----------
    url : str
        `s3://bucket/prefix`, without a trailing slash; meant as it stands, nothing in it is quoted.
    answer_s : float or None
        How long to wait for an answer, once; None: as long as a conversion does, again and again.
    retries : int
        How often a request is tried again, if there is no `answer_s`.

    Raises
    ------
    MissingExtraError
        The extra `s3` is not installed.
    TargetNotWritableError
        The address cannot be used as it is.
    """

    def __init__(self, url: str, answer_s: float | None = None, retries: int = RETRIES) -> None:
        try:
            from obstore.store import from_url
        except ImportError as error:
            line = 'pip install "stackwatch[s3]"'
            raise MissingExtraError(
                f"{url} is object storage, which needs the extra `s3`. Install it: {line}",
                hint=f"Run: {line}",
            ) from error
        self.url = url
        self.is_given_up = False
        """Whether a request has failed for good: what is left to clear up can wait."""
        endpoint = os.environ.get(ENDPOINT, "https://")
        mistake = address_mistake(url) and f"the address {address_mistake(url)}"
        if not endpoint.startswith(("http://", "https://")):
            mistake = f"`{ENDPOINT}` must begin with http:// or https:// (is “{endpoint}”)"
        if mistake:
            raise TargetNotWritableError(
                f"“{show_path(url)}” cannot be used: {mistake}.",
                hint=f"Mend it: {mistake}.",
                path=show_path(url),
            )
        options: dict[str, Any] = {"timeout": timedelta(seconds=answer_s or REQUEST_S)}
        options["allow_http"] = endpoint.startswith("http://")
        with self.errors():
            self.store: Any = from_url(
                quote(url, safe=":/"),  # a name may hold `#`, `?` or `%`
                client_options=options,  # type: ignore[call-overload]  # a plain dict
                retry_config={
                    "max_retries": retries if answer_s is None else 0,
                    "retry_timeout": RETRY_FOR,
                },
            )

    @contextmanager
    def errors(self, *, reads: bool = False) -> Iterator[None]:
        """Turn the library's errors into ours.

        Parameters
        ----------
        reads : bool
            An object that is not there raises FileNotFoundError.
        """
        try:
            yield
        except StackwatchError:
            raise
        except FileNotFoundError as error:
            if reads and NO_BUCKET not in str(error):
                raise
            raise as_write_error(self.url, error) from error
        except Exception as error:
            if not type(error).__module__.startswith("obstore") and not isinstance(error, OSError):
                raise
            self.is_given_up = True
            raise as_write_error(self.url, error) from error

    def put(self, key: str, data: bytes) -> None:
        """Put a small object, over what is there."""
        import obstore

        with self.errors():
            obstore.put(self.store, key, data)

    def read(self, key: str) -> bytes | None:
        """Return a small object; None if there is none."""
        import obstore

        try:
            with self.errors(reads=True):
                return bytes(obstore.get(self.store, key).bytes())
        except FileNotFoundError:
            return None

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """Return bytes of an object.

        Raises
        ------
        FileNotFoundError
            There is none.
        """
        import obstore

        with self.errors(reads=True):
            return bytes(obstore.get_range(self.store, key, start=start, end=end))

    def sizes(self, below: str = "") -> dict[str, int]:
        """Return the size of every object by its key below the prefix."""
        import obstore

        with self.errors():
            batches = obstore.list(self.store, prefix=below or None)
            found = {str(entry["path"]): int(entry["size"]) for batch in batches for entry in batch}
        found.pop("", None)  # the prefix itself, as an empty object: people made a “folder”
        return found

    def first_key(self) -> str:
        """Return the key of some object below the prefix; empty if there is none.

        The prefix itself is none: where people make a “folder”, an empty object of its name lies.
        """
        import obstore

        with self.errors():
            batches = obstore.list(self.store, chunk_size=2)
            return next((str(one["path"]) for batch in batches for one in batch if one["path"]), "")

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        import obstore

        wanted = list(keys)
        if wanted:
            with self.errors():
                obstore.delete(self.store, wanted)

    def probe(self) -> None:
        """Put, list and remove a small object below the prefix, as a conversion would.

        Raises
        ------
        WriteError
            One of them is refused, or there is no answer.
        """
        self.put(PROBE, b"")
        self.sizes(PROBE.partition("/")[0])
        self.remove([PROBE])

    def open_writer(self, key: str) -> Any:
        """Return something to write a large object with: it is there once it is closed."""
        import obstore

        with self.errors():
            return obstore.open_writer(
                self.store, key, buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
            )


@lru_cache(maxsize=8)
def open_objects(url: str) -> Objects:
    """Return the objects below an address, the same for all who ask."""
    return Objects(url)


def url_of(root: Path) -> str:
    """Return the address of the dataset that a folder stands for; empty if it lies in it."""
    return told_of(root)[0]


def told_of(root: Path) -> tuple[str, str]:
    """Return the address of the dataset that a folder stands for, and the run that writes it."""
    try:
        told = json.loads((root / OBJECTS_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return "", ""
    return str(told["url"]), str(told.get("run_id", ""))


def objects_of(root: Path) -> Objects | None:
    """Return where the shards of a dataset are, None if they lie in its own folder."""
    url = url_of(root)
    return open_objects(url) if url else None


def mark_objects(root: Path, url: str, run_id: str = "") -> Objects:
    """Note in a dataset's folder that its shards are in a bucket, and which run puts them there."""
    growing = root / f"{OBJECTS_FILE}.new"
    write_json(growing, {"url": url, "run_id": run_id})
    growing.rename(root / OBJECTS_FILE)  # at once over that of an earlier attempt
    return open_objects(url)
