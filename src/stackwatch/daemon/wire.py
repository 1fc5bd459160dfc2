"""Frozen records as JSON values and back: what a request looks like on its way to a worker.

A closed set of shapes (dataclasses, tuples, sets, enums, paths, plain values), read from the type
hints. Pickle would do, but it hides a difference of versions until it hurts; here an unknown or
missing field is named.
"""

import dataclasses
import functools
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def dump_record(value: Any) -> Any:
    """Return a record as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: dump_record(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple | list | frozenset):
        items = sorted(value) if isinstance(value, frozenset) else value
        return [dump_record(item) for item in items]
    if isinstance(value, dict):
        return {str(key): dump_record(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return value


def load_record(kind: type[T], value: Any) -> T:
    """Return the record of type `kind` that `dump_record` made `value` from.

    Raises
    ------
    TypeError, ValueError, KeyError
        The value does not have this shape: the other side runs another version.
    """
    return typing.cast("T", _load(kind, value))


def _load(hint: Any, value: Any) -> Any:
    """Return `value` as what the hint says."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _load_optional(typing.get_args(hint), value)
    if origin is tuple:
        return _load_tuple(typing.get_args(hint), value)
    if origin is frozenset:
        return frozenset(_load(typing.get_args(hint)[0], item) for item in value)
    if isinstance(hint, type):
        return _load_plain(hint, value)
    return value


def _load_plain(hint: type, value: Any) -> Any:
    """Return a dataclass, an enum member, a path or a plain value."""
    if dataclasses.is_dataclass(hint):
        hints = _type_hints(hint)
        return hint(**{name: _load(hints[name], item) for name, item in value.items()})
    if issubclass(hint, Enum | Path):
        return hint(value)
    if hint is float and isinstance(value, int):
        return float(value)
    return value


@functools.cache
def _type_hints(kind: type) -> dict[str, Any]:
    """Return a record's type hints; to work them out costs more than everything else here."""
    return typing.get_type_hints(kind)


def _load_optional(choices: tuple[Any, ...], value: Any) -> Any:
    """Return `value` as the one choice that is not None."""
    if value is None:
        return None
    inner = [choice for choice in choices if choice is not types.NoneType]
    if len(inner) != 1:
        msg = f"a union of {inner} cannot be read back"
        raise TypeError(msg)
    return _load(inner[0], value)


def _load_tuple(items: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    """Return a tuple of one type, or of a fixed number of types."""
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_load(items[0], item) for item in value)
    return tuple(_load(hint, item) for hint, item in zip(items, value, strict=True))
