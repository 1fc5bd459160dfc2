"""Where a dataset comes from, as pairs of key and value that WEBKNOSSOS keeps with it.

The files beside a dataset do not survive an upload: what its manifest tells is all that people will
find on the server. Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

PREFIX: Final = "stackwatch_"
"""Of what stackwatch itself says. What a sidecar's `[metadata]` says keeps its own names."""

LONGEST_VALUE: Final = 1000
MOST_FACTS: Final = 100


def provenance_facts(manifest: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what a dataset's manifest tells of its origin, each key once.

    Parameters
    ----------
    manifest : mapping
        The document of its `stackwatch.json`.

    Examples
    --------
    >>> provenance_facts({"source": "/drop/em2/run", "metadata": {"sidecar": {"operator": "AM"}}})
    (('stackwatch_source', '/drop/em2/run'), ('operator', 'AM'))
    """
    found: dict[str, str] = {}
    for key, value in _iter_facts(manifest):
        if value and key not in found and len(found) < MOST_FACTS:
            found[key] = value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - 1] + "…"
    return tuple(found.items())


def _iter_facts(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, key in (
        ("source", "source"), ("scene", "scene"), ("layout", "layout"),
        ("content_digest", "content_digest"), ("converted_utc", "created_utc"),
        ("version", "stackwatch"),
    ):  # fmt: skip
        yield f"{PREFIX}{name}", _as_text(manifest.get(key))
    metadata = manifest.get("metadata")
    if not isinstance(metadata, Mapping):
        return
    for key, value in metadata.items():
        if key != "sidecar":
            yield from _flatten(f"{PREFIX}{key}", value)
    said = metadata.get("sidecar")
    for key, value in said.items() if isinstance(said, Mapping) else ():
        if not str(key).startswith(PREFIX):  # nobody shall pass for us
            yield from _flatten(str(key), value)


def _flatten(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _flatten(f"{key}.{name}", entry)
    else:
        yield key, _as_text(value)


def _as_text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list() | tuple():
            return ", ".join(map(_as_text, value))
        case _:
            return str(value)
