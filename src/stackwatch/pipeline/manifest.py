"""The manifest of a dataset, `stackwatch.json`: what was written, from what, by whom."""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import google_crc32c
import numpy as np

from stackwatch.errors import StackwatchError, TargetExistsError, VerificationError
from stackwatch.model.acquisition import show_path
from stackwatch.pipeline.request import ConvertRequest
from stackwatch.readers.wkw_header import HEADER_BYTES, HEADER_FILE, BlockType, parse_header
from stackwatch.stores.objects import FIRST_RETRIES, Objects, objects_of, url_of
from stackwatch.stores.properties import MANIFEST_FILE
from stackwatch.stores.protocol import ShardRecord
from stackwatch.stores.publish import ensure_absent
from stackwatch.stores.visible import ensure_free, hide, visible_run

READ_BYTES = 8 * 1024 * 1024
EMPTY = 0xFFFF_FFFF_FFFF_FFFF
_SHARD_FOLDER = re.compile(r"c|z[0-9]+")


@dataclass(frozen=True, slots=True)
class ManifestCheck:
    """What a comparison of manifest and disk saw."""

    shards: int
    chunks: int
    bytes: int


def combine_digests(digests: Mapping[str, str], sidecar: str = "") -> str:
    """Return the content digest of an acquisition.

    Parameters
    ----------
    digests : mapping of str to str
        Of its files, by path; their order does not matter.
    sidecar : str
        Digest of what its sidecar means for the dataset (`digest_meaning`); empty for nothing.
    """
    import xxhash

    combined = xxhash.xxh3_128()
    for path in sorted(digests):
        combined.update(os.fsencode(path) + b"\0" + digests[path].encode("ascii") + b"\n")
    if sidecar:
        combined.update(b"\0\0" + sidecar.encode("ascii"))  # no path begins with a NUL
    return combined.hexdigest()


def manifest_document(shards: Iterable[ShardRecord], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `stackwatch.json`.

    Parameters
    ----------
    shards : iterable of ShardRecord
    facts : mapping
        Run id, content digest, source, versions: JSON values.
    """
    records = [
        {
            "path": record.path,
            "bytes": record.bytes,
            "chunks": record.chunks,
            "places": record.places,
            "crc32c": f"{record.crc32c:08x}",
        }
        for record in shards
    ]
    return {"schema": 1, **facts, "shards": records}


def load_manifest(dataset: Path) -> tuple[dict[str, Any], tuple[ShardRecord, ...]]:
    """Read the manifest of a dataset.

    Raises
    ------
    VerificationError
        There is none, or it cannot be read.
    """
    path = dataset / MANIFEST_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        shards = tuple(
            ShardRecord(
                path=record["path"],
                bytes=record["bytes"],
                chunks=record["chunks"],
                places=record["places"],
                crc32c=int(record["crc32c"], 16),
            )
            for record in document["shards"]
        )
    except FileNotFoundError as error:
        place = url_of(dataset) or show_path(dataset)
        raise VerificationError(
            f"“{place}” has no {MANIFEST_FILE}: it is no dataset that stackwatch "
            "wrote, or the file was removed. Give the directory of a published dataset.",
            hint="Give the directory of a dataset that stackwatch wrote.",
            path=place,
        ) from error
    except OSError as error:
        hint = "See to it that it can be read, then verify again."
        raise VerificationError(
            f"“{show_path(path)}” cannot be read: {error.strerror or error}. {hint}",
            hint=hint,
            path=show_path(path),
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise VerificationError(
            f"“{show_path(path)}” cannot be read as a manifest ({error}). The dataset cannot be "
            "verified; convert the acquisition again.",
            hint="Convert the acquisition again.",
            path=show_path(path),
        ) from error
    return document, shards


def ensure_replaceable(target: Path, run_id: str) -> None:
    """Refuse a target where something stands that the run `run_id` did not write.

    Parameters
    ----------
    target : Path
    run_id : str
        The run whose dataset may be replaced; empty if nothing may stand there.

    Raises
    ------
    TargetExistsError
        The caller parks the job; nothing was touched.
    """
    if not run_id:
        ensure_absent(target)
    if not os.path.lexists(target):
        return
    try:
        found = load_manifest(target)[0].get("run_id")
    except VerificationError:
        found = None
    if found != run_id:
        raise TargetExistsError(
            f"“{show_path(target)}” is to be replaced, but it is not the dataset that was "
            "published there before. Nothing was touched. Remove or rename it.",
            hint="Remove or rename it.",
            path=show_path(target),
        )


def ensure_invisible(url: str, request: ConvertRequest) -> None:
    """Refuse an address in a bucket where anything is; but for what a killed attempt has left.

    Killed between making its dataset visible and telling so, an attempt has left one whose run it
    had announced: it is removed, and written again.

    Parameters
    ----------
    url : str
        Of the dataset; empty if it does not go into a bucket.
    request : ConvertRequest
        Knows the runs that were announced.

    Raises
    ------
    TargetExistsError
        The caller parks the job; nothing was touched.
    """
    if not url:
        return
    objects = Objects(url, retries=FIRST_RETRIES)
    if request.announced_runs and (run_id := visible_run(objects)) in request.announced_runs:
        hide(objects, run_id)
    ensure_free(objects)


def ensure_kept(dataset: Path, run_id: str) -> str:
    """Make sure that a dataset that was published before is whole, if it is still there.

    Parameters
    ----------
    dataset : Path
    run_id : str
        The run that published it.

    Returns
    -------
    str
        Digest of the content it was made of; empty if somebody has removed it since.

    Raises
    ------
    TargetExistsError
        Another dataset stands there now; the caller parks the job.
    VerificationError
        It is damaged.
    """
    ensure_replaceable(dataset, run_id)
    if not os.path.lexists(dataset):
        return ""
    document, shards = load_manifest(dataset)
    check_manifest(dataset, shards, document.get("metadata_crc32c", {}), reads_all=False)
    return str(document.get("content_digest", ""))


def sum_metadata(root: Path) -> dict[str, str]:
    """Return the checksum of every array's and group's metadata file, by its path below `root`.

    The properties file is left out: people edit it.
    """
    return {
        path.relative_to(root).as_posix(): f"{google_crc32c.value(path.read_bytes()):08x}"
        for path in sorted([*root.rglob("zarr.json"), *root.rglob(HEADER_FILE)])
    }


def check_manifest(
    root: Path,
    shards: Iterable[ShardRecord],
    metadata: Mapping[str, str] = MappingProxyType({}),
    *,
    reads_all: bool,
    on_shard: Callable[[], None] = lambda: None,
) -> ManifestCheck:
    """Compare every shard of a manifest, and every metadata file, with the disk.

    A lost shard would read as zeros: nobody but the manifest knows that it was there.

    Parameters
    ----------
    root : Path
        The dataset's directory.
    shards : iterable of ShardRecord
    metadata : mapping
        Checksums of the metadata files, as `sum_metadata` gave them.
    reads_all : bool
        Whether each file is read from end to end and its checksum compared; otherwise its size,
        its index with the index's own checksum, and the number of its chunks are.
    on_shard : callable
        Called before each; may raise to stop.

    Raises
    ------
    VerificationError
        Naming the first few of all files that are missing, changed, or not in the manifest.
    """
    known: set[str] = set()
    problems: list[str] = []
    objects = objects_of(root)
    sizes = objects.sizes() if objects is not None else {}
    chunks = total = 0
    for record in shards:
        on_shard()
        known.add(record.path)
        chunks += record.chunks
        total += record.bytes
        problem = (
            _shard_problem(root / record.path, record, reads_all=reads_all)
            if objects is None
            else _object_problem(objects, sizes.get(record.path), record, reads_all=reads_all)
        )
        if problem:
            problems.append(f"{record.path}: {problem}")
    problems += [
        f"{path}: missing or changed"
        for path, checksum in metadata.items()
        if not _has_checksum(root / path, checksum, objects, path)
    ]
    there = _shards_below(root) if objects is None else {key for key in sizes if _is_shard(key)}
    problems += [f"{path}: not in the manifest" for path in sorted(there - known)]
    if problems:
        place = show_path(root) if objects is None else objects.url
        raise VerificationError(
            f"“{place}” is not what was written: "
            + "; ".join(problems[:3])
            + (f" and {len(problems) - 3} more" if len(problems) > 3 else "")
            + ". Do not use this dataset; convert the acquisition again.",
            hint="Convert the acquisition again, and look at the disk.",
            path=place,
            problems=problems[:100],
        )
    return ManifestCheck(len(known), chunks, total)


def _shards_below(root: Path) -> set[str]:
    """Return every file below a `c` directory of an array, or a `z…` directory of a WKW mag."""
    found = set()
    for folder, _, files in os.walk(root):
        inside = Path(folder).relative_to(root)
        if _is_shard(inside.as_posix()):
            found |= {(inside / name).as_posix() for name in files}
    return found


def _is_shard(path: str) -> bool:
    """Tell whether a path below a dataset is one of shards."""
    return bool(_SHARD_FOLDER.fullmatch("".join(path.split("/")[2:3])))


def _object_problem(
    objects: Objects, size: int | None, record: ShardRecord, *, reads_all: bool
) -> str:
    """Compare a shard in a bucket with its record."""
    if size is None:
        return "missing"
    if size != record.bytes:
        return f"{size} bytes instead of {record.bytes}"
    try:
        if not reads_all:
            start = max(0, size - record.index_bytes)
            return _judge_index(objects.read_range(record.path, start, size), record)
        found = 0
        for start in range(0, size, READ_BYTES):
            part = objects.read_range(record.path, start, min(size, start + READ_BYTES))
            found = google_crc32c.extend(found, part)
    except FileNotFoundError:
        return "missing"
    differs = found != record.crc32c
    return f"checksum {found:08x} instead of {record.crc32c:08x}" if differs else ""


def _shard_problem(path: Path, record: ShardRecord, *, reads_all: bool) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size != record.bytes:
                return f"{size} bytes instead of {record.bytes}"
            if reads_all:
                found = _checksum(file.fileno())
                differs = found != record.crc32c
                return f"checksum {found:08x} instead of {record.crc32c:08x}" if differs else ""
            if path.suffix == ".wkw":
                return _table_problem(file, record)
            return _index_problem(file, record)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable ({error.strerror})"


def _has_checksum(path: Path, checksum: str, objects: Objects | None, key: str) -> bool:
    """Compare a metadata file, and what is in the bucket for it."""
    try:
        found = [path.read_bytes()]
    except OSError:
        return False
    if objects is not None:
        found.append(objects.read(key) or b"")
    return all(f"{google_crc32c.value(data):08x}" == checksum for data in found)


def _checksum(descriptor: int) -> int:
    crc = 0
    while block := os.read(descriptor, READ_BYTES):
        crc = google_crc32c.extend(crc, block)
    return crc


def _table_problem(file: FileIO, record: ShardRecord) -> str:
    """Check a WKW file's header and where its last block ends."""
    try:
        header = parse_header(file.read(HEADER_BYTES), Path(record.path))
    except StackwatchError:
        return "damaged header"
    if header.block_type is BlockType.RAW:
        end = header.data_offset + header.blocks * header.block_bytes
    else:
        table = np.frombuffer(file.read(8 * header.blocks), "<u8")
        if len(table) != header.blocks or np.any(np.diff(table.astype(np.int64)) < 0):
            return "damaged jump table"
        end = int(table[-1])
    return "" if end == record.bytes else f"blocks end at {end} instead of {record.bytes}"


def _index_problem(file: FileIO, record: ShardRecord) -> str:
    """Check a shard's index: its own checksum, and how many chunks it says are filled."""
    file.seek(-(record.places * 16 + 4), os.SEEK_END)
    return _judge_index(file.readall(), record)


def _judge_index(index: bytes, record: ShardRecord) -> str:
    if google_crc32c.value(index[:-4]) != int.from_bytes(index[-4:], "little"):
        return "damaged index"
    lengths = np.frombuffer(index[:-4], "<u8").reshape(-1, 2)[:, 1]
    found = int((lengths != EMPTY).sum())
    return "" if found == record.chunks else f"{found} chunks instead of {record.chunks}"
