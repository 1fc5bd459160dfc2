"""The keys of a sidecar: what each takes, and what is wrong with a value, line by line.

Pure; standard library and `model` only, as the scan process needs it.
"""

import datetime
import difflib
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from stackwatch.model.acquisition import show_path
from stackwatch.model.raw import RawFacts
from stackwatch.model.toml_text import describe_syntax, describe_undecodable, line_of

_LONGEST_NAME: Final = 200
_MOST_MISTAKES: Final = 100
_MOST_LOCATED: Final = 10
_LONGEST_LOCATED: Final = 2**16
"""Characters of a file in which lines are looked for: each look reads it from the beginning."""

_TOP_PRIORITY: Final = 100
_TOP_COUNT: Final = 2**53
_TOP_VALUE: Final = 1e300
_LONGEST_EDGE_NM: Final = 1e15
_CATEGORIES: Final = ("color", "segmentation")

_LONG_KEY: Final = re.compile(r"(?<![\"'\w-])(?:[\"'\w-]++[ \t]*+\.[ \t]*+){33}")
"""The parser takes memory by the square of a key's parts: a key of 200 kB would take 10 GB."""

_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class LayerValues:
    """One `[[layer]]`: `match` is a pattern on the layer's own name."""

    match: str
    name: str | None = None
    category: str | None = None


class _WrongError(ValueError):
    """A value cannot be meant; the text goes on from “`key` …”."""


def check_values(data: bytes) -> tuple[dict[str, Any], list[str]]:
    """Return a sidecar's values as they are used, and all its mistakes.

    Parameters
    ----------
    data : bytes
        The whole file.

    Returns
    -------
    tuple of (dict, list of str)
        The values are worth something only if there is no mistake.
    """
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        return {}, [describe_undecodable(error)]
    if _LONG_KEY.search(text):
        return {}, ["more than 32 words joined by dots; a key has one or two"]
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return {}, [describe_syntax(error, text)]
    except RecursionError:
        return {}, ["brackets in brackets, too deep to be read"]
    except ValueError as error:  # a number of thousands of digits
        return {}, [str(error).partition(";")[0]]
    checks = _Checks()
    keys = {
        **_KEYS,
        "layer": checks.layers,
        "raw": checks.raw,
        "metadata": checks.metadata,
    }
    values = checks.table(document, keys, ())
    return values, _with_lines(checks.mistakes, text)


class _Checks:
    """Walks through a document; mistakes gather on the way."""

    def __init__(self) -> None:
        self.mistakes: list[tuple[_Path, str]] = []

    def table(
        self, found: dict[str, Any], keys: dict[str, Callable[[Any], Any]], inside: _Path
    ) -> dict[str, Any]:
        """Return the checked values of a table."""
        values: dict[str, Any] = {}
        for key, value in found.items():
            path = (*inside, key)
            if len(self.mistakes) >= _MOST_MISTAKES:
                break
            if key not in keys:
                self.mistakes.append((path, _unknown(key, keys, inside)))
                continue
            try:
                values[key] = keys[key](value)
            except _WrongError as wrong:
                self.mistakes.append((path, f"`{_show_key(path)}` {wrong} (is {_show(value)})"))
        return values

    def layers(self, found: Any) -> tuple[LayerValues, ...]:
        """Return the checked rules of `[[layer]]`."""
        is_tables = isinstance(found, list) and all(isinstance(one, dict) for one in found)
        if not is_tables:
            what = "`layer` must be written [[layer]], with two brackets: there may be many"
            self.mistakes.append((("layer",), what))
            return ()
        rules = []
        for at, one in enumerate(found):
            values = self.table(one, _LAYER_KEYS, ("layer", at))
            if "match" not in one:
                what = '`match` is missing: which layers are meant, as in match = "membrane*"'
                self.mistakes.append((("layer", at), what))
            rules.append(
                LayerValues(values.get("match", ""), values.get("name"), values.get("category"))
            )
        return tuple(rules)

    def raw(self, found: Any) -> RawFacts:
        """Return the checked values of `[raw]`."""
        if not isinstance(found, dict):
            what = "`raw` must be written [raw], with lines of `key = value` below it"
            self.mistakes.append((("raw",), what))
            return RawFacts()
        count = len(self.mistakes)
        facts = RawFacts(**self.table(found, _RAW_KEYS, ("raw",)))
        if len(self.mistakes) == count and facts.mistake:
            self.mistakes.append((("raw",), f"`raw`: {facts.mistake}"))
            return RawFacts()
        return facts

    def metadata(self, found: Any) -> dict[str, Any]:
        """Return the checked values of `[metadata]`."""
        if not isinstance(found, dict):
            what = "`metadata` must be written [metadata], with lines of `key = value` below it"
            self.mistakes.append((("metadata",), what))
            return {}
        return self.table(found, dict.fromkeys(found, _plain), ("metadata",))


def _unknown(key: str, keys: dict[str, Any], inside: _Path) -> str:
    close = difflib.get_close_matches(key.lower(), keys, n=1)
    known = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(keys)}"
    if not close and not inside:
        known += "; whatever else is to be kept belongs under [metadata]"
    return f"`{_show_key((*inside, key))}` is not known; {known}"


def _with_lines(mistakes: list[tuple[_Path, str]], text: str) -> list[str]:
    """Put each mistake's line before it, and sort by lines."""
    located = _MOST_LOCATED if len(text) <= _LONGEST_LOCATED else 0
    placed = [
        (line_of(text, path) if at < located else None, what)
        for at, (path, what) in enumerate(mistakes)
    ]
    placed.sort(key=lambda one: one[0] or math.inf)
    return [f"line {line}: {what}" if line is not None else what for line, what in placed]


# ---------------------------------------------------------------- values


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _WrongError("must be text in quotes, not empty")
    return value


def _name(value: Any) -> str:
    text = _text(value)
    if not re.search("[A-Za-z0-9]", text):
        raise _WrongError("must have a letter or a digit: other characters become “_”")
    if len(text) > _LONGEST_NAME:
        raise _WrongError(f"must have at most {_LONGEST_NAME} characters")
    return text


def _category(value: Any) -> str:
    if value not in _CATEGORIES:
        raise _WrongError('must be "color" or "segmentation"')
    return str(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _WrongError("must be true or false, without quotes")
    return value


def _priority(value: Any) -> int:
    if not _is_whole(value) or abs(value) > _TOP_PRIORITY:
        raise _WrongError(f"must be a whole number from {-_TOP_PRIORITY} to {_TOP_PRIORITY}")
    return int(value)


def _count(value: Any) -> int:
    if not _is_whole(value) or not 0 < value < _TOP_COUNT:
        raise _WrongError("must be a whole number of at least 1")
    return int(value)


def _offset(value: Any) -> int:
    if not _is_whole(value) or not 0 <= value < _TOP_COUNT:
        raise _WrongError("must be a whole number of at least 0")
    return int(value)


def _shape(value: Any) -> tuple[int, ...]:
    is_list = isinstance(value, list) and 2 <= len(value) <= 6
    if not is_list or not all(_is_whole(one) and 0 < one < _TOP_COUNT for one in value):
        raise _WrongError("must be a list of whole numbers of at least 1, such as [120, 512, 512]")
    return tuple(value)


def _rescale(value: Any) -> tuple[float, float]:
    is_list = isinstance(value, list) and len(value) == 2
    if not is_list or not all(_is_finite(one) for one in value) or value[0] >= value[1]:
        raise _WrongError("must be [smallest, largest], two numbers")
    return float(value[0]), float(value[1])


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < _TOP_VALUE


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _voxel_size(value: Any) -> tuple[float | None, ...]:
    """Return x, y, z of a list of three, or of a table of the axes that are known."""
    if isinstance(value, dict) and value and set(value) <= set("xyz"):
        edges = [value.get(axis) for axis in "xyz"]
    elif isinstance(value, list) and len(value) == 3:
        edges = value
    else:
        raise _WrongError("must be [x, y, z] in nanometres, or a table such as { z = 25 }")
    given = [edge for edge in edges if edge is not None or isinstance(value, list)]
    if not all(_is_length(edge) for edge in given):
        raise _WrongError("must hold numbers > 0, in nanometres, without quotes")
    return tuple(float(edge) if edge is not None else None for edge in edges)


def _is_length(edge: Any) -> bool:
    is_number = isinstance(edge, int | float) and not isinstance(edge, bool)
    return is_number and 0 < edge < _LONGEST_EDGE_NM


def _plain(value: Any) -> Any:
    """Return a value of the metadata as JSON holds it."""
    if isinstance(value, list):
        return [_plain(one) for one in value if _is_no_list(one)]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, dict) or (isinstance(value, float) and not math.isfinite(value)):
        raise _WrongError("must be text, a number, true or false, a date, or a list of these")
    return value


def _is_no_list(value: Any) -> bool:
    if isinstance(value, list):
        raise _WrongError("must be text, a number, true or false, a date, or a list of these")
    return True


_LAYER_KEYS: Final[dict[str, Callable[[Any], Any]]] = {
    "match": _text,
    "name": _text,
    "category": _category,
}
_RAW_KEYS: Final[dict[str, Callable[[Any], Any]]] = {
    "shape": _shape,
    "axes": _text,
    "dtype": _text,
    "byte_order": _text,
    "offset": _offset,
}
_KEYS: Final[dict[str, Callable[[Any], Any]]] = {
    "name": _name,
    "voxel_size_nm": _voxel_size,
    "category": _category,
    "layer_name": _text,
    "rescale": _rescale,
    "skip": _flag,
    "upload": _flag,
    "priority": _priority,
    "expected_files": _count,
}
"""Beside `layer`, `raw` and `metadata`, which are tables."""


def _show_key(path: _Path) -> str:
    shown = ""
    for part in path:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}"
    return shown.lstrip(".")


def _show(value: Any) -> str:
    if isinstance(value, str):
        text = f"“{show_path(value)}”"
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = show_path(repr(value))
    return text if len(text) <= 60 else f"{text[:60]}…"
