"""Between the columns of the ledger and values: JSON as text, paths as bytes."""

import json
import os
from pathlib import Path
from typing import Any


def parse_json(text: str) -> dict[str, Any] | None:
    """Return a column of JSON as values, None for an empty one."""
    if not text:
        return None
    values = json.loads(text)
    assert isinstance(values, dict)
    return values


def dump_json(values: dict[str, Any] | None) -> str:
    """Return values as the text of a column, pure ASCII; empty for None."""
    return "" if values is None else json.dumps(values, separators=(",", ":"))


def parse_path(column: bytes) -> Path:
    """Return a column of path bytes as a path."""
    return Path(os.fsdecode(column))


def error_values(error: dict[str, Any] | None) -> dict[str, Any]:
    """Return an error's parts under the keys that every JSON answer uses."""
    error = error or {}
    return {key: error.get(key) for key in ("error_code", "message", "hint")}
