"""What a conversion takes over of an earlier attempt that was cut off: ranges with their receipts.

The shards of a range depend on the version of stackwatch, on the source files as they were listed,
on the options, and on how the stack was planned and cut. A digest of all that names the folder of
an order, so what is found in a folder of that name is what this conversion would write. A receipt
is believed if every shard it names is there in its full size: a shard is flushed before its receipt
is written.
"""

import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import xxhash

from stackwatch import __version__
from stackwatch.errors import ClusterError, SourceUnreadableError, WorkerKilledError, WriteError
from stackwatch.pipeline.opening import OpenAcquisition
from stackwatch.pipeline.request import ConvertRequest
from stackwatch.pipeline.streams import StackJob
from stackwatch.stores.kept import RANGES_FOLDER, empty_folder, iter_receipts, read_receipt_file
from stackwatch.stores.objects import OBJECTS_FILE
from stackwatch.stores.publish import STAGED_NAME

SLOTS_FILE: Final = "slots"
"""In the folder of the orders: for how many slots the stacks were cut."""
_RECEIPT_KEYS: Final = {"shards", "layers", "digests", "bytes_read", "clipped"}


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What is left in staging after `sift`.

    Attributes
    ----------
    ranges : int
    bytes, files : int
        Of their shards, as far as they lie in staging.
    shards : mapping of Path to frozenset of str
        Paths of their shards below each dataset's directory in staging.
    """

    ranges: int = 0
    bytes: int = 0
    files: int = 0
    shards: Mapping[Path, frozenset[str]] = field(default_factory=dict)


def was_cut_off(error: BaseException) -> bool:
    """Tell whether an error ended a conversion, and made nothing wrong of what it has written.

    Not where anybody or anything decided against it, and not where bytes may be wrong.
    """
    losses = (ClusterError, WorkerKilledError, SourceUnreadableError, MemoryError)
    return isinstance(error, losses) or type(error) is WriteError


def digest_circumstances(request: ConvertRequest, acquisition: OpenAcquisition) -> str:
    """Return a digest of all that what is written depends on, but for plans and cuts.

    Of every listed file name, size and dates count, those that are not read too: a change that
    matters must not be missed, and one that does not costs time alone.
    """
    options = acquisition.options
    told = (options.layout, options.voxel_size, options.store, options.mags)
    listed = {*acquisition.look.files.values(), *acquisition.listing.entries}
    if acquisition.place.is_remote:
        listed = {replace(entry, ctime_ns=0, inode=0) for entry in listed}
    return _digest(__version__, request.source, request.members, told, *sorted(listed))


def digest_order(circumstances: str, root: Path, job: StackJob) -> str:
    """Return a digest of all that the ranges of a stack depend on.

    Parameters
    ----------
    circumstances : str
        As `digest_circumstances` returns it.
    root : Path
        The dataset's staging directory; only its name counts.
    job : StackJob
        With its ranges. How many threads and how much memory they get does not count.
    """
    plan = (job.plan.grids, job.plan.later_mags, job.plan.swaths, job.plan.spool)
    return _digest(circumstances, root.name, job.stack, job.mags, plan, job.ranges)


def _digest(*facts: object) -> str:
    """Return a digest of values whose `repr` tells all of them."""
    digest = xxhash.xxh3_128()
    for fact in facts:
        digest.update(ascii(fact).encode("ascii") + b"\n")
    return str(digest.hexdigest())


def choose_slots(orders: Path, slots: int) -> int:
    """Return for how many slots stacks are cut: as before, so that ranges fit, if that will do.

    Parameters
    ----------
    orders : Path
        The folder of the orders.
    slots : int
        How many there are now. Where there are more than twice as many as before, the old cut would
        leave most of them idle.
    """
    try:
        before = int((orders / SLOTS_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return slots
    return before if before > 1 and slots <= 2 * before else slots


def sift(
    staging: Path, orders: Mapping[str, Path], found: Mapping[Path, Mapping[str, int]]
) -> TakenOver:
    """Keep the ranges in a staging directory that are worth something; remove all else.

    Parameters
    ----------
    staging : Path
        Held by the caller; nobody else writes there.
    orders : mapping of str to Path
        For the digest of each order that is to be carried out, the dataset's staging directory.
    found : mapping of Path to mapping of str to int
        Shards of datasets that go elsewhere than into their staging directory, with their sizes.

    Raises
    ------
    OSError
        Something cannot be removed.
    """
    folder, staged = staging / RANGES_FOLDER, staging / STAGED_NAME
    kept: dict[str, set[str]] = defaultdict(set)
    shards: dict[Path, set[str]] = defaultdict(set)
    sizes: list[int] = []
    for path in iter_receipts(staging):
        root = orders.get(path.parent.name)
        records = _believe(path, root, found.get(root)) if root is not None else None
        if root is None or records is None:
            continue
        kept[path.parent.name].add(path.name)
        shards[root].update(records)
        if root not in found:
            sizes += records.values()
    if folder.is_dir():
        for order in kept:
            empty_folder(folder / order, but=frozenset(kept[order]))
        empty_folder(folder, but=frozenset({SLOTS_FILE, *kept}))
    told = {root / OBJECTS_FILE for root in found}
    _remove_others(staged, told | {root / path for root in shards for path in shards[root]})
    return TakenOver(
        sum(map(len, kept.values())),
        sum(sizes),
        len(sizes),
        {root: frozenset(paths) for root, paths in shards.items()},
    )


def _believe(path: Path, root: Path, found: Mapping[str, int] | None) -> dict[str, int] | None:
    """Return the shards of a receipt with their sizes; None if one of them is not there whole."""
    receipt: dict[str, Any] = read_receipt_file(path) or {}
    if not receipt.keys() >= _RECEIPT_KEYS:
        return None
    shards = {str(record["path"]): int(record["bytes"]) for record in receipt["shards"]}
    for shard, size in shards.items():
        if (found.get(shard) if found is not None else _size_of(root / shard)) != size:
            return None
    return shards


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _remove_others(staged: Path, kept: set[Path]) -> None:
    """Remove every file that is not kept, and the folders that are empty then."""
    for folder, _, names in os.walk(staged, topdown=False):
        for path in (Path(folder, name) for name in names):
            if path not in kept:
                path.unlink()
        with suppress(OSError):
            Path(folder).rmdir()
