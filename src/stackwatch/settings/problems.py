"""Mistakes in the settings, as sentences with their key path."""

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from stackwatch.model.acquisition import show_path
from stackwatch.settings.catalogue import HEADINGS, field_names

_LIMITS = {
    "greater_than": "gt",
    "greater_than_equal": "ge",
    "less_than": "lt",
    "less_than_equal": "le",
}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_KINDS = {
    "string_type": "must be text in quotes",
    "path_type": "must be a path in quotes",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "tuple_type": "must be a list",
    "string_too_short": "must not be empty",
}


def describe_problems(error: ValidationError, origins: Mapping[str, str]) -> list[str]:
    """Turn what pydantic found into sentences, in the order of the settings.

    Parameters
    ----------
    error : ValidationError
    origins : mapping
        Key path to where the value came from, where that was not the file.
    """
    return [_describe(dict(entry), origins) for entry in error.errors(include_url=False)]


def key_path(location: tuple[int | str, ...]) -> str:
    """Return `folder[0].quiet_gap_s` for ("folder", 0, "quiet_gap_s")."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".")


def _describe(entry: dict[str, Any], origins: Mapping[str, str]) -> str:
    location: tuple[int | str, ...] = entry["loc"]
    key, kind = key_path(location), entry["type"]
    if kind == "extra_forbidden":
        return _describe_unknown(key, location)
    if kind == "missing":
        return f"{key} is missing"
    if location == ("folder",):
        return "folder must be written [[folder]], with two brackets: there may be many"
    if kind in {"model_type", "model_attributes_type"}:
        return f"{key} must be a table of settings (is {_show(entry['input'])})"
    if (
        entry["type"] == "stackwatch"
        and isinstance(entry["input"], dict)
        and "name" in entry["input"]
    ):
        return f"{key}.{entry['msg']}"  # a sentence about two settings of one folder
    origin = origins.get(key, "")
    source = f", from {origin}" if origin else ""
    return f"{key} {_requirement(entry)} (is {_show(entry['input'])}{source})"


def _requirement(entry: dict[str, Any]) -> str:
    kind, facts = entry["type"], entry.get("ctx", {})
    if kind in _LIMITS:
        bound = _LIMITS[kind]
        return f"must be {_SIGNS[bound]} {facts[bound]:g}"
    if kind in {"literal_error", "enum"}:
        return f"must be {facts['expected']}".replace("'", '"')
    return _KINDS.get(kind, str(entry["msg"]))


def _describe_unknown(key: str, location: tuple[int | str, ...]) -> str:
    section = ".".join(part for part in location[:-1] if isinstance(part, str))
    name = str(location[-1])
    homes = [heading for home, heading in HEADINGS.items() if name in field_names(home)]
    if section and homes:  # the very name elsewhere says more than a similar one here
        return f"{key} is not a setting here; it belongs under {' or '.join(homes)}"
    close = difflib.get_close_matches(name, field_names(section), n=1, cutoff=0.6)
    if close:
        return f"{key} is not a setting; did you mean {close[0]}?"
    return f"{key} is not a setting{'' if section else _guess_section(name)}"


def _guess_section(name: str) -> str:
    """Answer for a name at the top of the file, where only headings stand."""
    places: dict[str, list[str]] = {}
    for home, heading in HEADINGS.items():
        for known in field_names(home):
            places.setdefault(known, []).append(heading)
    close = difflib.get_close_matches(name, places, n=1, cutoff=0.7)
    return f"; did you mean {close[0]} under {' or '.join(places[close[0]])}?" if close else ""


def _show(value: Any) -> str:
    if isinstance(value, str):
        return f"“{show_path(value)}”"
    if isinstance(value, bool):
        return str(value).lower()
    text = show_path(repr(value))
    return text if len(text) <= 60 else f"{text[:60]}…"
