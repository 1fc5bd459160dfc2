"""Tell whether an acquisition still has the content that was published, without converting it."""

import json
from pathlib import Path
from typing import Any

from stackwatch.errors import VerificationError
from stackwatch.model.acquisition import show_path
from stackwatch.pipeline.changes import ensure_unchanged
from stackwatch.pipeline.manifest import check_manifest, combine_digests, load_manifest
from stackwatch.pipeline.opening import open_acquisition, plan_acquisition
from stackwatch.pipeline.request import ConvertRequest
from stackwatch.readers.book import SourceBook
from stackwatch.readers.folder import is_anchor
from stackwatch.stores.properties import MANIFEST_FILE
from stackwatch.stores.staging import Staging


def digest_acquisition(request: ConvertRequest) -> str:
    """Return the content digest that a conversion of this request would report.

    Parameters
    ----------
    request : ConvertRequest
        As for a conversion; `target` may be the dataset that was published before. If that was
        made from other files, nothing is read: its digest cannot be the same. Every dataset in
        `earlier` also has to be that of its run, with every shard in its place.

    Returns
    -------
    str
        Empty if the files to be read are not those of the published dataset, or if one of
        `earlier` is not what it has to be.

    Raises
    ------
    StackwatchError
        As a conversion would raise while planning and reading.
    """
    if not all(_is_whole(one.path, one.run_id) for one in request.earlier):
        return ""
    staging = Staging(request.target, request.staging_name)
    try:
        with open_acquisition(
            request.source, request.members, request.options, staging.path
        ) as acquisition:
            datasets = plan_acquisition(acquisition)
            stacks = [stack for dataset in datasets for stack in dataset.stacks]
            names = sorted({name for stack in stacks for name in stack.files})
            if any(is_anchor(name) for name in names):
                names = sorted(acquisition.entries)
            known = _published_files(request.target)
            if known is not None and known != {show_path(name) for name in names}:
                return ""
            book = SourceBook(acquisition.files, acquisition.entries, acquisition.opener)
            try:
                for name in names:
                    with book.borrowed(name, keep=False):
                        pass  # opened once, it is digested whole by `finish`
                book.finish()
                ensure_unchanged(acquisition.place, acquisition.look)
                return combine_digests(book.file_digests(), acquisition.meaning_digest)
            finally:
                book.close()
    finally:
        staging.remove()


def _is_whole(dataset: Path, run_id: str) -> bool:
    """Tell whether a run's dataset lies at its place with every shard."""
    try:
        document, shards = load_manifest(dataset)
        check_manifest(dataset, shards, document.get("metadata_crc32c", {}), reads_all=False)
    except VerificationError:
        return False
    return bool(document.get("run_id") == run_id)


def _published_files(dataset: Path) -> set[str] | None:
    """Return the files a published dataset was made from, None if it does not tell any more."""
    try:
        manifest: Any = json.loads((dataset / MANIFEST_FILE).read_bytes())
        return set(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
