"""Places that must not meet: what we write must never lie under what we watch."""

import os
from collections.abc import Iterator, Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any


def find_clashes(values: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each pair of places, or names, that cannot go together.

    Works on values that may hold other mistakes, so that all problems are reported at once.
    A target under a drop folder would be converted again, for ever.

    Parameters
    ----------
    values : mapping
        The merged settings before validation.
    """
    tables = list(_iter_folders(values))
    drops = [(f"folder[{at}].path", real) for at, t in tables if (real := _real(t.get("path")))]
    targets = [
        (f"folder[{at}].target", real) for at, t in tables if (real := _real(t.get("target")))
    ]
    daemon, logs = values.get("daemon"), values.get("logs")
    state = _real(daemon.get("state_dir")) if isinstance(daemon, dict) else None
    own = [("daemon.state_dir", state)] if state else []
    file = _real(logs.get("file")) if isinstance(logs, dict) else None
    return [
        *_same_names(tables),
        *_meeting_drops(drops),
        *_written_in_drops(drops, targets + own, both_ways=True),
        *_written_in_drops(drops, [("logs.file", file)] if file else [], both_ways=False),
    ]


def _iter_folders(values: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    folders = values.get("folder")
    for at, table in enumerate(folders if isinstance(folders, list) else []):
        if isinstance(table, dict):
            yield at, table


def _real(value: Any) -> Path | None:
    """Resolve links: two names of one place are one place."""
    if not isinstance(value, str | Path) or "\0" in str(value) or not Path(value).is_absolute():
        return None
    return Path(os.path.realpath(value))


def _same_names(tables: list[tuple[int, dict[str, Any]]]) -> Iterator[str]:
    first: dict[str, int] = {}
    for at, table in tables:
        name = table.get("name")
        if not isinstance(name, str):
            continue
        known = first.setdefault(name.lower().replace("-", "_"), at)
        if known != at:
            yield f"folder[{at}].name must differ from folder[{known}].name (is “{name}”)"


def _meeting_drops(drops: list[tuple[str, Path]]) -> Iterator[str]:
    for (first, outer), (second, inner) in combinations(drops, 2):
        if outer == inner:
            yield f"{second} must differ from {first} (both are “{inner}”)"
        elif inner.is_relative_to(outer):
            yield f"{second} must not lie inside {first} (“{inner}” is in “{outer}”)"
        elif outer.is_relative_to(inner):
            yield f"{first} must not lie inside {second} (“{outer}” is in “{inner}”)"


def _written_in_drops(
    drops: list[tuple[str, Path]], written: list[tuple[str, Path]], *, both_ways: bool
) -> Iterator[str]:
    for (drop_key, drop), (key, place) in product(drops, written):
        if place.is_relative_to(drop):
            yield (
                f"{key} must not lie inside {drop_key} (“{place}” is in “{drop}”): "
                "what is written there would be taken for an acquisition"
            )
        elif both_ways and drop.is_relative_to(place):
            yield (
                f"{drop_key} must not lie inside {key} (“{drop}” is in “{place}”): "
                "drop folders are never written to"
            )
