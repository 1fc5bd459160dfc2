"""Micro-Manager's `metadata.txt`: the summary, and the place of each image. Pure.

Read as far as it is written: the program closes the text at the end of the acquisition. Only one
entry is parsed at a time, for that of a long acquisition has tens of megabytes.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stackwatch.layout.scene_drafts import Place
from stackwatch.readers.mmstack import whole_number

_AXES: Final = (
    ("FrameIndex", "Frame", "time"), ("ChannelIndex", "channel"), ("SliceIndex", "Slice", "z"),
)  # fmt: skip
"""What the place of an image is called, generation by generation: timepoint, channel, slice."""

_IN_NAME: Final = tuple(re.compile(rf"(?<![a-z]){axis}(\d+)") for axis in ("time", "channel", "z"))


@dataclass(frozen=True, slots=True)
class PlaneText:
    """What `metadata.txt` says: the summary, the place of each image by its base name.

    Attributes
    ----------
    summary : mapping
    places : mapping of str to (t, c, z)
    plane : mapping
        What is told of one of the images.
    is_closed : bool
        Whether the text is whole: the acquisition has ended.
    """

    summary: Mapping[str, Any]
    places: Mapping[str, Place]
    plane: Mapping[str, Any]
    is_closed: bool


def parse_metadata(text: str) -> PlaneText | None:
    """Read `metadata.txt`; None if it is not Micro-Manager's.

    Examples
    --------
    >>> told = parse_metadata('''{"Summary": {"MicroManagerVersion": "2.0"},
    ...     "Coords-Default/a.tif": {"z": 4}, ''')
    >>> told.places, told.is_closed
    ({'a.tif': (0, 0, 4)}, False)
    """
    summary: Mapping[str, Any] = {}
    places: dict[str, Place] = {}
    plane: Mapping[str, Any] = {}
    is_closed = False
    for key, value in _iter_members(text):
        if key is None:
            is_closed = True
        elif key == "Summary":
            summary = value
        elif key.startswith("FrameKey-"):
            plane = plane or value
            name = str(value.get("FileName") or "").replace("\\", "/").rpartition("/")[2]
            if name:
                places[name] = _place(value, name)
        elif key.startswith("Coords-"):
            name = key.rpartition("/")[2].removeprefix("Coords-")
            places[name] = _place(value, name)
        elif key.startswith("Metadata-"):
            plane = plane or value
    is_ours = "MicroManagerVersion" in summary or bool(places)
    return PlaneText(summary, places, plane, is_closed) if summary and is_ours else None


def _iter_members(text: str) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Yield the members of an object as far as it is written; a last None if it is closed."""
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        return
    at = _skip(text, at + 1)
    try:
        while text[at : at + 1] == '"':
            key, at = decoder.raw_decode(text, at)
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                return
            value, at = decoder.raw_decode(text, _skip(text, at + 1))
            if isinstance(value, dict):
                yield key, value
            at = _skip(text, at)
            if text[at : at + 1] == ",":
                at = _skip(text, at + 1)
    except ValueError:
        return
    if text[at : at + 1] == "}":
        yield None, {}


_SPACE: Final = re.compile(r"\s*")


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _place(told: Mapping[str, Any], name: str) -> Place:
    """Return timepoint, channel and slice of an image: as told, else as its name counts."""
    found = []
    for keys, pattern in zip(_AXES, _IN_NAME, strict=True):
        value = next((told[key] for key in keys if isinstance(told.get(key), int)), None)
        match = pattern.search(name) if value is None else None
        found.append(whole_number(match[1] if match else value))
    t, c, z = found
    return t, c, z
