"""What makes a dataset in a bucket appear, and what lies there before: the parts in their order.

While a dataset is being written an object at its root, the *claim*, names the run that writes it.
So what a killed attempt left can be told from what is somebody else's, which is never touched.
"""

import json
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from stackwatch.errors import StackwatchError, TargetExistsError
from stackwatch.stores.objects import FIRST_RETRIES, OBJECTS_FILE, Objects, told_of
from stackwatch.stores.properties import MANIFEST_FILE, PROPERTIES_FILE
from stackwatch.stores.publish import STAGED_NAME

CLAIM: Final = "stackwatch.writing"
"""Holds the run id; there from before the first shard until after the last metadata."""


def ensure_free(objects: Objects) -> None:
    """Refuse an address at which anything lies but what a killed attempt has left.

    Raises
    ------
    TargetExistsError
        The caller parks the job; nothing was touched.
    """
    if objects.read(PROPERTIES_FILE) is not None:
        raise already_there(objects.url)
    if objects.read(CLAIM) is None and (key := objects.first_key()):
        hint = "Remove them, or choose another name for the dataset (`dataset_name`)."
        raise TargetExistsError(
            f"Below {objects.url} lie objects that no conversion of this address has written, such "
            f"as “{key}”. Nothing was touched. {hint}",
            hint=hint,
            path=objects.url,
        )


def find_left(objects: Objects, run_id: str) -> dict[str, int]:
    """Return the sizes of what a run that was cut off has left; nothing if others wrote there."""
    return objects.sizes() if run_id and is_claimed(objects, run_id) else {}


def begin(objects: Objects, run_id: str, kept: Collection[str] = ()) -> None:
    """Claim an address for a run, and remove what an attempt that was killed has left there.

    Parameters
    ----------
    objects : Objects
    run_id : str
    kept : collection of str
        What is not removed: shards of the earlier attempt that this run takes over.

    Raises
    ------
    TargetExistsError
        Something lies there that is not such a leftover.
    """
    ensure_free(objects)
    objects.put(CLAIM, run_id.encode("ascii"))
    objects.remove(objects.sizes().keys() - {CLAIM, *kept})


def reveal(
    objects: Objects, root: Path, run_id: str, on_step: Callable[[], None] = lambda: None
) -> None:
    """Put the metadata of a dataset whose shards are all there; the properties last.

    Parameters
    ----------
    objects : Objects
    root : Path
        The folder in which the metadata was written.
    run_id : str
        The run that wrote the shards.
    on_step : callable
        Told after each object.

    Raises
    ------
    TargetExistsError
        Another run has begun to write there, and may have removed shards of this one.
    """
    ensure_claimed(objects, run_id)
    found = (path for path in sorted(root.rglob("*")) if path.is_file())
    files = [path for path in found if path.name != OBJECTS_FILE]
    last = {MANIFEST_FILE: 1, PROPERTIES_FILE: 2}
    for path in sorted(files, key=lambda path: last.get(path.name, 0)):
        objects.put(path.relative_to(root).as_posix(), path.read_bytes())
        on_step()
    objects.remove([CLAIM])


def ensure_claimed(objects: Objects, run_id: str) -> None:
    """Refuse to go on where another run has begun to write meanwhile.

    Raises
    ------
    TargetExistsError
        It gets the address; the caller parks the job.
    """
    if is_claimed(objects, run_id):
        return
    hint = "Look who else writes there, and let each write to a prefix of its own."
    raise TargetExistsError(
        f"Another conversion began to write to {objects.url} while this one did. This one is given "
        f"up, and nothing of it is visible. {hint}",
        hint=hint,
        path=objects.url,
    )


def is_claimed(objects: Objects, run_id: str) -> bool:
    """Tell whether it is this run that writes at an address."""
    return objects.read(CLAIM) == run_id.encode("ascii")


def hide(objects: Objects, run_id: str) -> None:
    """Remove a dataset: it is invisible after the second step, gone after the last."""
    objects.put(CLAIM, run_id.encode("ascii"))  # killed from here on, it is known as a leftover
    objects.remove([PROPERTIES_FILE])
    objects.remove(objects.sizes().keys() - {CLAIM})
    objects.remove([CLAIM])


def visible_run(objects: Objects) -> str:
    """Return the run whose dataset is visible at an address; empty if none is, or of nobody."""
    if objects.read(PROPERTIES_FILE) is None:
        return ""
    try:
        return str(json.loads(objects.read(MANIFEST_FILE) or b"{}").get("run_id", ""))
    except (ValueError, AttributeError):
        return ""


def discard(staging: Path) -> None:
    """Remove from their buckets what the datasets in a staging directory have put there.

    Nothing of another run. What does not answer soon is left: the next attempt removes it.
    """
    with suppress(OSError):  # nothing is staged
        for root in sorted((staging / STAGED_NAME).iterdir()):
            with suppress(StackwatchError):
                _discard_one(root)


def _discard_one(root: Path) -> None:
    url, run_id = told_of(root)
    if not run_id:
        return
    objects = Objects(url, retries=FIRST_RETRIES)
    if is_claimed(objects, run_id) or visible_run(objects) == run_id:
        hide(objects, run_id)


def already_there(url: str) -> TargetExistsError:
    """Return the error for an address at which a dataset is visible."""
    return TargetExistsError(
        f"At {url} is a dataset already, which was not written by this job. Nothing was touched. "
        "Remove it, or choose another name (`dataset_name`).",
        hint="Remove it, or choose another `dataset_name`.",
        path=url,
    )
