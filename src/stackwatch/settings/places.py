"""Places that must not meet: what we write must never lie under what we watch."""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from time import monotonic
from typing import Any, Final

from stackwatch.settings.model import DaemonSettings
from stackwatch.watch.mounts import MOUNTINFO, is_remote_type, locate_mount, read_mounts

ANSWER_S: Final = 5.0
"""So long all paths together may take to answer; a share that hangs must hang no command."""

Named = tuple[str, Path]
"""Key path of a setting, and the place with its links resolved."""


@dataclass(frozen=True, slots=True)
class Places:
    """What was found out about the places that settings name.

    Attributes
    ----------
    clashes : tuple of str
        A sentence for each mistake.
    silent : tuple of str
        A sentence for each path that did not answer; it was compared as it is written.
    """

    clashes: tuple[str, ...]
    silent: tuple[str, ...]


def find_clashes(values: Mapping[str, Any], answer_s: float | None = None) -> list[str]:
    """Return a sentence for each pair of places, or names, that cannot go together."""
    return list(check_places(values, answer_s).clashes)


def check_places(
    values: Mapping[str, Any], answer_s: float | None = None, mountinfo: Path = MOUNTINFO
) -> Places:
    """Compare all the places that settings name.

    Works on values that may hold other mistakes, so that all problems are reported at once.
    A target under a drop folder would be converted again, for ever.

    Parameters
    ----------
    values : mapping
        The merged settings before validation.
    answer_s : float or None
        None takes `ANSWER_S`.
    mountinfo : Path
    """
    answer_s = ANSWER_S if answer_s is None else answer_s
    tables = list(_iter_folders(values))
    daemon, logs = values.get("daemon"), values.get("logs")
    state = daemon.get("state_dir", _STATE_DIR) if isinstance(daemon, dict) else _STATE_DIR
    file = logs.get("file") if isinstance(logs, dict) else None
    named = [("daemon.state_dir", state), ("logs.file", file)]
    for at, table in tables:
        named += [(f"folder[{at}].{key}", table.get(key)) for key in _FOLDER_KEYS]
    texts = {key: str(value) for key, value in named if _is_place(value)}
    real = resolve_all(texts.values(), answer_s)
    found = {key: real[text] or Path(os.path.normpath(text)) for key, text in texts.items()}
    clashes = [
        *_same_names(tables),
        *_meeting_drops(_of_kind(found, "path")),
        *_written_in_drops(found),
        *_archived_in_targets(found),
        *_remote_state(found.get("daemon.state_dir"), mountinfo),
    ]
    silent = [
        f"{key} “{text}” could not be checked within {answer_s:g} s: look at the mount"
        for key, text in texts.items()
        if real[text] is None
    ]
    return Places(tuple(clashes), tuple(silent))


def resolve_all(paths: Iterable[str], answer_s: float) -> dict[str, Path | None]:
    """Resolve links: two names of one place are one place; None for what does not answer.

    A thread that waits for a dead share stays behind: nothing ends a call that hangs.
    """
    found: dict[str, Path | None] = dict.fromkeys(paths)

    def resolve(path: str) -> None:
        found[path] = Path(os.path.realpath(path))

    asking = [
        threading.Thread(target=resolve, args=(path,), name="resolve", daemon=True)
        for path in found
    ]
    for thread in asking:
        thread.start()
    deadline_s = monotonic() + answer_s
    for thread in asking:
        thread.join(max(0.0, deadline_s - monotonic()))
    return dict(found)


_STATE_DIR: Final = DaemonSettings().state_dir
_FOLDER_KEYS: Final = ("path", "target", "archive_to")


def _iter_folders(values: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    folders = values.get("folder")
    for at, table in enumerate(folders if isinstance(folders, list | tuple) else []):
        if isinstance(table, dict):
            yield at, table


def _is_place(value: Any) -> bool:
    return isinstance(value, str | Path) and "\0" not in str(value) and Path(value).is_absolute()


def _of_kind(found: Mapping[str, Path], *keys: str) -> list[Named]:
    return [(name, place) for name, place in found.items() if name.rpartition(".")[2] in keys]


def _same_names(tables: list[tuple[int, dict[str, Any]]]) -> Iterator[str]:
    first: dict[str, int] = {}
    for at, table in tables:
        name = table.get("name")
        if not isinstance(name, str):
            continue
        known = first.setdefault(name.lower().replace("-", "_"), at)
        if known != at:
            yield f"folder[{at}].name must differ from folder[{known}].name (is “{name}”)"


def _meeting_drops(drops: list[Named]) -> Iterator[str]:
    for (first, outer), (second, inner) in combinations(drops, 2):
        if outer == inner:
            yield f"{second} must differ from {first} (both are “{inner}”)"
        elif inner.is_relative_to(outer):
            yield f"{second} must not lie inside {first} (“{inner}” is in “{outer}”)"
        elif outer.is_relative_to(inner):
            yield f"{first} must not lie inside {second} (“{outer}” is in “{inner}”)"


def _written_in_drops(found: Mapping[str, Path]) -> Iterator[str]:
    drops = _of_kind(found, "path")
    for (drop_key, drop), (key, place) in product(
        drops, _of_kind(found, "target", "state_dir", "archive_to", "file")
    ):
        if place.is_relative_to(drop):
            yield (
                f"{key} must not lie inside {drop_key} (“{place}” is in “{drop}”): "
                "what is written there would be taken for an acquisition"
            )
        elif key != "logs.file" and drop.is_relative_to(place):
            yield (
                f"{drop_key} must not lie inside {key} (“{drop}” is in “{place}”): "
                "drop folders are never written to"
            )


def _archived_in_targets(found: Mapping[str, Path]) -> Iterator[str]:
    archives, targets = _of_kind(found, "archive_to"), _of_kind(found, "target")
    for (key, archive), (target_key, target) in product(archives, targets):
        if archive.is_relative_to(target):
            yield (
                f"{key} must not lie inside {target_key} (“{archive}” is in “{target}”): "
                "what is archived there would stand among the datasets"
            )


def _remote_state(state: Path | None, mountinfo: Path) -> Iterator[str]:
    """Refuse a ledger where neither locks nor shared memory can be relied upon."""
    mount = locate_mount(state, read_mounts(mountinfo)) if state is not None else None
    if mount is not None and is_remote_type(mount.fstype):
        yield (
            f"daemon.state_dir must lie on a local disk (“{state}” is on {mount.fstype}, mounted "
            f"at “{mount.mount_point}”): the ledger needs locks that such a mount does not keep"
        )
