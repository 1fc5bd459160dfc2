"""Make a new ledger from what lies in the targets: the manifests say what was made from what.

An acquisition that is recorded so has no stat mark yet. When it lies still it is read once and its
content digest is compared with the one in the manifest: equal, and nothing is converted again.
"""

import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from stackwatch.errors import VerificationError
from stackwatch.ledger.ledger import Ledger
from stackwatch.ledger.records import NewDataset
from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.model.job import NewJob
from stackwatch.pipeline.manifest import load_manifest
from stackwatch.settings import FolderSettings
from stackwatch.watch.loose import group_loose


@dataclass(frozen=True, slots=True)
class FoundDataset:
    """A published dataset, as its manifest tells.

    Attributes
    ----------
    path : Path
    run_id, content_digest, created_utc : str
    files, total_bytes : int
        How many files it was made from, and its own size.
    """

    path: Path
    run_id: str
    content_digest: str
    created_utc: str
    files: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was found.

    Attributes
    ----------
    acquisitions, datasets : int
    unknown : tuple of Path
        Datasets in the targets that were made from nothing in their drop folders, or do not tell.
    """

    acquisitions: int = 0
    datasets: int = 0
    unknown: tuple[Path, ...] = ()


@dataclass(slots=True)
class _Found:
    """All datasets of one acquisition."""

    sighting: Sighting
    datasets: list[FoundDataset] = field(default_factory=list)


def rebuild_ledger(folders: Iterable[FolderSettings], ledger: Ledger) -> Rebuilt:
    """Record what was published from each drop folder into an empty ledger.

    Parameters
    ----------
    folders : iterable of FolderSettings
    ledger : Ledger
        New.

    Returns
    -------
    Rebuilt
    """
    acquisitions = datasets = 0
    known: set[Path] = set()
    seen: set[Path] = set()
    for folder in folders:
        ledger.folders.upsert(folder.name, folder.path, folder.target)
        found: dict[str, _Found] = {}
        for path, document, size in _iter_manifests(folder.target):
            seen.add(path)
            sighting = recognise_source(folder, document)
            if sighting is not None and path not in known:
                known.add(path)
                one = found.setdefault(sighting.key, _Found(sighting))
                one.datasets.append(_dataset(path, document, size))
        for one in found.values():
            _record(ledger, folder, one)
            acquisitions += 1
            datasets += len(one.datasets)
    return Rebuilt(acquisitions, datasets, tuple(sorted(seen - known)))


def recognise_source(folder: FolderSettings, document: dict[str, Any]) -> Sighting | None:
    """Return the acquisition a manifest speaks of; None if it is none of this drop folder.

    Examples
    --------
    >>> folder = FolderSettings(name="em", path=Path("/drop"), target=Path("/out"))
    >>> recognise_source(folder, {"source": "/drop", "members": ["a_1.tif", "a_2.tif"]}).key
    'a_#.tif'
    """
    source = Path(str(document.get("source", "")))
    members = tuple(map(str, document.get("members") or ()))
    files = list(document.get("files") or ())
    if not source.is_relative_to(folder.path):
        return None
    inside = source.relative_to(folder.path).as_posix()
    inside = "" if inside == "." else inside
    if members:
        groups, _ = group_loose(list(members))
        if len(groups) != 1:
            return None
        key, name = _join(inside, groups[0].key), _join(inside, groups[0].stem)
        return _sighting(key, name, AcquisitionKind.GROUP, inside, tuple(sorted(members)))
    if not inside:
        return None
    is_file = files == [source.name] or source.suffix.lower() == ".zip"
    kind = AcquisitionKind.FILE if is_file else AcquisitionKind.FOLDER
    return _sighting(inside, inside, kind, inside, ())


def _record(ledger: Ledger, folder: FolderSettings, found: _Found) -> None:
    """Record the generations of an acquisition in the order in which they were published."""
    ledger.folders.record_settling(folder.name, found.sighting)
    ordered = sorted(found.datasets, key=lambda dataset: (dataset.created_utc, str(dataset.path)))
    generations = [list(same) for _, same in groupby(ordered, lambda one: one.content_digest)]
    for number, datasets in enumerate(generations, 1):
        # a mark that no scan gives: the content is compared before anything is converted
        mark = f"rebuilt-{uuid.uuid4().hex}"
        new = NewJob(
            folder=folder.name,
            acquisition=found.sighting.key,
            generation=number,
            stat_mark=mark,
            files=datasets[0].files,
            total_bytes=0,
            size_mark=mark,
        )
        job = ledger.jobs.queue(new)
        ledger.jobs.claim(job_id=job.job_id)
        for left, dataset in zip(range(len(datasets) - 1, -1, -1), datasets, strict=True):
            ledger.datasets.record_publishing(
                job.job_id,
                NewDataset(
                    dataset.path,
                    dataset.path,
                    dataset.run_id,
                    dataset.content_digest,
                    dataset.total_bytes,
                    left,
                ),
            )
            ledger.datasets.record_published(dataset.run_id, dataset.path)
        ledger.jobs.succeed(job.job_id, {"status": "succeeded", "rebuilt": True})


def _iter_manifests(target: Path) -> Iterator[tuple[Path, dict[str, Any], int]]:
    """Yield every dataset that lies directly in a target, its manifest, and its size in bytes."""
    try:
        names = sorted(os.listdir(target))  # noqa: PTH208 - names, in a fixed order
    except OSError:
        return
    for name in names:
        if name.startswith("."):
            continue
        try:
            document, shards = load_manifest(target / name)
        except VerificationError:
            continue  # somebody else's, or damaged: conversions never touch what stands there
        yield target / name, document, sum(shard.bytes for shard in shards)


def _dataset(path: Path, document: dict[str, Any], size: int) -> FoundDataset:
    return FoundDataset(
        path,
        str(document.get("run_id", "")),
        str(document.get("content_digest", "")),
        str(document.get("created_utc", "")),
        len(document.get("files") or ()),
        size,
    )


def _sighting(
    key: str, name: str, kind: AcquisitionKind, source: str, members: tuple[str, ...]
) -> Sighting:
    return Sighting(key, name, kind, source, members, len(members), 0, 0, "rebuilt", "rebuilt")


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
