"""Read the named statements of queries.sql."""

import re
from functools import cache
from importlib import resources
from typing import Final

_NAME: Final = re.compile(r"^-- name: (?P<name>[a-z_]+)$", re.MULTILINE)


@cache
def load_statements() -> dict[str, str]:
    """Return every statement of queries.sql by its name."""
    text = _read("queries.sql")
    starts = list(_NAME.finditer(text))
    ends = [start.start() for start in starts[1:]] + [len(text)]
    return {
        start["name"]: text[start.end() : end].strip()
        for start, end in zip(starts, ends, strict=True)
    }


def load_schema() -> str:
    """Return the statements that make an empty ledger."""
    return _read("schema.sql")


def load_migration(version: int) -> str:
    """Return the statements that lead to a schema from the one before it."""
    return _read(f"schema_{version}.sql")


def _read(name: str) -> str:
    return resources.files("stackwatch.ledger").joinpath(name).read_text(encoding="utf-8")
